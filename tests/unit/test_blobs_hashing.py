"""Hashing beside reading and writing."""

from __future__ import annotations

import hashlib

import pytest
from blake3 import blake3

from sealstore import limits
from sealstore.blobs import DigestName, PayloadHash
from sealstore.blobs.payload_hash import hashing_aside
from sealstore.repository import Repository


def test_what_is_hashed_aside_is_hashed_in_order() -> None:
    """The digests are those of the bytes in the order in which they were given."""
    computed = PayloadHash()
    pieces = [bytes([number]) * 1000 for number in range(50)]
    with hashing_aside(computed) as hash_next:
        for piece in pieces:
            hash_next(memoryview(piece))
    whole = b"".join(pieces)
    assert computed.hexdigest(DigestName.SHA256) == hashlib.sha256(whole).hexdigest()
    assert computed.hexdigest(DigestName.BLAKE3) == blake3(whole).hexdigest()


def test_a_large_payload_is_hashed_like_a_small_one(repository: Repository) -> None:
    """A write that is large enough for two threads gives the same digests."""
    content = bytes(range(256)) * (limits.PARALLEL_HASH_BYTES // 128 + 1)
    with repository.blobs.stage() as staged:
        staged.write(content[:7])
        staged.write(content[7:])
        digests, size = staged.finish()
    assert size == len(content)
    assert digests.sha256 == hashlib.sha256(content).hexdigest()
    assert digests.blake3 == blake3(content).hexdigest()


@pytest.mark.invariant(3)
def test_a_failure_while_hashing_is_not_lost(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the thread that hashes fails the store, which then stores nothing."""

    def update(self: PayloadHash, data: memoryview) -> None:
        raise MemoryError

    content = bytes(limits.PARALLEL_HASH_BYTES)
    with repository.blobs.stage() as staged, monkeypatch.context() as patched:
        patched.setattr(PayloadHash, "update", update)
        with pytest.raises(MemoryError):
            staged.write(content)
    assert list(repository.blobs.sha256s()) == []
