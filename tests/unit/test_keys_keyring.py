"""The keyring: who may sign what, what a state allows, and how keyrings are joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sealstore.errors import (
    KeyringError,
    KeyringFormatError,
    KeyRoleError,
    NoSigningKeyError,
    RevokedKeyError,
    SignatureInvalidError,
    UnknownKeyError,
)
from sealstore.keys.algorithms import Ed25519Private, HmacSha256
from sealstore.keys.changing import DEFAULT_ROLES, merged, new_key, with_key, with_state
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.keys.writing import public_keyring
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    scope,
)


def ring(*keys: Any) -> Keyring:
    return Keyring.of(keys)


def public_part(key: Key) -> Key:
    """The same key, verify-only."""
    public = key.material.public()
    assert public is not None
    return replace(key, material=public)


def test_a_keyring_holds_its_keys_in_the_order_of_their_creation() -> None:
    """Iteration is from the oldest to the newest, whatever order they were given in."""
    keys = [hmac_key(3), ed25519_key(1), hmac_key(2)]
    assert [key.created.day for key in ring(*keys)] == [2, 3, 4]
    assert len(ring(*keys)) == 3
    assert len(ring()) == 0
    assert ring(*keys).get(keys[0].key_id) == keys[0]


def test_the_same_key_twice_is_refused() -> None:
    """Two entries of one id could contradict each other."""
    key = hmac_key()
    with pytest.raises(KeyringFormatError, match="twice"):
        ring(key, replace(key, state=State.REVOKED))
    with pytest.raises(KeyringFormatError, match="twice"):
        with_key(ring(key), key)
    with pytest.raises(KeyringFormatError, match="twice"):
        ring(ed25519_key(), public_part(ed25519_key()))


def test_an_unknown_id_is_an_error() -> None:
    """No key stands in for another."""
    with pytest.raises(UnknownKeyError, match="has no key ffff"):
        ring(hmac_key()).get("f" * 32)


def test_a_keyring_does_not_change() -> None:
    """Every change is another keyring; who holds the old one keeps it."""
    before = ring(hmac_key(1))
    after = with_state(with_key(before, hmac_key(2)), hmac_key(1).key_id, State.REVOKED)
    assert [key.state for key in before] == [State.ACTIVE]
    assert [key.state for key in after] == [State.REVOKED, State.ACTIVE]


# ── signing ──────────────────────────────────────────────────────────────────


def test_the_newest_active_key_signs() -> None:
    """After a rotation nothing is signed with an older key."""
    keys = ring(hmac_key(1), ed25519_key(2), hmac_key(3, state=State.RETIRED))
    assert keys.signer(Role.STORE).key_id == ed25519_key(2).key_id
    assert with_key(keys, hmac_key(9)).signer(Role.STORE).key_id == hmac_key(9).key_id


@pytest.mark.invariant(4)
@pytest.mark.parametrize(
    "key",
    [
        hmac_key(state=State.RETIRED),
        hmac_key(state=State.REVOKED),
        hmac_key(roles=roles(Role.ADMIN)),
        hmac_key(roles=roles()),
        hmac_key(scope=scope(OTHER_REPOSITORY_ID)),
        hmac_key(scope=scope()),
        public_part(ed25519_key()),
    ],
)
def test_a_key_that_is_not_fit_does_not_sign(key: Any) -> None:
    """No signer is found, rather than a wrong one; an older fit key is taken instead."""
    with pytest.raises(NoSigningKeyError, match=f"may sign for repository {REPOSITORY_ID}"):
        ring(key).signer(Role.STORE, REPOSITORY_ID)
    older = ed25519_key(8, created=key.created.replace(year=2020))
    assert ring(key, older).signer(Role.STORE, REPOSITORY_ID).key_id == older.key_id


def test_an_empty_keyring_signs_nothing() -> None:
    """No key, no signature."""
    with pytest.raises(NoSigningKeyError):
        ring().signer(Role.STORE, REPOSITORY_ID)


def test_a_repository_that_is_being_made_needs_a_key_for_every_repository() -> None:
    """A key that is scoped to repositories cannot sign for one that has no id yet."""
    with pytest.raises(NoSigningKeyError, match="a new repository"):
        ring(hmac_key(scope=scope(REPOSITORY_ID))).signer(Role.ADMIN)
    assert ring(hmac_key()).signer(Role.ADMIN).key_id == hmac_key().key_id
    own = ring(hmac_key(scope=scope(REPOSITORY_ID)))
    assert own.signer(Role.ADMIN, REPOSITORY_ID).key_id == hmac_key().key_id


@pytest.mark.parametrize("state", [State.RETIRED, State.REVOKED])
def test_a_key_that_is_not_active_refuses_to_sign_by_itself_too(state: State) -> None:
    """Whoever kept the key from before cannot sign past its state."""
    key = hmac_key(state=state)
    assert not key.can_sign
    with pytest.raises(NoSigningKeyError, match=f"is {state} and cannot sign"):
        key.sign(b"message")


# ── verifying ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", [hmac_key(), ed25519_key(), hmac_key(state=State.RETIRED)])
def test_a_genuine_signature_gives_the_scope_of_its_key(key: Any) -> None:
    """Active and retired keys verify what they signed."""
    signature = key.material.sign(b"message")
    assert ring(key).verify(key.key_id, "store", b"message", signature) == key.scope


@pytest.mark.invariant(4)
def test_verification_refuses_what_the_key_may_not_vouch_for() -> None:
    """State and role are checked although the signature is genuine."""
    key = hmac_key()
    signature = key.sign(b"message")
    with pytest.raises(UnknownKeyError):
        ring().verify(key.key_id, "store", b"message", signature)
    with pytest.raises(RevokedKeyError):
        ring(replace(key, state=State.REVOKED)).verify(key.key_id, "store", b"message", signature)
    for role in ("approve", "", "Store", "none", "*"):
        with pytest.raises(KeyRoleError):
            ring(key).verify(key.key_id, role, b"message", signature)
    with pytest.raises(SignatureInvalidError):
        ring(key).verify(key.key_id, "store", b"another message", signature)
    with pytest.raises(SignatureInvalidError):
        ring(key).verify(key.key_id, "store", b"message", b"")


@pytest.mark.invariant(7)
def test_a_signature_of_one_key_is_not_one_of_another() -> None:
    """The key that is named verifies, and no other one of the keyring."""
    keys = [hmac_key(1), hmac_key(2), ed25519_key(3), ed25519_key(4)]
    for signer in keys:
        signature = signer.sign(b"message")
        for named in keys:
            if named is not signer:
                with pytest.raises(SignatureInvalidError):
                    ring(*keys).verify(named.key_id, "store", b"message", signature)


@pytest.mark.invariant(7)
def test_a_mac_keyed_with_a_public_key_is_no_signature_of_that_key() -> None:
    """The classic confusion: HMAC under the public bytes, presented as Ed25519, is refused."""
    pair = ed25519_key()
    public = public_part(pair).material
    forgery = HmacSha256(public.to_bytes()).sign(b"message")
    for verifying in (pair, public_part(pair)):
        for signature in (forgery, forgery * 2):
            with pytest.raises(SignatureInvalidError):
                ring(verifying).verify(pair.key_id, "store", b"message", signature)
    with pytest.raises(UnknownKeyError):
        ring(pair).verify(HmacSha256(public.to_bytes()).key_id, "store", b"message", forgery)


# ── states ───────────────────────────────────────────────────────────────────

STRICTER = [State.ACTIVE, State.RETIRED, State.REVOKED]


@pytest.mark.parametrize("before", STRICTER)
@pytest.mark.parametrize("after", STRICTER)
def test_a_state_only_becomes_stricter(before: State, after: State) -> None:
    """A revoked key stays revoked, and a retired one does not sign again."""
    keys = ring(hmac_key(1, state=before), hmac_key(2))
    key_id = hmac_key(1).key_id
    if STRICTER.index(after) < STRICTER.index(before):
        with pytest.raises(KeyringError, match=f"is {before} and cannot become {after}"):
            with_state(keys, key_id, after)
    else:
        changed = with_state(keys, key_id, after)
        assert changed.get(key_id).state is after
        assert [key.key_id for key in changed] == [key.key_id for key in keys]


def test_the_state_of_an_unknown_key_cannot_be_changed() -> None:
    """A misspelled id is an error, not a revocation of nothing."""
    with pytest.raises(UnknownKeyError):
        with_state(ring(hmac_key()), "f" * 32, State.REVOKED)


@pytest.mark.parametrize("one", STRICTER)
@pytest.mark.parametrize("other", STRICTER)
def test_of_two_sources_the_stricter_state_wins(one: State, other: State) -> None:
    """Revoked wins over every other source, in either order."""
    both = merged(ring(hmac_key(1, state=one)), [hmac_key(1, state=other), hmac_key(2)])
    assert both.get(hmac_key(1).key_id).state is max(one, other, key=STRICTER.index)
    assert len(both) == 2


def test_of_two_sources_the_first_says_what_a_key_is_for() -> None:
    """Another source adds keys and takes rights away; it gives none."""
    own = hmac_key(1, roles=roles(Role.ACCESS), scope=scope(REPOSITORY_ID))
    both = merged(ring(own), [hmac_key(1, state=State.RETIRED)])
    assert both.get(own.key_id) == replace(own, state=State.RETIRED)


# ── making and sharing ───────────────────────────────────────────────────────


def test_a_new_key_is_active_for_every_repository_with_all_roles_but_approving() -> None:
    """What 'sealstore init' makes; approving is never a default."""
    key = new_key(HmacSha256.generate())
    assert (key.state, key.roles, key.scope.repositories) == (State.ACTIVE, DEFAULT_ROLES, None)
    assert Role.APPROVE not in key.roles
    assert key.created.utcoffset() is not None
    narrow = new_key(Ed25519Private.generate(), roles=[Role.STORE], repositories=[REPOSITORY_ID])
    assert (narrow.roles, narrow.scope) == (roles(Role.STORE), scope(REPOSITORY_ID))
    assert new_key(HmacSha256.generate(), repositories=[]).scope == scope()
    assert narrow.algorithm == "ed25519"


def test_a_public_keyring_verifies_and_holds_no_secret() -> None:
    """HMAC keys stay at home; of pairs the public part goes, with state, roles and scope."""
    pair = ed25519_key(2, state=State.RETIRED, scope=scope(REPOSITORY_ID))
    public = public_keyring(ring(hmac_key(1), pair))
    [key] = public
    assert key == replace(pair, material=key.material)
    assert key.algorithm == "ed25519-public"
    assert key.material.to_bytes() != pair.material.to_bytes()
    assert public.verify(pair.key_id, "store", b"m", pair.material.sign(b"m")) == pair.scope
    with pytest.raises(NoSigningKeyError):
        public_keyring(ring(ed25519_key(3))).signer(Role.STORE, REPOSITORY_ID)


def test_a_keyring_shows_nothing_of_its_secrets() -> None:
    """A keyring in a log or a traceback gives no key away."""
    keys = ring(hmac_key(0x41), ed25519_key(0x42))
    for text in (repr(keys), str(keys), repr(list(keys))):
        assert "AAAA" not in text
        assert "BBBB" not in text
        assert "4141" not in text
