"""Payloads that are refused: sizes before memory, digests, and what is no regular file."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    PayloadDigestError,
    PayloadFileError,
    PayloadMissingError,
    PayloadSizeError,
    SealstoreError,
    StorageError,
)
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.blobs.memory import PayloadMemory
from sealstore.storage.blobs.payload_hash import DigestName
from tests.sealstore_fixtures import digests_of, open_descriptors, put_payload, replace_payload

DATA = bytes(range(256)) * 40
LARGE = os.urandom(1 << 16) * ((limits.PARALLEL_HASH_BYTES >> 16) * 2 + 1) + b"end"


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking memory for a payload is a failure of the test."""

    def take(*_: object) -> Any:
        raise AssertionError("memory was taken")

    monkeypatch.setattr(PayloadMemory, "private", take)
    monkeypatch.setattr("os.memfd_create", take)


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("size", [0, 1, len(DATA) - 1, len(DATA) + 1, 1 << 40, 1 << 62])
def test_a_file_of_another_size_is_refused_before_memory_is_taken(
    blob_store: LocalBlobStore, tmp_path: Path, size: int, sealed: bool
) -> None:
    """A huge declared size costs nothing, nor does a huge file."""
    put_payload(blob_store, tmp_path, DATA)
    with pytest.raises(PayloadSizeError, match=f"{len(DATA)} bytes; {size} were signed"):
        blob_store.read(digests_of(DATA), size, check=DigestName.BLAKE3, sealed=sealed)
    with pytest.raises(PayloadSizeError):
        blob_store.check(digests_of(DATA), size)


@pytest.mark.usefixtures("no_memory")
def test_a_file_that_became_huge_is_refused_before_memory_is_taken(
    blob_store: LocalBlobStore, tmp_path: Path
) -> None:
    """A sparse file of a TiB in the payload's place is measured, not read."""
    path = put_payload(blob_store, tmp_path, DATA)
    path.chmod(0o600)
    os.truncate(path, 1 << 40)
    with pytest.raises(PayloadSizeError):
        blob_store.read(digests_of(DATA), len(DATA), check=DigestName.BLAKE3)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("size", [1000, len(LARGE)])
@pytest.mark.parametrize("check", list(DigestName))
def test_other_bytes_of_the_same_size_are_refused(
    blob_store: LocalBlobStore, tmp_path: Path, sealed: bool, size: int, check: DigestName
) -> None:
    """One flipped bit, at the beginning, in the middle or at the end, and nothing comes out."""
    data = LARGE[:size]
    path = put_payload(blob_store, tmp_path, data)
    for position in (0, size // 2, size - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        replace_payload(path, bytes(changed))
        with pytest.raises(PayloadDigestError, match="nothing of it was run"):
            blob_store.read(digests_of(data), size, check=check, sealed=sealed)
        with pytest.raises(PayloadDigestError):
            blob_store.check(digests_of(data), size)


@pytest.mark.parametrize("wrong", list(DigestName))
def test_a_full_check_compares_both_digests(
    blob_store: LocalBlobStore, tmp_path: Path, wrong: DigestName
) -> None:
    """A file that has one of the digests and not the other is refused."""
    path = put_payload(blob_store, tmp_path, DATA)
    other = digests_of(b"other")
    mixed = {name: getattr(digests_of(DATA), name) for name in DigestName}
    mixed[wrong] = getattr(other, wrong)
    digests = Digests(**mixed)
    if wrong is DigestName.SHA256:
        place = path.parent.parent / digests.sha256[:2] / digests.sha256
        place.parent.mkdir()
        path.rename(place)
    with pytest.raises(PayloadDigestError):
        blob_store.check(digests, len(DATA))
    with pytest.raises(PayloadDigestError):
        blob_store.read(digests, len(DATA), check=wrong)


def cut_when(monkeypatch: pytest.MonkeyPatch, call: str, path: Path, size: int) -> None:
    """Cut the file to ``size`` bytes in the very moment before it is read."""
    real = getattr(os, call)

    def cut_then_read(*arguments: Any) -> Any:
        os.truncate(path, size)
        return real(*arguments)

    monkeypatch.setattr(f"os.{call}", cut_then_read)


@pytest.mark.invariant(1)
@pytest.mark.parametrize("size", [1000, len(LARGE)])
@pytest.mark.parametrize("rest", [0, 500])
@pytest.mark.parametrize(("call", "sealed"), [("preadv", False), ("sendfile", True)])
def test_a_file_that_is_cut_while_it_is_read_is_refused(
    blob_store: LocalBlobStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    rest: int,
    call: str,
    sealed: bool,
) -> None:
    """Neither zeros nor a signal: the missing bytes are noticed."""
    data = LARGE[:size]
    path = put_payload(blob_store, tmp_path, data)
    cut_when(monkeypatch, call, path, rest)
    with pytest.raises(PayloadSizeError, match="was cut while it was read"):
        blob_store.read(digests_of(data), size, check=DigestName.BLAKE3, sealed=sealed)


@pytest.mark.parametrize("size", [1000, len(LARGE)])
def test_reads_that_bring_less_than_asked_for_are_continued(
    blob_store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The kernel may give fewer bytes than there are."""
    data = LARGE[:size]
    put_payload(blob_store, tmp_path, data)
    real_preadv, real_sendfile = os.preadv, os.sendfile
    monkeypatch.setattr(
        "os.preadv", lambda fd, views, at: real_preadv(fd, [views[0][: size // 3 + 1]], at)
    )
    monkeypatch.setattr(
        "os.sendfile", lambda out, fd, at, count: real_sendfile(out, fd, at, min(count, size // 3))
    )
    for sealed in (False, True):
        assert (
            blob_store.read(digests_of(data), size, check=DigestName.BLAKE3, sealed=sealed).view
            == data
        )


@pytest.mark.parametrize(("call", "sealed"), [("preadv", False), ("sendfile", True)])
@pytest.mark.parametrize("size", [1000, len(LARGE)])
def test_a_failing_disk_is_a_storage_error(
    blob_store: LocalBlobStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    sealed: bool,
    size: int,
) -> None:
    """What cannot be read is not taken for tampered, and no thread stays behind."""
    data = LARGE[:size]
    put_payload(blob_store, tmp_path, data)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(f"os.{call}", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        blob_store.read(digests_of(data), size, check=DigestName.BLAKE3, sealed=sealed)


def test_a_missing_payload_is_refused(blob_store: LocalBlobStore, tmp_path: Path) -> None:
    """Without its folder, without its file, without the folder of all."""
    with pytest.raises(PayloadMissingError):
        blob_store.check(digests_of(DATA), len(DATA))
    path = put_payload(blob_store, tmp_path, DATA)
    path.unlink()
    with pytest.raises(PayloadMissingError):
        blob_store.check(digests_of(DATA), len(DATA))
    path.parent.rmdir()
    path.parent.parent.rmdir()
    with pytest.raises(PayloadMissingError):
        blob_store.check(digests_of(DATA), len(DATA))


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    path.unlink()
    os.mknod(path, stat.S_IFSOCK | 0o600)


NO_FILES: list[Callable[[Path], None]] = [make_link, make_folder, make_fifo, make_socket]


@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_regular_file_is_refused(
    blob_store: LocalBlobStore, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """A link to the very bytes, a folder, a FIFO (without waiting) and a socket are no payload."""
    path = put_payload(blob_store, tmp_path, DATA)
    make(path)
    with pytest.raises(PayloadFileError):
        blob_store.read(digests_of(DATA), len(DATA), check=DigestName.BLAKE3)


@pytest.mark.parametrize("make", [make_link, make_fifo])
def test_what_takes_the_files_place_after_the_look_is_refused(
    blob_store: LocalBlobStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
) -> None:
    """Between looking and opening the file is exchanged: what was opened is looked at again."""
    path = put_payload(blob_store, tmp_path, DATA)
    descriptors = open_descriptors()
    real_stat = os.stat

    def stat_then_exchange(name: Any, *arguments: Any, **named: Any) -> os.stat_result:
        status = real_stat(name, *arguments, **named)
        if name == path.name:
            make(path)
        return status

    monkeypatch.setattr("os.stat", stat_then_exchange)
    with pytest.raises(PayloadFileError):
        blob_store.read(digests_of(DATA), len(DATA), check=DigestName.BLAKE3)
    monkeypatch.undo()
    assert open_descriptors() == descriptors


def test_what_cannot_be_opened_is_a_storage_error(
    blob_store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing permission is told as such, for the file and for its folder."""
    path = put_payload(blob_store, tmp_path, DATA)
    real_open = os.open
    for refused in (path.name, path.parent.name):

        def open_(name: Any, *arguments: Any, _refused: str = refused, **named: Any) -> int:
            if name == _refused:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return real_open(name, *arguments, **named)

        monkeypatch.setattr("os.open", open_)
        with pytest.raises(StorageError, match="Permission denied"):
            blob_store.check(digests_of(DATA), len(DATA))
        monkeypatch.undo()


@pytest.mark.parametrize("folder", ["objects", "fan-out"])
def test_a_folder_that_is_a_link_or_a_file_is_refused(
    blob_store: LocalBlobStore, tmp_path: Path, folder: str
) -> None:
    """No way into the payloads leads through a link."""
    path = put_payload(blob_store, tmp_path, DATA)
    target = path.parent if folder == "fan-out" else path.parent.parent
    moved = target.with_name("moved")
    target.rename(moved)
    target.symlink_to(moved)
    with pytest.raises(SealstoreError) as refusal:
        blob_store.check(digests_of(DATA), len(DATA))
    assert isinstance(refusal.value, PayloadFileError)
    target.unlink()
    target.touch()
    with pytest.raises(PayloadFileError, match="not a folder"):
        blob_store.check(digests_of(DATA), len(DATA))


def test_a_folder_that_is_a_link_is_refused_whatever_the_system_calls_it(
    blob_store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux answers ENOTDIR, others ELOOP."""
    path = put_payload(blob_store, tmp_path, DATA)
    real_open = os.open

    def open_(name: Any, *arguments: Any, **named: Any) -> int:
        if name == path.parent.name:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return real_open(name, *arguments, **named)

    monkeypatch.setattr("os.open", open_)
    with pytest.raises(PayloadFileError, match="is a symbolic link"):
        blob_store.check(digests_of(DATA), len(DATA))
