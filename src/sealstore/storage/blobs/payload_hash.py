"""Both digests of a payload, or one of them, computed while the bytes pass by."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from queue import SimpleQueue
from typing import TYPE_CHECKING

from blake3 import blake3

from sealstore import limits
from sealstore.errors import PayloadDigestError
from sealstore.signed.statement import Digests

if TYPE_CHECKING:
    from sealstore.storage.blobs.contract import RunningHash


class DigestName(StrEnum):
    """Which digest a load checks; both are signed."""

    BLAKE3 = "blake3"
    SHA256 = "sha256"


class PayloadHash:
    """The digests of the bytes given so far.

    Args:
        names: which digests to compute; both by default.
        threads: how many may compute BLAKE3 side by side; SHA-256 can only be computed by one.
    """

    def __init__(self, *names: DigestName, threads: int = 1) -> None:
        self._running: dict[DigestName, RunningHash] = {
            name: _new_hash(name, threads) for name in (names or tuple(DigestName))
        }

    def update(self, data: memoryview) -> None:
        """Take in the next bytes."""
        for running in self._running.values():
            running.update(data)

    def updates(self) -> list[Callable[[memoryview], object]]:
        """For each digest what takes in the next bytes: each must be given all of them."""
        return [running.update for running in self._running.values()]

    def hexdigest(self, name: DigestName) -> str:
        """The digest ``name`` so far, in hexadecimal."""
        return self._running[name].hexdigest()

    def require(self, expected: Digests) -> None:
        """Return if every computed digest is the one in ``expected``.

        Raises:
            PayloadDigestError: one differs.
        """
        for name, running in self._running.items():
            if running.hexdigest() != getattr(expected, name):
                raise PayloadDigestError(
                    "The payload's bytes are not the ones that were signed; nothing of it was run.",
                    hint="restore the payload from a backup.",
                )


@contextmanager
def hashing_aside(computed: PayloadHash) -> Iterator[Callable[[memoryview], None]]:
    """A function that takes bytes to be hashed by other threads, in the order given.

    Each digest has a thread of its own. Hashing, reading and writing all release the interpreter
    lock, so that they run side by side. On leaving, everything has been hashed; the bytes must not
    change before.

    Args:
        computed: takes in the bytes.
    """
    hashing = [_HashingThread(update) for update in computed.updates()]

    def hash_next(chunk: memoryview) -> None:
        for thread in hashing:
            thread.chunks.put(chunk)

    for thread in hashing:
        thread.start()
    try:
        yield hash_next
    finally:
        for thread in hashing:
            thread.chunks.put(None)
        for thread in hashing:
            thread.join()
    for thread in hashing:
        if thread.failure is not None:
            raise thread.failure


class _HashingThread(threading.Thread):
    """Hands chunks to one digest, up to None."""

    def __init__(self, update: Callable[[memoryview], object]) -> None:
        super().__init__(name="sealstore-hash", daemon=True)
        self.chunks: SimpleQueue[memoryview | None] = SimpleQueue()
        self.failure: BaseException | None = None
        self._update = update

    def run(self) -> None:
        """Hash what comes."""
        try:
            while (chunk := self.chunks.get()) is not None:
                self._update(chunk)
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            self.failure = error


def threads_for(size: int) -> int:
    """How many threads may hash a payload of so many bytes.

    Never the pool that all hashes of a process share: a forked child would wait for its threads.
    """
    if size < limits.MANY_THREADS_BYTES:
        return 1
    return min(len(os.sched_getaffinity(0)), limits.MAX_HASH_THREADS)


def _new_hash(name: DigestName, threads: int) -> RunningHash:
    if name is DigestName.SHA256:
        return hashlib.sha256()
    hasher: RunningHash = blake3(max_threads=threads)
    return hasher
