"""Trees that grow by many entries at a time."""

from __future__ import annotations

import pytest

from sealstore.errors import LedgerTamperedError
from sealstore.ledger.merkle import Frontier
from sealstore.ledger.whole_tree import grown
from tests.ledger_trees import Chain, entry_bytes
from tests.matrix import each_row


@each_row("start", range(20))
def test_a_tree_grows_by_many_entries_as_one_by_one(start: int) -> None:
    """Frontier and completed nodes are those of appending each entry by itself."""
    before = Chain.of(start)
    for more in range(40):
        chain = Chain.of(start + more)
        whole = grown(before.frontier, chain.between(start, start + more))
        assert whole.frontier == chain.frontier
        found = dict(before.nodes.digests)
        for run in whole.runs:
            for index, digest in enumerate(run.digests, run.first):
                assert (run.level, index) not in found, "a node was completed twice"
                found[run.level, index] = digest
        assert found == chain.nodes.digests


def test_a_tree_grows_by_bytes_only() -> None:
    """What a database holds in place of bytes is refused, by its number."""
    planted: list[bytes] = [entry_bytes(0), "text"]  # type: ignore[list-item]
    with pytest.raises(LedgerTamperedError, match="Entry 9 "):
        grown(Chain.of(7).frontier, planted)
    assert grown(Frontier(), []).runs == []
