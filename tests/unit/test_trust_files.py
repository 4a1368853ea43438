"""The trust state's files: whose they must be, and how they are replaced."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sealstore.errors import TrustStateError, TrustStatePermissionsError
from sealstore.trust import operating
from sealstore.trust.locations import known_locations
from sealstore.trust.store import TrustStore
from tests.sealstore_fixtures import open_descriptors
from tests.trust_points import LOCATION, Prover, point, record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sealstore" / "trust"


@pytest.fixture
def trust(folder: Path, tmp_path: Path) -> TrustStore:
    return TrustStore(folder, LOCATION, outside=tmp_path / "models")


@pytest.fixture
def filled(trust: TrustStore) -> TrustStore:
    operating.begin(trust, point(3))
    return trust


def uses(trust: TrustStore) -> list[Callable[[], object]]:
    """Everything that must not rely on what others could have written."""
    return [
        trust.read,
        trust.expected,
        lambda: trust.advance(point(3), prove=Prover()),
        lambda: trust.advance(point(9), prove=Prover()),
    ]


# ── how they are written ─────────────────────────────────────────────────────


def test_the_files_are_for_their_owner_alone(folder: Path, trust: TrustStore) -> None:
    """Mode 0600 in folders of mode 0700, whatever the umask is, and nothing left beside them."""
    before = os.umask(0)
    try:
        operating.begin(trust, point(3))
        trust.advance(point(9), prove=Prover())
    finally:
        os.umask(before)
    assert sorted(path.name for path in folder.iterdir()) == [
        trust.path.name,
        f"{trust.path.name}.lock",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    for made in (folder, folder.parent, folder.parent.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_a_tight_umask_does_not_matter(trust: TrustStore) -> None:
    """The file can be read again."""
    trust.folder.mkdir(parents=True)
    before = os.umask(0o777)
    try:
        operating.begin(trust, point(3))
    finally:
        os.umask(before)
    assert stat.S_IMODE(trust.path.stat().st_mode) == 0o600


def recorded_steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made durable and renamed, in its order."""
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename
    real_mkdir, real_unlink, real_link = os.mkdir, os.unlink, os.link

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        size = "whole" if status.st_size else "empty"
        steps.append("folder" if stat.S_ISDIR(status.st_mode) else f"{size} file")
        real_fsync(descriptor)

    def told(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object, **named: object) -> None:
            real(*arguments, **named)
            steps.append(name)

        return call

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.rename", told("rename", real_rename))
    monkeypatch.setattr("os.mkdir", told("mkdir", real_mkdir))
    monkeypatch.setattr("os.unlink", told("unlink", real_unlink))
    monkeypatch.setattr("os.link", told("link", real_link))
    return steps


def test_a_power_loss_leaves_the_old_or_the_new_state(
    trust: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is synced before it has its name, and each folder after a name in it changed."""
    steps = recorded_steps(monkeypatch)
    trust.advance(point(3), prove=Prover())
    written = ["whole file", "rename", "folder"]
    assert steps == ["mkdir", "folder"] * 3 + written
    steps.clear()
    trust.advance(point(9), prove=Prover())
    operating.accept(trust, point(3))
    operating.forget(trust)
    assert steps == [*written, "link", *written, "unlink", "folder"]


def test_what_a_killed_process_left_is_overwritten(filled: TrustStore) -> None:
    """Half a file, or somebody's link, in the place of the next one."""
    staged = filled.folder / f"{filled.path.name}.staged"
    staged.write_bytes(b"half a fi")
    filled.advance(point(9), prove=Prover())
    assert not staged.exists()
    elsewhere = filled.folder.parent / "elsewhere"
    elsewhere.write_bytes(b"precious")
    staged.symlink_to(elsewhere)
    filled.advance(point(12), prove=Prover())
    assert filled.read() == record(12)
    assert elsewhere.read_bytes() == b"precious"


def test_a_full_disk_leaves_what_is_remembered(
    filled: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load is refused, since what it saw could not be remembered; nothing is lost."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    descriptors = open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(TrustStateError, match=r"cannot be written \(No space left") as refusal:
            filled.advance(point(9), prove=Prover())
    assert "MODEL_REPO_TRUST_STATE" in str(refusal.value)
    assert open_descriptors() == descriptors
    assert filled.read() == record(3)
    assert filled.advance(point(9), prove=Prover()) == record(9)


def test_the_lock_keeps_others_out(filled: TrustStore) -> None:
    """While one process judges and replaces what is remembered, no other one does."""
    order = []

    def prove(older: int, newer: int) -> list[bytes]:
        second.start()
        second.join(timeout=0.2)
        order.append("first")
        return list(Prover()(older, newer))

    def advance() -> None:
        TrustStore(filled.folder, LOCATION, outside=Path("/models")).advance(
            point(12), prove=Prover()
        )
        order.append("second")

    second = threading.Thread(target=advance)
    filled.advance(point(9), prove=prove)
    second.join()
    assert order == ["first", "second"]
    assert filled.read() == record(12)


def test_a_lock_that_cannot_be_had_is_an_error_of_the_family(
    filled: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that knows no locks, or a link in the lock's place."""
    import fcntl

    real = fcntl.flock

    def refuse(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            raise OSError(37, "No locks available")
        real(descriptor, operation)

    descriptors = open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", refuse)
        with pytest.raises(TrustStateError, match="No locks available"):
            filled.advance(point(9), prove=Prover())
    lock = filled.folder / f"{filled.path.name}.lock"
    lock.unlink()
    lock.symlink_to(filled.folder.parent / "made")
    with pytest.raises(TrustStateError, match="cannot be locked"):
        filled.advance(point(9), prove=Prover())
    assert not (filled.folder.parent / "made").exists()
    assert open_descriptors() == descriptors


def test_of_two_that_make_the_folder_both_succeed(
    trust: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have been quicker by a moment."""
    real = os.mkdir

    def mkdir(path: Path, mode: int) -> None:
        real(path, mode)
        real(path, mode)

    monkeypatch.setattr("os.mkdir", mkdir)
    assert operating.begin(trust, point(3)) == record(3)


# ── what is refused ──────────────────────────────────────────────────────────


@pytest.mark.invariant(4)
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o622, 0o660, 0o666, 0o777])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_trust_state_that_others_can_write_is_refused(
    filled: TrustStore, what: str, mode: int
) -> None:
    """Whoever can write there can make this client forget; the error says chmod."""
    place = filled.path if what == "file" else filled.folder
    place.chmod(mode | 0o100 if what == "folder" else mode)
    for use in uses(filled):
        with pytest.raises(TrustStatePermissionsError, match=f"state's {what}") as refusal:
            use()
        assert f"{mode | (0o100 if what == 'folder' else 0):04o}" in refusal.value.message
        assert f"chmod go-w {place}" in str(refusal.value)
    filled.folder.chmod(0o700)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o644, 0o700, 0o755])
def test_a_trust_state_that_others_can_only_read_is_used(filled: TrustStore, mode: int) -> None:
    """It holds no secret."""
    filled.path.chmod(mode)
    filled.folder.chmod(0o755)
    assert filled.read() == record(3)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_trust_state_of_another_user_is_refused(
    filled: TrustStore, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's memory is not this client's; root's is."""
    somebody = os.geteuid() + 1
    place = filled.path if what == "file" else filled.folder
    if os.geteuid() == 0:
        os.chown(place, somebody, -1)
    else:
        monkeypatch.setattr("os.geteuid", lambda: somebody)
    for use in uses(filled):
        with pytest.raises(TrustStatePermissionsError, match="belongs to another user"):
            use()
    if os.geteuid() == 0:
        monkeypatch.setattr("os.geteuid", lambda: somebody)
        assert filled.read() == record(3)


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "fifo", "socket", "device"])
def test_a_trust_state_that_is_no_file_is_refused(filled: TrustStore, kind: str) -> None:
    """Neither followed nor waited for."""
    path = filled.path
    if kind == "link":
        path.rename(path.with_suffix(".moved"))
        path.symlink_to(path.with_suffix(".moved"))
    else:
        path.unlink()
        if kind == "dangling link":
            path.symlink_to("nowhere")
        elif kind == "folder":
            path.mkdir(mode=0o700)
        elif kind == "fifo":
            os.mkfifo(path, 0o600)
        elif kind == "socket":
            os.mknod(path, 0o600 | stat.S_IFSOCK)
        else:
            path.symlink_to("/dev/zero")
    for use in uses(filled):
        with pytest.raises(TrustStateError, match=r"regular file|symbolic link") as refusal:
            use()
        assert refusal.value.path == str(path)


def test_a_link_is_told_with_the_way_out(filled: TrustStore) -> None:
    """The command that puts a file in its place."""
    filled.path.unlink()
    filled.path.symlink_to("nowhere")
    with pytest.raises(TrustStatePermissionsError, match="sealstore trust accept"):
        filled.read()


def test_a_trust_state_that_is_too_large_is_refused(filled: TrustStore) -> None:
    """It is not read to its end."""
    with filled.path.open("r+b") as file:
        file.truncate(1 << 40)
    for use in uses(filled):
        with pytest.raises(TrustStateError, match="too large"):
            use()


def test_a_refused_trust_state_leaves_no_descriptor_open(filled: TrustStore) -> None:
    """A worker that is refused a thousand times does not run out of descriptors."""
    descriptors = open_descriptors()
    filled.path.chmod(0o666)
    for use in uses(filled):
        with pytest.raises(TrustStateError):
            use()
    filled.path.chmod(0o600)
    filled.folder.chmod(0o777)
    for use in uses(filled):
        with pytest.raises(TrustStateError):
            use()
    filled.folder.chmod(0o700)
    assert open_descriptors() == descriptors


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_folder_that_is_none_is_an_error_of_the_family(trust: TrustStore, kind: str) -> None:
    """A file, or a link that leads nowhere, in the folder's place."""
    trust.folder.parent.mkdir(parents=True)
    if kind == "file":
        trust.folder.touch()
    else:
        trust.folder.symlink_to("nowhere")
    with pytest.raises(TrustStateError, match="cannot be opened"):
        operating.begin(trust, point(3))
    with pytest.raises(TrustStateError, match="cannot be opened"):
        known_locations(trust.folder)
    if kind == "file":
        with pytest.raises(TrustStateError, match="cannot be opened"):
            trust.read()
        with pytest.raises(TrustStateError, match="cannot be read"):
            operating.is_known(trust)


def test_a_folder_that_cannot_be_listed_is_an_error_of_the_family(
    filled: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that is incomplete does not pass for a whole one."""

    def fail(_descriptor: int) -> list[str]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.listdir", fail)
    with pytest.raises(TrustStateError, match="Input/output error"):
        known_locations(filled.folder)


def test_a_relative_folder_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changing the working directory later changes nothing."""
    monkeypatch.chdir(tmp_path)
    trust = TrustStore(Path("state"), LOCATION, outside=tmp_path / "models")
    operating.begin(trust, point(3))
    monkeypatch.chdir("/")
    assert trust.read() == record(3)
    assert trust.path.parent == tmp_path / "state"


# ── inside the repository ────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["inside", "itself", "link in", "link inside", "repository link"])
def test_a_trust_state_inside_the_repository_is_refused(tmp_path: Path, where: str) -> None:
    """Whoever can write there would bring it back together with an older state."""
    root = tmp_path / "models"
    outside = root
    folder = root / "trust"
    folder.mkdir(parents=True)
    if where == "itself":
        folder = root
    elif where == "link in":
        folder = tmp_path / "link"
        folder.symlink_to(root / "trust")
    elif where == "link inside":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder = root / "link"
        folder.symlink_to(tmp_path / "elsewhere")
    elif where == "repository link":
        outside = tmp_path / "alias"
        outside.symlink_to(root)
    trust = TrustStore(folder, LOCATION, outside=outside)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TrustStatePermissionsError, match="lies inside the repository"):
        operating.begin(trust, point(3))
    with pytest.raises(TrustStatePermissionsError, match="lies inside the repository"):
        trust.advance(point(3), prove=Prover())
    assert sorted(tmp_path.rglob("*")) == before
    operating.begin(TrustStore(folder, LOCATION, outside=tmp_path / "other"), point(3))
    for use in uses(trust):
        with pytest.raises(TrustStatePermissionsError, match="MODEL_REPO_TRUST_STATE"):
            use()


def test_no_folder_is_made_inside_the_repository(tmp_path: Path) -> None:
    """The refusal comes first."""
    root = tmp_path / "models"
    root.mkdir()
    trust = TrustStore(root / "new" / "trust", LOCATION, outside=root)
    with pytest.raises(TrustStatePermissionsError):
        operating.begin(trust, point(3))
    assert list(root.iterdir()) == []


def test_a_linked_folder_outside_is_used(tmp_path: Path) -> None:
    """State folders are often links: to another disk, or into a container."""
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("disk")
    trust = TrustStore(tmp_path / "link", LOCATION, outside=tmp_path / "models")
    operating.begin(trust, point(3))
    assert trust.read() == record(3)
