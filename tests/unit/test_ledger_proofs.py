"""Proofs: the published ones come out, right ones verify, and every other one is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import LedgerTamperedError, ProofError, UsageError
from sealstore.ledger.consistency import consistency_proof, verify_consistency
from sealstore.ledger.inclusion import inclusion_proof, verify_inclusion
from sealstore.ledger.merkle import leaf_hash
from sealstore.ledger.whole_tree import find_alteration, frontier_at
from tests.ledger_trees import Chain, naive_consistency, naive_inclusion, naive_root
from tests.matrix import each_row
from tests.unit.test_ledger_merkle import LEAVES, VECTORS

PUBLISHED = Chain(LEAVES)
CHAIN = Chain.of(40)


@pytest.mark.parametrize("vector", VECTORS["inclusion"])
def test_the_published_inclusion_proofs_come_out(vector: dict[str, Any]) -> None:
    """Proofs are the ones that others make, and theirs verify."""
    index, size = vector["index"], vector["size"]
    proof = [bytes.fromhex(step) for step in vector["proof"]]
    assert inclusion_proof(PUBLISHED.nodes, index, size) == proof
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, PUBLISHED.roots[size], proof)


@pytest.mark.parametrize("vector", VECTORS["consistency"])
def test_the_published_consistency_proofs_come_out(vector: dict[str, Any]) -> None:
    """Proofs are the ones that others make, and theirs verify."""
    old, new = vector["old"], vector["new"]
    proof = [bytes.fromhex(step) for step in vector["proof"]]
    assert consistency_proof(PUBLISHED.nodes, old, new) == proof
    verify_consistency(old, PUBLISHED.roots[old], new, PUBLISHED.roots[new], proof)


@each_row("size", range(1, CHAIN.size + 1))
def test_every_entry_of_every_tree_is_proven(size: int) -> None:
    """The proof for each place is the RFC's, and verifies."""
    entries = CHAIN.entries[:size]
    for index in range(size):
        proof = inclusion_proof(CHAIN.nodes, index, size)
        assert proof == naive_inclusion(index, entries, naive_root)
        verify_inclusion(leaf_hash(entries[index]), index, size, CHAIN.roots[size], proof)


@each_row("new", range(CHAIN.size + 1))
def test_every_tree_extends_every_smaller_one(new: int) -> None:
    """The proof for each pair of sizes is the RFC's, and verifies."""
    for old in range(new + 1):
        proof = consistency_proof(CHAIN.nodes, old, new)
        assert proof == (naive_consistency(old, CHAIN.entries[:new], naive_root) if old else [])
        verify_consistency(old, CHAIN.roots[old], new, CHAIN.roots[new], proof)


def mutations(proof: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Every proof with one step flipped, dropped, repeated, swapped, cut or longer."""
    for place in range(len(proof)):
        before, step, after = proof[:place], proof[place], proof[place + 1 :]
        for byte in (0, 31):
            flipped = bytearray(step)
            flipped[byte] ^= 1
            yield f"flipped {place}", [*before, bytes(flipped), *after]
        yield f"dropped {place}", [*before, *after]
        yield f"repeated {place}", [*before, step, step, *after]
        yield f"cut {place}", [*before, step[:31], *after]
        yield f"longer {place}", [*before, step + b"\0", *after]
    for place in range(len(proof) - 1):
        swapped = list(proof)
        swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
        yield f"swapped {place}", swapped
        joined = [*proof[:place], proof[place] + proof[place + 1], *proof[place + 2 :]]
        yield f"joined {place}", joined
    yield "appended", [*proof, b"\0" * 32]
    yield "prepended", [b"\0" * 32, *proof]
    yield "empty step", [*proof, b""]


def is_refused(verify: Callable[..., None], *arguments: object) -> bool:
    try:
        verify(*arguments)
    except ProofError:
        return True
    return False


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 2), (3, 8), (6, 7), (4, 5), (20, 37)])
def test_no_other_inclusion_proof_verifies(index: int, size: int) -> None:
    """Whatever is changed in a proof, its entry, its place, its size or its root: refused."""
    leaf, root = leaf_hash(CHAIN.entries[index]), CHAIN.roots[size]
    proof = inclusion_proof(CHAIN.nodes, index, size)
    verify_inclusion(leaf, index, size, root, proof)
    for what, mutated in mutations(proof):
        assert is_refused(verify_inclusion, leaf, index, size, root, mutated), what
    for other in set(range(size)) - {index}:
        with pytest.raises(ProofError):
            verify_inclusion(leaf, other, size, root, proof)
        with pytest.raises(ProofError):
            verify_inclusion(leaf_hash(CHAIN.entries[other]), index, size, root, proof)
    for other in set(range(CHAIN.size + 1)) - {size}:
        with pytest.raises(ProofError):
            verify_inclusion(leaf, index, size, CHAIN.roots[other], proof)


@pytest.mark.parametrize(
    ("old", "new"), [(1, 2), (1, 3), (2, 3), (4, 7), (6, 7), (7, 8), (8, 9), (21, 37), (32, 40)]
)
def test_no_other_consistency_proof_verifies(old: int, new: int) -> None:
    """Whatever is changed in a proof, its sizes or its roots: refused."""
    roots = CHAIN.roots
    proof = consistency_proof(CHAIN.nodes, old, new)
    for what, mutated in mutations(proof):
        assert is_refused(verify_consistency, old, roots[old], new, roots[new], mutated), what
    with pytest.raises(ProofError):
        verify_consistency(old, roots[old], new, roots[new], [])
    for other in range(CHAIN.size + 1):
        if other != old:
            with pytest.raises(ProofError):
                verify_consistency(old, roots[other], new, roots[new], proof)
            with pytest.raises(ProofError):
                verify_consistency(other, roots[other], new, roots[new], proof)
        if other != new:
            with pytest.raises(ProofError):
                verify_consistency(old, roots[old], new, roots[other], proof)


def test_a_size_that_the_root_does_not_say_is_not_found_out_by_the_proof_alone() -> None:
    """RFC 9162 binds a size by the signed head, not by the tree: some sizes share a proof."""
    # The same steps lead to the root whether the last subtree is complete or not.
    proof = inclusion_proof(CHAIN.nodes, 0, 5)
    verify_inclusion(leaf_hash(CHAIN.entries[0]), 0, 5, CHAIN.roots[5], proof)
    verify_inclusion(leaf_hash(CHAIN.entries[0]), 0, 6, CHAIN.roots[5], proof)


def test_a_proof_of_another_tree_does_not_pass_for_one_of_this_size() -> None:
    """Steps that lead to the root are refused where the sizes say that there are more or fewer."""
    leaves = [leaf_hash(entry) for entry in CHAIN.entries[:2]]
    root = CHAIN.roots[2]
    verify_inclusion(leaves[1], 1, 2, root, [leaves[0]])
    with pytest.raises(ProofError, match="too many"):
        verify_inclusion(leaves[1], 0, 1, root, [leaves[0]])
    with pytest.raises(ProofError, match="too few"):
        verify_inclusion(leaves[1], 1, 4, root, [leaves[0]])
    roots, proof = CHAIN.roots, consistency_proof(CHAIN.nodes, 7, 8)
    verify_consistency(7, roots[7], 8, roots[8], proof)
    with pytest.raises(ProofError, match="too many"):
        verify_consistency(3, roots[7], 4, roots[8], proof)
    with pytest.raises(ProofError, match="too few"):
        verify_consistency(15, roots[7], 16, roots[8], proof)
    with pytest.raises(ProofError, match="too few"):
        verify_consistency(3, roots[3], 4, roots[4], [])


def test_a_place_beyond_the_end_is_not_taken_for_one_before_it() -> None:
    """The steps would fit: it is the place, or the order of the sizes, that is impossible."""
    leaves = [leaf_hash(entry) for entry in CHAIN.entries[:2]]
    for place, leaf, sibling in ((2, leaves[0], leaves[1]), (3, leaves[1], leaves[0])):
        with pytest.raises(ProofError, match="does not have"):
            verify_inclusion(leaf, place, 2, CHAIN.roots[2], [sibling])
    with pytest.raises(ProofError, match="became smaller"):
        verify_consistency(4, CHAIN.roots[4], 2, CHAIN.roots[4], [])


def test_a_rewritten_history_is_no_extension() -> None:
    """A longer chain whose past differs in any entry has no proof from the remembered root."""
    for rewritten in range(10):
        forged = Chain([*CHAIN.entries[:rewritten], b"forged", *CHAIN.entries[rewritten + 1 :]])
        for size in range(rewritten + 1, 11):
            proof = consistency_proof(forged.nodes, size, forged.size)
            with pytest.raises(ProofError):
                verify_consistency(size, CHAIN.roots[size], forged.size, forged.root, proof)


HASH = b"h" * 32


@pytest.mark.parametrize("size", [0, 5])
def test_two_trees_of_one_size_have_one_root(size: int) -> None:
    """A fork at the very size that was seen is refused."""
    verify_consistency(size, CHAIN.roots[size], size, CHAIN.roots[size], [])
    for old, new in [(CHAIN.roots[size], HASH), (HASH, CHAIN.roots[size])]:
        with pytest.raises(ProofError):
            verify_consistency(size, old, size, new, [])
    with pytest.raises(ProofError, match="where none is needed"):
        verify_consistency(size, CHAIN.roots[size], size, CHAIN.roots[size], [HASH])


def test_a_tree_without_entries_has_the_empty_root() -> None:
    """A made-up root of size 0 is not extended by anything, not even by itself."""
    for size, root in [(0, HASH), (4, CHAIN.roots[4])]:
        with pytest.raises(ProofError, match="without entries"):
            verify_consistency(0, HASH, size, root, [])
    with pytest.raises(ProofError, match="where none is needed"):
        verify_consistency(0, CHAIN.roots[0], 4, CHAIN.roots[4], [HASH])


TOO_LARGE = limits.MAX_SEQUENCE + 1


@pytest.mark.parametrize(
    ("first", "second"),
    [(3, 2), (-1, 2), (1, -1), (True, 2), (1, True), (1.0, 2), ("1", 2), (1, None), (1, TOO_LARGE)],
)
def test_impossible_sizes_are_refused(first: Any, second: Any) -> None:
    """Neither a proof nor a verification is about sizes that no ledger has."""
    with pytest.raises(ProofError):
        verify_consistency(first, HASH, second, HASH, [])
    with pytest.raises(ProofError):
        verify_inclusion(HASH, first, second, HASH, [])
    with pytest.raises(UsageError):
        consistency_proof(CHAIN.nodes, first, second)
    with pytest.raises(UsageError):
        inclusion_proof(CHAIN.nodes, first, second)


def test_an_entry_at_the_end_is_not_there_yet() -> None:
    """Places are counted from 0, so the last is one below the size."""
    with pytest.raises(UsageError, match="no entry 4"):
        inclusion_proof(CHAIN.nodes, 4, 4)
    with pytest.raises(ProofError):
        verify_inclusion(HASH, 4, 4, HASH, [HASH, HASH])


@pytest.mark.parametrize("bad", [b"", HASH[:31], HASH + b"h", "h" * 32, None, bytearray(HASH)])
def test_what_is_no_hash_is_refused(bad: Any) -> None:
    """Of other lengths, two different pairs could be hashed to the same node."""
    for leaf, root, proof in [(bad, HASH, []), (HASH, bad, []), (HASH, HASH, [bad])]:
        with pytest.raises(ProofError, match="32 bytes"):
            verify_inclusion(leaf, 0, 2, root, proof)
        with pytest.raises(ProofError, match="32 bytes"):
            verify_consistency(1, leaf, 2, root, proof)


def test_hashes_shifted_against_each_other_are_refused() -> None:
    """The same bytes, divided at another place, are another proof and none."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    root = Chain([b"a", b"b"]).root
    verify_inclusion(left, 0, 2, root, [right])
    with pytest.raises(ProofError):
        verify_inclusion(left + right[:1], 0, 2, root, [right[1:]])


# ── stored nodes ─────────────────────────────────────────────────────────────


def test_a_proof_takes_few_nodes() -> None:
    """At most two for each level of the tree, whatever is proven."""
    large = Chain.of(1000)
    proofs: list[Callable[..., list[bytes]]] = [inclusion_proof, consistency_proof]
    for make, place, size in itertools.product(proofs, range(0, 990, 37), (990, 999, 1000)):
        large.nodes.asked.clear()
        make(large.nodes, place, size)
        assert len(large.nodes.asked) <= 2 * size.bit_length()
    large.nodes.asked.clear()
    frontier_at(large.nodes, 999, large.roots[999])
    assert len(large.nodes.asked) == (999).bit_count()


def test_a_poisoned_node_gives_no_proof() -> None:
    """Stored nodes are never believed: what is made of a false one does not verify."""
    size = 13
    leaf, root = leaf_hash(CHAIN.entries[4]), CHAIN.roots[size]
    for node in list(CHAIN.nodes.digests):
        poisoned = Chain.of(size)
        poisoned.nodes.digests[node] = HASH
        poisoned.nodes.asked.clear()
        proof = inclusion_proof(poisoned.nodes, 4, size)
        if node in poisoned.nodes.asked:
            with pytest.raises(ProofError):
                verify_inclusion(leaf, 4, size, root, proof)
        poisoned.nodes.asked.clear()
        proof = consistency_proof(poisoned.nodes, 6, size)
        if node in poisoned.nodes.asked:
            with pytest.raises(ProofError):
                verify_consistency(6, CHAIN.roots[6], size, root, proof)


@pytest.mark.parametrize("stored", [None, b"", HASH[:31], "h" * 32])
def test_a_missing_node_is_named(stored: Any) -> None:
    """A node that was deleted, or is no hash, stops the proof and is named."""
    chain = Chain.of(7)
    chain.nodes.digests[2, 0] = stored
    for prove in (
        lambda: inclusion_proof(chain.nodes, 4, 7),
        lambda: consistency_proof(chain.nodes, 5, 7),
        lambda: frontier_at(chain.nodes, 7, chain.root),
    ):
        with pytest.raises(LedgerTamperedError, match="hash 0 of level 2"):
            prove()


@each_row("size", range(CHAIN.size + 1))
def test_the_frontier_of_an_older_tree_comes_from_the_nodes(size: int) -> None:
    """Whoever holds an older root can verify from there on."""
    found = frontier_at(CHAIN.nodes, size, CHAIN.roots[size])
    assert found.extended(CHAIN.entries[size:]) == CHAIN.frontier


def test_a_poisoned_frontier_is_refused() -> None:
    """Nodes that do not lead to the signed root are no frontier to append to."""
    chain = Chain.of(5)
    chain.nodes.digests[0, 4] = HASH
    with pytest.raises(LedgerTamperedError, match="not those of the signed root"):
        frontier_at(chain.nodes, 5, chain.root)


# ── finding what was changed ─────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, 2, 5, 8, 13])
def test_nothing_is_found_where_nothing_was_changed(size: int) -> None:
    """Right entries are right, whatever happened to the nodes."""
    chain = Chain.of(size)
    assert find_alteration(size, chain.root, chain.nodes, chain.between) is None
    chain.nodes.digests.clear()
    assert find_alteration(size, chain.root, chain.nodes, chain.between) is None


@pytest.mark.parametrize("size", [1, 2, 3, 8, 13])
def test_the_first_changed_entry_is_found(size: int) -> None:
    """With sound nodes, an edit is found exactly, and of two the first."""
    root = Chain.of(size).root
    for first in range(size):
        for second in range(first, size):
            chain = Chain.of(size)
            chain.entries[first] = b"edited"
            chain.entries[second] = b"edited"
            found = find_alteration(size, root, chain.nodes, chain.between)
            assert found == range(first, first + 1)


@each_row("place", range(13))
def test_a_deleted_or_inserted_entry_is_found(place: int) -> None:
    """From there on, every entry is at another place."""
    root = Chain.of(13).root
    deleted = Chain.of(13)
    del deleted.entries[place]
    assert find_alteration(13, root, deleted.nodes, deleted.between) == range(place, place + 1)
    inserted = Chain.of(13)
    inserted.entries.insert(place, b"new")
    assert find_alteration(13, root, inserted.nodes, inserted.between) == range(place, place + 1)


@each_row("place", range(13))
def test_changed_nodes_only_widen_what_is_found(place: int) -> None:
    """An attacker who edits nodes as well hides the place, but not that there is one."""
    root = Chain.of(13).root
    for node in Chain.of(13).nodes.digests:
        for stored in (HASH, None):
            chain = Chain.of(13)
            chain.entries[place] = b"edited"
            if stored is None:
                del chain.nodes.digests[node]
            else:
                chain.nodes.digests[node] = stored
            found = find_alteration(13, root, chain.nodes, chain.between)
            assert found is not None
            assert place in found
    chain = Chain([*CHAIN.entries[:place], b"edited", *CHAIN.entries[place + 1 : 13]])
    assert find_alteration(13, root, chain.nodes, chain.between) == range(13)


def test_an_entry_that_is_no_bytes_is_found() -> None:
    """SQLite keeps whatever type is written."""
    chain = Chain.of(13)
    planted: Any = "entry 6"
    chain.entries[6] = planted
    assert find_alteration(13, chain.root, chain.nodes, chain.between) == range(6, 7)


def test_a_table_without_end_is_searched_all_the_same() -> None:
    """No more is read than the head has."""
    chain = Chain.of(8)

    def endless(start: int, _: int) -> Iterator[bytes]:
        return (b"row %d" % number for number in itertools.count(start))

    assert find_alteration(8, chain.root, chain.nodes, endless) == range(1)
