"""What the failures of a database are called, and why no connection crosses a fork.

SQLite is spoken to by ``sqlite3`` itself, PostgreSQL by way of SQLAlchemy. Statements are texts
that both understand, with ``:name`` for each value; a test holds every one of them against what
SQLAlchemy compiles from the tables. So what reads and writes rows knows of one kind of connection
only, and a process that loads from SQLite imports neither SQLAlchemy nor a driver.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from sealstore import limits
from sealstore.errors import CatalogueError, SealstoreError

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Engine


def require_current_schema(engine: Engine) -> None:
    """Return if the schema is this release's, and nothing was planted in it.

    Raises:
        SchemaVersionError: it is older or newer.
        CatalogueTamperedError: it is not the shipped one.
        CatalogueError: the database failed.
    """
    with engine.reading():
        # It was checked before the block.
        return


# ── failures ─────────────────────────────────────────────────────────────────

# Drivers raise these where a damaged page holds a value of another type.
_DAMAGE_ERRORS: Final = (UnicodeDecodeError, ValueError, TypeError, OverflowError)

# The words that SQLite has for its codes: its own text may quote what stands in the tables.
_SQLITE_WORDS: Final = {
    sqlite3.SQLITE_ERROR: "SQL logic error",
    sqlite3.SQLITE_PERM: "access permission denied",
    sqlite3.SQLITE_BUSY: "database is locked",
    sqlite3.SQLITE_LOCKED: "database table is locked",
    sqlite3.SQLITE_READONLY: "attempt to write a readonly database",
    sqlite3.SQLITE_IOERR: "disk I/O error",
    sqlite3.SQLITE_CORRUPT: "database disk image is malformed",
    sqlite3.SQLITE_FULL: "database or disk is full",
    sqlite3.SQLITE_CANTOPEN: "unable to open database file",
    sqlite3.SQLITE_TOOBIG: "string or blob too big",
    sqlite3.SQLITE_CONSTRAINT: "another row stands where this one belongs",
    sqlite3.SQLITE_NOTADB: "file is not a database",
}


@contextmanager
def catalogue_errors(what: str, *, reading: bool = True) -> Iterator[None]:
    """Turn what a driver raises, on damaged files too, into ``CatalogueError``.

    The error's text is in words without data, paths and passwords.

    Args:
        what: what failed, for the error's text.
        reading: whether the block does nothing but read, so that any error is the database's.
    """
    try:
        yield
    except SealstoreError:
        raise
    except _errors(reading=reading) as error:
        raise CatalogueError(
            f"{what}: {_reason(error)}.",
            hint="'sealstore doctor' looks for the reason (disk full, permissions, damage, lock).",
        ) from error


def _errors(*, reading: bool) -> tuple[type[Exception], ...]:
    """What the databases raise. As long as nobody imported SQLAlchemy, it raised nothing."""
    found: tuple[type[Exception], ...] = (sqlite3.Error, OSError)
    if "sqlalchemy.exc" in sys.modules:
        found += (sys.modules["sqlalchemy.exc"].SQLAlchemyError,)
    return found + _DAMAGE_ERRORS if reading else found


def _reason(error: Exception) -> str:
    if type(error).__module__.startswith("sqlalchemy."):
        from sealstore.storage.catalogue import postgresql

        told = postgresql.reason(error)
        if told is not None:
            return told
    original = getattr(error, "orig", None) or error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE_WORDS:
        return _SQLITE_WORDS[code & 0xFF]
    if isinstance(original, OSError) and original.strerror:
        return original.strerror
    return type(original).__name__


# ── forks ────────────────────────────────────────────────────────────────────
#
# SQLite keeps its locks in the process's memory. A forked child believes that it holds those which
# its parent took, so that the parent, closing its last connection, finds nobody else and deletes
# the write-ahead log that the child is still appending to: what the child stored afterwards is lost
# ("How To Corrupt An SQLite Database File", section 2.7). A child that shares PostgreSQL's socket
# confuses both. So before a fork, threads that are at the database finish what they do, and every
# connection is closed; parent and child connect again when they next need one.

_engines: Final[WeakSet[Engine]] = WeakSet()


class _Door:
    """Threads pass one by one to the database, and none may while a fork is going on."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._inside: dict[int, int] = {}
        self._forks = 0

    def enter(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            if self._forks and thread not in self._inside:
                # Threads that come and go without end would never let the fork begin.
                self._changed.wait_for(lambda: not self._forks, limits.DATABASE_BUSY_SECONDS)
            self._inside[thread] = self._inside.get(thread, 0) + 1

    def leave(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            self._inside[thread] -= 1
            if not self._inside[thread]:
                del self._inside[thread]
                self._changed.notify_all()

    def close(self) -> None:
        self._changed.acquire()
        self._forks += 1
        # Not for ever: a thread that waits for a stuck database must not stop the whole process.
        own = {threading.get_ident()}
        self._changed.wait_for(lambda: self._inside.keys() <= own, limits.DATABASE_BUSY_SECONDS)

    def open(self) -> None:
        self._forks -= 1
        self._changed.notify_all()
        self._changed.release()


_door = _Door()


def close_at_fork(engine: Engine) -> None:
    """Let ``engine`` have no connection whenever this process forks."""
    _engines.add(engine)


@contextmanager
def no_fork() -> Iterator[None]:
    """Hold back forks while the block uses a connection."""
    door = _door
    door.enter()
    try:
        yield
    finally:
        door.leave()


def _before() -> None:
    _door.close()
    for engine in tuple(_engines):
        engine.dispose()


def _in_parent() -> None:
    _door.open()


def _in_child() -> None:
    global _door  # noqa: PLW0603 (the other threads, and what they held, are not in the child)
    _door = _Door()
    for engine in tuple(_engines):
        # A fork that Python did not begin (a server's own, in C) brought the parent's connections.
        engine.abandon()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
