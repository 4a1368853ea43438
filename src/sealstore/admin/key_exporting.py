"""Keyrings for others: public parts alone, or with a key to record a loader's accesses with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sealstore.admin.keyring_file import keyring_change
from sealstore.errors import ConfigurationError
from sealstore.keys.algorithms import Ed25519Private
from sealstore.keys.keyring import Key, Keyring, Role, new_key
from sealstore.keys.writing import public_keyring
from sealstore.repository.settings import Settings


@dataclass(frozen=True, slots=True)
class KeyExport:
    """A keyring that is given away.

    Attributes:
        keyring: what is in it.
        left_out: ids of the keys that have no public part.
        loader_key: the loader's own key, whose public part is in the keyring here; or None.
    """

    keyring: Keyring
    left_out: tuple[str, ...]
    loader_key: Key | None = None


def export_public(settings: Settings) -> KeyExport:
    """The public parts of all configured keys.

    Raises:
        ConfigurationError: no key has one.
        KeyringError: the keys cannot be used.
    """
    keyring = settings.key_source().current()
    exported = public_keyring(keyring)
    if not len(exported):
        raise ConfigurationError(
            "No key of the keyring has a public part: HMAC keys verify with the secret that signs.",
            hint="'sealstore keys generate --algorithm ed25519' makes one that has.",
        )
    left_out = tuple(key.key_id for key in keyring if key.material.public() is None)
    return KeyExport(exported, left_out)


def export_for_loader(settings: Settings) -> KeyExport:
    """The public parts, and a new key with the role access only, for one loader.

    Its public part is added to the keyring here, which has to know who records accesses.

    Raises:
        ConfigurationError: no key that signs what is stored has a public part.
        KeyringError, StorageError: the keyring cannot be used, or written.
    """
    exported = export_public(settings)
    if not any(Role.STORE in key.roles for key in exported.keyring):
        raise ConfigurationError(
            "No key that signs what is stored has a public part: a loader could verify nothing.",
            hint="'sealstore keys generate --algorithm ed25519' makes one that has; then 'sealstore"
            " heartbeat' and 'sealstore resign' let it sign what is there.",
        )
    scopes = [key.scope.repositories for key in exported.keyring]
    # For no more repositories than the keys that it can verify.
    known = {each for scope in scopes if scope is not None for each in scope}
    repositories = None if None in scopes else sorted(known)
    made = new_key(Ed25519Private.generate(), roles=[Role.ACCESS], repositories=repositories)
    with keyring_change(settings) as change:
        public = made.material.public()
        change.write(change.keyring.with_key(replace(made, material=public or made.material)))
    return KeyExport(exported.keyring.with_key(made), exported.left_out, made)
