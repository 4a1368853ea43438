"""The one safe read, the one durable write, the one lock."""

from __future__ import annotations

import errno
import os
import socket
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


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    with files.opened_folder(tmp_path) as descriptor:
        yield descriptor


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    path.with_name("target").write_bytes(b"elsewhere")
    path.symlink_to("target")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


NOT_REGULAR = {
    "a FIFO": make_fifo,
    "a folder": make_folder,
    "a link": make_link,
    "a link to itself": make_loop,
    "a link to a device": make_link_to_device,
    "a socket": make_socket,
}


# ── reading ──────────────────────────────────────────────────────────────────


@pytest.mark.invariant(2)
@pytest.mark.parametrize("make", NOT_REGULAR.values(), ids=NOT_REGULAR)
def test_what_is_not_a_regular_file_is_refused_at_once(
    make: Callable[[Path], None], tmp_path: Path, folder: int
) -> None:
    """Nothing but a regular file is read, and nothing else is waited for."""
    make(tmp_path / "name")
    with pytest.raises(files.NotRegularFileError):
        files.read("name", 100, folder=folder)
    with pytest.raises(files.NotRegularFileError):
        files.read(tmp_path / "name", 100)


@pytest.mark.invariant(2)
@pytest.mark.parametrize("target", ["fifo", "/dev/zero", "folder"])
def test_a_link_that_may_be_followed_leads_to_a_regular_file(target: str, tmp_path: Path) -> None:
    """Where links are followed, what they lead to is judged all the same."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "name").symlink_to(target)
    with pytest.raises(files.NotRegularFileError):
        files.read(tmp_path / "name", 100, follow_links=True)


def test_a_mounted_secret_is_read_through_its_link(tmp_path: Path) -> None:
    """A reader that follows links gets the bytes of the file behind them."""
    (tmp_path / "target").write_bytes(b"secret")
    (tmp_path / "name").symlink_to("target")
    assert files.read(tmp_path / "name", 6, follow_links=True) == b"secret"


@pytest.mark.invariant(2)
@pytest.mark.parametrize("exchange", ["link", "fifo"])
def test_what_is_exchanged_after_the_look_is_refused(
    exchange: str, tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was opened is judged, whatever lay there a moment before."""
    name = tmp_path / "name"
    name.write_bytes(b"harmless")
    look = os.stat

    def look_and_exchange(path: str, **options: Any) -> os.stat_result:
        status = look(path, **options)
        name.unlink()
        if exchange == "link":
            name.symlink_to("/etc/hostname")
        else:
            os.mkfifo(name)
        return status

    monkeypatch.setattr(os, "stat", look_and_exchange)
    with pytest.raises(files.NotRegularFileError):
        files.open_regular("name", folder=folder)


def test_an_absent_file_is_absent(folder: int) -> None:
    """What is not there is told apart from what is refused."""
    with pytest.raises(FileNotFoundError):
        files.read("name", 100, folder=folder)


def test_a_refusal_of_the_file_system_is_passed_on(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system refuses to open is no link that was planted."""
    (tmp_path / "name").write_bytes(b"1")

    def refuse(*_arguments: object, **_options: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        files.open_regular("name", folder=folder)


def test_a_file_has_at_most_as_many_bytes_as_the_reader_allows(tmp_path: Path) -> None:
    """A file of the limit is read, and one of a byte more is refused."""
    (tmp_path / "name").write_bytes(b"12345")
    assert files.read(tmp_path / "name", 5) == b"12345"
    with pytest.raises(files.FileTooLargeError, match="more than 4 bytes"):
        files.read(tmp_path / "name", 4)


def test_a_sparse_file_takes_no_memory(tmp_path: Path) -> None:
    """What is too large is refused without being read to its end."""
    with (tmp_path / "name").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(files.FileTooLargeError):
        files.read(tmp_path / "name", 100)


def test_the_judge_sees_what_was_opened(tmp_path: Path) -> None:
    """Owner and mode are judged before a byte is read; what the judge raises is raised."""
    (tmp_path / "name").write_bytes(b"1")
    (tmp_path / "name").chmod(0o640)
    seen = []

    def judge(status: os.stat_result) -> None:
        seen.append(stat.S_IMODE(status.st_mode))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        files.read(tmp_path / "name", 1, judge=judge)
    assert seen == [0o640]


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

    def write() -> None:
        with named_files.new_file(name, replacing=False) as file:
            file.write(b"new")
            name.write_bytes(b"kept")

    with pytest.raises(FileExistsError):
        write()
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
