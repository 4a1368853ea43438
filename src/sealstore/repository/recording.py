"""Changing the repository on the record: the middle of step 5 of a store, for every change.

A change begins with the verified head, takes every number from it and from the proven map, and ends
with the next head, all in one transaction. So an honest storer never adds to a history that was cut
or forged: it stops, and says what does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from sealstore.errors import (
    AccessLogNotFoundError,
    CatalogueTamperedError,
    LedgerTamperedError,
    RepairWarning,
    SealstoreError,
    warn_caller,
)
from sealstore.keys.keyring import Role
from sealstore.ledger.alias_names import AliasName, alias_key
from sealstore.ledger.authenticated_map import (
    EMPTY_MAP_ROOT,
    map_key,
    positions_of,
    prove,
    revision_key,
)
from sealstore.ledger.entries import EntryArtifact, encode_entry
from sealstore.ledger.head import Head, seal_head
from sealstore.ledger.history import Event, HistoryEntry
from sealstore.ledger.inclusion import inclusion_proof, verify_inclusion
from sealstore.ledger.map_update import encode_value, update
from sealstore.ledger.map_values import RevisionValue, SegmentValue
from sealstore.ledger.merkle import EMPTY_ROOT, Node, leaf_hash
from sealstore.ledger.proven_map import MapAnswers
from sealstore.names import Name, Tag
from sealstore.repository import environment
from sealstore.repository.assembly import Parts
from sealstore.repository.history_entries import Detail, history_row, proven_entry
from sealstore.repository.state import RepositoryState
from sealstore.signed.envelope import SETTINGS_PAYLOAD_TYPE, Signer, read_unverified, seal
from sealstore.signed.settings import (
    RepositorySettings,
    VerifiedSettings,
    open_settings,
    seal_settings,
)
from sealstore.signed.statement import StoredBy
from sealstore.storage import creation
from sealstore.storage.catalogue.chain_rows import entry_rows, newest_rows
from sealstore.storage.catalogue.changing import WriteTransaction
from sealstore.storage.catalogue.ledger_rows import EntryRow, NodeRow

_FIRST_TIME: Final = "0001-01-01T00:00:00.000000Z"


def genesis(settings: VerifiedSettings, *, epoch: int = 1) -> Head:
    """The head of a repository before its first entry; it is never signed."""
    return Head(
        repository=settings.document.repository,
        size=0,
        root=EMPTY_ROOT.hex(),
        frontier=(),
        time=_FIRST_TIME,
        epoch=epoch,
        map_root=EMPTY_MAP_ROOT.hex(),
        settings_version=settings.document.version,
        settings_digest=settings.digest,
    )


class Change(MapAnswers):
    """A change of the repository that is being made.

    Args:
        transaction: excludes all other writers.
        head: the verified head that it extends.
        signer: an active key with the role store.
        who: who makes it.
        process: the process that makes it, or None for another's.
    """

    def __init__(
        self,
        transaction: WriteTransaction,
        head: Head,
        signer: Signer,
        who: StoredBy,
        process: int | None,
    ) -> None:
        self.transaction = transaction
        self.signer = signer
        self._head = head
        self._actor = environment.entry_actor(who, process)
        self._frontier = head.tree()
        self._entries: list[EntryRow] = []
        self._nodes: list[Node] = []
        self._map_rows: dict[int, bytes] = {}
        self._fetched: set[int] = set()
        self._values: dict[bytes, bytes] = {}
        self._settings: VerifiedSettings | None = None
        self._is_renewed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was changed, so that no new head is needed."""
        return not (self._entries or self._values or self._settings or self._is_renewed)

    @property
    def sequence(self) -> int:
        """The sequence of the next entry."""
        return self._frontier.size + 1

    # ── the map ──────────────────────────────────────────────────────────────

    def set_segment(self, name: Name, tag: Tag, value: SegmentValue) -> None:
        """Let a name with a tag, an alias or ``latest`` mean something else."""
        self._set(map_key(name, tag), encode_value(value))

    def set_revision(self, name: Name, tag: Tag, revision: int, value: RevisionValue) -> None:
        """Set what became of a revision."""
        self._set(revision_key(name, tag, revision), encode_value(value))

    def set_alias_name(self, name: Name, number: int, alias: Tag) -> None:
        """Give an alias of a name its number."""
        self._set(alias_key(name, number), encode_value(AliasName(alias=str(alias))))

    def _value(self, key: bytes) -> bytes | None:
        if key in self._values:
            return self._values[key]
        self._fetch(key)
        return prove(bytes.fromhex(self._head.map_root), key, self._map_rows)

    def _set(self, key: bytes, value: bytes) -> None:
        self._fetch(key)
        self._values[key] = value

    def _fetch(self, key: bytes) -> None:
        missing = set(positions_of(key)) - self._fetched
        if missing:
            self._map_rows |= self.transaction.map.fetch(missing)
            self._fetched |= missing

    # ── entries and settings ─────────────────────────────────────────────────

    def append(
        self,
        event: Event,
        artifact: EntryArtifact | None = None,
        *,
        at: str | None = None,
        **details: Detail,
    ) -> HistoryEntry:
        """Add an entry to the history.

        Args:
            event: what happened.
            artifact: to which artifact.
            at: when, UTC; now by default.
            details: what else belongs to the event.
        """
        entry = HistoryEntry(
            sequence=self.sequence,
            event=event,
            at=at or environment.now(),
            by=self._actor,
            recorded_by=self.signer.key_id,
            artifact=artifact,
            details=dict(details),
        )
        self.append_entry(entry)
        return entry

    def append_entry(self, entry: HistoryEntry) -> None:
        """Add an entry that is made already; its sequence is the next."""
        data = encode_entry(entry)
        self._frontier, nodes = self._frontier.append(leaf_hash(data))
        self._nodes += nodes
        self._entries.append(history_row(entry, data))

    def entry(self, sequence: int) -> HistoryEntry:
        """An entry that was appended by an earlier change, proven to be in the history.

        Raises:
            LedgerTamperedError: it is missing, or a different one.
        """
        history = self.transaction.history
        for row in entry_rows(history, sequence - 1, sequence):
            return proven_entry(row, history, self._head)
        raise LedgerTamperedError(f"Entry {sequence} of the history is missing.")

    def replace_settings(self, settings: VerifiedSettings) -> None:
        """Let other settings hold from this change on."""
        self._settings = settings

    def renew(self) -> None:
        """Let the head be signed again, whether or not anything changes."""
        self._is_renewed = True

    def finish(self) -> bytes:
        """Write it all, under a new head.

        Returns:
            The head's envelope.

        Raises:
            CatalogueTamperedError: rows of the map are not those that the old head vouches for.
            CatalogueError: the database refused.
        """
        changes: dict[str, object] = {
            "size": self._frontier.size,
            "root": self._frontier.root().hex(),
            "frontier": tuple(root.hex() for root in self._frontier.roots),
            # A clock that was set back must not date this head before the one that it follows.
            "time": max(environment.now(), self._head.time),
        }
        if self._values:
            updated = update(bytes.fromhex(self._head.map_root), self._values, self._map_rows)
            self.transaction.map.replace(updated.rows)
            changes["map_root"] = updated.root_hash.hex()
        if self._settings is not None:
            document = self._settings.document
            changes["settings_version"] = document.version
            changes["settings_digest"] = self._settings.digest
            self.transaction.put_settings(document.version, self._settings.envelope)
        envelope = seal_head(msgspec.structs.replace(self._head, **changes), self.signer)
        nodes = [NodeRow(node.level, node.index, node.digest) for node in self._nodes]
        self.transaction.history.append(self._entries, nodes, envelope)
        return envelope


@contextmanager
def change(parts: Parts, who: StoredBy) -> Iterator[tuple[Change, RepositoryState]]:
    """A change of the repository, from its verified head to the next one.

    The block adds entries and values; what it raises rolls everything back.

    Raises:
        NoSigningKeyError: no active key may change this repository.
        VerificationError, CatalogueTamperedError: head, map or history are not what they should be.
        CatalogueError: the database refused.
    """
    # Before anybody is kept waiting; the transaction asks again.
    parts.keyring.signer(Role.STORE, parts.id)
    with parts.state.asking() as asking, parts.catalogue.write() as transaction:
        state = asking.verify(transaction.history.head(), transaction)
        require_whole_tail(transaction, state.head)
        signer = state.keyring.signer(Role.STORE, state.repository)
        made = Change(transaction, state.head, signer, who, environment.process_id())
        yield made, state
        if not made.is_empty:
            # What was signed is verified as a load would: nothing else is put on record.
            asking.verify(made.finish(), transaction, is_own=True)


def change_settings(
    parts: Parts, who: StoredBy, event: Event = "settings", /, **changes: object
) -> RepositorySettings:
    """Sign the next version of the settings, and let it hold.

    Args:
        parts: of the repository.
        who: who changes them.
        event: of the entry in the history.
        changes: the fields of ``RepositorySettings`` that change, each as its new value, or as a
            function of the present settings that gives it.

    Raises:
        NoSigningKeyError: no active key has the role admin, or store, here.
        SealstoreError: as ``change``; or what such a function raises.
    """
    with change(parts, who) as (made, state):
        present = state.document
        admin = state.keyring.signer(Role.ADMIN, state.repository)
        document = msgspec.structs.replace(
            present,
            version=present.version + 1,
            created=environment.now(),
            **{field: each(present) if callable(each) else each for field, each in changes.items()},
        )
        settings = open_settings(seal_settings(document, admin), state.keyring)
        made.replace_settings(settings)
        made.append(
            event, None, version=document.version, sha256=settings.digest, admin_key=admin.key_id
        )
    _place(parts, settings.envelope)
    return document


def _place(parts: Parts, envelope: bytes) -> None:
    try:
        creation.place_settings(parts.root, envelope)
    except SealstoreError as error:
        # They hold: the catalogue has them, and the head names them.
        warn_caller(f"repository.json still shows the older settings: {error}", RepairWarning)


def record_key_change(
    parts: Parts, who: StoredBy, action: str, key_id: str, *, sign_settings: bool
) -> None:
    """Put on record what happened to a key; the head gets a signature of today's key with it.

    Args:
        parts: of the repository.
        who: who did it.
        action: ``rotated``, ``retired``, ``accepted`` and the like.
        key_id: which key.
        sign_settings: whether the settings, as they are, get a signature of today's key, too.

    Raises:
        NoSigningKeyError: no active key has the role store, or admin, here.
        SealstoreError: as ``change``.
    """
    envelope: bytes | None = None
    with change(parts, who) as (made, state):
        if sign_settings:
            admin = state.keyring.signer(Role.ADMIN, state.repository)
            present = read_unverified(state.settings.envelope).payload
            # The same bytes: of what was signed once, nothing is written again.
            envelope = seal(SETTINGS_PAYLOAD_TYPE, present, admin)
            made.replace_settings(open_settings(envelope, state.keyring))
        made.append("key", action=action, key=key_id)
    if envelope is not None:
        _place(parts, envelope)
    _sign_access_again(parts)


def renew_heads(parts: Parts, who: StoredBy) -> None:
    """Sign the heads of both chains again; nothing else changes.

    Raises:
        NoSigningKeyError: no active key has the role store, or access, here.
        SealstoreError: as ``change``.
    """
    with change(parts, who) as (made, _):
        made.renew()
    _sign_access_again(parts)


def _sign_access_again(parts: Parts) -> None:
    try:
        parts.access.sign_again()
    except AccessLogNotFoundError:
        # Its loaders may have logs of their own, which each of them signs.
        pass


def require_whole_tail(transaction: WriteTransaction, head: Head) -> None:
    """Return if the history's rows end where its head says, with the entry that is in its root.

    Raises:
        LedgerTamperedError: entries are missing or other ones at the end, or there are more.
        CatalogueTamperedError: an artifact claims a place in the history that does not exist yet.
    """
    found = newest_rows(transaction.history, limit=1)
    newest = found[0].sequence if found else 0
    if newest != head.size:
        more = type(newest) is int and newest > head.size
        raise LedgerTamperedError(
            f"The history's last entry is number {newest}, and the signed head says {head.size}:"
            f" entries were {'added' if more else 'removed'}."
        )
    if head.size:
        proof = inclusion_proof(transaction.history, head.size - 1, head.size)
        root = bytes.fromhex(head.root)
        verify_inclusion(leaf_hash(found[0].entry), head.size - 1, head.size, root, proof)
    planted = transaction.highest_sequence()
    if planted is not None and not (type(planted) is int and planted <= head.size):
        raise CatalogueTamperedError(
            f"An artifact of the catalogue has the sequence {planted}, and the history ends at"
            f" {head.size}."
        )
