"""The catalogue: the SQL index over the artifacts. Quick to search, and not trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sealstore.storage.catalogue.access_rows import AccessRows
from sealstore.storage.catalogue.artifacts import ArtifactRow, Catalogue, Reading
from sealstore.storage.catalogue.connections import no_fork, require_current_schema
from sealstore.storage.catalogue.sqlite import SQLITE_FILE, SqliteEngine

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Engine

__all__ = [
    "AccessRows",
    "ArtifactRow",
    "Catalogue",
    "Reading",
    "catalogue_engine",
    "no_fork",
    "require_current_schema",
]


def catalogue_engine(
    repository: Path,
    url: str | None = None,
    *,
    journal: str = "wal",
    create: bool = False,
    file_name: str = SQLITE_FILE,
    relaxed: bool = False,
) -> Engine:
    """The database of a repository's catalogue, or of its access log.

    Args:
        repository: the folder where SQLite's file lies.
        url: ``postgresql://…``; None for SQLite.
        journal: SQLite's journal mode, ``wal`` or ``delete``.
        create: whether a missing SQLite file is made; otherwise it is an error.
        file_name: SQLite's file in the folder.
        relaxed: whether SQLite syncs only the commits that are asked to be durable.

    Raises:
        ConfigurationError: an URL of another database, or none at all.
        MissingExtraError: the driver for PostgreSQL is not installed.
        CatalogueError: WAL on a network file system.
    """
    if url is None:
        file = repository.absolute() / file_name
        return SqliteEngine(file, journal, create=create, relaxed=relaxed)
    from sealstore.storage.catalogue.postgresql import PostgresqlEngine

    return PostgresqlEngine(url)
