"""Importing a bundle: the origin's word is kept as evidence, and this repository gives its own.

A load accepts a statement of its own repository only. So each artifact gets one, of the same
payload and with what the origin's statement says of it; the history's entry of that store names the
origin (``sealstore.repository.origins``). Nothing is inspected and nothing is loaded: the origin's
list of imports is taken over, and this repository's policy is applied to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sealstore.bundles.checking import distinct_payloads, keys_explained, newest_seen, origin_trust
from sealstore.bundles.file import BundleFile, open_bundle
from sealstore.bundles.verification import (
    Continuity,
    VerifiedArtifact,
    VerifiedBundle,
    verify_evidence,
)
from sealstore.errors import (
    BundleRefusedError,
    PayloadDigestError,
    RepairWarning,
    SealstoreError,
    StorageError,
    warn_caller,
)
from sealstore.keys.keyring import Role
from sealstore.names import ArtifactRef, Name, Tag
from sealstore.repository import environment
from sealstore.repository.artifact import Artifact
from sealstore.repository.assembly import Parts
from sealstore.repository.facade import Repository
from sealstore.repository.history_entries import Detail
from sealstore.repository.loading import about
from sealstore.repository.map_changes import tag_value
from sealstore.repository.origins import Origin, origin_of
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.recording import Change, change
from sealstore.repository.storing import mirror, record_store
from sealstore.signed.statement import Statement, StoredBy
from sealstore.storage import layout
from sealstore.storage.blobs.contract import CommitOutcome
from sealstore.trust import operating


@dataclass(frozen=True, slots=True)
class Imported:
    """An artifact that was imported.

    Attributes:
        artifact: it, as this repository has it now.
        origin: where it comes from.
    """

    artifact: Artifact
    origin: Origin


@dataclass(frozen=True, slots=True)
class Skipped:
    """An artifact that was not imported, since nothing about it is new here.

    Attributes:
        ref: which one, at its origin.
        present: the revision here that holds it, or held it.
        reason: why, in words.
    """

    ref: ArtifactRef
    present: int
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        repository: id of the repository that the bundle comes from.
        continuity: how its head stands to what was seen of that repository before.
        imported: what is here now, in the order in which the origin had stored it.
        skipped: what was here.
        remembered: whether the bundle's head is remembered as the newest that was seen.
    """

    repository: str
    continuity: Continuity
    imported: list[Imported] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    remembered: bool = False

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "repository": self.repository,
            "continuity": self.continuity.value,
            "headRemembered": self.remembered,
            "imported": [
                {**each.artifact.to_json(), "origin": msgspec.to_builtins(each.origin)}
                for each in self.imported
            ],
            "skipped": [
                {
                    "name": each.ref.name,
                    "tag": each.ref.tag,
                    "revision": each.ref.revision,
                    "presentAs": each.present,
                    "reason": each.reason,
                }
                for each in self.skipped
            ],
        }


def import_bundle(
    repository: Repository,
    path: Path,
    *,
    actor: str | None = None,
    accept_head: bool = False,
    removed_too: bool = False,
    progress: Progress = no_progress,
) -> ImportReport:
    """Take a bundle's artifacts into a repository: all that are new, or none.

    Args:
        repository: into which.
        path: the bundle.
        actor: who imports, for the statements.
        accept_head: whether an older head than one seen before will do, or a rebuilt repository's.
        removed_too: whether to import again what was imported before, and removed here.
        progress: hears of the phases ``payloads`` and ``copies`` (bytes).

    Raises:
        BundleFormatError, StorageError: the file is no bundle, or cannot be read.
        VerificationError, CatalogueTamperedError: something in the bundle is refused.
        BundleRefusedError: it comes from this very repository.
        PolicyError: the policy refuses an artifact's imports.
        ImmutableTagError, AliasInTheWayError: a tag of it cannot be stored here.
        NoSigningKeyError: no active key may store here.
        StorageError, CatalogueError: disk or database refused.
    """
    parts, who = repository.parts, environment.stored_by(actor)
    parts.keyring.signer(Role.STORE, parts.id)
    with open_bundle(path) as file:
        seen = partial(newest_seen, parts.settings)
        with keys_explained(file.evidence):
            bundle, artifacts = verify_evidence(
                file.evidence, parts.keyring, seen, accept_head=accept_head
            )
        if bundle.repository == parts.id:
            raise BundleRefusedError(
                "The bundle comes from this very repository.",
                path=path,
                hint="what was lost here is restored from a backup.",
            )
        in_order = sorted(artifacts, key=lambda each: each.verified.statement.predicate.sequence)
        _require_policy(parts, in_order)
        _copy_payloads(parts, file, in_order, progress)
    report = ImportReport(bundle.repository, bundle.continuity)
    envelopes = _record(parts, bundle, in_order, who, report, removed_too=removed_too)
    for each, (own, origins) in zip(report.imported, envelopes, strict=True):
        mirror(parts, each.artifact.ref, own)
        mirror(parts, each.artifact.ref, origins, folder=layout.ORIGINS_FOLDER)
    report.remembered = _remember(parts, bundle)
    return report


def _require_policy(parts: Parts, artifacts: Sequence[VerifiedArtifact]) -> None:
    policies = parts.state.known().policies
    for each in artifacts:
        with about(each.verified.statement.ref):
            policies.check(each.verified.statement.predicate.imports)


# ── the payloads ─────────────────────────────────────────────────────────────


def _copy_payloads(
    parts: Parts, file: BundleFile, artifacts: Sequence[VerifiedArtifact], progress: Progress
) -> None:
    """Make every payload durable under its SHA-256; none of them before all have been verified."""
    statements = [each.verified.statement for each in artifacts]
    for statement in distinct_payloads(statements, file.payload_bytes, progress):
        with about(statement.ref):
            file.copy_payload(statement.digests, statement.predicate.size)

    def copied(_: str, done: int, total: int) -> None:
        progress("copies", done, total)

    for statement in distinct_payloads(statements, file.payload_bytes, copied):
        with about(statement.ref):
            _copy_payload(parts, file, statement)


def _copy_payload(parts: Parts, file: BundleFile, statement: Statement) -> None:
    with parts.blobs.stage() as staged:
        file.copy_payload(statement.digests, statement.predicate.size, staged.write)
        # What is linked is what was hashed while it was written; the bundle may change meanwhile.
        if staged.finish() != (statement.digests, statement.predicate.size):
            raise PayloadDigestError("The payload was not written as it was read.")
        if staged.commit() is CommitOutcome.MENDED:
            warn_caller(
                f"{statement.ref}: wrong bytes lay in the payload's place; moved aside.",
                RepairWarning,
            )


# ── the record ───────────────────────────────────────────────────────────────


class _NothingNewError(Exception):
    """Leaves a change that would change nothing."""


def _record(
    parts: Parts,
    bundle: VerifiedBundle,
    artifacts: Sequence[VerifiedArtifact],
    who: StoredBy,
    report: ImportReport,
    *,
    removed_too: bool,
) -> list[tuple[bytes, bytes]]:
    """Put all that is new on record, in one transaction. Returns its envelopes, here and there."""
    details: dict[str, Detail] = {}
    if bundle.continuity in (Continuity.OLDER, Continuity.REBUILT):
        details["accepted_head"] = bundle.continuity.value
    envelopes: list[tuple[bytes, bytes]] = []
    try:
        with change(parts, who) as (made, state):
            present = _Present(made, removed_too=removed_too)
            # gc removes in such a transaction, too: what is here now stays until this one ends.
            payloads = set(parts.blobs.sha256s())
            for each in artifacts:
                statement = each.verified.statement
                with about(statement.ref):
                    skipped = present.skipped(each)
                    if skipped is not None:
                        report.skipped.append(skipped)
                        continue
                    if statement.digests.sha256 not in payloads:
                        raise StorageError(
                            "The payload was collected while the bundle was imported.",
                            hint="import it again.",
                        )
                    origin = Origin.of(each.verified, bundle.point)
                    sequence = made.sequence
                    draft = msgspec.structs.replace(
                        statement.predicate,
                        repository=parts.id,
                        created=environment.now(),
                        stored_by=who,
                    )
                    said = origin.details() | details
                    verified, own = record_store(made, state, draft, statement.digests, **said)
                    made.transaction.insert_origin(sequence, each.envelope)
                    present.add(sequence, each)
                envelopes.append((own, each.envelope))
                report.imported.append(Imported(Artifact(verified), origin))
            if not report.imported:
                raise _NothingNewError
    except _NothingNewError:
        pass
    return envelopes


class _Present:
    """What the repository has already, as the proven map and history say, or this import adds.

    Args:
        made: the import's change.
        removed_too: whether what was removed here counts as absent.
    """

    def __init__(self, made: Change, *, removed_too: bool) -> None:
        self._made = made
        self._removed_too = removed_too
        self._added: dict[int, tuple[str, str]] = {}

    def add(self, sequence: int, artifact: VerifiedArtifact) -> None:
        """Take note of what is being imported as this entry."""
        verified = artifact.verified
        self._added[sequence] = (verified.statement.digests.sha256, verified.digest)

    def skipped(self, artifact: VerifiedArtifact) -> Skipped | None:
        """Why an artifact need not be imported; None where it is new."""
        statement = artifact.verified.statement
        ref, name, tag = statement.ref, Name(statement.ref.name), Tag.to_store(statement.ref.tag)
        held = tag_value(self._made, name, tag)
        if held is None:
            return None
        for revision in range(held.highest, 0, -1):
            value = self._made.revision(name, tag, revision)
            if value is None:
                # A rebuilt repository may have lost one.
                continue
            payload, origin = self._at(value.sequence)
            is_removed = value.state == "removed"
            if origin == artifact.verified.digest and not (is_removed and self._removed_too):
                reason = "imported before, and removed here" if is_removed else "imported before"
                return Skipped(ref, revision, reason)
            if revision == held.revision and payload == statement.digests.sha256:
                return Skipped(ref, revision, "its payload is the newest of the tag here")
        return None

    def _at(self, sequence: int) -> tuple[str, str | None]:
        """SHA-256 of the payload that was stored as this entry, and of its origin's statement."""
        if sequence in self._added:
            return self._added[sequence]
        entry = self._made.entry(sequence)
        origin = origin_of(entry)
        payload = "" if entry.artifact is None else entry.artifact.sha256
        return payload, None if origin is None else origin.statement


# ── what is remembered ───────────────────────────────────────────────────────


def _remember(parts: Parts, bundle: VerifiedBundle) -> bool:
    """Remember the bundle's head, where it is the first, or proven to extend what was seen."""
    store = origin_trust(parts.settings, bundle.repository)
    since = bundle.evidence.since
    try:
        record = store.read()
        if bundle.continuity is Continuity.OLDER:
            return False
        if record is None:
            operating.begin(store, bundle.point)
        elif bundle.continuity is Continuity.REBUILT:
            operating.accept(store, bundle.point)
        elif record.point.size == bundle.point.size:
            store.advance(bundle.point, prove=lambda _old, _new: ())
        elif since is not None and since.entries == record.point.size:
            store.advance(bundle.point, prove=lambda _old, _new: since.proof)
        else:
            return False
    except SealstoreError as error:
        # The artifacts are imported. The next bundle will be held against what was seen before.
        warn_caller(f"The bundle's head is not remembered here: {error}", RepairWarning)
        return False
    return True
