"""The tree over a chain's entries: published roots, frontiers that fit, and entries that do not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import LedgerFormatError, LedgerTamperedError
from sealstore.ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash, node_hash, verify_entries
from tests.ledger_trees import Chain, entry_bytes, naive_root
from tests.matrix import each_row

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "rfc6962.json").read_text(encoding="utf-8")
)
LEAVES = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(root) for root in VECTORS["roots"]]


def test_the_published_roots_come_out() -> None:
    """Every tree over the first of the eight leaves has the root that others compute."""
    chain = Chain(LEAVES)
    assert chain.roots == ROOTS
    assert ROOTS[0] == EMPTY_ROOT
    assert leaf_hash(b"") == ROOTS[1]
    assert node_hash(leaf_hash(b""), leaf_hash(b"\0")) == ROOTS[2]


@each_row("size", range(70))
def test_a_frontier_is_that_of_the_whole_tree(size: int) -> None:
    """Appending one by one, appending all at once, and the definition give the same root."""
    chain = Chain.of(size)
    assert chain.root == naive_root(chain.entries)
    assert Frontier().extended(chain.entries) == chain.frontier
    half = Frontier().extended(chain.entries[: size // 2])
    assert half.extended(iter(chain.entries[size // 2 :])) == chain.frontier
    assert Frontier(size, chain.frontier.roots) == chain.frontier


def test_appending_returns_every_complete_subtree_once() -> None:
    """What is stored on the way is the root of each complete subtree, and nothing else."""
    chain = Chain.of(21)
    expected = {
        (level, index): naive_root(chain.entries[index << level : (index + 1) << level])
        for level in range(5)
        for index in range(21 >> level)
    }
    assert chain.nodes.digests == expected


def test_appending_leaves_the_older_frontier_as_it_was() -> None:
    """A transaction that is rolled back leaves nothing behind."""
    before = Chain.of(7).frontier
    roots = before.roots
    after = before.append(leaf_hash(b"new")).frontier
    assert (before.size, before.roots) == (7, roots)
    assert after.size == 8
    with pytest.raises(AttributeError):
        before.size = 8  # type: ignore[misc] # what is tested


HASH = b"h" * 32


@each_row(
    ("size", "roots"),
    [
        (0, (HASH,)),
        (1, ()),
        (1, (HASH, HASH)),
        (4, (HASH, HASH)),
        (7, (HASH, HASH)),
        (1, (HASH[:31],)),
        (1, (HASH + b"h",)),
        (3, (HASH, b"")),
        (1, ("h" * 32,)),
        (1, (bytearray(HASH),)),
        (1, [HASH]),
        (-1, (HASH,)),
        (True, (HASH,)),
        (1.0, (HASH,)),
        ("1", (HASH,)),
        (None, ()),
        (limits.MAX_SEQUENCE + 1, (HASH,)),
    ],
)
def test_hashes_that_are_no_frontier_are_refused(size: Any, roots: Any) -> None:
    """A frontier has exactly one hash of 32 bytes for each bit that is set in its size."""
    with pytest.raises(LedgerFormatError, match="not the frontier"):
        Frontier(size, roots)


@pytest.mark.parametrize("leaf", [b"", HASH[:31], HASH + b"h", "h" * 32, None, bytearray(HASH)])
def test_only_a_hash_can_be_appended(leaf: Any) -> None:
    """An entry that was not hashed is no leaf."""
    with pytest.raises(LedgerFormatError, match="32 bytes"):
        Frontier().append(leaf)


def test_a_full_tree_takes_no_more() -> None:
    """Sizes end where a database's integers do."""
    full = Frontier(limits.MAX_SEQUENCE, (HASH,) * 63)
    with pytest.raises(LedgerFormatError):
        full.append(HASH)
    with pytest.raises(LedgerFormatError):
        full.extended([b"one more"])


def test_an_inner_node_is_no_entry() -> None:
    """An entry made of two hashes does not stand for the subtree below them."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    forged = Frontier().extended([left + right])
    assert forged.root() != Frontier().extended([b"a", b"b"]).root()


# ── verifying all entries ────────────────────────────────────────────────────


@each_row("size", [0, 1, 2, 3, 8, 13])
@each_row("verified_before", [0, 1, 2, 8])
def test_the_right_entries_verify(size: int, verified_before: int) -> None:
    """From the start, or from a head that was verified before."""
    chain = Chain.of(size)
    if verified_before <= size:
        start = Frontier().extended(chain.entries[:verified_before])
        rest = chain.entries[verified_before:]
        assert verify_entries(rest, size, chain.root, start=start) == chain.frontier
    assert verify_entries(iter(chain.entries), size, chain.root) == chain.frontier


def changed(entries: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Every single edit, deletion, insertion, repetition and swap."""
    for place in range(len(entries)):
        before, entry, after = entries[:place], entries[place], entries[place + 1 :]
        yield f"edit {place}", [*before, entry + b"!", *after]
        yield f"empty {place}", [*before, b"", *after]
        yield f"delete {place}", [*before, *after]
        yield f"insert {place}", [*before, b"new", entry, *after]
        yield f"repeat {place}", [*before, entry, entry, *after]
        for other in range(place):
            swapped = list(entries)
            swapped[place], swapped[other] = swapped[other], swapped[place]
            yield f"swap {place} {other}", swapped
    yield "append", [*entries, b"new"]


CHAIN = Chain.of(7)


@each_row("entries", [pytest.param(entries, id=name) for name, entries in changed(CHAIN.entries)])
def test_changed_entries_are_refused(entries: list[bytes]) -> None:
    """No single edit, deletion, insertion, repetition or swap passes, wherever it is."""
    with pytest.raises(LedgerTamperedError):
        verify_entries(entries, CHAIN.size, CHAIN.root)


def test_a_ledger_that_was_cut_says_how_many_are_missing() -> None:
    """A truncation is told apart from an edit."""
    with pytest.raises(LedgerTamperedError, match=r"has 5 entries; its head says 7"):
        verify_entries(CHAIN.entries[:5], 7, CHAIN.root)


def test_a_table_without_end_is_refused_all_the_same() -> None:
    """Reading stops at the first entry too many."""
    asked = itertools.count()
    with pytest.raises(LedgerTamperedError, match="more entries than the 7"):
        verify_entries(map(entry_bytes, asked), 7, CHAIN.root)
    assert next(asked) == 8


@pytest.mark.parametrize("planted", ["entry 3", None, 3, 3.0, bytearray(b"entry 3")])
def test_an_entry_that_is_no_bytes_is_named(planted: Any) -> None:
    """SQLite keeps whatever type is written; none of them ends in an error of Python's own."""
    entries = [*CHAIN.entries[:3], planted, *CHAIN.entries[4:]]
    with pytest.raises(LedgerTamperedError, match="Entry 4 "):
        verify_entries(entries, 7, CHAIN.root)


def test_the_longest_ledger_that_a_head_can_tell_of_is_looked_for() -> None:
    """A size at the very limit is a size like any other."""
    with pytest.raises(LedgerTamperedError, match=f"its head says {limits.MAX_SEQUENCE}"):
        verify_entries(CHAIN.entries, limits.MAX_SEQUENCE, CHAIN.root)


def test_a_ledger_shorter_than_what_was_verified_is_refused() -> None:
    """An older head does not verify against a newer frontier."""
    with pytest.raises(LedgerTamperedError, match="fewer than the 7"):
        verify_entries([], 6, CHAIN.roots[6], start=CHAIN.frontier)
