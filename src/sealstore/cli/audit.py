"""audit: the ledger for whoever has to answer for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealstore.cli import options, output
from sealstore.cli.audit_log import log
from sealstore.cli.invocation import DONE, FAILED, Invocation, pass_invocation

if TYPE_CHECKING:
    from sealstore.audit.chains import ChainName, Ledger
    from sealstore.audit.verifying import AuditReport, ChainReport
    from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
    from sealstore.repository.settings import Settings

CHAINS = ("history", "access")


@click.group(short_help="Read, verify, prove and report what was changed and loaded.")
def audit() -> None:
    """Read, verify, prove and report the ledger.

    Two chains: the history says what changed the repository, the access log what was loaded,
    verified, exported and inspected, by whom, and what was refused.
    """


# ── verify ───────────────────────────────────────────────────────────────────


@audit.command(short_help="Verify every entry against the signed heads.")
@click.option("--chain", type=click.Choice([*CHAINS, "both"]), help="[default: both]")
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="CHECKPOINT",
    help="Only what was appended since this checkpoint; that nothing before it was rewritten or"
    " cut off is proven. Once for each chain.",
)
@click.option(
    "--export",
    "exported",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Verify a file of 'audit export' instead; no repository is asked.",
)
@options.with_json
def verify(
    invocation: Invocation,
    chain: str | None,
    since: tuple[Path, ...],
    exported: Path | None,
    as_json: bool,
) -> int:
    """Hash every entry, and hold it, its row, stored hashes and the map against the signed head.

    Entries that were changed, removed, moved or added are found and named, and so are entries that
    were cut off at the end. That they were cut off together with the head, in whose place an older
    one was put, is found only against something that was kept: the checkpoint of --since, or what
    this client remembers (the trust state). Where neither is there, this command says so.

    The exit code is 1 if anything is wrong.
    """
    from sealstore.audit.exporting import verify_export
    from sealstore.audit.verifying import AuditReport, verify_ledger

    settings = invocation.settings()
    points = _checkpoints(settings, since)
    with output.progress() as progress:
        if exported is not None:
            if chain is not None:
                raise click.UsageError("--chain does not go with --export: the file says which.")
            found = verify_export(
                settings, exported, since=_only(list(points.values())), progress=progress
            )
            report = AuditReport([found])
        else:
            wanted = _chain_to_verify(chain, points)
            report = verify_ledger(settings, chain=wanted, since=points, progress=progress)
    if as_json:
        output.document(report.to_json())
    else:
        _show(report)
    return DONE if report.is_sound else FAILED


def _checkpoints(
    settings: Settings, paths: tuple[Path, ...]
) -> dict[ChainName, HistoryCheckpoint | AccessCheckpoint]:
    from sealstore.audit.chains import chain_of
    from sealstore.audit.documents import read_checkpoint

    points: dict[ChainName, HistoryCheckpoint | AccessCheckpoint] = {}
    for path in paths:
        point = read_checkpoint(settings, path).checkpoint
        if chain_of(point) in points:
            raise click.UsageError("Two checkpoints are of one chain: give the older one.")
        points[chain_of(point)] = point
    return points


def _only(
    points: list[HistoryCheckpoint | AccessCheckpoint],
) -> HistoryCheckpoint | AccessCheckpoint | None:
    if len(points) > 1:
        raise click.UsageError("An export is of one chain: give one checkpoint.")
    return points[0] if points else None


def _chain_to_verify(chain: str | None, points: Mapping[ChainName, object]) -> ChainName | None:
    from sealstore.audit.chains import ChainName

    if chain in CHAINS:
        wanted = ChainName(chain)
        if points and wanted not in points:
            raise click.UsageError(f"No checkpoint that was given is of the chain {wanted}.")
        return wanted
    # Who gives the checkpoint of one chain asks for that chain.
    return next(iter(points)) if chain is None and len(points) == 1 else None


def _show(report: AuditReport) -> None:
    output.findings([finding.finding for finding in report.findings])
    for chain in report.chains:
        output.line(_described(chain), colour="red" if chain.findings else "green")
        for text in _notes(chain):
            output.note(text)


def _described(report: ChainReport) -> str:
    if report.head is None or report.hashed is None:
        return f"{report.chain}: REFUSED"
    hashed = report.hashed
    word = "verified" if not report.findings else f"{report.findings.count} REFUSED"
    seconds = hashed.hashing_seconds + hashed.decoding_seconds
    since = f" since {report.start:,}" if report.start else ""
    entries = "entry" if hashed.entries == 1 else "entries"
    records = "" if report.map_records is None else f", {report.map_records:,} records of the map"
    return (
        f"{report.chain}: {word}: {hashed.entries:,} {entries}{since} of {report.head.size:,},"
        f" {hashed.nodes:,} stored hashes{records} in {seconds:.2f} s"
        f" ({report.entries_per_second:,.0f} entries/s)"
    )


def _notes(report: ChainReport) -> list[str]:
    from sealstore.audit.verifying import CUT_IS_NOT_SEEN

    more = report.findings.count - len(report.findings.shown)
    notes = [f"{report.chain}: {more:,} findings more"] if more else []
    if not report.compared_with:
        return [*notes, f"{report.chain}: {CUT_IS_NOT_SEEN}"]
    compared = " and ".join(
        f"a {each.kind} of {each.size:,} entries ({output.time_text(each.time)} UTC)"
        for each in report.compared_with
    )
    return [*notes, f"{report.chain}: the head was held against {compared}"]


# ── report ───────────────────────────────────────────────────────────────────


@audit.command(short_help="Draw a page: loads and refusals over time.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--from", "from_", callback=options.utc_time, help="Count only from this UTC time on."
)
@click.option("--before", callback=options.utc_time, help="Count only before this UTC time.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@pass_invocation
def report(
    invocation: Invocation, file: Path, from_: str | None, before: str | None, force: bool
) -> int:
    """Verify the ledger, and draw loads and refusals over time, by artifact, key, host and actor.

    FILE is one HTML page without scripts, which fetches nothing. The exit code is 1 if the ledger
    does not verify; the page then says so on top.
    """
    from sealstore.audit.report import write_report

    with output.progress() as progress:
        found = write_report(
            invocation.settings(), file, since=from_, until=before, force=force, progress=progress
        )
    _show(found)
    output.note(f"drawn: {file}")
    return DONE if found.is_sound else FAILED


# ── init ─────────────────────────────────────────────────────────────────────


@audit.command(short_help="Make an access log where loaders may write.")
@options.with_json
def init(invocation: Invocation, as_json: bool) -> int:
    """Make the access log that MODEL_REPO_ACCESS_LOG_URL names, where there is none yet.

    A repository has one of its own. Loaders that mount the repository read-only, or that are not to
    share a log, each get one by this.
    """
    from sealstore.upkeep.access_log import create_access_log

    location = create_access_log(invocation.settings())
    return output.answer(as_json, {"location": location}, f"made the access log {location}")


audit.add_command(log)


# ── documents: what is kept or handed to others ──────────────────────────────


_chain_option = click.option(
    "--chain",
    type=click.Choice(["history", "access"]),
    default="history",
    show_default=True,
    help="Which chain.",
)
_force_option = click.option("--force", is_flag=True, help="Replace the file if it exists.")


# ── checkpoint ───────────────────────────────────────────────────────────────


@audit.command(short_help="Sign what the chain is now, to be kept elsewhere.")
@_chain_option
@click.option(
    "--output", "file", type=click.Path(path_type=Path), help="[default: standard output]"
)
@_force_option
@options.with_json
def checkpoint(
    invocation: Invocation, chain: str, file: Path | None, force: bool, as_json: bool
) -> int:
    """Sign a checkpoint of a chain: a C2SP signed note, which people and other tools can read.

    Keep it where nobody who can write to the repository can reach it. With it, 'audit verify
    --since' later finds any rewriting or truncation of what is there now.
    """
    from sealstore.audit.chains import ChainName, open_ledger
    from sealstore.audit.documents import make_checkpoint

    with open_ledger(invocation.settings()) as ledger:
        made = make_checkpoint(ledger, ChainName(chain))
        if file is not None:
            _warn_of_place(ledger, file)
            output.write(file, made.note, force=force)
    if as_json:
        output.document(made.to_json())
    elif file is None:
        # Nothing in it is from outside, and it is signed as it is.
        click.echo(made.note.decode(), nl=False)
    else:
        output.line(
            f"checkpoint of the chain at entry {made.checkpoint.size:,}, signed with key"
            f" {made.key_id}: {file}"
        )
    return DONE


def _warn_of_place(ledger: Ledger, file: Path) -> None:
    if file.resolve().is_relative_to(ledger.repository.root.resolve()):
        output.note(
            "warning: the file lies in the repository: who rewrites the one can replace the other"
        )


@audit.command(short_help="Prove that one checkpoint leads to another.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path), required=False)
@options.with_json
def consistency(invocation: Invocation, old: Path, new: Path | None, as_json: bool) -> int:
    """Prove that all that the checkpoint OLD sums up is in NEW unchanged, by RFC 9162.

    Without NEW: in what is there now. The proof is verified before it is shown.
    """
    from sealstore.audit.chains import open_ledger
    from sealstore.audit.documents import consistency as consistency_of
    from sealstore.audit.documents import read_checkpoint

    settings = invocation.settings()
    older = read_checkpoint(settings, old).checkpoint
    newer = None if new is None else read_checkpoint(settings, new).checkpoint
    with open_ledger(settings) as ledger:
        proven = consistency_of(ledger, older, newer)
    if as_json:
        output.document(proven.to_json())
        return DONE
    output.line(
        f"consistent: the {proven.newer.size:,} entries of {proven.newer.origin} begin with the"
        f" {proven.older.size:,} of the older checkpoint",
        colour="green",
    )
    for digest in proven.proof:
        output.line(digest.hex())
    return DONE


# ── proofs ───────────────────────────────────────────────────────────────────


@audit.command(short_help="Prove one entry, in a document of its own.")
@click.argument("sequence", type=click.IntRange(min=1))
@_chain_option
@click.option(
    "--output", "file", type=click.Path(path_type=Path), help="[default: standard output]"
)
@_force_option
@pass_invocation
def prove(invocation: Invocation, sequence: int, chain: str, file: Path | None, force: bool) -> int:
    """Prove the entry SEQUENCE: with its inclusion proof and the signed head, as JSON.

    'audit check-proof' verifies it wherever the keys are, without the repository.
    """
    import msgspec

    from sealstore.audit.chains import ChainName, open_ledger
    from sealstore.audit.documents import prove_entry

    with open_ledger(invocation.settings()) as ledger:
        document = prove_entry(ledger, ChainName(chain), sequence)
    if file is None:
        output.document(msgspec.to_builtins(document))
    else:
        data = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
        output.write(file, data, force=force)
        output.line(f"proof of entry {sequence}: {file}")
    return DONE


@audit.command("check-proof", short_help="Verify the proof of an entry, without the repository.")
@click.argument("file", type=click.Path(path_type=Path))
@options.with_json
def check_proof(invocation: Invocation, file: Path, as_json: bool) -> int:
    """Verify a document of 'audit prove' with the keys of the keyring, and show what it proves.

    Nothing is asked of any repository: that a key was revoked is known from the keyring only.
    """
    import json

    import msgspec

    from sealstore.audit.documents import check_proof as checked

    proven = checked(invocation.settings(), file)
    if as_json:
        output.document(proven.to_json())
        return DONE
    head = proven.head
    output.line(
        f"proven: entry {proven.entry.sequence} of {head.size:,} in the {proven.chain} chain of"
        f" repository {head.repository}, by the head of {output.time_text(head.time)} UTC, signed"
        f" with key {proven.key_id}",
        colour="green",
    )
    said = msgspec.to_builtins(proven.entry)
    output.fields([(name, json.dumps(value, ensure_ascii=False)) for name, value in said.items()])
    return DONE


# ── export ───────────────────────────────────────────────────────────────────


@audit.command(short_help="Write a whole chain to a file that proves itself.")
@click.argument("file", type=click.Path(path_type=Path))
@_chain_option
@_force_option
@pass_invocation
def export(invocation: Invocation, file: Path, chain: str, force: bool) -> int:
    """Write all entries of a chain to FILE, as lines of JSON below its signed head.

    Every entry is verified first; nothing is written if one is not the head's. 'audit verify
    --export FILE' verifies it again, wherever the keys are.
    """
    from sealstore.audit.chains import ChainName, open_ledger
    from sealstore.audit.exporting import export_chain

    with open_ledger(invocation.settings()) as ledger, output.progress() as progress:
        head = export_chain(ledger, ChainName(chain), file, force=force, progress=progress)
    output.line(f"exported {head.size:,} entries of {head.origin}: {file}")
    return DONE
