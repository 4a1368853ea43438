"""What a child does to files, call by call, as the kernel sees it: SQLite's own calls included.

Files and folders go by device and inode, as the kernel knows them: a nameless file has no other
name, and a descriptor outlives the name that it was opened by.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import tracing

Identity = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file or folder was made in ``folder``; ``name`` is None for a nameless file."""

    made: Identity
    is_folder: bool
    folder: Identity
    name: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes were written to a file."""

    file: Identity
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file was given another size."""

    file: Identity
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """A file or folder was synced."""

    what: Identity


@dataclass(frozen=True, slots=True)
class Linked:
    """A file was given a name."""

    file: Identity
    folder: Identity
    name: str


@dataclass(frozen=True, slots=True)
class Unlinked:
    """A name was taken away."""

    folder: Identity
    name: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """A name gave way to another one."""

    folder: Identity
    name: str
    new_folder: Identity
    new_name: str


Call = Made | Written | Cut | Synced | Linked | Unlinked | Renamed


def identity(path: Path) -> Identity:
    """Which file or folder it is."""
    status = path.stat()
    return status.st_dev, status.st_ino


def is_known() -> bool:
    """Whether this machine's system calls are known here."""
    return platform.machine() in _NUMBERS


def record(
    operation: Callable[..., None], arguments: tuple[object, ...], kill_before: int | None = None
) -> list[Call]:
    """What ``operation`` does to files, in a fork of this process.

    Args:
        operation: what to do.
        arguments: its arguments.
        kill_before: index of the call before which it is killed; by default it ends by itself.

    Raises:
        RuntimeError: it ended otherwise than it should.
        UnknownCallError: it changes files in a way that is not known here.
    """
    calls: list[Call] = []
    finish: _Finish | None = None

    def at_each_stop(process: int, info: tracing.Info) -> bool:
        nonlocal finish
        if not info.begins:
            if finish is not None and info.result >= 0:
                calls.extend(finish(info.result))
            finish = None
            return False
        decode = _DECODERS.get(info.number)
        finish = None if decode is None else decode(_Stopped(process, info))
        return finish is not None and len(calls) == kill_before

    status = tracing.follow(operation, arguments, at_each_stop)
    if os.waitstatus_to_exitcode(status) != (0 if kill_before is None else -signal.SIGKILL):
        raise RuntimeError(f"{operation.__name__} ended with status {status}")
    return calls


# ── system calls ─────────────────────────────────────────────────────────────


class UnknownCallError(Exception):
    """A system call that changes files in a way that is not known here."""


_Finish = Callable[[int], list[Call]]
"""Given what the system call returned, what it did."""


class _Stopped:
    """A process that is about to make a system call."""

    def __init__(self, process: int, info: tracing.Info) -> None:
        self.process = process
        self.arguments = [int(argument) for argument in info.arguments]

    def integer(self, place: int) -> int:
        return ctypes.c_int(self.arguments[place] & 0xFFFFFFFF).value

    def descriptor(self, number: int) -> Path:
        return Path(f"/proc/{self.process}/fd/{number}")

    def file(self, place: int) -> Identity | None:
        """The regular file or folder that a descriptor stands for."""
        status = self.descriptor(self.integer(place)).stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return None
        return status.st_dev, status.st_ino

    def position(self, place: int) -> int:
        """Where the next write of a descriptor goes."""
        text = Path(f"/proc/{self.process}/fdinfo/{self.integer(place)}").read_text()
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if int(fields["flags"], 8) & os.O_APPEND:
            return self.descriptor(self.integer(place)).stat().st_size
        return int(fields["pos"])

    def memory(self, address: int, size: int) -> bytes:
        with Path(f"/proc/{self.process}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(size)

    def path(self, folder: int | None, name: int) -> Path:
        """A path as this process can use it.

        Args:
            folder: place of the argument that is a folder's descriptor; None for calls without.
            name: place of the argument that is the path.
        """
        text = b""
        # A page at a time: beyond the one that the text ends in there may be nothing.
        address = self.arguments[name]
        while b"\0" not in text:
            size = 4096 - (address + len(text)) % 4096
            text += self.memory(address + len(text), size)
        path = os.fsdecode(text.partition(b"\0")[0])
        base = Path(f"/proc/{self.process}/cwd")
        if folder is not None and self.integer(folder) != _AT_FDCWD:
            base = self.descriptor(self.integer(folder))
        return base / path.replace("/proc/self/", f"/proc/{self.process}/", 1)


_AT_FDCWD = -100


def _folder_and_name(path: Path) -> tuple[Identity, str]:
    return identity(path.parent), path.name


def _open(folder: int | None) -> Callable[[_Stopped], _Finish | None]:
    first = 0 if folder is None else 1

    def decode(stopped: _Stopped) -> _Finish | None:
        flags = stopped.integer(first + 1)
        is_nameless = flags & os.O_TMPFILE == os.O_TMPFILE
        if not (flags & (os.O_CREAT | os.O_TRUNC) or is_nameless):
            return None
        path = stopped.path(folder, first)
        exists = not is_nameless and path.exists()

        def finish(result: int) -> list[Call]:
            file = identity(stopped.descriptor(result))
            if exists:
                return [Cut(file, 0)] if flags & os.O_TRUNC else []
            if is_nameless:
                return [Made(file, False, identity(path), None)]
            return [Made(file, False, *_folder_and_name(path))]

        return finish

    return decode


def _make_folder(folder: int | None) -> Callable[[_Stopped], _Finish]:
    def decode(stopped: _Stopped) -> _Finish:
        path = stopped.path(folder, 0 if folder is None else 1)
        return lambda _: [Made(identity(path), True, *_folder_and_name(path))]

    return decode


def _write(offset: int | None) -> Callable[[_Stopped], _Finish | None]:
    def decode(stopped: _Stopped) -> _Finish | None:
        file = stopped.file(0)
        if file is None:
            return None
        data = stopped.memory(stopped.arguments[1], stopped.arguments[2])
        at = stopped.position(0) if offset is None else stopped.arguments[offset]
        return lambda written: [Written(file, at, data[:written])] if written else []

    return decode


def _cut(stopped: _Stopped) -> _Finish | None:
    file, size = stopped.file(0), stopped.arguments[1]
    return None if file is None else lambda _: [Cut(file, size)]


def _sync(stopped: _Stopped) -> _Finish | None:
    what = stopped.file(0)
    return None if what is None else lambda _: [Synced(what)]


def _link(has_folders: bool) -> Callable[[_Stopped], _Finish | None]:
    def decode(stopped: _Stopped) -> _Finish | None:
        old = stopped.path(0, 1) if has_folders else stopped.path(None, 0)
        new = stopped.path(2, 3) if has_folders else stopped.path(None, 1)
        if not old.exists():
            return None
        file, (folder, name) = identity(old), _folder_and_name(new)
        return lambda _: [Linked(file, folder, name)]

    return decode


def _unlink(folder: int | None) -> Callable[[_Stopped], _Finish]:
    def decode(stopped: _Stopped) -> _Finish:
        if folder is not None and stopped.integer(2):
            raise UnknownCallError("a folder is removed")
        where, name = _folder_and_name(stopped.path(folder, 0 if folder is None else 1))
        return lambda _: [Unlinked(where, name)]

    return decode


def _rename(has_folders: bool) -> Callable[[_Stopped], _Finish]:
    def decode(stopped: _Stopped) -> _Finish:
        old = stopped.path(0, 1) if has_folders else stopped.path(None, 0)
        new = stopped.path(2, 3) if has_folders else stopped.path(None, 1)
        return lambda _: [Renamed(*_folder_and_name(old), *_folder_and_name(new))]

    return decode


def _unknown(name: str) -> Callable[[_Stopped], _Finish | None]:
    def decode(stopped: _Stopped) -> _Finish | None:
        if name == "sendfile" or stopped.file(0) is not None:
            raise UnknownCallError(name)
        return None

    return decode


_BY_NAME: dict[str, Callable[[_Stopped], _Finish | None]] = {
    "fdatasync": _sync,
    "fsync": _sync,
    "ftruncate": _cut,
    "link": _link(has_folders=False),
    "linkat": _link(has_folders=True),
    "mkdir": _make_folder(None),
    "mkdirat": _make_folder(0),
    "open": _open(None),
    "openat": _open(0),
    "pwrite64": _write(3),
    "rename": _rename(has_folders=False),
    "renameat": _rename(has_folders=True),
    "renameat2": _rename(has_folders=True),
    "unlink": _unlink(None),
    "unlinkat": _unlink(0),
    "write": _write(None),
} | {name: _unknown(name) for name in ("fallocate", "pwritev", "sendfile", "writev")}

_NUMBERS = {
    "x86_64": {
        "write": 1, "open": 2, "pwrite64": 18, "writev": 20, "sendfile": 40, "fsync": 74,
        "fdatasync": 75, "ftruncate": 77, "rename": 82, "mkdir": 83, "link": 86, "unlink": 87,
        "openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265,
        "fallocate": 285, "pwritev": 296, "renameat2": 316,
    },
    "aarch64": {
        "mkdirat": 34, "unlinkat": 35, "linkat": 37, "renameat": 38, "ftruncate": 46,
        "fallocate": 47, "openat": 56, "write": 64, "writev": 66, "pwrite64": 68, "pwritev": 70,
        "sendfile": 71, "fsync": 82, "fdatasync": 83, "renameat2": 276,
    },
}  # fmt: skip

_DECODERS: dict[int, Callable[[_Stopped], Any]] = {
    number: _BY_NAME[name] for name, number in _NUMBERS.get(platform.machine(), {}).items()
}
