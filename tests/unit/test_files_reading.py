"""The one safe read: what is opened, what is refused, and what is read of it."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from sealstore import files
from tests.sealstore_fixtures import open_descriptors


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


def test_a_link_is_named_as_one(tmp_path: Path) -> None:
    """Who planted a link, or meant to mount a secret, is told what lies there."""
    make_link(tmp_path / "name")
    with pytest.raises(files.NotRegularFileError, match="symbolic link"):
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


def exchanged(monkeypatch: pytest.MonkeyPatch, name: Path, make: Callable[[Path], None]) -> None:
    """Let something else lie under a name once it has been looked at."""
    look = os.stat

    def look_and_exchange(path: str, **options: Any) -> os.stat_result:
        status = look(path, **options)
        name.unlink()
        make(name)
        return status

    monkeypatch.setattr(os, "stat", look_and_exchange)


@pytest.mark.invariant(2)
@pytest.mark.parametrize("make", [make_link, make_fifo])
def test_what_is_exchanged_after_the_look_is_refused(
    make: Callable[[Path], None], tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was opened is judged, whatever lay there before; it is closed again."""
    (tmp_path / "name").write_bytes(b"harmless")
    exchanged(monkeypatch, tmp_path / "name", make)
    before = open_descriptors()
    with pytest.raises(files.NotRegularFileError):
        files.open_regular("name", folder=folder)
    assert open_descriptors() == before


def test_a_link_that_leads_nowhere_is_the_file_systems_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where links may be followed, being one is no reason to refuse."""
    (tmp_path / "name").write_bytes(b"harmless")
    exchanged(monkeypatch, tmp_path / "name", make_loop)
    with pytest.raises(OSError, match="symbolic links") as refused:
        files.open_regular(tmp_path / "name", follow_links=True)
    assert refused.value.errno == errno.ELOOP
    assert not isinstance(refused.value, files.NotRegularFileError)


TERMINAL = """
import os, sys
from pathlib import Path
from sealstore import files
controller, terminal = os.openpty()
harmless = os.stat(sys.argv[1])
os.stat = lambda *_, **__: harmless
try:
    files.open_regular(os.ttyname(terminal))
except files.NotRegularFileError:
    pass
try:
    os.open("/dev/tty", os.O_RDWR)
except OSError:
    print("has no terminal")
"""


@pytest.mark.invariant(2)
def test_a_planted_terminal_does_not_become_the_process_own(tmp_path: Path) -> None:
    """A daemon that opens one by mistake gets none of its signals."""
    (tmp_path / "harmless").touch()
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL, tmp_path / "harmless"],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,  # only a session's first process gets a terminal by opening it
    )
    assert done.stdout.strip() == "has no terminal"


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


def test_the_judge_sees_what_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Owner and mode are those of the opened file, whatever lies under its name by then."""
    (tmp_path / "name").write_bytes(b"1")
    (tmp_path / "name").chmod(0o640)
    opened = os.open

    def open_and_exchange(path: str, *arguments: int, **options: Any) -> int:
        descriptor = opened(path, *arguments, **options)
        (tmp_path / "name").unlink()
        (tmp_path / "name").write_bytes(b"2")
        return descriptor

    monkeypatch.setattr(os, "open", open_and_exchange)
    seen: list[int] = []
    files.read(tmp_path / "name", 1, judge=lambda status: seen.append(stat.S_IMODE(status.st_mode)))
    assert seen == [0o640]


def test_nothing_is_read_that_the_judge_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the judge raises is raised before the first byte is read."""
    (tmp_path / "name").write_bytes(b"1")
    reads = []
    opened = os.fdopen

    def opened_and_watched(descriptor: int, mode: str) -> Any:
        file = opened(descriptor, mode)
        watched = mock.MagicMock(wraps=file)
        watched.__enter__.return_value = watched
        watched.__exit__.side_effect = lambda *_: file.close()
        watched.read.side_effect = lambda *_: reads.append("read")
        return watched

    def judge(_status: os.stat_result) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(os, "fdopen", opened_and_watched)
    with pytest.raises(ZeroDivisionError):
        files.read(tmp_path / "name", 1, judge=judge)
    assert reads == []
