"""Rebuilding: a new catalogue from what is signed, where the old one is lost or damaged.

What is left is read and verified (``sources``). What becomes of it is decided (``plan``). The new
catalogue is built beside the old one and takes its place as a whole. Its history keeps every place
of the old one: entries that are proven stay as they are, stores that are known from their
statements alone are entries again, and what is unknown is an entry ``lost``. So no number is ever
given out twice. The new catalogue is of the next epoch. Settings that an admin signs begin it, and
every client refuses it until its operator accepts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from sealstore.audit.chains import ChainName
from sealstore.audit.findings import Findings
from sealstore.audit.replaying import Replay
from sealstore.errors import (
    CatalogueTamperedError,
    LedgerTamperedError,
    RebuildRefusedError,
    RepairWarning,
    SealstoreError,
    warn_caller,
)
from sealstore.keys.keyring import Keyring, Role
from sealstore.ledger.entries import EntryArtifact
from sealstore.ledger.history import HistoryEntry
from sealstore.names import ArtifactRef, Name, Tag, request
from sealstore.repository import environment
from sealstore.repository.artifact import entry_artifact
from sealstore.repository.assembly import LOCK_FILE, open_catalogue
from sealstore.repository.creating import database_in_use
from sealstore.repository.history_entries import REBUILT
from sealstore.repository.map_changes import note_moved, note_removed, note_stored
from sealstore.repository.origins import origin_of, require_origin
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.recording import Change, genesis
from sealstore.repository.settings import Settings
from sealstore.signed.approval import AliasTarget
from sealstore.signed.settings import VerifiedSettings, open_settings, seal_settings
from sealstore.signed.statement import StoredBy
from sealstore.storage import creation, layout, mirror_writing
from sealstore.storage import mirror as mirror_files
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.catalogue import ArtifactRow, Catalogue
from sealstore.storage.catalogue.changing import ApprovalRow, WriteTransaction
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.database_facts import schema_revision
from sealstore.storage.catalogue.listing import every_claim, origin_at
from sealstore.storage.catalogue.migrations import upgrade
from sealstore.storage.catalogue.sqlite import writers_queue
from sealstore.storage.catalogue.sqlite_files import replaced_catalogue
from sealstore.upkeep.rebuild.plan import Plan, RebuildReport, plan
from sealstore.upkeep.rebuild.sources import Candidate, OldCatalogue, Sources, gather, old_catalogue
from sealstore.upkeep.verify import DistinctPayloads, HashedPayloads, hash_payloads
from sealstore.verification import verify_head


def rebuild(
    settings: Settings,
    *,
    do_write: bool = False,
    export: Path | None = None,
    checkpoint: Path | None = None,
    epoch: int | None = None,
    accept_retired: bool = False,
    force: bool = False,
    actor: str | None = None,
    progress: Progress = no_progress,
) -> RebuildReport:
    """Say what can be recovered of a repository whose catalogue is lost, and recover it.

    Args:
        settings: name the repository, its keys and this client's memory.
        do_write: whether the new catalogue is put in the place of the old one.
        export: a file of ``sealstore audit export``, newer than what is left of the catalogue.
        checkpoint: a file of ``sealstore audit checkpoint``: the last state that is known.
        epoch: the new epoch, at least 2; only where nothing here remembers the repository.
        accept_retired: whether statements of retired keys are taken, too, where nothing proves that
            they were on record before.
        force: whether a catalogue with which nothing is wrong is replaced, too.
        actor: who the caller says it is.
        progress: hears of the phases ``history``, ``statements``, ``payloads`` (in bytes) and
            ``entries``.

    Raises:
        RebuildRefusedError: the catalogue is sound; or nothing remembers the repository; or signed
            statements contradict each other.
        RollbackError, LedgerTamperedError: settings, history and what is remembered do not fit.
        VerificationError: the settings, the export or the checkpoint are refused.
        NoSigningKeyError: no active key has the role admin, or store, here; nothing was changed.
        CatalogueError, StorageError: database or file system refused; nothing was changed.
    """
    root, notes = settings.path.absolute(), list[str]()
    # From before anything is read: what others store after that would be lost.
    with _turn(settings, do_write), old_catalogue(settings, notes) as old:
        found = gather(settings, old, export=export, checkpoint=checkpoint, progress=progress)
        report = _begun(found, notes, epoch)
        decided = plan(found, old, report, accept_retired=accept_retired)
        if old is not None and not force and _is_sound(found, old, report):
            if do_write and layout.read_settings_file(root) != found.settings.envelope:
                # A rebuild may have died between the catalogue and the file.
                creation.place_settings(root, found.settings.envelope)
            raise RebuildRefusedError(
                "The catalogue is sound: there is nothing to rebuild.",
                hint="'sealstore fsck' checks everything else; --force rebuilds nevertheless.",
            )
        for path, error in found.refused:
            report.lose(None, error.code, f"{path}: {error.message}", error.hint)
        _check_payloads(settings, decided, report, progress)
        if do_write:
            who = environment.stored_by(actor)
            _write(_Work(settings, found, old, decided, report, who, progress))
    return report


@contextmanager
def _turn(settings: Settings, do_write: bool) -> Iterator[None]:
    root = settings.path.absolute()
    queue = root / LOCK_FILE if do_write and settings.database_url is None else None
    layout.read_settings_file(root)
    with (
        catalogue_errors("The catalogue cannot be rebuilt", reading=False),
        writers_queue(queue, "the catalogue"),
    ):
        yield


def _begun(found: Sources, notes: list[str], epoch: int | None) -> RebuildReport:
    last = found.last_known()
    document = found.settings.document
    if last is None and (epoch is None or epoch <= document.epoch):
        raise RebuildRefusedError(
            "Nothing here remembers the repository, so that its next epoch is not known.",
            hint="give the newest checkpoint that was kept (--checkpoint FILE), or an export"
            " (--history FILE); where there is none, --epoch N: 2, or one more than the clients'"
            " 'sealstore trust show' says.",
        )
    following = (epoch or 0) if last is None else last.epoch + 1
    report = RebuildReport(document.repository, following, document.version, last)
    report.notes += notes + found.notes
    if not found.history.entries:
        report.notes.append(
            "Nothing is left of the history: what was removed is known from the names of mirrored"
            " statements only, and from the old catalogue's map where it is proven."
        )
    return report


def _is_sound(found: Sources, old: OldCatalogue, report: RebuildReport) -> bool:
    """Whether nothing is wrong with the old catalogue's history, map and rows."""
    head = old.head
    if head is None or len(found.history.entries) != head.size or report.lost:
        return False
    last = report.last_known
    if last is None or (last.size, last.root, last.epoch) != (head.size, head.root, head.epoch):
        return False
    replay, findings = Replay(), Findings(ChainName.HISTORY)
    for entry in found.history.entries:
        replay.hear(entry)
    stored: set[tuple[object, object]] = {
        (entry.sequence, entry.artifact.statement)
        for entry in found.history.entries
        if entry.event == "store" and entry.artifact is not None
    }
    try:
        claims = {(sequence, digest) for sequence, digest, _ in every_claim(old.rows)}
        replay.compare(bytes.fromhex(head.map_root), old.rows.map, findings)
        settings_held = old.rows.settings(head.settings_version) is not None
    except SealstoreError:
        return False
    return (
        settings_held
        and not findings.count
        and claims <= stored
        and len(claims) == len(stored) - len(set(report.removed))
    )


def _check_payloads(
    settings: Settings, decided: Plan, report: RebuildReport, progress: Progress
) -> None:
    """Say which payloads are not there; their statements are recovered nevertheless."""
    payloads = DistinctPayloads()
    for candidate in decided.kept.values():
        statement = candidate.verified.statement
        payloads.add(statement.digests, statement.predicate.size, candidate.ref)
    blobs = LocalBlobStore(settings.path.absolute())
    refusals = hash_payloads(blobs, payloads, HashedPayloads(), progress=progress)
    for ref, error in sorted(refusals, key=lambda each: str(each[0])):
        report.lose(
            str(ref),
            error.code,
            f"Its statement is recovered, its payload is not: {error.message}",
            "restore the payload from a backup: loads are refused until then.",
        )


# ── writing the new catalogue ─────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Work:
    """What is left, what becomes of it, and where to say what is lost."""

    settings: Settings
    found: Sources
    old: OldCatalogue | None
    plan: Plan
    report: RebuildReport
    who: StoredBy
    progress: Progress


def _write(work: _Work) -> None:
    """Build the new catalogue and put it in the place of the old one."""
    keyring = work.found.keyring
    new = _new_settings(work, keyring)
    # Before anything is written.
    keyring.signer(Role.STORE, work.report.repository)
    root = work.settings.path.absolute()
    with _new_catalogue(work.settings) as catalogue, catalogue.write() as transaction:
        _fill(work, transaction, new)
    creation.place_settings(root, new.envelope)
    _mend_mirror(work)
    work.report.written = True


def _new_settings(work: _Work, keyring: Keyring) -> VerifiedSettings:
    present = work.found.settings.document
    document = msgspec.structs.replace(
        present,
        version=present.version + 1,
        created=environment.now(),
        rebuilt_from=work.plan.rebuilt_from,
    )
    admin = keyring.signer(Role.ADMIN, present.repository)
    return open_settings(seal_settings(document, admin), keyring)


@contextmanager
def _new_catalogue(settings: Settings) -> Iterator[Catalogue]:
    root = settings.path.absolute()
    if settings.database_url is None:
        with replaced_catalogue(root, journal=settings.journal) as catalogue:
            yield catalogue
        return
    catalogue = open_catalogue(root, settings, create=True)
    try:
        if schema_revision(catalogue.engine) is not None:
            raise database_in_use()
        upgrade(catalogue.engine)
        yield catalogue
    finally:
        catalogue.engine.dispose()


def _fill(work: _Work, transaction: WriteTransaction, new: VerifiedSettings) -> None:
    keyring, plan = work.found.keyring, work.plan
    signer = keyring.signer(Role.STORE, work.report.repository)
    beginning = genesis(new, epoch=new.document.epoch)
    made = Change(transaction, beginning, signer, work.who, environment.process_id())
    writer = _Writer(work, made)
    for sequence in range(1, plan.size + 1):
        if sequence <= len(plan.proven):
            writer.take_over(plan.proven[sequence - 1])
        elif sequence in plan.stores:
            writer.store_again(plan.stores[sequence])
        else:
            made.append("lost")
        if sequence % 500 == 0:
            work.progress("entries", sequence, plan.size)
    for candidate in plan.removed:
        writer.remove(_on_record(plan, candidate))
    for lost in plan.lost:
        if lost.artifact is not None:
            writer.remove(lost.artifact, lost=True)
    for candidate in plan.kept.values():
        transaction.insert_artifact(ArtifactRow.of(candidate.verified, candidate.envelope))
    made.replace_settings(new)
    last = plan.rebuilt_from
    made.append(
        "rebuild",
        version=new.document.version,
        sha256=new.digest,
        admin_key=new.key_id,
        epoch=last.epoch,
        size=last.size,
        root=last.root,
        map_root=last.map_root,
        recovered=len(plan.kept),
    )
    writer.keep_settings()
    # What was signed is verified as a load would.
    verify_head(made.finish(), keyring=keyring, accepted=None)


class _Writer:
    """Brings the entries of a plan into a change, one after the other."""

    def __init__(self, work: _Work, made: Change) -> None:
        self._work = work
        self._made = made
        self._old_rows = None if work.old is None else work.old.rows

    def take_over(self, entry: HistoryEntry) -> None:
        """Append a proven entry as it is, and let it mean in the map what it meant."""
        artifact = entry.artifact
        if entry.event == "alias":
            self._move_alias(entry)
        elif entry.event == "store" and artifact is not None:
            note_stored(self._made, *_where(artifact), artifact.statement)
            if entry.sequence in self._work.plan.kept:
                self._keep_origin(entry, artifact)
        elif entry.event == "remove" and artifact is not None:
            note_removed(self._made, *_where(artifact), artifact.statement)
        self._made.append_entry(entry)

    def store_again(self, candidate: Candidate) -> None:
        """Append an entry of a store that is known from its statement only."""
        artifact = entry_artifact(candidate.verified)
        note_stored(self._made, *_where(artifact), artifact.statement)
        created = candidate.verified.statement.predicate.created
        self._made.append("store", artifact, at=created, **{REBUILT: True})

    def remove(self, artifact: EntryArtifact, *, lost: bool = False) -> None:
        """Append that an artifact is not there any more."""
        note_removed(self._made, *_where(artifact), artifact.statement)
        details: dict[str, Any] = {REBUILT: True, **({"statement_lost": True} if lost else {})}
        self._made.append("remove", artifact, **details)

    def _move_alias(self, entry: HistoryEntry) -> None:
        details = entry.details
        name, alias = str(details.get("name")), str(details.get("alias"))
        tag, revision, statement = (details.get(at) for at in ("tag", "revision", "statement"))
        target = None
        if isinstance(tag, str) and type(revision) is int and isinstance(statement, str):
            target = AliasTarget(tag=tag, revision=revision, statement=statement)
        moved = note_moved(self._made, Name(name), Tag.to_store(alias), target)
        self._keep_approvals(name, alias, moved.move, entry)

    def _keep_approvals(self, name: str, alias: str, move: int, entry: HistoryEntry) -> None:
        wanted = {
            str(value).partition(" ")[2]
            for key, value in entry.details.items()
            if key.startswith("approval_")
        }
        if not wanted:
            return
        kept: list[ApprovalRow] = []
        if self._old_rows is not None:
            for envelope in self._old_rows.approvals(name, alias, move):
                digest = sha256(envelope).hexdigest()
                if digest in wanted:
                    kept.append(ApprovalRow(digest, name, alias, move, envelope))
        self._made.transaction.replace_approvals(name, alias, move, kept)
        if len(kept) < len(wanted):
            self._work.report.lose(
                None,
                "APPROVALS_LOST",
                f"{len(wanted) - len(kept)} approvals of move {move} of {name}:{alias}: while it is"
                " protected, what it means is refused.",
                "let the approvers approve its meaning again: 'sealstore approve request'.",
            )

    def _keep_origin(self, entry: HistoryEntry, artifact: EntryArtifact) -> None:
        origin = origin_of(entry)
        if origin is None:
            return
        ref = request(artifact.name, artifact.tag, artifact.revision)
        for envelope in self._origins(ref, entry.sequence):
            with suppress(CatalogueTamperedError):
                require_origin(envelope, origin)
                self._made.transaction.insert_origin(entry.sequence, envelope)
                return
        self._work.report.lose(
            str(ref),
            "ORIGIN_LOST",
            "The statement that it had where it comes from is nowhere.",
            "restore origins/ from a backup, and rebuild again with --force; loads need it not.",
        )

    def _origins(self, ref: ArtifactRef, sequence: int) -> Iterator[bytes]:
        root = self._work.settings.path.absolute()
        with suppress(SealstoreError):
            yield mirror_files.read_mirror(root, ref, folder=layout.ORIGINS_FOLDER) or b""
        if self._old_rows is not None:
            with suppress(SealstoreError):
                yield origin_at(self._old_rows, sequence) or b""

    def keep_settings(self) -> None:
        """Keep the earlier versions of the settings that proven entries name."""
        wanted = {
            entry.details.get("version"): entry.details.get("sha256")
            for entry in self._work.plan.proven
            if entry.event in ("create", "settings", "rebuild")
        }
        present = self._work.found.settings
        for version, digest in wanted.items():
            if type(version) is not int:
                continue
            envelope = present.envelope if version == present.document.version else None
            if envelope is None and self._old_rows is not None:
                envelope = self._old_rows.settings(version)
            try:
                found = open_settings(envelope or b"", self._work.found.keyring)
                if found.digest != digest:
                    raise LedgerTamperedError("They are not the ones that were on record.")
            except SealstoreError as error:
                self._work.report.notes.append(
                    f"Version {version} of the settings is lost ({error.message}); no load needs"
                    " it, an audit of alias moves under it does."
                )
                continue
            self._made.transaction.put_settings(version, found.envelope)


def _mend_mirror(work: _Work) -> None:
    """Let the mirror say what the new history says; no load reads it."""
    root = work.settings.path.absolute()
    try:
        for candidate in work.plan.kept.values():
            if mirror_files.read_mirror(root, candidate.ref) is None:
                mirror_writing.write_mirror(root, candidate.ref, candidate.envelope)
        for candidate in work.plan.removed:
            mirror_files.put_mirror_away(root, candidate.ref)
    except SealstoreError as error:
        warn_caller(f"The mirror is not mended: {error.message}", RepairWarning)


def _on_record(plan: Plan, candidate: Candidate) -> EntryArtifact:
    """The artifact as the entry of its store has it; it may have been signed again since."""
    proven = plan.proven[candidate.sequence - 1 : candidate.sequence]
    known = proven[0].artifact if proven else None
    return entry_artifact(candidate.verified) if known is None else known


def _where(artifact: EntryArtifact) -> tuple[Name, Tag, int]:
    return Name(artifact.name), Tag.to_store(artifact.tag), artifact.revision
