"""The chains as an auditor sees them: a verified head, and rows that are not believed yet.

Whatever reads a chain here asks for the head first, and holds everything else against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sealstore.errors import LedgerTamperedError, RepositoryExchangedError
from sealstore.keys.keyring import Keyring
from sealstore.ledger.consistency import Nodes, consistency_proof
from sealstore.ledger.continuity import require_extends, require_extends_access
from sealstore.ledger.entries import AccessEntry, decode_access_entry
from sealstore.ledger.head import AccessHead, Head
from sealstore.ledger.history import HistoryEntry, decode_history_entry
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from sealstore.repository.assembly import Parts, open_parts
from sealstore.repository.facade import Repository
from sealstore.repository.history_entries import require_included, searched_columns
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import read_unverified
from sealstore.storage.catalogue.ledger_rows import ChainReader, EntryRow, EntryValues
from sealstore.storage.catalogue.map_rows import MapRows
from sealstore.trust.record import TrustRecord

Entry = HistoryEntry | AccessEntry
Checkpoint = HistoryCheckpoint | AccessCheckpoint


class ChainName(StrEnum):
    """The chains of the ledger."""

    HISTORY = "history"
    ACCESS = "access"


@dataclass(frozen=True, slots=True)
class AuditedChain:
    """A chain in one snapshot.

    Attributes:
        name: which chain.
        reader: its rows, none of which is believed.
        envelope: of the verified head.
        head: what it says: how many entries there are, and what they hash to.
        keyring: the keys that are trusted.
        map: the map's rows; None for an access log, which has no map.
    """

    name: ChainName
    reader: ChainReader
    envelope: bytes
    head: Head | AccessHead
    keyring: Keyring
    map: MapRows | None

    @property
    def key_id(self) -> str:
        """The key that signed the head."""
        return read_unverified(self.envelope).key_id

    @property
    def root(self) -> bytes:
        """The root that the head gives."""
        return bytes.fromhex(self.head.root)

    @property
    def checkpoint(self) -> Checkpoint:
        """What is to be kept of the head."""
        return checkpoint_of(self.head)

    def require_extends(self, older: Checkpoint) -> None:
        """Return if this is a later state of the chain that ``older`` is of, or the same.

        Raises:
            RepositoryExchangedError, RollbackError, LedgerTamperedError: it is not.
        """
        newer = self.checkpoint
        require_later(older, newer, proof_between(self.reader, older, newer))

    def proven_entry(self, row: EntryRow, nodes: Nodes) -> Entry:
        """The entry in a row, proven to be in the chain that the head sums up.

        Raises:
            LedgerTamperedError: it is a different one, or its row does not say what it says.
            LedgerFormatError: it does not decode strictly.
        """
        require_included(row, nodes, self.head)
        entry = decode_entry(self.name, row.entry, row.sequence)
        differences = row_differences(entry_values(row), entry)
        if differences:
            raise other_columns(row.sequence, differences)
        return entry


def checkpoint_of(head: Head | AccessHead) -> Checkpoint:
    """The checkpoint of a head."""
    if isinstance(head, Head):
        return HistoryCheckpoint.of(head)
    return AccessCheckpoint.of(head)


def chain_of(checkpoint: Checkpoint) -> ChainName:
    """The chain that a checkpoint is of."""
    if isinstance(checkpoint, HistoryCheckpoint):
        return ChainName.HISTORY
    return ChainName.ACCESS


def require_later(older: Checkpoint, newer: Checkpoint, proof: Sequence[bytes]) -> None:
    """Return if ``newer`` is a later state of the chain that ``older`` is of, or the same.

    Raises:
        RepositoryExchangedError: it is another chain.
        RollbackError: it is an older state.
        LedgerTamperedError: it never followed the older one.
    """
    if isinstance(older, HistoryCheckpoint) and isinstance(newer, HistoryCheckpoint):
        require_extends(older, newer, proof)
    elif isinstance(older, AccessCheckpoint) and isinstance(newer, AccessCheckpoint):
        require_extends_access(older, newer, proof)
    else:
        raise RepositoryExchangedError("One checkpoint is of the history, one of an access log.")


def proof_between(nodes: Nodes, older: Checkpoint, newer: Checkpoint) -> Sequence[bytes]:
    """The consistency proof from one point to another; none where there cannot be one.

    Raises:
        LedgerTamperedError: a node that is needed is not there.
    """
    # Of two sizes in the wrong order there is no proof; ``require_later`` says what that means.
    if older.size > newer.size:
        return ()
    return consistency_proof(nodes, older.size, newer.size)


# ── entries and their rows ───────────────────────────────────────────────────


def decode_entry(chain: ChainName, data: bytes, sequence: int) -> Entry:
    """The entry of a chain that ``data`` is, found at this place.

    Raises:
        LedgerFormatError: any other bytes.
        LedgerTamperedError: an entry of another place.
    """
    if chain is ChainName.HISTORY:
        return decode_history_entry(data, sequence)
    return decode_access_entry(data, sequence)


def entry_values(row: EntryRow) -> EntryValues:
    """A row as a tuple."""
    return row.sequence, row.entry, row.event, row.at, row.name, row.tag


def searched_values(entry: Entry) -> tuple[str, str, str | None, str | None]:
    """What stands beside an entry, to be searched: event, time, name and tag."""
    if isinstance(entry, HistoryEntry):
        return searched_columns(entry)
    about = entry.request if entry.artifact is None else entry.artifact
    return f"{entry.act} {entry.outcome}", entry.at, about.name, about.tag


def row_differences(values: EntryValues, entry: Entry) -> list[str]:
    """The columns in which a row says something else than its entry."""
    found, expected = values[2:], searched_values(entry)
    # Of what SQLite may hold in a column, only text is equal to text.
    if found == expected:
        return []
    names = ("event", "at", "name", "tag")
    pairs = zip(names, found, expected, strict=True)
    return [name for name, stored, right in pairs if stored != right]


def other_columns(sequence: int, differences: Sequence[str]) -> LedgerTamperedError:
    """A row says something else than its entry in these columns."""
    return LedgerTamperedError(
        f"The columns beside entry {sequence}, by which it is searched for, do not say what it says"
        f" ({', '.join(differences)})."
    )


# ── where chains come from ───────────────────────────────────────────────────


class ChainSource(Protocol):
    """Where one chain is opened, as often as is needed."""

    @property
    def name(self) -> ChainName:
        """Which chain."""
        ...

    def known(self, record: TrustRecord | None) -> Checkpoint | None:
        """What a trust state remembers of the chain."""
        ...

    def open(self) -> AbstractContextManager[AuditedChain]:
        """The chain in one snapshot, its head verified and held against the trust state.

        Raises:
            AccessLogNotFoundError: there is none.
            VerificationError: the head is refused.
            SealstoreError: the database or the keys failed.
        """
        ...


class HistorySource:
    """The history of a repository."""

    name = ChainName.HISTORY

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def known(self, record: TrustRecord | None) -> Checkpoint | None:
        """See ``ChainSource``."""
        return None if record is None else record.point

    @contextmanager
    def open(self) -> Iterator[AuditedChain]:
        """See ``ChainSource``."""
        with self._parts.snapshot(remembering=False) as snapshot:
            rows, state = snapshot.rows, snapshot.state
            yield AuditedChain(
                self.name, rows.history, state.envelope, state.head, state.keyring, rows.map
            )


class AccessSource:
    """The access log of a repository, wherever it is."""

    name = ChainName.ACCESS

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._trust = parts.settings.trust_store(parts.root)

    def known(self, record: TrustRecord | None) -> Checkpoint | None:
        """See ``ChainSource``."""
        return None if record is None else record.access.get(self._parts.access.location)

    @contextmanager
    def open(self) -> Iterator[AuditedChain]:
        """See ``ChainSource``."""
        # Before the log is asked: in the other order, a load in between would look like a rollback.
        older = self.known(self._trust.read())
        with self._parts.access.read() as reading:
            head, envelope = reading.head().head, reading.envelope or b""
            chain = AuditedChain(
                self.name, reading.chain, envelope, head, self._parts.keyring, None
            )
            if older is not None:
                chain.require_extends(older)
            yield chain


@dataclass(frozen=True, slots=True)
class Ledger:
    """The chains of one repository.

    Attributes:
        repository: whose.
        keyring: the keys that are trusted.
        sources: where its chains are opened.
    """

    repository: Repository
    keyring: Keyring
    sources: tuple[ChainSource, ...]

    def chosen(self, chain: ChainName | None) -> tuple[ChainSource, ...]:
        """One chain, or with None all of them."""
        return tuple(source for source in self.sources if chain in (None, source.name))


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger of the configured repository.

    Raises:
        SealstoreError: as ``Repository.open``.
    """
    parts = open_parts(settings.path.absolute(), settings, None)
    with Repository(parts) as repository:
        yield Ledger(repository, parts.keyring, (HistorySource(parts), AccessSource(parts)))
