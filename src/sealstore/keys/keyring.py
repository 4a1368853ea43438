"""The keyring: keys with their states, roles and scopes, and who may sign what.

A keyring is immutable; ``changing`` gives new ones. It implements ``envelope.Verifier``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from sealstore.errors import (
    KeyringFormatError,
    KeyRoleError,
    NoSigningKeyError,
    RevokedKeyError,
    SignatureInvalidError,
    UnknownKeyError,
)
from sealstore.keys.algorithms import KeyMaterial
from sealstore.process_bound import ProcessBound
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


@dataclass(frozen=True, slots=True)
class Key(ProcessBound):
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
class Keyring(ProcessBound):
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

    def with_revoked(self, key_ids: Iterable[str]) -> Keyring:
        """This keyring with these keys revoked, those of them that it holds."""
        revoked = {
            key_id: replace(self._keys[key_id], state=State.REVOKED)
            for key_id in key_ids
            if key_id in self._keys
        }
        return Keyring({**self._keys, **revoked}) if revoked else self

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
