"""Approvals: one spelling, one move, distinct keys; every step of the procedure by its number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    ApprovalFormatError,
    ApprovalMismatchError,
    EnvelopeFormatError,
    KeyRoleError,
    NotApprovedError,
    RetiredKeyError,
    RevokedKeyError,
    SignatureInvalidError,
    UnknownKeyError,
)
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.signed.approval import (
    AliasMove,
    AliasTarget,
    VerifiedApproval,
    decode_move,
    open_approval,
    require_kept_approvals,
)
from sealstore.signed.approving import encode_move, require_approvals, seal_approval
from sealstore.signed.envelope import APPROVAL_PAYLOAD_TYPE, SETTINGS_PAYLOAD_TYPE, seal
from tests.alias_moves import BEFORE, TARGET, approvals, approver, changed, move, public_part
from tests.matrix import each_row
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    scope,
)

MOVE = move()
ADA, BOB, CLEO = approver(1), approver(2), approver(3)
KEYS = (ADA, BOB, CLEO)
KEYRING = Keyring.of(map(public_part, KEYS))
ACTIVE = KEYRING.ids(State.ACTIVE)

OTHER_MOVES: dict[str, dict[str, Any]] = {
    "2a another repository": {"repository": OTHER_REPOSITORY_ID},
    "2b another name": {"name": "fraud"},
    "2b another alias": {"alias": "staging"},
    "2c another tag": {"target": AliasTarget(tag="x", revision=2, statement="57" * 32)},
    "2c another revision": {"target": AliasTarget(tag="2026-11", revision=1, statement="57" * 32)},
    "2c another statement": {"target": AliasTarget(tag="2026-11", revision=2, statement="5f" * 32)},
    "2d the move before": {"move": 2},
    "2d the move after": {"move": 4},
    "2e from something else": {"previous": TARGET},
    "2e from nothing": {"previous": None},
    "2f newer settings": {"settings_version": 3},
    "2f older settings": {"settings_version": 1},
}


def new(*envelopes: bytes, needed: int = 2) -> list[str]:
    """The keys that approve a move that is to be made."""
    made = require_approvals(envelopes, MOVE, needed, KEYRING, ACTIVE)
    return [each.key_id for each in made]


def kept(
    *envelopes: bytes, needed: int = 2, keyring: Keyring = KEYRING, version: int = 2
) -> set[str]:
    """The keys whose approvals a loader counts."""
    made = changed(MOVE, previous=None, settings_version=version)
    return {each.key_id for each in require_kept_approvals(envelopes, made, needed, keyring)}


# ── the document ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("one", [MOVE, move(previous=None, move=1)])
def test_a_move_comes_back(one: AliasMove) -> None:
    """Decoding what was encoded gives an equal move."""
    assert decode_move(encode_move(one)) == one


def test_a_move_says_all_that_an_approval_is_for() -> None:
    """The format: any change of it is another version."""
    assert encode_move(MOVE) == (
        b'{"kind":"alias-move-v1","repository":"%b","name":"churn","alias":"production",'
        b'"target":{"tag":"2026-11","revision":2,"statement":"%b"},"move":3,'
        b'"previous":{"tag":"2026-10","revision":1,"statement":"%b"},"settingsVersion":2}'
        % (REPOSITORY_ID.encode(), b"57" * 32, b"b0" * 32)
    )


@each_row(
    ("old", "new"),
    [
        (b"{", b"{ "),
        (b'"move":3', b'"move":3,"more":1'),
        (b'"move":3', b'"move":3,"move":3'),
        (b'"move":3', b'"move":3.0'),
        (b'"move":3', b'"move":0'),
        (b'"move":3', b'"move":true'),
        (b'"move":3,', b""),
        (b"alias-move-v1", b"alias-move-v2"),
        (b"churn", b"\\u0063hurn"),
        (b"churn", b".."),
        (b"production", b"latest"),
        (b"production", b""),
        (b'"2026-11"', b'"Latest"'),
        (b'"2026-10"', b'"a/b"'),
        (b'"2026-10"', b"null"),
        (b"57" * 32, b"57" * 31),
        (b"57" * 32, b"AB" * 32),
        (REPOSITORY_ID.encode(), b"x" * 32),
    ],
)
def test_any_other_bytes_are_no_move(old: bytes, new: bytes) -> None:
    """One spelling, no unknown field, and names that are names."""
    data = encode_move(MOVE)
    assert old in data
    with pytest.raises(ApprovalFormatError):
        decode_move(data.replace(old, new, 1))


def test_what_is_too_large_is_not_even_parsed() -> None:
    """The cap comes first; the largest names fit it."""
    with pytest.raises(ApprovalFormatError, match="are allowed"):
        decode_move(b" " * (limits.MAX_APPROVAL_BYTES + 1))
    longest = "ä" * 127
    target = AliasTarget(tag=longest, revision=limits.MAX_SEQUENCE, statement="57" * 32)
    most = move(
        name=longest,
        alias=longest,
        target=target,
        previous=target,
        move=limits.MAX_SEQUENCE,
        settings_version=limits.MAX_SEQUENCE,
    )
    assert decode_move(encode_move(most)) == most
    [envelope] = approvals(most, ADA)
    assert len(envelope) <= limits.MAX_APPROVAL_ENVELOPE_BYTES


# ── 1: genuine ───────────────────────────────────────────────────────────────


def test_an_approval_says_who_approved_what() -> None:
    """The move, the key, the very bytes and their digest."""
    [envelope] = approvals(MOVE, ADA)
    approval = open_approval(envelope, KEYRING)
    assert (approval.move, approval.key_id) == (MOVE, ADA.key_id)
    assert (approval.envelope, approval.digest) == (envelope, sha256(envelope).hexdigest())
    assert repr(approval) == f"<VerifiedApproval production 3 by {ADA.key_id}>"


def test_a_verified_approval_is_made_and_changed_nowhere_else() -> None:
    """Its type says that it was verified."""
    with pytest.raises(TypeError, match="open_approval"):
        VerifiedApproval(MOVE)
    approval = open_approval(approvals(MOVE, ADA)[0], KEYRING)
    with pytest.raises(AttributeError, match="does not change"):
        approval.key_id = BOB.key_id
    with pytest.raises(AttributeError, match="does not change"):
        del approval.move


def test_an_approval_is_sealed_by_a_key_of_the_keyring() -> None:
    """The newest approver's key signs, and only one that may."""
    signer = Keyring.of([*KEYS, hmac_key(200, roles=roles(Role.APPROVE))]).signer(
        Role.APPROVE, REPOSITORY_ID
    )
    assert signer.key_id == CLEO.key_id
    assert open_approval(seal_approval(MOVE, signer), KEYRING).key_id == CLEO.key_id


SYMMETRIC = hmac_key(7, roles=roles(*Role))
UNFIT: dict[str, tuple[Callable[[bytes], bytes], Key]] = {
    "1a two signatures": (lambda e: e.replace(b"}]}", b"}," + e[e.index(b'{"keyid') :], 1), ADA),
    "1a another type": (
        lambda _: seal(SETTINGS_PAYLOAD_TYPE, encode_move(MOVE), ADA.material),
        ADA,
    ),
    "1b a stranger's": (lambda _: approvals(MOVE, ed25519_key(9))[0], ADA),
    "1b a changed signature": (lambda e: e.replace(b'"sig":"', b'"sig":"AAAA', 1), ADA),
    "1b a revoked key's": (lambda e: e, replace(ADA, state=State.REVOKED)),
    "1b a key without the role": (lambda e: e, replace(ADA, roles=roles(Role.STORE, Role.ADMIN))),
    "1b a symmetric key's": (lambda _: approvals(MOVE, SYMMETRIC)[0], SYMMETRIC),
    "1c no move": (lambda _: seal(APPROVAL_PAYLOAD_TYPE, b"{}", ADA.material), ADA),
    "1d a key of elsewhere": (lambda e: e, replace(ADA, scope=scope(OTHER_REPOSITORY_ID))),
}
REFUSALS = {
    "1a two signatures": EnvelopeFormatError,
    "1a another type": EnvelopeFormatError,
    "1b a stranger's": UnknownKeyError,
    "1b a changed signature": SignatureInvalidError,
    "1b a revoked key's": RevokedKeyError,
    "1b a key without the role": KeyRoleError,
    "1b a symmetric key's": KeyRoleError,
    "1c no move": ApprovalFormatError,
    "1d a key of elsewhere": KeyRoleError,
}


@pytest.mark.invariant(4)
@pytest.mark.parametrize("case", UNFIT)
def test_what_is_not_genuine_approves_nothing(case: str) -> None:
    """To make a move it is an error; to a loader it does not count."""
    spoil, key = UNFIT[case]
    ring = Keyring.of([key, BOB])
    bad, good = spoil(approvals(MOVE, ADA)[0]), approvals(MOVE, BOB)[0]
    with pytest.raises(REFUSALS[case]):
        require_approvals([good, bad], MOVE, 1, ring, ring.ids(State.ACTIVE))
    with pytest.raises(NotApprovedError, match=r"needs 2 approvals .* 1 hold. One was refused: "):
        kept(good, bad, keyring=ring)
    assert kept(good, bad, needed=1, keyring=ring) == {BOB.key_id}


@pytest.mark.invariant(7)
def test_a_symmetric_key_never_approves_whatever_its_roles_say() -> None:
    """Whoever verifies with it could have made as many approvals as are needed."""
    ring = Keyring.of([SYMMETRIC])
    with pytest.raises(KeyRoleError, match="symmetric"):
        open_approval(approvals(MOVE, SYMMETRIC)[0], ring)
    assert not SYMMETRIC.may_sign_for(Role.APPROVE)
    assert SYMMETRIC.may_sign_for(Role.STORE)


def test_a_retired_key_approves_nothing_new_and_keeps_what_it_approved() -> None:
    """Who leaves takes no approval away, and gives none."""
    ring = Keyring.of([replace(ADA, state=State.RETIRED), BOB])
    given = approvals(MOVE, ADA, BOB)
    with pytest.raises(RetiredKeyError, match="approves nothing new"):
        require_approvals(given, MOVE, 1, ring, ring.ids(State.ACTIVE))
    assert kept(*given, keyring=ring) == {ADA.key_id, BOB.key_id}


# ── 2: of this move ──────────────────────────────────────────────────────────


@pytest.mark.invariant(4)
@each_row("case", OTHER_MOVES)
def test_an_approval_of_another_move_is_refused(case: str) -> None:
    """Nothing of what was signed may differ, in any direction."""
    other = approvals(changed(MOVE, **OTHER_MOVES[case]), ADA)
    with pytest.raises(ApprovalMismatchError, match="genuine, but for"):
        new(*other, *approvals(MOVE, BOB))
    # A loader counts none beside one of the very move.
    with pytest.raises(NotApprovedError):
        kept(*other, *approvals(MOVE, BOB))


@pytest.mark.parametrize("case", [case for case in OTHER_MOVES if case[1] not in "ef"])
def test_a_loader_counts_no_approval_of_another_move(case: str) -> None:
    """Not even where all of them agree with one another."""
    with pytest.raises(NotApprovedError, match="One was refused: The approval is genuine, but"):
        kept(*approvals(changed(MOVE, **OTHER_MOVES[case]), *KEYS))


def test_a_loader_counts_approvals_of_older_settings_and_none_of_newer_ones() -> None:
    """Settings change without a move; a move cannot have been approved under what came later."""
    given = approvals(MOVE, *KEYS)
    assert kept(*given, version=5) == {key.key_id for key in KEYS}
    with pytest.raises(NotApprovedError, match="other settings"):
        kept(*given, version=1)


def test_a_loader_counts_approvals_of_one_and_the_same_move_only() -> None:
    """Two of one and one of another are two, and each is counted once."""
    other = changed(MOVE, previous=None)
    assert kept(*approvals(other, ADA), *approvals(MOVE, BOB, CLEO)) == {BOB.key_id, CLEO.key_id}
    with pytest.raises(NotApprovedError, match="needs 3 approvals by different keys, and 2 hold"):
        kept(*approvals(other, ADA), *approvals(MOVE, BOB, CLEO), needed=3)


# ── 3: enough ────────────────────────────────────────────────────────────────


def test_enough_approvals_by_different_keys_are_enough() -> None:
    """In any order, and more than are needed as well."""
    ids = [key.key_id for key in KEYS]
    assert new(*approvals(MOVE, *KEYS)) == ids
    assert new(*approvals(MOVE, *reversed(KEYS))) == ids[::-1]
    assert new(needed=0) == []
    assert kept(*approvals(MOVE, BOB, CLEO)) == set(ids[1:])
    assert kept(needed=0) == set()


@pytest.mark.parametrize("given", [(), (ADA,)])
def test_too_few_approvals_are_too_few(given: tuple[Key, ...]) -> None:
    """The error says how many are needed, and how many there are."""
    count = f"needs 2 approvals by different keys, and {len(given)} hold"
    for check in (new, kept):
        with pytest.raises(NotApprovedError, match=count):
            check(*approvals(MOVE, *given))


def test_two_approvals_by_one_key_count_once() -> None:
    """Whoever makes a move is told; a loader counts keys."""
    twice = approvals(MOVE, ADA, ADA)
    with pytest.raises(NotApprovedError, match="counts once"):
        new(*twice, *approvals(MOVE, BOB))
    with pytest.raises(NotApprovedError, match="and 1 hold"):
        kept(*twice)


def test_more_approvals_than_any_move_may_have_are_refused() -> None:
    """The cap comes before any of them is opened."""
    with pytest.raises(NotApprovedError, match="16 approvals at most"):
        new(*[b""] * (limits.MAX_APPROVALS + 1))


Check = Callable[..., object]


@pytest.mark.parametrize("check", [new, kept])
def test_junk_is_a_refusal_of_the_family(check: Check) -> None:
    """Whatever lies in a file or a row."""
    for junk in (b"", b"{}", b"\x00" * 100, encode_move(MOVE)):
        with pytest.raises((EnvelopeFormatError, NotApprovedError)):
            check(junk)


def test_an_alias_of_nothing_has_nothing_before() -> None:
    """The first move is from nothing."""
    assert decode_move(encode_move(move(previous=None))).previous is None
    assert BEFORE != TARGET
