"""The numbered procedure: each of its steps refuses what the others would let pass."""

from __future__ import annotations

from typing import Any

import pytest

from sealstore.catalogue import ArtifactRow
from sealstore.envelope import SETTINGS_PAYLOAD_TYPE, VerifiedStatement, open_statement, seal
from sealstore.errors import (
    CatalogueTamperedError,
    EnvelopeFormatError,
    IdentityMismatchError,
    KeyRoleError,
    RevokedKeyError,
    SealstoreError,
    SignatureInvalidError,
    StatementFormatError,
    UnknownKeyError,
)
from sealstore.keys import Key, Keyring, Role, State
from sealstore.names import request
from sealstore.verification import verify_statement
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    hmac_key,
    roles,
    scope,
    sealed,
)


def verify(
    envelope: bytes, *asked: Any, key: Key | None = None, repository: str = REPOSITORY_ID
) -> VerifiedStatement:
    return verify_statement(
        envelope,
        request=request(*(asked or ("churn", "2026-11"))),
        repository=repository,
        verifier=Keyring.of([key or hmac_key()]),
        row_differences=lambda _: [],
    )


ENVELOPE = sealed(hmac_key(), revision=3)


@pytest.mark.invariant(6)
@pytest.mark.parametrize(
    "asked",
    [
        ("churn", "2026-11"),
        ("churn", "2026-11", 3),
        ("churn", "latest"),
        ("churn", "LATEST"),
    ],
)
def test_a_genuine_statement_answers_the_requests_that_it_is_about(asked: Any) -> None:
    """Bytes, request and keyring are all that the decision needs."""
    assert str(verify(ENVELOPE, *asked).statement.ref) == "churn:2026-11@3"


@pytest.mark.invariant(1)
@pytest.mark.parametrize(
    "asked",
    [
        ("fraud", "2026-11"),
        ("Churn", "2026-11"),
        ("churn", "2026-12"),
        ("churn", "2026-11", 2),
        ("churn", "2026-11", 4),
        ("fraud", "latest"),
        ("fraud", "2026-11", 3),
    ],
)
def test_a_genuine_statement_about_another_artifact_is_refused(asked: Any) -> None:
    """Name, tag and revision are those that were asked for."""
    with pytest.raises(IdentityMismatchError, match="vouches for churn:2026-11@3") as refusal:
        verify(ENVELOPE, *asked)
    assert refusal.value.artifact == str(request(*asked))


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
            request=request("churn", "latest"),
            repository=REPOSITORY_ID,
            verifier=Keyring.of([hmac_key()]),
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
            request=request("churn", "latest"),
            repository=REPOSITORY_ID,
            verifier=Keyring.of([hmac_key()]),
            row_differences=unreachable,
        )
