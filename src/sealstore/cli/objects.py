"""store, export, remove, inspect, adopt: objects in, payloads out."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sealstore.cli import options, output
from sealstore.cli.invocation import DONE, FAILED, Invocation, pass_invocation

if TYPE_CHECKING:
    from sealstore.admin.adoption import Adoption
    from sealstore.formats.pickling.inspection import Inspection
    from sealstore.repository.facade import Repository

COMPRESSIONS: Final = ("zlib", "gzip", "bz2", "lzma", "xz", "lz4")
_IMPORT_PATH: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def _import_path(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    if not _IMPORT_PATH.fullmatch(value):
        raise click.BadParameter("write it as package.module:attribute.", ctx, parameter)
    return value


def _compression(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """What ``joblib.dump`` takes: a level, a method, or both."""
    if value is None:
        return 0
    method, _, level = value.partition(":")
    if re.fullmatch("[0-9]", value):
        return int(value)
    if method not in COMPRESSIONS or not re.fullmatch("[0-9]?", level):
        raise click.BadParameter(
            f"give a level (0 to 9), a method ({', '.join(COMPRESSIONS)}), or both as zlib:3.",
            ctx,
            parameter,
        )
    return (method, int(level)) if level else method


# ── store ────────────────────────────────────────────────────────────────────


@click.command(short_help="Store an object, named by its import path.")
@click.argument("import_path", metavar="MODULE:ATTRIBUTE", callback=_import_path)
@options.name
@options.tag
@click.option("--metadata", help="A JSON object to keep with it, signed.")
@click.option("--compress", callback=_compression, help="A level (0 to 9), a method, or zlib:3.")
@click.option("--actor", help="Who stores it, such as a job's id.")
@options.with_json
def store(
    invocation: Invocation,
    import_path: str,
    name: str,
    tag: str,
    metadata: str | None,
    compress: Any,
    actor: str | None,
    as_json: bool,
) -> int:
    """Store the object ATTRIBUTE of MODULE under NAME and TAG.

    MODULE is imported, and so runs; modules in the current folder are found, as with 'python -m'.
    """
    parsed = _metadata(metadata)
    # Modules and reducers may print; standard output is for the result.
    with invocation.open() as repository, contextlib.redirect_stdout(sys.stderr):
        obj = _imported(import_path)
        artifact = repository.store(obj, name, tag, metadata=parsed, compress=compress, actor=actor)
    return output.answer(
        as_json,
        artifact.to_json(),
        f"stored {artifact.ref}: {output.size_text(artifact.size)}, signed with key"
        f" {artifact.key_id}",
    )


def _metadata(text: str | None) -> dict[str, Any] | None:
    import msgspec

    from sealstore.errors import InvalidMetadataError, StatementFormatError
    from sealstore.signed.statement import refuse_ambiguous_json

    if text is None:
        return None
    try:
        data = text.encode("utf-8")
        refuse_ambiguous_json(data, "metadata")
        parsed: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    except (StatementFormatError, msgspec.MsgspecError, ValueError) as error:
        reason = error.message if isinstance(error, StatementFormatError) else str(error)
        raise InvalidMetadataError(f"The metadata is no JSON object: {reason}") from error
    return parsed


def _imported(import_path: str) -> object:
    module_name, _, attribute = import_path.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found
    except (Exception, SystemExit) as error:
        raise click.ClickException(
            f"{import_path} cannot be imported ({type(error).__name__}: {error})."
        ) from error
    finally:
        sys.path.pop(0)


# ── export ───────────────────────────────────────────────────────────────────


@click.command(short_help="Write an artifact's verified payload to a file.")
@options.name
@options.tag
@click.argument("file", type=click.Path())
@options.revision
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@pass_invocation
def export(
    invocation: Invocation, name: str, tag: str, file: str, revision: int | None, force: bool
) -> int:
    """Write an artifact's verified payload to FILE, whole or not at all; '-' is standard output.

    What is written was verified, and is verified no more: whoever loads it with joblib relies on
    nobody having changed FILE.
    """
    target = None if file == "-" else Path(file).absolute()
    if target is None and sys.stdout.isatty():
        raise click.UsageError("A payload is not for a terminal: redirect standard output.")
    with invocation.open() as repository:
        if target is not None and target.resolve().is_relative_to(repository.root.resolve()):
            raise click.UsageError("FILE lies inside the repository.")
        artifact, payload = repository.read_payload(name, tag, revision=revision)
        if target is None:
            sys.stdout.buffer.write(payload)
            sys.stdout.buffer.flush()
        else:
            output.write(target, payload, force=force, mode=0o600)
    output.note(f"exported {artifact.ref}: {output.size_text(artifact.size)}")
    return DONE


# ── remove ───────────────────────────────────────────────────────────────────


@click.command(short_help="Take a tag, or one revision of it, out of the repository.")
@options.name
@options.tag
@click.option("--revision", type=click.IntRange(min=1), help="Only this one. [default: all]")
@click.option("--actor", help="Who removes it, such as a job's id.")
@options.yes
@options.with_json
def remove(
    invocation: Invocation,
    name: str,
    tag: str,
    revision: int | None,
    actor: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Take a tag, or one revision of it, out of the repository.

    Revisions' numbers are not given out again, and the history keeps that they were there.
    """
    with invocation.open() as repository:
        count = _count(repository, name, tag, revision)
        what = f"{name}:{tag}" + ("" if revision is None else f"@{revision}")
        output.confirm(
            f"Remove {what} ({output.counted(count, 'revision')})?", yes=yes or not count
        )
        removed = repository.remove(name, tag, revision=revision, actor=actor)
    if as_json:
        output.document(
            {
                "removed": [
                    {"name": ref.name, "tag": ref.tag, "revision": ref.revision} for ref in removed
                ]
            }
        )
    else:
        for ref in removed:
            output.line(f"removed {ref}")
    return DONE


def _count(repository: Repository, name: str, tag: str, revision: int | None) -> int:
    from sealstore.storage.catalogue.listing import ListFilter, count_artifacts

    count = count_artifacts(repository.catalogue, ListFilter(name=name, tag=tag))
    return min(count, 1) if revision is not None else count


# ── inspect, adopt ───────────────────────────────────────────────────────────


@click.command(short_help="Show what loading a file or an artifact would import and do.")
@click.argument("name", required=False, shell_complete=options.complete_name)
@click.argument("tag", default="latest", shell_complete=options.complete_tag)
@options.revision
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
@options.with_json
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
            output.note(f"stored {stored.ref}, inspected again")
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
@options.with_json
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
    if any(marked):
        output.note("'sealstore inspect --file FILE' shows what a refused file would import and do")
    if not signed and any(adoption.outcome is Outcome.SIGNABLE for adoption in adoptions):
        output.line("a dry run: nothing was stored; add --sign to store what is signable")
