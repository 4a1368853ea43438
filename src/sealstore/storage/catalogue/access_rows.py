"""The access log's rows in their database: appended by one process at a time, read as a snapshot.

Appending is a hot path: every load waits for it. So the statements are prepared once, and run on
SQLite's own connection from SQLAlchemy's pool.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.engine import Engine

from sealstore import limits
from sealstore.storage.catalogue.chains import (
    HEAD_ID,
    ChainReader,
    ChainWriter,
    EntryRow,
    NodeRow,
    as_bytes,
    head_of,
    no_larger_than,
    node_of,
)
from sealstore.storage.catalogue.engine import ACCESS_WRITERS, shown_url, snapshot, writing
from sealstore.storage.catalogue.failures import catalogue_errors
from sealstore.storage.catalogue.forking import no_fork
from sealstore.storage.catalogue.prepared import Prepared
from sealstore.storage.catalogue.schema import require_checked_sqlite
from sealstore.storage.catalogue.tables import access
from sealstore.storage.catalogue.writers_queue import writers_queue

_WRITING: Final = "The access log cannot be written"
_READING: Final = "The access log cannot be read"


class AccessWriter(Protocol):
    """The access log in a transaction that excludes other writers; ``ChainWriter`` is one."""

    def head(self) -> bytes | None:
        """See ``ChainReader``."""
        ...

    def get(self, level: int, index: int) -> bytes | None:
        """See ``ledger.Nodes``."""
        ...

    def newest_sequence(self) -> int:
        """See ``ChainReader``."""
        ...

    def entries(self, start: int, stop: int) -> Iterable[bytes]:
        """See ``ChainReader``."""
        ...

    def append(self, rows: Iterable[EntryRow], nodes: Iterable[NodeRow], head: bytes) -> None:
        """See ``ChainWriter``."""
        ...

    def replace_head(self, head: bytes) -> None:
        """See ``ChainWriter``."""
        ...


class AccessRows:
    """The rows of one access log.

    Args:
        engine: from ``catalogue_engine``; of SQLite with the pragma ``synchronous=NORMAL``.
        file: SQLite's file, absolute; None for PostgreSQL.
        durable: whether every transaction is to survive a crash of the machine.
    """

    def __init__(self, engine: Engine, *, file: Path | None, durable: bool) -> None:
        self.engine = engine
        self._file = file
        self._durable = durable

    @property
    def location(self) -> str:
        """Where the log is, as a URL without any password."""
        return shown_url(self.engine) if self._file is None else self._file.as_uri()

    @property
    def may_forget(self) -> bool:
        """Whether a crash can take back what this process saw committed, and leave it running.

        SQLite's file is on this process's machine; a server crashes alone.
        """
        return self._file is None and not self._durable

    def exists(self) -> bool:
        """Whether there is a database; of PostgreSQL's, only connecting tells."""
        return self._file is None or self._file.exists()

    @contextmanager
    def read(self) -> Iterator[ChainReader]:
        """The log, as one snapshot sees it.

        Raises:
            CatalogueError: the database failed.
        """
        with snapshot(self.engine) as connection:
            yield ChainReader(connection, access)

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[AccessWriter]:
        """One transaction that excludes all other writers; rolled back if the block raises.

        Args:
            durable: whether this one, and all before it, survive a crash of the machine.

        Raises:
            CatalogueError: the database is locked, not writable, damaged or full.
        """
        durable = durable or self._durable
        with catalogue_errors(_WRITING, reading=False), no_fork():
            if self._file is None:
                with writing(self.engine, queue=ACCESS_WRITERS, durable=durable) as connection:
                    yield ChainWriter(connection, access)
            else:
                lock_file = self._file.with_name(f"{self._file.name}.lock")
                with writers_queue(lock_file, "the access log"):
                    yield from self._write_sqlite(durable)

    def _write_sqlite(self, durable: bool) -> Iterator[AccessWriter]:
        connection: Any = self.engine.raw_connection()
        try:
            driver = connection.driver_connection
            if durable:
                # As every other connection; see catalogue_engine.
                driver.execute("PRAGMA synchronous=EXTRA")
            driver.execute("BEGIN IMMEDIATE")
            require_checked_sqlite(driver, connection.info)
            yield _SqliteWriter(driver)
            driver.execute("COMMIT")
            if durable:
                driver.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            # Closing it rolls back, whatever went wrong.
            connection.invalidate()
            raise
        finally:
            connection.close()


_entry, _node, _head = access.entry, access.node, access.head
_READ_HEAD: Final = Prepared(head_of(access))
_READ_NODE: Final = Prepared(node_of(access))
_READ_NEWEST: Final = Prepared(select(func.max(_entry.c.sequence)))
_READ_ENTRIES: Final = Prepared(
    select(no_larger_than(_entry.c.entry, limits.MAX_ENTRY_BYTES))
    .where(_entry.c.sequence > bindparam("after"), _entry.c.sequence <= bindparam("last"))
    .order_by(_entry.c.sequence)
)
_ADD_ENTRY: Final = Prepared(insert(_entry))
_ADD_NODE: Final = Prepared(insert(_node))
_ADD_HEAD: Final = Prepared(insert(_head))
_REMOVE_HEAD: Final = Prepared(_head.delete())


class _SqliteWriter:
    """``AccessWriter`` on SQLite's own connection."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    def _value(self, prepared: Prepared, **given: int) -> Any:
        found = self._driver.execute(prepared.text, prepared.parameters(given)).fetchone()
        return None if found is None else found[0]

    def _execute(self, prepared: Prepared, **given: Any) -> None:
        self._driver.execute(prepared.text, prepared.parameters(given))

    def head(self) -> bytes | None:
        with catalogue_errors(_READING):
            return as_bytes(self._value(_READ_HEAD))

    def get(self, level: int, index: int) -> bytes | None:
        with catalogue_errors(_READING):
            return as_bytes(self._value(_READ_NODE, at_level=level, at_index=index))

    def newest_sequence(self) -> int:
        with catalogue_errors(_READING):
            return int(self._value(_READ_NEWEST) or 0)

    def entries(self, start: int, stop: int) -> Iterable[bytes]:
        with catalogue_errors(_READING):
            found = self._driver.execute(
                _READ_ENTRIES.text, _READ_ENTRIES.parameters({"after": start, "last": stop})
            )
            # What is no bytes is no entry: verifying the chain says so.
            return [as_bytes(entry) or b"" for (entry,) in found]

    def append(self, rows: Iterable[EntryRow], nodes: Iterable[NodeRow], head: bytes) -> None:
        with catalogue_errors(_WRITING):
            for row in rows:
                self._execute(
                    _ADD_ENTRY,
                    sequence=row.sequence,
                    entry=row.entry,
                    event=row.event,
                    at=row.at,
                    name=row.name,
                    tag=row.tag,
                )
            for node in nodes:
                self._execute(
                    _ADD_NODE, level=node.level, node_index=node.node_index, digest=node.digest
                )
            self.replace_head(head)

    def replace_head(self, head: bytes) -> None:
        with catalogue_errors(_WRITING):
            self._execute(_REMOVE_HEAD)
            self._execute(_ADD_HEAD, id=HEAD_ID, envelope=head)
