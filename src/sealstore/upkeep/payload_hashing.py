"""Hashing many payloads: each distinct one once, both digests, on all cores."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sealstore.errors import (
    PayloadDigestError,
    SealstoreError,
    StorageError,
    VerificationError,
)
from sealstore.names import ArtifactRef
from sealstore.repository.progress import Progress, no_progress
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.contract import BlobStore


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
class Hashing:
    """What hashing payloads found.

    Attributes:
        payloads: how many were looked for.
        hashed_bytes: bytes that went through both digests.
        seconds: how long it took, by the wall clock.
        refusals: each artifact whose payload was refused, with why.
    """

    payloads: int = 0
    hashed_bytes: int = 0
    seconds: float = 0.0
    refusals: list[tuple[ArtifactRef, SealstoreError]] = field(default_factory=list)


def hash_payloads(
    blobs: BlobStore,
    payloads: DistinctPayloads,
    *,
    progress: Progress = no_progress,
    threads: int | None = None,
) -> Hashing:
    """Compare both digests of every payload.

    Args:
        blobs: where they are.
        payloads: which.
        progress: hears of the phase ``payloads``, in bytes.
        threads: how many are hashed at a time; as many as there are cores by default.
    """
    hashing = Hashing()
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
                hashing.payloads += 1
                if error is None or isinstance(error, PayloadDigestError):
                    hashing.hashed_bytes += payload.size
                if error is not None:
                    hashing.refusals += [(owner, error) for owner in owners]
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
    hashing.seconds = time.perf_counter() - started
    return hashing


def _check(blobs: BlobStore, payload: Payload) -> SealstoreError | None:
    try:
        blobs.check(payload.digests, payload.size)
    except (VerificationError, StorageError) as error:
        # A bad sector under one payload must not hide what is wrong with the others.
        return error
    return None
