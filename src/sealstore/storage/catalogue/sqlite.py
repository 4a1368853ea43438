"""A catalogue in a file of SQLite, by ``sqlite3`` itself: connections, transactions, and the file.

On the way through SQLAlchemy a look-up takes fifteen times as long, and importing it takes longer
than all the rest of a load.
"""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from sealstore import limits
from sealstore.errors import CatalogueError, ConfigurationError
from sealstore.process_bound import ProcessBound
from sealstore.storage.catalogue import schema
from sealstore.storage.catalogue.connections import catalogue_errors, close_at_fork, no_fork
from sealstore.storage.catalogue.schema import SqliteConnection

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Queue

SQLITE_FILE: Final = "catalogue.sqlite3"
JOURNALS: Final = ("wal", "delete")

_IDLE_CONNECTIONS: Final = 5
"""As many are kept open for the next that need one; a thread that finds none opens another."""

# The schema is checked; these are for what a check may miss. No table of ours needs what is off.
_SQLITE_OPTIONS: Final = {
    "SQLITE_DBCONFIG_DEFENSIVE": True,
    "SQLITE_DBCONFIG_TRUSTED_SCHEMA": False,
    "SQLITE_DBCONFIG_ENABLE_TRIGGER": False,
    "SQLITE_DBCONFIG_ENABLE_VIEW": False,
}

_DURABLE: Final = "PRAGMA synchronous=EXTRA"
"""More than FULL: with a rollback journal, a commit is the deletion of a file, which a power loss
undoes as long as the folder is not synced. With a write-ahead log both are the same."""
_RELAXED: Final = (
    # What survives a crash of the process only; where more is asked for, the transaction says so.
    "PRAGMA synchronous=NORMAL",
    # Pages of the write-ahead log (16 MiB). Copying it into the file, with two fsyncs, is what most
    # of the time of many appends goes into; of SQLite's 1,000 pages it would be every 130th.
    "PRAGMA wal_autocheckpoint=4000",
)

# WAL needs memory that all writers share, which network file systems do not give.
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone",
        "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb2", "smb3",
        "smbfs",
    }
)  # fmt: skip

_WRITE_VERSION: Final = 18
"""Offset in the database's header, https://www.sqlite.org/fileformat2.html#file_format_version_numbers"""
_WAL: Final = b"\x02"

_OPEN_OR_MAKE: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_ORDINARY_WAIT: Final = 0.25
"""Seconds: many writers keep each other waiting so long. Beyond, one holds up all the others."""


class SqliteEngine(ProcessBound):
    """A file of SQLite, and the open connections to it. See ``Engine``.

    Args:
        file: the file, absolute.
        journal: the journal mode, ``wal`` or ``delete``.
        create: whether a missing file is made; otherwise it is an error.
        relaxed: whether commits survive a crash of the machine only where ``writing`` is told so.

    Raises:
        ConfigurationError: there is no such journal mode.
        CatalogueError: WAL on a network file system.
    """

    is_sqlite = True
    place = "sqlite://"

    def __init__(self, file: Path, journal: str, *, create: bool, relaxed: bool) -> None:
        if journal not in JOURNALS:
            raise ConfigurationError(
                "The journal mode is neither 'wal' nor 'delete'.", hint="check MODEL_REPO_JOURNAL."
            )
        if journal == "wal" and any(kind in NETWORK_FILE_SYSTEMS for _, kind in mounts()):
            from sealstore.storage.catalogue.database_facts import refuse_wal_on_network

            refuse_wal_on_network(file.parent)
        self._file = file
        self._journal = journal
        self._create = create
        self._relaxed = relaxed
        # Threads take from and add to these without a lock: both are single steps of a list.
        self._idle: list[SqliteConnection] = []
        close_at_fork(self)

    @contextmanager
    def reading(self, *, any_schema: bool = False) -> Iterator[SqliteConnection]:
        """See ``Engine.reading``."""
        with catalogue_errors("The catalogue cannot be read"), no_fork():
            connection, pool = self._taken(), self._idle
            try:
                if any_schema:
                    connection.checked = None
                    with schema.bounded_parsing(connection):
                        yield connection
                else:
                    schema.require_checked_sqlite(connection)
                    yield connection
            except BaseException as error:
                _take_back(connection, pool, error)
                raise
            _give_back(connection, pool)

    @contextmanager
    def writing(
        self, *, queue: Queue = "catalogue", durable: bool = True, any_schema: bool = False
    ) -> Iterator[SqliteConnection]:
        """See ``Engine.writing``. SQLite has one queue for a file, whatever it is for."""
        del queue
        is_synced_here = durable and self._relaxed
        with no_fork():
            connection, pool = self._taken(), self._idle
            try:
                if is_synced_here:
                    connection.execute(_DURABLE)
                connection.execute("BEGIN IMMEDIATE")
                if any_schema:
                    connection.checked = None
                else:
                    schema.require_checked_sqlite(connection)
                yield connection
                connection.execute("COMMIT")
                if is_synced_here:
                    connection.execute(_RELAXED[0])
            except BaseException as error:
                if is_synced_here:
                    _close(connection)
                else:
                    _take_back(connection, pool, error)
                raise
            _give_back(connection, pool)

    def sync(self) -> None:
        """See ``Engine.sync``.

        A process that dies within a commit may leave it in the write-ahead log, or its journal
        removed: whoever opens the database then takes it for committed, and syncs nothing as long
        as he only reads.
        """
        # SQLite's log lies beside the file, not beside a link to it.
        file = os.path.realpath(self._file)
        with catalogue_errors("The catalogue cannot be made durable"), no_fork():
            # Never the database itself: closing it here would release the locks that SQLite has on
            # it. Of a commit that is not in the log, it was synced before the journal was removed.
            folder = os.path.dirname(file)
            for path, flags in ((f"{file}-wal", os.O_NOFOLLOW), (folder, os.O_DIRECTORY)):
                with suppress(FileNotFoundError):
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)

    def dispose(self) -> None:
        """See ``Engine.dispose``."""
        # What is in use goes back to the list that is given up here, and is never used again.
        idle, self._idle = self._idle, []
        for connection in idle:
            _close(connection)

    def abandon(self) -> None:
        """See ``Engine.abandon``."""
        _abandoned.append(self._idle)
        self._idle = []

    # ── connections ──────────────────────────────────────────────────────────

    def _taken(self) -> SqliteConnection:
        """A connection to the file that lies there now, for one thread.

        SQLite would go on with the file that it opened: what is stored into a deleted or replaced
        database is lost.
        """
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connected()
            if connection.state == _state(self._file):
                return connection
            _close(connection)

    def _connected(self) -> SqliteConnection:
        if self._create:
            # SQLite would let everybody read it. Its other files take their mode from this one.
            os.close(os.open(self._file, _OPEN_OR_MAKE, 0o640))
        # Before it is opened: a file that takes its place meanwhile is noticed at the next use.
        state = _state(self._file)
        connection = sqlite3.connect(
            f"file:{quote(os.fspath(self._file))}?{self._mode()}",
            uri=True,
            timeout=limits.DATABASE_BUSY_SECONDS,
            # Transactions are begun by name; the module must not begin any by itself.
            isolation_level=None,
            # One thread at a time has it.
            check_same_thread=False,
            factory=SqliteConnection,
        )
        try:
            connection.state = state
            with schema.bounded_parsing(connection):
                self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _mode(self) -> str:
        """How SQLite's URI of the file ends: what the connection may do."""
        if self._create:
            return "mode=rwc"
        # With a write-ahead log, readers share memory by way of a file, which cannot be made here.
        # SQLite then takes the database for one that never changes; when it does: see _taken.
        return "mode=ro&immutable=1" if _is_at_rest(self._file) else "mode=rw"

    def _configure(self, connection: sqlite3.Connection) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.MAX_ROW_BYTES)
        for option, value in _SQLITE_OPTIONS.items():
            # From Python 3.12 on.
            if hasattr(connection, "setconfig") and hasattr(sqlite3, option):
                connection.setconfig(getattr(sqlite3, option), value)
        # First, since other pragmas read the schema.
        connection.execute("PRAGMA trusted_schema=OFF")
        # A file keeps the mode it was made with, unless the other one is asked for.
        if self._create or self._journal == "delete":
            connection.execute(f"PRAGMA journal_mode={self._journal}")
        synced = _RELAXED if self._relaxed else (_DURABLE,)
        for pragma in (*synced, "PRAGMA cell_size_check=ON", "PRAGMA foreign_keys=ON"):
            connection.execute(pragma)


_abandoned: Final[list[list[SqliteConnection]]] = []
"""Connections of the process that this one was forked from: closing them would remove its log."""


def _give_back(connection: SqliteConnection, pool: list[SqliteConnection]) -> None:
    try:
        if connection.in_transaction:
            connection.rollback()
    except sqlite3.Error:
        connection.close()
        return
    if len(pool) < _IDLE_CONNECTIONS:
        pool.append(connection)
    else:
        connection.close()


def _take_back(
    connection: SqliteConnection, pool: list[SqliteConnection], error: BaseException
) -> None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = cause.__cause__
    if cause is not None or not isinstance(error, Exception):
        # Whatever state it is in (opened for reading only, it may be), nobody uses it again.
        _close(connection)
        return
    # Not closed: the last connection that closes would write to what was refused. The error's
    # traceback may hold a cursor, and with it a snapshot.
    connection.settle()
    _give_back(connection, pool)


def _close(connection: SqliteConnection) -> None:
    # A cursor that is still open would keep the transaction, and its lock, beyond closing.
    with suppress(sqlite3.Error):
        connection.rollback()
    connection.close()


# ── the file ─────────────────────────────────────────────────────────────────


def _is_at_rest(file: Path) -> bool:
    """Whether nobody may write beside ``file`` here, and nobody elsewhere has its log open."""
    if os.access(file.parent, os.W_OK) or os.path.exists(f"{file}-wal"):
        return False
    try:
        with open(file, "rb") as opened:
            return opened.read(_WRITE_VERSION + 1)[_WRITE_VERSION:] == _WAL
    except OSError:
        return False


def _state(file: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    if _is_at_rest(file):
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    return status.st_dev, status.st_ino


def mounts() -> list[tuple[str, str]]:
    """Where each file system of this machine is mounted, and its type; where Linux tells it."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    # The type follows a dash that stands alone.
    return [(each[4], each[each.index("-") + 1]) for each in (line.split(" ") for line in lines)]


# ── the writers' queue ───────────────────────────────────────────────────────


@contextmanager
def writers_queue(lock_file: Path | None, what: str) -> Iterator[None]:
    """SQLite's own back-off lets some of many writers wait for seconds; a file lock doesn't.

    Args:
        lock_file: the file whose lock they take in turn; None for PostgreSQL, which queues them.
        what: what is written to, for the error's text.

    Raises:
        CatalogueError: another process held the lock for ``limits.DATABASE_BUSY_SECONDS``.
        OSError: the file cannot be opened or made.
    """
    if lock_file is None:
        yield
        return
    descriptor = os.open(lock_file, _OPEN_OR_MAKE, 0o640)
    try:
        if not _try_lock(descriptor):
            _wait_for_lock(descriptor, what)
        yield
    finally:
        # By name: a child forked meanwhile holds the lock with its copy of the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _wait_for_lock(descriptor: int, what: str) -> None:
    began = time.monotonic()
    waited = 0.0
    while waited <= limits.DATABASE_BUSY_SECONDS:
        pause = _ORDINARY_WAIT / 50
        if waited <= _ORDINARY_WAIT:
            # Who has waited longer asks more often, so that nobody is overtaken for long; and
            # jitter, so that no waiter is always the one that comes too late.
            pause = random.uniform(0.0002, 0.002) / (1 + 10 * waited / _ORDINARY_WAIT)  # noqa: S311 (no secret)
        time.sleep(pause)
        if _try_lock(descriptor):
            return
        waited = time.monotonic() - began
    raise CatalogueError(
        f"Another process has been writing to {what} for {limits.DATABASE_BUSY_SECONDS} seconds.",
        hint="try again; 'sealstore doctor' shows what is wrong if it stays so.",
    )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
