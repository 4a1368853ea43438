"""A catalogue in PostgreSQL, by way of SQLAlchemy: connections, transactions, failures.

Imported only where a URL names such a database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final

import sqlalchemy
from sqlalchemy import Table, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine import Connection as SqlalchemyConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.elements import TextClause

from sealstore import limits
from sealstore.errors import ConfigurationError, MissingExtraError
from sealstore.process_bound import ProcessBound
from sealstore.storage.catalogue.connections import catalogue_errors, close_at_fork, no_fork
from sealstore.storage.catalogue.contract import Queue, Rows
from sealstore.storage.catalogue.schema_postgresql import (
    forget_checked_schema,
    require_checked_postgresql,
)
from sealstore.storage.catalogue.tables import access, metadata

_QUEUES: Final[Mapping[Queue, int]] = {"catalogue": 0x5EA1_5702, "access": 0x5EA1_5703}
"""Keys of the advisory locks that writers to one database queue on."""

_WRITTEN: Final[Mapping[Queue, tuple[Table, ...]]] = {
    "catalogue": tuple(metadata.sorted_tables),
    "access": (access.entry, access.node, access.head),
}
"""What each of these queues is for: a loader need have no privilege to write to the others."""

_LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")
_WAIT_AND_BE_DURABLE: Final = text(
    "SELECT set_config('lock_timeout', :wait, true),"
    " set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
    " WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"
)
_WAIT: Final = text(
    "SELECT set_config('lock_timeout', :wait, true), set_config('synchronous_commit', 'off', true)"
)
_STATEMENTS_KEPT: Final = 256

_DRIVERS: Final = ("psycopg", "psycopg2")
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_WORDS: Final = {
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


class PostgresqlConnection:
    """A connection to PostgreSQL, as ``Connection`` has it.

    Attributes:
        sqlalchemy: SQLAlchemy's own, for migrations.
    """

    def __init__(self, connection: SqlalchemyConnection) -> None:
        self.sqlalchemy = connection

    def execute(self, statement: str, values: Mapping[str, Any] | None = None, /) -> Rows:
        """See ``Connection.execute``."""
        found: Any = self.sqlalchemy.execute(_text(statement), dict(values or {}))
        return found.cursor if found.returns_rows else _NOTHING

    def executemany(self, statement: str, values: Iterable[Mapping[str, Any]], /) -> None:
        """See ``Connection.executemany``."""
        rows = [dict(each) for each in values]
        # Of no rows SQLAlchemy would make one of nothing but NULL.
        if rows:
            self.sqlalchemy.execute(_text(statement), rows)


class PostgresqlEngine(ProcessBound):
    """A database of PostgreSQL, and the open connections to it. See ``Engine``.

    Args:
        url: ``postgresql://…``.

    Raises:
        ConfigurationError: an URL of another database, or none at all.
        MissingExtraError: the driver is not installed.
    """

    is_sqlite = False

    def __init__(self, url: str) -> None:
        self._engine = _engine(_parsed(url))
        close_at_fork(self)

    @property
    def place(self) -> str:
        """See ``Engine.place``."""
        # libpq takes a password as an option too.
        return self._engine.url.set(query={}).render_as_string(hide_password=True)

    @contextmanager
    def reading(self, *, any_schema: bool = False) -> Iterator[PostgresqlConnection]:
        """See ``Engine.reading``."""
        # By default a snapshot is one of a statement.
        snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ")
        with (
            catalogue_errors("The catalogue cannot be read"),
            no_fork(),
            snapshots.begin() as connection,
        ):
            if any_schema:
                forget_checked_schema(connection)
            else:
                require_checked_postgresql(connection)
            yield PostgresqlConnection(connection)

    @contextmanager
    def writing(
        self, *, queue: Queue = "catalogue", durable: bool = True, any_schema: bool = False
    ) -> Iterator[PostgresqlConnection]:
        """See ``Engine.writing``."""
        with no_fork(), self._engine.begin() as connection:
            begin = _WAIT_AND_BE_DURABLE if durable else _WAIT
            connection.execute(begin, {"wait": f"{limits.DATABASE_BUSY_SECONDS}s"})
            connection.execute(_LOCK, {"key": _QUEUES[queue]})
            if any_schema:
                forget_checked_schema(connection)
            else:
                require_checked_postgresql(connection, _WRITTEN[queue])
            yield PostgresqlConnection(connection)

    def sync(self) -> None:
        """See ``Engine.sync``: PostgreSQL shows nothing that is not durable."""

    def dispose(self) -> None:
        """See ``Engine.dispose``."""
        self._engine.dispose()

    def abandon(self) -> None:
        """See ``Engine.abandon``."""
        self._engine.dispose(close=False)


class _Nothing:
    """What a statement gives that asks for nothing."""

    def fetchone(self) -> None:
        return None

    def fetchall(self) -> list[Any]:
        return []


_NOTHING: Final = _Nothing()


@lru_cache(maxsize=_STATEMENTS_KEPT)
def _text(statement: str) -> TextClause:
    return text(statement)


def _parsed(url: str) -> URL:
    parsed: URL | None = None
    # Raised afterwards: the cause, even as a context, would show the URL, and with it a password.
    with suppress(ArgumentError, ValueError):
        parsed = make_url(url)
    if parsed is None:
        raise ConfigurationError(
            "The database URL is not one.",
            hint="check MODEL_REPO_DATABASE_URL and MODEL_REPO_ACCESS_LOG_URL.",
        )
    if parsed.get_backend_name() != "postgresql":
        raise ConfigurationError(
            "The database URL is not one of PostgreSQL.",
            hint="set MODEL_REPO_DATABASE_URL to postgresql://…, or unset it for SQLite.",
        )
    return parsed


def _engine(url: URL) -> sqlalchemy.engine.Engine:
    if url.drivername == "postgresql":
        # SQLAlchemy 1.4 knows psycopg2 only.
        is_older = sqlalchemy.__version__.startswith("1.")
        url = url.set(drivername=f"postgresql+{'psycopg2' if is_older else 'psycopg'}")
    try:
        return create_engine(
            url,
            future=True,
            poolclass=QueuePool,
            pool_pre_ping=True,
            # A writer takes its snapshot after it was let in, not while it waits; and no server's
            # default may change that.
            isolation_level="READ COMMITTED",
            # No statement's parameters in logs and errors: they hold names and metadata.
            hide_parameters=True,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise MissingExtraError(
            "The driver for PostgreSQL is not installed.",
            hint="pip install 'sealstore[postgresql]'.",
        ) from error


# ── failures ─────────────────────────────────────────────────────────────────


def reason(error: Exception) -> str | None:
    """What an error of PostgreSQL says in words without data; None for another database's.

    Of the error, and of those that led to it, nothing but their texts is left: the drivers keep the
    password in the connection that is an attribute of the error, and in local variables of the
    frames that its traceback holds, and crash reporters send these away.
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
    if not seen:
        return None
    original = _original(error)
    state = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    if state in _WORDS:
        return _WORDS[state]
    if state is None and type(original).__name__ == "OperationalError":
        return "no connection to the server"
    return type(original).__name__


def _original(error: BaseException) -> BaseException:
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error


def _is_postgresql(error: BaseException) -> bool:
    return type(_original(error)).__module__.partition(".")[0] in _DRIVERS
