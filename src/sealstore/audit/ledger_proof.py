"""Head, history and map in one snapshot: all of them proven, before anything is done with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sealstore.audit.chains import AuditedChain, ChainName, Entry
from sealstore.audit.contents import Contents
from sealstore.audit.findings import AuditFinding, Findings
from sealstore.audit.hashing import HashingPass
from sealstore.audit.replaying import Replay
from sealstore.ledger.entries import HistoryEntry, decode_history_entry
from sealstore.ledger.head import Head
from sealstore.ledger.merkle import Frontier, verify_entries
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.state import RepositoryState
from sealstore.storage.catalogue import ChainReader, Reading


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """What a snapshot's ledger proves.

    Attributes:
        state: what its verified head vouches for.
        tree: the tree of the history's entries; the head's, if ``is_whole``.
        is_whole: whether the entries are exactly those of the head.
        contents: what they leave; nothing where they are not whole.
        entries, map_records: how many of them were proven.
        findings: what is wrong with history and map.
        findings_in_all: how many there are, those that are not told one by one among them.
    """

    state: RepositoryState
    tree: Frontier
    is_whole: bool
    contents: Contents
    entries: int
    map_records: int
    findings: list[AuditFinding]
    findings_in_all: int


def prove_ledger(
    rows: Reading,
    state: RepositoryState,
    *,
    progress: Progress = no_progress,
) -> LedgerProof:
    """Prove every entry of the history, and every record of the map, against a verified head.

    Args:
        rows: of the snapshot.
        state: what its head vouches for.
        progress: hears of the phase ``history``, in entries.

    Raises:
        CatalogueError: the database failed.
    """
    head = state.head
    name = ChainName.HISTORY
    chain = AuditedChain(name, rows.history, state.envelope, head, state.keyring, rows.map)
    findings = Findings(name)
    replay, contents = Replay(), Contents()

    def hear(entry: Entry) -> None:
        if isinstance(entry, HistoryEntry):
            replay.hear(entry)
            contents.hear(entry)

    roots = {head.size: (chain.root, "the signed head")}
    hashed = HashingPass(chain, findings, Frontier(), roots, hear, progress).run()
    records = 0
    if hashed.is_whole:
        records = replay.compare(bytes.fromhex(head.map_root), rows.map, findings)
    return LedgerProof(
        state=state,
        tree=hashed.tree,
        is_whole=hashed.is_whole,
        contents=contents if hashed.is_whole else Contents(),
        entries=hashed.entries,
        map_records=records,
        findings=list(findings),
        findings_in_all=findings.count,
    )


def stored_since(tree: Frontier, head: Head, history: ChainReader) -> tuple[Frontier, set[str]]:
    """What was stored since a history was proven, itself proven.

    Args:
        tree: of the entries that were proven.
        head: a verified head that came later, or the same.
        history: where its entries are.

    Returns:
        The tree of the head's entries, and the SHA-256 of every payload that was stored since.

    Raises:
        LedgerTamperedError: the head does not follow the entries that were proven, or entries are
            missing, or other ones.
        LedgerFormatError: an entry does not decode strictly.
    """
    stored: set[str] = set()

    def heard() -> Iterator[bytes]:
        for sequence, data in enumerate(history.entries(tree.size, head.size), tree.size + 1):
            entry = decode_history_entry(data, sequence)
            if entry.event == "store" and entry.artifact is not None:
                stored.add(entry.artifact.sha256)
            yield data

    return verify_entries(heard(), head.size, bytes.fromhex(head.root), start=tree), stored
