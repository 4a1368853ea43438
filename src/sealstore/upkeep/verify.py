"""Verifying many artifacts: each statement, and each distinct payload once, on all cores."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sealstore.audit.contents import walk_rows
from sealstore.audit.findings import Finding, claimed_ref
from sealstore.errors import (
    ArtifactNotFound,
    CatalogueTamperedError,
    KeyringError,
    PayloadDigestError,
    SealstoreError,
    StorageError,
    VerificationError,
)
from sealstore.names import ArtifactRef, request
from sealstore.repository.facade import Repository
from sealstore.repository.progress import Progress, no_progress
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.contract import BlobStore
from sealstore.storage.catalogue.listing import ListFilter, count_artifacts

# ── payloads ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload, as verified statements describe it.

    Attributes:
        digests: both.
        size: in bytes.
    """

    digests: Digests
    size: int


class DistinctPayloads:
    """The distinct payloads that verified statements vouch for, and whose they are.

    Attributes:
        owners: the artifacts of each payload.
        bytes: of all payloads together.
    """

    def __init__(self) -> None:
        self.owners: dict[Payload, list[ArtifactRef]] = {}
        self.bytes = 0

    def add(self, digests: Digests, size: int, owner: ArtifactRef) -> None:
        """Note that a verified statement of ``owner`` vouches for a payload."""
        payload = Payload(digests, size)
        owners = self.owners.get(payload)
        if owners is None:
            self.owners[payload] = owners = []
            self.bytes += payload.size
        owners.append(owner)


@dataclass(slots=True)
class HashedPayloads:
    """What every report says of the payloads that were hashed.

    Attributes:
        payloads: how many distinct payloads were looked for.
        hashed_bytes: bytes that went through both digests.
        hashing_seconds: how long that took, by the wall clock.
    """

    payloads: int = 0
    hashed_bytes: int = 0
    hashing_seconds: float = 0.0

    @property
    def megabytes_per_second(self) -> float:
        """Throughput of hashing, in 10⁶ bytes a second; 0 where nothing was hashed."""
        if not self.hashing_seconds:
            return 0.0
        return self.hashed_bytes / 1_000_000 / self.hashing_seconds

    def hashing_json(self) -> dict[str, Any]:
        """These figures as JSON values."""
        return {
            "payloads": self.payloads,
            "hashedBytes": self.hashed_bytes,
            "hashingSeconds": round(self.hashing_seconds, 6),
            "megabytesPerSecond": round(self.megabytes_per_second, 1),
        }


Refusal = tuple[ArtifactRef, SealstoreError]
"""An artifact whose payload was refused, with why."""


def hash_payloads(
    blobs: BlobStore,
    payloads: DistinctPayloads,
    report: HashedPayloads,
    *,
    progress: Progress = no_progress,
    threads: int | None = None,
) -> list[Refusal]:
    """Compare both digests of every payload.

    Args:
        blobs: where they are.
        payloads: which.
        report: gets the figures.
        progress: hears of the phase ``payloads``, in bytes.
        threads: how many are hashed at a time; as many as there are cores by default.
    """
    refusals: list[Refusal] = []
    threads = threads or os.cpu_count() or 1
    # The largest first: at the end, no core is left alone with one of them.
    ordered = sorted(payloads.owners.items(), key=lambda item: -item[0].size)
    waiting: Iterator[tuple[Payload, list[ArtifactRef]]] = iter(ordered)
    lock = threading.Lock()
    passed_bytes = 0

    def work() -> None:
        nonlocal passed_bytes
        while True:
            with lock:
                payload, owners = next(waiting, (None, ()))
            if payload is None:
                return
            error = _check(blobs, payload)
            with lock:
                passed_bytes += payload.size
                report.payloads += 1
                if error is None or isinstance(error, PayloadDigestError):
                    report.hashed_bytes += payload.size
                if error is not None:
                    refusals.extend((owner, error) for owner in owners)
                progress("payloads", passed_bytes, payloads.bytes)

    progress("payloads", 0, payloads.bytes)
    started = time.perf_counter()
    with ThreadPoolExecutor(threads, thread_name_prefix="sealstore-verify") as pool:
        workers = [pool.submit(work) for _ in range(threads)]
        try:
            for worker in workers:
                worker.result()
        finally:
            # After an error or an interruption the others finish the payload in hand, no more.
            with lock:
                waiting = iter(())
    report.hashing_seconds = time.perf_counter() - started
    return refusals


def _check(blobs: BlobStore, payload: Payload) -> SealstoreError | None:
    try:
        blobs.check(payload.digests, payload.size)
    except (VerificationError, StorageError) as error:
        # A bad sector under one payload must not hide what is wrong with the others.
        return error
    return None


# ── artifacts ─────────────────────────────────────────────────────────────────


REPORT_EVERY = 200
"""Statements between two reports of progress: a report costs more than a statement."""


@dataclass(slots=True)
class VerifyReport(HashedPayloads):
    """What a verification found.

    Attributes:
        artifacts: how many artifacts were looked at.
        findings: everything that was refused; empty when all is well.
    """

    artifacts: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "ok": not self.findings,
            "artifacts": self.artifacts,
            **self.hashing_json(),
            "findings": [finding.to_json() for finding in self.findings],
        }


def verify_one(
    repository: Repository, name: str, tag: str, revision: int | None = None
) -> VerifyReport:
    """Verify one artifact and both digests of its payload.

    Raises:
        InvalidNameError: the request is impossible.
        CatalogueError, KeyringError: the database or the keyring failed.
    """
    ref = request(name, tag, revision)
    report = VerifyReport(artifacts=1)
    started = time.perf_counter()
    try:
        artifact = repository.verify(name, tag, revision=revision)
    except (VerificationError, CatalogueTamperedError, ArtifactNotFound, StorageError) as error:
        report.findings.append(Finding.of(error, str(ref)))
    else:
        report.payloads = 1
        report.hashed_bytes = artifact.size
    report.hashing_seconds = time.perf_counter() - started
    return report


def verify_all(
    repository: Repository,
    conditions: ListFilter | None = None,
    *,
    progress: Progress = no_progress,
    threads: int | None = None,
) -> VerifyReport:
    """Verify every artifact that meets ``conditions``.

    Args:
        repository: which.
        conditions: which artifacts; all by default.
        progress: hears of the phases ``statements`` (artifacts) and ``payloads`` (bytes).
        threads: how many payloads are hashed at a time; as many as there are cores by default.

    Raises:
        CatalogueError, KeyringError: the database or the keyring failed.
    """
    report = VerifyReport()
    payloads = DistinctPayloads()
    total = count_artifacts(repository.catalogue, conditions or ListFilter())
    progress("statements", 0, total)
    try:
        for row in walk_rows(repository, conditions):
            report.artifacts += 1
            try:
                artifact = repository.verify_row(row)
                payloads.add(artifact.digests, artifact.size, artifact.ref)
            except KeyringError:
                raise
            except SealstoreError as error:
                report.findings.append(Finding.of(error, claimed_ref(row)))
            if report.artifacts % REPORT_EVERY == 0:
                progress("statements", report.artifacts, max(total, report.artifacts))
    except CatalogueTamperedError as error:
        # What could be walked to is verified all the same; the report is not clean either way.
        report.findings.append(Finding.of(error))
    refusals = hash_payloads(repository.blobs, payloads, report, progress=progress, threads=threads)
    report.findings += [Finding.of(error, str(owner)) for owner, error in refusals]
    return report
