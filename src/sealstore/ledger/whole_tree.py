"""What an audit asks of a whole tree: all of its nodes, and the first entry that was altered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from sealstore.errors import LedgerTamperedError
from sealstore.ledger.consistency import (
    Nodes,
    complete_subtrees,
    fetched_node,
    left_leaves,
    subtree_root,
)
from sealstore.ledger.merkle import (
    LEAF_PREFIX,
    NODE_PREFIX,
    Frontier,
    at_most_one_more,
    node_hash,
)


class NodeRun(NamedTuple):
    """Nodes of one level that stand beside each other.

    Attributes:
        level: see ``Node``.
        first: index of the first.
        digests: of all of them, 32 bytes each.
    """

    level: int
    first: int
    digests: list[bytes]


class Grown(NamedTuple):
    """What appending many entries gives.

    Attributes:
        frontier: the frontier of the tree that has them all.
        runs: every node that they completed, the leaves first.
    """

    frontier: Frontier
    runs: list[NodeRun]


def grown(tree: Frontier, entries: Sequence[bytes]) -> Grown:
    """The tree with all of ``entries`` appended, and the nodes that they completed.

    Level by level, which takes no longer than ``Frontier.extended``: for many entries at a time.

    Args:
        tree: the one before.
        entries: the entries themselves, not their hashes.

    Raises:
        LedgerFormatError: the tree is full.
        LedgerTamperedError: an entry is not of type bytes.
    """
    for number, entry in enumerate(entries, tree.size + 1):
        if type(entry) is not bytes:
            raise LedgerTamperedError(f"Entry {number} of the ledger is not made of bytes.")
    size = tree.size + len(entries)
    before = list(tree.roots)
    digest, leaf, inner = sha256, LEAF_PREFIX, NODE_PREFIX
    nodes = [digest(leaf + entry).digest() for entry in entries]
    runs: list[NodeRun] = []
    roots: list[bytes] = []
    level = 0
    while size >> level:
        first = tree.size >> level
        if nodes:
            runs.append(NodeRun(level, first, nodes))
        # The left one of the first pair was there before, or the whole level was.
        row = [before.pop(), *nodes] if first & 1 else nodes
        if size >> level & 1:
            roots.append(row[-1])
        pairs = zip(row[::2], row[1::2], strict=False)
        nodes = [digest(inner + left + right).digest() for left, right in pairs]
        level += 1
    return Grown(Frontier(size, tuple(reversed(roots))), runs)


def frontier_at(nodes: Nodes, size: int, root: bytes) -> Frontier:
    """The frontier of the tree of ``size`` leaves, from stored nodes, held against its root.

    Args:
        nodes: one for each bit that is set in ``size`` is fetched.
        size: number of leaves, at most those of the stored tree.
        root: the root that a verified head or checkpoint gives, 32 bytes.

    Raises:
        LedgerTamperedError: a node is not there, or they do not lead to the root.
    """
    found = Frontier(size, tuple(fetched_node(nodes, *node) for node in complete_subtrees(0, size)))
    if found.root() != root:
        raise LedgerTamperedError("The stored hashes are not those of the signed root.")
    return found


def find_alteration(
    size: int, root: bytes, nodes: Nodes, entries: Callable[[int, int], Iterable[bytes]]
) -> range | None:
    """Where the first entry is that is not the one below ``root``.

    From the signed root downwards, stored nodes are followed as far as they fit it.

    Args:
        size, root: of a verified head.
        nodes: the stored nodes, which may have been changed as well.
        entries: gives the stored entries from one index up to another.

    Returns:
        The index of the entry, or the narrowest range that the nodes that were left show; None if
        all entries are right.
    """
    if _root_of(entries, 0, size) == root:
        return None
    start, stop, signed = 0, size, root
    while stop - start > 1:
        middle = start + left_leaves(stop - start)
        try:
            left = subtree_root(nodes, start, middle)
            right = subtree_root(nodes, middle, stop)
        except LedgerTamperedError:
            break
        if node_hash(left, right) != signed:
            break
        if _root_of(entries, start, middle) != left:
            stop, signed = middle, left
        else:
            start, signed = middle, right
    return range(start, stop)


def _root_of(entries: Callable[[int, int], Iterable[bytes]], start: int, stop: int) -> bytes | None:
    """The root over some of the entries; None where there are more or fewer, or no bytes."""
    leaves = stop - start
    try:
        found = Frontier().extended(at_most_one_more(entries(start, stop), leaves))
    except LedgerTamperedError:
        return None
    return found.root() if found.size == leaves else None
