"""verify and doctor: whether all is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sealstore.cli import output
from sealstore.cli.completion import complete_name, complete_tag
from sealstore.cli.invocation import DONE, FAILED, Invocation, pass_invocation

if TYPE_CHECKING:
    from sealstore.repository.facade import Repository
    from sealstore.upkeep.verify import VerifyReport


@click.command(short_help="Verify artifacts and their payloads.")
@click.argument("name", required=False, shell_complete=complete_name)
@click.argument("tag", required=False, shell_complete=complete_tag)
@click.option("--revision", type=click.IntRange(min=1), help="[default: the newest]")
@click.option("--all", "all_", is_flag=True, help="Every artifact, or every one of NAME or TAG.")
@click.option("--threads", type=click.IntRange(min=1), help="[default: as many as cores]")
@output.json_option
@pass_invocation
def verify(
    invocation: Invocation,
    name: str | None,
    tag: str | None,
    revision: int | None,
    all_: bool,
    threads: int | None,
    as_json: bool,
) -> int:
    """Verify statements, and both digests of payloads. Nothing is unpickled.

    NAME alone is the latest of it. With --all each distinct payload is hashed once. The exit code
    is 1 if anything is refused.
    """
    if name is None and not all_:
        raise click.UsageError("Say which: NAME [TAG], or --all.")
    if revision is not None and (all_ or tag is None):
        raise click.UsageError("A revision belongs to NAME and TAG.")
    with invocation.open() as repository:
        if all_:
            report = _verify_all(repository, name, tag, threads)
        else:
            from sealstore.upkeep.verify import verify_one

            report = verify_one(repository, name or "", tag or "latest", revision)
    if as_json:
        output.document(report.to_json())
    else:
        _show(report)
    return FAILED if report.findings else DONE


def _verify_all(
    repository: Repository, name: str | None, tag: str | None, threads: int | None
) -> VerifyReport:
    from sealstore.errors import ArtifactNotFound
    from sealstore.storage.catalogue import ListFilter
    from sealstore.upkeep.verify import verify_all

    wanted = ListFilter(name=name, tag=tag)
    with output.progress() as progress:
        report = verify_all(repository, wanted, progress=progress, threads=threads)
    if name is not None and not report.artifacts:
        # A check of a misspelt name must not look like one that passed.
        raise ArtifactNotFound("There is no such artifact in this repository.", artifact=name)
    return report


def _show(report: VerifyReport) -> None:
    output.findings(report.findings)
    summary = (
        f"{output.counted(report.artifacts, 'artifact')},"
        f" {output.counted(report.payloads, 'payload')},"
        f" {output.size_text(report.hashed_bytes)} in {report.hashing_seconds:.2f} s"
        f" ({report.megabytes_per_second:.0f} MB/s)"
    )
    if report.findings:
        output.line(f"{len(report.findings)} refused: {summary}", colour="red")
    else:
        output.line(f"verified: {summary}", colour="green")


@click.command(short_help="Show what is configured, from where, and what is wrong.")
@output.json_option
@pass_invocation
def doctor(invocation: Invocation, as_json: bool) -> int:
    """Show what is configured, from where, what is wrong, and the command that mends it.

    Nothing is changed. The exit code is 1 if anything is wrong.
    """
    from sealstore.upkeep.doctor import Level, doctor

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
