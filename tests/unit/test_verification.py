"""The numbered procedure: each of its steps refuses what the others would let pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sealstore.errors import (
    CatalogueTamperedError,
    EnvelopeFormatError,
    IdentityMismatchError,
    KeyRoleError,
    RetiredKeyError,
    RevokedKeyError,
    RollbackError,
    SealstoreError,
    SignatureInvalidError,
    StatementFormatError,
    UnknownKeyError,
)
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.ledger.head import seal_head
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.names import request
from sealstore.signed.envelope import (
    SETTINGS_PAYLOAD_TYPE,
    VerifiedStatement,
    open_statement,
    seal,
    statement_digest,
)
from sealstore.storage.catalogue import ArtifactRow
from sealstore.verification import Proven, require_continuity, verify_head, verify_statement
from tests.ledger_trees import head
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    hmac_key,
    roles,
    scope,
    sealed,
)

ENVELOPE = sealed(hmac_key(), revision=3)
DIGEST = statement_digest(ENVELOPE)


def verify(
    envelope: bytes,
    *proven: Any,
    digest: str = DIGEST,
    key: Key | None = None,
    repository: str = REPOSITORY_ID,
) -> VerifiedStatement:
    return verify_statement(
        envelope,
        proven=Proven(request(*(proven or ("churn", "2026-11", 3))), digest),
        repository=repository,
        keyring=Keyring.of([key or hmac_key()]),
        row_differences=lambda _: [],
    )


@pytest.mark.invariant(6)
def test_a_genuine_statement_that_is_proven_is_verified() -> None:
    """Bytes, what is proven, and keyring are all that the decision needs."""
    assert str(verify(ENVELOPE).statement.ref) == "churn:2026-11@3"


@pytest.mark.invariant(1)
@pytest.mark.parametrize(
    "proven",
    [
        ("fraud", "2026-11", 3),
        ("Churn", "2026-11", 3),
        ("churn", "2026-12", 3),
        ("churn", "2026-11", 2),
        ("churn", "2026-11", 4),
    ],
)
def test_a_genuine_statement_about_another_artifact_is_refused(proven: Any) -> None:
    """Name, tag and revision are those that are proven, whoever vouches for the digest."""
    with pytest.raises(IdentityMismatchError, match="vouches for churn:2026-11@3"):
        verify(ENVELOPE, *proven)


@pytest.mark.invariant(2)
def test_a_genuine_statement_that_is_not_the_proven_one_is_refused() -> None:
    """A key may have signed two statements about one revision; the head vouches for one."""
    other = sealed(hmac_key(), revision=3, created="2026-11-23T12:00:01.000000Z")
    with pytest.raises(CatalogueTamperedError, match="not the one that the signed head"):
        verify(other)
    verify(other, digest=statement_digest(other))


@pytest.mark.invariant(1)
def test_a_genuine_statement_of_another_repository_is_refused() -> None:
    """A key for several repositories does not make them one."""
    with pytest.raises(IdentityMismatchError, match="belongs to another repository"):
        verify(ENVELOPE, repository=OTHER_REPOSITORY_ID)


@pytest.mark.invariant(2)
def test_a_row_that_contradicts_the_statement_is_refused() -> None:
    """The refusal names the columns, not what stood in them."""
    verified = open_statement(ENVELOPE, Keyring.of([hmac_key()]))
    row = ArtifactRow.of(verified, ENVELOPE)
    assert row.differences(row) == []
    with pytest.raises(CatalogueTamperedError, match=r"\(size, actor\)"):
        verify_statement(
            ENVELOPE,
            proven=Proven(request("churn", "2026-11", 3), DIGEST),
            repository=REPOSITORY_ID,
            keyring=Keyring.of([hmac_key()]),
            row_differences=lambda _: ["size", "actor"],
        )


@pytest.mark.invariant(4)
@pytest.mark.parametrize(
    ("key", "refusal"),
    [
        (hmac_key(2), UnknownKeyError),
        (hmac_key(state=State.REVOKED), RevokedKeyError),
        (hmac_key(roles=roles(Role.ADMIN, Role.ACCESS, Role.APPROVE)), KeyRoleError),
        (hmac_key(scope=scope(OTHER_REPOSITORY_ID)), KeyRoleError),
    ],
)
def test_a_key_that_may_not_vouch_is_refused(key: Key, refusal: type[SealstoreError]) -> None:
    """Unknown, revoked, without the role or for another repository: no statement comes out."""
    with pytest.raises(refusal):
        verify(ENVELOPE, key=key)


@pytest.mark.parametrize(
    ("envelope", "refusal"),
    [
        (b"", EnvelopeFormatError),
        (seal(SETTINGS_PAYLOAD_TYPE, b"{}", hmac_key()), EnvelopeFormatError),
        (seal("application/vnd.in-toto+json", b"{}", hmac_key()), StatementFormatError),
        (ENVELOPE.replace(b'"sig":"', b'"sig":"AAAA'), SignatureInvalidError),
    ],
)
def test_what_is_no_genuine_statement_is_refused(
    envelope: bytes, refusal: type[SealstoreError]
) -> None:
    """The row is not even looked at before the signature holds."""

    def unreachable(_: VerifiedStatement) -> list[str]:
        raise AssertionError

    with pytest.raises(refusal):
        verify_statement(
            envelope,
            proven=Proven(request("churn", "2026-11", 3), DIGEST),
            repository=REPOSITORY_ID,
            keyring=Keyring.of([hmac_key()]),
            row_differences=unreachable,
        )


# ── the head ─────────────────────────────────────────────────────────────────


@pytest.mark.invariant(6)
def test_a_retired_keys_head_is_accepted_by_who_accepted_that_very_head() -> None:
    """It was signed while the key was active, as far as this client has seen it then."""
    envelope = seal_head(head(), hmac_key())
    point = HistoryCheckpoint.of(head())
    retired = Keyring.of([hmac_key(state=State.RETIRED)])
    assert verify_head(envelope, keyring=Keyring.of([hmac_key()]), accepted=None).head == head()
    assert verify_head(envelope, keyring=retired, accepted=point).head == head()
    others = (None, replace(point, time="2026-11-22T00:00:00.000000Z"), replace(point, size=1))
    for accepted in others:
        with pytest.raises(RetiredKeyError):
            verify_head(envelope, keyring=retired, accepted=accepted)
    with pytest.raises(RevokedKeyError):
        verify_head(envelope, keyring=Keyring.of([hmac_key(state=State.REVOKED)]), accepted=point)


def test_a_first_head_continues_nothing_and_every_other_one_what_was_accepted() -> None:
    """Without a memory any genuine head will do; with one, only what extends it."""
    require_continuity(None, head(), [])
    require_continuity(HistoryCheckpoint.of(head()), head(), [])
    newer = replace(HistoryCheckpoint.of(head()), size=head().size + 1)
    with pytest.raises(RollbackError):
        require_continuity(newer, head(), [])
