"""Consistency proofs: RFC 9162, section 2.1.4. Those of one entry stand in ``inclusion``.

A proof is made from stored nodes, which are never believed: whoever makes one for itself verifies
it like anybody else's. Verifying returns or raises, and says nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from sealstore.errors import LedgerTamperedError, ProofError, UsageError
from sealstore.ledger.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    Frontier,
    is_hash,
    is_size,
    node_hash,
)


class Nodes(Protocol):
    """Where the nodes of a tree are stored: those that ``Frontier.append`` returned."""

    def get(self, level: int, index: int) -> bytes | None:
        """The digest that is stored for a node, 32 bytes; None where there is none."""
        ...


# ── making proofs ────────────────────────────────────────────────────────────


def consistency_proof(nodes: Nodes, old_size: int, new_size: int) -> list[bytes]:
    """The proof that a tree's first ``old_size`` leaves are the older tree (section 2.1.4.1).

    Args:
        nodes: at most 2 log2(new_size) of them are fetched.
        old_size: number of leaves of the older tree; nothing needs proof for 0.
        new_size: number of leaves of the newer tree.

    Raises:
        UsageError: the older tree is larger than the newer.
        LedgerTamperedError: a node that is needed is not there.
    """
    if not (is_size(old_size) and is_size(new_size) and old_size <= new_size):
        raise UsageError(f"A ledger of {new_size} entries cannot extend one of {old_size}.")
    if old_size in (0, new_size):
        return []
    subtrees: list[tuple[int, int]] = []
    start, stop = 0, new_size
    while old_size != stop:
        middle = start + left_leaves(stop - start)
        if old_size <= middle:
            subtrees.append((middle, stop))
            stop = middle
        else:
            subtrees.append((start, middle))
            start = middle
    # From the left edge on, this subtree is the whole older tree, which the verifier knows.
    if start > 0:
        subtrees.append((start, stop))
    return [subtree_root(nodes, *subtree) for subtree in reversed(subtrees)]


def left_leaves(leaves: int) -> int:
    """The largest power of two below ``leaves``, which is at least 2."""
    return 1 << ((leaves - 1).bit_length() - 1)


def complete_subtrees(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The level and index of each complete subtree of a subtree, from left to right."""
    # A subtree begins at a multiple of the largest power of two that fits into it.
    while start < stop:
        level = (stop - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def subtree_root(nodes: Nodes, start: int, stop: int) -> bytes:
    """The root over some leaves that are a subtree, from stored nodes: 32 bytes.

    Raises:
        LedgerTamperedError: a node that is needed is not there.
    """
    roots = tuple(
        fetched_node(nodes, level, index) for level, index in complete_subtrees(start, stop)
    )
    return Frontier(stop - start, roots).root()


def fetched_node(nodes: Nodes, level: int, index: int) -> bytes:
    """The digest of a stored node: 32 bytes.

    Raises:
        LedgerTamperedError: it is not there.
    """
    digest = nodes.get(level, index)
    if not is_hash(digest):
        raise LedgerTamperedError(
            f"The ledger's stored hash {index} of level {level} is missing or not a hash."
        )
    return digest


# ── verifying proofs ─────────────────────────────────────────────────────────


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the newer tree begins with all leaves of the older (RFC 9162, section 2.1.4.2).

    Args:
        old_size, old_root: the older tree's number of leaves and root (32 bytes).
        new_size, new_root: the newer tree's.
        proof: hashes of 32 bytes; none for two trees of one size, or where the older is empty.

    Raises:
        ProofError: otherwise.
    """
    require_hashes(old_root, new_root, *proof)
    if not (is_size(old_size) and is_size(new_size) and old_size <= new_size):
        raise ProofError("The consistency proof is about a tree that became smaller.")
    if old_size in (0, new_size):
        # The RFC leaves these two out; nothing is left to prove but what is compared here.
        if proof:
            raise ProofError("The consistency proof has hashes where none is needed.")
        if old_size == 0 and old_root != EMPTY_ROOT:
            raise ProofError("A tree without entries has another root than the empty one.")
        if old_size == new_size and old_root != new_root:
            raise ProofError("Two trees of one size have different roots.")
        return
    # An older tree that is a complete subtree of the newer is not repeated in the proof.
    is_complete = old_size.bit_count() == 1
    path = [old_root, *proof] if is_complete else list(proof)
    found_old, found_new = _consistent_roots(path, old_size, new_size)
    if found_old != old_root:
        raise ProofError("The consistency proof does not lead to the older root.")
    if found_new != new_root:
        raise ProofError("The consistency proof does not lead to the newer root.")


def _consistent_roots(path: list[bytes], old_size: int, new_size: int) -> tuple[bytes, bytes]:
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place >>= 1
        last >>= 1
    if not path:
        raise ProofError("The consistency proof has too few hashes.")
    found_old = found_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("The consistency proof has too many hashes.")
        if place & 1 or place == last:
            found_old = node_hash(sibling, found_old)
            found_new = node_hash(sibling, found_new)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            found_new = node_hash(found_new, sibling)
        place >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("The consistency proof has too few hashes.")
    return found_old, found_new


def require_hashes(*hashes: object) -> None:
    """Return if all of them are 32 bytes.

    Raises:
        ProofError: one is not.
    """
    # Of other lengths, two pairs of hashes could be one string of bytes.
    if not all(map(is_hash, hashes)):
        raise ProofError(f"A proof consists of hashes of {HASH_BYTES} bytes.")
