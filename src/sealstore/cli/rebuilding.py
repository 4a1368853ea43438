"""rebuild: a new catalogue from what is signed, where the old one is lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealstore.cli import output
from sealstore.cli.invocation import DONE, Invocation, pass_invocation

if TYPE_CHECKING:
    from sealstore.upkeep.rebuild.plan import RebuildReport

_SHOWN = 20
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Make a lost catalogue anew from what is signed.")
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
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--actor", help="Who does it, such as a job's id.")
@output.json_option
@pass_invocation
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
        _show(report)
    return DONE


def _show(report: RebuildReport) -> None:
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
