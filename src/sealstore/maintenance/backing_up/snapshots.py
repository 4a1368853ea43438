"""The folder of a backup: which snapshots it holds, and who may use it at a time."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sealstore.errors import BackupRefusedError, storage_errors
from sealstore.ledger import Head

INCOMPLETE: Final = ".incomplete-"
"""Before the name of a snapshot that is being made, or whose making was interrupted."""
_NAME: Final = re.compile(r"(\d{8}T\d{6})Z-e([1-9]\d*)-n([1-9]\d*)-([0-9a-f]{12})")
_LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole snapshot, by its name; nothing of it is verified.

    Attributes:
        path: its folder.
        at: when it was made, UTC.
        epoch, size: of the head that it holds.
    """

    path: Path
    at: datetime
    epoch: int
    size: int

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "snapshot": self.path.name,
            "at": self.at.isoformat(),
            "epoch": self.epoch,
            "size": self.size,
        }


def snapshot_name(head: Head, at: datetime) -> str:
    """What a snapshot of ``head`` is called: a time first, so that names sort."""
    return f"{at:%Y%m%dT%H%M%SZ}-e{head.epoch}-n{head.size}-{head.root[:12]}"


def snapshots_in(folder: Path) -> list[Snapshot]:
    """The whole snapshots in a folder, the oldest first.

    Raises:
        StorageError: it cannot be listed.
    """
    found = []
    with storage_errors("The backup cannot be read"):
        for path in sorted(folder.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match is None or path.is_symlink() or not path.is_dir():
                continue
            at = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
            found.append(Snapshot(path, at, int(match[2]), int(match[3])))
    return found


@contextmanager
def exclusive_backup_folder(folder: Path, root: Path) -> Iterator[None]:
    """Hold the folder of a backup, made if it is absent; what was interrupted there is removed.

    Args:
        folder: of the backup.
        root: of the repository, which must neither contain it nor lie in it.

    Raises:
        BackupRefusedError: the folder is no place for a backup, or another backup is running.
        StorageError: the file system refused.
    """
    real, repository = folder.resolve(), root.resolve()
    if real.is_relative_to(repository) or repository.is_relative_to(real):
        raise BackupRefusedError(
            "A backup and its repository cannot lie in one another.",
            hint="choose another folder, on another disk if there is one.",
        )
    with storage_errors("The folder of the backup cannot be made"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(opened).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BackupRefusedError(
                "Others can write to the folder of the backup.",
                path=folder,
                hint="chmod go-w {path}",
            )
        lock = os.open(
            _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=opened
        )
        try:
            _take(lock)
            _remove_incomplete(folder)
            yield
        finally:
            os.close(lock)
    finally:
        os.close(opened)


def _take(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BackupRefusedError(
            "Another backup into this folder is running.", hint="wait for it."
        ) from None


def _remove_incomplete(folder: Path) -> None:
    with storage_errors("What an interrupted backup left cannot be removed"):
        for path in folder.iterdir():
            if path.name.startswith(INCOMPLETE) and not path.is_symlink():
                shutil.rmtree(path)


def drop_all_but(folder: Path, keep: int) -> list[str]:
    """Remove the oldest snapshots, and say which.

    Raises:
        StorageError: the file system refused.
    """
    dropped = []
    for snapshot in snapshots_in(folder)[:-keep]:
        with storage_errors("An older snapshot cannot be removed"):
            # Its name goes first: what is left of it is no snapshot any more.
            gone = snapshot.path.with_name(f"{INCOMPLETE}{snapshot.path.name}")
            snapshot.path.rename(gone)
            shutil.rmtree(gone)
        dropped.append(snapshot.path.name)
    return dropped
