"""What a database says about itself, for ``sealstore doctor``."""

from __future__ import annotations

import sqlite3

from sqlalchemy.engine import Engine

from sealstore.storage.catalogue.engine import reading


def sqlite_version() -> str:
    """The version of the SQLite library that this Python runs."""
    return sqlite3.sqlite_version


def journal_mode(engine: Engine) -> str | None:
    """The journal mode that SQLite's file has; None for another database.

    Raises:
        CatalogueError: the database failed.
    """
    if engine.dialect.name != "sqlite":
        return None
    with reading(engine) as connection:
        return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())


def database_place(engine: Engine) -> str:
    """The database for people: no password, and no options, which may hold one too."""
    return engine.url.set(query={}).render_as_string(hide_password=True)
