"""Inclusion proofs: RFC 9162, section 2.1.3. A load needs none; whoever looks at one entry does."""

from __future__ import annotations

from collections.abc import Sequence

from sealstore.errors import ProofError, UsageError
from sealstore.ledger.consistency import Nodes, left_leaves, require_hashes, subtree_root
from sealstore.ledger.merkle import is_size, node_hash


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """The proof that the leaf ``index`` is in the tree of ``size`` leaves (section 2.1.3.1).

    Args:
        nodes: at most 2 log2(size) of them are fetched.
        index: the leaf, counted from 0.
        size: number of leaves.

    Raises:
        UsageError: there is no such leaf.
        LedgerTamperedError: a node that is needed is not there.
    """
    if not (is_size(index) and is_size(size) and index < size):
        raise UsageError(f"A ledger of {size} entries has no entry {index} to prove.")
    siblings: list[tuple[int, int]] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + left_leaves(stop - start)
        if index < middle:
            siblings.append((middle, stop))
            stop = middle
        else:
            siblings.append((start, middle))
            start = middle
    return [subtree_root(nodes, *sibling) for sibling in reversed(siblings)]


def verify_inclusion(
    leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if ``proof`` leads from the leaf to the root (RFC 9162, section 2.1.3.2).

    Args:
        leaf: what ``leaf_hash`` gave for the entry, 32 bytes.
        index: the leaf's place, counted from 0.
        size: number of leaves of the tree.
        root: of that tree, from a verified head, 32 bytes.
        proof: hashes of 32 bytes.

    Raises:
        ProofError: otherwise.
    """
    require_hashes(leaf, root, *proof)
    if not (is_size(index) and is_size(size) and index < size):
        raise ProofError("The inclusion proof is about an entry that the tree does not have.")
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("The inclusion proof has too many hashes.")
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        place >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("The inclusion proof has too few hashes.")
    if found != root:
        raise ProofError("The inclusion proof does not lead from the entry to the signed root.")
