"""The payloads of a snapshot: linked from the one before, or from the repository, or copied."""

from __future__ import annotations

import os
from pathlib import Path

from sealstore.errors import StorageError, VerificationError, storage_errors
from sealstore.repository.assembly import Parts
from sealstore.signed.statement import Digests, Statement
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.blobs.local_files import PAYLOAD_MODE
from sealstore.upkeep.backing_up.report import BackupReport
from sealstore.upkeep.backing_up.snapshots import snapshots_in


class SnapshotPayloads:
    """Puts payloads into a snapshot that is being made.

    Args:
        parts: of the repository.
        place: the folder of the snapshot.
        report: where it is noted what was done; names the folder of the backup.
        copy: whether no file is shared with the repository.
        quick: whether what the snapshot before has is taken without being hashed again.
    """

    def __init__(
        self, parts: Parts, place: Path, report: BackupReport, copy: bool, quick: bool
    ) -> None:
        self._parts = parts
        self._place = place
        self._report = report
        self._copy = copy
        self._quick = quick
        self._earlier = [each.path for each in snapshots_in(report.folder)]
        self._taken: set[str] = set()

    def take(self, statement: Statement) -> None:
        """Put the payload of an artifact into the snapshot, if it is not there yet.

        Raises:
            PayloadMissingError, PayloadFileError, PayloadSizeError, PayloadDigestError: there is no
                undamaged file of it.
            StorageError: the file system refused.
        """
        digests, size = statement.digests, statement.predicate.size
        if digests.sha256 in self._taken:
            return
        name = f"objects/{digests.sha256[:2]}/{digests.sha256}"
        target = self._place / name
        with storage_errors("A payload cannot be put into the snapshot"):
            target.parent.mkdir(mode=0o750, exist_ok=True)
            damaged = self._take_from_earlier(name, target, digests, size)
        if target.exists():
            self._report.linked += 1
        elif not self._copy and _link(self._parts.root / name, target):
            # What is linked is hashed, too: a damaged payload is no backup.
            LocalBlobStore(self._place).check(digests, size)
            self._report.linked += 1
        else:
            self._copy_payload(statement, target)
            self._report.copied += 1
            self._report.copied_bytes += size
        if damaged is not None:
            self._mend(name, target, damaged)
            self._report.mended.append(digests.sha256)
        self._taken.add(digests.sha256)
        self._report.payloads += 1
        self._report.payload_bytes += size

    def _take_from_earlier(
        self, name: str, target: Path, digests: Digests, size: int
    ) -> os.stat_result | None:
        """Link it from the snapshot before, where it is whole there; else say which file is not."""
        if not self._earlier:
            return None
        source = self._earlier[-1] / name
        if self._copy and _is_same(source, self._parts.root / name):
            return None
        if not _link(source, target):
            return None
        found = os.stat(target)
        if found.st_size == size and (self._quick or self._is_whole(digests, size)):
            return None
        target.unlink()
        return found

    def _is_whole(self, digests: Digests, size: int) -> bool:
        try:
            LocalBlobStore(self._place).check(digests, size)
        except (VerificationError, StorageError):
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

    def _mend(self, name: str, whole: Path, damaged: os.stat_result) -> None:
        """Put a whole file in the place of a damaged one, in each snapshot that shares that."""
        with storage_errors("A damaged payload of an earlier snapshot cannot be mended"):
            for snapshot in self._earlier:
                path = snapshot / name
                try:
                    found = os.stat(path, follow_symlinks=False)
                except OSError:
                    continue
                if os.path.samestat(found, damaged):
                    staged = self._place / ".mending"
                    os.link(whole, staged)
                    os.replace(staged, path)
                    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make durable which names are in a folder.

    Raises:
        OSError: the file system refused.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path) -> bool:
    """Whether a regular file could be linked."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        # Another file system, one without links, or one that has too many already.
        return False
    if target.is_symlink() or not target.is_file():
        target.unlink()
        return False
    return True


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(
            os.stat(one, follow_symlinks=False), os.stat(other, follow_symlinks=False)
        )
    except OSError:
        return False


def _write_all(descriptor: int, piece: memoryview) -> None:
    written = 0
    while written < len(piece):
        written += os.write(descriptor, piece[written:])
