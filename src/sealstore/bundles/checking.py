"""Verifying a bundle: with a keyring, and what this client has seen; no repository is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from sealstore.audit.findings import Finding
from sealstore.bundles.file import BundleFile, open_bundle
from sealstore.bundles.format import Evidence, read_hints
from sealstore.bundles.verification import (
    VerifiedArtifact,
    VerifiedBundle,
    open_evidence,
    require_nothing_else,
    verify_artifact,
)
from sealstore.errors import FirstUseError, SealstoreError, StorageError, UnknownKeyError
from sealstore.keys.keyring import Key, Keyring
from sealstore.keys.writing import fingerprint
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.repository.origins import Origin, origin_of
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.settings import Settings
from sealstore.signed.statement import Statement
from sealstore.trust.locations import known_locations
from sealstore.trust.record import TrustRecord
from sealstore.trust.store import FirstUse, TrustStore


@dataclass(slots=True)
class BundleReport:
    """What verifying a bundle found.

    Attributes:
        path: the file.
        hints: the public keys in it, which nothing was verified with.
        bundle: its head with what that vouches for; None where the head is refused.
        artifacts: those that are proven, and whose payloads are the signed ones.
        payload_bytes: bytes of the payloads that were hashed.
        findings: everything that was refused; empty when all is well.
    """

    path: Path
    hints: tuple[Key, ...]
    bundle: VerifiedBundle | None = None
    artifacts: list[VerifiedArtifact] = field(default_factory=list)
    payload_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "ok": not self.findings,
            "file": str(self.path),
            "head": None if self.bundle is None else _head_json(self.bundle),
            "artifacts": [_artifact_json(each) for each in self.artifacts],
            "payloadBytes": self.payload_bytes,
            "keysInBundle": [_key_json(key) for key in self.hints],
            "findings": [finding.to_json() for finding in self.findings],
        }


def _head_json(bundle: VerifiedBundle) -> dict[str, Any]:
    point = bundle.point
    return {
        "repository": point.repository,
        "epoch": point.epoch,
        "historySize": point.size,
        "historyRoot": point.root,
        "time": point.time,
        "keyId": bundle.head.key_id,
        "keyAlgorithm": bundle.keyring.get(bundle.head.key_id).algorithm,
        "settingsVersion": point.settings_version,
        "settingsKeyId": bundle.settings.key_id,
        "continuity": bundle.continuity.value,
    }


def _artifact_json(artifact: VerifiedArtifact) -> dict[str, Any]:
    statement, origin = artifact.verified.statement, imported_from(artifact)
    return {
        "name": statement.ref.name,
        "tag": statement.ref.tag,
        "revision": statement.ref.revision,
        "sha256": statement.digests.sha256,
        "size": statement.predicate.size,
        "keyId": artifact.verified.key_id,
        "statementSha256": artifact.verified.digest,
        "sequence": statement.predicate.sequence,
        "importedFrom": None if origin is None else origin.repository,
    }


def _key_json(key: Key) -> dict[str, Any]:
    return {"keyId": key.key_id, "algorithm": key.algorithm, "fingerprint": fingerprint(key)}


def imported_from(artifact: VerifiedArtifact) -> Origin | None:
    """Where the bundle's repository had imported an artifact from, as its history says."""
    return origin_of(artifact.entry)


def bundle_keys(path: Path) -> tuple[Key, ...]:
    """The public keys in a bundle: hints. Whoever made the bundle chose them.

    Raises:
        BundleFormatError: it is no bundle, or a damaged one.
        StorageError: it cannot be read.
    """
    with open_bundle(path) as bundle:
        return read_hints(bundle.evidence.keys)


def verify_bundle(
    path: Path,
    settings: Settings,
    keyring: Keyring,
    *,
    accept_head: bool = False,
    progress: Progress = no_progress,
) -> BundleReport:
    """Verify a bundle with all that is in it. Nothing is unpickled, and nothing is remembered.

    Args:
        path: the file.
        settings: names the trust state.
        keyring: the keys.
        accept_head: whether an older head than one seen before will do, or a rebuilt repository's.
        progress: hears of the phase ``payloads`` (bytes).

    Raises:
        BundleFormatError: it is no bundle, or a damaged one.
        StorageError: it cannot be read.
        TrustStateError: what this client remembers cannot be read.
    """
    with open_bundle(path) as file:
        evidence = file.evidence
        report = BundleReport(path, read_hints(evidence.keys))
        try:
            with keys_explained(evidence):
                report.bundle = open_evidence(
                    evidence, keyring, partial(newest_seen, settings), accept_head=accept_head
                )
        except SealstoreError as error:
            report.findings.append(Finding.of(error))
            return report
        _verify_content(file, report, report.bundle, progress)
    return report


def _verify_content(
    file: BundleFile, report: BundleReport, bundle: VerifiedBundle, progress: Progress
) -> None:
    proven = []
    for each in bundle.evidence.artifacts:
        try:
            with keys_explained(bundle.evidence):
                proven.append(verify_artifact(bundle, each))
        except SealstoreError as error:
            report.findings.append(Finding.of(error, str(each.ref)))
    if not report.findings:
        try:
            require_nothing_else(bundle, tuple(proven))
        except SealstoreError as error:
            report.findings.append(Finding.of(error))
    refused: dict[str, SealstoreError] = {}
    statements = [each.verified.statement for each in proven]
    for statement in distinct_payloads(statements, file.payload_bytes, progress):
        try:
            file.copy_payload(statement.digests, statement.predicate.size)
            report.payload_bytes += statement.predicate.size
        except StorageError:
            raise
        except SealstoreError as error:
            refused[statement.digests.sha256] = error
    for artifact in proven:
        statement = artifact.verified.statement
        refusal = refused.get(statement.digests.sha256)
        if refusal is None:
            report.artifacts.append(artifact)
        else:
            report.findings.append(Finding.of(refusal, str(statement.ref)))


def distinct_payloads(
    statements: Iterable[Statement], total: int, progress: Progress
) -> Iterable[Statement]:
    """One statement for each distinct payload; progress hears when each has been dealt with."""
    known: set[str] = set()
    done = 0
    progress("payloads", 0, total)
    for statement in statements:
        if statement.digests.sha256 not in known:
            known.add(statement.digests.sha256)
            yield statement
            done += statement.predicate.size
            progress("payloads", done, total)


# ── what the keyring lacks, and what was seen before ─────────────────────────


@contextmanager
def keys_explained(evidence: Evidence) -> Iterator[None]:
    """Say of a key that the keyring lacks how it can, or cannot, be got."""
    try:
        yield
    except UnknownKeyError as error:
        carried = {key.key_id for key in read_hints(evidence.keys)}
        error.hint = _PUBLIC_KEY_MISSING if error.key_id in carried else _HMAC_KEY_MISSING
        raise


_PUBLIC_KEY_MISSING: Final = (
    "the bundle carries the public part of this key, which proves nothing: compare the fingerprint"
    " that 'sealstore bundle verify --show-keys' shows with the one that the origin tells you by"
    " another way, then add it: 'sealstore keys import FILE --role store --role admin'."
)
_HMAC_KEY_MISSING: Final = (
    "the bundle carries no public part of this key, as an HMAC key has none: what one has signed is"
    " verified only where the keyring holds that very key, and whoever holds it could have made the"
    " bundle. Have it made again by a repository with Ed25519 keys, or bring the key here safely."
)


def origin_trust(settings: Settings, repository: str) -> TrustStore:
    """What this client remembers of a repository that bundles come from.

    Args:
        settings: names the folder.
        repository: id of that repository, which is its location: a bundle comes from anywhere.
    """
    location = f"urn:sealstore:repository:{repository}"
    return TrustStore(
        settings.trust_folder, location, outside=settings.path, first_use=settings.first_use
    )


def newest_seen(settings: Settings, repository: str) -> HistoryCheckpoint | None:
    """The newest head of a repository that was seen here, in a bundle or in its place.

    Args:
        settings: names the trust state.
        repository: its id.

    Raises:
        FirstUseError: nothing was seen, and that is not enough here.
        TrustStateError: what is remembered of earlier bundles cannot be read.
    """
    own = origin_trust(settings, repository).read()
    # A damaged record of another location keeps no bundle away: it may be of any repository.
    known = [each.found for each in known_locations(settings.trust_folder)]
    points = [
        record.point
        for record in (own, *known)
        if isinstance(record, TrustRecord) and record.point.repository == repository
    ]
    if not points and settings.first_use is FirstUse.REFUSE:
        raise FirstUseError(
            f"This client has seen nothing of repository {repository} before.",
            hint="compare that id, and the head that 'sealstore bundle create' showed, with what"
            " the origin says; then import this one bundle with MODEL_REPO_FIRST_USE=record.",
        )
    return max(points, key=lambda point: (point.epoch, point.size, point.time), default=None)
