"""backup and restore."""

from __future__ import annotations

from pathlib import Path

import click

from sealstore.cli import output
from sealstore.cli.completion import complete_snapshot
from sealstore.cli.invocation import DONE, Invocation, pass_invocation

_FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.command(short_help="Add a snapshot to a backup.")
@_FOLDER
@click.option("--copy", is_flag=True, help="Share no file with the repository.")
@click.option("--quick", is_flag=True, help="Do not read again what the snapshot before has.")
@click.option("--keep", type=click.IntRange(min=1), help="Drop all but so many snapshots.")
@output.json_option
@pass_invocation
def backup(
    invocation: Invocation, folder: Path, copy: bool, quick: bool, keep: int | None, as_json: bool
) -> int:
    """Add a snapshot of the repository to the backup in FOLDER, while others load and store.

    Its history, map and access log are proven, and each payload is read. Payloads that an earlier
    snapshot has are not copied again; others are linked where FOLDER lies on the same file system.
    What was damaged in an earlier snapshot is mended there. Keys are not in it: keep a copy of the
    keyring somewhere else.
    """
    from sealstore.upkeep.backup import backup as run

    with invocation.open() as repository, output.progress() as progress:
        report = run(repository, folder, copy=copy, quick=quick, keep=keep, progress=progress)
    if as_json:
        output.document(report.to_json())
        return DONE
    output.line(
        f"backed up: {output.counted(report.artifacts, 'artifact')},"
        f" {output.counted(report.payloads, 'payload')} with"
        f" {output.size_text(report.payload_bytes)}; copied {report.copied}"
        f" ({output.size_text(report.copied_bytes)}), linked {report.linked}",
        colour="green",
    )
    output.line(f"snapshot: {report.snapshot}")
    for payload in report.mended:
        output.note(f"payload {payload} was damaged in the backup, and is mended: check that disk")
    for name in report.dropped:
        output.line(f"dropped: {name}")
    if not report.has_access_log:
        output.note("the access log is elsewhere, and not in this backup")
    output.note("keys are not in it: keep a copy of the keyring somewhere else")
    return DONE


@click.command(short_help="Put a repository in its place, out of a backup.")
@_FOLDER
@click.option(
    "--snapshot",
    "name",
    shell_complete=complete_snapshot,
    help="Which: its name, or how it begins. [default: the newest]",
)
@click.option(
    "--accept-retired",
    is_flag=True,
    help="Take one whose head a key signed that is retired by now, and sign that anew.",
)
@click.option("--list", "listing", is_flag=True, help="Only show which snapshots there are.")
@output.json_option
@pass_invocation
def restore(
    invocation: Invocation,
    folder: Path,
    name: str | None,
    accept_retired: bool,
    listing: bool,
    as_json: bool,
) -> int:
    """Put the repository in its place, absent or empty, out of the backup in FOLDER.

    It is copied beside that place, checked as fsck does, and moved there if nothing is wrong. Loads
    of a state that is older than what this client has seen are refused until an operator says that
    it is right: 'sealstore trust accept --current'.
    """
    from sealstore.upkeep.backup.snapshot import snapshots_in
    from sealstore.upkeep.restore import restore as run

    if not folder.is_dir():
        raise click.ClickException(f"There is no folder {folder}.")
    if listing:
        found = snapshots_in(folder)
        if as_json:
            output.document({"snapshots": [each.to_json() for each in found]})
            return DONE
        for each in found:
            output.line(f"{each.path.name}  {each.at:%Y-%m-%d %H:%M:%S} UTC, {each.size} entries")
        if not found:
            output.note(f"there is no snapshot in {folder}: it may not be a backup's folder")
        return DONE
    with output.progress() as progress:
        report = run(
            invocation.settings(),
            folder,
            name=name,
            accept_retired=accept_retired,
            progress=progress,
        )
    if as_json:
        output.document(report.to_json())
        return DONE
    output.line(
        f"restored: {output.counted(report.checked.artifacts, 'artifact')},"
        f" {output.counted(report.checked.payloads, 'payload')}, all checked, to {report.root}",
        colour="green",
    )
    for key_id in report.accepted_key_ids:
        output.line(f"accepted: what retired key {key_id} had signed has today's signatures")
    if report.checked.access_entries is None and invocation.settings().access_log_url is None:
        output.note("there is no access log in it: 'sealstore audit init' begins one")
    if report.remembered_size is not None:
        output.line(
            f"this client has seen {report.remembered_size} entries, and refuses this older state"
            " until 'sealstore trust accept --current'; so does every other client"
        )
    return DONE
