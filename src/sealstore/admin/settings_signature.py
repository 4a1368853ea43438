"""Signing ``repository.json`` again, when its key is retired or has to be revoked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sealstore.errors import RepositoryMismatchError, RevokedKeyError
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import read_unverified
from sealstore.signed.settings import RepositorySettings, open_settings
from sealstore.storage import layout


@dataclass(frozen=True, slots=True)
class SettingsSignature:
    """A new signature under a repository's settings, which stay as they were.

    Attributes:
        settings: what was signed.
        old_key_id: whose signature was there.
        new_key_id: whose is there now; the same where nothing had to be done.
    """

    settings: RepositorySettings
    old_key_id: str
    new_key_id: str


def settings_key_id(root: Path) -> str:
    """The id of the key that ``repository.json`` says it was signed by; unauthenticated.

    Raises:
        RepositoryNotFoundError, RepositoryLayoutError: there is no readable ``repository.json``.
        EnvelopeFormatError: it is no envelope.
    """
    return read_unverified(layout.read_settings_file(root)).key_id


def resign_settings(
    settings: Settings, keyring: Keyring, *, accept: str | None = None
) -> SettingsSignature:
    """Give settings and head signatures of the newest keys; what they say stays.

    Args:
        settings: names the repository.
        keyring: the keys.
        accept: the repository's id. Needed where the present signer is revoked: whoever holds that
            key could have written these settings, so somebody has to say that they are genuine.

    Raises:
        RevokedKeyError: the signer is revoked, and ``accept`` was not given.
        RepositoryMismatchError: the id is another one than ``accept`` or ``MODEL_REPO_ID``.
        VerificationError: the present signature is refused; ``accept`` does not change that.
        NoSigningKeyError: no active admin key is for this repository.
        RepositoryNotFoundError, RepositoryLayoutError, StorageError: the file cannot be used.
    """
    root = settings.path.absolute()
    data = layout.read_settings_file(root)
    old_key_id = read_unverified(data).key_id
    used = keyring
    try:
        identity = open_settings(data, keyring).document
    except RevokedKeyError:
        if accept is None:
            raise
        used = _as_if_active(keyring, old_key_id)
        identity = open_settings(data, used).document
    for expected in (accept, settings.repository_id):
        if expected not in (None, identity.repository):
            raise RepositoryMismatchError(
                "This is another repository than the one that was named; nothing was signed.",
                path=root,
                hint="check what is mounted at {path}.",
            )
    signer = used.signer(Role.ADMIN, identity.repository)
    if signer.key_id != old_key_id:
        action = "settings signed anew" if used is keyring else "accepted though revoked"
        with Repository.open(root, keyring=used, settings=settings) as repository:
            repository.record_key_change(action, old_key_id, sign_settings=True)
    return SettingsSignature(identity, old_key_id, signer.key_id)


def _as_if_active(keyring: Keyring, key_id: str) -> Keyring:
    """The keyring with a revoked key as it was before, but that it signs nothing."""
    before = replace(keyring.get(key_id), state=State.ACTIVE, is_withheld=True)
    return Keyring.of([*(key for key in keyring if key.key_id != key_id), before])
