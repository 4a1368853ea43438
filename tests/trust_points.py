"""Points of histories and access logs, and what is remembered of them, for the tests of trust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sealstore.ledger.consistency import consistency_proof
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from sealstore.trust.record import TrustRecord
from tests.ledger_trees import Chain, access_head, head

LOCATION = "file:///srv/models"
LOG_LOCATION = "postgresql://logs.example/access"

CHAIN = Chain.of(12)
FORKED = Chain([*CHAIN.between(0, 4), *(b"another %d" % number for number in range(8))])
"""A chain that is like the first in its first four entries."""


class Prover:
    """Consistency proofs of a chain, and which of them were asked for."""

    def __init__(self, chain: Chain = CHAIN) -> None:
        self.chain = chain
        self.asked: list[tuple[int, int]] = []

    def __call__(self, older: int, newer: int) -> Sequence[bytes]:
        self.asked.append((older, newer))
        return consistency_proof(self.chain.nodes, older, newer)


def point(size: int, chain: Chain = CHAIN, **changes: Any) -> HistoryCheckpoint:
    """A point of a history; its map is another at each size."""
    fields = {"map_root": f"{size:064x}", **changes}
    return HistoryCheckpoint.of(head(Chain(chain.between(0, size)), **fields))


def access_point(size: int, chain: Chain = CHAIN, **changes: Any) -> AccessCheckpoint:
    """A point of an access log."""
    return AccessCheckpoint.of(access_head(Chain(chain.between(0, size)), **changes))


def record(size: int = 3, **changes: Any) -> TrustRecord:
    """What is remembered of a repository that was seen once."""
    at = point(size)
    fields = {"location": LOCATION, "point": at, "newest_time": at.time, **changes}
    return TrustRecord(**fields)
