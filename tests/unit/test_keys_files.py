"""Key files as files: how they are written, and which of them are not even read."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sealstore.default_folders import default_keyring_path
from sealstore.errors import (
    KeyringNotFoundError,
    KeyringPermissionsError,
    StorageError,
)
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.keys.mounted import read_hmac_key_file
from sealstore.keys.sources import read_keyring_file
from sealstore.keys.writing import locked_keyring_file, write_keyring_file
from tests.sealstore_fixtures import (
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    open_descriptors,
    roles,
    scope,
    written,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a key file may lie."""
    return tmp_path / "config" / "keyring.json"


def read(path: Path) -> Keyring:
    return read_keyring_file(path, outside=path.parent / "repository")


# ── writing and reading ──────────────────────────────────────────────────────


def test_a_keyring_comes_back_from_its_file_as_it_was(path: Path) -> None:
    """Every state, algorithm, role and scope survives, and the order too."""
    public = ed25519_key(5).material.public()
    assert public is not None
    keys = [
        hmac_key(1, state=State.REVOKED),
        ed25519_key(2, state=State.RETIRED, roles=frozenset(Role), scope=scope(REPOSITORY_ID)),
        hmac_key(3, roles=roles(), scope=scope()),
        hmac_key(4, roles=roles(Role.APPROVE), scope=scope("0" * 32, "1" * 32)),
        replace(ed25519_key(5), material=public),
    ]
    write_keyring_file(path, Keyring.of(keys))
    for ours, again in zip(keys, read(path), strict=True):
        assert replace(again, material=ours.material) == ours
        assert again.algorithm == ours.algorithm
        assert again.material.to_bytes() == ours.material.to_bytes()


def test_a_keyring_file_is_for_its_owner_alone(path: Path) -> None:
    """Mode 0600 in a folder of mode 0700, whatever the umask is, and no copy beside it."""
    before = os.umask(0)
    try:
        written(path, hmac_key())
        written(path, hmac_key(), hmac_key(2))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_the_lock_of_a_keyring_file_is_for_its_owner_alone(path: Path) -> None:
    """Nobody else can hold it and keep a revocation from being written."""
    before = os.umask(0)
    try:
        with locked_keyring_file(path):
            [lock] = path.parent.iterdir()
    finally:
        os.umask(before)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert stat.S_IMODE(lock.parent.stat().st_mode) == 0o700


def test_a_keyring_file_that_cannot_be_written_stays_as_it_was(path: Path) -> None:
    """The old file is replaced by a whole new one or not at all."""
    path.mkdir(parents=True)
    (path / "in the way").touch()
    with pytest.raises(StorageError, match="cannot be written") as refusal:
        write_keyring_file(path, Keyring.of([hmac_key()]))
    assert str(path) in str(refusal.value)
    assert list(path.parent.iterdir()) == [path]
    below_a_file = path / "in the way" / "keyring.json"
    with pytest.raises(StorageError, match="cannot be written"):
        write_keyring_file(below_a_file, Keyring.of([]))
    with (
        pytest.raises(StorageError, match="cannot be locked"),
        locked_keyring_file(below_a_file),
    ):
        pass


def test_a_keyring_file_survives_a_crash_at_any_moment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is synced before it has its name, and the folder afterwards; nothing leaks."""
    written(path, hmac_key())
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        size = "whole" if status.st_size else "empty"
        steps.append("folder" if stat.S_ISDIR(status.st_mode) else f"{size} file")
        real_fsync(descriptor)

    def rename(*names: str, **folders: int) -> None:
        steps.append("rename")
        real_rename(*names, **folders)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.rename", rename)
    descriptors = open_descriptors()
    write_keyring_file(path, Keyring.of([hmac_key(2)]))
    with locked_keyring_file(path):
        pass
    assert steps == ["whole file", "rename", "folder"]
    assert open_descriptors() == descriptors


def test_the_lock_of_a_keyring_file_keeps_others_out(path: Path) -> None:
    """While one process changes the keyring no other one does."""
    order = []

    def change() -> None:
        with locked_keyring_file(path):
            order.append("second")

    with locked_keyring_file(path):
        second = threading.Thread(target=change)
        second.start()
        second.join(timeout=0.2)
        order.append("first")
    second.join()
    assert order == ["first", "second"]


def test_the_default_keyring_lies_in_the_configuration_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """XDG_CONFIG_HOME says where."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere")
    assert default_keyring_path() == Path("/somewhere/sealstore/keyring.json")


# ── files that are refused ───────────────────────────────────────────────────


def test_a_missing_keyring_file_is_told_with_the_command_that_makes_one(path: Path) -> None:
    """No keyring is an error with a way out, not an empty keyring."""
    for missing in (path, path.with_name("dangling")):
        path.parent.mkdir(exist_ok=True)
        if missing != path:
            missing.symlink_to(path)
        with pytest.raises(KeyringNotFoundError, match="sealstore init"):
            read(missing)


@pytest.mark.invariant(4)
@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o640, 0o620, 0o610, 0o660, 0o644, 0o666])
def test_a_keyring_file_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    """Neither the group nor the world may read, write or execute it; the error says chmod."""
    written(path, hmac_key())
    path.chmod(mode)
    with pytest.raises(KeyringPermissionsError, match=f"mode {mode:04o}; 0600") as refusal:
        read(path)
    assert f"chmod 600 {path}" in str(refusal.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_keyring_file_of_its_owner_alone_is_read(path: Path, mode: int) -> None:
    """Whatever the owner may do does not matter."""
    written(path, hmac_key())
    path.chmod(mode)
    assert len(read(path)) == 1


def test_a_keyring_file_of_another_user_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's file is not trusted, however private it is; root's is."""
    written(path, hmac_key())
    somebody = os.geteuid() + 1
    if os.geteuid() == 0:
        os.chown(path, somebody, -1)
    else:
        monkeypatch.setattr("os.geteuid", lambda: somebody)
    with pytest.raises(KeyringPermissionsError, match="belongs to another user"):
        read(path)
    if os.geteuid() == 0:
        monkeypatch.setattr("os.geteuid", lambda: somebody)
        assert len(read(path)) == 1
        os.chown(path, 0, -1)
        assert len(read(path)) == 1


@pytest.mark.parametrize("kind", ["folder", "fifo", "socket"])
def test_a_keyring_that_is_no_file_is_refused(path: Path, kind: str) -> None:
    """A folder, a FIFO (without waiting for a writer) and a socket are none."""
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir(mode=0o700)
    elif kind == "fifo":
        os.mkfifo(path, 0o600)
    else:
        os.mknod(path, 0o600 | stat.S_IFSOCK)
    with pytest.raises(KeyringPermissionsError, match=r"regular file|cannot be read"):
        read(path)


def test_a_device_is_no_keyring() -> None:
    """Nothing is read from a device."""
    with pytest.raises(KeyringPermissionsError, match="not a regular file"):
        read_keyring_file(Path("/dev/zero"), outside=None)


def test_a_keyring_path_that_leads_nowhere_is_refused(path: Path) -> None:
    """A circle of links and a file in a folder's place are errors of the one family."""
    path.parent.mkdir()
    path.symlink_to(path)
    with pytest.raises(KeyringPermissionsError, match="cannot be read"):
        read(path)
    (path.parent / "file").touch()
    with pytest.raises(KeyringPermissionsError, match="cannot be read"):
        read(path.parent / "file" / "keyring.json")


def test_a_refused_key_file_leaves_no_descriptor_open(path: Path) -> None:
    """A worker that is refused a thousand times does not run out of descriptors."""
    written(path, hmac_key())
    folder = path.parent / "folder"
    folder.mkdir(mode=0o700)
    before = open_descriptors()
    path.chmod(0o644)
    for refused in (path, folder):
        with pytest.raises(KeyringPermissionsError):
            read(refused)
    assert open_descriptors() == before


class TestInsideTheRepository:
    """Whoever can write to the repository must not be able to replace a key."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "repository"
        root.mkdir()
        return root

    def refuse(self, path: Path, root: Path) -> None:
        for read_file in (read_keyring_file, read_hmac_key_file):
            with pytest.raises(KeyringPermissionsError, match="lies inside the repository"):
                read_file(path, outside=root)

    def test_a_keyring_file_inside_the_repository_is_refused(self, root: Path) -> None:
        """Directly or deep inside, written out or with dots."""
        for inside in (root / "keyring.json", root / "a" / "b" / "keyring.json"):
            written(inside, hmac_key())
            self.refuse(inside, root)
        self.refuse(root / "a" / ".." / "keyring.json", root)
        self.refuse(root.parent / "x" / ".." / root.name / "keyring.json", root)

    def test_a_link_into_the_repository_is_refused(self, root: Path) -> None:
        """What counts is where the link leads."""
        written(root / "keyring.json", hmac_key())
        link = root.parent / "link.json"
        link.symlink_to(root / "keyring.json")
        self.refuse(link, root)
        relative = root.parent / "relative.json"
        relative.symlink_to(Path(root.name) / "keyring.json")
        self.refuse(relative, root)

    def test_a_link_inside_the_repository_is_refused(self, root: Path) -> None:
        """What counts is also where the link lies: it can be exchanged there."""
        written(root.parent / "keyring.json", hmac_key())
        link = root / "link.json"
        link.symlink_to(root.parent / "keyring.json")
        self.refuse(link, root)

    def test_a_way_through_the_repository_is_refused(self, root: Path) -> None:
        """Begin and end lie outside, a link on the way inside: it can be exchanged as well."""
        written(root.parent / "keyring.json", hmac_key())
        (root / "through.json").symlink_to(root.parent / "keyring.json")
        begin = root.parent / "begin.json"
        begin.symlink_to(root / "through.json")
        self.refuse(begin, root)
        (root / "folder").symlink_to(root.parent)
        outside = root.parent / "outside"
        outside.symlink_to(root / "folder")
        self.refuse(outside / "keyring.json", root)

    def test_a_repository_that_is_reached_by_a_link_counts_as_well(self, root: Path) -> None:
        """The repository's own name may be a link."""
        written(root / "keyring.json", hmac_key())
        alias = root.parent / "alias"
        alias.symlink_to(root)
        self.refuse(root / "keyring.json", alias)
        self.refuse(alias / "keyring.json", root)
        self.refuse(alias / "keyring.json", alias)

    def test_a_keyring_beside_the_repository_is_read(self, root: Path) -> None:
        """A name that only begins like the repository's is outside, as are links among them."""
        beside = root.with_name(root.name + "-keys") / "keyring.json"
        written(beside, hmac_key())
        link = root.parent / "link.json"
        link.symlink_to(beside)
        up = root.parent / "up.json"
        up.symlink_to(Path("..") / root.parent.name / "link.json")
        for outside in (beside, link, up, beside.parent / ".." / beside.parent.name / beside.name):
            assert len(read_keyring_file(outside, outside=root)) == 1
        assert len(read_keyring_file(beside, outside=None)) == 1
