"""The one safe read, the one durable write, the one lock.

Whoever may write to a folder decides what lies under a name: a link that leads elsewhere, a FIFO
that never answers, a device that acts when it is opened, a file of any size, a different file a
moment later. So a file is opened here only, once, and judged by what was opened:

    data = files.read("repository.json", limits.MAX_SETTINGS_BYTES, folder=descriptor)
    files.replace("state.json", data, folder=descriptor, mode=0o600)
    with files.locked("state.json.lock", folder=descriptor):
        ...

What the file system refuses stays an ``OSError``, whose ``strerror`` says why; each room makes its
own error of it, since the room knows what the file means. Files that a user has named stand in
``named_files``; payloads are staged and linked by ``storage.blobs``, which cannot hold them in
memory twice.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final, TypeAlias

FilePath: TypeAlias = str | os.PathLike[str]

OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a folder is opened that must not be a link."""

_FOLLOWED_FOLDER: Final = OPEN_FOLDER & ~os.O_NOFOLLOW
# O_NONBLOCK: opening a planted FIFO must not wait for a writer. O_NOCTTY: nor may a terminal that
# was planted become this process's own.
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class NotRegularFileError(OSError):
    """What lies under the name is a link, a folder, a FIFO, a socket or a device."""

    def __init__(self, path: FilePath, what: str = "it is not a regular file") -> None:
        super().__init__(errno.EINVAL, what, os.fspath(path))


class FileTooLargeError(OSError):
    """The file has more bytes than the reader allows."""

    def __init__(self, path: FilePath, limit: int) -> None:
        super().__init__(errno.EFBIG, f"it has more than {limit} bytes", os.fspath(path))


# ── the one safe read ────────────────────────────────────────────────────────


def open_regular(path: FilePath, *, folder: int | None = None, follow_links: bool = False) -> int:
    """A descriptor of a regular file, to read from.

    Args:
        path: its name.
        folder: the descriptor of the folder that the name is relative to.
        follow_links: whether the name may be a symbolic link, as that of a mounted secret is.

    Raises:
        NotRegularFileError: it is something else.
        OSError: there is nothing, or it cannot be opened.
    """
    # Looked at before it is opened, since opening a device may act.
    status = os.stat(path, dir_fd=folder, follow_symlinks=follow_links)
    if stat.S_ISLNK(status.st_mode):
        raise NotRegularFileError(path, "it is a symbolic link")
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularFileError(path)
    flags = _READ if follow_links else _READ | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP or follow_links:
            raise
        raise NotRegularFileError(path, "it is a symbolic link") from error
    # And again, on what was opened: it may have been exchanged in between.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(path)
    return descriptor


@contextmanager
def opened(
    path: FilePath, *, folder: int | None = None, follow_links: bool = False
) -> Iterator[BinaryIO]:
    """A regular file to read from, as ``open_regular`` opens it; closed at the end of the block."""
    descriptor = open_regular(path, folder=folder, follow_links=follow_links)
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read(
    path: FilePath,
    limit: int,
    *,
    folder: int | None = None,
    follow_links: bool = False,
    judge: Callable[[os.stat_result], None] | None = None,
) -> bytes:
    """The bytes of a regular file.

    Args:
        path: its name.
        limit: how many bytes it may have.
        folder: the descriptor of the folder that the name is relative to.
        follow_links: whether the name may be a symbolic link.
        judge: gets the status of the opened file before a byte is read, and raises what it
            thinks of its owner or mode.

    Raises:
        NotRegularFileError: it is something else.
        FileTooLargeError: it has more bytes.
        OSError: there is nothing, or it cannot be read.
    """
    return read_and_status(path, limit, folder=folder, follow_links=follow_links, judge=judge)[0]


def read_and_status(
    path: FilePath,
    limit: int,
    *,
    folder: int | None = None,
    follow_links: bool = False,
    judge: Callable[[os.stat_result], None] | None = None,
) -> tuple[bytes, os.stat_result]:
    """The bytes of a regular file, and its status as it was when it was opened. See ``read``."""
    with opened(path, folder=folder, follow_links=follow_links) as file:
        status = os.fstat(file.fileno())
        if judge is not None:
            judge(status)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FileTooLargeError(path, limit)
    return data, status


def identity(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file, as it is, from every other file, and from itself once it has changed."""
    which = (status.st_dev, status.st_ino, status.st_mode)
    return (*which, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


# ── the one durable write ────────────────────────────────────────────────────


@contextmanager
def created(path: FilePath, *, mode: int, folder: int | None = None) -> Iterator[BinaryIO]:
    """A file to write, of any size, that must not exist yet; synced when the block ends well.

    Its folder is not synced, and it is seen while it is written: who makes many at once, in a
    folder that nobody uses yet, syncs the folder at the end.

    Args:
        path: its name.
        mode: its permissions, less those that the umask takes from others.
        folder: the descriptor of the folder that the name is relative to.

    Raises:
        FileExistsError: something lies there, be it a link.
        OSError: it cannot be written; nothing is left of it.
    """
    descriptor = os.open(path, _CREATE, mode, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _keep_readable(descriptor, mode)
            yield file
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(path, dir_fd=folder)
        raise


def write_new(path: FilePath, data: bytes, *, mode: int, folder: int | None = None) -> None:
    """Write a file that must not exist yet, as ``created`` does.

    Args:
        path: its name.
        data: all of its bytes.
        mode: its permissions, less those that the umask takes from others.
        folder: the descriptor of the folder that the name is relative to.

    Raises:
        FileExistsError: something lies there, be it a link.
        OSError: it cannot be written; nothing is left of it.
    """
    with created(path, mode=mode, folder=folder) as file:
        file.write(data)


def replace(name: str, data: bytes, *, folder: int, mode: int, staged: str | None = None) -> None:
    """Give a file new content, which is there whole or not at all, and survives a power loss.

    A new file beside it is synced and renamed, and the folder is synced.

    Args:
        name: of the file.
        data: all of its new bytes.
        folder: the descriptor of its folder.
        mode: its permissions, less those that the umask takes from others.
        staged: the new file's name until then. Who holds a lock may give one that is fixed, so
            that what a killed process left is overwritten; by default it is a random one.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    beside = staging_name() if staged is None else staged
    if staged is not None:
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)
    write_new(beside, data, mode=mode, folder=folder)
    try:
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        raise
    os.fsync(folder)


def staging_name() -> str:
    """A random name for a file that is about to be renamed; ``gc`` knows what is left of one."""
    return f".staging-{secrets.token_hex(16)}"


def _keep_readable(descriptor: int, mode: int) -> None:
    # What the strictest umask takes from the owner would lock out the next run of this program.
    found = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & stat.S_IRWXU & ~found:
        os.fchmod(descriptor, found | mode & stat.S_IRWXU)


# ── folders ──────────────────────────────────────────────────────────────────


@contextmanager
def opened_folder(path: FilePath, *, follow_links: bool = True) -> Iterator[int]:
    """The descriptor of a folder, for as long as the block runs.

    Args:
        path: its name.
        follow_links: whether its last part may be a symbolic link.

    Raises:
        OSError: it is not there, or not a folder.
    """
    descriptor = os.open(path, _FOLLOWED_FOLDER if follow_links else OPEN_FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_folder(path: FilePath) -> None:
    """Let what was made, renamed or removed in a folder survive a power loss.

    Raises:
        OSError: it cannot be opened or synced.
    """
    with opened_folder(path) as folder:
        os.fsync(folder)


def make_folders(path: FilePath, *, mode: int) -> None:
    """Make a folder, and those that lead to it, each synced into the one above.

    Args:
        path: its name. It may be there already.
        mode: of those that are made.

    Raises:
        OSError: one cannot be made.
    """
    missing = []
    each = os.path.abspath(path)
    while not os.path.lexists(each):
        missing.append(each)
        each = os.path.dirname(each)
    for one in reversed(missing):
        # Another process may make it, too.
        with suppress(FileExistsError):
            os.mkdir(one, mode)
        sync_folder(os.path.dirname(one))


# ── the one lock ─────────────────────────────────────────────────────────────


@contextmanager
def locked(
    path: FilePath, *, folder: int | None = None, mode: int = 0o600, waiting: bool = True
) -> Iterator[None]:
    """Hold the lock of a file that is there for this alone, and stays.

    Args:
        path: its name; it is made where it is absent.
        folder: the descriptor of the folder that the name is relative to.
        mode: its permissions when it is made.
        waiting: whether to wait for it.

    Raises:
        BlockingIOError: another process holds it, and nobody is to wait.
        OSError: it cannot be made or locked.
    """
    descriptor = os.open(path, _LOCK, mode, dir_fd=folder)
    try:
        with holding(descriptor, waiting=waiting):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def holding(descriptor: int, *, shared: bool = False, waiting: bool = True) -> Iterator[None]:
    """Hold the lock of an open file or folder.

    Args:
        descriptor: of it.
        shared: whether others may hold it at the same time, all of them shared.
        waiting: whether to wait for it.

    Raises:
        BlockingIOError: another process holds it, and nobody is to wait.
        OSError: it cannot be locked.
    """
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(descriptor, kind if waiting else kind | fcntl.LOCK_NB)
    try:
        yield
    finally:
        # By name: a child forked meanwhile holds the lock with its copy of the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
