"""fsck, gc, rebuild, backup, restore, doctor: a repository kept sound."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sealstore.cli import options, output
from sealstore.cli.invocation import DONE, FAILED, Invocation

if TYPE_CHECKING:
    from sealstore.upkeep.fsck.report import FsckReport
    from sealstore.upkeep.gc import Candidate, GcReport
    from sealstore.upkeep.rebuild.plan import RebuildReport

_SHOWN: Final = 20


@click.command(short_help="Check everything that the repository has.")
@click.option("--threads", type=click.IntRange(min=1), help="[default: as many as cores]")
@options.with_json
def fsck(invocation: Invocation, threads: int | None, as_json: bool) -> int:
    """Check everything that the repository has against what is signed; nothing is repaired.

    Head and trust state, history, map, the catalogue's rows, both digests of every payload,
    mirrored statements, files and their permissions, the access log. The exit code is 1 if anything
    is wrong; what is only worth knowing is a note.
    """
    from sealstore.upkeep.fsck import fsck as check

    with output.progress() as progress:
        report = check(invocation.settings(), progress=progress, threads=threads)
    if as_json:
        output.document(report.to_json())
    else:
        _show_check(report)
    return FAILED if report.findings else DONE


def _show_check(report: FsckReport) -> None:
    output.findings([finding for _, finding in report.findings])
    further = report.findings_in_all - len(report.findings)
    if further:
        output.line(f"and {further} more", colour="red")
    for note in report.notes:
        output.line(f"note {note.section}: {note.text}", colour="yellow")
        output.line(f"  to do: {note.hint}")
    summary = (
        f"{output.counted(report.artifacts, 'artifact')},"
        f" {report.entries} entries of the history, {report.map_records} records of the map,"
        f" {output.counted(report.files, 'file')},"
        f" {output.counted(report.payloads, 'payload')} with"
        f" {output.size_text(report.hashed_bytes)} in {report.hashing_seconds:.2f} s"
        f" ({report.megabytes_per_second:.0f} MB/s)"
    )
    if report.findings:
        output.line(f"{report.findings_in_all} wrong: {summary}", colour="red")
    else:
        output.line(f"sound: {summary}", colour="green")


# ── gc ───────────────────────────────────────────────────────────────────────


def _grace(_: click.Context, __: click.Parameter, value: str) -> int:
    from sealstore.repository.settings import duration

    seconds = 0 if value in ("0", "0s") else duration(value)
    if seconds is None:
        raise click.BadParameter("give seconds, or as 90m, 36h, 7d.")
    return seconds


@click.command(short_help="Remove payloads that no artifact needs any more.")
@click.option("--delete", is_flag=True, help="Remove them. [default: only show them]")
@click.option(
    "--grace",
    default="14d",
    callback=_grace,
    show_default=True,
    help="Only what was not needed and not touched for so long: seconds, or as 36h, 7d.",
)
@click.option("--set-aside", is_flag=True, help="Also files with wrong bytes that were set aside.")
@options.actor
@options.with_json
def gc(
    invocation: Invocation,
    delete: bool,
    grace: int,
    set_aside: bool,
    actor: str | None,
    as_json: bool,
) -> int:
    """Show, or with --delete remove, payloads that no artifact needs any more.

    What is needed is proven first, from the signed head and the history: where anything is wrong,
    nothing is removed and the exit code is 1. What was removed is put on record in the history.
    """
    from sealstore.upkeep.gc import collect

    with invocation.open() as repository, output.progress() as progress:
        report = collect(
            repository,
            delete=delete,
            grace=grace,
            set_aside=set_aside,
            actor=actor,
            progress=progress,
        )
    if as_json:
        output.document(report.to_json())
    else:
        _show_collected(report)
    return FAILED if report.findings else DONE


def _show_collected(report: GcReport) -> None:
    if report.findings:
        output.findings(report.findings)
        output.line("nothing was removed: what is needed is not proven", colour="red")
        return
    listed = report.removed if report.deleting else report.candidates
    for candidate in listed[:_SHOWN]:
        output.line(
            f"{candidate.kind}: {candidate.path}, {output.size_text(candidate.size)}, not needed"
            f" for {_age_text(candidate)}"
        )
    if len(listed) > _SHOWN:
        output.line(f"and {len(listed) - _SHOWN} more (--json lists them all)")
    what = f"{output.counted(len(listed), 'file')}, {_total(listed)}"
    if report.deleting:
        output.line(f"removed: {what}", colour="green")
        if report.mirrored:
            output.line(f"mirrored: {output.counted(report.mirrored, 'missing statement')}")
        if report.put_away:
            output.line(f"put away: {output.counted(report.put_away, 'mirrored statement')}")
    else:
        output.line(f"can be removed: {what}" + ("; --delete does it" if listed else ""))
    if report.young:
        output.line(
            f"not yet: {output.counted(len(report.young), 'file')}, {_total(report.young)}, whose"
            " grace is not over"
        )


def _total(candidates: list[Candidate]) -> str:
    return output.size_text(sum(candidate.size for candidate in candidates))


def _age_text(candidate: Candidate) -> str:
    seconds = max(0.0, time.time() - candidate.since)
    days, hours = divmod(int(seconds) // 3_600, 24)
    return f"{output.counted(days, 'day')} and {output.counted(hours, 'hour')}"


# ── rebuild ──────────────────────────────────────────────────────────────────


_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Make a lost catalogue again from what is signed.")
@click.option("--write", "do_write", is_flag=True, help="Do it. [default: only show what would be]")
@click.option("--history", "export", type=_FILE, help="The newest file of 'audit export'.")
@click.option("--checkpoint", type=_FILE, help="The newest file of 'audit checkpoint'.")
@click.option(
    "--epoch", type=click.IntRange(min=2), help="The new epoch, where nothing remembers the old."
)
@click.option(
    "--accept-retired",
    is_flag=True,
    help="Also take what retired keys signed, where nothing proves that it was on record.",
)
@click.option("--force", is_flag=True, help="Also replace a catalogue with which nothing is wrong.")
@options.yes
@options.actor
@options.with_json
def rebuild(
    invocation: Invocation,
    do_write: bool,
    export: Path | None,
    checkpoint: Path | None,
    epoch: int | None,
    accept_retired: bool,
    force: bool,
    yes: bool,
    actor: str | None,
    as_json: bool,
) -> int:
    """Show, or with --write make, a new catalogue from what is signed.

    Statements come from statements/ and from what is left of the old catalogue, removals and moves
    from its history, from its proven map, or from an export. What was removed stays removed, what
    is not signed stays out, what cannot be recovered is listed. The old catalogue is set aside. The
    new history is a new epoch, which an admin's key begins: each client refuses it until 'sealstore
    trust accept --current'.
    """
    from sealstore.upkeep.rebuild import rebuild as run

    if do_write:
        output.confirm("Put a new catalogue in the place of the old one?", yes=yes)
    with output.progress() as progress:
        report = run(
            invocation.settings(),
            do_write=do_write,
            export=export,
            checkpoint=checkpoint,
            epoch=epoch,
            accept_retired=accept_retired,
            force=force,
            actor=actor,
            progress=progress,
        )
    if as_json:
        output.document(report.to_json())
    else:
        _show_rebuilt(report)
    return DONE


def _show_rebuilt(report: RebuildReport) -> None:
    last = report.last_known
    output.fields(
        [
            ("repository", report.repository),
            ("last known", "nothing" if last is None else f"size {last.size}, root {last.root}"),
            ("settings", f"version {report.settings_version}"),
            ("history", f"{report.proven_entries} of {report.entries} entries are proven"),
            ("new epoch", str(report.epoch)),
        ]
    )
    for title, refs in (("recovered", report.recovered), ("stays removed", report.removed)):
        for ref in refs[:_SHOWN]:
            output.line(f"{title}: {ref}")
        if len(refs) > _SHOWN:
            output.line(f"and {len(refs) - _SHOWN} more (--json lists them all)")
    output.findings(report.lost)
    for note in report.notes:
        output.line(f"note: {note}", colour="yellow")
    what = output.counted(len(report.recovered), "artifact")
    lost = f", {output.counted(len(report.lost), 'thing')} lost" if report.lost else ""
    if not report.written:
        output.line(f"can be recovered: {what}{lost}; --write does it")
        return
    output.line(f"recovered: {what}{lost}", colour="green")
    output.line("each client refuses it until 'sealstore trust accept --current' is run there")


# ── backup and restore ───────────────────────────────────────────────────────


_FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.command(short_help="Add a snapshot to a backup.")
@_FOLDER
@click.option("--copy", is_flag=True, help="Share no file with the repository.")
@click.option("--quick", is_flag=True, help="Do not read again what the snapshot before has.")
@click.option("--keep", type=click.IntRange(min=1), help="Drop all but so many snapshots.")
@options.with_json
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
    shell_complete=options.complete_snapshot,
    help="Which: its name, or how it begins. [default: the newest]",
)
@click.option(
    "--accept-retired",
    is_flag=True,
    help="Take one whose head a key signed that is retired by now, and sign that again.",
)
@click.option("--list", "listing", is_flag=True, help="Only show which snapshots there are.")
@options.with_json
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


# ── doctor ───────────────────────────────────────────────────────────────────


@click.command(short_help="Show what is configured, from where, and what is wrong.")
@options.with_json
def doctor(invocation: Invocation, as_json: bool) -> int:
    """Show what is configured, from where, what is wrong, and the command that mends it.

    Nothing is changed. The exit code is 1 if anything is wrong.
    """
    from sealstore.upkeep.doctor import doctor
    from sealstore.upkeep.doctor.check import Level

    checks = doctor(invocation.environment(), invocation.options())
    wrong = [check for check in checks if check.level is Level.WRONG]
    if as_json:
        output.document({"ok": not wrong, "checks": [check.to_json() for check in checks]})
        return FAILED if wrong else DONE
    colours = {Level.OK: "green", Level.NOTE: "yellow", Level.WRONG: "red"}
    for check in checks:
        output.line(f"{check.level:5} {check.topic}: {check.text}", colour=colours[check.level])
        if check.fix:
            output.line(f"      to do: {check.fix}")
    if wrong:
        output.line(f"{output.counted(len(wrong), 'thing')} to mend", colour="red")
    else:
        output.line("all is well", colour="green")
    return FAILED if wrong else DONE
