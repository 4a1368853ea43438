"""The Merkle tree over the entries of a chain: RFC 9162, section 2.1, with SHA-256.

A tree of any size is made of complete subtrees, one for each bit that is set in the size. A
complete subtree of 2**level leaves never changes again; it is called a node, and named by its level
(0: a leaf) and its index among those of its level. The roots of the subtrees that make up the whole
tree are its *frontier*: enough to append, and to compute the root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final, NamedTuple, TypeGuard

from sealstore import limits
from sealstore.errors import LedgerFormatError, LedgerTamperedError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree without leaves."""

LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry as a leaf (RFC 9162, section 2.1.1): 32 bytes."""
    return sha256(LEAF_PREFIX + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees' roots, of 32 bytes each (RFC 9162, section 2.1.1): 32 bytes.

    Callers have checked the two lengths: of others, several pairs would have one hash.
    """
    return sha256(NODE_PREFIX + left + right).digest()


def is_hash(value: object) -> TypeGuard[bytes]:
    """Whether ``value`` is 32 bytes."""
    return type(value) is bytes and len(value) == HASH_BYTES


def is_size(value: object) -> bool:
    """Whether ``value`` is a possible number of leaves."""
    # bool is an int.
    return type(value) is int and 0 <= value <= limits.MAX_SEQUENCE


@dataclass(frozen=True, slots=True)
class Node:
    """The root of the complete subtree over the leaves ``index << level`` to the next node's first.

    Attributes:
        level: 0 for a leaf; the subtree has ``1 << level`` leaves.
        index: place among the nodes of this level, counted from 0.
        digest: 32 bytes.
    """

    level: int
    index: int
    digest: bytes


class Appended(NamedTuple):
    """What appending a leaf gives.

    Attributes:
        frontier: the frontier of the tree that has the leaf.
        nodes: the nodes that the leaf completed, itself first: what a store of nodes adds.
    """

    frontier: Frontier
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: its size, and the roots of its complete subtrees.

    Args:
        size: number of leaves.
        roots: from the largest subtree, which is the leftmost, to the smallest; 32 bytes each.

    Raises:
        LedgerFormatError: there are more or fewer roots than a tree of this size has.
    """

    size: int = 0
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not (
            is_size(self.size)
            and type(self.roots) is tuple
            and len(self.roots) == self.size.bit_count()
            and all(map(is_hash, self.roots))
        ):
            raise LedgerFormatError("The hashes are not the frontier of a tree of this size.")

    def root(self) -> bytes:
        """The root of the tree: 32 bytes."""
        if not self.roots:
            return EMPTY_ROOT
        *larger, root = self.roots
        for left in reversed(larger):
            root = node_hash(left, root)
        return root

    def append(self, leaf: bytes) -> Appended:
        """The tree with one more leaf, and the nodes that it completed.

        Args:
            leaf: what ``leaf_hash`` gave for the entry.

        Raises:
            LedgerFormatError: ``leaf`` is not 32 bytes, or the tree is full.
        """
        if not is_hash(leaf):
            raise LedgerFormatError("A leaf is a hash of 32 bytes.")
        nodes = [Node(0, self.size, leaf)]
        roots = list(self.roots)
        index = self.size
        while index & 1:
            index >>= 1
            nodes.append(Node(len(nodes), index, node_hash(roots.pop(), nodes[-1].digest)))
        roots.append(nodes[-1].digest)
        return Appended(Frontier(self.size + 1, tuple(roots)), tuple(nodes))

    def extended(self, entries: Iterable[bytes]) -> Frontier:
        """The tree with all of ``entries`` appended, made much faster than one by one.

        Args:
            entries: the entries themselves, not their hashes.

        Raises:
            LedgerFormatError: the tree is full.
            LedgerTamperedError: an entry is not of type bytes.
        """
        size = self.size
        roots = list(self.roots)
        # Names of the function's own: this loop runs for each entry of the ledger.
        digest, leaf, inner, pop, push = sha256, LEAF_PREFIX, NODE_PREFIX, roots.pop, roots.append
        for entry in entries:
            # A database may hold text, or nothing, where it should hold bytes.
            if type(entry) is not bytes:
                raise LedgerTamperedError(f"Entry {size + 1} of the ledger is not made of bytes.")
            node = digest(leaf + entry).digest()
            complete = size
            while complete & 1:
                node = digest(inner + pop() + node).digest()
                complete >>= 1
            push(node)
            size += 1
        return Frontier(size, tuple(roots))


def at_most_one_more(entries: Iterable[bytes], expected: int) -> Iterator[bytes]:
    """``entries``, up to one beyond those expected, so that a table without end does end here."""
    return islice(entries, min(expected + 1, limits.MAX_SEQUENCE))


def verify_entries(
    entries: Iterable[bytes], size: int, root: bytes, *, start: Frontier | None = None
) -> Frontier:
    """The frontier of the tree, if ``entries`` are exactly those below ``root``.

    Args:
        entries: every entry in order; with ``start``, those after it.
        size: the number of entries that the signed head gives.
        root: the root that the signed head gives, 32 bytes.
        start: the frontier of a verified head before, to verify only what was appended since.

    Raises:
        LedgerTamperedError: there are more, fewer or other entries. ``whole_tree.find_alteration``
            finds the first that differs.
    """
    before = Frontier() if start is None else start
    missing = size - before.size
    if missing < 0:
        raise LedgerTamperedError(
            f"The ledger should have {size} entries, fewer than the {before.size} that were"
            " verified before."
        )
    found = before.extended(at_most_one_more(entries, missing))
    if found.size < size:
        raise LedgerTamperedError(f"The ledger has {found.size} entries; its head says {size}.")
    if found.size > size:
        raise LedgerTamperedError(f"The ledger has more entries than the {size} of its head.")
    if found.root() != root:
        raise LedgerTamperedError("The ledger's entries are not the ones that its head sums up.")
    return found
