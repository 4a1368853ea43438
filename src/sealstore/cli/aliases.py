"""alias and approve: names that mean one artifact, and the approvals that their moves need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealstore import limits
from sealstore.cli import options, output
from sealstore.cli.invocation import DONE, Invocation

if TYPE_CHECKING:
    from sealstore.ledger.history import HistoryEntry
    from sealstore.repository.aliasing import Alias
    from sealstore.signed.approval import AliasMove


_alias = click.argument("alias", shell_complete=options.complete_alias)
_approvals = click.option(
    "--approval",
    "approvals",
    type=click.Path(path_type=Path),
    multiple=True,
    help="An approval of this very move, from 'approve sign'; more than one may be given.",
)


@click.group(short_help="Set, list, roll back, remove and protect aliases.")
def alias() -> None:
    """Set, list, roll back, remove and protect aliases.

    An alias, such as production, is loaded like a tag and means one artifact of its name. Each
    change of that is a move in the history; moves of a protected alias need approvals.
    """


# ── moving ───────────────────────────────────────────────────────────────────


@alias.command("set", short_help="Let an alias mean an artifact.")
@options.name
@_alias
@options.tag
@options.revision
@_approvals
@options.actor
@options.with_json
def set_(
    invocation: Invocation,
    name: str,
    alias: str,
    tag: str,
    revision: int | None,
    approvals: tuple[Path, ...],
    actor: str | None,
    as_json: bool,
) -> int:
    """Let ALIAS of NAME mean TAG, in its newest revision or the given one."""
    from sealstore.admin.approvals import read_approvals

    given = read_approvals(approvals)
    with invocation.open() as repository:
        moved = repository.set_alias(
            name, alias, tag, revision=revision, approvals=given, actor=actor
        )
    show_moved(moved, as_json)
    return DONE


@alias.command(short_help="Let an alias mean what it meant before its last move.")
@options.name
@_alias
@_approvals
@options.actor
@options.with_json
def rollback(
    invocation: Invocation,
    name: str,
    alias: str,
    approvals: tuple[Path, ...],
    actor: str | None,
    as_json: bool,
) -> int:
    """Let ALIAS of NAME mean what it meant before its last move.

    That is a move of its own: of a protected alias, it needs approvals of its own, too ('approve
    request' without a TAG). A second rollback leads back.
    """
    from sealstore.admin.approvals import read_approvals

    given = read_approvals(approvals)
    with invocation.open() as repository:
        moved = repository.rollback_alias(name, alias, approvals=given, actor=actor)
    show_moved(moved, as_json)
    return DONE


def show_moved(moved: Alias, as_json: bool) -> None:
    """Say what an alias means now."""
    if as_json:
        output.document(moved.to_json())
        return
    output.line(
        f"{moved.name}:{moved.alias} means {moved.tag}@{moved.revision} now, by move {moved.move}"
    )


@alias.command(short_help="Let an alias mean nothing any more.")
@options.name
@_alias
@options.actor
@options.yes
@options.with_json
def remove(
    invocation: Invocation, name: str, alias: str, actor: str | None, yes: bool, as_json: bool
) -> int:
    """Let ALIAS of NAME mean nothing any more: loading it is an error.

    It stays an alias, with its history; nothing can be stored under it as a tag.
    """
    with invocation.open() as repository:
        output.confirm(f"Let {name}:{alias} mean nothing any more?", yes=yes)
        repository.remove_alias(name, alias, actor=actor)
    return output.answer(
        as_json,
        {"removed": {"name": name, "alias": alias}},
        f"{name}:{alias} means nothing any more",
    )


# ── looking ──────────────────────────────────────────────────────────────────


@alias.command("list", short_help="List what aliases mean.")
@click.argument("name", required=False, shell_complete=options.complete_name)
@options.with_json
def list_(invocation: Invocation, name: str | None, as_json: bool) -> int:
    """List what the aliases of NAME mean: all of them, which is proven.

    Without NAME, those of every name that the catalogue lists. Which aliases are protected is
    listed, too.
    """
    from sealstore.storage.catalogue.listing import artifact_names

    with invocation.open() as repository:
        names = artifact_names(repository.catalogue) if name is None else [name]
        found = [each for known in names for each in repository.aliases(known)]
        protected = dict(sorted(repository.state.document.protected_aliases.items()))
    if as_json:
        output.document({"aliases": [each.to_json() for each in found], "protected": protected})
        return DONE
    if not found:
        output.note("there are no aliases")
    else:
        headers = ("NAME", "ALIAS", "TAG", "REV", "MOVE", "APPROVALS")
        output.table(headers, [_row(each) for each in found])
    for protected_alias, needed in protected.items():
        output.line(f"{protected_alias}: a move needs {output.counted(needed, 'approval')}")
    return DONE


def _row(each: Alias) -> list[str]:
    needed = str(each.approvals_needed) if each.approvals_needed else ""
    return [each.name, each.alias, each.tag, str(each.revision), str(each.move), needed]


@alias.command(short_help="Show the moves of an alias.")
@options.name
@_alias
@options.limit
@options.after
@options.with_json
def history(
    invocation: Invocation, name: str, alias: str, limit: int, after: int | None, as_json: bool
) -> int:
    """Show the moves of ALIAS of NAME, the newest first.

    Each is proven to be in the history, and that none is missing.
    """
    import msgspec

    with invocation.open() as repository:
        entries = repository.alias_history(name, alias, limit=limit, after=after)
    oldest = entries[-1].details["move"] if entries else None
    next_after = oldest if len(entries) == limit and oldest != 1 else None
    if as_json:
        moves = [msgspec.to_builtins(entry) for entry in entries]
        output.document({"moves": moves, "nextAfter": next_after})
        return DONE
    headers = ("MOVE", "AT (UTC)", "ACTOR", "MEANS", "BEFORE", "APPROVED BY")
    output.table(headers, [_history_row(entry) for entry in entries])
    if next_after is not None:
        output.note(f"there are more: add --after {next_after}")
    return DONE


def _history_row(entry: HistoryEntry) -> list[str]:
    details: dict[str, Any] = entry.details
    approvers = [
        output.short_key(text) for key, text in details.items() if key.startswith("approval_")
    ]
    return [
        str(details.get("move")),
        output.time_text(entry.at),
        entry.by.actor or entry.by.user,
        _meaning(details.get("tag"), details.get("revision")),
        _meaning(details.get("previous_tag"), details.get("previous_revision")),
        " ".join(approvers),
    ]


def _meaning(tag: object, revision: object) -> str:
    return "nothing" if tag is None else f"{tag}@{revision}"


# ── protecting ───────────────────────────────────────────────────────────────


@alias.command(short_help="Let moves of an alias need approvals.")
@click.argument("alias")
@click.option(
    "--approvals",
    type=click.IntRange(min=1, max=limits.MAX_APPROVALS),
    required=True,
    help="By how many approvers' keys a move has to be approved.",
)
@options.actor
@options.yes
@options.with_json
def protect(
    invocation: Invocation, alias: str, approvals: int, actor: str | None, yes: bool, as_json: bool
) -> int:
    """Let moves of ALIAS, of whatever name, need approvals; an admin key signs that.

    It holds for every load from then on: what the alias means already needs them, too. A move that
    is made with approvals before the alias is protected loads on without a break.
    """
    from sealstore.admin.approvals import aliases_named, protect_alias

    with invocation.open() as repository:
        names = ", ".join(found.name for found in aliases_named(repository, alias))
        about = f" It is an alias of {names}." if names else ""
        needed = output.counted(approvals, "approval")
        output.confirm(f"Let each move of {alias} need {needed}?{about}", yes=yes)
        done = protect_alias(repository, alias, approvals, actor)
    if as_json:
        output.document(
            {
                "alias": alias,
                "approvalsNeeded": approvals,
                "settingsVersion": done.settings.version,
                "notApproved": [each.to_json() for each in done.unapproved],
                "approvers": done.approvers,
            }
        )
        return DONE
    output.line(
        f"each move of {alias} needs {needed} from now on, as version {done.settings.version} of"
        " the settings says"
    )
    for each in done.unapproved:
        output.line(
            f"{each.name}:{alias} loads nothing until a move of it is approved: 'sealstore approve"
            f" request {each.name} {alias} {each.tag} --revision {each.revision} --output FILE'",
            colour="yellow",
        )
    if done.approvers < approvals:
        output.note(
            f"this keyring has {output.counted(done.approvers, 'active key')} that may approve"
            " here; loaders need the public parts of the approvers' keys, with the role approve"
        )
    return DONE


@alias.command(short_help="Let moves of an alias need no approvals any more.")
@click.argument("alias")
@options.actor
@options.yes
@options.with_json
def unprotect(
    invocation: Invocation, alias: str, actor: str | None, yes: bool, as_json: bool
) -> int:
    """Let moves of ALIAS need no approvals any more; an admin key signs that."""
    from sealstore.admin.approvals import unprotect_alias

    with invocation.open() as repository:
        output.confirm(f"Let moves of {alias} need no approvals any more?", yes=yes)
        changed = unprotect_alias(repository, alias, actor)
    return output.answer(
        as_json,
        {"alias": alias, "approvalsNeeded": 0, "settingsVersion": changed.version},
        f"moves of {alias} need no approvals any more, as version {changed.version} of the"
        " settings says",
    )


# ── approve: asking for approvals of a move, giving one, moving with them ────


_output_option = click.option(
    "--output",
    "file",
    type=click.Path(path_type=Path),
    required=True,
    help="The new file to write.",
)


@click.group(short_help="Ask for approvals of an alias's move, give one, make the move.")
def approve() -> None:
    """Ask for approvals of an alias's move, give one, make the move.

    'request' writes what is to be approved to a file; each approver turns it into an approval with
    'sign', on a machine of their own that needs no repository; 'apply' makes the move with them.
    """


def _fields(move: AliasMove) -> list[tuple[str, str]]:
    """All that an approval signs."""
    target, previous = move.target, move.previous
    before = "nothing" if previous is None else f"{previous.tag}@{previous.revision}"
    shown = [
        ("repository", move.repository),
        ("name", move.name),
        ("alias", move.alias),
        ("move", str(move.move)),
        ("from", before),
        ("its statement", "" if previous is None else previous.statement),
        ("to", f"{target.tag}@{target.revision}"),
        ("its statement", target.statement),
        ("settings", f"version {move.settings_version}"),
    ]
    return [(name, value) for name, value in shown if value]


def _json(move: AliasMove) -> dict[str, Any]:
    import msgspec

    described: dict[str, Any] = msgspec.to_builtins(move)
    return described


@approve.command(short_help="Write what is to be approved to a file.")
@options.name
@click.argument("alias", shell_complete=options.complete_alias)
@click.argument("tag", required=False, shell_complete=options.complete_tag)
@options.revision
@_output_option
@options.with_json
def request(
    invocation: Invocation,
    name: str,
    alias: str,
    tag: str | None,
    revision: int | None,
    file: Path,
    as_json: bool,
) -> int:
    """Write the move that lets ALIAS of NAME mean TAG to a file, to be approved.

    Without TAG it is the rollback: to what the alias meant before its last move. The request is for
    the very next move under the settings of today; any other change of the alias outdates it.
    """
    from sealstore.admin.approvals import write_request

    if tag is None and revision is not None:
        raise click.UsageError("--revision goes with a TAG.")
    with invocation.open() as repository:
        move = repository.request_approvals(name, alias, tag, revision=revision)
        needed = repository.state.document.protected_aliases.get(move.alias, 0)
    write_request(file, move)
    if as_json:
        output.document({"move": _json(move), "approvalsNeeded": needed, "file": str(file)})
        return DONE
    output.fields(_fields(move))
    output.line(f"wrote the request to {file}; the move needs {output.counted(needed, 'approval')}")
    return DONE


@approve.command(short_help="Sign a request, on any machine with an approver's key.")
@click.argument("request", metavar="FILE", type=click.Path(path_type=Path))
@_output_option
@click.option("--key", help="The key: its id, or eight digits of it or more. [default: the newest]")
@options.yes
@options.with_json
def sign(
    invocation: Invocation, request: Path, file: Path, key: str | None, yes: bool, as_json: bool
) -> int:
    """Show what a request is for, and sign it with a key of the role approve.

    Only the keyring is needed. Nothing tells whether the request is what the repository holds: an
    approver compares it with what is to be approved, by the statement's SHA-256 above all
    ('sealstore show').
    """
    from sealstore.admin.approvals import read_request, sign_approval, write_new_file
    from sealstore.admin.keyring_file import configured_keyring

    settings = invocation.settings()
    move = read_request(request)
    if not as_json:
        output.fields(_fields(move))
    output.confirm("Approve exactly this?", yes=yes)
    approval = sign_approval(settings, configured_keyring(settings), move, key)
    write_new_file(file, approval.envelope)
    return output.answer(
        as_json,
        {"move": _json(move), "keyId": approval.key_id, "file": str(file)},
        f"approved with key {approval.key_id}; wrote the approval to {file}",
    )


@approve.command(short_help="Make a requested move with its approvals.")
@click.argument("request", type=click.Path(path_type=Path))
@click.argument("approvals", metavar="APPROVAL...", nargs=-1, type=click.Path(path_type=Path))
@options.actor
@options.with_json
def apply(
    invocation: Invocation,
    request: Path,
    approvals: tuple[Path, ...],
    actor: str | None,
    as_json: bool,
) -> int:
    """Make the move of REQUEST with the files from its approvers.

    It is refused if anything has changed since the request was written.
    """
    from sealstore.admin.approvals import read_approvals, read_request

    move, given = read_request(request), read_approvals(approvals)
    with invocation.open() as repository:
        moved = repository.apply_move(move, approvals=given, actor=actor)
    show_moved(moved, as_json)
    return DONE
