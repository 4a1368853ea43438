"""What databases raise, as ``CatalogueError``: in words without data, paths and passwords."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from sealstore.errors import CatalogueError, SealstoreError

_DATABASE_ERRORS: Final = (SQLAlchemyError, sqlite3.Error, OSError)
# Drivers raise these where a damaged page holds a value of another type.
_DAMAGE_ERRORS: Final = (UnicodeDecodeError, ValueError, TypeError, OverflowError)

# The words that a database has for its codes: its own text may quote what stands in the tables.
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
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_WORDS: Final = {
    "23505": "another row stands where this one belongs",
    "25006": "the server only reads (read-only transaction)",
    "28000": "the server does not let this user in",
    "28P01": "the server does not accept the password",
    "3D000": "the server has no such database",
    "42501": "the database's user lacks a privilege",
    "42P01": "a table is missing",
    "53100": "the server's disk is full",
    "53300": "the server has no connection left",
    "55P03": "the database is locked",
    "57P01": "the server shut down",
    "57P02": "the server crashed",
    "57P03": "the server is starting or shutting down",
}
_DRIVERS: Final = ("psycopg", "psycopg2")


@contextmanager
def catalogue_errors(what: str, *, reading: bool = True) -> Iterator[None]:
    """Turn what a driver raises, on damaged files too, into ``CatalogueError``.

    Args:
        what: what failed, for the error's text.
        reading: whether the block does nothing but read, so that any error is the database's.
    """
    expected = _DATABASE_ERRORS + _DAMAGE_ERRORS if reading else _DATABASE_ERRORS
    try:
        yield
    except SealstoreError:
        raise
    except expected as error:
        _forget_password(error)
        raise CatalogueError(
            f"{what}: {_reason(error)}.",
            hint="'sealstore doctor' looks for the reason (disk full, permissions, damage, lock).",
        ) from error


def _forget_password(error: BaseException) -> None:
    """Leave of PostgreSQL's errors only their texts: crash reporters send the rest away.

    The drivers keep the password in the connection that is an attribute of the error, and in local
    variables of the frames that its traceback holds.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen or not _is_postgresql(each):
            continue
        seen.add(id(each))
        each.__traceback__ = None
        if hasattr(each, "_pgconn"):
            each._pgconn = None
        pending += [_original(each), each.__cause__, each.__context__]


def _reason(error: BaseException) -> str:
    original = _original(error)
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE_WORDS:
        return _SQLITE_WORDS[code & 0xFF]
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if state in _POSTGRESQL_WORDS:
        return _POSTGRESQL_WORDS[state]
    if isinstance(original, OSError) and original.strerror:
        return original.strerror
    if state is None and _is_postgresql(error) and type(original).__name__ == "OperationalError":
        return "no connection to the server"
    return type(original).__name__


def _original(error: BaseException) -> BaseException:
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error


def _is_postgresql(error: BaseException) -> bool:
    return type(_original(error)).__module__.partition(".")[0] in _DRIVERS
