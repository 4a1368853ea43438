"""The access log of one repository, as a process appends to it.

A grant is on record before a byte of the payload is interpreted; where it cannot be recorded, there
is no grant. Each append extends a head that this process verified, so that nobody who may write to
the database, but has no key, gets an honest process to carry on from what he made of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealstore import limits
from sealstore.errors import (
    AccessLogError,
    AccessLogNotFoundError,
    CatalogueError,
    LedgerTamperedError,
    RepositoryExchangedError,
    RollbackError,
    SealstoreError,
)
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.ledger import entries
from sealstore.ledger.consistency import Nodes, consistency_proof
from sealstore.ledger.continuity import require_extends_access, require_later_access
from sealstore.ledger.head import AccessHead, VerifiedHead, open_access_head, seal_access_head
from sealstore.ledger.merkle import Frontier, leaf_hash, verify_entries
from sealstore.ledger.points import AccessCheckpoint
from sealstore.process_bound import ProcessBound
from sealstore.repository import environment
from sealstore.signed.envelope import Signer
from sealstore.storage import catalogue
from sealstore.storage.catalogue import ledger_rows
from sealstore.trust.record import Prove

if TYPE_CHECKING:
    from sealstore.repository.access_log.operating import AccessReading


@dataclass(frozen=True, slots=True)
class Event:
    """What is to be recorded; see ``AccessEntry``.

    Attributes:
        act: what was asked for.
        outcome: what became of it.
        request: how it was asked for.
        artifact: as its verified statement names it; None where the refusal came before that.
        reason: the error's code, of a refusal or a failure.
        grant: the sequence of the grant, of a failure.
        actor: what the caller says of itself.
        context: what the caller says of the occasion, such as a job's id.
    """

    act: entries.Act
    outcome: entries.Outcome
    request: entries.AccessRequest
    artifact: entries.EntryArtifact | None = None
    reason: str | None = None
    grant: int | None = None
    actor: str | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class SeenHead:
    """A head that this process verified, or signed itself.

    Attributes:
        envelope: its bytes, by which it is recognised.
        head: what it says.
        tree: its frontier.
        keyring: the keys that it was verified with: with others it is verified again.
    """

    envelope: bytes
    head: AccessHead
    tree: Frontier
    keyring: Keyring

    def followed_by(self, tree: Frontier, at: str, signer: Signer) -> SeenHead:
        """The head of a tree that this one's grew into, signed."""
        head = AccessHead(
            repository=self.head.repository,
            log=self.head.log,
            size=tree.size,
            root=tree.root().hex(),
            frontier=tuple(root.hex() for root in tree.roots),
            # A clock that was set back must not date this head before the one that it follows.
            time=max(at, self.head.time),
        )
        return SeenHead(seal_access_head(head, signer), head, tree, self.keyring)


class AccessLog(ProcessBound):
    """The access log of one repository.

    The database is opened when it is first needed. Threads may share a log, and it survives a fork.

    Args:
        rows: from ``access_rows``.
        repository: the repository's id.
        keys: gives the keys as they are now; appending needs an active one with the role access.
        remembered: gives the newest head that this client remembers, None where it knows none.
        remember: notes a head, and may ask for proofs that it fits to another one. It is called
            only with heads that survive a crash of the machine, at most every
            ``limits.REMEMBER_ACCESS_SECONDS``, and when the log is closed.
    """

    def __init__(
        self,
        rows: catalogue.AccessRows,
        repository: str,
        keys: Callable[[], Keyring],
        *,
        remembered: Callable[[], AccessCheckpoint | None] = lambda: None,
        remember: Callable[[AccessCheckpoint, Prove], object] | None = None,
    ) -> None:
        self.rows = rows
        self.repository = repository
        self.keys = keys
        self.remembered = remembered
        self._remember = remember
        self._lock = threading.Lock()
        self._seen: SeenHead | None = None
        # By the monotonic clock: when what is remembered was last compared. None: not yet.
        self._compared_at: float | None = None
        self._has_news = False
        self._who: tuple[int, str | None, entries.Actor] | None = None

    @property
    def location(self) -> str:
        """Where the log is, as a URL without any password."""
        return self.rows.location

    def read(self) -> AbstractContextManager[AccessReading]:
        """The log in one snapshot, for auditors. See ``operating.read``."""
        from sealstore.repository.access_log.operating import read

        return read(self)

    def close(self) -> None:
        """Remember the newest head, and close the database; a later call opens it again.

        A head that cannot be remembered any more is passed over: nothing is handed out here that
        would have to be refused.
        """
        try:
            if self._has_news:
                with suppress(SealstoreError):
                    self._sign_head(accepted=(State.ACTIVE,), again=False)
        finally:
            self.rows.engine.dispose()

    def sign_again(self) -> None:
        """Sign the head with the newest key, where one signed it that is retired by now.

        Every append does this by itself as long as the older key is active. To be called together
        with retiring it, by whom the older key still was trusted: the head's only other check is
        what this client remembers.

        Raises:
            SealstoreError: as ``record``; a revoked key's head is refused here, too.
        """
        self._sign_head(accepted=(State.ACTIVE, State.RETIRED), again=True)

    def _sign_head(self, *, accepted: tuple[State, ...], again: bool) -> None:
        with self._one_thread():
            remembered = self.remembered()
            with access_log_errors(), self.rows.write(durable=True) as rows:
                keyring = self.keys()
                seen = self._verified(rows, keyring, remembered, accepted)
                if again:
                    signer = keyring.signer(Role.ACCESS, self.repository)
                    seen = seen.followed_by(seen.tree, environment.now(), signer)
                # Written in any case: a transaction that changes nothing would sync nothing.
                rows.replace_head(seen.envelope)
            self._note(seen, compared=True, durable=True)

    # ── recording ────────────────────────────────────────────────────────────

    def record(self, event: Event) -> int:
        """Put an event on record: a grant before a byte is interpreted.

        Returns:
            The entry's sequence.

        Raises:
            InvalidMetadataError: actor or context is no string, or too long.
            AccessLogError: the log cannot be written; nothing may be handed out.
            VerificationError: what is there is not the log that this client knows, or not whole.
            LedgerFormatError: there is no such event, or the log is full.
            KeyringError: there is no key to sign with.
        """
        environment.require_context(event.context)
        by = self._actor(event.actor)
        with self._one_thread():
            # Before the head is read: in the other order, what another process appends and
            # remembers in between would look like a rollback.
            compares, durable = self._what_is_due()
            remembered = self.remembered() if compares else None
            with access_log_errors():
                if self._seen is None:
                    self.require_log()
                with self.rows.write(durable=durable) as rows:
                    keyring = self.keys()
                    seen = self._verified(rows, keyring, remembered, (State.ACTIVE,))
                    signer = keyring.signer(Role.ACCESS, self.repository)
                    seen = _append(rows, seen, signer, event, by)
            self._has_news = True
            self._note(seen, compared=compares, durable=durable)
        return seen.head.size

    def _verified(
        self,
        rows: ledger_rows.ChainWriter,
        keyring: Keyring,
        remembered: AccessCheckpoint | None,
        accepted: tuple[State, ...],
    ) -> SeenHead:
        """The head that is there.

        1. It is the one that this process verified or signed last, with the same keys; or an
           accepted key of the role access signed it, for this repository.
        2. It extends the head that this process has seen, and the one that this client remembers.
           Where a server crashed, what it had not synced is gone: then the latter is enough.
        3. The rows of the entries end where it says. Whether each is the right one is not asked
           here: that is what an audit verifies.
        """
        # step 1: one that this process knows, or one that an access key signed
        envelope = present_envelope(rows.head())
        known = self._seen
        if known is not None and known.envelope == envelope and known.keyring == keyring:
            seen = known
        else:
            head = open_log_head(envelope, keyring, self.repository, *accepted).head
            # step 2: it extends what this process has seen
            try:
                tree = head.tree() if known is None else _followed(known, head, rows)
            except (RollbackError, LedgerTamperedError):
                if not self.rows.may_forget:
                    raise
                # As a process that begins now. Nobody can have remembered what is newer than this
                # head: that would have been committed, and this transaction excludes it.
                tree, remembered = head.tree(), self.remembered()
            seen = SeenHead(envelope, head, tree, keyring)
        if remembered is not None:
            _require_extended(remembered, seen.head, rows)
        # step 3: the rows end where the head says
        newest = rows.newest_sequence()
        if newest != seen.head.size:
            raise LedgerTamperedError(
                f"The access log's last entry is number {newest}, and its signed head says"
                f" {seen.head.size}: entries were"
                f" {'added' if newest > seen.head.size else 'removed'}."
            )
        return seen

    def require_log(self) -> None:
        """Return if there is a log, with the tables of this release.

        Raises:
            AccessLogNotFoundError: there is none.
            SchemaVersionError, CatalogueTamperedError: the tables are different ones.
        """
        if not self.rows.has_tables():
            raise AccessLogNotFoundError("There is no access log.")

    # ── what is remembered ───────────────────────────────────────────────────

    def _what_is_due(self) -> tuple[bool, bool]:
        """Whether to compare with what is remembered, and whether to remember afterwards."""
        if self._compared_at is None:
            return True, False
        is_due = time.monotonic() - self._compared_at >= limits.REMEMBER_ACCESS_SECONDS
        return is_due, is_due and self._remember is not None

    def _note(self, seen: SeenHead, *, compared: bool, durable: bool) -> None:
        """Know ``seen``, which is committed, and remember it where a power loss cannot undo it."""
        self._seen = seen
        if durable:
            self.remember(seen.head)
            self._has_news = False
        if compared:
            self._compared_at = time.monotonic()

    def remember(self, head: AccessHead) -> None:
        """Remember a head that survives a crash of the machine, where that is wanted."""
        if self._remember is not None:
            self._remember(AccessCheckpoint.of(head), self._prove)

    def _prove(self, old_size: int, new_size: int) -> Sequence[bytes]:
        # From what is there now: others may have remembered a head that came after this process's.
        with access_log_errors(), self.rows.read() as chain:
            return consistency_proof(chain, old_size, new_size)

    # ── the process ──────────────────────────────────────────────────────────

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        # Inside of no_fork, so that no child inherits the lock of a thread that it does not have.
        with catalogue.no_fork():
            if not self._lock.acquire(timeout=limits.DATABASE_BUSY_SECONDS):
                raise AccessLogError(
                    "Another thread has been writing to the access log for"
                    f" {limits.DATABASE_BUSY_SECONDS} seconds."
                )
            try:
                yield
            finally:
                self._lock.release()

    def _actor(self, actor: str | None) -> entries.Actor:
        # Looking up the user may ask a directory service; a forked child is another process.
        process, who = environment.process_id(), self._who
        if who is None or who[:2] != (process, actor):
            made = environment.entry_actor(environment.stored_by(actor), process)
            self._who = who = (process, actor, made)
        return who[2]


# ── heads ────────────────────────────────────────────────────────────────────


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


def _followed(known: SeenHead, head: AccessHead, chain: ledger_rows.ChainReader) -> Frontier:
    """The frontier of a verified head, if it is a later state of what was seen, or the same.

    Of few entries that are new, each is verified; of many, a proof is made from the stored nodes.
    """
    if head.size - known.head.size > limits.NEAR_ENTRIES:
        _require_extended(known.head, head, chain)
        return head.tree()
    require_later_access(known.head, head)
    stored = chain.entries(known.head.size, head.size)
    return verify_entries(stored, head.size, bytes.fromhex(head.root), start=known.tree)


def _require_extended(
    older: AccessHead | AccessCheckpoint, newer: AccessHead, nodes: Nodes
) -> None:
    proof: Sequence[bytes] = ()
    # Of anything else there is no proof, and its absence is not the reason to tell.
    if newer.log == older.log and newer.size >= older.size:
        proof = consistency_proof(nodes, older.size, newer.size)
    require_extends_access(older, newer, proof)


def _append(
    rows: ledger_rows.ChainWriter, seen: SeenHead, signer: Signer, event: Event, by: entries.Actor
) -> SeenHead:
    """Write the entry of an event, and return the head that has it, which is written with it."""
    entry = entries.AccessEntry(
        sequence=seen.head.size + 1,
        act=event.act,
        outcome=event.outcome,
        reason=event.reason,
        at=environment.now(),
        by=by,
        context=event.context,
        recorded_by=signer.key_id,
        request=event.request,
        artifact=event.artifact,
        grant=event.grant,
    )
    data = entries.encode_entry(entry)
    # What no auditor could read is not put on record.
    entries.decode_access_entry(data, entry.sequence)
    tree, nodes = seen.tree.append(leaf_hash(data))
    grown = seen.followed_by(tree, entry.at, signer)
    about = event.artifact or event.request
    what = f"{event.act} {event.outcome}"
    row = ledger_rows.EntryRow(entry.sequence, data, what, entry.at, about.name, about.tag)
    node_rows = [ledger_rows.NodeRow(node.level, node.index, node.digest) for node in nodes]
    rows.append([row], node_rows, grown.envelope)
    return grown


@contextmanager
def access_log_errors() -> Iterator[None]:
    """Tell what fails in the log's database as ``AccessLogError``."""
    try:
        yield
    except CatalogueError as error:
        raise AccessLogError(error.message) from error
