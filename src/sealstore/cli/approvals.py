"""approve: asking for approvals of a move, giving one, and making the move with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealstore.cli import output
from sealstore.cli.aliases import show_moved
from sealstore.cli.completion import complete_alias, complete_name, complete_tag
from sealstore.cli.invocation import DONE, Invocation, pass_invocation

if TYPE_CHECKING:
    from sealstore.signed.approval import AliasMove

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
@click.argument("name", shell_complete=complete_name)
@click.argument("alias", shell_complete=complete_alias)
@click.argument("tag", required=False, shell_complete=complete_tag)
@click.option("--revision", type=click.IntRange(min=1), help="[default: the newest]")
@_output_option
@output.json_option
@pass_invocation
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
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.json_option
@pass_invocation
def sign(
    invocation: Invocation,
    request: Path,
    file: Path,
    key: str | None,
    yes: bool,
    as_json: bool,
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
    if as_json:
        output.document({"move": _json(move), "keyId": approval.key_id, "file": str(file)})
    else:
        output.line(f"approved with key {approval.key_id}; wrote the approval to {file}")
    return DONE


@approve.command(short_help="Make a requested move with its approvals.")
@click.argument("request", type=click.Path(path_type=Path))
@click.argument("approvals", metavar="APPROVAL...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--actor", help="Who does it, such as a job's id.")
@output.json_option
@pass_invocation
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
