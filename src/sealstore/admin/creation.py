"""Making a repository together with its first key."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sealstore.admin.keyring_file import (
    DEFAULT_ALGORITHM,
    configured_keyring,
    keyring_change,
    new_material,
)
from sealstore.admin.signatures import settings_key_id
from sealstore.errors import NoSigningKeyError, RepositoryMismatchError, SealstoreError
from sealstore.keys.changing import DEFAULT_ROLES, new_key, with_key
from sealstore.keys.keyring import Key, Keyring
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.storage import creation, layout


@dataclass(frozen=True, slots=True)
class Created:
    """A repository that was made.

    Attributes:
        repository: its id.
        root: its folder.
        immutable_tags: whether storing a (name, tag) again is refused.
        key: the key that signed its settings.
        key_is_new: whether the key was made with it, and added to the keyring.
    """

    repository: str
    root: Path
    immutable_tags: bool
    key: Key
    key_is_new: bool


def initialise(
    settings: Settings, *, algorithm: str | None = None, immutable_tags: bool = False
) -> Created:
    """Make a repository, and a key for it unless one is there that is for every repository.

    The key is written before the repository, so that no crash leaves one that nobody can open.

    Args:
        settings: names the folder and the keyring.
        algorithm: of the key; by default any for a key that is there, HMAC-SHA256 for a new one.
        immutable_tags: whether storing a (name, tag) a second time is refused.

    Raises:
        RepositoryExistsError: the folder is not empty; nothing was written.
        RepositoryMismatchError: ``MODEL_REPO_ID`` is set; nothing was written.
        KeyringError: the keyring is there and cannot be used; nothing was written.
        StorageError, CatalogueError: folder, keyring or database cannot be written.
    """
    root = settings.path.absolute()
    if settings.repository_id is not None:
        raise RepositoryMismatchError(
            "MODEL_REPO_ID asks for a repository that exists already.",
            hint="unset MODEL_REPO_ID to make a new repository.",
        )
    configured = configured_keyring(settings)
    # Here already, before a key is made that nothing would use.
    with creation.exclusive_empty_folder(root):
        pass
    repository_id = creation.new_repository_id()
    made: Key | None = None
    if not _has_fitting_key(configured, algorithm):
        material = new_material(algorithm or DEFAULT_ALGORITHM)
        made = new_key(material, repositories=[repository_id])
        with keyring_change(settings) as change:
            change.write(with_key(change.keyring, made))
    try:
        repository = Repository.create(
            root, immutable_tags=immutable_tags, repository_id=repository_id, settings=settings
        )
    except Exception:
        if made is not None:
            _forget_unused(settings, root, made)
        raise
    with repository:
        signer = repository.keyring.get(settings_key_id(root))
        return Created(repository_id, root, immutable_tags, signer, made is not None)


def _has_fitting_key(keyring: Keyring, algorithm: str | None) -> bool:
    """Whether active keys for every repository have all roles of a new one."""
    try:
        signers = [keyring.get(keyring.signer(role, None).key_id) for role in DEFAULT_ROLES]
    except NoSigningKeyError:
        return False
    return all(algorithm in (None, key.algorithm) for key in signers)


def _forget_unused(settings: Settings, root: Path, key: Key) -> None:
    """Take a key back that signed nothing: ``repository.json``, written last, is not there."""
    if os.path.lexists(root / layout.REPOSITORY_FILE):
        return
    # What went wrong first is what to tell; a key too many does no harm.
    with suppress(SealstoreError), keyring_change(settings) as change:
        change.write(Keyring.of(kept for kept in change.keyring if kept.key_id != key.key_id))
