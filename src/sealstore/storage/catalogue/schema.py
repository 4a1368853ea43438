"""The schema of SQLite's file is the shipped one: nothing stands beside or in it.

Whoever may write to a database may give it a program: a trigger that edits what is stored, a view
in a table's place, a default, a check that refuses. Rows are proven when they are read; that the
statements of a change do what they say is to be seen here, before the first of them runs.

What is shipped is known here by one digest. Of a file with a different one, ``schema_sqlite`` looks
at each definition, and says what differs.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final
from weakref import WeakSet

from sealstore import limits

SCHEMA_REVISIONS: Final = ("0001",)
"""Every revision of the schema that a release had, oldest first; the last is this release's."""

_SHIPPED: Final = "80beabb3c9ca929a921b87b33538f7a6d62d14a9d5e6b4663bc83b5f1b3ec5a2"
"""Of the shipped schema, by ``digest_of``: a test compares it with what ``schema_sqlite`` says."""

# As bytes: what decodes to nothing is then a difference like any other, and no error of the driver.
_READ_SQLITE: Final = (
    "SELECT CAST(type AS BLOB), substr(CAST(name AS BLOB), 1, :cap),"
    " CASE WHEN length(CAST(sql AS BLOB)) <= :cap THEN CAST(sql AS BLOB)"
    " WHEN sql IS NOT NULL THEN x'00' END"
    " FROM main.sqlite_master LIMIT :rows"
)
_CAPS: Final = {"cap": limits.MAX_SCHEMA_SQL_BYTES, "rows": limits.MAX_SCHEMA_OBJECTS}
READ_REVISION: Final = "SELECT version_num FROM alembic_version LIMIT 1"

# As tokenize.c of SQLite has it; Python would take more for white space.
_WHITE_SPACE: Final = re.compile(rb"[ \t\n\f\r]+")
_STEPS_A_CALL: Final = 1_000

Definition = tuple[bytes, bytes, bytes | None]
"""Kind, name and SQL of something in a schema; no SQL of the indices that SQLite makes itself."""


class SqliteConnection(sqlite3.Connection):
    """A connection to SQLite that knows which schema it was found to have.

    Attributes:
        checked: the schema cookie of the file when its schema was checked; None where it was not.
        state: of the file when it was opened.
    """

    checked: int | None = None
    state: tuple[int, ...] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """See ``sqlite3.Connection.execute``; the cursor is known until it is gone."""
        cursor = super().execute(*arguments)
        self._cursors.add(cursor)
        return cursor

    def settle(self) -> None:
        """End every statement: a cursor in a traceback would hold its snapshot for ever."""
        for cursor in list(self._cursors):
            cursor.close()


def require_checked_sqlite(database: SqliteConnection) -> None:
    """Return if the schema is the shipped one; it is read where it may have changed.

    SQLite parses the schema once, and again only where the cookie in the file's header is another
    one than that of what it parsed. What somebody plants without changing the cookie is not seen by
    this connection's parsed schema either; what is planted with it is found here. That holds since
    each transaction of the connection begins with this comparison, and its statements see the file
    as the comparison did: the connection never parsed a schema that was not checked.

    Args:
        database: before its first statement. A transaction begins here if none has.

    Raises:
        SchemaVersionError: the schema is an older or a newer release's.
        CatalogueTamperedError: there is more, less or something else than there should be.
        sqlite3.Error: the database failed.
    """
    if not database.in_transaction:
        database.execute("BEGIN")
    [cookie] = database.execute("PRAGMA main.schema_version").fetchone()
    if database.checked != cookie:
        database.checked = None
        if not _is_as_shipped(database):
            from sealstore.storage.catalogue import schema_sqlite

            # What operators add and other spellings are allowed, and what is not has to be named.
            schema_sqlite.require_shipped_sqlite(database)
        database.checked = cookie


def _is_as_shipped(database: sqlite3.Connection) -> bool:
    if digest_of(definitions_in(database)) != _SHIPPED:
        return False
    revision: object = database.execute(READ_REVISION).fetchone()
    return revision == (SCHEMA_REVISIONS[-1],)


def definitions_in(database: sqlite3.Connection) -> list[Definition]:
    """What SQLite's file defines, in no particular order.

    Args:
        database: in a transaction, so that the schema stays what it is found to be.

    Raises:
        CatalogueTamperedError: it is far more than the shipped schema.
        sqlite3.Error: the database failed.
    """
    with bounded_parsing(database):
        # What is parsed again here is what is read below, in one transaction: a schema that was
        # parsed before it began may have been a different one, under the same cookie.
        database.execute("PRAGMA writable_schema=RESET")
        return database.execute(_READ_SQLITE, _CAPS).fetchall()


def digest_of(definitions: list[Definition]) -> str:
    """The SHA-256 of a schema, in which releases of SQLAlchemy differ in white space only.

    To equal the shipped one is to have the same tokens: that one has no quotes and no comments,
    which are where white space says something.
    """
    lines = sorted(
        repr((kind, name, None if sql is None else _WHITE_SPACE.sub(b" ", sql).rstrip(b" ")))
        for kind, name, sql in definitions
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@contextmanager
def bounded_parsing(database: sqlite3.Connection) -> Iterator[None]:
    """Let SQLite give up on a schema that is far larger than the shipped one.

    It reads the whole schema into memory with the first statement of the block that needs any of
    it, whatever the statement asks for.

    Raises:
        CatalogueTamperedError: it gave up.
    """
    # Counted here, since SQLite counts the steps of a prepared statement over all its runs.
    calls, most = count(), limits.MAX_SCHEMA_STEPS // _STEPS_A_CALL
    usual = database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, limits.MAX_SCHEMA_SQL_BYTES)
    database.set_progress_handler(lambda: next(calls) >= most, _STEPS_A_CALL)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        from sealstore.storage.catalogue.schema_differences import tampered

        raise tampered("it is far larger than it should be") from error
    finally:
        database.set_progress_handler(None, 0)
        database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, usual)
