"""What lies in a folder of the repository, found and removed without ever following a link.

Every step is taken relative to a folder's descriptor with ``O_NOFOLLOW``: no planted link leads a
walk, or a removal, out of the repository.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sealstore.files import OPEN_FOLDER

STAGING_NAME: Final = re.compile(r"\.staging-[0-9a-f]{32}")
"""A file that was being written: no store that ended left it."""
SET_ASIDE_NAME: Final = re.compile(r"(.+)\.set-aside-[0-9a-f]{16}")
"""What lay in the place of another file, and was moved out of its way."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """Something in a folder, as ``lstat`` saw it.

    Attributes:
        folders: names of the folders that lead to it, from the walk's beginning.
        name: its name.
        status: of itself, not of what a link points to.
    """

    folders: tuple[str, ...]
    name: str
    status: os.stat_result

    @property
    def path(self) -> str:
        """Where it lies, relative to the walk's beginning."""
        return "/".join((*self.folders, self.name))

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and no link to one."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_staging(self) -> bool:
        """Whether it is a file that was being written."""
        return self.is_regular and STAGING_NAME.fullmatch(self.name) is not None

    @property
    def is_set_aside(self) -> bool:
        """Whether it, of whatever type, was moved out of the way of another file."""
        return SET_ASIDE_NAME.fullmatch(self.name) is not None

    @property
    def permissions(self) -> int:
        """Its permission bits."""
        return stat.S_IMODE(self.status.st_mode)

    @property
    def changed(self) -> float:
        """When content, name or mode last changed: seconds of the epoch.

        Anybody may set a file's mtime; the kernel alone sets its ctime.
        """
        return max(self.status.st_mtime, self.status.st_ctime)

    def is_still(self, status: os.stat_result) -> bool:
        """Whether ``status`` is of this very file, unchanged since."""
        return _identity(status) == _identity(self.status)


def walk(
    folder: int, depth: int, within: tuple[str, ...] = (), *, skipped: frozenset[str] = frozenset()
) -> Iterator[FoundFile]:
    """Everything below a folder, folders before what is in them.

    What goes away while it is looked at is passed over; nothing but folders is opened.

    Args:
        folder: descriptor of the folder; stays the caller's.
        depth: levels of folders that are entered below it.
        within: names of the folders that lead to it.
        skipped: names that are passed over in the folder itself.

    Raises:
        OSError: a folder cannot be listed.
    """
    for name in sorted(set(os.listdir(folder)) - skipped):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        found = FoundFile(within, name, status)
        yield found
        if found.is_folder and depth > 0:
            try:
                inner = os.open(name, OPEN_FOLDER, dir_fd=folder)
            except FileNotFoundError:
                continue
            try:
                yield from walk(inner, depth - 1, (*within, name))
            finally:
                os.close(inner)


class Removals:
    """Removes files that a walk found, and makes that durable.

    Args:
        folder: descriptor of the folder that the walk began at; stays the caller's.
    """

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._touched: set[tuple[str, ...]] = set()

    def remove(self, found: FoundFile) -> bool:
        """Remove a file, or a link itself, if it is still the one that was found.

        Returns:
            Whether it was.

        Raises:
            OSError: the file system refused.
        """
        try:
            inner = open_below(self._folder, found.folders)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            status = os.stat(found.name, dir_fd=inner, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) or not found.is_still(status):
                return False
            os.unlink(found.name, dir_fd=inner)
        except FileNotFoundError:
            return False
        finally:
            os.close(inner)
        self._touched.add(found.folders)
        return True

    def sync(self) -> None:
        """Make durable what was removed.

        Raises:
            OSError: the file system refused.
        """
        for folders in sorted(self._touched):
            inner = open_below(self._folder, folders)
            try:
                os.fsync(inner)
            finally:
                os.close(inner)
        self._touched.clear()


def open_below(folder: int, names: tuple[str, ...]) -> int:
    """A descriptor of the folder that ``names`` lead to from ``folder``, without any link.

    Raises:
        OSError: there is none; NotADirectoryError where a link stands in the path.
    """
    inner = os.open(".", OPEN_FOLDER, dir_fd=folder)
    for name in names:
        try:
            deeper = os.open(name, OPEN_FOLDER, dir_fd=inner)
        finally:
            os.close(inner)
        inner = deeper
    return inner


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
