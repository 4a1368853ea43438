"""The repository's folder: ``repository.json`` and the mirror of the envelopes.

``repository.json`` is the envelope of the signed settings. The mirror
``statements/<name>/<tag>/<revision>.json`` lets a lost catalogue be rebuilt, and
``origins/<name>/<tag>/<revision>.json`` shows the statement that an imported artifact had where it
comes from; nothing is ever loaded by way of them. Their folders are walked with ``O_NOFOLLOW``, so
that no planted link leads out.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from sealstore import files, limits
from sealstore.errors import (
    RepositoryExistsError,
    RepositoryLayoutError,
    RepositoryNotFoundError,
    UsageError,
    storage_errors,
)
from sealstore.files import OPEN_FOLDER
from sealstore.names import ArtifactRef

REPOSITORY_FILE: Final = "repository.json"
STATEMENTS_FOLDER: Final = "statements"
ORIGINS_FOLDER: Final = "origins"
_FOLDER_MODE: Final = 0o750
_FILE_MODE: Final = 0o640
_ATTEMPTS: Final = 10
"""So often a mirror is staged, where a collection takes away what was."""


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


def read_settings_file(root: Path) -> bytes:
    """The bytes of ``repository.json``; unauthenticated.

    Raises:
        RepositoryNotFoundError: it is not there.
        RepositoryLayoutError: it cannot be read, or is not a regular file.
    """
    try:
        data = files.read(root / REPOSITORY_FILE, limits.MAX_SETTINGS_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise RepositoryNotFoundError("There is no repository here.", path=root) from None
    except OSError as error:
        raise RepositoryLayoutError(
            f"The repository's settings cannot be read ({error.strerror}).",
            path=root / REPOSITORY_FILE,
        ) from error
    # People's editors end a file with a line feed; it is not part of the envelope.
    return data.removesuffix(b"\n")


def place_settings(root: Path, envelope: bytes) -> None:
    """Replace ``repository.json``: synced, renamed, the folder synced.

    Raises:
        StorageError: the file system refused.
    """
    with (
        storage_errors("The repository's settings cannot be written"),
        files.opened_folder(root) as folder,
    ):
        files.replace(REPOSITORY_FILE, envelope + b"\n", folder=folder, mode=_FILE_MODE)


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
    root.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
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
        (root / STATEMENTS_FOLDER).mkdir(mode=_FOLDER_MODE, exist_ok=True)


def mirror_path(ref: ArtifactRef) -> str:
    """Where the envelope of ``ref`` is mirrored, relative to the repository's folder."""
    return f"{STATEMENTS_FOLDER}/{ref.name}/{ref.tag}/{ref.revision}.json"


def write_mirror(
    root: Path,
    ref: ArtifactRef,
    envelope: bytes,
    *,
    replace: bool = False,
    folder: str = STATEMENTS_FOLDER,
) -> bool:
    """Mirror an envelope.

    Args:
        root: the repository's folder.
        ref: with its revision.
        envelope: the bytes.
        replace: whether an envelope that is there gives way (a new signature).
        folder: of the mirror: of the repository's own statements, or of those of origins.

    Returns:
        Whether a foreign file was in the way; it was moved aside.

    Raises:
        StorageError: the file system refused, or a link stood in the path.
    """
    with storage_errors("The statement cannot be mirrored"):
        opened = _open_mirror_folder(root, folder, ref)
        try:
            return _place(opened, f"{ref.revision}.json", envelope, replace=replace)
        finally:
            os.close(opened)


def _open_mirror_folder(root: Path, mirror: str, ref: ArtifactRef) -> int:
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for segment in (mirror, ref.name, ref.tag):
        try:
            with suppress(FileExistsError):
                os.mkdir(segment, _FOLDER_MODE, dir_fd=folder)
            inner = os.open(segment, OPEN_FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _place(folder: int, name: str, data: bytes, *, replace: bool) -> bool:
    for _ in range(_ATTEMPTS):
        staged = _stage(folder, data)
        try:
            return _place_staged(folder, staged, name, replace=replace)
        except FileNotFoundError:
            # Taken for the rest of a store that died: gc without any grace cannot tell.
            continue
        finally:
            with suppress(FileNotFoundError):
                os.unlink(staged, dir_fd=folder)
    raise FileNotFoundError(errno.ENOENT, "what was staged for it is removed again and again")


def _place_staged(folder: int, staged: str, name: str, *, replace: bool) -> bool:
    was_in_the_way = False
    while True:
        if replace:
            os.rename(staged, name, src_dir_fd=folder, dst_dir_fd=folder)
            return was_in_the_way
        try:
            os.link(staged, name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            if _is_same(folder, staged, name):
                # gc mirrors what has no mirror yet.
                return was_in_the_way
            was_in_the_way = True
            aside = f"{name}.set-aside-{secrets.token_hex(8)}"
            with suppress(FileNotFoundError):
                os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            return was_in_the_way


def _stage(folder: int, data: bytes) -> str:
    staged = files.staging_name()
    files.write_new(staged, data + b"\n", mode=_FILE_MODE, folder=folder)
    return staged


def _is_same(folder: int, staged: str, name: str) -> bool:
    """Whether two files have the same content; of what is no regular file nothing is opened."""
    contents = []
    for each in (staged, name):
        try:
            contents.append(files.read(each, limits.MAX_ENVELOPE_BYTES + 1, folder=folder))
        except OSError:
            return False
    return contents[0] == contents[1]
