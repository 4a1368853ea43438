"""What the children of the tests of backups do. Each imports it again: no pytest.

A place is a folder with a repository, what its client remembers, and a backup ``kept``.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from sealstore.repository.settings import Settings
from sealstore.upkeep import backup, restore
from sealstore.upkeep.backup.snapshot import BackupReport
from sealstore.upkeep.restore import RestoreReport
from tests.faults import gc_operations, operations
from tests.faults.operations import KEYRING, PRESENT, Done, model

FIRST: Final = PRESENT
"""What the first snapshot has."""
SECOND: Final = (PRESENT - {("fraud", "v1", 1)}) | {("new", "1", 1)}
"""What the repository has by then, and the second snapshot."""


def fill(place: Path) -> None:
    """Make a place with one snapshot, and changes since."""
    operations.fill(place / "repository")
    back_up(place)
    with gc_operations.opened(place) as repository:
        repository.store(model("new", "1", 1), "new", "1")
        repository.remove("fraud", "v1", revision=1)


def lose(place: Path) -> None:
    """Have the second snapshot, and no repository."""
    fill(place)
    back_up(place)
    shutil.rmtree(place / "repository")


def back_up(place: Path, keep: int | None = None) -> BackupReport:
    """Add a snapshot."""
    with gc_operations.opened(place) as repository:
        return backup.backup(repository, place / "kept", keep=keep)


def back_up_all(place: Path, done: Done) -> None:
    """Add a snapshot, and say so."""
    done.add(back_up(place).snapshot)


def keep_one(place: Path, done: Done) -> None:
    """Add a snapshot, drop the other, and say so."""
    done.add(back_up(place, keep=1).snapshot)


def settings(place: Path, name: str = "repository") -> Settings:
    """Those of a client of a repository in the place."""
    return replace(
        gc_operations.settings(place), path=place / name, trust_folder=place / f"trust-{name}"
    )


def put_back(place: Path, name: str = "repository", snapshot: str | None = None) -> RestoreReport:
    """Restore a snapshot."""
    return restore.restore(settings(place, name), place / "kept", name=snapshot, keyring=KEYRING)


def restore_all(place: Path, done: Done) -> None:
    """Restore the newest snapshot, and say so."""
    done.add(put_back(place).checked.artifacts)
