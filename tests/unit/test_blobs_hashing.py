"""Hashing beside reading and writing."""

from __future__ import annotations

import hashlib
import multiprocessing
import os

import pytest
from blake3 import blake3

from sealstore import limits
from sealstore.repository.facade import Repository
from sealstore.storage.blobs.payload_hash import DigestName, PayloadHash, hashing_aside, threads_for


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

    def update(data: memoryview) -> None:
        raise MemoryError

    content = bytes(limits.PARALLEL_HASH_BYTES)
    with repository.blobs.stage() as staged, monkeypatch.context() as patched:
        patched.setattr(PayloadHash, "updates", lambda computed: [update, len])
        with pytest.raises(MemoryError):
            staged.write(content)
    assert list(repository.blobs.sha256s()) == []


@pytest.mark.parametrize("processors", [1, 2, 3, 64])
def test_large_payloads_are_hashed_by_as_many_threads_as_there_are_processors(
    processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that this process may use, up to a limit; small ones by one. The digest is the same."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(processors)))
    assert threads_for(limits.MANY_THREADS_BYTES - 1) == 1
    threads = threads_for(limits.MANY_THREADS_BYTES)
    assert threads == min(processors, limits.MAX_HASH_THREADS)
    content = bytes(range(256)) * 20_000
    computed = PayloadHash(DigestName.BLAKE3, threads=threads)
    computed.update(memoryview(content))
    assert computed.hexdigest(DigestName.BLAKE3) == blake3(content).hexdigest()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_hashes_large_payloads(repository: Repository) -> None:
    """A process that has hashed with several threads can be forked, and its child hash so too."""
    repository.store(bytes(limits.MANY_THREADS_BYTES), "large", "1")
    assert len(repository.load("large")) == limits.MANY_THREADS_BYTES
    with multiprocessing.get_context("fork").Pool(1) as pool:
        asked = pool.apply_async(_child_hash, (4,))
        assert asked.get(timeout=60) == _child_hash(4)


def _child_hash(threads: int) -> str:
    computed = PayloadHash(DigestName.BLAKE3, threads=threads)
    computed.update(memoryview(bytes(range(256)) * 100_000))
    return computed.hexdigest(DigestName.BLAKE3)


def test_a_very_large_write_is_synced_early(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the other threads hash; commit() syncs all of it before the payload has a name."""
    synced: list[int] = []
    monkeypatch.setattr(
        "sealstore.storage.blobs.local_staging._SYNC_EARLY_BYTES", limits.PARALLEL_HASH_BYTES
    )
    monkeypatch.setattr("os.fdatasync", synced.append)
    with repository.blobs.stage() as staged:
        staged.write(bytes(limits.PARALLEL_HASH_BYTES - 1))
        assert synced == []
        staged.write(bytes(limits.PARALLEL_HASH_BYTES))
        assert len(synced) == 1
