"""What the children of the test of rebuilding do. Each imports it again: no pytest."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sealstore.keys.writing import write_keyring_file
from sealstore.repository.settings import Settings
from sealstore.upkeep.rebuild import rebuild
from sealstore.upkeep.rebuild.plan import RebuildReport
from tests.faults import gc_operations, operations
from tests.faults.operations import KEYRING, Done


def settings(place: Path) -> Settings:
    """The settings of a place, with a keyring file."""
    return replace(gc_operations.settings(place), keyring_path=place / "keys" / "keyring.json")


def damage(place: Path) -> None:
    """Make a place whose catalogue has lost rows; its history is whole."""
    operations.fill(place / "repository")
    with gc_operations.opened(place) as repository:
        repository.set_alias("fraud", "production", "v1")
    (place / "keys").mkdir(mode=0o700)
    write_keyring_file(place / "keys" / "keyring.json", KEYRING)
    with closing(sqlite3.connect(place / "repository" / "catalogue.sqlite3")) as connection:
        connection.execute("DELETE FROM artifact")
        connection.execute("DELETE FROM map_row")
        connection.commit()


def run(place: Path) -> RebuildReport:
    """Rebuild."""
    return rebuild(settings(place), do_write=True)


def rebuild_all(place: Path, done: Done) -> None:
    """Rebuild, and say so."""
    done.add(len(run(place).recovered))
