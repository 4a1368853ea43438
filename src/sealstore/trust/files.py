"""The folder with the trust states: opened once, checked, and written whole or not at all.

Whoever can write there decides what this client remembers, so that nothing is read from a folder or
a file that others can write, and nothing from within the repository.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealstore import files
from sealstore.errors import TrustStateError, TrustStateFormatError, TrustStatePermissionsError
from sealstore.keys.sources import is_inside

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


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
        """A file's bytes, at most ``limit``, and its status; None if there is none.

        Raises:
            TrustStatePermissionsError: it is not a regular file, or others can write it.
            TrustStateFormatError: it is larger.
            TrustStateError: it cannot be read.
        """
        path = self.path / name

        def judge(status: os.stat_result) -> None:
            refuse_exposed(path, status, "file")

        with refused("read", path):
            try:
                return files.read_and_status(name, limit, folder=self.descriptor, judge=judge)
            except FileNotFoundError:
                return None
            except files.NotRegularFileError as error:
                raise TrustStatePermissionsError(
                    f"The trust state cannot be a file of this kind: {error.strerror}.",
                    path=path,
                    hint="look who put it there; 'sealstore trust accept' puts a file there.",
                ) from error
            except files.FileTooLargeError as error:
                raise TrustStateFormatError(
                    f"The trust state is too large: {error.strerror}.", path=path
                ) from error

    def write(self, name: str, data: bytes) -> None:
        """Replace a file: a new one beside it, mode 0600, synced, then renamed; the folder synced.

        The caller holds ``locked``: the new file has a fixed name, so that what a killed process
        left is overwritten instead of piling up.

        Raises:
            TrustStateError: the file system refused.
        """
        with refused("written", self.path / name):
            # Synced, also where losing the newest state would do: a name that leads to an empty
            # file after a power loss would have this client refuse.
            files.replace(name, data, folder=self.descriptor, mode=0o600, staged=f"{name}.staged")

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock under which a file is read, judged and replaced.

        Raises:
            TrustStateError: the file system refused.
        """
        with ExitStack() as held:
            with refused("locked", self.path / name):
                held.enter_context(files.locked(f"{name}.lock", folder=self.descriptor))
            yield


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
            files.make_folders(path, mode=0o700)
        held = ExitStack()
        descriptor = held.enter_context(files.opened_folder(path))
    with held:
        refuse_exposed(path, os.fstat(descriptor), "folder")
        yield Folder(path, descriptor)


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
