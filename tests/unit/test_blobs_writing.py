"""Writing payloads: whole under their digest, or not at all, and never over anything."""

from __future__ import annotations

import array
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import PayloadDigestError, StorageError
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.contract import CommitOutcome, StagedBlob
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.blobs.payload_hash import DigestName
from tests.sealstore_fixtures import blob_path, digests_of, open_descriptors, snapshot

DATA = bytes(range(256)) * 40


@pytest.fixture(params=["O_TMPFILE", "a temporary name"])
def staging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write a file before it has its name."""
    if request.param != "O_TMPFILE":
        no_tmpfile(monkeypatch, errno.EOPNOTSUPP)
    return str(request.param)


def no_tmpfile(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file system that answers a request for a file without a name with this error."""
    real_open = os.open

    def open_(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number))
        return real_open(path, flags, *arguments, **named)

    monkeypatch.setattr("os.open", open_)


def commit(store: LocalBlobStore, data: bytes) -> CommitOutcome:
    with store.stage() as staged:
        staged.write(data)
        return staged.commit()


@pytest.mark.usefixtures("staging")
def test_a_committed_payload_lies_under_its_sha256(
    blob_store: LocalBlobStore, tmp_path: Path
) -> None:
    """Whole, read-only, alone, and found again by both digests."""
    with blob_store.stage() as staged:
        staged.write(DATA)
        assert staged.finish() == (digests_of(DATA), len(DATA))
        assert staged.commit() is CommitOutcome.NEW
    path = blob_path(tmp_path, DATA)
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert path.stat().st_nlink == 1
    assert list(path.parent.iterdir()) == [path]
    assert list((tmp_path / "objects").iterdir()) == [path.parent]
    assert list(blob_store.sha256s()) == [path.name]
    for name in DigestName:
        assert blob_store.read(digests_of(DATA), len(DATA), check=name).view == DATA


@pytest.mark.invariant(3)
@pytest.mark.usefixtures("staging")
def test_what_is_not_committed_vanishes(blob_store: LocalBlobStore, tmp_path: Path) -> None:
    """Neither leaving early nor an error leaves a file or a descriptor behind."""
    descriptors = open_descriptors()
    with blob_store.stage() as staged:
        staged.write(DATA)

    def fail() -> None:
        with blob_store.stage() as staged:
            staged.write(DATA * 100)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert snapshot(tmp_path / "objects") == {}
    assert open_descriptors() == descriptors


@pytest.mark.usefixtures("staging")
def test_restarting_forgets_what_was_written(blob_store: LocalBlobStore, tmp_path: Path) -> None:
    """A second attempt is hashed, counted and stored alone."""
    with blob_store.stage() as staged:
        staged.write(b"first attempt" * (limits.MIB // 10))
        staged.write(b"and its rest")
        staged.restart()
        assert staged.tell() == 0
        staged.write(DATA)
        assert staged.commit() is CommitOutcome.NEW
    assert blob_path(tmp_path, DATA).read_bytes() == DATA
    assert list(blob_store.sha256s()) == [digests_of(DATA).sha256]


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [1],
        [1, 0, 1],
        [limits.MIB - 1, 1, 1],
        [limits.MIB],
        [limits.MIB + 1, 5],
        [5, limits.MIB, 5],
        [700_000, 700_000, 700_000],
    ],
)
def test_writes_of_any_size_add_up(
    blob_store: LocalBlobStore, tmp_path: Path, sizes: list[int]
) -> None:
    """Small writes are gathered and large ones passed through, in their order."""
    data = b""
    with blob_store.stage() as staged:
        for number, size in enumerate(sizes):
            part = bytes([number + 1]) * size
            assert staged.write(part) == size
            data += part
            assert staged.tell() == len(data)
            staged.flush()
        assert bytes(staged.view()) == data
        assert staged.finish() == (digests_of(data), len(data))
        staged.commit()
    assert blob_path(tmp_path, data).read_bytes() == data


def test_whatever_has_bytes_can_be_written(blob_store: LocalBlobStore) -> None:
    """Arrays count in bytes, not in their items, and a buffer may change after the write."""
    changing = bytearray(b"before")
    with blob_store.stage() as staged:
        assert staged.write(memoryview(array.array("d", [1.0, 2.0]))) == 16
        assert staged.write(changing) == 6
        changing[:] = b"after!"
        expected = array.array("d", [1.0, 2.0]).tobytes() + b"before"
        assert staged.finish()[0] == digests_of(expected)


def test_the_same_payload_twice_is_one_file(blob_store: LocalBlobStore, tmp_path: Path) -> None:
    """What is there already is looked at, not written again."""
    assert commit(blob_store, DATA) is CommitOutcome.NEW
    before = blob_path(tmp_path, DATA).stat()
    assert commit(blob_store, DATA) is CommitOutcome.ALREADY_THERE
    after = blob_path(tmp_path, DATA).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert list(blob_path(tmp_path, DATA).parent.iterdir()) == [blob_path(tmp_path, DATA)]


@pytest.mark.invariant(3)
@pytest.mark.usefixtures("staging")
def test_a_payload_is_synced_before_it_has_its_name_and_its_folder_afterwards(
    blob_store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, link, folder: in this order, so that a crash leaves a whole payload or none."""
    steps: list[tuple[str, str]] = []
    real_fsync, real_link, path = os.fsync, os.link, blob_path(tmp_path, DATA)

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        place = os.stat(descriptor)
        known = {p: p.stat().st_ino for p in (path.parent, path.parent.parent) if p.exists()}
        name = next((p.name for p, inode in known.items() if inode == place.st_ino), "payload")
        steps.append((f"fsync {kind}", name))
        real_fsync(descriptor)

    def link(*arguments: Any, **named: Any) -> None:
        steps.append(("link", "payload"))
        real_link(*arguments, **named)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.link", link)
    commit(blob_store, DATA)
    assert steps == [
        ("fsync file", "payload"),
        ("fsync folder", "objects"),
        ("link", "payload"),
        ("fsync folder", path.parent.name),
    ]
    steps.clear()
    commit(blob_store, DATA)
    # What is there may have been put there by a copy that nobody synced.
    assert steps == [
        ("fsync file", "payload"),
        ("link", "payload"),
        ("fsync file", "payload"),
        ("fsync folder", path.parent.name),
    ]


# ── what lies in the payload's place already ─────────────────────────────────


def plant_bytes(path: Path) -> None:
    path.write_bytes(DATA[::-1])


def plant_less(path: Path) -> None:
    path.write_bytes(DATA[:-1])


def plant_nothing(path: Path) -> None:
    path.touch()


def plant_folder(path: Path) -> None:
    path.mkdir()
    (path / "kept").touch()


def plant_link_to_the_same_bytes(path: Path) -> None:
    target = path.parent / "elsewhere"
    target.write_bytes(DATA)
    path.symlink_to(target)


def plant_dangling_link(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def plant_fifo(path: Path) -> None:
    os.mkfifo(path)


PLANTS: list[Callable[[Path], None]] = [
    plant_bytes,
    plant_less,
    plant_nothing,
    plant_folder,
    plant_link_to_the_same_bytes,
    plant_dangling_link,
    plant_fifo,
]


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.usefixtures("staging")
def test_what_was_planted_in_the_payloads_place_is_moved_aside(
    blob_store: LocalBlobStore, tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    """The good bytes take the place, and what was planted is kept to be looked at."""
    path = blob_path(tmp_path, DATA)
    path.parent.mkdir()
    plant(path)
    planted = path.lstat()
    assert commit(blob_store, DATA) is CommitOutcome.MENDED
    assert stat.S_ISREG(path.lstat().st_mode)
    assert path.read_bytes() == DATA
    [aside] = path.parent.glob(f"{path.name}.set-aside-*")
    assert (aside.lstat().st_ino, aside.lstat().st_mode) == (planted.st_ino, planted.st_mode)
    assert list(blob_store.sha256s()) == [path.name]
    assert commit(blob_store, DATA) is CommitOutcome.ALREADY_THERE


def test_what_vanishes_before_it_is_moved_aside_is_no_error(
    blob_store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes may mend the same payload at once."""
    path = blob_path(tmp_path, DATA)
    path.parent.mkdir()
    plant_bytes(path)
    real_rename = os.rename

    def rename(*arguments: Any, **named: Any) -> None:
        path.unlink()
        real_rename(*arguments, **named)

    monkeypatch.setattr("os.rename", rename)
    assert commit(blob_store, DATA) is CommitOutcome.MENDED
    assert path.read_bytes() == DATA


def test_a_planted_file_that_is_cut_while_it_is_compared_is_moved_aside(
    blob_store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes under the comparison is not the payload."""
    path = blob_path(tmp_path, DATA)
    path.parent.mkdir()
    path.write_bytes(DATA)
    real_preadv = os.preadv

    def preadv(*arguments: Any) -> int:
        os.truncate(path, 10)
        return real_preadv(*arguments)

    monkeypatch.setattr("os.preadv", preadv)
    assert commit(blob_store, DATA) is CommitOutcome.MENDED
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("where", ["objects", "fan-out"])
def test_a_folder_that_is_a_link_is_not_followed(
    blob_store: LocalBlobStore, tmp_path: Path, where: str
) -> None:
    """Nothing is written outside of the repository."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    folder = tmp_path / "objects"
    if where == "objects":
        folder.rmdir()
        folder.symlink_to(outside)
    else:
        blob_path(tmp_path, DATA).parent.symlink_to(outside)
    with pytest.raises(StorageError):
        commit(blob_store, DATA)
    assert list(outside.iterdir()) == []


# ── errors of the file system ────────────────────────────────────────────────


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def staged(blob_store: LocalBlobStore) -> Iterator[StagedBlob]:
    with blob_store.stage() as staged:
        yield staged


@pytest.mark.invariant(3)
@pytest.mark.parametrize("call", ["write", "fchmod", "fsync", "link", "mkdir"])
def test_a_failing_file_system_leaves_nothing_behind(
    staged: StagedBlob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A full or broken disk is a StorageError at every step, and the folder stays as it was."""
    staged.write(DATA)
    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", failing(errno.ENOSPC))
        with pytest.raises(StorageError, match="No space left on device"):
            staged.commit()
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]


def test_a_file_system_that_cannot_restart_is_an_error(
    staged: StagedBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be discarded is not mixed with the second attempt."""
    with monkeypatch.context() as patch:
        patch.setattr("os.ftruncate", failing(errno.EIO))
        with pytest.raises(StorageError, match="Input/output error"):
            staged.restart()


def test_a_file_system_without_nameless_files_is_served_and_a_full_one_is_an_error(
    blob_store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what says that O_TMPFILE is unknown leads to a temporary name."""
    with monkeypatch.context() as patch:
        no_tmpfile(patch, errno.EISDIR)
        with blob_store.stage():
            [name] = [path.name for path in (tmp_path / "objects").iterdir()]
            assert name.startswith(".staging-")
    with monkeypatch.context() as patch:
        no_tmpfile(patch, errno.ENOSPC)
        with pytest.raises(StorageError, match="No space"), blob_store.stage():
            pass
    with monkeypatch.context() as patch:
        patch.delattr("os.O_TMPFILE")
        assert commit(blob_store, DATA) is CommitOutcome.NEW
    assert blob_path(tmp_path, DATA).read_bytes() == DATA


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """The folder for payloads is made once, and missing permission is told."""
    (tmp_path / "objects").touch()
    with pytest.raises(StorageError, match="folder for payloads cannot be made"):
        LocalBlobStore(tmp_path).create()
    with pytest.raises(StorageError, match="cannot be staged"), LocalBlobStore(tmp_path).stage():
        pass


def test_listing_shows_payloads_and_nothing_else(
    blob_store: LocalBlobStore, tmp_path: Path
) -> None:
    """What is set aside, misplaced or misnamed is no payload."""
    assert list(blob_store.sha256s()) == []
    for data in (b"a", b"b", b"c"):
        commit(blob_store, data)
    objects = tmp_path / "objects"
    fan_out = blob_path(tmp_path, b"a").parent
    for name in ("README", f"{'0' * 64}.set-aside-1", "0" * 63, "G" * 64):
        (fan_out / name).touch()
    (fan_out / ("0" * 64 if fan_out.name != "00" else "1" * 64)).touch()
    (objects / "stray").mkdir()
    names = sorted(hashlib.sha256(data).hexdigest() for data in (b"a", b"b", b"c"))
    assert list(blob_store.sha256s()) == names
    blob_store.close()
    objects.rename(tmp_path / "gone")
    with pytest.raises(StorageError, match="cannot be listed"):
        list(blob_store.sha256s())


def test_a_store_goes_on_where_its_folder_was_moved_to(tmp_path: Path) -> None:
    """No absolute path is kept in any file."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    store = LocalBlobStore(before)
    store.create()
    commit(store, DATA)
    before.rename(after)
    moved = LocalBlobStore(after)
    assert moved.read(digests_of(DATA), len(DATA), check=DigestName.BLAKE3).view == DATA
    wrong = digests_of(b"other")
    with pytest.raises(PayloadDigestError):
        moved.read(
            Digests(sha256=digests_of(DATA).sha256, blake3=wrong.blake3),
            len(DATA),
            check=DigestName.BLAKE3,
        )
