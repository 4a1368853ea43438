"""fsck and gc: whether all of a repository is sound, and what can be removed from it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from sealstore.cli import output
from sealstore.cli.invocation import DONE, FAILED, Invocation, pass_invocation

if TYPE_CHECKING:
    from sealstore.upkeep.fsck.report import FsckReport
    from sealstore.upkeep.gc import Candidate, GcReport

_SHOWN: Final = 20


@click.command(short_help="Check everything that the repository has.")
@click.option("--threads", type=click.IntRange(min=1), help="[default: as many as cores]")
@output.json_option
@pass_invocation
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
@click.option("--actor", help="Who does it, such as a job's id.")
@output.json_option
@pass_invocation
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
