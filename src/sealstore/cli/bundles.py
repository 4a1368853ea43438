"""bundle: artifacts in one file, verified without a network, and taken into another repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sealstore.cli import options, output
from sealstore.cli.invocation import DONE, FAILED, Invocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealstore.bundles.checking import BundleReport
    from sealstore.bundles.importing import ImportReport
    from sealstore.bundles.verification import VerifiedArtifact, VerifiedBundle
    from sealstore.keys.keyring import Key

_CONTINUITY: Final = {
    "first": "nothing of that repository was seen here before",
    "same": "the newest that was seen here",
    "extends": "proven to continue what was seen here before",
    "newer": "newer than what was seen here; that it continues that is not proven ('bundle create"
    " --since' adds the proof)",
    "older": "OLDER than what was seen here: accepted as you say",
    "rebuilt": "of a repository that was REBUILT since it was seen here: accepted as you say",
}


@click.group(short_help="Make, verify and import bundles of artifacts.", no_args_is_help=False)
def bundle() -> None:
    """Make, verify and import bundles: artifacts in one file, with all that proves them.

    A bundle is verified with the local keyring and without a network. It is the way into a site
    that has none.
    """


# ── create ───────────────────────────────────────────────────────────────────


@bundle.command(short_help="Write artifacts and what proves them to one file.")
@click.argument("file", type=click.Path())
@click.argument("names", nargs=-1, required=True, metavar="NAME[:TAG[@REVISION]]...")
@click.option(
    "--since",
    type=click.Path(),
    help="An older bundle that the receiver has: prove that the history continues it.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--actor", help="Who exports, such as a job's id.")
@options.with_json
def create(
    invocation: Invocation,
    file: str,
    names: tuple[str, ...],
    since: str | None,
    force: bool,
    actor: str | None,
    as_json: bool,
) -> int:
    """Write artifacts, and what proves them against the repository's head, to FILE.

    Each statement and each payload is verified first: FILE is there when all are, or not at all. A
    tag without a revision is its newest, a name without a tag the latest. FILE holds the payloads
    as they are: it is as confidential as they.
    """
    from sealstore.bundles.creating import create_bundle
    from sealstore.names import parse_request

    refs = [parse_request(name) for name in names]
    target = Path(file).absolute()
    older = None if since is None else Path(since).absolute()
    with invocation.open() as repository, output.progress() as progress:
        if target.resolve().is_relative_to(repository.root.resolve()):
            raise click.UsageError("FILE lies inside the repository.")
        made = create_bundle(
            repository, refs, target, since=older, replace=force, actor=actor, progress=progress
        )
    if as_json:
        output.document(made.to_json())
        return DONE
    count = output.counted(len(made.artifacts), "artifact")
    output.line(f"wrote {count} to {target}: {output.size_text(made.size)}")
    for artifact in made.artifacts:
        output.line(f"  {artifact.ref}  {artifact.digests.sha256}")
    output.line(f"repository {made.point.repository}, {made.point.size} entries of history")
    if made.hmac_keys:
        output.line(
            f"signed with HMAC keys ({', '.join(made.hmac_keys)}): it can be verified only where"
            " the keyring holds these very keys"
        )
    return DONE


# ── verify ───────────────────────────────────────────────────────────────────

_accept_head = click.option(
    "--accept-head",
    is_flag=True,
    help="Even if the bundle is older than what was seen of its repository here, or that was"
    " rebuilt since.",
)


@bundle.command(short_help="Verify a bundle with the local keyring.")
@click.argument("file", type=click.Path())
@click.option("--show-keys", is_flag=True, help="Show the public keys in it, to be compared.")
@_accept_head
@options.with_json
def verify(
    invocation: Invocation, file: str, show_keys: bool, accept_head: bool, as_json: bool
) -> int:
    """Verify FILE with the local keyring: head, settings, proofs, statements and payloads.

    No repository and no network is needed, and nothing is unpickled. The public keys in FILE are
    never trusted: whoever made it chose them. The exit code is 1 if anything is refused.
    """
    from sealstore.admin.keyring_file import configured_keyring
    from sealstore.bundles.checking import verify_bundle

    settings = invocation.settings()
    with output.progress() as progress:
        report = verify_bundle(
            Path(file).absolute(),
            settings,
            configured_keyring(settings),
            accept_head=accept_head,
            progress=progress,
        )
    if as_json:
        output.document(report.to_json())
    else:
        _show(report, show_keys=show_keys)
    return FAILED if report.findings else DONE


def _show(report: BundleReport, *, show_keys: bool) -> None:
    if show_keys:
        _show_keys(report.hints)
    if report.bundle is not None:
        output.fields(_head_fields(report.bundle))
    if report.artifacts:
        _show_artifacts(report.artifacts)
    output.findings(report.findings)
    verified = output.counted(len(report.artifacts), "artifact")
    summary = f"{verified}, {output.size_text(report.payload_bytes)}"
    if report.findings:
        output.line(f"{len(report.findings)} refused; verified: {summary}", colour="red")
    else:
        output.line(f"verified: {summary}", colour="green")


def _show_keys(keys: Sequence[Key]) -> None:
    from sealstore.keys.writing import fingerprint

    if not keys:
        output.line("the bundle carries no public keys")
        return
    headers = ("KEY IN THE BUNDLE, NOT TRUSTED", "ALGORITHM", "FINGERPRINT (SHA-256)")
    output.table(headers, [[key.key_id, key.algorithm, fingerprint(key) or ""] for key in keys])


def _head_fields(bundle: VerifiedBundle) -> list[tuple[str, str]]:
    point = bundle.point
    algorithm = bundle.keyring.get(bundle.head.key_id).algorithm
    return [
        ("repository", point.repository),
        ("head", f"{output.time_text(point.time)} UTC, {point.size} entries of history"),
        ("signed with key", f"{bundle.head.key_id} ({algorithm})"),
        ("settings", f"version {point.settings_version}, key {bundle.settings.key_id}"),
        ("continuity", _CONTINUITY[bundle.continuity.value]),
    ]


def _show_artifacts(artifacts: Sequence[VerifiedArtifact]) -> None:
    from sealstore.bundles.checking import imported_from

    rows = []
    for artifact in artifacts:
        statement, origin = artifact.verified.statement, imported_from(artifact)
        rows.append(
            [
                str(statement.ref),
                output.size_text(statement.predicate.size),
                statement.digests.sha256,
                output.short_key(artifact.verified.key_id),
                "" if origin is None else f"imported from {origin.repository}",
            ]
        )
    output.table(("ARTIFACT", "SIZE", "SHA-256", "KEY", ""), rows)


# ── import ───────────────────────────────────────────────────────────────────


@bundle.command("import", short_help="Take a bundle's artifacts into the repository.")
@click.argument("file", type=click.Path())
@click.option("--actor", help="Who imports, such as a job's id.")
@_accept_head
@click.option("--removed-too", is_flag=True, help="Import again what was removed here.")
@options.with_json
def import_(
    invocation: Invocation,
    file: str,
    actor: str | None,
    accept_head: bool,
    removed_too: bool,
    as_json: bool,
) -> int:
    """Verify FILE as 'bundle verify' does, then take its artifacts in: all that are new, or none.

    Nothing is inspected or loaded. The repository signs a statement of its own for each artifact;
    its history names the origin, whose statement is kept. The local policy applies. What is there
    already is passed over.
    """
    from sealstore.bundles.importing import import_bundle

    with invocation.open() as repository, output.progress() as progress:
        report = import_bundle(
            repository,
            Path(file).absolute(),
            actor=actor,
            accept_head=accept_head,
            removed_too=removed_too,
            progress=progress,
        )
    if as_json:
        output.document(report.to_json())
    else:
        _show_import(report)
    return DONE


def _show_import(report: ImportReport) -> None:
    for each in report.imported:
        there = each.origin.revision
        output.line(f"imported {each.artifact.ref} (revision {there} at its origin)")
    for skipped in report.skipped:
        output.line(f"skipped {skipped.ref}: {skipped.reason}, as revision {skipped.present}")
    output.line(
        f"{output.counted(len(report.imported), 'artifact')} of repository {report.repository}"
        " imported",
        colour="green",
    )
    output.line(f"its head: {_CONTINUITY[report.continuity.value]}")
    if not report.remembered:
        output.line("that head is not remembered: later bundles are held against the one before")
