"""Both digests of a payload, or one of them, computed while the bytes pass by."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from queue import SimpleQueue
from typing import Protocol

from blake3 import blake3

from sealstore.errors import PayloadDigestError
from sealstore.statement import Digests


class DigestName(StrEnum):
    """Which digest a load checks; both are signed."""

    BLAKE3 = "blake3"
    SHA256 = "sha256"


class RunningHash(Protocol):
    """What ``hashlib`` and ``blake3`` hashes have in common."""

    def update(self, data: memoryview, /) -> object:
        """Take in the next bytes."""
        ...

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""
        ...


class PayloadHash:
    """The digests of the bytes given so far.

    Args:
        names: which digests to compute; both by default.
    """

    def __init__(self, *names: DigestName) -> None:
        self._running: dict[DigestName, RunningHash] = {
            name: _new_hash(name) for name in (names or tuple(DigestName))
        }

    def update(self, data: memoryview) -> None:
        """Take in the next bytes."""
        for running in self._running.values():
            running.update(data)

    def hexdigest(self, name: DigestName) -> str:
        """The digest ``name`` so far, in hexadecimal."""
        return self._running[name].hexdigest()

    def digests(self) -> Digests:
        """Both digests; only for a hash that computes both."""
        return Digests(
            sha256=self.hexdigest(DigestName.SHA256), blake3=self.hexdigest(DigestName.BLAKE3)
        )

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
    """A function that takes bytes to be hashed by another thread, in the order given.

    Hashing, reading and writing all release the interpreter lock, so that they run side by side.
    On leaving, everything has been hashed; the bytes must not change before.

    Args:
        computed: takes in the bytes.
    """
    chunks: SimpleQueue[memoryview | None] = SimpleQueue()
    failed: list[BaseException] = []

    def hash_chunks() -> None:
        try:
            while (chunk := chunks.get()) is not None:
                computed.update(chunk)
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            failed.append(error)

    hashing = threading.Thread(target=hash_chunks, name="sealstore-hash", daemon=True)
    hashing.start()
    try:
        yield chunks.put
    finally:
        chunks.put(None)
        hashing.join()
    for error in failed:
        raise error


def _new_hash(name: DigestName) -> RunningHash:
    if name is DigestName.SHA256:
        return hashlib.sha256()
    hasher: RunningHash = blake3()
    return hasher
