"""Trees and proofs agree with another implementation (pymerkle) over any entries and sizes."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from sealstore.errors import LedgerTamperedError, ProofError
from sealstore.ledger.consistency import consistency_proof, verify_consistency
from sealstore.ledger.inclusion import inclusion_proof, verify_inclusion
from sealstore.ledger.merkle import Frontier, leaf_hash, verify_entries
from sealstore.ledger.whole_tree import find_alteration, frontier_at
from tests.ledger_trees import Chain, naive_consistency
from tests.sealstore_fixtures import fewer_examples

ENTRIES = st.lists(st.binary(max_size=40), min_size=1, max_size=70)


def theirs(entries: list[bytes]) -> InmemoryTree:
    return InmemoryTree.init_from_entries(entries, algorithm="sha256")


def their_root(entries: list[bytes]) -> bytes:
    root: bytes = theirs(entries).get_root()
    return root


@given(ENTRIES)
def test_all_roots_are_those_of_another_implementation(entries: list[bytes]) -> None:
    """Appended one by one or all at once, at every size on the way."""
    chain, other = Chain(entries), theirs(entries)
    assert chain.roots == [other.get_root(size) for size in range(len(entries) + 1)]
    assert Frontier().extended(entries) == chain.frontier
    assert verify_entries(entries, other.get_size(), other.get_root()) == chain.frontier


@given(ENTRIES, st.data())
def test_inclusion_proofs_are_those_of_another_implementation(
    entries: list[bytes], data: st.DataObject
) -> None:
    """Step by step; what theirs are made of verifies here, and the leaf is the one they hash."""
    size = data.draw(st.integers(1, len(entries)), "size")
    index = data.draw(st.integers(0, size - 1), "index")
    other = theirs(entries)
    # Theirs begins with the leaf itself, and counts from 1.
    leaf, *path = other.prove_inclusion(index + 1, size).path
    assert leaf == leaf_hash(entries[index])
    assert inclusion_proof(Chain(entries).nodes, index, size) == path
    verify_inclusion(leaf, index, size, other.get_root(size), path)


@given(ENTRIES, st.data())
def test_consistency_proofs_are_the_rfcs_over_the_roots_of_another_implementation(
    entries: list[bytes], data: st.DataObject
) -> None:
    """Theirs have another form; so the RFC's definition is applied, with their roots inside it."""
    new = data.draw(st.integers(1, len(entries)), "new size")
    old = data.draw(st.integers(1, new), "old size")
    other = theirs(entries)
    proof = consistency_proof(Chain(entries).nodes, old, new)
    assert proof == naive_consistency(old, entries[:new], their_root)
    verify_consistency(old, other.get_root(old), new, other.get_root(new), proof)
    # Theirs proves the same of the same two roots.
    other.prove_consistency(old, new).verify(other.get_root(old), other.get_root(new))


HASHES = st.binary(min_size=32, max_size=32)


@given(ENTRIES, st.data())
def test_nothing_but_the_right_proof_of_inclusion_verifies(
    entries: list[bytes], data: st.DataObject
) -> None:
    """Entry, place and steps are chosen freely: what verifies is what the tree holds there."""
    chain = Chain(entries)
    index = data.draw(st.integers(0, chain.size - 1), "index")
    right = inclusion_proof(chain.nodes, index, chain.size)
    steps = st.one_of(HASHES, st.sampled_from([*right, *chain.nodes.digests.values()]))
    entry = data.draw(st.one_of(st.sampled_from(entries), st.binary(max_size=40)), "entry")
    lists = st.lists(steps, min_size=len(right), max_size=len(right))
    proof = data.draw(st.one_of(st.just(right), lists), "proof")
    verify = partial(verify_inclusion, leaf_hash(entry), index, chain.size, chain.root, proof)
    if entry == entries[index] and proof == right:
        verify()
    else:
        with pytest.raises(ProofError):
            verify()


@given(ENTRIES, ENTRIES, st.data())
def test_a_chain_extends_another_only_if_it_begins_with_it(
    older: list[bytes], newer: list[bytes], data: st.DataObject
) -> None:
    """With the best proof that the newer chain's nodes give, for any two chains."""
    shared = data.draw(st.integers(0, len(older)), "shared")
    before, after = Chain(older), Chain([*older[:shared], *newer])
    if after.size < before.size:
        with pytest.raises(ProofError):
            verify_consistency(before.size, before.root, after.size, after.root, [])
        return
    proof = consistency_proof(after.nodes, before.size, after.size)
    verify = partial(verify_consistency, before.size, before.root, after.size, after.root, proof)
    if after.entries[: before.size] == older:
        verify()
    else:
        with pytest.raises(ProofError):
            verify()


@given(ENTRIES, st.data())
def test_any_change_of_the_entries_is_found(entries: list[bytes], data: st.DataObject) -> None:
    """Whatever the table holds instead: refused, and the first entry that differs is named."""
    chain = Chain(entries)
    changed = data.draw(
        st.one_of(
            st.permutations(entries),
            ENTRIES,
            st.integers(0, len(entries)).map(
                lambda place: [*entries[:place], *entries[place + 1 :]]
            ),
        ),
        "changed",
    )
    if changed == entries:
        assert verify_entries(changed, chain.size, chain.root) == chain.frontier
        return
    with pytest.raises(LedgerTamperedError):
        verify_entries(changed, chain.size, chain.root)
    found = find_alteration(
        chain.size, chain.root, chain.nodes, lambda start, stop: changed[start:stop]
    )
    same = [left == right for left, right in zip(entries, changed, strict=False)]
    first = same.index(False) if False in same else len(same)
    # What follows the last entry is no entry below the root: its number says that it is too many.
    assert found == (range(first, first + 1) if first < len(entries) else None)


@fewer_examples(0.3)
@given(st.lists(st.binary(max_size=8), min_size=200, max_size=300), st.data())
def test_a_client_verifies_on_from_any_root_that_it_kept(
    entries: list[bytes], data: st.DataObject
) -> None:
    """Incremental verification ends where a full one ends."""
    chain = Chain(entries)
    kept = data.draw(st.integers(0, chain.size), "kept")
    start = frontier_at(chain.nodes, kept, chain.roots[kept])
    rest = entries[kept:]
    assert verify_entries(rest, chain.size, chain.root, start=start) == chain.frontier
