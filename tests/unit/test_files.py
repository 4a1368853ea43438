"""The one durable write, and the one lock."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sealstore import files, named_files
from sealstore.errors import ArtifactNotFound, StorageError
from tests.sealstore_fixtures import open_descriptors


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    with files.opened_folder(tmp_path) as descriptor:
        yield descriptor


# ── writing ──────────────────────────────────────────────────────────────────


def left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.invariant(3)
def test_a_new_file_never_takes_the_place_of_another(tmp_path: Path, folder: int) -> None:
    """Neither a file nor a link is written over or through."""
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            files.write_new(name, b"new", mode=0o600, folder=folder)
    assert (tmp_path / "file").read_bytes() == b"kept"
    assert left(tmp_path) == ["file", "link"]


@pytest.mark.parametrize(
    ("umask", "mode"), [(0o022, 0o640), (0o077, 0o600), (0o027, 0o640), (0o777, 0o600)]
)
def test_a_file_is_open_to_no_more_than_the_umask_leaves(
    umask: int, mode: int, tmp_path: Path, folder: int
) -> None:
    """Who sets a stricter umask gets stricter files."""
    before = os.umask(umask)
    try:
        files.write_new("new", b"1", mode=0o640, folder=folder)
        files.replace("replaced", b"1", mode=0o640, folder=folder)
        with named_files.new_file(tmp_path / "streamed", replacing=False, mode=0o640) as file:
            file.write(b"1")
    finally:
        os.umask(before)
    for name in ("new", "replaced", "streamed"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


def disk_full(*_arguments: object, **_options: object) -> None:
    raise OSError(28, "No space left on device")


@contextmanager
def failing(call: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, disk_full)
        yield


@pytest.mark.invariant(3)
def test_what_could_not_be_written_is_not_there(tmp_path: Path, folder: int) -> None:
    """A full disk leaves nothing of a new file, and an old one as it was."""
    (tmp_path / "old").write_bytes(b"old")
    with failing("fsync"):
        with pytest.raises(OSError, match="No space"):
            files.write_new("new", b"new", mode=0o600, folder=folder)
        with pytest.raises(OSError, match="No space"):
            files.replace("old", b"new", mode=0o600, folder=folder)
        with (
            pytest.raises(OSError, match="No space"),
            named_files.new_file(tmp_path / "old", replacing=True, mode=0o600) as file,
        ):
            file.write(b"new")
    assert left(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


@pytest.mark.invariant(3)
@pytest.mark.parametrize("staged", [None, "old.staged"])
def test_a_renaming_that_fails_leaves_the_old_file(
    staged: str | None, tmp_path: Path, folder: int
) -> None:
    """Where the last step fails, the old content stays and nothing lies beside it."""
    (tmp_path / "old").write_bytes(b"old")
    with failing("rename"), pytest.raises(OSError, match="No space"):
        files.replace("old", b"new", mode=0o600, folder=folder, staged=staged)
    assert left(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path, folder: int) -> None:
    """A fixed name for the new file does not pile up."""
    (tmp_path / "name.staged").write_bytes(b"half")
    files.replace("name", b"whole", mode=0o600, folder=folder, staged="name.staged")
    assert left(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"whole"


@pytest.mark.invariant(3)
def test_the_content_is_synced_before_the_name_and_the_folder_after(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power loss at any moment leaves the old content or the new one."""
    seen = []
    sync, rename = os.fsync, os.rename

    def note_sync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        seen.append(f"sync {kind}")
        sync(descriptor)

    def note_rename(*arguments: str, **options: Any) -> None:
        seen.append("rename")
        rename(*arguments, **options)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    files.replace("name", b"1", mode=0o600, folder=folder)
    with named_files.new_file(tmp_path / "other", replacing=True) as file:
        file.write(b"1")
    assert seen == ["sync file", "rename", "sync folder"] * 2


@pytest.mark.invariant(3)
def test_what_is_synced_is_all_that_was_written(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left in the process's own buffer that a power loss would take."""
    sizes = []
    sync = os.fsync

    def note_size(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            sizes.append(status.st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note_size)
    files.write_new("new", b"123", mode=0o600, folder=folder)
    with named_files.new_file(tmp_path / "streamed", replacing=False) as file:
        file.write(b"12345")
    assert sizes == [3, 5]


def test_two_writers_do_not_share_a_staged_file() -> None:
    """What one is writing has a name that no other one chooses."""
    assert len({files.staging_name() for _ in range(100)}) == 100


@pytest.fixture
def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system such as FAT, which memory sticks have."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)


@pytest.mark.parametrize("links", [True, False])
def test_a_streamed_file_never_takes_the_place_of_another(
    links: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What somebody else puts there meanwhile stays, on any file system; so does what was there."""
    if not links:
        request.getfixturevalue("without_links")

    def write(name: str, *, appearing: bool) -> None:
        with named_files.new_file(tmp_path / name, replacing=False) as file:
            file.write(b"new")
            if appearing:
                (tmp_path / name).write_bytes(b"somebody else's")

    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        write("link", appearing=False)
    (tmp_path / "link").unlink()
    write("new", appearing=False)
    assert (tmp_path / "new").read_bytes() == b"new"
    with pytest.raises(FileExistsError):
        write("taken", appearing=True)
    with pytest.raises(FileExistsError):
        write("taken", appearing=False)
    assert (tmp_path / "taken").read_bytes() == b"somebody else's"
    assert left(tmp_path) == ["new", "taken"]


def test_a_file_system_that_refuses_links_is_told(tmp_path: Path) -> None:
    """Only one that knows no links is worked around; a full one is not."""
    with (
        failing("link"),
        pytest.raises(OSError, match="No space"),
        named_files.new_file(tmp_path / "name", replacing=False),
    ):
        pass
    assert left(tmp_path) == []


def test_what_the_file_system_says_of_a_named_file_is_told_to_its_user(tmp_path: Path) -> None:
    """The error says what cannot be done, with which file, and what to do."""
    (tmp_path / "there").touch()
    with (
        pytest.raises(StorageError, match=r"proof cannot be read \(No such file") as told,
        named_files.reading("proof", tmp_path / "absent"),
    ):
        files.read(tmp_path / "absent", 1)
    assert told.value.path == str(tmp_path / "absent")
    for path, what in (("there", r"file exists.*--force"), ("no/file", "proof cannot be written")):
        with pytest.raises(StorageError, match=what), named_files.writing("proof", tmp_path / path):
            files.write_new(tmp_path / path, b"", mode=0o600)


@pytest.mark.parametrize("telling", [named_files.reading, named_files.writing])
def test_an_error_that_says_more_is_kept(
    telling: Callable[[str, Path], AbstractContextManager[None]], tmp_path: Path
) -> None:
    """An artifact that is not there is no file that cannot be read."""
    with pytest.raises(ArtifactNotFound), telling("file", tmp_path):
        raise ArtifactNotFound("no such artifact")


def test_a_file_that_is_written_in_pieces_is_whole_or_gone(tmp_path: Path) -> None:
    """What a block that failed has written is removed; nothing that is there is touched."""
    path = tmp_path / "file"

    def fail() -> None:
        with files.created(path, mode=0o640) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not path.exists()
    with files.created(path, mode=0o440) as file:
        file.write(b"one, ")
        file.write(memoryview(b"two"))
    assert path.read_bytes() == b"one, two"
    assert not stat.S_IMODE(path.stat().st_mode) & ~0o440
    with pytest.raises(FileExistsError), files.created(path, mode=0o640):
        pass
    assert path.read_bytes() == b"one, two"


def test_a_streamed_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """Until the block ends well, nothing has the name."""
    with named_files.new_file(tmp_path / "name", replacing=False) as file:
        file.write(b"1")
        assert not (tmp_path / "name").exists()
    assert (tmp_path / "name").read_bytes() == b"1"

    def write_half() -> None:
        with named_files.new_file(tmp_path / "name", replacing=True) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert left(tmp_path) == ["name"]
    assert (tmp_path / "name").read_bytes() == b"1"


@pytest.mark.invariant(3)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_streamed_file_replaces_nothing_unasked(when: str, tmp_path: Path) -> None:
    """A file that is there, or comes while the new one is written, stays."""
    name = tmp_path / "name"
    if when == "before":
        name.write_bytes(b"kept")

    written = []

    def write() -> None:
        with named_files.new_file(name, replacing=False) as file:
            written.append(file.write(b"new"))
            name.write_bytes(b"kept")

    with pytest.raises(FileExistsError):
        write()
    assert bool(written) is (when == "meanwhile"), "a long file is not written in vain"
    assert name.read_bytes() == b"kept"
    assert left(tmp_path) == ["name"]


# ── folders ──────────────────────────────────────────────────────────────────


def test_folders_are_made_and_synced_from_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder that is made is synced into the one above it; those that are there stay."""
    synced = []
    monkeypatch.setattr(files, "sync_folder", lambda path: synced.append(Path(path)))
    (tmp_path / "there").mkdir(mode=0o755)
    files.make_folders(tmp_path / "there" / "a" / "b", mode=0o700)
    assert synced == [tmp_path / "there", tmp_path / "there" / "a"]
    assert stat.S_IMODE((tmp_path / "there" / "a" / "b").stat().st_mode) == 0o700
    files.make_folders(tmp_path / "there" / "a" / "b", mode=0o700)
    assert len(synced) == 2


def test_a_folder_that_somebody_else_makes_meanwhile_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that begin together make one folder."""
    make = os.mkdir

    def make_twice(path: str, mode: int) -> None:
        make(path, mode)
        make(path, mode)

    monkeypatch.setattr(os, "mkdir", make_twice)
    files.make_folders(tmp_path / "a", mode=0o700)
    assert (tmp_path / "a").is_dir()


@pytest.mark.invariant(2)
def test_a_folder_that_must_not_be_a_link_is_none(tmp_path: Path) -> None:
    """A link in a folder's place is followed only where that is meant."""
    (tmp_path / "link").symlink_to(tmp_path)
    with files.opened_folder(tmp_path / "link"):
        pass
    with (
        pytest.raises(OSError, match="link"),
        files.opened_folder(tmp_path / "link", follow_links=False),
    ):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """What should be a folder and is a file is refused when it is opened; a folder is closed."""
    (tmp_path / "file").touch()
    for follow_links in (True, False):
        with (
            pytest.raises(NotADirectoryError),
            files.opened_folder(tmp_path / "file", follow_links=follow_links),
        ):
            pass
    before = open_descriptors()
    with files.opened_folder(tmp_path):
        pass
    assert open_descriptors() == before


def test_a_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is this very folder that survives a power loss."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    files.sync_folder(tmp_path)
    assert synced == [tmp_path.stat().st_ino]


# ── locks ────────────────────────────────────────────────────────────────────

TRY = """
import os, sys
from sealstore import files, named_files
from sealstore.errors import ArtifactNotFound, StorageError
descriptor = os.open(sys.argv[1], os.O_RDWR)
try:
    with files.holding(descriptor, shared=sys.argv[2] == "shared", waiting=False):
        print("held")
except BlockingIOError:
    print("busy")
"""


def try_to_hold(path: Path, kind: str) -> str:
    """What another process sees that tries to hold the lock."""
    done = subprocess.run(
        [sys.executable, "-c", TRY, path, kind], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_lock_keeps_other_processes_out(tmp_path: Path) -> None:
    """Nobody else holds it meanwhile, and anybody afterwards, whatever the block raised."""
    lock = tmp_path / "lock"

    def hold() -> None:
        with files.locked(lock):
            assert try_to_hold(lock, "alone") == "busy"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hold()
    assert try_to_hold(lock, "alone") == "held"


def test_a_lock_that_nobody_waits_for_is_refused_at_once(tmp_path: Path) -> None:
    """Who would rather not wait is told that somebody holds it."""
    lock = tmp_path / "lock"
    with (
        files.locked(lock),
        pytest.raises(BlockingIOError),
        files.locked(lock, waiting=False),
    ):
        pass
    with files.locked(lock, waiting=False):
        assert try_to_hold(lock, "alone") == "busy"


def test_a_shared_lock_is_shared(tmp_path: Path) -> None:
    """Several hold a shared lock, and nobody an exclusive one beside them."""
    lock = tmp_path / "lock"
    lock.touch()
    descriptor = os.open(lock, os.O_RDWR)
    try:
        with files.holding(descriptor, shared=True):
            assert try_to_hold(lock, "shared") == "held"
            assert try_to_hold(lock, "alone") == "busy"
    finally:
        os.close(descriptor)


def test_a_locks_file_is_private_and_lies_where_it_should(tmp_path: Path, folder: int) -> None:
    """Nobody else can hold it for ever; its descriptor is closed at the end."""
    before = open_descriptors()
    with files.locked("lock", folder=folder):
        assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    with files.locked("shared.lock", folder=folder, mode=0o640):
        assert stat.S_IMODE((tmp_path / "shared.lock").stat().st_mode) == 0o640
    assert open_descriptors() == before


@pytest.mark.invariant(2)
def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    """A link in the lock's place makes no file where it leads."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), files.locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_child_that_lives_on_keeps_no_lock(tmp_path: Path) -> None:
    """What is let go is free, though a forked child still has the descriptor."""
    lock = tmp_path / "lock"
    with files.locked(lock):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        os.close(reader)
    try:
        assert try_to_hold(lock, "alone") == "held"
    finally:
        os.close(writer)
        os.waitpid(child, 0)
