"""Reading payloads: one pass, into memory that nobody else can change."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    PayloadDigestError,
)
from sealstore.storage.blobs import local as local_module
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.blobs.local_files import both_digests
from sealstore.storage.blobs.memory import PayloadMemory, VerifiedPayload
from sealstore.storage.blobs.payload_hash import DigestName, PayloadHash
from tests.sealstore_fixtures import digests_of, open_descriptors, put_payload

DATA = bytes(range(256)) * 40
LARGE = os.urandom(1 << 16) * ((limits.PARALLEL_HASH_BYTES >> 16) * 2 + 1) + b"end"


SIZES = [
    1,
    limits.ANONYMOUS_MAP_BYTES - 1,
    limits.ANONYMOUS_MAP_BYTES,
    limits.PARALLEL_HASH_BYTES - 1,
    limits.PARALLEL_HASH_BYTES,
    limits.PARALLEL_HASH_BYTES + limits.READ_CHUNK_BYTES + 1,
]


@pytest.mark.invariant(1)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("check", list(DigestName))
def test_a_payload_is_read_whole_whatever_its_size(
    blob_store: LocalBlobStore, tmp_path: Path, size: int, sealed: bool, check: DigestName
) -> None:
    """Small or large, by one thread or two, private or sealed: the bytes are the stored ones."""
    data = (LARGE * 2)[:size]
    put_payload(blob_store, tmp_path, data)
    descriptors = open_descriptors()
    payload = blob_store.read(digests_of(data), size, check=check, sealed=sealed)
    assert payload.view == data
    assert len(payload) == size
    del payload
    assert open_descriptors() == descriptors


def test_an_empty_payload_is_read(blob_store: LocalBlobStore, tmp_path: Path) -> None:
    """No bytes are bytes too, also where they are to be sealed."""
    put_payload(blob_store, tmp_path, b"")
    for sealed in (False, True):
        assert not len(blob_store.read(digests_of(b""), 0, check=DigestName.SHA256, sealed=sealed))
    blob_store.check(digests_of(b""), 0)


@pytest.mark.invariant(1)
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("size", [1000, limits.ANONYMOUS_MAP_BYTES, len(LARGE)])
def test_rewriting_the_file_afterwards_changes_nothing_in_memory(
    blob_store: LocalBlobStore, tmp_path: Path, sealed: bool, size: int
) -> None:
    """What was verified is memory of its own, never the file."""
    data = LARGE[:size]
    path = put_payload(blob_store, tmp_path, data)
    payload = blob_store.read(digests_of(data), size, check=DigestName.BLAKE3, sealed=sealed)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(b"\xff" * size)
        file.flush()
        os.fsync(file.fileno())
        assert payload.view == data
        file.truncate(0)
    assert payload.view == data
    path.unlink()
    assert payload.view == data


def test_sealed_memory_cannot_be_changed_by_its_descriptor(tmp_path: Path) -> None:
    """From before it is mapped, no write, growth, cut, new mapping or unsealing is possible."""
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(descriptor, DATA)
        memory = PayloadMemory.sealed(descriptor, len(DATA))
        for attempt in (
            lambda: os.pwrite(descriptor, b"x", 0),
            lambda: os.ftruncate(descriptor, 1),
            lambda: os.ftruncate(descriptor, 1 << 20),
            lambda: mmap.mmap(descriptor, len(DATA), flags=mmap.MAP_SHARED),
            lambda: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW),
        ):
            with pytest.raises(PermissionError):
                attempt()
        # The kernel lets the file be opened for writing again, and nothing be written to it.
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        try:
            with pytest.raises(PermissionError):
                os.write(again, b"x")
        finally:
            os.close(again)
        memory.view[:4] = b"mine"
        assert os.pread(descriptor, 4, 0) == DATA[:4], "a write stays in this process"
    finally:
        os.close(descriptor)
    assert memory.view[4:] == DATA[4:]


def test_sealed_memory_is_sealed_before_it_is_hashed(
    blob_store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the hash and the use nobody can write, not even who holds the descriptor."""
    put_payload(blob_store, tmp_path, DATA)
    seals: list[int] = []
    descriptors: list[int] = []
    real_create, real_update = os.memfd_create, PayloadHash.update

    def create(*arguments: Any) -> int:
        descriptors.append(os.dup(real_create(*arguments)))
        return os.dup(descriptors[-1])

    def update(self: PayloadHash, data: memoryview) -> None:
        seals.append(fcntl.fcntl(descriptors[-1], fcntl.F_GET_SEALS))
        real_update(self, data)

    monkeypatch.setattr("os.memfd_create", create)
    monkeypatch.setattr(PayloadHash, "update", update)
    blob_store.read(digests_of(DATA), len(DATA), check=DigestName.BLAKE3, sealed=True)
    everything = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    assert seals == [everything]
    for descriptor in descriptors:
        os.close(descriptor)


def test_without_sealed_memory_the_copy_is_private(
    blob_store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systems without memfd get a copy, not a mapping of the file."""
    path = put_payload(blob_store, tmp_path, DATA)
    monkeypatch.setattr(local_module, "HAS_SEALED_MEMORY", False)
    monkeypatch.delattr("os.memfd_create")
    payload = blob_store.read(digests_of(DATA), len(DATA), check=DigestName.BLAKE3, sealed=True)
    path.chmod(0o600)
    path.write_bytes(b"\xff" * len(DATA))
    assert payload.view == DATA


@pytest.mark.parametrize("missing", ["MAP_ANONYMOUS", "MADV_HUGEPAGE"])
def test_private_memory_needs_no_flag_that_a_system_may_lack(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Large private memory is writable and zero everywhere."""
    monkeypatch.delattr(f"mmap.{missing}")
    view = PayloadMemory.private(limits.ANONYMOUS_MAP_BYTES).view
    assert len(view) == limits.ANONYMOUS_MAP_BYTES
    assert not any(view)
    view[-1] = 1


def test_advice_that_the_kernel_does_not_know_is_only_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kernels without huge pages answer EINVAL."""
    monkeypatch.setattr("mmap.MADV_HUGEPAGE", 12345)
    assert len(PayloadMemory.private(limits.ANONYMOUS_MAP_BYTES).view) == (
        limits.ANONYMOUS_MAP_BYTES
    )


@pytest.mark.parametrize("size", [limits.ANONYMOUS_MAP_BYTES, limits.ANONYMOUS_MAP_BYTES + 1])
def test_large_private_memory_begins_at_a_page(size: int) -> None:
    """Arrays in it are aligned as they were in the file."""
    view = PayloadMemory.private(size).view
    address = ctypes.addressof(ctypes.c_char.from_buffer(view))
    assert address % mmap.PAGESIZE == 0


def test_a_verified_payload_cannot_be_made_of_other_bytes() -> None:
    """Making one is the comparison."""
    memory = PayloadMemory(memoryview(bytearray(DATA)))
    computed = PayloadHash(DigestName.BLAKE3)
    computed.update(memory.view)
    assert VerifiedPayload(memory, computed, digests_of(DATA)).view == DATA
    with pytest.raises(PayloadDigestError):
        VerifiedPayload(memory, computed, digests_of(DATA[:-1]))
    with pytest.raises(PayloadDigestError):
        VerifiedPayload(memory, PayloadHash(DigestName.SHA256), digests_of(DATA))


def test_a_hash_computes_both_digests_unless_told_otherwise() -> None:
    """Both are signed; a load computes one."""
    both = PayloadHash()
    one = PayloadHash(DigestName.SHA256)
    for part in (DATA[:7], DATA[7:]):
        both.update(memoryview(part))
        one.update(memoryview(part))
    assert both_digests(both) == digests_of(DATA)
    assert one.hexdigest(DigestName.SHA256) == digests_of(DATA).sha256
    with pytest.raises(KeyError):
        both_digests(one)
