"""Making a repository: its place, its first settings, its first head."""

from __future__ import annotations

from pathlib import Path

from sealstore.errors import RepositoryExistsError, RepositoryMismatchError
from sealstore.keys.keyring import Keyring, Role
from sealstore.ledger.head import Head, VerifiedHead
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.repository import environment
from sealstore.repository.access_log.operating import create as create_log
from sealstore.repository.access_log.place import open_access_log
from sealstore.repository.assembly import key_source, open_catalogue
from sealstore.repository.recording import Change, genesis
from sealstore.repository.settings import Settings
from sealstore.signed.settings import (
    PolicySettings,
    RepositorySettings,
    VerifiedSettings,
    open_settings,
    seal_settings,
)
from sealstore.storage import creation
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.catalogue import Catalogue
from sealstore.storage.catalogue.chain_rows import newest_rows
from sealstore.storage.catalogue.database_facts import schema_revision
from sealstore.storage.catalogue.migrations import upgrade
from sealstore.storage.catalogue.schema import SCHEMA_REVISIONS
from sealstore.trust import operating
from sealstore.verification import verify_head


def create(
    root: Path,
    configured: Settings,
    keyring: Keyring | None,
    *,
    immutable_tags: bool,
    repository_id: str | None,
) -> None:
    """Make a repository in ``root``. See ``Repository.create``."""
    if repository_id is not None:
        creation.require_repository_id(repository_id)
    keys = key_source(configured, root, keyring).current()
    admin = keys.signer(Role.ADMIN, repository_id)
    signer = keys.signer(Role.STORE, repository_id)
    keys.signer(Role.ACCESS, repository_id)
    if configured.repository_id not in (None, repository_id):
        raise RepositoryMismatchError(
            "MODEL_REPO_ID asks for a repository that exists already.",
            hint="unset MODEL_REPO_ID to make a new repository.",
        )
    trust = configured.trust_store(root)
    document = RepositorySettings(
        repository=repository_id or creation.new_repository_id(),
        version=1,
        created=environment.now(),
        immutable_tags=immutable_tags,
        policy=PolicySettings(),
    )
    settings = open_settings(seal_settings(document, admin), keys)
    with creation.exclusive_empty_folder(root):
        # An empty folder where a repository is remembered is one that lost it.
        operating.require_unknown(trust)
        head = _first_head(root, configured, settings, keys, signer.key_id)
        access = open_access_log(
            configured, root, document.repository, lambda: keys, trust, create=True
        )
        create_log(access)
        access.close()
        creation.place_settings(root, settings.envelope)
        # Last: a location that is remembered, and has no repository, is one that lost it.
        operating.begin(trust, HistoryCheckpoint.of(head.head))


def _first_head(
    root: Path, configured: Settings, settings: VerifiedSettings, keys: Keyring, key_id: str
) -> VerifiedHead[Head]:
    catalogue = make_place(root, configured)
    who = environment.stored_by(None)
    try:
        with catalogue.write() as transaction:
            # Another folder's creation may have come first; tables alone may be left of this one's.
            if transaction.history.head() is not None or newest_rows(transaction.history, limit=1):
                raise database_in_use()
            signer = keys.get(key_id)
            made = Change(transaction, genesis(settings), signer, who, environment.process_id())
            made.replace_settings(settings)
            made.append("create", version=settings.document.version, sha256=settings.digest)
            return verify_head(made.finish(), keyring=keys, accepted=None)
    finally:
        catalogue.engine.dispose()


def make_place(root: Path, settings: Settings) -> Catalogue:
    """Make the folders and the database of a new repository.

    Args:
        root: an empty folder that nobody else is using.
        settings: names the database.

    Raises:
        RepositoryExistsError: the database already holds a catalogue.
        StorageError, CatalogueError: the folder or the database cannot be written.
    """
    creation.remove_creation_leftovers(root)
    LocalBlobStore(root).create()
    creation.make_statements_folder(root)
    catalogue = open_catalogue(root, settings, create=True)
    try:
        if schema_revision(catalogue.engine) not in (None, SCHEMA_REVISIONS[-1]):
            raise database_in_use()
        upgrade(catalogue.engine)
    except BaseException:
        catalogue.engine.dispose()
        raise
    return catalogue


def database_in_use() -> RepositoryExistsError:
    """The database of a new repository is that of a different one."""
    return RepositoryExistsError(
        "The database already holds the catalogue of a repository.",
        hint="point MODEL_REPO_DATABASE_URL to an empty database; if making this very repository"
        " was interrupted, empty it.",
    )
