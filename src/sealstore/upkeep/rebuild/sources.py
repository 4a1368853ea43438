"""What is left of a repository whose catalogue is lost: statements, histories, memories.

All of it is read once, and believed only as far as signatures go. What decides what becomes of it
is ``planning``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sealstore import files, named_files
from sealstore.audit.exporting import read_export
from sealstore.errors import (
    LedgerTamperedError,
    RepositoryMismatchError,
    SealstoreError,
    UsageError,
)
from sealstore.keys.keyring import Keyring, State
from sealstore.ledger.head import Head
from sealstore.ledger.history import HistoryEntry, decode_history_entry
from sealstore.ledger.merkle import Frontier, leaf_hash
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.ledger.proven_map import ProvenMap
from sealstore.names import ArtifactRef
from sealstore.repository.assembly import open_catalogue
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import VerifiedStatement, open_statement
from sealstore.signed.settings import VerifiedSettings, open_settings
from sealstore.storage import layout
from sealstore.storage import mirror as mirror_files
from sealstore.storage.catalogue import Reading, require_current_schema
from sealstore.storage.catalogue.listing import every_artifact
from sealstore.upkeep.trust import read_history_checkpoint
from sealstore.verification import verify_head

Roots = dict[int, list[tuple[str, str]]]
"""By size: what the root is, hexadecimal, and what says so."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A genuine statement that was found.

    Attributes:
        verified: the statement.
        envelope: its envelope.
        where: what it was found in, for people.
        is_put_away: whether the file's name says that the artifact was removed.
    """

    verified: VerifiedStatement
    envelope: bytes
    where: str
    is_put_away: bool

    @property
    def ref(self) -> ArtifactRef:
        """Which artifact."""
        return self.verified.statement.ref

    @property
    def sequence(self) -> int:
        """The place of its store in the history."""
        return self.verified.statement.predicate.sequence


@dataclass(frozen=True, slots=True)
class ProvenHistory:
    """The beginning of a history, proven.

    Attributes:
        entries: from the first on.
        where: what it was found in, for people.
    """

    entries: list[HistoryEntry] = field(default_factory=list)
    where: str = ""


@dataclass(slots=True)
class Sources:
    """What is left.

    Attributes:
        settings: the newest signed settings.
        keyring: the keys, less those that the settings revoke.
        points: what is remembered of the history, with what remembers it.
        history: the longest beginning of the history that is proven.
        candidates: genuine statements.
        refused: what is no genuine statement: what it was found in, and the reason.
        notes: what could not be used, and why.
    """

    settings: VerifiedSettings
    keyring: Keyring
    points: list[tuple[str, HistoryCheckpoint]] = field(default_factory=list)
    history: ProvenHistory = field(default_factory=ProvenHistory)
    candidates: list[Candidate] = field(default_factory=list)
    refused: list[tuple[str, SealstoreError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def last_known(self) -> HistoryCheckpoint | None:
        """The newest state that anything remembers."""
        points = [point for _, point in self.points]
        return max(points, key=lambda point: (point.epoch, point.size, point.time), default=None)


def gather(
    settings: Settings,
    old: OldCatalogue | None,
    *,
    export: Path | None,
    checkpoint: Path | None,
    progress: Progress = no_progress,
) -> Sources:
    """Read all that is left, and verify what can be verified by itself.

    Args:
        settings: name the repository, its keys and this client's memory.
        old: the old catalogue, as far as it can be read.
        export: a file of ``sealstore audit export``.
        checkpoint: a file of ``sealstore audit checkpoint``.
        progress: hears of the phases ``history`` and ``statements``.

    Raises:
        VerificationError: settings, export or checkpoint are refused, or contradict each other.
        RepositoryNotFoundError, StorageError: there is no repository.json, or it cannot be read.
    """
    root = settings.path.absolute()
    keys = settings.key_source().current()
    signed = _newest_settings(root, keys, old)
    repository = signed.document.repository
    if settings.repository_id not in (None, repository):
        raise RepositoryMismatchError(
            f"This is repository {repository}; MODEL_REPO_ID asks for a different one.",
            path=root,
        )
    found = Sources(signed, keys.with_revoked(signed.document.revoked_keys))
    remembered = settings.trust_store(root).read()
    if remembered is not None:
        found.points.append(("this client's trust state", remembered.point))
    if checkpoint is not None:
        found.points.append((str(checkpoint), read_history_checkpoint(settings, checkpoint)))
    _read_histories(found, settings, old, export, progress)
    for where, point in found.points:
        if point.repository != repository:
            raise RepositoryMismatchError(
                f"The settings are of repository {repository}; {where} knows"
                f" {point.repository} here."
            )
    _read_statements(found, root, old, progress)
    return found


# ── the old catalogue ────────────────────────────────────────────────────────


@dataclass(slots=True)
class OldCatalogue:
    """The old catalogue in one snapshot, as far as it can be read.

    Attributes:
        rows: the snapshot.
        head: its verified head; None until ``Sources`` has one, or where none is genuine.
    """

    rows: Reading
    head: Head | None = None

    def map(self) -> ProvenMap | None:
        """What the map says, against the verified head."""
        return None if self.head is None else ProvenMap(self.head.map_root, self.rows.map)


@contextmanager
def old_catalogue(settings: Settings, notes: list[str]) -> Iterator[OldCatalogue | None]:
    """The configured catalogue, if it can be read at all; why not is a note."""
    with ExitStack() as stack:
        old: OldCatalogue | None = None
        try:
            catalogue = open_catalogue(settings.path.absolute(), settings)
            stack.callback(catalogue.engine.dispose)
            require_current_schema(catalogue.engine)
            old = OldCatalogue(stack.enter_context(catalogue.read()))
        except SealstoreError as error:
            notes.append(f"The old catalogue cannot be read: {error.message}")
        yield old


def _newest_settings(root: Path, keys: Keyring, old: OldCatalogue | None) -> VerifiedSettings:
    first = open_settings(layout.read_settings_file(root), keys)
    newest = first
    if old is None:
        return newest
    # A change of settings that was killed leaves its newest version in the catalogue only.
    with suppress(SealstoreError):
        while (data := old.rows.settings(newest.document.version + 1)) is not None:
            later = open_settings(data, keys)
            if later.document.repository != first.document.repository:
                break
            if later.document.version != newest.document.version + 1:
                break
            newest = later
    return newest


# ── histories ────────────────────────────────────────────────────────────────


def _read_histories(
    found: Sources,
    settings: Settings,
    old: OldCatalogue | None,
    export: Path | None,
    progress: Progress,
) -> None:
    remembered = found.points[0][1] if found.points else None
    sources: list[tuple[str, Head, Callable[[], Iterable[bytes]]]] = []
    if old is not None:
        try:
            envelope = old.rows.history.head() or b""
            head = verify_head(envelope, keyring=found.keyring, accepted=remembered).head
        except SealstoreError as error:
            found.notes.append(f"The old catalogue's head is refused: {error.message}")
        else:
            old.head = head
            rows = old.rows
            size = head.size
            found.points.append(("the old catalogue", HistoryCheckpoint.of(head)))
            sources.append(("the old catalogue", head, lambda: rows.history.entries(0, size)))
    with ExitStack() as stack:
        if export is not None:
            stack.enter_context(named_files.reading("export", export))
            file = stack.enter_context(files.opened(export, follow_links=True))
            read = read_export(settings, file)
            if not isinstance(read.head, Head):
                raise UsageError(
                    "The export is one of an access log.",
                    hint="give one of the history: 'sealstore audit export' makes it.",
                )
            found.points.append((str(export), HistoryCheckpoint.of(read.head)))
            entries = read.entries
            sources.append((str(export), read.head, lambda: entries))
        _prove_histories(found, sources, progress)


def _prove_histories(
    found: Sources,
    sources: list[tuple[str, Head, Callable[[], Iterable[bytes]]]],
    progress: Progress,
) -> None:
    last = found.last_known()
    for where, head, entries in sources:
        if last is not None and head.epoch != last.epoch:
            found.notes.append(f"The history in {where} is from before an earlier rebuild.")
            continue
        roots: Roots = {}
        for name, point in found.points:
            if point.epoch == head.epoch and point.size <= head.size:
                roots.setdefault(point.size, []).append((point.root, name))
        proven = _proven_beginning(where, entries(), head, roots, found.notes, progress)
        if len(proven) > len(found.history.entries):
            found.history = ProvenHistory(proven, where)


def _proven_beginning(
    where: str,
    entries: Iterable[bytes],
    head: Head,
    roots: Roots,
    notes: list[str],
    progress: Progress,
) -> list[HistoryEntry]:
    """The longest beginning of a history that leads to a root that is signed.

    Raises:
        LedgerTamperedError: a whole history that is not the one that something remembers.
    """
    heard: list[HistoryEntry] = []
    tree, proven, other = Frontier(), 0, ""
    try:
        for sequence, data in enumerate(entries, start=1):
            if sequence > head.size:
                break
            heard.append(decode_history_entry(data, sequence))
            tree = tree.append(leaf_hash(data))[0]
            for root, name in roots.get(sequence, ()):
                if tree.root().hex() == root:
                    proven = sequence
                else:
                    other = name
            if sequence % 1_000 == 0:
                progress("history", sequence, head.size)
    except SealstoreError as error:
        notes.append(f"The history in {where} ends before its head: {error.message}")
    if proven == head.size and other:
        raise LedgerTamperedError(
            f"The history in {where} is genuine, but not the one that {other} remembers.",
            hint="find out which of the two is right; 'sealstore audit consistency' compares them.",
        )
    if proven < head.size:
        notes.append(
            f"Of the history in {where}, {proven} of {head.size} entries are proven: those before a"
            " root that is signed."
        )
    return heard[:proven]


# ── statements ───────────────────────────────────────────────────────────────


def _read_statements(
    found: Sources, root: Path, old: OldCatalogue | None, progress: Progress
) -> None:
    for done, each in enumerate(_mirrored(found, root), start=1):
        found.candidates.append(each)
        if done % 500 == 0:
            progress("statements", done, 0)
    if old is None:
        return
    try:
        for row in every_artifact(old.rows):
            envelope = row.envelope if isinstance(row.envelope, bytes) else b""
            # What is refused here is refused in the mirror, too, or is nobody's statement.
            with suppress(SealstoreError):
                verified = open_statement(envelope, found.keyring)
                _require_own(verified, verified.statement.ref, found.settings.document.repository)
                found.candidates.append(Candidate(verified, envelope, "the old catalogue", False))
    except SealstoreError as error:
        found.notes.append(f"Not all rows of the old catalogue can be read: {error.message}")


def _mirrored(found: Sources, root: Path) -> Iterator[Candidate]:
    for file in mirror_files.mirror_files(root):
        path = f"{layout.STATEMENTS_FOLDER}/{file.path}"
        mirrored = mirror_files.mirrored_ref(file)
        if mirrored is None:
            if not file.is_folder and not file.is_staging and not file.is_set_aside:
                found.refused.append((path, LedgerTamperedError("It is no mirrored statement.")))
            continue
        ref, is_put_away = mirrored
        try:
            data = mirror_files.read_mirror_file(root, file)
            if data is None:
                continue
            verified = open_statement(data, found.keyring)
            _require_own(verified, ref, found.settings.document.repository)
        except SealstoreError as error:
            found.refused.append((path, error))
            continue
        yield Candidate(verified, data, path, is_put_away)


def _require_own(verified: VerifiedStatement, ref: ArtifactRef, repository: str) -> None:
    statement = verified.statement
    if statement.predicate.repository != repository:
        raise RepositoryMismatchError("The statement is genuine, and of another repository.")
    if statement.ref != ref:
        raise RepositoryMismatchError(f"The statement is genuine, and vouches for {statement.ref}.")


def is_retired(keyring: Keyring, candidate: Candidate) -> bool:
    """Whether the key that signed a statement vouches for nothing new any more."""
    return keyring.get(candidate.verified.key_id).state is State.RETIRED
