"""Mirroring an envelope: written beside its place, linked there, never over another."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from sealstore import files, limits
from sealstore.errors import (
    storage_errors,
)
from sealstore.files import OPEN_FOLDER
from sealstore.names import ArtifactRef
from sealstore.storage.creation import FILE_MODE, FOLDER_MODE
from sealstore.storage.layout import STATEMENTS_FOLDER

_ATTEMPTS: Final = 10
"""So often a mirror is staged, where a collection takes away what was."""


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
                os.mkdir(segment, FOLDER_MODE, dir_fd=folder)
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
    files.write_new(staged, data + b"\n", mode=FILE_MODE, folder=folder)
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
