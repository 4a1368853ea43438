"""Copying a snapshot to where it is checked: no link is followed, nothing foreign is taken."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from sealstore import limits
from sealstore.errors import BackupRefusedError, storage_errors
from sealstore.files import OPEN_FOLDER
from sealstore.repository.access_log.place import ACCESS_FILE
from sealstore.repository.progress import Progress
from sealstore.storage import layout
from sealstore.storage.blobs.folder_walk import FoundFile, open_below, walk
from sealstore.storage.blobs.local_files import PAYLOAD_MODE
from sealstore.storage.catalogue.engine import SQLITE_FILE
from sealstore.upkeep.backing_up.payloads import sync_folder
from sealstore.upkeep.fsck.mirror import mirrored_ref

ANOTHER_SNAPSHOT: Final = "find out who wrote to the backup, and restore another snapshot."
"""What to do where a snapshot has what no backup puts there."""
_FILES: Final = frozenset({layout.REPOSITORY_FILE, SQLITE_FILE, ACCESS_FILE})
_MIRRORS: Final = (layout.STATEMENTS_FOLDER, layout.ORIGINS_FOLDER)
_CHUNK: Final = 4 * 1024 * 1024


def copy_snapshot(source: Path, target: Path, progress: Progress) -> None:
    """Copy what belongs into a repository; anything else is refused, and no link is followed.

    Args:
        source: the folder of the snapshot.
        target: an empty folder.
        progress: hears of the phase ``copying`` (bytes).

    Raises:
        BackupRefusedError: something is there that no backup puts there; or there is no room.
        StorageError: the file system refused.
    """
    with storage_errors("The snapshot cannot be copied"):
        opened = os.open(source, OPEN_FOLDER)
        try:
            found = list(walk(opened, 3))
            total = sum(each.status.st_size for each in found if each.is_regular)
            for each in found:
                _require_expected(each)
            _require_space(target, total)
            done = 0
            for each in found:
                path = target / each.path
                if each.is_folder:
                    path.mkdir(mode=0o750)
                    continue
                mode = PAYLOAD_MODE if each.folders[:1] == ("objects",) else 0o640
                _copy_file(opened, each, path, mode)
                done += each.status.st_size
                progress("copying", done, total)
        finally:
            os.close(opened)
        for inner, _, _ in os.walk(target, topdown=False):
            sync_folder(Path(inner))


def _require_space(target: Path, size: int) -> None:
    free = shutil.disk_usage(target).free
    if size > free:
        raise BackupRefusedError(
            f"The snapshot has {size} bytes, and there is room for {free}.",
            hint="make room, or restore to another disk: --repository, MODEL_REPO_PATH.",
        )


def _require_expected(found: FoundFile) -> None:
    where = found.folders
    if found.is_folder:
        is_right = (
            (not where and found.name in ("objects", *_MIRRORS))
            or (where == ("objects",))
            or (where[:1] in [(each,) for each in _MIRRORS] and len(where) < 3)
        )
    else:
        is_right = found.is_regular and (
            (not where and found.name in _FILES)
            or (where[:1] == ("objects",) and where[1:] == (found.name[:2],))
            or (
                where[:1] in [(each,) for each in _MIRRORS]
                and mirrored_ref(replace(found, folders=where[1:])) is not None
            )
        )
        is_right = is_right and found.status.st_size <= _most_bytes(found)
    if not is_right:
        raise BackupRefusedError(
            f"{found.path} in the snapshot is nothing that a backup puts there.",
            hint="find out who wrote to the backup, and restore another snapshot.",
        )


def _most_bytes(found: FoundFile) -> int:
    if found.folders[:1] in [(each,) for each in _MIRRORS]:
        return limits.MAX_ENVELOPE_BYTES + 1
    return limits.MAX_SETTINGS_BYTES if found.name == layout.REPOSITORY_FILE else sys.maxsize


def _copy_file(source: int, found: FoundFile, target: Path, mode: int) -> None:
    folder = open_below(source, found.folders)
    try:
        read = os.open(
            found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
        )
    finally:
        os.close(folder)
    with os.fdopen(read, "rb") as file:
        if not stat.S_ISREG(os.fstat(read).st_mode):
            raise BackupRefusedError(f"{found.path} in the snapshot is no regular file.")
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as written:
            _copy_bytes(file, written, found)
            written.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)


def _copy_bytes(source: BinaryIO, target: BinaryIO, found: FoundFile) -> None:
    """Copy as many bytes as there were: there is room for these."""
    left = found.status.st_size
    while left and (piece := source.read(min(left, _CHUNK))):
        target.write(piece)
        left -= len(piece)
    if left or source.read(1):
        raise BackupRefusedError(
            f"{found.path} in the snapshot changed while it was copied.", hint=ANOTHER_SNAPSHOT
        )
