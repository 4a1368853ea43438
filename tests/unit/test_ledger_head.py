"""Heads: one byte string each, signed by an active key with the role, and made by no other door."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from sealstore import limits
from sealstore.errors import (
    EnvelopeFormatError,
    KeyRoleError,
    LedgerFormatError,
    RetiredKeyError,
    RevokedKeyError,
    SignatureInvalidError,
    UnknownKeyError,
)
from sealstore.keys.changing import with_state
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.ledger.head import (
    Head,
    VerifiedHead,
    decode_access_head,
    decode_head,
    encode_head,
    open_access_head,
    open_head,
    seal_access_head,
    seal_head,
)
from sealstore.ledger.merkle import Frontier
from sealstore.signed.envelope import (
    ACCESS_HEAD_PAYLOAD_TYPE,
    APPROVAL_PAYLOAD_TYPE,
    HEAD_PAYLOAD_TYPE,
    ROLE_OF_PAYLOAD_TYPE,
    SETTINGS_PAYLOAD_TYPE,
    STATEMENT_PAYLOAD_TYPE,
    read_unverified,
    seal,
)
from tests.ledger_trees import Chain, access_head, head
from tests.matrix import each_row
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    scope,
)

KEY = hmac_key()
KEYRING = Keyring.of([KEY])
ACTIVE = {KEY.key_id}
ENVELOPE = seal_head(head(), KEY)
ACCESS_ENVELOPE = seal_access_head(access_head(), KEY)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("key", [hmac_key(), ed25519_key()])
def test_what_was_sealed_opens_with_the_same_key(size: int, key: Key) -> None:
    """A head comes back with the key that signed it, and its frontier goes on."""
    chain = Chain.of(size)
    keyring, active = Keyring.of([key]), {key.key_id}
    opened = open_head(seal_head(head(chain), key), keyring, active)
    assert (opened.head, opened.key_id) == (head(chain), key.key_id)
    assert opened.head.tree() == chain.frontier
    opened_access = open_access_head(seal_access_head(access_head(chain), key), keyring, active)
    assert (opened_access.head, opened_access.key_id) == (access_head(chain), key.key_id)


def test_a_head_comes_back_from_its_bytes_as_it_was() -> None:
    """Decoding what was encoded gives an equal head, and encoding that the same bytes."""
    for size in range(20):
        made, made_access = head(Chain.of(size)), access_head(Chain.of(size))
        assert decode_head(encode_head(made)) == made
        assert encode_head(decode_head(encode_head(made))) == encode_head(made)
        assert decode_access_head(encode_head(made_access)) == made_access


def test_the_largest_head_fits() -> None:
    """A ledger that is as long as a database can count still has a head."""
    frontier = Frontier(limits.MAX_SEQUENCE, (b"h" * 32,) * 63)
    largest = head(
        size=frontier.size,
        root=frontier.root().hex(),
        frontier=tuple(root.hex() for root in frontier.roots),
        epoch=limits.MAX_SEQUENCE,
        settings_version=limits.MAX_SEQUENCE,
    )
    assert decode_head(encode_head(largest)) == largest


CHAIN = Chain.of(6)
ROOTS = [root.hex() for root in CHAIN.frontier.roots]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"root": "00" * 32}, id="another root"),
        pytest.param({"root": Chain.of(5).root.hex()}, id="an older root"),
        pytest.param({"size": 7}, id="a size with more subtrees"),
        pytest.param({"size": 4}, id="a size with fewer subtrees"),
        pytest.param({"frontier": tuple(reversed(ROOTS))}, id="reversed"),
        pytest.param({"frontier": (ROOTS[0], "00" * 32)}, id="poisoned"),
        pytest.param({"frontier": tuple(ROOTS[:1])}, id="short"),
        pytest.param({"frontier": (*ROOTS, ROOTS[0])}, id="long"),
        pytest.param({"frontier": ()}, id="none"),
        pytest.param({"size": 0, "frontier": ()}, id="an empty tree with a root"),
    ],
)
def test_a_frontier_that_does_not_lead_to_the_root_is_refused(changes: dict[str, Any]) -> None:
    """Whoever appends to a head extends exactly the tree whose root was signed."""
    with pytest.raises(LedgerFormatError):
        head(CHAIN, **changes)
    with pytest.raises(LedgerFormatError):
        access_head(CHAIN, **changes)
    with pytest.raises(LedgerFormatError):
        decode_head(spelled(head(CHAIN), **changes))


def spelled(document: object, **changes: object) -> bytes:
    """A head's document with some fields changed, spelled canonically."""
    return msgspec.json.encode({**msgspec.to_builtins(document), **changes})


COMMON_CHANGES: list[dict[str, Any]] = [
    {"unknown": None},
    {"kind": "head-v2"},
    {"kind": None},
    {"repository": "0" * 31},
    {"repository": "A" * 32},
    {"size": -1},
    {"size": 3.0},
    {"size": True},
    {"size": limits.MAX_SEQUENCE + 1},
    {"root": None},
    {"frontier": None},
    {"frontier": ["00"]},
    {"time": "2026-11-23T12:00:00Z"},
]
HEAD_CHANGES: list[dict[str, Any]] = [
    {"epoch": 0},
    {"mapRoot": None},
    {"mapRoot": "00"},
    {"settingsVersion": 0},
    {"settingsDigest": "5E" * 32},
    {"log": "0" * 32},
]
ACCESS_CHANGES: list[dict[str, Any]] = [{"log": "0" * 31}, {"log": None}, {"epoch": 1}]


@each_row("changes", COMMON_CHANGES + HEAD_CHANGES)
def test_no_other_document_is_a_head(changes: dict[str, Any]) -> None:
    """Unknown, missing or impossible fields are refused, whoever signed them."""
    data = spelled(head(), **changes)
    with pytest.raises(LedgerFormatError):
        decode_head(data)
    with pytest.raises(LedgerFormatError):
        open_head(seal(HEAD_PAYLOAD_TYPE, data, KEY), KEYRING, ACTIVE)


@each_row("changes", COMMON_CHANGES + ACCESS_CHANGES)
def test_no_other_document_is_an_access_head(changes: dict[str, Any]) -> None:
    """Unknown, missing or impossible fields are refused, whoever signed them."""
    data = spelled(access_head(), **changes)
    with pytest.raises(LedgerFormatError):
        decode_access_head(data)
    with pytest.raises(LedgerFormatError):
        open_access_head(seal(ACCESS_HEAD_PAYLOAD_TYPE, data, KEY), KEYRING, ACTIVE)


@pytest.mark.parametrize("made", [head(), access_head()])
def test_a_head_needs_each_field(made: Any) -> None:
    """No field has a default that leaving it out could choose."""
    for field in msgspec.to_builtins(made):
        document = msgspec.to_builtins(made)
        del document[field]
        with pytest.raises(LedgerFormatError):
            (decode_head if isinstance(made, Head) else decode_access_head)(
                msgspec.json.encode(document)
            )


def test_a_head_too_long_to_be_one_is_not_decoded() -> None:
    """The cap stands before the decoder."""
    with pytest.raises(LedgerFormatError, match="are allowed"):
        decode_head(b" " * (limits.MAX_HEAD_BYTES + 1))


# ── who may sign it ──────────────────────────────────────────────────────────


@pytest.mark.invariant(7)
@pytest.mark.parametrize("role", list(Role))
def test_each_head_needs_its_role(role: Role) -> None:
    """A key that may only record loads signs no repository's head, and the other way round."""
    key = replace(KEY, roles=roles(role))
    keyring = Keyring.of([key])
    for needed, attempt in (
        (Role.STORE, lambda: open_head(seal_head(head(), key), keyring, ACTIVE).head),
        (
            Role.ACCESS,
            lambda: open_access_head(seal_access_head(access_head(), key), keyring, ACTIVE).head,
        ),
    ):
        if role is needed:
            assert attempt().repository == REPOSITORY_ID
        else:
            with pytest.raises(KeyRoleError):
                attempt()


@pytest.mark.parametrize(
    "payload_type", sorted({*ROLE_OF_PAYLOAD_TYPE} - {HEAD_PAYLOAD_TYPE, ACCESS_HEAD_PAYLOAD_TYPE})
)
def test_a_head_under_another_type_is_none(payload_type: str) -> None:
    """A genuine signature over another type of document is not one over a head."""
    assert payload_type in {STATEMENT_PAYLOAD_TYPE, SETTINGS_PAYLOAD_TYPE, APPROVAL_PAYLOAD_TYPE}
    envelope = seal(payload_type, encode_head(head()), KEY)
    with pytest.raises(EnvelopeFormatError, match="another type"):
        open_head(envelope, KEYRING, ACTIVE)
    renamed = envelope.replace(payload_type.encode(), HEAD_PAYLOAD_TYPE.encode())
    with pytest.raises(SignatureInvalidError):
        open_head(renamed, KEYRING, ACTIVE)


def test_a_head_of_one_kind_is_none_of_the_other() -> None:
    """An access log's head stands for no repository, even under the other's type."""
    with pytest.raises(EnvelopeFormatError):
        open_head(ACCESS_ENVELOPE, KEYRING, ACTIVE)
    with pytest.raises(EnvelopeFormatError):
        open_access_head(ENVELOPE, KEYRING, ACTIVE)
    crossed = seal(HEAD_PAYLOAD_TYPE, encode_head(access_head()), KEY)
    with pytest.raises(LedgerFormatError):
        open_head(crossed, KEYRING, ACTIVE)


@pytest.mark.invariant(4)
def test_a_retired_key_signs_no_head() -> None:
    """A retired key's statements still load, but it vouches for nothing new; nor does a revoked."""
    retired = with_state(KEYRING, KEY.key_id, State.RETIRED)
    for active in (set[str](), {hmac_key(2).key_id}):
        with pytest.raises(RetiredKeyError, match="not active any more"):
            open_head(ENVELOPE, retired, active)
        with pytest.raises(RetiredKeyError, match="not active any more"):
            open_access_head(ACCESS_ENVELOPE, retired, active)
    with pytest.raises(RevokedKeyError):
        open_head(ENVELOPE, with_state(KEYRING, KEY.key_id, State.REVOKED), ACTIVE)


@pytest.mark.invariant(4)
def test_a_stranger_or_a_key_of_another_repository_signs_no_head() -> None:
    """A perfect signature is worth what its key is for."""
    with pytest.raises(UnknownKeyError):
        open_head(ENVELOPE, Keyring.of([hmac_key(2)]), ACTIVE)
    foreign = Keyring.of([replace(KEY, scope=scope(OTHER_REPOSITORY_ID))])
    with pytest.raises(KeyRoleError, match="not for this repository"):
        open_head(ENVELOPE, foreign, ACTIVE)
    with pytest.raises(KeyRoleError, match="not for this repository"):
        open_access_head(ACCESS_ENVELOPE, foreign, ACTIVE)
    own = Keyring.of([replace(KEY, scope=scope(REPOSITORY_ID))])
    assert open_head(ENVELOPE, own, ACTIVE).head == head()
    assert open_access_head(ACCESS_ENVELOPE, own, ACTIVE).head == access_head()


@pytest.mark.invariant(2)
def test_a_head_changed_in_any_byte_is_refused() -> None:
    """Whatever is changed in the envelope, no head comes out of it."""
    for place in range(len(ENVELOPE)):
        flipped = bytearray(ENVELOPE)
        flipped[place] ^= 1
        with pytest.raises((EnvelopeFormatError, SignatureInvalidError, UnknownKeyError)):
            open_head(bytes(flipped), KEYRING, ACTIVE)


# ── the only door ────────────────────────────────────────────────────────────


def test_a_verified_head_cannot_be_made_or_changed_by_hand() -> None:
    """Neither constructor, assignment, copying nor unpickling give one but opening an envelope."""
    verified = open_head(ENVELOPE, KEYRING, ACTIVE)
    with pytest.raises(TypeError, match="open_head only"):
        VerifiedHead(head(), KEY.key_id)
    for attribute in ("head", "key_id"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(verified, attribute, None)
        with pytest.raises(AttributeError, match="does not change"):
            delattr(verified, attribute)
    with pytest.raises(AttributeError):
        copy.copy(verified)
    pickled = pickle.dumps(verified)
    with pytest.raises(AttributeError):
        pickle.loads(pickled)
    assert verified.head == head()
    with pytest.raises(AttributeError):
        verified.head.size = 99  # type: ignore[misc] # what is tested


def test_a_verified_head_shows_what_it_is_of() -> None:
    """Logs show repository and size."""
    assert repr(open_head(ENVELOPE, KEYRING, ACTIVE)) == f"<VerifiedHead {REPOSITORY_ID} 3>"


def test_what_is_signed_is_the_encoded_head() -> None:
    """Both kinds are sealed as they are encoded, under a type of their own."""
    part = read_unverified(ENVELOPE)
    assert (part.payload_type, part.payload) == (HEAD_PAYLOAD_TYPE, encode_head(head()))
    part = read_unverified(ACCESS_ENVELOPE)
    assert (part.payload_type, part.payload) == (
        ACCESS_HEAD_PAYLOAD_TYPE,
        encode_head(access_head()),
    )
