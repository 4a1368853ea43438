"""Whole files of SQLite: a copy of one that is in use, and a new one in the place of a lost one."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from sealstore import limits
from sealstore.storage.catalogue import catalogue_engine
from sealstore.storage.catalogue.artifacts import Catalogue
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.migrations import upgrade
from sealstore.storage.catalogue.sqlite import SQLITE_FILE

REBUILT_FILE: Final = f"{SQLITE_FILE}.rebuilt"
"""A catalogue that is being made again; nobody reads it before it has its name."""
_COMPANIONS: Final = ("-wal", "-shm", "-journal")


def copy_database(source: Path, target: Path) -> None:
    """Copy what is committed in ``source`` to a new file, and sync it.

    By SQLite's online backup (https://sqlite.org/backup.html).

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
        _sync(target)


def _opened(source: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{source.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=limits.DATABASE_BUSY_SECONDS,
        isolation_level=None,
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


@contextmanager
def replaced_catalogue(root: Path, *, journal: str) -> Iterator[Catalogue]:
    """An empty catalogue; it takes the place of the one that is there when the block ends.

    The old file is never removed: it is set aside, as evidence, with what its own log held.
    Until then, and whenever the process dies, the old one is in its place, or the new one as a
    whole. Whoever calls this has the turn in the writers' queue, from before the old one was read.

    Args:
        root: the repository's folder.
        journal: SQLite's journal mode.

    Raises:
        CatalogueError: the database or the file system refused; the old file is in its place.
    """
    with catalogue_errors("The catalogue cannot be made", reading=False):
        _remove_leftovers(root)
        engine = catalogue_engine(root, journal=journal, create=True, file_name=REBUILT_FILE)
        try:
            upgrade(engine)
            yield Catalogue(engine, lock_file=None)
        except BaseException:
            engine.dispose()
            _remove_leftovers(root)
            raise
        engine.dispose()
        _put_in_place(root)


def _remove_leftovers(root: Path) -> None:
    for suffix in ("", *_COMPANIONS):
        with suppress(FileNotFoundError):
            os.unlink(root / f"{REBUILT_FILE}{suffix}")


def _put_in_place(root: Path) -> None:
    new, old = root / REBUILT_FILE, root / SQLITE_FILE
    _fold_in(new)
    _sync(new)
    if os.path.lexists(old):
        # What is in its log is in the file afterwards, if anything can still read it.
        with suppress(sqlite3.Error):
            _fold_in(old)
        _set_aside(old)
    os.replace(new, old)
    _sync(root)


def _fold_in(file: Path) -> None:
    """Write what is in a database's log into its file."""
    with closing(sqlite3.connect(f"file:{file}?mode=rw", uri=True)) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _set_aside(old: Path) -> None:
    aside = f".set-aside-{secrets.token_hex(8)}"
    try:
        # A second name: the file is under its own until another one takes it, all at once.
        os.link(old, f"{old}{aside}", follow_symlinks=False)
    except OSError:
        shutil.copy2(old, f"{old}{aside}", follow_symlinks=False)
    for suffix in _COMPANIONS:
        # SQLite would take a log that is left for the new file's.
        with suppress(FileNotFoundError):
            os.rename(f"{old}{suffix}", f"{old}{aside}{suffix}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
