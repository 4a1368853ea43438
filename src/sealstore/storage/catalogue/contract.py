"""What a database does for the catalogue, whichever it is; for annotations only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

Queue = Literal["catalogue", "access"]
"""For what writers to one database queue: who appends to the access log waits for no store."""


class Rows(Protocol):
    """What a statement gave."""

    def fetchone(self) -> Any:
        """The next row; None behind the last."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...


class Connection(Protocol):
    """A connection in a snapshot or a transaction; ``sqlite3.Connection`` is one."""

    def execute(self, statement: str, values: Mapping[str, Any] = ..., /) -> Rows:
        """Run a statement."""
        ...

    def executemany(self, statement: str, values: Iterable[Mapping[str, Any]], /) -> object:
        """Run a statement for each of some values."""
        ...


class Engine(Protocol):
    """A database, and the connections to it that are open."""

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of SQLite."""
        ...

    @property
    def place(self) -> str:
        """The database for people: no password, and no options, which may hold one too."""
        ...

    def reading(self, *, any_schema: bool = False) -> AbstractContextManager[Connection]:
        """A connection to read with: all that the block reads is one snapshot.

        Args:
            any_schema: to find out with which schema the database has; no row may be used.

        Raises:
            SchemaVersionError, CatalogueTamperedError: the schema is not the shipped one.
            CatalogueError: the database failed.
        """
        ...

    def writing(
        self, *, queue: Queue = "catalogue", durable: bool = True, any_schema: bool = False
    ) -> AbstractContextManager[Connection]:
        """A connection in a transaction that excludes other writers; any error rolls it back.

        Args:
            queue: which tables it is for; see ``Queue``.
            durable: whether it is acknowledged only when it survives a crash of the machine.
            any_schema: for who is going to change the schema, and checks it afterwards.

        Raises:
            SchemaVersionError, CatalogueTamperedError: the schema is not the shipped one.
            sqlite3.Error, SQLAlchemyError: the database failed, or stayed locked for
                ``limits.DATABASE_BUSY_SECONDS``.
        """
        ...

    def sync(self) -> None:
        """Make everything durable that can be read, whoever committed it.

        Raises:
            CatalogueError: the database or its file system failed.
        """
        ...

    def dispose(self) -> None:
        """Close all connections; new ones are opened when they are needed."""
        ...

    def abandon(self) -> None:
        """Forget all connections without closing them: they are another process's."""
        ...
