"""list, show, history, verify: what is there, and whether it is what was signed."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

import click

from sealstore.cli import options, output
from sealstore.cli.invocation import DONE, FAILED, Invocation

if TYPE_CHECKING:
    from sealstore.errors import SealstoreError
    from sealstore.ledger.history import HistoryEntry
    from sealstore.repository.artifact import Artifact
    from sealstore.repository.facade import Repository
    from sealstore.repository.origins import KeptOrigin
    from sealstore.storage.catalogue import ArtifactRow
    from sealstore.storage.catalogue.listing import ListFilter
    from sealstore.upkeep.verify import VerifyReport

_KEY_ID_DIGITS: Final = 32


# ── list ─────────────────────────────────────────────────────────────────────


@click.command("list", short_help="List artifacts, each verified; refused ones are marked.")
@click.argument("name", required=False, shell_complete=options.complete_name)
@click.option("--tag", help="Only this tag.")
@click.option("--search", help="Only where name, tag or metadata contain this.")
@click.option("--actor", help="Only what this actor stored.")
@click.option("--format", help="Only payloads of this format.")
@click.option("--key", help="Only what this key signed: its id, or eight digits of it or more.")
@click.option(
    "--from",
    "created_from",
    callback=options.utc_time,
    help="Only from this UTC time on: 2026-11-23.",
)
@click.option(
    "--before", "created_before", callback=options.utc_time, help="Only before this UTC time."
)
@click.option("--newest", "newest_only", is_flag=True, help="Only the newest revision of each tag.")
@options.limit
@options.after
@options.with_json
def list_artifacts(
    invocation: Invocation,
    /,
    key: str | None,
    limit: int,
    after: int | None,
    as_json: bool,
    **given: Any,
) -> int:
    """List artifacts, the ones stored last first.

    Each statement is verified (payloads are not read: see 'verify'). Rows that do not pass are
    marked REFUSED, with the reason, and the exit code is 1.
    """
    from sealstore.audit.contents import walk_rows
    from sealstore.errors import SealstoreError

    listed: list[tuple[ArtifactRow, Artifact | SealstoreError]] = []
    with invocation.open() as repository:
        wanted = _conditions(repository, key, given)
        # One row more than is shown tells whether there is another page.
        rows = walk_rows(repository, wanted, limit=limit + 1, before_sequence=after)
        page = list(itertools.islice(rows, limit))
        more = next(rows, None) is not None
        for row in page:
            try:
                listed.append((row, repository.verify_row(row)))
            except SealstoreError as error:
                listed.append((row, error))
    next_after = page[-1].sequence if more else None
    if as_json:
        output.document(_list_json(listed, next_after))
    else:
        _show_list(listed, next_after)
    return FAILED if any(isinstance(found, SealstoreError) for _, found in listed) else DONE


def _conditions(repository: Repository, key: str | None, given: dict[str, Any]) -> ListFilter:
    from sealstore.admin.key_changes import key_named
    from sealstore.storage.catalogue.listing import ListFilter

    if key is not None and len(key) != _KEY_ID_DIGITS:
        key = key_named(repository.keyring, key).key_id
    return ListFilter(key_id=None if key is None else key.lower(), **given)


def _list_json(
    listed: list[tuple[ArtifactRow, Artifact | SealstoreError]], next_after: int | None
) -> dict[str, Any]:
    from sealstore.audit.findings import Finding, claimed_ref
    from sealstore.errors import SealstoreError

    artifacts, refused = [], []
    for row, found in listed:
        if isinstance(found, SealstoreError):
            claims = {
                field: output.claim(getattr(row, field))
                for field in ("sequence", "name", "tag", "revision", "key_id")
            }
            finding = Finding.of(found, claimed_ref(row))
            refused.append({**finding.to_json(), "unverified": claims})
        else:
            artifacts.append(found.to_json())
    return {"artifacts": artifacts, "refused": refused, "nextAfter": output.claim(next_after)}


def _show_list(
    listed: list[tuple[ArtifactRow, Artifact | SealstoreError]], next_after: int | None
) -> None:
    from sealstore.errors import SealstoreError

    if not listed:
        output.note("nothing is stored that fits")
        return
    rows = []
    for row, found in listed:
        if isinstance(found, SealstoreError):
            claims = (row.name, row.tag, row.revision)
            shown = [str(output.claim(claim)) for claim in claims]
            rows.append([*shown, "", "", "", "", f"REFUSED {found.message} [{found.code}]"])
        else:
            rows.append(
                [
                    found.name,
                    found.tag,
                    str(found.revision),
                    output.time_text(found.created),
                    output.size_text(found.size),
                    found.stored_by.actor or found.stored_by.user,
                    output.short_key(found.key_id),
                    "verified",
                ]
            )
    headers = ("NAME", "TAG", "REV", "STORED (UTC)", "SIZE", "ACTOR", "KEY", "STATEMENT")
    output.table(headers, rows, [isinstance(found, SealstoreError) for _, found in listed])
    if next_after is not None:
        output.note(f"there are more: add --after {next_after}")


# ── show ─────────────────────────────────────────────────────────────────────


@click.command(short_help="Show the verified statement of an artifact.")
@options.name
@click.argument("tag", default="latest", shell_complete=options.complete_tag)
@options.revision
@options.with_json
def show(invocation: Invocation, name: str, tag: str, revision: int | None, as_json: bool) -> int:
    """Show the verified statement of an artifact; TAG is the latest by default.

    The payload is not read: 'verify' does that.
    """
    import msgspec

    with invocation.open() as repository:
        artifact = repository.get(name, tag, revision=revision)
        # Of this very artifact: the tag may mean a different one by now.
        kept = repository.origin(artifact.name, artifact.tag, revision=artifact.revision)
    if as_json:
        origin = None if kept is None else msgspec.to_builtins(kept.origin)
        output.document({**artifact.to_json(), "origin": origin})
    else:
        output.fields([*_fields(artifact), *_origin_fields(kept)])
    return DONE


def _origin_fields(kept: KeptOrigin | None) -> list[tuple[str, str]]:
    if kept is None:
        return []
    origin, refusal = kept.origin, kept.refusal
    signed = f"signed with key {origin.key}, statement's SHA-256 {origin.statement}"
    if refusal is not None:
        signed += f"\nwhich is refused by now: {refusal.message} [{refusal.code}]"
    whence = f"repository {origin.repository}, there revision {origin.revision}"
    return [("imported from", f"{whence}\n{signed}")]


def _fields(artifact: Artifact) -> list[tuple[str, str]]:
    packages = "\n".join(f"{name} {version}" for name, version in artifact.packages.items())
    imports = "\n".join(entry.name for entry in artifact.imports)
    metadata = json.dumps(dict(artifact.metadata), indent=2, ensure_ascii=False)
    who = artifact.stored_by
    shown = [
        ("artifact", str(artifact.ref)),
        ("stored", f"{output.time_text(artifact.created)} UTC, as number {artifact.sequence}"),
        ("by", f"{who.user} on {who.host}" + (f", {who.actor}" if who.actor else "")),
        ("signed with key", artifact.key_id),
        ("payload", f"{artifact.format}, {output.size_text(artifact.size)}"),
        ("SHA-256", artifact.digests.sha256),
        ("BLAKE3", artifact.digests.blake3),
        ("statement's SHA-256", artifact.verified.digest),
        ("Python", artifact.python),
        ("packages", packages),
        ("imports", imports),
        ("metadata", "" if not artifact.metadata else metadata),
    ]
    return [(name, value) for name, value in shown if value]


# ── history ──────────────────────────────────────────────────────────────────


@click.command(short_help="Show what changed the repository.")
@click.argument("name", required=False, shell_complete=options.complete_name)
@click.argument("tag", required=False, shell_complete=options.complete_tag)
@options.limit
@options.after
@options.with_json
def history(
    invocation: Invocation,
    name: str | None,
    tag: str | None,
    limit: int,
    after: int | None,
    as_json: bool,
) -> int:
    """Show what changed the repository, the newest first.

    Each entry is proven to be in the history that the repository's signed head sums up. 'audit
    verify' proves the whole of it.
    """
    import msgspec

    from sealstore import limits

    limit = min(limit, limits.MAX_LIST_ROWS)
    with invocation.open() as repository:
        entries = repository.history(name, tag, limit=limit, after=after)
    next_after = entries[-1].sequence if len(entries) == limit else None
    if as_json:
        documents = [msgspec.to_builtins(entry) for entry in entries]
        output.document({"entries": documents, "nextAfter": next_after})
        return DONE
    headers = ("NUMBER", "EVENT", "AT (UTC)", "ACTOR", "ARTIFACT", "KEY")
    output.table(headers, [_history_row(entry) for entry in entries])
    if next_after is not None:
        output.note(f"there may be more: add --after {next_after}")
    if not entries:
        output.note("nothing is on record that fits")
    return DONE


def _history_row(entry: HistoryEntry) -> list[str]:
    about = entry.artifact
    artifact, key_id = "", entry.recorded_by
    if about is not None:
        artifact, key_id = f"{about.name}:{about.tag}@{about.revision}", about.key_id
    actor = entry.by.actor or entry.by.user
    at = output.time_text(entry.at)
    return [str(entry.sequence), entry.event, at, actor, artifact, output.short_key(key_id)]


# ── verify ───────────────────────────────────────────────────────────────────


@click.command(short_help="Verify artifacts and their payloads.")
@click.argument("name", required=False, shell_complete=options.complete_name)
@click.argument("tag", required=False, shell_complete=options.complete_tag)
@options.revision
@click.option("--all", "all_", is_flag=True, help="Every artifact, or every one of NAME or TAG.")
@click.option("--threads", type=click.IntRange(min=1), help="[default: as many as cores]")
@options.with_json
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
        _show_verified(report)
    return FAILED if report.findings else DONE


def _verify_all(
    repository: Repository, name: str | None, tag: str | None, threads: int | None
) -> VerifyReport:
    from sealstore.errors import ArtifactNotFound
    from sealstore.storage.catalogue.listing import ListFilter
    from sealstore.upkeep.verify import verify_all

    wanted = ListFilter(name=name, tag=tag)
    with output.progress() as progress:
        report = verify_all(repository, wanted, progress=progress, threads=threads)
    if name is not None and not report.artifacts:
        # A check of a misspelt name must not look like one that passed.
        about = name if tag is None else f"{name}:{tag}"
        raise ArtifactNotFound("There is no such artifact in this repository.", artifact=about)
    return report


def _show_verified(report: VerifyReport) -> None:
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
