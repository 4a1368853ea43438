"""The golden vectors of aliases: what a release wrote is read and written the same again."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sealstore.keys.algorithms import Ed25519Private
from sealstore.keys.keyring import Keyring
from sealstore.ledger.alias_names import AliasName, decode_alias_name
from sealstore.signed.approval import decode_move, open_approval
from sealstore.signed.envelope import read_unverified
from tests.vectors import generate_aliases
from tests.vectors.generate import ED25519_KEY


def committed(name: str) -> bytes:
    return (generate_aliases.FOLDER / name).read_bytes()


def test_every_vector_is_committed_and_none_besides() -> None:
    """The script and the folder are about the same files."""
    names = {path.name for path in generate_aliases.FOLDER.iterdir()}
    assert names == set(generate_aliases.files())


@pytest.mark.parametrize("name", sorted(generate_aliases.files()))
def test_this_release_writes_what_was_committed(name: str) -> None:
    """A change of a format's bytes is a new version of it, not an accident."""
    assert generate_aliases.files()[name] == committed(name)


def test_the_committed_moves_decode() -> None:
    """Every field is what it was."""
    assert decode_move(committed("move.json")) == generate_aliases.MOVE
    assert decode_move(committed("first-move.json")) == generate_aliases.FIRST_MOVE
    assert decode_alias_name(committed("map-alias-name.json")) == AliasName(alias="production")


def test_the_committed_approval_opens() -> None:
    """With the key that signed it, which has been retired since."""
    approval = open_approval(committed("approval-ed25519.json"), Keyring.of([ED25519_KEY]))
    assert (approval.move, approval.key_id) == (generate_aliases.MOVE, ED25519_KEY.key_id)


def test_the_committed_approval_is_verified_by_cryptography_alone() -> None:
    """Ed25519 over DSSE's encoding: no code of ours is needed to check it."""
    part = read_unverified(committed("approval-ed25519.json"))
    assert part.payload == committed("move.json")
    assert isinstance(ED25519_KEY.material, Ed25519Private)
    public = ED25519_KEY.material.public().to_bytes()
    Ed25519PublicKey.from_public_bytes(public).verify(part.signature, committed("move.pae"))
