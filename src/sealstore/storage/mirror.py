"""What lies in the mirror of the envelopes: read, put away and removed without following a link.

A mirrored statement is never overwritten and, while its revision is stored, never renamed. Once the
artifact is removed, ``1.json`` becomes ``1.json.removed``, its bytes as they are: whoever makes a
lost catalogue again sees that the revision was given out, and does not bring it back. That is what
the file's name says, and nobody's signature: what a history still says goes before it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sealstore import files, limits
from sealstore.errors import InvalidNameError, RepositoryLayoutError, storage_errors
from sealstore.names import ArtifactRef, Tag, request
from sealstore.storage.blobs.folder_walk import FoundFile, Removals, open_below, walk
from sealstore.storage.layout import STATEMENTS_FOLDER

PUT_AWAY: Final = ".removed"
"""Behind the name of a mirrored statement whose artifact was removed."""
_NAME: Final = re.compile(rf"([1-9][0-9]{{0,18}})\.json({re.escape(PUT_AWAY)})?")


def mirrored_ref(found: FoundFile) -> tuple[ArtifactRef, bool] | None:
    """Whose mirrored statement a file is by its place, and whether it is put away.

    Args:
        found: a file that ``mirror_files`` found.
    """
    match = _NAME.fullmatch(found.name)
    if match is None or not found.is_regular or len(found.folders) != 2:
        return None
    name, tag = found.folders
    try:
        Tag.to_store(tag)
        return request(name, tag, int(match[1])), match[2] is not None
    except InvalidNameError:
        return None


def read_mirror(
    root: Path, ref: ArtifactRef, *, put_away: bool = False, folder: str = STATEMENTS_FOLDER
) -> bytes | None:
    """What lies where an envelope is mirrored; unauthenticated.

    Args:
        root: the repository's folder.
        ref: with its revision.
        put_away: whether to look where the mirror of a removed artifact lies.
        folder: of the mirror: of the repository's own statements, or of those of origins.

    Returns:
        The bytes; None where nothing is.

    Raises:
        RepositoryLayoutError: what is there is no regular file, lies behind a link, or is too large
            to be an envelope.
        StorageError: the file system refused.
    """
    name = f"{ref.revision}.json{PUT_AWAY if put_away else ''}"
    with storage_errors("A mirrored statement cannot be read"):
        try:
            opened = _open_folders(root, (folder, ref.name, ref.tag))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise RepositoryLayoutError("A folder of the mirror is no folder.") from None
        try:
            return _read_regular(name, opened)
        finally:
            os.close(opened)


def _read_regular(name: str, folder: int) -> bytes | None:
    try:
        # The line feed that people's tools expect is no part of the envelope.
        data = files.read(name, limits.MAX_ENVELOPE_BYTES + 1, folder=folder)
    except FileNotFoundError:
        return None
    except (files.NotRegularFileError, files.FileTooLargeError) as error:
        raise RepositoryLayoutError(
            f"What lies in a mirrored statement's place is no statement: {error.strerror}."
        ) from error
    return data.removesuffix(b"\n")


def put_mirror_away(root: Path, ref: ArtifactRef) -> bool:
    """Let the mirror of a removed artifact have a name that says so; its bytes stay as they are.

    Returns:
        Whether there was one, and it is put away now.

    Raises:
        StorageError: the file system refused.
    """
    name = f"{ref.revision}.json"
    with storage_errors("The mirrored statement of a removed artifact cannot be put away"):
        try:
            folder = _open_folders(root, (STATEMENTS_FOLDER, ref.name, ref.tag))
        except FileNotFoundError:
            return False
        try:
            # A link, unlike a renaming, replaces nothing that is there.
            with suppress(FileExistsError):
                os.link(
                    name,
                    name + PUT_AWAY,
                    src_dir_fd=folder,
                    dst_dir_fd=folder,
                    follow_symlinks=False,
                )
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
                return True
            return _finish_putting_away(name, folder)
        except FileNotFoundError:
            return False
        finally:
            os.close(folder)


def _finish_putting_away(name: str, folder: int) -> bool:
    """Of two files, one that is put away already: the other one goes, if it is the same."""
    present, away = _read_regular(name, folder), _read_regular(name + PUT_AWAY, folder)
    if present is None or present != away:
        return False
    os.unlink(name, dir_fd=folder)
    os.fsync(folder)
    return True


def mirror_files(root: Path) -> Iterator[FoundFile]:
    """Everything in the folder of the mirror, as it is; nothing is followed.

    Raises:
        StorageError: a folder cannot be listed.
    """
    with _statements_folder(root) as folder, storage_errors("The mirror cannot be listed"):
        # <name>/<tag>/<revision>.json
        yield from walk(folder, 2)


def read_mirror_file(root: Path, found: FoundFile) -> bytes | None:
    """What is in a file that ``mirror_files`` found; unauthenticated. See ``read_mirror``."""
    with _statements_folder(root) as statements, storage_errors("A statement cannot be read"):
        try:
            folder = open_below(statements, found.folders)
        except FileNotFoundError:
            return None
        try:
            return _read_regular(found.name, folder)
        finally:
            os.close(folder)


@contextmanager
def removing_from_mirror(root: Path) -> Iterator[Callable[[FoundFile], bool]]:
    """A function that removes a file that ``mirror_files`` found, if it is still the same.

    Raises:
        StorageError: the file system refused.
    """
    what = "A file beside the mirrored statements cannot be removed"
    with _statements_folder(root) as folder:
        removals = Removals(folder)

        def remove(found: FoundFile) -> bool:
            with storage_errors(what):
                return removals.remove(found)

        try:
            yield remove
        finally:
            with storage_errors(what):
                removals.sync()


@contextmanager
def _statements_folder(root: Path) -> Iterator[int]:
    with storage_errors("The mirror's folder cannot be opened"):
        folder = _open_folders(root, (STATEMENTS_FOLDER,))
    try:
        yield folder
    finally:
        os.close(folder)


def _open_folders(root: Path, segments: tuple[str, ...]) -> int:
    with files.opened_folder(root) as top:
        return open_below(top, segments)
