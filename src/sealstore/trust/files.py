"""The folder with the trust states: opened once, checked, and written whole or not at all.

Whoever can write there decides what this client remembers, so that nothing is read from a folder or
a file that others can write, and nothing from within the repository.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealstore.errors import TrustStateError, TrustStatePermissionsError
from sealstore.keys.sources import is_inside

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def refused(action: str, path: Path) -> Iterator[None]:
    """Tell what the file system refuses as an error of the trust state."""
    try:
        yield
    except OSError as error:
        raise TrustStateError(
            f"The trust state cannot be {action} ({error.strerror}).",
            path=path,
            hint="check {path}; MODEL_REPO_TRUST_STATE names another folder.",
        ) from error


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder that was found to be this user's own.

    Attributes:
        path: its name, for messages.
        descriptor: of the folder; everything is opened relative to it.
    """

    path: Path
    descriptor: int

    def read(self, name: str, limit: int) -> tuple[bytes, os.stat_result] | None:
        """A file's bytes, at most one more than ``limit``, and its status; None if there is none.

        Raises:
            TrustStatePermissionsError: it is no regular file, or others can write it.
            TrustStateError: it cannot be read.
        """
        path = self.path / name
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with refused("read", path):
            try:
                descriptor = os.open(name, flags, dir_fd=self.descriptor)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise _no_regular_file(path) from error
                raise
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise _no_regular_file(path)
                refuse_exposed(path, status, "file")
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    return file.read(limit + 1), status
            finally:
                os.close(descriptor)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file: a new one beside it, mode 0600, synced, then renamed; the folder synced.

        The caller holds ``locked``: the new file has a fixed name, so that what a killed process
        left is overwritten instead of piling up.

        Raises:
            TrustStateError: the file system refused.
        """
        staged = f"{name}.staged"
        with refused("written", self.path / name):
            with suppress(FileNotFoundError):
                os.unlink(staged, dir_fd=self.descriptor)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(staged, flags, 0o600, dir_fd=self.descriptor)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o600)
                file.write(data)
                file.flush()
                # Always, also where losing the newest state would do: a name that leads to an empty
                # file after a power loss would have this client refuse.
                os.fsync(descriptor)
            os.rename(staged, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
            os.fsync(self.descriptor)

    def remove(self, name: str) -> bool:
        """Remove a file. Returns whether there was one.

        Raises:
            TrustStateError: the file system refused.
        """
        with refused("removed", self.path / name):
            try:
                os.unlink(name, dir_fd=self.descriptor)
            except FileNotFoundError:
                return False
            os.fsync(self.descriptor)
        return True

    def keep_aside(self, name: str) -> Path | None:
        """Give what lies at ``name``, whatever it is, another name besides: the first that is free.

        Returns:
            The other name; None if nothing was there.

        Raises:
            TrustStateError: the file system refused; a folder has no second name.
        """
        with refused("kept", self.path / name):
            number = 1
            while True:
                aside = f"{name}.replaced-{number}"
                try:
                    # A link, unlike a renaming, leaves no moment in which nothing is remembered.
                    os.link(
                        name,
                        aside,
                        src_dir_fd=self.descriptor,
                        dst_dir_fd=self.descriptor,
                        follow_symlinks=False,
                    )
                except FileNotFoundError:
                    return None
                except FileExistsError:
                    number += 1
                else:
                    return self.path / aside

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock under which a file is read, judged and replaced.

        Raises:
            TrustStateError: the file system refused.
        """
        import fcntl

        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with refused("locked", self.path / name):
            descriptor = os.open(f"{name}.lock", flags, 0o600, dir_fd=self.descriptor)
        try:
            with refused("locked", self.path / name):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            # By name: a child forked meanwhile holds the lock with its copy of the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


@contextmanager
def opened(path: Path, outside: Path | None, *, create: bool = False) -> Iterator[Folder]:
    """The folder with the trust states.

    Args:
        path: its name.
        outside: the repository's folder, which must not contain it; None where none is meant.
        create: whether to make it, and those that lead to it, mode 0700, if they are absent.

    Raises:
        TrustStatePermissionsError: it lies in the repository, or others can write it.
        TrustStateError: it is not there, or cannot be opened or made.
    """
    if outside is not None and is_inside(path / "state", outside):
        raise TrustStatePermissionsError(
            "The trust state lies inside the repository: whoever can write there could replace it.",
            path=path,
            hint="move {path} out of the repository, and set MODEL_REPO_TRUST_STATE to its new"
            " place.",
        )
    with refused("opened", path):
        if create:
            _make(path)
        descriptor = os.open(path, _FOLDER)
    try:
        refuse_exposed(path, os.fstat(descriptor), "folder")
        yield Folder(path, descriptor)
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    missing = [each for each in (path, *path.parents) if not os.path.lexists(each)]
    for each in reversed(missing):
        # Another process may make it, too.
        with suppress(FileExistsError):
            os.mkdir(each, 0o700)
        above = os.open(each.parent, _FOLDER)
        try:
            os.fsync(above)
        finally:
            os.close(above)


def refuse_exposed(path: Path, status: os.stat_result, what: str) -> None:
    """Return if nobody but this user and root can write what has this status.

    Raises:
        TrustStatePermissionsError: others can.
    """
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise TrustStatePermissionsError(
            f"Others can write the trust state's {what} (mode {status.st_mode & 0o777:04o}).",
            path=path,
            hint="look whether somebody has changed it, then chmod go-w {path}.",
        )
    if status.st_uid not in (0, os.geteuid()):
        raise TrustStatePermissionsError(
            f"The trust state's {what} belongs to another user.",
            path=path,
            hint="look who made it, then chown it: {path}",
        )


def _no_regular_file(path: Path) -> TrustStatePermissionsError:
    return TrustStatePermissionsError(
        "The trust state is not a regular file.",
        path=path,
        hint="look who put it there; 'sealstore trust accept' puts a file in its place.",
    )
