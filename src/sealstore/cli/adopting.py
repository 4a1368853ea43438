"""inspect and adopt: looking into payloads, and signing files that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealstore.cli import output
from sealstore.cli.completion import complete_name, complete_tag
from sealstore.cli.invocation import DONE, FAILED, Invocation, pass_invocation

if TYPE_CHECKING:
    from sealstore.admin.adoption import Adoption
    from sealstore.formats.pickling.inspection import Inspection


@click.command(short_help="Show what loading a file or an artifact would import and do.")
@click.argument("name", required=False, shell_complete=complete_name)
@click.argument("tag", default="latest", shell_complete=complete_tag)
@click.option("--revision", type=click.IntRange(min=1), help="[default: the newest]")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="A joblib or pickle file instead of an artifact.",
)
@click.option(
    "--resign", is_flag=True, help="Store the artifact again, with what the inspection found."
)
@click.option("--actor", help="Who asks for it, for the statement.")
@output.json_option
@pass_invocation
def inspect(
    invocation: Invocation,
    name: str | None,
    tag: str,
    revision: int | None,
    path: Path | None,
    resign: bool,
    actor: str | None,
    as_json: bool,
) -> int:
    """Show what loading would import and do. Nothing is imported, and nothing of it runs.

    The exit code is 1 if anything speaks against loading it.
    """
    from sealstore.admin.adoption import inspect as inspect_target
    from sealstore.admin.adoption import inspect_again

    if (name is None) == (path is None):
        raise click.UsageError("Say what: NAME [TAG], or --file PATH.")
    if path is not None:
        if resign:
            raise click.UsageError("A file is signed with 'sealstore adopt --sign'.")
        return _show_inspection(inspect_target(path), as_json=as_json)
    with invocation.open() as repository:
        artifact = repository.get(name or "", tag, revision=revision)
        if resign:
            stored = inspect_again(repository, artifact, actor)
            output.note(f"stored {stored.ref}, inspected anew")
            artifact = stored
        return _show_inspection(inspect_target(artifact, repository=repository), as_json=as_json)


def _show_inspection(inspection: Inspection, *, as_json: bool) -> int:
    if as_json:
        from sealstore.admin.adoption import inspection_to_json

        output.document(inspection_to_json(inspection))
        return FAILED if inspection.findings else DONE
    output.fields(
        [
            ("protocol", str(inspection.protocol)),
            ("compression", inspection.compression or "none"),
            ("confined by", ", ".join(inspection.confinement) or "nothing: its digest is signed"),
        ]
    )
    for kind in inspection.arrays:
        output.line(f"array       {kind.count} x {kind.dtype} {kind.shape}")
    for found in inspection.imports:
        output.line(f"import      {found.name}")
        for use in found.uses:
            arguments = "" if use.arguments is None else f" ({', '.join(use.arguments)})"
            output.line(f"            {use.use}{arguments}")
    for finding in inspection.findings:
        output.line(f"REFUSED     {finding.text} [{finding.reason}]", colour="red")
    return FAILED if inspection.findings else DONE


@click.command(short_help="Inspect existing joblib files, and sign them as they are.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--sign", is_flag=True, help="Store what nothing speaks against. [default: a dry run]"
)
@click.option(
    "--map",
    "mapping",
    type=click.Path(path_type=Path),
    help="A TOML file with the name and tag of each file whose name does not tell.",
)
@click.option(
    "--allow-unconfined",
    is_flag=True,
    help="Sign although the kernel has neither seccomp nor Landlock.",
)
@click.option("--actor", help="Who adopts, for the statements.")
@output.json_option
@pass_invocation
def adopt(
    invocation: Invocation,
    paths: tuple[Path, ...],
    sign: bool,
    mapping: Path | None,
    allow_unconfined: bool,
    actor: str | None,
    as_json: bool,
) -> int:
    """Inspect the files of a hetida folder, or single ones, and judge them by the policy.

    No file is ever loaded, and none is changed. Without --sign nothing is stored either. The exit
    code is 1 if a file is refused, or if its name needs a mapping.
    """
    from sealstore.admin.adoption import Outcome
    from sealstore.admin.adoption import adopt as adopt_files
    from sealstore.hetida.legacy_folder import find_files, read_mapping

    files = find_files(paths, None if mapping is None else read_mapping(mapping))
    with invocation.open() as repository, output.progress() as progress:
        adoptions = adopt_files(
            files,
            repository,
            sign=sign,
            allow_unconfined=allow_unconfined,
            actor=actor,
            progress=progress,
        )
    if as_json:
        output.document([adoption.to_json() for adoption in adoptions])
    else:
        _show_adoptions(adoptions, signed=sign)
    failed = {Outcome.REFUSED, Outcome.AMBIGUOUS}
    return FAILED if any(adoption.outcome in failed for adoption in adoptions) else DONE


def _show_adoptions(adoptions: list[Adoption], *, signed: bool) -> None:
    from sealstore.admin.adoption import Outcome

    rows = []
    for adoption in adoptions:
        named = adoption.stored or " or ".join(map(str, adoption.file.candidates))
        imports = "" if adoption.inspection is None else str(len(adoption.inspection.imports))
        shown = (adoption.file.path.name, adoption.outcome.value, str(named), imports)
        rows.append((*shown, adoption.reason))
    marked = [adoption.outcome is Outcome.REFUSED for adoption in adoptions]
    output.table(("FILE", "OUTCOME", "ARTIFACT", "IMPORTS", "REASON"), rows, marked)
    if not signed and any(adoption.outcome is Outcome.SIGNABLE for adoption in adoptions):
        output.line("a dry run: nothing was stored; add --sign to store what is signable")
