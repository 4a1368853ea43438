"""New keys, and keyrings that differ from a given one: a keyring itself never changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from sealstore.errors import KeyringError
from sealstore.keys.algorithms import KeyMaterial
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.signed.envelope import Scope

DEFAULT_ROLES: Final = frozenset({Role.STORE, Role.ADMIN, Role.ACCESS})
_STRICTER: Final = {State.ACTIVE: 0, State.RETIRED: 1, State.REVOKED: 2}


def new_key(
    material: KeyMaterial,
    *,
    roles: Iterable[Role] = DEFAULT_ROLES,
    repositories: Iterable[str] | None = None,
) -> Key:
    """An active key made now.

    Args:
        material: what signs and verifies.
        roles: what it may sign.
        repositories: ids of the repositories it is for; None for every repository.
    """
    return Key(
        material,
        State.ACTIVE,
        datetime.now(UTC),
        frozenset(roles),
        Scope(None if repositories is None else frozenset(repositories)),
    )


def with_key(keyring: Keyring, key: Key) -> Keyring:
    """A keyring with one more key.

    Raises:
        KeyringFormatError: it is there already.
    """
    return Keyring.of([*keyring, key])


def with_state(keyring: Keyring, key_id: str, state: State) -> Keyring:
    """A keyring with one key's state changed.

    Raises:
        UnknownKeyError: there is no such key.
        KeyringError: the change would make a key less strict; a revoked key stays revoked.
    """
    key = keyring.get(key_id)
    if _STRICTER[state] < _STRICTER[key.state]:
        raise KeyringError(f"Key {key_id} is {key.state} and cannot become {state} again.")
    return _with(keyring, replace(key, state=state))


def withholding(keyring: Keyring, key_id: str) -> Keyring:
    """A keyring in which other keys sign than this one, as long as it is being replaced.

    Raises:
        UnknownKeyError: there is no such key.
    """
    return _with(keyring, replace(keyring.get(key_id), is_withheld=True))


def merged(keyring: Keyring, other: Iterable[Key]) -> Keyring:
    """A keyring and keys from another source.

    Where both hold one id, the stricter state wins (revoked over retired over active), and of
    equals the entry of the keyring.
    """
    keys = {key.key_id: key for key in keyring}
    for key in other:
        known = keys.setdefault(key.key_id, key)
        if _STRICTER[key.state] > _STRICTER[known.state]:
            keys[key.key_id] = replace(known, state=key.state)
    return Keyring.of(keys.values())


def _with(keyring: Keyring, changed: Key) -> Keyring:
    return Keyring.of(changed if key.key_id == changed.key_id else key for key in keyring)
