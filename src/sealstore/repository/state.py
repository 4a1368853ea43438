"""What the newest verified head vouches for, as this process knows it.

Every operation begins here, with ``snapshot`` or ``asking``: they hold the one order in which a
client may read what it remembers, ask the repository, verify the answer, and remember it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sealstore.errors import (
    CatalogueTamperedError,
    LedgerTamperedError,
    RepairWarning,
    RepositoryLayoutError,
    RepositoryMismatchError,
    RevokedKeyError,
    RollbackError,
    SealstoreError,
    warn_caller,
)
from sealstore.formats.policies import Policies
from sealstore.keys.keyring import Keyring
from sealstore.ledger.consistency import consistency_proof
from sealstore.ledger.head import Head
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.process_bound import ProcessBound
from sealstore.repository.settings import Settings
from sealstore.signed.settings import RepositorySettings, VerifiedSettings, open_settings
from sealstore.storage import layout
from sealstore.storage.catalogue import Catalogue, Reading
from sealstore.trust.freshness import require_fresh
from sealstore.trust.record import TrustRecord
from sealstore.trust.store import TrustStore
from sealstore.verification import require_continuity, verify_head

if TYPE_CHECKING:
    from sealstore.ledger.proven_map import ProvenMap


class KeySource(Protocol):
    """Where the keyring comes from; asked again by every operation."""

    def current(self) -> Keyring:
        """The keyring now."""
        ...


@dataclass(frozen=True, slots=True)
class RepositoryState(ProcessBound):
    """What one verified head vouches for.

    Attributes:
        envelope: of the head.
        head: the verified head.
        settings: the settings that hold.
        keyring: the keys, less those that the settings revoke.
        policies: what payloads may import.
    """

    envelope: bytes
    head: Head
    settings: VerifiedSettings
    keyring: Keyring
    policies: Policies

    @property
    def repository(self) -> str:
        """The repository's id."""
        return self.head.repository

    @property
    def document(self) -> RepositorySettings:
        """What the settings say."""
        return self.settings.document

    @property
    def point(self) -> HistoryCheckpoint:
        """What is remembered of the head."""
        return HistoryCheckpoint.of(self.head)


@dataclass(frozen=True, slots=True)
class _Known:
    """The state that was verified last, and what it was verified with."""

    state: RepositoryState
    keyring: Keyring
    remembered: TrustRecord | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the repository.

    Attributes:
        rows: of the catalogue, as they were then.
        state: what their head vouches for, verified.
    """

    rows: Reading
    state: RepositoryState

    @property
    def answers(self) -> ProvenMap:
        """What the map says, each answer proven against the head."""
        from sealstore.ledger.proven_map import ProvenMap

        return ProvenMap(self.state.head.map_root, self.rows.map)


@dataclass(slots=True)
class Asking:
    """One question to the repository, and what this client makes of the answer.

    The order is a security rule, and stands here alone:

    1. What this client remembers is read when the block begins, *before* the repository is asked.
       The other way round, a change by somebody else in between would look like a rollback.
    2. The repository is asked, by the block.
    3. The head that came with the answer is verified: it must extend what was remembered.
    4. It is remembered when the block ends well.

    ::

        with parts.state.asking() as asking:
            found = parts.catalogue.ask(ref, positions)
            state = asking.verify(found.head)

    Attributes:
        keeper: verifies heads.
        remembered: what this client remembered when the block began.
        state: what the head that was verified last vouches for.
        is_own: whether this process signed that head.
    """

    keeper: StateKeeper
    remembered: TrustRecord | None
    state: RepositoryState | None = None
    is_own: bool = False

    def verify(
        self, envelope: bytes | None, rows: Reading | None = None, *, is_own: bool = False
    ) -> RepositoryState:
        """The state that a head vouches for, held against what was remembered.

        Args:
            envelope: the head's, as the catalogue gave it.
            rows: where settings and proofs come from; a snapshot of its own by default.
            is_own: whether this process signed the head, and commits it before the block ends.

        Raises:
            VerificationError: the head is refused.
            CatalogueTamperedError: there is none.
            RepositoryMismatchError: ``MODEL_REPO_ID`` asks for another repository.
            SealstoreError: settings or keys are refused.
        """
        self.state = self.keeper.accepted(envelope, self.remembered, rows)
        self.is_own = is_own
        return self.state


class StateKeeper(ProcessBound):
    """Verifies heads, and remembers the newest one: in this process, and in the trust state.

    Args:
        root: the repository's folder.
        configured: the configuration.
        keys: where the keyring comes from.
        catalogue: where heads come from.
        trust: what this client remembers.
    """

    def __init__(
        self,
        root: Path,
        configured: Settings,
        keys: KeySource,
        catalogue: Catalogue,
        trust: TrustStore,
    ) -> None:
        self._root = root
        self._configured = configured
        self._keys = keys
        self._catalogue = catalogue
        self._trust = trust
        self._known: _Known | None = None
        # The sizes that the last proof was between, and the proof.
        self._proven: tuple[tuple[int, int], Sequence[bytes]] | None = None

    def known(self) -> RepositoryState:
        """The state that was verified last; verified now, if none was yet.

        Raises:
            SealstoreError: as ``Asking.verify``.
        """
        known = self._known
        return self.read() if known is None else known.state

    def keyring(self) -> Keyring:
        """The keys as they are now, less those that the repository's settings revoke."""
        state, current = self.known(), self._keys.current()
        known = self._known
        if known is not None and known.keyring is current:
            return known.state.keyring
        return current.with_revoked(state.document.revoked_keys)

    def read(self) -> RepositoryState:
        """The present state, verified and remembered.

        Raises:
            SealstoreError: as ``Asking.verify``.
        """
        with self.snapshot() as snapshot:
            return snapshot.state

    @contextmanager
    def snapshot(self, *, remembering: bool = True) -> Iterator[Snapshot]:
        """One state of the repository, verified, and its rows; remembered when the block ends well.

        Args:
            remembering: whether the state is remembered.

        Raises:
            SealstoreError: as ``Asking.verify``.
        """
        with self.asking(remembering=remembering) as asking, self._catalogue.read() as rows:
            yield Snapshot(rows, asking.verify(rows.history.head(), rows))

    @contextmanager
    def asking(self, *, remembering: bool = True) -> Iterator[Asking]:
        """One question to the repository, whatever way it is asked. See ``Asking``.

        Args:
            remembering: whether the head that was verified is remembered, unless the block fails.

        Raises:
            TrustStateError: what is remembered cannot be read or written.
            FirstUseError: there is nothing, and ``MODEL_REPO_FIRST_USE`` forbids that.
            CatalogueError: the head cannot be made durable.
            VerificationError: another process has accepted a head meanwhile that does not fit.
        """
        asking = Asking(self, self._trust.expected())
        yield asking
        if asking.state is None or not remembering:
            return
        try:
            self._remember(asking.state, asking.remembered, is_own=asking.is_own)
        except SealstoreError as refusal:
            if not asking.is_own:
                raise
            # The change is on record. The next operation tries again to remember it.
            warn_caller(f"The change is made, but not remembered here: {refusal}", RepairWarning)

    def verify_alone(self, rows: Reading) -> RepositoryState:
        """What the present head vouches for by itself, held against nothing that is remembered.

        Only what an operator is about to accept is looked at so.

        Raises:
            SealstoreError: as ``Asking.verify``, but for what the trust state would refuse.
        """
        return self.accepted(rows.history.head(), None, rows)

    def accepted(
        self, envelope: bytes | None, remembered: TrustRecord | None, rows: Reading | None
    ) -> RepositoryState:
        """The state that a head vouches for, held against ``remembered``. See ``Asking.verify``."""
        if envelope is None:
            raise CatalogueTamperedError(
                "The catalogue has no signed head, or none that could be one.",
                hint="restore the catalogue from a backup; 'sealstore doctor' shows its state.",
            )
        keyring = self._keys.current()
        known = self._known
        if not (
            known is not None
            and known.state.envelope == envelope
            and known.keyring is keyring
            and _same(known.remembered, remembered)
        ):
            state = self._verified(envelope, keyring, remembered, rows)
            known = self._known = _Known(state, keyring, remembered)
        now = self._clock()
        if now is not None:
            newest = None if remembered is None else remembered.newest_time
            require_fresh(known.state.head.time, now, newest, self._configured.max_age)
        return known.state

    def _remember(
        self, state: RepositoryState, remembered: TrustRecord | None, *, is_own: bool
    ) -> None:
        is_news = remembered is None or remembered.point != state.point
        if is_news and not is_own:
            # Whoever committed it may have died before it was synced: then a power loss could
            # still take it back. What this process committed itself is synced.
            self._catalogue.engine.sync()
        # With a greatest age, the time of an idle repository's loads is remembered, too.
        now = self._clock()
        if is_news or now is not None:
            self._trust.advance(state.point, prove=self._prove, now=now)

    # ── the steps ────────────────────────────────────────────────────────────

    def _verified(
        self,
        envelope: bytes,
        keyring: Keyring,
        remembered: TrustRecord | None,
        rows: Reading | None,
    ) -> RepositoryState:
        point = None if remembered is None else remembered.point
        # steps 3a and 3b: one signature, of an active key, or this very head was accepted before
        try:
            verified = verify_head(envelope, keyring=keyring, accepted=point)
        except RevokedKeyError as error:
            error.hint = (
                "if nobody but its owner had the key, 'sealstore resign --settings --accept ID'"
                " signs head and settings again; ID is the repository's id as you have it."
            )
            raise
        head = verified.head
        # step 3c: of the repository that is expected
        if self._configured.repository_id not in (None, head.repository):
            raise RepositoryMismatchError(
                f"This is repository {head.repository}, and MODEL_REPO_ID asks for another.",
                path=self._root,
                hint="check what is mounted at {path}.",
            )
        with self._rows(rows) as found:
            proof: Sequence[bytes] = ()
            if point is not None and point.size <= head.size:
                proof = consistency_proof(found.history, point.size, head.size)
            # step 3d: it extends what was seen before
            require_continuity(point, head, proof)
            if point is not None:
                self._proven = (point.size, head.size), proof
            # step 3e: the settings are the ones that it names
            settings = self._settings_of(head, keyring, found)
        known = self._known
        document = settings.document
        # step 3f: of the epoch that an admin began, by a key that the settings do not revoke
        if head.epoch != document.epoch:
            raise LedgerTamperedError(
                f"The head is of epoch {head.epoch}, and the settings that an admin signed are of"
                f" epoch {document.epoch}: nobody but an admin begins a new one."
            )
        trusted = keyring.with_revoked(document.revoked_keys)
        if verified.key_id in document.revoked_keys:
            raise RevokedKeyError(f"Key {verified.key_id}, which signed the head, is revoked.")
        if known is not None and known.state.settings is settings:
            policies = known.state.policies
        else:
            policies = Policies.of(document.policy, self._configured.policy_path, self._root)
        return RepositoryState(envelope, head, settings, trusted, policies)

    def _settings_of(self, head: Head, keyring: Keyring, rows: Reading) -> VerifiedSettings:
        known = self._known
        if (
            known is not None
            and known.keyring is keyring
            and known.state.settings.digest == head.settings_digest
        ):
            return known.state.settings
        # The file shows people the settings; where it is gone, older, or damaged, the catalogue has
        # them too. What decides is the head's digest.
        found: VerifiedSettings | None = None
        refusals: list[SealstoreError] = []
        sources: list[Callable[[], bytes | None]] = [
            lambda: rows.settings(head.settings_version),
            lambda: layout.read_settings_file(self._root),
        ]
        for source in sources:
            try:
                data = source()
                found = found if data is None else open_settings(data, keyring)
            except SealstoreError as error:
                refusals.append(error)
            if found is not None and found.digest == head.settings_digest:
                return found
        raise refusals[0] if refusals and found is None else _other_settings(head, found)

    def _prove(self, old_size: int, new_size: int) -> Sequence[bytes]:
        # Whoever asks verifies it: between two sizes of one history there is one proof only.
        proven = self._proven
        if proven is not None and proven[0] == (old_size, new_size):
            return proven[1]
        with self._catalogue.read() as rows:
            return consistency_proof(rows.history, old_size, new_size)

    def _clock(self) -> datetime | None:
        # Nothing is asked of a clock where no greatest age is set.
        return None if self._configured.max_age is None else datetime.now(UTC)

    def _rows(self, rows: Reading | None) -> AbstractContextManager[Reading]:
        return self._catalogue.read() if rows is None else nullcontext(rows)


def _same(one: TrustRecord | None, other: TrustRecord | None) -> bool:
    return one is other or (one is not None and other is not None and one.point == other.point)


def _other_settings(head: Head, found: VerifiedSettings | None) -> SealstoreError:
    if found is not None and found.document.version < head.settings_version:
        return RollbackError(
            f"The repository's settings are of version {found.document.version}; the signed head"
            f" names version {head.settings_version}."
        )
    return RepositoryLayoutError(
        "The repository's settings are not the ones that its signed head names.",
        hint="restore repository.json, or the catalogue, from a backup.",
    )
