"""Aliases, approvers and moves that the tests of aliases share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from sealstore.keys.keyring import Key, Role
from sealstore.repository.assembly import Parts
from sealstore.repository.facade import Repository
from sealstore.signed.approval import AliasMove, AliasTarget
from sealstore.signed.approving import seal_approval
from tests.sealstore_fixtures import REPOSITORY_ID, ed25519_key, roles

TARGET = AliasTarget(tag="2026-11", revision=2, statement="57" * 32)
BEFORE = AliasTarget(tag="2026-10", revision=1, statement="b0" * 32)


def approver(number: int, **changes: Any) -> Key:
    """An approver's Ed25519 key, the same for each number."""
    return ed25519_key(100 + number, **({"roles": roles(Role.APPROVE)} | changes))


def public_part(key: Key) -> Key:
    """The same key, verify-only: what everybody else has of it."""
    public = key.material.public()
    assert public is not None
    return replace(key, material=public)


def move(**changes: Any) -> AliasMove:
    """A move that is valid, with some fields changed."""
    fields: dict[str, Any] = {
        "repository": REPOSITORY_ID,
        "name": "churn",
        "alias": "production",
        "target": TARGET,
        "move": 3,
        "previous": BEFORE,
        "settings_version": 2,
    }
    return AliasMove(**(fields | changes))


def changed(original: AliasMove, **changes: Any) -> AliasMove:
    """A move with some fields changed."""
    return msgspec.structs.replace(original, **changes)


def approvals(of: AliasMove, *keys: Key) -> list[bytes]:
    """Approvals of a move, by the materials of keys, whatever state or role these have."""
    return [seal_approval(of, key.material) for key in keys]


def parts_of(repository: Repository) -> Parts:
    """What an attacker with the store key works with."""
    return repository._parts
