"""Bringing a repository's databases to this release's schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sealstore.repository.access_log.place import access_rows
from sealstore.repository.assembly import open_catalogue
from sealstore.repository.settings import Settings
from sealstore.signed.settings import open_settings
from sealstore.storage import layout
from sealstore.storage.catalogue import Catalogue, require_current_schema, schema
from sealstore.storage.catalogue.database_facts import schema_revision
from sealstore.storage.catalogue.migrations import upgrade


@dataclass(frozen=True, slots=True)
class Migration:
    """From which schema to which.

    Attributes:
        old: the schema's revision before.
        new: the schema's revision after; the same where there is nothing to do.
        database: what to back up, for people.
    """

    old: str
    new: str
    database: str


def pending_migration(settings: Settings) -> Migration:
    """What migrating would do; nothing is changed.

    Raises:
        SealstoreError: as ``migrate``.
    """
    newest = schema.SCHEMA_REVISIONS[-1]
    with _catalogue(settings) as catalogue:
        return Migration(_old_revision(catalogue), newest, place(settings, catalogue))


def migrate(settings: Settings) -> Migration:
    """Bring catalogue and access log of the configured repository to this release's schema.

    Raises:
        RepositoryNotFoundError, VerificationError, KeyringError: there is no repository that these
            keys know; nothing was changed.
        SchemaVersionError: the schema is newer, or there is none: empty tables would hide that the
            artifacts are gone.
        CatalogueTamperedError: what came out is not the shipped schema; nothing was changed.
        CatalogueError: the database failed.
    """
    with _catalogue(settings) as catalogue:
        old = _old_revision(catalogue)
        _upgrade_access_log(settings)
        # Last: as long as it is the older one, whoever repeats a migration that failed is let in.
        upgrade(catalogue.engine)
        new = schema_revision(catalogue.engine) or old
        return Migration(old, new, place(settings, catalogue))


def _upgrade_access_log(settings: Settings) -> None:
    rows = access_rows(settings, settings.path.absolute())
    try:
        # Loaders elsewhere may have logs of their own, and there may be none here.
        if rows.exists() and schema_revision(rows.engine) is not None:
            upgrade(rows.engine)
    finally:
        rows.engine.dispose()


@contextmanager
def _catalogue(settings: Settings) -> Iterator[Catalogue]:
    root = settings.path.absolute()
    open_settings(layout.read_settings_file(root), settings.key_source().current())
    catalogue = open_catalogue(root, settings)
    try:
        yield catalogue
    finally:
        catalogue.engine.dispose()


def _old_revision(catalogue: Catalogue) -> str:
    old = schema_revision(catalogue.engine)
    if old is None or old not in schema.SCHEMA_REVISIONS:
        require_current_schema(catalogue.engine)
    return str(old)


def place(settings: Settings, catalogue: Catalogue) -> str:
    """What to back up, for people: no password in it."""
    if settings.database_url is None:
        return f"the files *.sqlite3* in {settings.path.absolute()}"
    return f"the database {catalogue.engine.place}"
