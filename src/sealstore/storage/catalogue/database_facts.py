"""What operators are told of a database: its schema, its journal, and what it lies on."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sealstore.errors import CatalogueError
from sealstore.storage.catalogue import sqlite
from sealstore.storage.catalogue.schema import READ_REVISION

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Engine

_FIND_REVISION_IN_SQLITE: Final = (
    "SELECT 1 FROM main.sqlite_master WHERE type IN ('table', 'view') AND name = 'alembic_version'"
)
_FIND_REVISION: Final = "SELECT to_regclass('alembic_version')"


def schema_revision(engine: Engine) -> str | None:
    """The revision that a database's schema has; None for an empty one.

    Raises:
        CatalogueTamperedError: SQLite's schema is too large to be one of ours.
        CatalogueError: the database failed.
    """
    find = _FIND_REVISION_IN_SQLITE if engine.is_sqlite else _FIND_REVISION
    with engine.reading(any_schema=True) as connection:
        if connection.execute(find).fetchone() in (None, (None,)):
            return None
        found = connection.execute(READ_REVISION).fetchone()
        return None if found is None or found[0] is None else str(found[0])


def journal_mode(engine: Engine) -> str | None:
    """The journal mode that SQLite's file has; None for another database.

    Raises:
        CatalogueError: the database failed.
    """
    if not engine.is_sqlite:
        return None
    with engine.reading() as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def sqlite_version() -> str:
    """The version of the SQLite library that this Python runs."""
    return sqlite3.sqlite_version


def filesystem_type(path: Path) -> str | None:
    """The type of the file system that ``path`` lies on, where Linux tells it."""
    real = path.resolve()
    best: tuple[int, str] | None = None
    for place, kind in sqlite.mounts():
        mount_point = Path(place.encode().decode("unicode_escape"))
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
    if kind in sqlite.NETWORK_FILE_SYSTEMS:
        raise CatalogueError(
            f"The repository lies on a network file system ({kind}), where SQLite's write-ahead log"
            " does not work.",
            hint="set MODEL_REPO_JOURNAL=delete (slower), or MODEL_REPO_DATABASE_URL to a"
            " PostgreSQL database.",
        )
