"""The access log of one repository, as a process appends to it.

A grant is on record before a byte of the payload is interpreted; where it cannot be recorded, there
is no grant. Each append extends a head that this process verified, so that nobody who may write to
the database, but has no key, gets an honest process to carry on from what he made of it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from sealstore import limits
from sealstore.errors import (
    AccessLogError,
    AccessLogExistsError,
    AccessLogNotFoundError,
    CatalogueError,
    LedgerTamperedError,
    RollbackError,
    SealstoreError,
)
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.ledger.consistency import consistency_proof
from sealstore.ledger.entries import AccessRequest, Act, Actor, EntryArtifact
from sealstore.ledger.head import AccessHead, VerifiedHead, seal_access_head
from sealstore.ledger.points import AccessCheckpoint
from sealstore.repository import environment
from sealstore.repository.access_log.appending import Event, append
from sealstore.repository.access_log.heads import (
    SeenHead,
    first_head,
    followed,
    next_head,
    open_log_head,
    present_envelope,
    require_extended,
    require_whole_tail,
)
from sealstore.repository.access_log.reading import AccessReading
from sealstore.storage.catalogue import (
    AccessRows,
    ChainWriter,
    no_fork,
    require_current_schema,
)

Prove = Callable[[int, int], Sequence[bytes]]
"""Gives the consistency proof between two sizes of the log, the smaller first."""

_LOG_ID_BYTES: Final = 16


class AccessLog:
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
        rows: AccessRows,
        repository: str,
        keys: Callable[[], Keyring],
        *,
        remembered: Callable[[], AccessCheckpoint | None] = lambda: None,
        remember: Callable[[AccessCheckpoint, Prove], object] | None = None,
    ) -> None:
        self._rows = rows
        self._repository = repository
        self._keys = keys
        self._remembered = remembered
        self._remember = remember
        self._lock = threading.Lock()
        self._seen: SeenHead | None = None
        # By the monotonic clock: when what is remembered was last compared. None: not yet.
        self._compared_at: float | None = None
        self._has_news = False
        self._who: tuple[int, str | None, Actor] | None = None

    @property
    def location(self) -> str:
        """Where the log is, as a URL without any password."""
        return self._rows.location

    # ── making and closing ───────────────────────────────────────────────────

    def create(self) -> None:
        """Make an empty log: the tables, and the first head, of a log with a random id.

        Where only the tables are there, as after a crash or in the catalogue's database, they are
        used.

        Raises:
            AccessLogExistsError: there is one, or rows of one, or this client remembers one here.
            AccessLogError: the database cannot be written.
            SchemaVersionError: the database has another release's tables.
            NoSigningKeyError: no active key has the role access.
        """
        if self._remembered() is not None:
            raise AccessLogExistsError(
                "An access log of this place is remembered; it is not replaced by an empty one."
            )
        signer = self._keys().signer(Role.ACCESS, self._repository)
        log_id = secrets.token_hex(_LOG_ID_BYTES)
        head = first_head(self._repository, log_id, environment.now())
        with _access_log_errors():
            self._rows.make_tables()
            with self._rows.write(durable=True) as rows:
                if rows.head() is not None or rows.newest_sequence():
                    raise AccessLogExistsError("The database already holds an access log.")
                rows.replace_head(seal_access_head(head, signer))
        if self._remember is not None:
            self._remember(AccessCheckpoint.of(head), self._prove)

    def close(self) -> None:
        """Remember the newest head, and close the database; a later call opens it again.

        A head that cannot be remembered any more is passed over: nothing is handed out here that
        would have to be refused.
        """
        try:
            if self._has_news:
                with suppress(SealstoreError):
                    self._sign_head(accepted=(State.ACTIVE,), anew=False)
        finally:
            self._rows.engine.dispose()

    def sign_anew(self) -> None:
        """Sign the head with the newest key, where one signed it that is retired by now.

        Every append does this by itself as long as the older key is active. To be called together
        with retiring it, by whom the older key still was trusted: the head's only other check is
        what this client remembers.

        Raises:
            SealstoreError: as ``grant``; a revoked key's head is refused here, too.
        """
        self._sign_head(accepted=(State.ACTIVE, State.RETIRED), anew=True)

    def _sign_head(self, *, accepted: tuple[State, ...], anew: bool) -> None:
        with self._one_thread():
            remembered = self._remembered()
            with _access_log_errors(), self._rows.write(durable=True) as rows:
                keyring = self._keys()
                seen = self._verified(rows, keyring, remembered, accepted)
                if anew:
                    signer = keyring.signer(Role.ACCESS, self._repository)
                    head = next_head(seen.head, seen.tree, environment.now())
                    seen = SeenHead(seal_access_head(head, signer), head, seen.tree, keyring)
                # Written in any case: a transaction that changes nothing would sync nothing.
                rows.replace_head(seen.envelope)
            self._note(seen, compared=True, durable=True)

    # ── recording ────────────────────────────────────────────────────────────

    def grant(
        self,
        act: Act,
        request: AccessRequest,
        artifact: EntryArtifact,
        *,
        actor: str | None = None,
        context: str | None = None,
    ) -> int:
        """Record that an access is granted: to be called before a byte is interpreted.

        Args:
            act: what is granted.
            request: what was asked for.
            artifact: the artifact, as its verified statement names it.
            actor: what the caller says of itself.
            context: what the caller says of the occasion, such as a job's id.

        Returns:
            The entry's sequence.

        Raises:
            InvalidMetadataError: actor or context is no string, or too long.
            AccessLogError: the log cannot be written; nothing may be handed out.
            VerificationError: what is there is not the log that this client knows, or not whole.
            KeyringError: there is no key to sign with.
        """
        event = Event(act, "granted", None, request, artifact, None, context)
        return self._record(event, actor)

    def refuse(
        self,
        act: Act,
        request: AccessRequest,
        artifact: EntryArtifact | None,
        reason: str,
        *,
        actor: str | None = None,
        context: str | None = None,
    ) -> int:
        """Record that an access is refused.

        Args:
            act, request, actor, context: as for ``grant``.
            artifact: what was found; None where the refusal came before that.
            reason: the error's code.

        Returns:
            The entry's sequence.

        Raises:
            SealstoreError: as ``grant``. The caller's own error is the one to raise then.
        """
        event = Event(act, "refused", reason, request, artifact, None, context)
        return self._record(event, actor)

    def fail(
        self,
        grant: int,
        act: Act,
        request: AccessRequest,
        artifact: EntryArtifact,
        reason: str,
        *,
        actor: str | None = None,
        context: str | None = None,
    ) -> int:
        """Record that an access failed after it had been granted.

        Args:
            grant: the sequence of the grant.
            act, request, artifact, actor, context: as they were granted.
            reason: the error's code.

        Returns:
            The entry's sequence.

        Raises:
            SealstoreError: as ``grant``. The caller's own error is the one to raise then.
        """
        event = Event(act, "failed", reason, request, artifact, grant, context)
        return self._record(event, actor)

    def _record(self, event: Event, actor: str | None) -> int:
        environment.checked_context(event.context)
        by = self._actor(actor)
        with self._one_thread():
            # Before the head is read: in the other order, what another process appends and
            # remembers in between would look like a rollback.
            compares, durable = self._what_is_due()
            remembered = self._remembered() if compares else None
            with _access_log_errors():
                if self._seen is None:
                    self._require_log()
                with self._rows.write(durable=durable) as rows:
                    keyring = self._keys()
                    seen = self._verified(rows, keyring, remembered, (State.ACTIVE,))
                    signer = keyring.signer(Role.ACCESS, self._repository)
                    seen = append(rows, seen, signer, event, by)
            self._has_news = True
            self._note(seen, compared=compares, durable=durable)
        return seen.head.size

    # ── what is there ────────────────────────────────────────────────────────

    @contextmanager
    def read(self) -> Iterator[AccessReading]:
        """The log in one snapshot, for auditors.

        Raises:
            AccessLogNotFoundError: there is no log.
            AccessLogError: the database failed.
        """
        with _access_log_errors():
            self._require_log()
            with self._rows.read() as chain:
                yield AccessReading(chain, chain.head(), self._open)

    def _open(self, envelope: bytes) -> VerifiedHead[AccessHead]:
        return open_log_head(envelope, self._keys(), self._repository, State.ACTIVE)

    def _verified(
        self,
        rows: ChainWriter,
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
            head = open_log_head(envelope, keyring, self._repository, *accepted).head
            # step 2: it extends what this process has seen
            try:
                tree = head.tree() if known is None else followed(known, head, rows)
            except (RollbackError, LedgerTamperedError):
                if not self._rows.may_forget:
                    raise
                # As a process that begins now. Nobody can have remembered what is newer than this
                # head: that would have been committed, and this transaction excludes it.
                tree, remembered = head.tree(), self._remembered()
            seen = SeenHead(envelope, head, tree, keyring)
        if remembered is not None:
            require_extended(remembered, seen.head, rows)
        # step 3: the rows end where the head says
        require_whole_tail(rows.newest_sequence(), seen.head)
        return seen

    def _require_log(self) -> None:
        if not self._rows.exists() or self._rows.engine.revision() is None:
            raise AccessLogNotFoundError("There is no access log.")
        require_current_schema(self._rows.engine)

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
        if durable and self._remember is not None:
            self._remember(AccessCheckpoint.of(seen.head), self._prove)
            self._has_news = False
        if compared:
            self._compared_at = time.monotonic()

    def _prove(self, old_size: int, new_size: int) -> Sequence[bytes]:
        # From what is there now: others may have remembered a head that came after this process's.
        with _access_log_errors(), self._rows.read() as chain:
            return consistency_proof(chain, old_size, new_size)

    # ── the process ──────────────────────────────────────────────────────────

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        # Inside of no_fork, so that no child inherits the lock of a thread that it does not have.
        with no_fork():
            if not self._lock.acquire(timeout=limits.DATABASE_BUSY_SECONDS):
                raise AccessLogError(
                    "Another thread has been writing to the access log for"
                    f" {limits.DATABASE_BUSY_SECONDS} seconds."
                )
            try:
                yield
            finally:
                self._lock.release()

    def _actor(self, actor: str | None) -> Actor:
        # Looking up the user may ask a directory service; a forked child is another process.
        process, who = environment.process_id(), self._who
        if who is None or who[:2] != (process, actor):
            made = environment.entry_actor(environment.stored_by(actor), process)
            self._who = who = (process, actor, made)
        return who[2]


@contextmanager
def _access_log_errors() -> Iterator[None]:
    """Tell what fails in the log's database as ``AccessLogError``."""
    try:
        yield
    except CatalogueError as error:
        raise AccessLogError(error.message) from error
