"""The keyring: keys with their states, roles and scopes, and who may sign what.

A keyring is immutable; changing a key's state gives a new keyring. It implements
``envelope.Verifier``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

from sealstore.errors import (
    KeyringError,
    KeyringFormatError,
    KeyRoleError,
    NoSigningKeyError,
    RevokedKeyError,
    SignatureInvalidError,
    UnknownKeyError,
)
from sealstore.keys.algorithms import KeyMaterial
from sealstore.signed.envelope import Scope, Signer


class State(StrEnum):
    """What a key may still do."""

    ACTIVE = "active"
    """signs and verifies"""
    RETIRED = "retired"
    """verifies what it signed; signs no more"""
    REVOKED = "revoked"
    """nothing: what it signed is refused"""


class Role(StrEnum):
    """What a key is for; each payload type needs one of these."""

    STORE = "store"
    ADMIN = "admin"
    ACCESS = "access"
    APPROVE = "approve"


_APPROVING_ALGORITHMS: Final = frozenset({"ed25519", "ed25519-public"})
"""Of keys whose approvals count: with a symmetric one, whoever counts could have made them all."""

DEFAULT_ROLES: Final = frozenset({Role.STORE, Role.ADMIN, Role.ACCESS})
_STATE_RANK: Final = {State.ACTIVE: 0, State.RETIRED: 1, State.REVOKED: 2}


@dataclass(frozen=True, slots=True)
class Key:
    """A key with all that is said about it outside any message.

    Attributes:
        material: signs and verifies.
        state: see ``State``.
        created: when it was made, UTC.
        roles: what it may sign.
        scope: the repositories that it is for.
        is_withheld: whether another key is to sign in its place, though it is active still.
    """

    material: KeyMaterial
    state: State
    created: datetime
    roles: frozenset[Role]
    scope: Scope
    is_withheld: bool = False

    @property
    def key_id(self) -> str:
        """The id that envelopes name."""
        return self.material.key_id

    @property
    def algorithm(self) -> str:
        """The algorithm's name in a keyring file."""
        return self.material.algorithm

    @property
    def fingerprint(self) -> str | None:
        """SHA-256 of the public part's bytes, hexadecimal; None where there is no public part."""
        public = self.material.public()
        return None if public is None else sha256(public.to_bytes()).hexdigest()

    @property
    def can_sign(self) -> bool:
        """Whether this is an active key with its secret part."""
        return self.state is State.ACTIVE and self.material.can_sign and not self.is_withheld

    def may_sign_for(self, role: str) -> bool:
        """Whether what this key signs counts for ``role``: not every algorithm's does for all."""
        return role in self.roles and (
            role != Role.APPROVE or self.algorithm in _APPROVING_ALGORITHMS
        )

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message``.

        Raises:
            NoSigningKeyError: the key is not active, or only verifies.
        """
        if not self.can_sign:
            raise NoSigningKeyError(f"Key {self.key_id} is {self.state} and cannot sign.")
        return self.material.sign(message)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of this process, by id, in the order of their creation."""

    _keys: dict[str, Key]

    @classmethod
    def of(cls, keys: Iterable[Key]) -> Keyring:
        """A keyring of ``keys``.

        Raises:
            KeyringFormatError: two of them have the same id.
        """
        by_id: dict[str, Key] = {}
        for key in sorted(keys, key=lambda key: key.created):
            if key.key_id in by_id:
                raise KeyringFormatError(f"Key {key.key_id} is in the keyring twice.")
            by_id[key.key_id] = key
        return cls(by_id)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key_id: str) -> Key:
        """The key with this id.

        Raises:
            UnknownKeyError: there is none.
        """
        try:
            return self._keys[key_id]
        except KeyError:
            error = UnknownKeyError(f"The keyring has no key {key_id}.")
            error.key_id = key_id
            raise error from None

    def merged_with(self, other: Iterable[Key]) -> Keyring:
        """This keyring and keys from another source.

        Where both hold one id, the stricter state wins (revoked over retired over active), and of
        equals the entry of this keyring.
        """
        merged = dict(self._keys)
        for key in other:
            known = merged.get(key.key_id)
            if known is None:
                merged[key.key_id] = key
            elif _STATE_RANK[key.state] > _STATE_RANK[known.state]:
                merged[key.key_id] = replace(known, state=key.state)
        return Keyring.of(merged.values())

    def with_key(self, key: Key) -> Keyring:
        """This keyring with one more key.

        Raises:
            KeyringFormatError: it is there already.
        """
        return Keyring.of([*self, key])

    def with_state(self, key_id: str, state: State) -> Keyring:
        """This keyring with one key's state changed.

        Raises:
            UnknownKeyError: there is no such key.
            KeyringError: the change would make a key less strict; a revoked key stays revoked.
        """
        key = self.get(key_id)
        if _STATE_RANK[state] < _STATE_RANK[key.state]:
            raise KeyringError(f"Key {key_id} is {key.state} and cannot become {state} again.")
        return Keyring({**self._keys, key_id: replace(key, state=state)})

    def with_revoked(self, key_ids: Iterable[str]) -> Keyring:
        """This keyring with these keys revoked, those of them that it holds."""
        revoked = {
            key_id: replace(self._keys[key_id], state=State.REVOKED)
            for key_id in key_ids
            if key_id in self._keys
        }
        return Keyring({**self._keys, **revoked}) if revoked else self

    def withholding(self, key_id: str) -> Keyring:
        """This keyring, in which other keys sign than this one, as long as it is being replaced.

        Raises:
            UnknownKeyError: there is no such key.
        """
        return Keyring({**self._keys, key_id: replace(self.get(key_id), is_withheld=True)})

    def ids(self, *states: State) -> frozenset[str]:
        """The ids of the keys in one of these states."""
        return frozenset(key.key_id for key in self if key.state in states)

    def signer(self, role: Role, repository: str | None = None) -> Signer:
        """The newest active key that may sign for ``role``.

        Args:
            role: what is to be signed.
            repository: id of the repository it is for; None for one that is being created, which
                only a key for every repository can sign.

        Raises:
            NoSigningKeyError: there is none.
        """
        for key in reversed(self._keys.values()):
            repositories = key.scope.repositories
            fits = repositories is None or repository in repositories
            if key.can_sign and key.may_sign_for(role) and fits:
                return key
        where = "a new repository" if repository is None else f"repository {repository}"
        raise NoSigningKeyError(f"No active key with the role '{role}' may sign for {where}.")

    def verify(self, key_id: str, role: str, message: bytes, signature: bytes) -> Scope:
        """See ``envelope.Verifier``.

        Raises:
            UnknownKeyError: there is no key with this id.
            RevokedKeyError: it is revoked.
            KeyRoleError: it is not for ``role``, or its algorithm is not.
            SignatureInvalidError: the signature is not its own.
        """
        key = self.get(key_id)
        if key.state is State.REVOKED:
            raise RevokedKeyError(f"Key {key_id}, which signed this, is revoked.")
        if role not in key.roles:
            raise KeyRoleError(f"Key {key_id} does not have the role '{role}'.")
        if not key.may_sign_for(role):
            raise KeyRoleError(
                f"Key {key_id} is symmetric: whoever verifies an approval with it could have made"
                " it.",
                hint="approvers need Ed25519 keys: 'sealstore keys generate --algorithm ed25519"
                " --role approve'.",
            )
        if not key.material.is_signature(message, signature):
            raise SignatureInvalidError(f"The signature is not one of key {key_id}.")
        return key.scope


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
