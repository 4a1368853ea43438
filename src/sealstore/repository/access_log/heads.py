"""Heads of an access log: whether the one that is there is the log's, and the one that follows it.

Nothing here reads a file or a database; nodes come from whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sealstore import limits
from sealstore.errors import (
    AccessLogNotFoundError,
    LedgerTamperedError,
    RepositoryExchangedError,
)
from sealstore.keys.keyring import Keyring, State
from sealstore.ledger.consistency import Nodes, consistency_proof
from sealstore.ledger.continuity import require_extends_access, require_later_access
from sealstore.ledger.head import AccessHead, VerifiedHead, open_access_head
from sealstore.ledger.merkle import EMPTY_ROOT, Frontier, verify_entries
from sealstore.ledger.points import AccessCheckpoint


@dataclass(frozen=True, slots=True)
class SeenHead:
    """A head that this process verified, or signed itself.

    Attributes:
        envelope: its bytes, by which it is recognised.
        head: what it says.
        tree: its frontier.
        keyring: the keys that it was verified with: with others it is verified anew.
    """

    envelope: bytes
    head: AccessHead
    tree: Frontier
    keyring: Keyring


def present_envelope(envelope: bytes | None) -> bytes:
    """The envelope of a head that is there.

    Raises:
        AccessLogNotFoundError: there is none, or something that cannot be one.
    """
    if envelope is None:
        raise AccessLogNotFoundError("The access log has no head, or none that could be one.")
    return envelope


def open_log_head(
    envelope: bytes, keyring: Keyring, repository: str, *states: State
) -> VerifiedHead[AccessHead]:
    """The verified head of the repository's access log.

    Args:
        envelope: the head's.
        keyring: the keys.
        repository: id of the repository whose log it should be.
        states: what the key that signed it may be.

    Raises:
        VerificationError: the envelope is refused, or the key is in another state.
        RepositoryExchangedError: it is another repository's.
    """
    verified = open_access_head(envelope, keyring, keyring.ids(*states))
    if verified.head.repository != repository:
        raise RepositoryExchangedError(
            f"This is an access log of repository {verified.head.repository}, not of {repository}."
        )
    return verified


class StoredChain(Nodes, Protocol):
    """What is stored of the log; none of it is believed."""

    def entries(self, start: int, stop: int) -> Iterable[bytes]:
        """The entries from index ``start`` up to ``stop``, counted from 0."""
        ...


def followed(known: SeenHead, head: AccessHead, chain: StoredChain) -> Frontier:
    """The frontier of ``head``, if it is a later state of what this process has seen, or the same.

    Of few entries that are new, each is verified; of many, a proof is made from the stored nodes.

    Args:
        known: what this process has seen.
        head: a verified head.
        chain: what is stored.

    Raises:
        RepositoryExchangedError, RollbackError, LedgerTamperedError: as ``require_extended``; or
            the new entries are not the ones that the head sums up.
    """
    if head.size - known.head.size > limits.NEAR_ENTRIES:
        require_extended(known.head, head, chain)
        return head.tree()
    require_later_access(known.head, head)
    entries = chain.entries(known.head.size, head.size)
    return verify_entries(entries, head.size, bytes.fromhex(head.root), start=known.tree)


def require_extended(older: AccessHead | AccessCheckpoint, newer: AccessHead, nodes: Nodes) -> None:
    """Return if ``newer`` is a later state of the log that ``older`` is of, or the same.

    Args:
        older: what was seen before.
        newer: a verified head.
        nodes: the stored ones, from which the proof is made.

    Raises:
        RepositoryExchangedError: it is another log.
        RollbackError: it is an older state.
        LedgerTamperedError: it never followed the older one, or the stored nodes do not prove it.
    """
    proof: Sequence[bytes] = ()
    # Of anything else there is no proof, and its absence is not the reason to tell.
    if newer.log == older.log and newer.size >= older.size:
        proof = consistency_proof(nodes, older.size, newer.size)
    require_extends_access(older, newer, proof)


def require_whole_tail(newest: int, head: AccessHead) -> None:
    """Return if the rows end where the head says.

    Args:
        newest: the largest sequence that a row has.
        head: the verified head.

    Raises:
        LedgerTamperedError: entries are missing at the end, or there are more.
    """
    if newest != head.size:
        raise LedgerTamperedError(
            f"The access log's last entry is number {newest}, and its signed head says {head.size}:"
            f" entries were {'added' if newest > head.size else 'removed'}."
        )


def first_head(repository: str, log: str, time: str) -> AccessHead:
    """The head of a log without entries."""
    return AccessHead(
        repository=repository, log=log, size=0, root=EMPTY_ROOT.hex(), frontier=(), time=time
    )


def next_head(head: AccessHead, tree: Frontier, time: str) -> AccessHead:
    """The head that follows ``head``, of the tree with one more entry."""
    return AccessHead(
        repository=head.repository,
        log=head.log,
        size=tree.size,
        root=tree.root().hex(),
        frontier=tuple(root.hex() for root in tree.roots),
        # A clock that was set back must not date this head before the one that it follows.
        time=max(time, head.time),
    )
