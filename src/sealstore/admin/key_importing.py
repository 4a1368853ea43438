"""Other people's public keys: taken into the keyring for what they are trusted with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from sealstore.admin.keyring_file import keyring_change, keys_in_file
from sealstore.bundles import is_bundle
from sealstore.bundles.checking import bundle_keys
from sealstore.keys.keyring import Key, Keyring, Role
from sealstore.keys.sources import read_keyring_file
from sealstore.keys.writing import public_keyring
from sealstore.repository.settings import Settings


@dataclass(frozen=True, slots=True)
class KeyImport:
    """What of an exported keyring comes into this one.

    Attributes:
        added: public keys, with the roles that they are trusted with.
        left_out: ids of those that stay out: they are here already, have no public part, or have
            none of these roles.
    """

    added: tuple[Key, ...]
    left_out: tuple[str, ...]


def plan_import(settings: Settings, path: Path, roles: Iterable[Role]) -> KeyImport:
    """What ``import_keys`` would add; nothing is changed.

    Args:
        settings: names the keyring.
        path: a keyring that somebody has exported, or a bundle.
        roles: what its keys are trusted with here. A key gets those of them that it has there.

    Raises:
        KeyringError: one of the keyrings cannot be used.
        BundleFormatError: the bundle is damaged.
    """
    exported = _keys_of_others(settings, path)
    return _plan(keys_in_file(settings), exported, frozenset(roles))


def import_keys(settings: Settings, path: Path, roles: Iterable[Role]) -> KeyImport:
    """Add the public keys of an exported keyring or a bundle; what is here already stays as it is.

    Raises:
        KeyringError, StorageError: as ``plan_import``; or the keyring cannot be written.
    """
    exported = _keys_of_others(settings, path)
    with keyring_change(settings) as change:
        planned = _plan(change.keyring, exported, frozenset(roles))
        if planned.added:
            change.write(Keyring.of([*change.keyring, *planned.added]))
    return planned


def _keys_of_others(settings: Settings, path: Path) -> Keyring:
    if path.is_file() and is_bundle(path):
        # Anybody may have made the file: its keys are for a person to compare.
        return Keyring.of(bundle_keys(path))
    return read_keyring_file(path, outside=settings.path)


def _plan(present: Keyring, exported: Keyring, roles: frozenset[Role]) -> KeyImport:
    known = {key.key_id for key in present}
    added = tuple(
        replace(key, roles=key.roles & roles)
        for key in public_keyring(exported)
        if key.key_id not in known and key.roles & roles
    )
    ids = {key.key_id for key in added}
    return KeyImport(added, tuple(key.key_id for key in exported if key.key_id not in ids))
