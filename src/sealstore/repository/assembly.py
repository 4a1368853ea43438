"""Putting the parts together: which keys, which database, how a new repository begins."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sealstore.keys.keyring import Keyring
from sealstore.process_bound import ProcessBound
from sealstore.repository.access_log.log import AccessLog
from sealstore.repository.access_log.place import open_access_log
from sealstore.repository.settings import Settings
from sealstore.repository.state import KeySource, Snapshot, StateKeeper
from sealstore.storage import layout
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.catalogue import Catalogue, catalogue_engine, require_current_schema
from sealstore.storage.catalogue.sqlite import SQLITE_FILE

if TYPE_CHECKING:
    from sealstore.storage.blobs.contract import BlobStore

LOCK_FILE: Final = f"{SQLITE_FILE}.lock"


class GivenKeyring(ProcessBound):
    """A key source that is one keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def current(self) -> Keyring:
        """See ``KeySource.current``."""
        return self._keyring


@dataclass(frozen=True, slots=True)
class Parts(ProcessBound):
    """What an open repository consists of.

    Attributes:
        root: its folder.
        settings: what is configured.
        id: the repository's id.
        keys: where the keyring comes from.
        blobs: the payloads.
        catalogue: the index over them, and the ledger.
        state: what the newest verified head vouches for.
        access: the access log.
    """

    root: Path
    settings: Settings
    id: str
    keys: KeySource
    blobs: BlobStore
    catalogue: Catalogue
    state: StateKeeper
    access: AccessLog

    @property
    def keyring(self) -> Keyring:
        """The keys as they are now, less those that the repository's settings revoke."""
        return self.state.keyring()

    def snapshot(self, *, remembering: bool = True) -> AbstractContextManager[Snapshot]:
        """One state of the repository, verified. See ``StateKeeper.snapshot``."""
        return self.state.snapshot(remembering=remembering)


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
    """The parts of an existing repository, its head verified.

    Raises:
        As ``Repository.open``.
    """
    keys = key_source(settings, root, keyring)
    # Before the keys: where there is no repository, that is what to say.
    layout.read_settings_file(root)
    keys.current()
    catalogue = open_catalogue(root, settings)
    try:
        require_current_schema(catalogue.engine)
        trust = settings.trust_store(root)
        keeper = StateKeeper(root, settings, keys, catalogue, trust)
        repository_id = keeper.read().repository
        access = open_access_log(settings, root, repository_id, keeper.keyring, trust)
    except BaseException:
        catalogue.engine.dispose()
        raise
    blobs = LocalBlobStore(root)
    return Parts(root, settings, repository_id, keys, blobs, catalogue, keeper, access)
