"""Whoever may write to the folder of payloads: what lies in a payload's place when it is read."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from sealstore import limits
from sealstore.errors import (
    PayloadDigestError,
    PayloadFileError,
    PayloadMissingError,
    PayloadSizeError,
    RepairWarning,
    SealstoreError,
    StorageError,
)
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.storage.blobs.memory import PayloadMemory
from tests.sealstore_fixtures import (
    MODEL,
    Trap,
    blob_path,
    open_descriptors,
    payload_path,
    put_payload,
    replace_payload,
    snapshot,
)

MODES: list[Literal["r", "c"] | None] = [None, "r", "c"]

pytestmark = [pytest.mark.invariant(1), pytest.mark.usefixtures("bystander")]


def refuse(repository: Repository, error: type[SealstoreError]) -> None:
    """No mode of loading hands out the victim, nor does a descriptor stay open."""
    # Once before: the access log's database is opened when it is first needed.
    with pytest.raises(error):
        repository.load("victim")
    before = open_descriptors()
    for read in (
        lambda: repository.load("victim"),
        lambda: repository.load("victim", mmap_mode="r"),
        lambda: repository.load("victim", mmap_mode="c"),
        lambda: repository.verify("victim"),
        lambda: repository.read_payload("victim"),
    ):
        with pytest.raises(error, match=r"^victim:latest: "):
            read()
    assert open_descriptors() == before
    # The statement is genuine all the same.
    assert repository.get("victim").name == "victim"


def mknod(path: Path, mode: int, device: int = 0) -> None:
    try:
        os.mknod(path, mode, device)
    except PermissionError:
        pytest.skip("this user may not make devices")


# ── what is no file ──────────────────────────────────────────────────────────


def test_a_symlink_in_the_payloads_place(
    repository: Repository, victim: Artifact, trap: Trap, tmp_path: Path
) -> None:
    """Not even one to the very same bytes is followed, let alone one to others."""
    path = payload_path(repository, victim)
    elsewhere = tmp_path / "elsewhere"
    shutil.copy(path, elsewhere)
    for target in (elsewhere, Path("elsewhere"), path, Path("/nowhere"), Path("/dev/zero")):
        path.unlink()
        path.symlink_to(target)
        refuse(repository, PayloadFileError)
    elsewhere.unlink()
    elsewhere.write_bytes(trap.payload(victim.size))
    path.unlink()
    path.symlink_to(elsewhere)
    refuse(repository, PayloadFileError)


def test_a_symlink_to_the_genuine_payload_of_another_artifact(
    repository: Repository, victim: Artifact, bystander: Artifact
) -> None:
    """No payload stands in for another by a link."""
    path = payload_path(repository, victim)
    path.unlink()
    path.symlink_to(payload_path(repository, bystander))
    refuse(repository, PayloadFileError)


def test_a_fifo_in_the_payloads_place(repository: Repository, victim: Artifact) -> None:
    """A load does not wait for somebody to write to it."""
    path = payload_path(repository, victim)
    path.unlink()
    os.mkfifo(path)
    refuse(repository, PayloadFileError)


@pytest.mark.parametrize(
    ("kind", "major", "minor"),
    [(stat.S_IFCHR, 1, 5), (stat.S_IFCHR, 1, 3), (stat.S_IFCHR, 5, 0), (stat.S_IFBLK, 7, 0)],
    ids=["zero", "null", "tty", "loop"],
)
def test_a_device_in_the_payloads_place(
    repository: Repository, victim: Artifact, kind: int, major: int, minor: int
) -> None:
    """A device is not even opened, since opening one may act."""
    path = payload_path(repository, victim)
    path.unlink()
    mknod(path, kind | 0o600, os.makedev(major, minor))
    refuse(repository, PayloadFileError)


def test_a_socket_in_the_payloads_place(repository: Repository, victim: Artifact) -> None:
    """Nor is a socket."""
    path = payload_path(repository, victim)
    path.unlink()
    mknod(path, stat.S_IFSOCK | 0o600)
    refuse(repository, PayloadFileError)


def test_a_folder_in_the_payloads_place(repository: Repository, victim: Artifact) -> None:
    """A folder is no payload, with files in it or without."""
    path = payload_path(repository, victim)
    path.unlink()
    path.mkdir()
    refuse(repository, PayloadFileError)
    (path / path.name).touch()
    refuse(repository, PayloadFileError)


def test_a_hard_link_in_the_payloads_place(
    repository: Repository, victim: Artifact, trap: Trap, tmp_path: Path
) -> None:
    """A second name for other bytes is refused; for the same bytes it is just the file."""
    path = payload_path(repository, victim)
    same, other = tmp_path / "same", tmp_path / "other"
    shutil.copy(path, same)
    other.write_bytes(trap.payload(victim.size))
    path.unlink()
    path.hardlink_to(other)
    refuse(repository, PayloadDigestError)
    path.unlink()
    path.hardlink_to(same)
    assert repository.load("victim") == MODEL
    same.chmod(0o600)
    same.write_bytes(trap.payload(victim.size))
    refuse(repository, PayloadDigestError)


def test_the_folder_of_a_payload_is_a_link(
    repository: Repository, victim: Artifact, tmp_path: Path
) -> None:
    """Not followed, though the very same bytes lie behind it."""
    folder = payload_path(repository, victim).parent
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    refuse(repository, PayloadFileError)
    folder.unlink()
    folder.write_bytes(b"")
    refuse(repository, PayloadFileError)
    folder.unlink()
    (tmp_path / "moved").rename(folder)
    assert repository.load("victim") == MODEL


def test_the_folder_of_all_payloads_is_a_link(
    repository: Repository, victim: Artifact, tmp_path: Path
) -> None:
    """Neither read nor written through, for any artifact."""
    objects = repository.root / "objects"
    objects.rename(tmp_path / "moved")
    objects.symlink_to(tmp_path / "moved")
    refuse(repository, PayloadFileError)
    before = snapshot(tmp_path / "moved")
    with pytest.raises(StorageError):
        repository.store("new", "new", "v1")
    assert snapshot(tmp_path / "moved") == before
    objects.unlink()
    (tmp_path / "moved").rename(objects)
    assert repository.load(victim.name) == MODEL


# ── other bytes ──────────────────────────────────────────────────────────────


def test_a_missing_payload(repository: Repository, victim: Artifact) -> None:
    """The file, then its folder."""
    path = payload_path(repository, victim)
    path.unlink()
    refuse(repository, PayloadMissingError)
    path.parent.rmdir()
    refuse(repository, PayloadMissingError)


@pytest.mark.parametrize("size", [0, 1, -1, 1 << 30, 1 << 40])
def test_a_payload_of_another_size(
    repository: Repository, victim: Artifact, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Cut, grown by a byte, or a sparse TiB: refused before any memory is taken for it."""
    path = payload_path(repository, victim)
    path.chmod(0o600)
    os.truncate(path, victim.size - 1 if size == -1 else victim.size + 1 if size == 1 else size)

    def take(*_: object) -> PayloadMemory:
        raise AssertionError("memory was taken")

    with monkeypatch.context() as patch:
        patch.setattr(PayloadMemory, "private", take)
        patch.setattr("os.memfd_create", take)
        refuse(repository, PayloadSizeError)


def test_a_malicious_pickle_of_the_right_size(
    repository: Repository, victim: Artifact, trap: Trap
) -> None:
    """The digest refuses it and nothing of it runs."""
    replace_payload(payload_path(repository, victim), trap.payload(victim.size))
    refuse(repository, PayloadDigestError)
    assert not trap.sprung


def test_a_malicious_pickle_before_and_behind_the_genuine_bytes(
    repository: Repository, victim: Artifact, trap: Trap
) -> None:
    """Nothing can be added to a payload."""
    path = payload_path(repository, victim)
    genuine = path.read_bytes()
    for bad in (trap.payload() + genuine, genuine + trap.payload()):
        replace_payload(path, bad)
        refuse(repository, PayloadSizeError)
    for bad in (
        (trap.payload() + genuine)[: victim.size],
        b"\0" + genuine[1:],
        genuine[:-1] + b"x",
    ):
        replace_payload(path, bad)
        refuse(repository, PayloadDigestError)
    replace_payload(path, genuine)
    assert repository.load("victim") == MODEL


# ── what lies in a payload's place when it is stored ─────────────────────────

Plant = Callable[[Path, Trap, Path], None]


def plant_trap(path: Path, trap: Trap, _: Path) -> None:
    path.write_bytes(trap.payload(1000))


def plant_nothing(path: Path, _: Trap, __: Path) -> None:
    path.touch()


def plant_symlink(path: Path, trap: Trap, outside: Path) -> None:
    (outside / "target").write_bytes(trap.payload())
    path.symlink_to(outside / "target")


def plant_dangling_symlink(path: Path, _: Trap, outside: Path) -> None:
    path.symlink_to(outside / "made by following")


def plant_fifo(path: Path, _: Trap, __: Path) -> None:
    os.mkfifo(path)


def plant_folder(path: Path, trap: Trap, _: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(trap.payload())


@pytest.mark.parametrize(
    "plant",
    [
        plant_trap,
        plant_nothing,
        plant_symlink,
        plant_dangling_symlink,
        plant_fifo,
        plant_folder,
    ],
)
def test_a_planted_payload_is_noticed_and_mended_by_the_store(
    repository: Repository, tmp_path: Path, trap: Trap, plant: Plant
) -> None:
    """Planted under the right name: moved aside, told, and the stored object loads."""
    outside = tmp_path / "outside"
    outside.mkdir()
    with Repository.open(repository.root, keyring=repository.keyring) as elsewhere:
        digests = elsewhere.store({"an": "object"}, "elsewhere", "v1").digests
    path = repository.root / "objects" / digests.sha256[:2] / digests.sha256
    path.unlink()
    plant(path, trap, outside)
    before = snapshot(outside)
    with pytest.warns(
        RepairWarning, match=r"^m:v1@1: wrong bytes lay in the payload's place"
    ) as told:
        repository.store({"an": "object"}, "m", "v1")
    assert [warning.filename for warning in told] == [__file__]
    assert repository.load("m", "v1") == repository.load("elsewhere") == {"an": "object"}
    assert snapshot(outside) == before
    assert len(list(path.parent.glob("*.set-aside-*"))) == 1
    assert not trap.sprung


def test_the_genuine_payload_planted_before_the_store(repository: Repository) -> None:
    """The same bytes in place are simply the payload."""
    data = b"any bytes"
    planted = put_payload(repository.blobs, repository.root, data)  # type: ignore[arg-type] # the local store
    before = planted.stat().st_ino
    assert put_payload(repository.blobs, repository.root, data) == planted  # type: ignore[arg-type] # as above
    assert planted.stat().st_ino == before
    assert planted == blob_path(repository.root, data)


def test_a_huge_payload_is_still_verified(repository: Repository) -> None:
    """The last byte of a payload that two threads read counts like the first."""
    stored = repository.store(os.urandom(limits.PARALLEL_HASH_BYTES * 3), "large", "v1")
    path = payload_path(repository, stored)
    genuine = path.read_bytes()
    for position in (0, len(genuine) // 2, len(genuine) - 1):
        changed = bytearray(genuine)
        changed[position] ^= 0x80
        replace_payload(path, bytes(changed))
        for mode in MODES:
            with pytest.raises(PayloadDigestError):
                repository.load("large", mmap_mode=mode)
    replace_payload(path, genuine)
    assert len(repository.load("large")) == limits.PARALLEL_HASH_BYTES * 3
