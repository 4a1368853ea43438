"""Values that exist only where they were verified."""

from __future__ import annotations

import pytest

from sealstore.bundles.verification import VerifiedArtifact, VerifiedBundle
from sealstore.ledger.checkpoint import VerifiedCheckpoint
from sealstore.ledger.head import VerifiedHead
from sealstore.signed.approval import VerifiedApproval
from sealstore.signed.envelope import VerifiedStatement
from sealstore.signed.settings import VerifiedSettings
from sealstore.signed.verified import Verified, make_verified

KINDS: list[tuple[type[Verified], str]] = [
    (VerifiedApproval, "approval.open_approval"),
    (VerifiedArtifact, "verification.verify_artifact"),
    (VerifiedBundle, "verification.open_evidence"),
    (VerifiedCheckpoint, "ledger.open_checkpoint"),
    (VerifiedHead, "ledger.open_head"),
    (VerifiedSettings, "settings.open_settings"),
    (VerifiedStatement, "envelope.open_statement"),
]


def _fields(kind: type[Verified]) -> tuple[str, ...]:
    return tuple(kind.__slots__)


pytestmark = pytest.mark.parametrize(("kind", "comes_from"), KINDS)


@pytest.mark.invariant(2)
def test_nobody_builds_one_by_hand(kind: type[Verified], comes_from: str) -> None:
    """The class cannot be called, whatever it is given; the error says where one comes from."""
    with pytest.raises(TypeError, match=f"{kind.__name__} comes out of {comes_from} only"):
        kind()
    with pytest.raises(TypeError, match=comes_from):
        kind(*_fields(kind))
    with pytest.raises(TypeError, match=comes_from):
        kind(**dict.fromkeys(_fields(kind), "forged"))


@pytest.mark.invariant(2)
def test_one_never_changes(kind: type[Verified], comes_from: str) -> None:
    """No field can be set, removed or added."""
    made = make_verified(kind, **dict.fromkeys(_fields(kind), "verified"))
    for name in (*_fields(kind), "another"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(made, name, "forged")
        with pytest.raises(AttributeError, match="does not change"):
            delattr(made, name)
    assert not hasattr(made, "__dict__")
    assert {getattr(made, name) for name in _fields(kind)} == {"verified"}
    assert comes_from
