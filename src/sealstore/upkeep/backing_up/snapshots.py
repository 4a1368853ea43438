"""The snapshots of a backup, as their names give them."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime
from pathlib import Path
from typing import Any, Final

from sealstore.errors import storage_errors
from sealstore.ledger.head import Head

INCOMPLETE: Final = ".incomplete-"
"""Before the name of a snapshot that is being made, or whose making was interrupted."""
_NAME: Final = re.compile(r"(\d{8}T\d{6})Z-e([1-9]\d*)-n([1-9]\d*)-([0-9a-f]{12})")


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
            at = _time(match[1])
            if at is not None:
                found.append(Snapshot(path, at, int(match[2]), int(match[3])))
    return found


def _time(text: str) -> datetime | None:
    """The time in a snapshot's name; None where it is none that a backup gave."""
    try:
        at = datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return at if at.year < MAXYEAR else None


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
