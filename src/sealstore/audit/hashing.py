"""One pass over a chain: every entry hashed, every row and stored hash held against the entries.

Nothing is decided from a stored hash: the entries alone are what leads to the signed root.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sealstore.audit.chains import AuditedChain, Entry, decode_entry, other_columns, row_differences
from sealstore.audit.findings import MAX_SHOWN, Findings
from sealstore.errors import LedgerFormatError, LedgerTamperedError, SealstoreError
from sealstore.ledger.merkle import Frontier
from sealstore.ledger.whole_tree import NodeRun, find_alteration, grown
from sealstore.repository.progress import Progress
from sealstore.storage.catalogue.chain_rows import count_nodes, entry_rows, node_digests, strays
from sealstore.storage.catalogue.ledger_rows import EntryValues

_NODES_HINT: Final = (
    "every entry is right, and nothing is believed because of a stored hash; but proofs are made"
    " from them. Find out who wrote to the ledger's database, and restore it from a backup."
)


@dataclass(slots=True)
class Hashed:
    """What a pass over a chain did.

    Attributes:
        tree: of the entries that were there, as far as they are without a gap.
        entries: how many were hashed.
        nodes: how many stored hashes were compared.
        hashing_seconds: reading rows and stored hashes, hashing and comparing them.
        decoding_seconds: decoding entries, and comparing what stands beside them.
        is_whole: whether the entries are exactly those of the head.
    """

    tree: Frontier
    entries: int = 0
    nodes: int = 0
    hashing_seconds: float = 0.0
    decoding_seconds: float = 0.0
    is_whole: bool = False


@dataclass(slots=True)
class _NodeDifferences:
    """Stored hashes that are not what the entries give: the first, and how many."""

    first: tuple[int, int, str] | None = None
    count: int = 0

    def add(self, level: int, index: int, what: str) -> None:
        self.count += 1
        if self.first is None:
            self.first = (level, index, what)


@dataclass(slots=True)
class HashingPass:
    """A pass over the rows of a chain.

    Args:
        chain: which.
        findings: where to say what is wrong.
        start: the frontier from which on entries are hashed.
        roots: what the tree must have as its root at certain sizes, the head's among them; with
            what each is called in a finding.
        hear: is given each entry that decodes.
        progress: hears of the phase named like the chain.
    """

    chain: AuditedChain
    findings: Findings
    start: Frontier
    roots: dict[int, tuple[bytes, str]]
    hear: Callable[[Entry], None]
    progress: Progress
    hashed: Hashed = field(init=False)
    _gaps: list[range] = field(default_factory=list)
    _differences: _NodeDifferences = field(default_factory=_NodeDifferences)
    _other_roots: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hashed = Hashed(self.start)

    def run(self) -> Hashed:
        """Read the chain from the start's size to the head's, and say what is wrong.

        Raises:
            CatalogueError, AccessLogError: the database failed.
        """
        size, hashed = self.chain.head.size, self.hashed
        done = self.start.size
        self.progress(self.chain.name, 0, size - self.start.size)
        began = time.perf_counter()
        for batch in self.chain.reader.batches(self.start.size, size):
            self._note_gaps(done, batch)
            done = batch[-1][0]
            self._hash(batch)
            now = time.perf_counter()
            hashed.hashing_seconds += now - began
            self._decode(batch)
            began = time.perf_counter()
            hashed.decoding_seconds += began - now
            self.progress(self.chain.name, done - self.start.size, size - self.start.size)
        if done < size:
            self._gaps.append(range(done + 1, size + 1))
        self._conclude()
        hashed.hashing_seconds += time.perf_counter() - began
        return hashed

    # ── the rows, as they come ───────────────────────────────────────────────

    def _note_gaps(self, done: int, batch: list[EntryValues]) -> None:
        if batch[-1][0] - done == len(batch):
            return
        for values in batch:
            if values[0] != done + 1:
                self._gaps.append(range(done + 1, values[0]))
            done = values[0]

    def _hash(self, batch: list[EntryValues]) -> None:
        if self._gaps:
            # Nothing behind a gap has its place in the tree.
            return
        entries = [values[1] for values in batch]
        for part in self._up_to_known_roots(entries):
            whole = grown(self.hashed.tree, part)
            self.hashed.tree = whole.frontier
            self.hashed.entries += len(part)
            for run in whole.runs:
                self._compare_nodes(run)
            expected = self.roots.get(whole.frontier.size)
            if expected is not None and expected[0] != whole.frontier.root():
                self._other_roots.append(whole.frontier.size)

    def _up_to_known_roots(self, entries: list[bytes]) -> Iterator[list[bytes]]:
        begin, stop = self.hashed.tree.size, self.hashed.tree.size + len(entries)
        cuts = sorted({size for size in self.roots if begin < size < stop} | {stop})
        at = begin
        for cut in cuts:
            yield entries[at - begin : cut - begin]
            at = cut

    def _compare_nodes(self, run: NodeRun) -> None:
        stop = run.first + len(run.digests)
        stored = node_digests(self.chain.reader, run.level, run.first, stop)
        self.hashed.nodes += len(run.digests)
        if list(stored.values()) == run.digests:
            return
        for index, digest in enumerate(run.digests, run.first):
            if stored.get(index) != digest:
                what = "is missing" if stored.get(index) is None else "is different"
                self._differences.add(run.level, index, what)

    def _decode(self, batch: list[EntryValues]) -> None:
        name, hear = self.chain.name, self.hear
        for values in batch:
            try:
                entry = decode_entry(name, values[1], values[0])
            except (LedgerFormatError, LedgerTamperedError) as error:
                self.findings.add_row(error, values[0])
                continue
            differences = row_differences(values, entry)
            if differences:
                self.findings.add_row(other_columns(values[0], differences), values[0])
            hear(entry)

    # ── what it comes to ─────────────────────────────────────────────────────

    def _conclude(self) -> None:
        head = self.chain.head
        for gap in self._gaps[:MAX_SHOWN]:
            self._tell_gap(gap)
        self.findings.count += max(0, len(self._gaps) - MAX_SHOWN)
        tree = self.hashed.tree
        is_right = not self._gaps and not self._other_roots
        self.hashed.is_whole = is_right and (tree.size, tree.root()) == (head.size, self.chain.root)
        if not self.hashed.is_whole:
            self._tell_alteration()
        elif self._differences.first is not None:
            level, index, what = self._differences.first
            self.findings.add_tampered(
                f"Stored hash {index} of level {level} {what}; {self._differences.count} of"
                f" {self.hashed.nodes} that were compared are not what the entries give.",
                hint=_NODES_HINT,
            )
        for stray in strays(self.chain.reader, head.size, limit=MAX_SHOWN):
            self.findings.add_tampered(
                f"There is an entry {stray}, which the signed head does not have: it ends with"
                f" {head.size}.",
                stray,
            )
        if self.start.size == 0 and self.hashed.is_whole:
            self._require_no_more_nodes(head.size)
        self.findings.sort()

    def _tell_gap(self, gap: range) -> None:
        size = self.chain.head.size
        what = f"Entry {gap[0]} is" if len(gap) == 1 else f"Entries {gap[0]} to {gap[-1]} are"
        cut = ", the last ones of the chain" if gap[-1] == size else ""
        self.findings.add_tampered(
            f"{what} missing{cut}: the signed head says that there are {size}.", gap[0]
        )

    def _tell_alteration(self) -> None:
        """Name the first entry that is not the head's, where it is not missing altogether."""
        head, reader = self.chain.head, self.chain.reader
        found = find_alteration(head.size, self.chain.root, reader, reader.entries)
        if found is None:
            # All of the head's entries are in their places: it is an older root that is not theirs.
            for size in self._other_roots:
                self.findings.add_tampered(
                    f"The first {size} entries are not those of {self.roots[size][1]}.",
                )
            return
        # What is missing is told already; a range says no more than that something in it is wrong.
        if any(found.start < gap.stop - 1 and gap.start - 1 < found.stop for gap in self._gaps):
            return
        if len(found) == 1:
            sequence = found.start + 1
            error = self._altered(sequence)
            self.findings.drop(sequence)
            self.findings.add(error, sequence)
            return
        self.findings.add_tampered(
            f"Of the entries {found.start + 1} to {found.stop} at least one is not the signed"
            " head's; the stored hashes that would tell which were changed as well.",
            found.start + 1,
        )

    def _altered(self, sequence: int) -> SealstoreError:
        for row in entry_rows(self.chain.reader, sequence - 1, sequence):
            try:
                decode_entry(self.chain.name, row.entry, sequence)
            except LedgerTamperedError as error:
                # It says itself where it belongs.
                return error
            except LedgerFormatError:
                break
        return LedgerTamperedError(
            f"Entry {sequence} is not the one that the signed head sums up: it was changed. Whether"
            " later ones were, too, is not known before this one is right again."
        )

    def _require_no_more_nodes(self, size: int) -> None:
        # A tree of n leaves has 2 n nodes, less one for each of its complete subtrees.
        expected, found = 2 * size - size.bit_count(), count_nodes(self.chain.reader)
        if found > expected:
            self.findings.add_tampered(
                f"There are {found - expected} stored hashes that belong to no entry.",
                hint=_NODES_HINT,
            )
