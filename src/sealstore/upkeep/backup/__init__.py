"""Backing up and restoring: each snapshot is a whole repository, of which files are shared.

``backup`` copies the database by SQLite's online backup, proves the copy's history and map as
``fsck`` does, and puts beside it every payload and statement that the proven history leaves. A
payload that an earlier snapshot has is linked from there; one of the same file system from the
repository. A snapshot gets its name when it is whole and synced, so that none is ever incomplete.

``restore`` copies a snapshot beside its place, checks everything there, and only then moves it.
Neither keys nor trust states are in a backup.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sealstore import files
from sealstore.audit.chains import AccessSource
from sealstore.audit.contents import Contents, LedgerProof, prove_ledger, shown
from sealstore.errors import (
    BackupRefusedError,
    CatalogueError,
    CatalogueTamperedError,
    PayloadMissingError,
    RepairWarning,
    RevokedKeyError,
    SealstoreError,
    storage_errors,
    warn_caller,
)
from sealstore.ledger.entries import EntryArtifact
from sealstore.repository import environment
from sealstore.repository.access_log.place import ACCESS_FILE
from sealstore.repository.assembly import Parts
from sealstore.repository.facade import Repository
from sealstore.repository.listing import ref_of
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.proving import verified_in
from sealstore.repository.state import Asking
from sealstore.signed.envelope import read_unverified, statement_digest
from sealstore.signed.statement import Statement, decode
from sealstore.storage import creation, layout, mirror_writing
from sealstore.storage import mirror as mirror_files
from sealstore.storage.catalogue import (
    ArtifactRow,
    Catalogue,
    Reading,
    catalogue_engine,
    require_current_schema,
)
from sealstore.storage.catalogue.listing import every_artifact, origin_at
from sealstore.storage.catalogue.sqlite import SQLITE_FILE
from sealstore.storage.catalogue.sqlite_files import copy_database
from sealstore.upkeep.backup.folder import (
    BackupRecord,
    exclusive_backup_folder,
    remember_backup,
)
from sealstore.upkeep.backup.snapshot import (
    INCOMPLETE,
    BackupReport,
    SnapshotPayloads,
    apart,
    drop_all_but,
    refusal,
    snapshot_name,
    snapshots_in,
)
from sealstore.upkeep.fsck import fsck
from sealstore.verification import Proven


def backup(
    repository: Repository,
    folder: Path,
    *,
    copy: bool = False,
    quick: bool = False,
    keep: int | None = None,
    progress: Progress = no_progress,
) -> BackupReport:
    """Add a snapshot to a backup, while others load and store.

    Args:
        repository: which.
        folder: of the backup, made if it is absent.
        copy: whether payloads are copied even where they could be linked: somebody who changes the
            repository's file then does not change the backup's.
        quick: whether payloads that the snapshot before has are taken without being hashed again.
            By default they are: what changed there, by a fault of its disk for example, is put into
            the new snapshot from the repository, and mended in the earlier ones.
        keep: how many snapshots are there afterwards, at most; all by default.
        progress: hears of the phases ``history`` (entries) and ``artifacts``, and of those of the
            check of the snapshot.

    Raises:
        BackupRefusedError: the folder is no place for it; or the repository is not sound; or its
            catalogue is in PostgreSQL. No snapshot was made.
        AccessLogNotFoundError: the access log is not where it is configured to be.
        VerificationError, CatalogueError, StorageError: likewise.
    """
    parts, folder = repository.parts, folder.resolve()
    if parts.settings.database_url is not None:
        raise BackupRefusedError(
            "The catalogue is in PostgreSQL, which has its own backups.",
            hint="first pg_dump the database, then copy the repository's folder: what is stored in"
            " between is in the folder only, where nothing refers to it.",
        )
    report = BackupReport(folder)
    with exclusive_backup_folder(folder, parts.root, parts.id):

        def write() -> None:
            with _incomplete(folder) as place:
                payloads = SnapshotPayloads(parts, place, report, copy, quick)
                _Writing(parts, place, report, payloads, progress).run()

        try:
            write()
        except PayloadMissingError:
            # Removed and collected since the database was copied; or else it is not sound.
            with parts.blobs.keeping():
                write()
        if keep is not None:
            report.dropped = drop_all_but(folder, keep)
    return report


@contextmanager
def _incomplete(folder: Path) -> Iterator[Path]:
    place = folder / f"{INCOMPLETE}{secrets.token_hex(8)}"
    with storage_errors("The snapshot cannot be made"):
        place.mkdir(mode=0o700)
    try:
        yield place
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


@dataclass(slots=True)
class _Writing:
    parts: Parts
    place: Path
    report: BackupReport
    payloads: SnapshotPayloads
    progress: Progress

    def run(self) -> None:
        report = self.report
        report.artifacts = report.payloads = report.payload_bytes = 0
        report.linked = report.copied = report.copied_bytes = 0
        with self.parts.state.asking() as asking:
            self._copy_and_prove(asking)

    def _copy_and_prove(self, asking: Asking) -> None:
        self._copy_database(SQLITE_FILE)
        self.report.has_access_log = self.parts.settings.access_log_url is None
        if self.report.has_access_log:
            # After the catalogue: what it is about is there then.
            with AccessSource(self.parts).open():
                self._copy_database(ACCESS_FILE)
        for name in ("objects", layout.STATEMENTS_FOLDER):
            (self.place / name).mkdir(mode=0o750)
        engine = catalogue_engine(self.place, journal=self.parts.settings.journal)
        try:
            require_current_schema(engine)
            with Catalogue(engine, lock_file=None).read() as rows:
                proof = self._proven(rows, asking)
                self._take_artifacts(rows, proof)
        finally:
            engine.dispose()
        self._take_removed_statements(proof.contents)
        creation.place_settings(self.place, proof.state.settings.envelope)
        self._require_sound()
        self._finish(proof)

    def _copy_database(self, name: str) -> None:
        try:
            copy_database(self.parts.root / name, self.place / name)
        except CatalogueError as error:
            error.hint = (
                "check free space and permissions of the backup's folder; 'sealstore doctor' looks"
                " at the repository's."
            )
            raise

    def _proven(self, rows: Reading, asking: Asking) -> LedgerProof:
        state = asking.verify(rows.history.head(), rows)
        proof = prove_ledger(rows, state, progress=self.progress)
        if proof.findings_in_all:
            raise _not_sound(proof.findings[0].message)
        return proof

    def _take_artifacts(self, rows: Reading, proof: LedgerProof) -> None:
        stored = dict(proof.contents.stored)
        total = len(stored)
        for done, row in enumerate(every_artifact(rows), start=1):
            try:
                statement, envelope = _statement(row, stored.pop(row.sequence, None), proof)
            except SealstoreError as error:
                raise _not_sound(f"{error.message} ({row.name})") from error
            mirror_writing.write_mirror(self.place, statement.ref, envelope)
            if row.sequence in proof.contents.origins:
                origin = origin_at(rows, row.sequence) or b""
                mirror_writing.write_mirror(
                    self.place, statement.ref, origin, folder=layout.ORIGINS_FOLDER
                )
            self.payloads.take(statement)
            self.report.artifacts += 1
            self.progress("artifacts", done, total)
        for missing in stored.values():
            raise _not_sound(f"The history has {shown(missing)}, and the catalogue does not.")

    def _require_sound(self) -> None:
        """What ``restore`` would refuse is no backup; payloads were read when they were placed."""
        parts = self.parts
        with apart(parts.settings, self.place) as here:
            report = fsck(here, keyring=parts.keyring, progress=self.progress, hashing=False)
        refused = refusal(report)
        if refused is not None:
            raise _not_sound(refused[0])

    # ── the rest ─────────────────────────────────────────────────────────────

    def _take_removed_statements(self, contents: Contents) -> None:
        """Mirrored statements of removed artifacts: a rebuild knows by them what was given out."""
        for found in mirror_files.mirror_files(self.parts.root):
            mirrored = mirror_files.mirrored_ref(found)
            if mirrored is None:
                continue
            ref = mirrored[0]
            known = contents.find_removed(ref)
            if known is None:
                # Stored, and taken; or removed since the database was copied; or nobody's.
                continue
            with suppress(SealstoreError):
                data = mirror_files.read_mirror_file(self.parts.root, found)
                if data is not None and _is_of(data, known):
                    mirror_writing.write_mirror(self.place, ref, data)
                    mirror_files.put_mirror_away(self.place, ref)

    def _finish(self, proof: LedgerProof) -> None:
        at = datetime.now(UTC)
        # Names sort as snapshots were made, whatever the clock says.
        for earlier in snapshots_in(self.report.folder)[-1:]:
            at = max(at, earlier.at + timedelta(seconds=1))
        head = proof.state.head
        name = snapshot_name(head, at)
        with storage_errors("The snapshot cannot be ended"):
            for path, _, _ in os.walk(self.place, topdown=False):
                files.sync_folder(path)
            os.rename(self.place, self.report.folder / name)
            files.sync_folder(self.report.folder)
        self.report.snapshot = name
        record = BackupRecord(
            at=environment.now(),
            key_id=read_unverified(proof.state.envelope).key_id,
            folder=str(self.report.folder.absolute()),
            snapshot=name,
            epoch=head.epoch,
            size=head.size,
        )
        try:
            remember_backup(self.parts.settings, record)
        except SealstoreError as error:
            warn_caller(f"The backup is made, but not remembered here: {error}", RepairWarning)


def _statement(
    row: ArtifactRow, known: EntryArtifact | None, proof: LedgerProof
) -> tuple[Statement, bytes]:
    """The statement of a row that is what the proven history has, and its envelope."""
    if known is None or not isinstance(row.envelope, bytes):
        raise CatalogueTamperedError("Its row is not what was stored.")
    try:
        proven = Proven(ref_of(row), known.statement)
        return verified_in(proof.state, row, proven).statement, row.envelope
    except RevokedKeyError:
        # It is kept, and stays refused: an admin may accept it by its name and digest.
        if not _is_of(row.envelope, known):
            raise
        return decode(read_unverified(row.envelope).payload), row.envelope


def _is_of(envelope: bytes, known: EntryArtifact) -> bool:
    return statement_digest(envelope) == known.statement


def _not_sound(what: str) -> BackupRefusedError:
    return BackupRefusedError(
        f"The repository is not sound: {what}",
        hint="'sealstore fsck' names everything that is wrong; mend it, or restore an earlier"
        " snapshot.",
    )
