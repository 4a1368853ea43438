"""A consistent copy of a SQLite database that others write to (https://sqlite.org/backup.html)."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sealstore import limits
from sealstore.storage.catalogue.failures import catalogue_errors


def copy_database(source: Path, target: Path) -> None:
    """Copy what is committed in ``source`` to a new file, and sync it.

    Args:
        source: a database; nobody waits while it is read.
        target: absent.

    Raises:
        CatalogueError: the database or the file system failed.
    """
    with catalogue_errors("The database cannot be copied"):
        # SQLite would let everybody read it.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(target, flags, 0o640))
        with (
            closing(_opened(source)) as read,
            closing(sqlite3.connect(target, isolation_level=None)) as written,
        ):
            read.backup(written)
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _opened(source: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{source.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=limits.DATABASE_BUSY_SECONDS,
        isolation_level=None,
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection
