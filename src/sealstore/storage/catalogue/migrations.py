"""Creating and upgrading the schema: Alembic's migrations, and nothing else, change it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection, Engine

from sealstore.errors import ConfigurationError
from sealstore.storage.catalogue.engine import reading, reading_any_schema, writing
from sealstore.storage.catalogue.failures import catalogue_errors
from sealstore.storage.catalogue.queries import WriteTransaction
from sealstore.storage.catalogue.rows import LegacyHistoryRow
from sealstore.storage.catalogue.schema import (
    forget_checked_schema,
    require_checked_schema,
    require_current_revision,
)
from sealstore.storage.catalogue.tables import SCHEMA_REVISIONS, metadata

if TYPE_CHECKING:
    from alembic.config import Config

_READ_REVISION: Final = text("SELECT version_num FROM alembic_version")


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
        "The catalogue's migrations are not installed.", hint="install sealstore anew."
    )


def schema_revision(engine: Engine) -> str | None:
    """The revision that the catalogue's schema has; None for an empty database.

    Raises:
        CatalogueError: the database failed.
    """
    with reading_any_schema(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision = connection.execute(_READ_REVISION).scalar()
        return None if revision is None else str(revision)


def require_current_schema(engine: Engine) -> None:
    """Return if the schema is this release's, and nothing was planted in it.

    Raises:
        SchemaVersionError: it is older or newer.
        CatalogueTamperedError: it is not the shipped one.
        CatalogueError: the database failed.
    """
    with reading(engine):
        # It was checked before the block.
        return


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An upgrade in its transaction.

    Attributes:
        transaction: on the new schema.
        legacy_history: the history of schema 0001, oldest first, which had no ledger; None where
            the schema was another one.
    """

    transaction: WriteTransaction
    legacy_history: list[LegacyHistoryRow] | None


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Create the tables, or bring them to ``revision``.

    Raises:
        SchemaVersionError: the schema is newer than this release.
        CatalogueTamperedError: what came out is not the shipped schema; nothing was changed.
        CatalogueError: the database failed.
    """
    with upgrading(engine, revision):
        pass


@contextmanager
def upgrading(engine: Engine, revision: str = "head") -> Iterator[Upgrade]:
    """Bring the tables to ``revision``, and the rows in the block; all of it, or nothing.

    Raises:
        SchemaVersionError: the schema is newer than this release.
        CatalogueTamperedError: what came out is not the shipped schema; nothing was changed.
        CatalogueError: the database failed.
    """
    from alembic import command

    found = schema_revision(engine)
    if found is not None and found not in SCHEMA_REVISIONS:
        require_current_revision(found)
    what = "The catalogue cannot be migrated"
    with (
        catalogue_errors(what, reading=False),
        writing(engine, any_schema=True) as connection,
    ):
        with catalogue_errors(what):
            legacy = _legacy_history(connection) if found == SCHEMA_REVISIONS[0] else None
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            # What was planted in an older schema is still there now.
            if revision in ("head", SCHEMA_REVISIONS[-1]):
                require_checked_schema(connection, metadata.sorted_tables)
                # What is not committed yet must not be remembered.
                forget_checked_schema(connection)
        yield Upgrade(WriteTransaction(connection), legacy)


def _legacy_history(connection: Connection) -> list[LegacyHistoryRow]:
    columns = ", ".join(LegacyHistoryRow.__slots__)
    statement = text(f"SELECT {columns} FROM history ORDER BY sequence")  # noqa: S608 (our names)
    return [LegacyHistoryRow(*row) for row in connection.execute(statement)]


def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    # Alembic interpolates '%' in its options.
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    return config
