"""The access log's rows: appended by one process at a time, read as a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sealstore.errors import CatalogueTamperedError, SchemaVersionError
from sealstore.storage.catalogue.connections import catalogue_errors, require_current_schema
from sealstore.storage.catalogue.ledger_rows import ChainReader, ChainWriter
from sealstore.storage.catalogue.sqlite import writers_queue

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Engine


class AccessRows:
    """The rows of one access log.

    Args:
        engine: from ``catalogue_engine``; of SQLite a relaxed one.
        file: SQLite's file, absolute; None for PostgreSQL.
        durable: whether every transaction is to survive a crash of the machine.
    """

    def __init__(self, engine: Engine, *, file: Path | None, durable: bool) -> None:
        self.engine = engine
        self._file = file
        self._lock_file = None if file is None else file.with_name(f"{file.name}.lock")
        self._durable = durable

    @property
    def location(self) -> str:
        """Where the log is, as a URL without any password."""
        return self.engine.place if self._file is None else self._file.as_uri()

    @property
    def may_forget(self) -> bool:
        """Whether a crash can take back what this process saw committed, and leave it running.

        SQLite's file is on this process's machine; a server crashes alone.
        """
        return self._file is None and not self._durable

    def exists(self) -> bool:
        """Whether there is a database; of PostgreSQL's, only connecting tells."""
        return self._file is None or self._file.exists()

    def has_tables(self) -> bool:
        """Whether there is a database with tables; they are the shipped ones then.

        Raises:
            SchemaVersionError, CatalogueTamperedError: the schema is not the shipped one.
            CatalogueError: the database failed.
        """
        if not self.exists():
            return False
        try:
            require_current_schema(self.engine)
        except (SchemaVersionError, CatalogueTamperedError):
            from sealstore.storage.catalogue.database_facts import schema_revision

            if schema_revision(self.engine) is not None:
                raise
            return False
        return True

    @contextmanager
    def read(self) -> Iterator[ChainReader]:
        """The log, as one snapshot sees it.

        Raises:
            CatalogueError: the database failed.
        """
        with self.engine.reading() as connection:
            yield ChainReader(connection, "access")

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[ChainWriter]:
        """One transaction that excludes all other writers; rolled back if the block raises.

        Args:
            durable: whether this one, and all before it, survive a crash of the machine.

        Raises:
            CatalogueError: the database is locked, not writable, damaged or full.
        """
        with (
            catalogue_errors("The access log cannot be written", reading=False),
            writers_queue(self._lock_file, "the access log"),
            self.engine.writing(queue="access", durable=durable or self._durable) as connection,
        ):
            yield ChainWriter(connection, "access")
