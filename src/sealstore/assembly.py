"""Putting the parts together: which keys, which database, how a new repository begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sealstore import environment, layout
from sealstore.blobs import BlobStore, LocalBlobStore
from sealstore.catalogue import (
    Catalogue,
    HistoryRow,
    catalogue_engine,
    require_current_schema,
    schema_revision,
    upgrade,
)
from sealstore.catalogue.engine import SQLITE_FILE
from sealstore.catalogue.tables import SCHEMA_REVISIONS
from sealstore.envelope import Signer
from sealstore.errors import RepositoryExistsError, RepositoryMismatchError
from sealstore.keys import Keyring
from sealstore.layout import RepositorySettings
from sealstore.policies import Policies
from sealstore.settings import Settings

LOCK_FILE: Final = f"{SQLITE_FILE}.lock"


class KeySource(Protocol):
    """Where the keyring comes from; asked anew by every operation."""

    def current(self) -> Keyring:
        """The keyring now."""
        ...


class GivenKeyring:
    """A key source that is one keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def current(self) -> Keyring:
        """See ``KeySource.current``."""
        return self._keyring


@dataclass(frozen=True, slots=True)
class Parts:
    """What an open repository consists of.

    Attributes:
        root: its folder.
        settings: what is configured.
        identity: what its verified ``repository.json`` says.
        keys: where the keyring comes from.
        blobs: the payloads.
        catalogue: the index over them.
        policies: what payloads may import.
    """

    root: Path
    settings: Settings
    identity: RepositorySettings
    keys: KeySource
    blobs: BlobStore
    catalogue: Catalogue
    policies: Policies

    @property
    def id(self) -> str:
        """The repository's id."""
        return self.identity.repository

    @property
    def keyring(self) -> Keyring:
        """The keys as they are now."""
        return self.keys.current()


def key_source(settings: Settings, root: Path, keyring: Keyring | None) -> KeySource:
    """The given keyring, or the configured one, which must lie outside ``root``."""
    return settings.key_source(root) if keyring is None else GivenKeyring(keyring)


def open_catalogue(root: Path, settings: Settings, *, create: bool = False) -> Catalogue:
    """The catalogue of the repository in ``root``.

    Raises:
        ConfigurationError, MissingExtraError, CatalogueError: the database cannot be used.
    """
    engine = catalogue_engine(root, settings.database_url, journal=settings.journal, create=create)
    lock_file = root / LOCK_FILE if settings.database_url is None else None
    return Catalogue(engine, lock_file=lock_file)


def open_parts(root: Path, settings: Settings, keyring: Keyring | None) -> Parts:
    """The parts of an existing repository.

    Raises:
        As ``Repository.open``.
    """
    keys = key_source(settings, root, keyring)
    # Before the keys: where there is no repository, that is what to say.
    data = layout.read_settings_file(root)
    identity = layout.open_settings(data, keys.current())
    if settings.repository_id not in (None, identity.repository):
        raise RepositoryMismatchError(
            f"This is repository {identity.repository}, and MODEL_REPO_ID asks for another.",
            path=root,
            hint="check what is mounted at {path}.",
        )
    policies = Policies.of(identity.policy, settings.policy_path, root)
    catalogue = open_catalogue(root, settings)
    try:
        require_current_schema(catalogue.engine)
    except BaseException:
        catalogue.engine.dispose()
        raise
    blobs = LocalBlobStore(root)
    return Parts(root, settings, identity, keys, blobs, catalogue, policies)


def make_parts(
    root: Path, settings: Settings, identity: RepositorySettings, signer: Signer
) -> None:
    """Make everything that a repository consists of; ``repository.json`` last.

    Args:
        root: an empty folder that nobody else is using.
        settings: names the database.
        identity: what ``repository.json`` will say.
        signer: an admin key.

    Raises:
        RepositoryExistsError: the database already holds a catalogue.
        StorageError, CatalogueError: the folder or the database cannot be written.
    """
    layout.remove_creation_leftovers(root)
    LocalBlobStore(root).create()
    layout.make_statements_folder(root)
    catalogue = open_catalogue(root, settings, create=True)
    try:
        if schema_revision(catalogue.engine) not in (None, SCHEMA_REVISIONS[-1]):
            raise _database_in_use()
        upgrade(catalogue.engine)
        with catalogue.write() as transaction:
            # Another folder's creation may have come first; tables alone may be left of this one's.
            if transaction.next_sequence() != 1:
                raise _database_in_use()
            transaction.append_history(
                HistoryRow(
                    sequence=1,
                    event="create",
                    at=identity.created,
                    actor=environment.stored_by(None).user,
                    key_id=signer.key_id,
                )
            )
    finally:
        catalogue.engine.dispose()
    layout.write_settings(root, identity, signer)


def _database_in_use() -> RepositoryExistsError:
    return RepositoryExistsError(
        "The database already holds the catalogue of a repository.",
        hint="point MODEL_REPO_DATABASE_URL to an empty database; if making this very repository"
        " was interrupted, empty it.",
    )
