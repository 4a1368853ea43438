"""Database connections: SQLite in the repository, or PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from sealstore import limits
from sealstore.errors import CatalogueError, ConfigurationError, MissingExtraError
from sealstore.storage.catalogue.failures import catalogue_errors
from sealstore.storage.catalogue.forking import close_at_fork, no_fork
from sealstore.storage.catalogue.schema import (
    bounded_parsing,
    forget_checked_schema,
    require_checked_schema,
    sqlite_connection,
)
from sealstore.storage.catalogue.sqlite_file import follow_file, query_of_uri
from sealstore.storage.catalogue.tables import access, metadata

SQLITE_FILE: Final = "catalogue.sqlite3"
JOURNALS: Final = ("wal", "delete")

CATALOGUE_WRITERS: Final = 0x5EA1_5702
"""Key of the advisory lock that writers to one PostgreSQL database queue on."""

ACCESS_WRITERS: Final = 0x5EA1_5703
"""The same for those who write to the access log only: they wait for no store."""

_WRITTEN: Final = {
    CATALOGUE_WRITERS: tuple(metadata.sorted_tables),
    ACCESS_WRITERS: (access.entry, access.node, access.head),
}
"""What each of these queues is for: a loader need have no privilege to write to the others."""

_QUEUE: Final = text("SELECT pg_advisory_xact_lock(:key)")
_WAIT_AND_BE_DURABLE: Final = text(
    "SELECT set_config('lock_timeout', :wait, true),"
    " set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
    " WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"
)
_WAIT: Final = text(
    "SELECT set_config('lock_timeout', :wait, true), set_config('synchronous_commit', 'off', true)"
)

# The schema is checked; these are for what a check may miss. No table of ours needs what is off.
_SQLITE_OPTIONS: Final = {
    "SQLITE_DBCONFIG_DEFENSIVE": True,
    "SQLITE_DBCONFIG_TRUSTED_SCHEMA": False,
    "SQLITE_DBCONFIG_ENABLE_TRIGGER": False,
    "SQLITE_DBCONFIG_ENABLE_VIEW": False,
}

# WAL needs memory that all writers share, which network file systems do not give.
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone",
        "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb2", "smb3",
        "smbfs",
    }
)  # fmt: skip


def catalogue_engine(
    repository: Path,
    url: str | None = None,
    *,
    journal: str = "wal",
    create: bool = False,
    file_name: str = SQLITE_FILE,
    pragmas: Sequence[str] = (),
) -> Engine:
    """An engine for a repository's catalogue.

    Args:
        repository: the repository's folder, where SQLite's file lies.
        url: ``postgresql://…``; None for SQLite.
        journal: SQLite's journal mode, ``wal`` or ``delete``.
        create: whether a missing SQLite file is made; otherwise it is an error.
        file_name: SQLite's file in the folder.
        pragmas: of SQLite's connections, beside those that all have or in their place.

    Raises:
        ConfigurationError: an URL of another database, or none at all.
        MissingExtraError: the driver for PostgreSQL is not installed.
        CatalogueError: WAL on a network file system.
    """
    if url is None:
        file = repository.absolute() / file_name
        engine = _sqlite_engine(file, journal, create=create, pragmas=pragmas)
    else:
        engine = _postgresql_engine(_parsed(url))
    close_at_fork(engine)
    return engine


def shown_url(engine: Engine) -> str:
    """The engine's URL for people: without its password, and without the driver's options."""
    # libpq takes a password as an option too.
    return engine.url.set(query={}).render_as_string(hide_password=True)


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


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection to read with. On SQLite, all that the block reads is one snapshot.

    Raises:
        SchemaVersionError, CatalogueTamperedError: the schema is not the shipped one.
        CatalogueError: the database failed.
    """
    with (
        catalogue_errors("The catalogue cannot be read"),
        no_fork(),
        engine.connect() as connection,
    ):
        require_checked_schema(connection)
        yield connection


@contextmanager
def reading_any_schema(engine: Engine) -> Iterator[Connection]:
    """A connection to find out with which schema the database has: no row of it may be used.

    Raises:
        CatalogueTamperedError: SQLite's schema is too large to be one of ours.
        CatalogueError: the database failed.
    """
    with (
        catalogue_errors("The catalogue cannot be read"),
        no_fork(),
        engine.connect() as connection,
    ):
        forget_checked_schema(connection)
        if connection.dialect.name != "sqlite":
            yield connection
            return
        with bounded_parsing(sqlite_connection(connection)):
            yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection whose statements all see one state of the database.

    Raises:
        SchemaVersionError, CatalogueTamperedError: the schema is not the shipped one.
        CatalogueError: the database failed.
    """
    # On SQLite a transaction that reads is a snapshot; PostgreSQL's default is one a statement.
    kind: dict[str, Any] = {"sealstore_read": True}
    if engine.dialect.name == "postgresql":
        kind = {"isolation_level": "REPEATABLE READ"}
    with (
        catalogue_errors("The catalogue cannot be read"),
        no_fork(),
        engine.execution_options(**kind).begin() as connection,
    ):
        require_checked_schema(connection)
        yield connection


@contextmanager
def writing(
    engine: Engine,
    *,
    queue: int = CATALOGUE_WRITERS,
    durable: bool = True,
    any_schema: bool = False,
) -> Iterator[Connection]:
    """A connection in a transaction that excludes all other writers; rolled back on any error.

    Args:
        engine: the database.
        queue: of PostgreSQL's writers, which of them.
        durable: whether PostgreSQL acknowledges only what survives the crash of its machine.
        any_schema: for who is going to change the schema, and checks it afterwards.

    Raises:
        SchemaVersionError, CatalogueTamperedError: the schema is not the shipped one.
        SQLAlchemyError, sqlite3.Error: the database failed, or stayed locked for
            ``limits.DATABASE_BUSY_SECONDS``.
    """
    writing_engine = engine.execution_options(sealstore_write=True)
    with no_fork(), writing_engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            begin = _WAIT_AND_BE_DURABLE if durable else _WAIT
            connection.execute(begin, {"wait": f"{limits.DATABASE_BUSY_SECONDS}s"})
            connection.execute(_QUEUE, {"key": queue})
        if any_schema:
            forget_checked_schema(connection)
        else:
            require_checked_schema(connection, _WRITTEN[queue])
        yield connection


def filesystem_type(path: Path) -> str | None:
    """The type of the file system that ``path`` lies on, where Linux tells it."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    real = path.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        fields = line.split(" ")
        mount_point = Path(fields[4].encode().decode("unicode_escape"))
        kind = fields[fields.index("-") + 1]
        # Of two mounts on one point the later line is the one on top.
        if real.is_relative_to(mount_point) and (best is None or len(mount_point.parts) >= best[0]):
            best = (len(mount_point.parts), kind)
    return None if best is None else best[1]


def refuse_wal_on_network(folder: Path) -> None:
    """Return if SQLite's WAL can work in ``folder``.

    Raises:
        CatalogueError: it lies on a network file system.
    """
    kind = filesystem_type(folder)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise CatalogueError(
            f"The repository lies on a network file system ({kind}), where SQLite's write-ahead log"
            " does not work.",
            hint="set MODEL_REPO_JOURNAL=delete (slower), or MODEL_REPO_DATABASE_URL to a"
            " PostgreSQL database.",
        )


def _sqlite_engine(file: Path, journal: str, *, create: bool, pragmas: Sequence[str]) -> Engine:
    if journal not in JOURNALS:
        raise ConfigurationError(
            "The journal mode is neither 'wal' nor 'delete'.", hint="check MODEL_REPO_JOURNAL."
        )
    if journal == "wal":
        refuse_wal_on_network(file.parent)
    place = f"file:{quote(os.fspath(file))}"

    def connect() -> sqlite3.Connection:
        if create:
            # SQLite would let everybody read it. Its other files take their mode from this one.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(file, flags, 0o640))
        connection = sqlite3.connect(
            f"{place}?{query_of_uri(file, create=create)}",
            uri=True,
            timeout=limits.DATABASE_BUSY_SECONDS,
            # Transactions are begun by name below; the module must not begin any by itself.
            isolation_level=None,
            # The pool hands a connection to one thread at a time.
            check_same_thread=False,
        )
        try:
            with bounded_parsing(connection):
                _configure_sqlite(connection, journal, create=create, pragmas=pragmas)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine(
        "sqlite://",
        creator=connect,
        # SQLAlchemy 1.4 would otherwise open the file anew for each statement.
        poolclass=QueuePool,
        future=True,
        **_quiet(),
    )
    event.listen(engine, "begin", _begin_sqlite)
    follow_file(engine, file)
    return engine


def _configure_sqlite(
    connection: sqlite3.Connection, journal: str, *, create: bool, pragmas: Sequence[str]
) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.MAX_ROW_BYTES)
    for option, value in _SQLITE_OPTIONS.items():
        # From Python 3.12 on.
        if hasattr(connection, "setconfig") and hasattr(sqlite3, option):
            connection.setconfig(getattr(sqlite3, option), value)
    # First, since other pragmas read the schema.
    connection.execute("PRAGMA trusted_schema=OFF")
    # A file keeps the mode it was made with, unless the other one is asked for.
    if create or journal == "delete":
        connection.execute(f"PRAGMA journal_mode={journal}")
    for pragma in (
        # More than FULL: with a rollback journal, a commit is the deletion of a file, which a power
        # loss undoes as long as the folder is not synced. With a write-ahead log both are the same.
        "synchronous=EXTRA",
        "cell_size_check=ON",
        "foreign_keys=ON",
        *pragmas,
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    # Most reads are single statements and need no transaction; the others, and writes, say so.
    options = connection.get_execution_options()
    if options.get("sealstore_write"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif options.get("sealstore_read"):
        connection.exec_driver_sql("BEGIN")


def _postgresql_engine(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername=_postgresql_driver())
    try:
        return create_engine(
            url,
            future=True,
            poolclass=QueuePool,
            pool_pre_ping=True,
            # A writer takes its snapshot after it was let in, not while it waits; and no server's
            # default may change that.
            isolation_level="READ COMMITTED",
            **_quiet(),
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise MissingExtraError(
            "The driver for PostgreSQL is not installed.",
            hint="pip install 'sealstore[postgresql]'.",
        ) from error


def _postgresql_driver() -> str:
    # SQLAlchemy 1.4 knows psycopg2 only.
    if sqlalchemy.__version__.startswith("1."):
        return "postgresql+psycopg2"
    return "postgresql+psycopg"


def _quiet() -> dict[str, Any]:
    # No statement's parameters in logs and errors: they hold names and metadata.
    return {"hide_parameters": True}
