"""Making a snapshot: a repository of its own, of what the proven history leaves."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from sealstore import environment, layout, mirror_files
from sealstore.access.place import ACCESS_FILE
from sealstore.assembly import Parts
from sealstore.blobs.local import LocalBlobStore
from sealstore.blobs.local_files import PAYLOAD_MODE
from sealstore.catalogue import (
    ArtifactRow,
    Catalogue,
    Reading,
    catalogue_engine,
    require_current_schema,
)
from sealstore.catalogue.copying import copy_database
from sealstore.catalogue.engine import SQLITE_FILE
from sealstore.envelope import read_unverified
from sealstore.errors import (
    BackupRefusedError,
    CatalogueTamperedError,
    PayloadMissingError,
    RevokedKeyError,
    SealstoreError,
    VerificationError,
    storage_errors,
)
from sealstore.ledger import EntryArtifact
from sealstore.maintenance.backing_up.record import BackupRecord, remember_backup
from sealstore.maintenance.backing_up.snapshots import (
    INCOMPLETE,
    drop_all_but,
    exclusive_backup_folder,
    snapshot_name,
    snapshots_in,
)
from sealstore.maintenance.contents import Contents
from sealstore.maintenance.fsck.mirror import mirrored_ref
from sealstore.maintenance.ledger_proof import LedgerProof, prove_ledger
from sealstore.maintenance.progress import Progress, no_progress
from sealstore.proving import ref_of, verified_in
from sealstore.repository import Repository
from sealstore.statement import Digests, Statement, decode
from sealstore.trust import TrustRecord
from sealstore.verification import Proven


@dataclass(slots=True)
class BackupReport:
    """What a backup did.

    Attributes:
        folder: the backup.
        snapshot: the name of the snapshot in it.
        artifacts, payloads: what is in it.
        payload_bytes: the bytes of its payloads.
        linked, copied: how many payloads share their file with an earlier snapshot or with the
            repository, and how many have one of their own since this backup.
        copied_bytes: the bytes of the latter.
        has_access_log: whether the access log is in it; it may be elsewhere.
        dropped: earlier snapshots that were removed.
    """

    folder: Path
    snapshot: str = ""
    artifacts: int = 0
    payloads: int = 0
    payload_bytes: int = 0
    linked: int = 0
    copied: int = 0
    copied_bytes: int = 0
    has_access_log: bool = False
    dropped: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "folder": str(self.folder),
            "snapshot": self.snapshot,
            "artifacts": self.artifacts,
            "payloads": self.payloads,
            "payloadBytes": self.payload_bytes,
            "linked": self.linked,
            "copied": self.copied,
            "copiedBytes": self.copied_bytes,
            "accessLog": self.has_access_log,
            "dropped": self.dropped,
        }


def backup(
    repository: Repository,
    folder: Path,
    *,
    copy: bool = False,
    check: bool = False,
    keep: int | None = None,
    progress: Progress = no_progress,
) -> BackupReport:
    """Add a snapshot to a backup, while others load and store.

    Args:
        repository: which.
        folder: of the backup, made if it is absent.
        copy: whether payloads are copied even where they could be linked: somebody who changes the
            repository's file then does not change the backup's.
        check: whether payloads that the snapshot before has are hashed again; those that changed
            there, by a fault of its disk for example, are copied anew.
        keep: how many snapshots are there afterwards, at most; all by default.
        progress: hears of the phases ``history`` (entries) and ``payloads`` (bytes).

    Raises:
        BackupRefusedError: the folder is no place for it; or the repository is not sound; or its
            catalogue is in PostgreSQL. No snapshot was made.
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
    with exclusive_backup_folder(folder, parts.root):
        try:
            with _incomplete(folder) as place:
                _Writing(parts, place, report, copy, check, progress).run()
        except PayloadMissingError:
            # Removed and collected since the database was copied; or else it is not sound.
            with parts.blobs.keeping(), _incomplete(folder) as place:
                _Writing(parts, place, report, copy, check, progress).run()
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


class _Writing:
    def __init__(
        self,
        parts: Parts,
        place: Path,
        report: BackupReport,
        copy: bool,
        check: bool,
        progress: Progress,
    ) -> None:
        self._parts = parts
        self._place = place
        self._report = report
        self._folder = report.folder
        self._copy = copy
        self._check = check
        self._progress = progress
        earlier = snapshots_in(report.folder)
        self._earlier = earlier[-1].path if earlier else None
        self._done: set[str] = set()

    def run(self) -> None:
        report = self._report
        report.artifacts = report.payloads = report.payload_bytes = 0
        report.linked = report.copied = report.copied_bytes = 0
        remembered = self._parts.state.remembered()
        copy_database(self._parts.root / SQLITE_FILE, self._place / SQLITE_FILE)
        access = self._parts.root / ACCESS_FILE
        report.has_access_log = self._parts.settings.access_log_url is None and access.exists()
        if report.has_access_log:
            # After the catalogue: what it is about is there then.
            copy_database(access, self._place / ACCESS_FILE)
        for name in ("objects", layout.STATEMENTS_FOLDER):
            (self._place / name).mkdir(mode=0o750)
        engine = catalogue_engine(self._place, journal=self._parts.settings.journal)
        try:
            require_current_schema(engine)
            with Catalogue(engine, lock_file=None).read() as rows:
                proof = self._proven(rows, remembered)
                self._take_artifacts(rows, proof)
        finally:
            engine.dispose()
        self._take_removed_statements(proof.contents)
        layout.place_settings(self._place, proof.state.settings.envelope)
        self._finish(proof)

    def _proven(self, rows: Reading, remembered: TrustRecord | None) -> LedgerProof:
        proof = prove_ledger(self._parts, rows, remembered, progress=self._progress)
        if proof.findings_in_all:
            raise BackupRefusedError(
                f"The repository is not sound: {proof.findings[0].message}",
                hint="'sealstore fsck' names everything that is wrong; mend it, or restore an"
                " earlier snapshot.",
            )
        return proof

    def _take_artifacts(self, rows: Reading, proof: LedgerProof) -> None:
        stored = dict(proof.contents.stored)
        total = len(stored)
        for done, row in enumerate(rows.artifacts(), start=1):
            try:
                statement, envelope = _statement(row, stored.pop(row.sequence, None), proof)
            except SealstoreError as error:
                raise _not_sound(error.message, str(row.name)) from error
            layout.write_mirror(self._place, statement.ref, envelope)
            if row.sequence in proof.contents.origins:
                origin = rows.origin(row.sequence) or b""
                layout.write_mirror(
                    self._place, statement.ref, origin, folder=layout.ORIGINS_FOLDER
                )
            self._take_payload(statement)
            self._report.artifacts += 1
            self._progress("artifacts", done, total)
        for missing in stored.values():
            raise _not_sound("The history has it, and the catalogue does not.", missing.name)

    # ── payloads ─────────────────────────────────────────────────────────────

    def _take_payload(self, statement: Statement) -> None:
        digests, size = statement.digests, statement.predicate.size
        if digests.sha256 in self._done:
            return
        name = f"objects/{digests.sha256[:2]}/{digests.sha256}"
        target = self._place / name
        with storage_errors("A payload cannot be put into the snapshot"):
            target.parent.mkdir(mode=0o750, exist_ok=True)
        if self._is_linked_from_earlier(name, target, digests, size):
            self._report.linked += 1
        elif not self._copy and self._is_linked(self._parts.root / name, target):
            # What is linked is hashed, too: a damaged payload is no backup.
            self._parts.blobs.check(digests, size)
            self._report.linked += 1
        else:
            self._copy_payload(statement, target)
            self._report.copied += 1
            self._report.copied_bytes += size
        self._done.add(digests.sha256)
        self._report.payloads += 1
        self._report.payload_bytes += size

    def _is_linked_from_earlier(self, name: str, target: Path, digests: Digests, size: int) -> bool:
        if self._earlier is None:
            return False
        source = self._earlier / name
        try:
            status = os.stat(source, follow_symlinks=False)
        except OSError:
            return False
        if status.st_size != size or not self._is_linked(source, target):
            return False
        if self._check:
            try:
                LocalBlobStore(self._place).check(digests, size)
            except VerificationError:
                target.unlink()
                return False
        return True

    def _is_linked(self, source: Path, target: Path) -> bool:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            # Another file system, one without links, or one that has too many already.
            return False
        if target.is_symlink() or not target.is_file():
            target.unlink()
            return False
        return True

    def _copy_payload(self, statement: Statement, target: Path) -> None:
        with storage_errors("A payload cannot be copied"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(target, flags, 0o600)
            try:
                self._parts.blobs.copy(
                    statement.digests,
                    statement.predicate.size,
                    lambda piece: _write_all(descriptor, piece),
                )
                os.fchmod(descriptor, PAYLOAD_MODE)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    # ── the rest ─────────────────────────────────────────────────────────────

    def _take_removed_statements(self, contents: Contents) -> None:
        """Mirrored statements of removed artifacts: a rebuild knows by them what was given out."""
        for found in mirror_files.mirror_files(self._parts.root):
            mirrored = mirrored_ref(found)
            if mirrored is None:
                continue
            ref = mirrored[0]
            known = contents.find_removed(ref.name, ref.tag, ref.revision or 0)
            if known is None:
                # Stored, and taken; or removed since the database was copied; or nobody's.
                continue
            with suppress(SealstoreError):
                data = mirror_files.read_mirror_file(self._parts.root, found)
                if data is not None and _is_of(data, known):
                    layout.write_mirror(self._place, ref, data)
                    mirror_files.put_mirror_away(self._place, ref)

    def _finish(self, proof: LedgerProof) -> None:
        at = datetime.now(UTC)
        # Names sort as snapshots were made, whatever the clock says.
        for earlier in snapshots_in(self._folder)[-1:]:
            at = max(at, earlier.at + timedelta(seconds=1))
        head = proof.state.head
        name = snapshot_name(head, at)
        with storage_errors("The snapshot cannot be ended"):
            for path, _, _ in os.walk(self._place, topdown=False):
                _sync_folder(Path(path))
            os.rename(self._place, self._folder / name)
            _sync_folder(self._folder)
        self._report.snapshot = name
        record = BackupRecord(
            at=environment.now(),
            folder=str(self._folder.absolute()),
            snapshot=name,
            epoch=head.epoch,
            size=head.size,
        )
        remember_backup(self._parts.settings, record)


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
    return sha256(read_unverified(envelope).payload).hexdigest() == known.statement


def _not_sound(what: str, name: str) -> BackupRefusedError:
    return BackupRefusedError(
        f"The repository is not sound: {what} ({name})",
        hint="'sealstore fsck' names everything that is wrong.",
    )


def _write_all(descriptor: int, piece: memoryview) -> None:
    written = 0
    while written < len(piece):
        written += os.write(descriptor, piece[written:])


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
