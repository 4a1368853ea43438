"""Trees that grow by many entries at a time, and the rows that an audit reads."""

from __future__ import annotations

import pytest

from sealstore.errors import LedgerTamperedError
from sealstore.ledger.merkle import Frontier
from tests.ledger_trees import Chain, entry_bytes
from tests.matrix import each_row


@each_row("start", range(20))
def test_a_tree_grows_by_many_entries_as_one_by_one(start: int) -> None:
    """Frontier and completed nodes are those of appending each entry by itself."""
    before = Chain.of(start)
    for more in range(40):
        chain = Chain.of(start + more)
        grown = before.frontier.grown(chain.between(start, start + more))
        assert grown.frontier == chain.frontier
        found = dict(before.nodes.digests)
        for run in grown.runs:
            for index, digest in enumerate(run.digests, run.first):
                assert (run.level, index) not in found, "a node was completed twice"
                found[run.level, index] = digest
        assert found == chain.nodes.digests


def test_a_tree_grows_by_bytes_only() -> None:
    """What a database holds in place of bytes is refused, by its number."""
    planted: list[bytes] = [entry_bytes(0), "text"]  # type: ignore[list-item]
    with pytest.raises(LedgerTamperedError, match="Entry 9 "):
        Chain.of(7).frontier.grown(planted)
    assert Frontier().grown([]).runs == []
