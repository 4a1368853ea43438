"""Creating and upgrading the schema: Alembic's migrations, and nothing else, change it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sealstore.errors import ConfigurationError
from sealstore.storage.catalogue import schema, schema_sqlite
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.database_facts import schema_revision
from sealstore.storage.catalogue.schema_differences import require_current_revision

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import Connection as SqlalchemyConnection

    from sealstore.storage.catalogue.contract import Connection, Engine
    from sealstore.storage.catalogue.postgresql import PostgresqlConnection


def migrations_path() -> Path:
    """The folder of the migrations: the packaged one, or in an editable install the project's own.

    Raises:
        ConfigurationError: neither is there.
    """
    package = Path(str(resources.files("sealstore")))
    for candidate in (package / "migrations", package.parent.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise ConfigurationError(
        "The catalogue's migrations are not installed.", hint="install sealstore again."
    )


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Create the tables, or bring them to ``revision``; all of it, or nothing.

    Raises:
        SchemaVersionError: the schema is newer than this release.
        CatalogueTamperedError: what came out is not the shipped schema; nothing was changed.
        CatalogueError: the database failed.
    """
    from alembic import command

    found = schema_revision(engine)
    if found is not None and found not in schema.SCHEMA_REVISIONS:
        require_current_revision(found)
    what = "The catalogue cannot be migrated"
    with (
        catalogue_errors(what),
        engine.writing(any_schema=True) as connection,
        for_alembic(connection) as handed_over,
    ):
        config = _alembic_config()
        config.attributes["connection"] = handed_over
        command.upgrade(config, revision)
        # What was planted in an older schema is still there now.
        if revision in ("head", schema.SCHEMA_REVISIONS[-1]):
            _require_shipped(connection)


def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    # Alembic interpolates '%' in its options.
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    return config


@contextmanager
def for_alembic(connection: Connection) -> Iterator[SqlalchemyConnection]:
    """The connection as Alembic takes it; its transaction stays the engine's."""
    if not isinstance(connection, sqlite3.Connection):
        yield cast("PostgresqlConnection", connection).sqlalchemy
        return
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    lent: Any = _Lent(connection)
    engine = create_engine("sqlite://", creator=lambda: lent, poolclass=StaticPool, future=True)
    with engine.begin() as handed_over:
        yield handed_over


class _Lent:
    """A connection whose transaction SQLAlchemy neither ends nor begins."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def commit(self) -> None:
        """Nothing: who lent it commits."""

    rollback = close = commit


def _require_shipped(connection: Connection) -> None:
    if isinstance(connection, sqlite3.Connection):
        schema_sqlite.require_shipped_sqlite(connection)
        return
    from sealstore.storage.catalogue.schema_postgresql import require_shipped_postgresql
    from sealstore.storage.catalogue.tables import metadata

    theirs = cast("PostgresqlConnection", connection).sqlalchemy
    require_shipped_postgresql(theirs, metadata.sorted_tables)
