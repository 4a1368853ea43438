"""What may follow what: an older, another or a rewritten repository is told apart and refused."""

from __future__ import annotations

from typing import Any

import pytest

from sealstore.errors import (
    LedgerTamperedError,
    ProofError,
    RepositoryExchangedError,
    RollbackError,
)
from sealstore.ledger.consistency import consistency_proof
from sealstore.ledger.continuity import require_extends, require_extends_access
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from tests.ledger_trees import LATER, NOON, Chain, access_head, head
from tests.matrix import each_row
from tests.sealstore_fixtures import OTHER_REPOSITORY_ID

CHAIN = Chain.of(13)


def proof(old: int, new: int) -> list[bytes]:
    return consistency_proof(CHAIN.nodes, old, new)


def at(size: int, **changes: Any) -> Any:
    """The head when the history had ``size`` entries: each changed the map."""
    return head(Chain.of(size), **({"map_root": f"{size:064x}"} | changes))


def access_at(size: int, **changes: Any) -> Any:
    return access_head(Chain.of(size), **changes)


@each_row("new", range(14))
def test_a_repository_that_went_on_is_accepted(new: int) -> None:
    """Each later state follows each earlier one, whether a head or a checkpoint was remembered."""
    for old in range(new + 1):
        later = at(new, time=LATER, settings_version=2, settings_digest="6e" * 32)
        if old < new:
            require_extends(at(old), later, proof(old, new))
            require_extends(HistoryCheckpoint.of(at(old)), later, proof(old, new))
        require_extends(at(old), at(new), proof(old, new))
        require_extends_access(access_at(old), access_at(new, time=LATER), proof(old, new))
        require_extends_access(AccessCheckpoint.of(access_at(old)), access_at(new), proof(old, new))


def test_a_head_that_was_only_signed_again_is_accepted() -> None:
    """A heartbeat changes nothing but the time."""
    require_extends(at(5), at(5, time=LATER), [])
    require_extends_access(access_at(5), access_at(5, time=LATER), [])


@pytest.mark.invariant(2)
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"settings_version": 1}, "settings are of version 1; version 2"),
        ({"time": NOON}, "was signed at"),
        ({"epoch": 1}, "before it was rebuilt"),
    ],
)
def test_an_older_state_is_a_rollback(changes: dict[str, Any], why: str) -> None:
    """Older settings, an older time or an older epoch are refused, whatever else is newer."""
    newest = {"settings_version": 2, "time": LATER, "epoch": 2}
    require_extends(at(5, **newest), at(6, **newest), proof(5, 6))
    with pytest.raises(RollbackError, match=why):
        require_extends(at(5, **newest), at(6, **(newest | changes)), proof(5, 6))


@pytest.mark.invariant(2)
@pytest.mark.parametrize("size", range(5))
def test_a_shorter_history_is_a_rollback(size: int) -> None:
    """An older head put back is refused with both sizes, before any proof is looked at."""
    with pytest.raises(RollbackError, match=f"has {size} entries; 5 were seen"):
        require_extends(at(5), at(size, time=LATER), [])
    with pytest.raises(RollbackError, match=f"has {size} entries; 5 were seen"):
        require_extends_access(access_at(5), access_at(size, time=LATER), [])


def test_an_access_log_dated_before_one_that_was_seen_is_a_rollback() -> None:
    """Time does not run backwards in either chain."""
    with pytest.raises(RollbackError, match="was signed at"):
        require_extends_access(access_at(5, time=LATER), access_at(6, time=NOON), proof(5, 6))


@pytest.mark.invariant(2)
def test_another_repository_in_the_same_place_is_refused() -> None:
    """Neither another id, nor another access log, nor a rebuilt repository passes unnoticed."""
    with pytest.raises(RepositoryExchangedError, match=OTHER_REPOSITORY_ID):
        require_extends(at(5), at(6, repository=OTHER_REPOSITORY_ID), proof(5, 6))
    with pytest.raises(RepositoryExchangedError, match="rebuilt since"):
        require_extends(at(5), at(6, epoch=2), proof(5, 6))
    with pytest.raises(RepositoryExchangedError, match="rebuilt since"):
        require_extends(at(5), at(2, epoch=2), [])
    with pytest.raises(RepositoryExchangedError, match=OTHER_REPOSITORY_ID):
        require_extends_access(
            access_at(5), access_at(6, repository=OTHER_REPOSITORY_ID), proof(5, 6)
        )
    with pytest.raises(RepositoryExchangedError, match="access log"):
        require_extends_access(access_at(5), access_at(6, log="0" * 32), proof(5, 6))


@pytest.mark.invariant(2)
def test_a_rewritten_history_is_refused() -> None:
    """A longer history with another past has no proof."""
    rewritten = Chain([b"forged", *CHAIN.entries[1:]])
    forged = consistency_proof(rewritten.nodes, 5, 13)
    for attempt in (forged, proof(5, 13), []):
        with pytest.raises(ProofError):
            require_extends(at(5), head(rewritten), attempt)
        with pytest.raises(ProofError):
            require_extends_access(access_at(5), access_head(rewritten), attempt)


@pytest.mark.invariant(2)
def test_a_fork_at_the_size_that_was_seen_is_refused() -> None:
    """Two heads of one size are of one history, one map and one set of settings."""
    forked = Chain([*CHAIN.entries[:4], b"forged"])
    with pytest.raises(ProofError, match="one size"):
        require_extends(at(5), head(forked, map_root=f"{5:064x}"), [])
    with pytest.raises(ProofError, match="one size"):
        require_extends_access(access_at(5), access_head(forked), [])
    for changes in ({"map_root": "00" * 32}, {"settings_version": 2, "settings_digest": "6e" * 32}):
        with pytest.raises(LedgerTamperedError, match="without an entry"):
            require_extends(at(5), at(5, **changes), [])


@pytest.mark.invariant(2)
@pytest.mark.parametrize("size", [5, 6])
def test_other_settings_of_the_same_version_are_refused(size: int) -> None:
    """Settings change by becoming a new version, and in no other way."""
    with pytest.raises(LedgerTamperedError, match="same version"):
        require_extends(at(5), at(size, settings_digest="6e" * 32), proof(5, size))


def test_every_refusal_says_what_to_do() -> None:
    """An operator who restored a backup on purpose learns from the error how to go on."""
    for refusal in (RollbackError, RepositoryExchangedError, LedgerTamperedError, ProofError):
        assert "find out" in str(refusal("x"))
