"""Bringing a repository's catalogue to this release's schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sealstore.errors import AccessLogExistsError
from sealstore.repository.assembly import open_catalogue
from sealstore.repository.settings import Settings
from sealstore.signed.settings import open_settings
from sealstore.storage import layout
from sealstore.storage.catalogue import (
    Catalogue,
    require_current_schema,
    schema_revision,
    upgrading,
)
from sealstore.storage.catalogue.inspection import database_place
from sealstore.storage.catalogue.tables import SCHEMA_REVISIONS
from sealstore.upkeep.access_log import create_access_log
from sealstore.upkeep.first_ledger import begin_ledger


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
    with _catalogue(settings) as catalogue:
        return Migration(_old_revision(catalogue), SCHEMA_REVISIONS[-1], place(settings, catalogue))


def migrate(settings: Settings) -> Migration:
    """Bring the catalogue of the configured repository to this release's schema.

    Raises:
        RepositoryNotFoundError, VerificationError, KeyringError: there is no repository that these
            keys know; nothing was changed.
        NoSigningKeyError: the catalogue has no ledger yet, and no active key may sign its head.
        CatalogueTamperedError: its history and its artifacts do not fit together.
        SchemaVersionError: the schema is newer, or there is none: empty tables would hide that the
            artifacts are gone.
        CatalogueError: the database failed.
    """
    with _catalogue(settings) as catalogue:
        old = _old_revision(catalogue)
        with upgrading(catalogue.engine) as upgraded:
            if upgraded.legacy_history is not None:
                begin_ledger(settings, upgraded)
        _make_access_log(settings)
        new = schema_revision(catalogue.engine) or old
        return Migration(old, new, place(settings, catalogue))


def _make_access_log(settings: Settings) -> None:
    """Make the access log that repositories of schema 0001 did not have, unless there is one."""
    with suppress(AccessLogExistsError):
        create_access_log(settings)


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
    if old is None or old not in SCHEMA_REVISIONS:
        require_current_schema(catalogue.engine)
    return str(old)


def place(settings: Settings, catalogue: Catalogue) -> str:
    """What to back up, for people: no password in it."""
    if settings.database_url is None:
        return f"the files catalogue.sqlite3* in {settings.path.absolute()}"
    return f"the database {database_place(catalogue.engine)}"
