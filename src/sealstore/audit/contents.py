"""What is stored: as the rows claim, as the history leaves it, and as one snapshot proves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from sealstore import limits
from sealstore.audit.chains import AuditedChain, ChainName, Entry
from sealstore.audit.findings import AuditFinding, Findings
from sealstore.audit.hashing import HashingPass
from sealstore.audit.replaying import Replay
from sealstore.errors import CatalogueTamperedError, LedgerFormatError
from sealstore.ledger.entries import EntryArtifact
from sealstore.ledger.head import Head
from sealstore.ledger.history import HistoryEntry, decode_history_entry
from sealstore.ledger.merkle import Frontier, verify_entries
from sealstore.names import ArtifactRef
from sealstore.repository.facade import Repository
from sealstore.repository.origins import Origin, origin_of
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.state import RepositoryState
from sealstore.storage.catalogue import ArtifactRow, Reading
from sealstore.storage.catalogue.ledger_rows import ChainReader
from sealstore.storage.catalogue.listing import ListFilter, list_rows

# ── rows, unverified ─────────────────────────────────────────────────────────


def walk_rows(
    repository: Repository,
    conditions: ListFilter | None = None,
    *,
    limit: int | None = None,
    before_sequence: int | None = None,
) -> Iterator[ArtifactRow]:
    """Every row that meets ``conditions``, unverified, the ones stored last first.

    Rows are read page by page: what is stored while this runs is not among them, what is removed
    may or may not be.

    Args:
        repository: whose catalogue.
        conditions: which rows; all by default.
        limit: how many at most; all by default.
        before_sequence: only rows stored before this sequence.

    Raises:
        CatalogueError: the database failed.
        CatalogueTamperedError: the rows' sequences are no descending numbers, so that the rest
            cannot be found by them.
    """
    wanted = conditions or ListFilter()
    left = limit
    cursor = before_sequence
    while left is None or left > 0:
        page = limits.MAX_LIST_ROWS if left is None else min(left, limits.MAX_LIST_ROWS)
        rows = list_rows(repository.catalogue, wanted, limit=page, before_sequence=cursor)
        yield from rows
        if len(rows) < page:
            return
        if left is not None:
            left -= len(rows)
        cursor = _next_cursor(rows[-1].sequence, cursor)


def _next_cursor(sequence: object, cursor: int | None) -> int:
    # SQLite keeps values of any type in any column: a cursor that does not descend would let a
    # walk go on for ever, or end early and look complete.
    if type(sequence) is not int or (cursor is not None and sequence >= cursor):
        raise CatalogueTamperedError(
            "Rows of the catalogue have sequences that are no descending numbers; the rows behind"
            " them cannot be reached."
        )
    return sequence


# ── what the history leaves ──────────────────────────────────────────────────


class Contents:
    """The artifacts, entry by entry of a history that is proven, or will be before this is used.

    Attributes:
        stored: what is there, by the sequence of its store.
        removed: what was there once, by the sequence of its store.
        left_at: for each payload that an artifact left, when the last one did, UTC.
        origins: where those that were imported come from, by the sequence of their store.
        has_aliases: whether an alias was ever moved.
    """

    def __init__(self) -> None:
        self.stored: dict[int, EntryArtifact] = {}
        self.removed: dict[int, EntryArtifact] = {}
        self.left_at: dict[str, str] = {}
        self.origins: dict[int, Origin] = {}
        self.has_aliases = False
        self._sequences: dict[tuple[str, str, int], int] = {}

    def hear(self, entry: HistoryEntry) -> None:
        """Take note of the next entry. Whether it can follow the others is not asked here."""
        artifact = entry.artifact
        if entry.event == "alias":
            self.has_aliases = True
        elif artifact is not None and entry.event == "store":
            self.stored[entry.sequence] = artifact
            self._sequences[_key(artifact)] = entry.sequence
            with suppress(LedgerFormatError):
                # An invalid one is told where it is asked for: by 'sealstore show'.
                origin = origin_of(entry)
                if origin is not None:
                    self.origins[entry.sequence] = origin
        elif artifact is not None and entry.event == "remove":
            sequence = self._sequences.get(_key(artifact), 0)
            gone = self.stored.pop(sequence, None)
            if gone is not None:
                self.removed[sequence] = gone
                # Clocks differ: the latest time is the one that keeps a payload the longest.
                self.left_at[gone.sha256] = max(entry.at, self.left_at.get(gone.sha256, ""))

    def find(self, ref: ArtifactRef) -> tuple[int, EntryArtifact] | None:
        """The place in the history, and the artifact, of what is stored as this revision."""
        sequence = self._sequences.get(_where(ref), 0)
        found = self.stored.get(sequence)
        return None if found is None else (sequence, found)

    def find_removed(self, ref: ArtifactRef) -> EntryArtifact | None:
        """The artifact that was this revision, if it was removed."""
        return self.removed.get(self._sequences.get(_where(ref), 0))

    def payloads(self) -> set[str]:
        """SHA-256 of every payload that a stored artifact needs."""
        return {artifact.sha256 for artifact in self.stored.values()}


def _key(artifact: EntryArtifact) -> tuple[str, str, int]:
    return artifact.name, artifact.tag, artifact.revision


def _where(ref: ArtifactRef) -> tuple[str, str, int]:
    return str(ref.name), str(ref.tag), ref.revision or 0


def shown(artifact: EntryArtifact) -> str:
    """An artifact for people, as ``name:tag@revision``."""
    return f"{artifact.name}:{artifact.tag}@{artifact.revision}"


# ── the proof of a snapshot ──────────────────────────────────────────────────


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
    rows: Reading, state: RepositoryState, *, progress: Progress = no_progress
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
            missing, or different.
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
