"""Files that a user has named: an error that says what the file is, and a new file, whole or not.

How a file is opened, written and synced is decided in ``files``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from sealstore import files
from sealstore.errors import SealstoreError, StorageError

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
"""What file systems such as FAT, which memory sticks have, answer to a hard link."""

# ── what a user is told ──────────────────────────────────────────────────────


@contextmanager
def reading(what: str, path: files.FilePath) -> Iterator[None]:
    """Tell that a file which a user has named cannot be read.

    Args:
        what: the file is, for people.
        path: its name.

    Raises:
        StorageError: the file system refused what the block does, or something else lies there.
    """
    try:
        yield
    except SealstoreError:
        # One of them is an OSError as well, and says more.
        raise
    except OSError as error:
        raise StorageError(
            f"The {what} cannot be read ({error.strerror}).", path=path, hint="check {path}."
        ) from error


@contextmanager
def writing(what: str, path: files.FilePath) -> Iterator[None]:
    """Tell that a file which a user has named cannot be written.

    Args:
        what: the file is, for people.
        path: its name.

    Raises:
        StorageError: there is one already, or the file system refused what the block does.
    """
    try:
        yield
    except SealstoreError:
        raise
    except FileExistsError as error:
        raise StorageError(
            "The file exists.", path=path, hint="--force replaces {path}."
        ) from error
    except OSError as error:
        raise StorageError(
            f"The {what} cannot be written ({error.strerror}).", path=path, hint="check {path}."
        ) from error


# ── a new file ───────────────────────────────────────────────────────────────


@contextmanager
def new_file(path: files.FilePath, *, replacing: bool, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write, of any size, that appears under its name when the block ends well; synced.

    Args:
        path: its name.
        replacing: whether it takes the place of a file that is there by then.
        mode: its permissions, less those that the umask takes from others.

    Raises:
        FileExistsError: something lies there, and is not to be replaced.
        OSError: it cannot be written. Nothing is left of it then.
    """
    folder, name = os.path.split(os.path.abspath(path))
    with files.opened_folder(folder) as place:
        if not replacing:
            _refuse_existing(name, place)
        staged = files.staging_name()
        with files.created(staged, mode=mode, folder=place) as file:
            yield file
        try:
            if replacing or not _linked(staged, name, place):
                os.rename(staged, name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with suppress(OSError):
                os.unlink(staged, dir_fd=place)
            raise
        os.fsync(place)


def _linked(staged: str, name: str, folder: int) -> bool:
    """Give a staged file its name; False where the file system has no hard links, and it is free.

    A link, unlike a renaming, never replaces what came meanwhile.
    """
    try:
        os.link(staged, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _refuse_existing(name, folder)
        return False
    os.unlink(staged, dir_fd=folder)
    return True


def _refuse_existing(name: str, folder: int) -> None:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
