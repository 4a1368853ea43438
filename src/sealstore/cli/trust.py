"""trust: what this client remembers of repositories, and an operator's word about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealstore.cli import options, output
from sealstore.cli.invocation import DONE, FAILED, Invocation

if TYPE_CHECKING:
    from sealstore.ledger.points import HistoryCheckpoint
    from sealstore.repository.settings import Settings
    from sealstore.trust.locations import KnownLocation
    from sealstore.trust.record import TrustRecord


@click.group(short_help="Show and mend what this client remembers of repositories.")
def trust() -> None:
    """Show and mend what this client remembers of repositories.

    Each location's repository and the newest state that was seen there are remembered outside of
    it, so that an older or another repository in its place is refused.
    """


# ── show ─────────────────────────────────────────────────────────────────────


@trust.command(short_help="Show what is remembered.")
@click.option("--all", "everything", is_flag=True, help="Of every location, not only this one.")
@options.with_json
def show(invocation: Invocation, everything: bool, as_json: bool) -> int:
    """Show what this client remembers of the repository.

    The exit code is 1 if a trust state cannot be used.
    """
    from sealstore.trust.locations import known_locations
    from sealstore.trust.record import TrustRecord
    from sealstore.upkeep.trust import remembered

    settings = invocation.settings()
    if everything:
        known = known_locations(settings.trust_folder)
    else:
        this = remembered(settings)
        known = [] if this is None else [this]
    usable = [each for each in known if isinstance(each.found, TrustRecord)]
    code = DONE if len(usable) == len(known) else FAILED
    if as_json:
        output.document({"locations": list(map(_known_json, known))})
        return code
    if not known:
        what = "any repository" if everything else settings.trust_store().location
        output.line(f"nothing is remembered of {what}")
    for number, each in enumerate(known):
        if isinstance(each.found, TrustRecord):
            if number:
                output.line()
            output.fields(_described(each.found, each.path))
        else:
            output.show_error(each.found, debug=invocation.debug)
    return code


def _described(record: TrustRecord, path: Path) -> list[tuple[str, str]]:
    logs = [
        f"{log.log}: size {log.size}, signed {_utc(log.time)}; {location}"
        for location, log in record.access.items()
    ]
    return [
        ("location", record.location),
        *_point_fields(record.point),
        ("newest time", _utc(record.newest_time)),
        *([("access logs", "\n".join(logs))] if logs else []),
        ("file", str(path)),
    ]


def _point_fields(point: HistoryCheckpoint) -> list[tuple[str, str]]:
    return [
        ("repository", point.repository),
        ("epoch", str(point.epoch)),
        ("size", str(point.size)),
        ("root", point.root),
        ("map root", point.map_root),
        ("settings", f"version {point.settings_version}"),
        ("signed", _utc(point.time)),
    ]


def _utc(time: str) -> str:
    return f"{output.time_text(time)} UTC"


def _known_json(known: KnownLocation) -> dict[str, Any]:
    from sealstore.errors import TrustStateError

    if isinstance(known.found, TrustStateError):
        error = {"code": known.found.code, "message": known.found.message}
        return {"file": str(known.path), "error": error}
    return {"file": str(known.path), **_record_json(known.found)}


def _record_json(record: TrustRecord) -> dict[str, Any]:
    """What is remembered, in the names that its file has for it."""
    import msgspec

    from sealstore.trust.record import encode_record

    document: dict[str, Any] = msgspec.json.decode(encode_record(record))
    del document["kind"]
    return document


# ── init, accept, forget ─────────────────────────────────────────────────────


@trust.command(short_help="Start this client from a checkpoint.")
@click.option(
    "--checkpoint",
    "file",
    type=click.Path(path_type=Path),
    required=True,
    help="A signed checkpoint, from somebody you trust: 'sealstore audit checkpoint' makes it.",
)
@options.with_json
def init(invocation: Invocation, file: Path, as_json: bool) -> int:
    """Start this client from a checkpoint: no older state of the repository is loaded from.

    For a new container or machine, and wherever MODEL_REPO_FIRST_USE=refuse is set.
    """
    from sealstore.upkeep.trust import begin_trust, read_history_checkpoint

    settings = invocation.settings()
    record = begin_trust(settings, read_history_checkpoint(settings, file))
    if as_json:
        output.document(_record_json(record))
    else:
        output.line(
            f"this client expects at {record.location} from now on, or a later state of it:"
        )
        output.fields(_point_fields(record.point))
    return DONE


@trust.command(short_help="Put another state in the place of what is remembered.")
@click.option(
    "--checkpoint",
    "file",
    type=click.Path(path_type=Path),
    help="The state is that of a signed checkpoint, from somebody you trust.",
)
@click.option("--current", is_flag=True, help="The state is the one that the repository has now.")
@options.yes
@options.with_json
def accept(
    invocation: Invocation, file: Path | None, current: bool, yes: bool, as_json: bool
) -> int:
    """Put another state in the place of what is remembered, whatever that is.

    After a restore from a backup, a rebuild, or an exchange that was meant, and where a trust state
    is damaged: find out first which state of the repository is right. What was remembered is kept
    in a file beside it.
    """
    from sealstore.upkeep.trust import current_point, read_history_checkpoint

    if current == (file is not None):
        raise click.UsageError("Give either --checkpoint FILE or --current.")
    settings = invocation.settings()
    point = current_point(settings) if file is None else read_history_checkpoint(settings, file)
    return _accept(invocation, settings, point, yes, as_json)


def _accept(
    invocation: Invocation, settings: Settings, point: HistoryCheckpoint, yes: bool, as_json: bool
) -> int:
    """Show what is remembered beside ``point``, ask, and replace it."""
    from sealstore.trust.record import TrustRecord
    from sealstore.upkeep.trust import accept_trust, remembered

    known = remembered(settings)
    if known is None:
        output.note("nothing is remembered here; this would be:")
    elif isinstance(known.found, TrustRecord):
        output.note("remembered here:")
        for name, value in _point_fields(known.found.point):
            output.note(f"  {name.ljust(10)}  {value}")
        output.note("this would be in its place:")
    else:
        output.show_error(known.found, debug=invocation.debug)
        output.note("this would be in its place:")
    for name, value in _point_fields(point):
        output.note(f"  {name.ljust(10)}  {value}")
    output.confirm(f"Accept it for {settings.trust_store().location}?", yes=yes)
    accepted = accept_trust(settings, point)
    if as_json:
        kept = None if accepted.kept is None else str(accepted.kept)
        output.document({**_record_json(accepted.record), "kept": kept})
        return DONE
    output.line(f"accepted size {point.size} of repository {point.repository}")
    if accepted.kept is not None:
        output.line(f"what was remembered before is kept in {accepted.kept}")
    return DONE


@trust.command(short_help="Remember nothing of the repository any more.")
@options.yes
@options.with_json
def forget(invocation: Invocation, yes: bool, as_json: bool) -> int:
    """Remember nothing of the repository any more: its next use is the first.

    From then on whatever genuine state lies there is taken for the newest.
    """
    from sealstore.trust import operating

    trust_store = invocation.settings().trust_store()
    known = operating.is_known(trust_store)
    output.confirm(f"Forget what was seen at {trust_store.location}?", yes=yes or not known)
    forgotten = operating.forget(trust_store)
    if as_json:
        output.document({"location": trust_store.location, "forgotten": forgotten})
    elif forgotten:
        output.line(f"forgot what was seen at {trust_store.location}")
    else:
        output.line(f"nothing is remembered of {trust_store.location}")
    return DONE
