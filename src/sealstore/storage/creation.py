"""The folder of a new repository: made, held while it is filled, and given its settings."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from sealstore import files
from sealstore.errors import RepositoryExistsError, UsageError, storage_errors
from sealstore.files import OPEN_FOLDER
from sealstore.storage.layout import REPOSITORY_FILE, STATEMENTS_FOLDER

FOLDER_MODE: Final = 0o750
FILE_MODE: Final = 0o640


def new_repository_id() -> str:
    """A random repository id."""
    return secrets.token_hex(16)


def require_repository_id(text: str) -> None:
    """Return if ``text`` is a repository's id.

    Raises:
        UsageError: it is not.
    """
    if not re.fullmatch("[0-9a-f]{32}", text):
        raise UsageError("A repository's id has 32 hexadecimal digits, in lower case.")


def place_settings(root: Path, envelope: bytes) -> None:
    """Replace ``repository.json``: synced, renamed, the folder synced.

    Raises:
        StorageError: the file system refused.
    """
    with (
        storage_errors("The repository's settings cannot be written"),
        files.opened_folder(root) as folder,
    ):
        files.replace(REPOSITORY_FILE, envelope + b"\n", folder=folder, mode=FILE_MODE)


@contextmanager
def exclusive_empty_folder(root: Path) -> Iterator[None]:
    """Hold a folder in which a repository may be made, creating it if it is absent.

    Files that an interrupted creation left do not count, since nothing was ever stored in them.

    Raises:
        RepositoryExistsError: there is a repository, or anything else.
        StorageError: the file system refused.
    """
    with storage_errors("The repository's folder cannot be made"):
        _make_durable(root)
        folder = os.open(root, OPEN_FOLDER & ~os.O_NOFOLLOW)
    # Two workers may begin at the same time: the second finds what the first made.
    with ExitStack() as held:
        held.callback(os.close, folder)
        with storage_errors("The repository's folder cannot be used"):
            held.enter_context(files.holding(folder))
            found = set(os.listdir(folder))
            is_in_use = any(_is_in_use(folder, name) for name in found)
        if REPOSITORY_FILE in found:
            raise RepositoryExistsError("There is a repository here already.", path=root)
        if is_in_use:
            raise RepositoryExistsError(
                "The folder is not empty and has no repository.json.",
                path=root,
                hint="choose an empty folder, or restore repository.json from a backup: {path}",
            )
        yield


def _make_durable(root: Path) -> None:
    """Make a folder, and those that lead to it, so that a power loss takes none of them back.

    What is remembered of a repository must not outlive its folder.
    """
    missing = [each for each in root.parents if not each.exists()]
    root.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    # The folder itself may be left of a creation that was killed before it was synced.
    for each in (root, *missing):
        # Who may not list the folder above has not made this one.
        with suppress(PermissionError):
            files.sync_folder(each.parent)


_CREATION_LEFTOVERS: Final = re.compile(
    r"(?:catalogue|access)\.sqlite3(?:-wal|-shm|-journal|\.lock)?|\.staging-[0-9a-f]{32}"
)


def _is_in_use(folder: int, name: str) -> bool:
    if name in ("objects", STATEMENTS_FOLDER):
        try:
            inner = os.open(name, OPEN_FOLDER, dir_fd=folder)
        except OSError:
            return True
        try:
            return bool(os.listdir(inner))
        finally:
            os.close(inner)
    return name != "lost+found" and not _CREATION_LEFTOVERS.fullmatch(name)


def remove_creation_leftovers(root: Path) -> None:
    """Remove the files that an interrupted creation left in a folder of no repository.

    Raises:
        StorageError: the file system refused.
    """
    with storage_errors("The rest of an interrupted creation cannot be removed"):
        for name in filter(_CREATION_LEFTOVERS.fullmatch, os.listdir(root)):
            os.unlink(root / name)


def make_statements_folder(root: Path) -> None:
    """Make the folder of the mirror.

    Raises:
        StorageError: the file system refused.
    """
    with storage_errors("The folder for statements cannot be made"):
        (root / STATEMENTS_FOLDER).mkdir(mode=FOLDER_MODE, exist_ok=True)
