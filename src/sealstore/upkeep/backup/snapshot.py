"""One snapshot of a backup: its name, the payloads in it, and its check."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import MAXYEAR, UTC, datetime
from pathlib import Path
from typing import Any, Final

from sealstore import files
from sealstore.errors import RevokedKeyError, StorageError, VerificationError, storage_errors
from sealstore.ledger.head import Head
from sealstore.repository.assembly import Parts
from sealstore.repository.settings import Settings
from sealstore.signed.statement import Digests, Statement
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.blobs.local_files import PAYLOAD_MODE
from sealstore.trust.store import FirstUse
from sealstore.upkeep.fsck.report import PERMISSIONS, FsckReport, Section

INCOMPLETE: Final = ".incomplete-"
"""Before the name of a snapshot that is being made, or whose making was interrupted."""
_NAME: Final = re.compile(r"(\d{8}T\d{6})Z-e([1-9]\d*)-n([1-9]\d*)-([0-9a-f]{12})")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole snapshot, by its name; nothing of it is verified.

    Attributes:
        path: its folder.
        at: when it was made, UTC.
        epoch, size: of the head that it holds.
    """

    path: Path
    at: datetime
    epoch: int
    size: int

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "snapshot": self.path.name,
            "at": self.at.isoformat(),
            "epoch": self.epoch,
            "size": self.size,
        }


def snapshot_name(head: Head, at: datetime) -> str:
    """What a snapshot of ``head`` is called: a time first, so that names sort."""
    return f"{at:%Y%m%dT%H%M%SZ}-e{head.epoch}-n{head.size}-{head.root[:12]}"


def snapshots_in(folder: Path) -> list[Snapshot]:
    """The whole snapshots in a folder, the oldest first.

    Raises:
        StorageError: it cannot be listed.
    """
    found = []
    with storage_errors("The backup cannot be read"):
        for path in sorted(folder.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match is None or path.is_symlink() or not path.is_dir():
                continue
            at = _time(match[1])
            if at is not None:
                found.append(Snapshot(path, at, int(match[2]), int(match[3])))
    return found


def _time(text: str) -> datetime | None:
    """The time in a snapshot's name; None where no backup gave it."""
    try:
        at = datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return at if at.year < MAXYEAR else None


def drop_all_but(folder: Path, keep: int) -> list[str]:
    """Remove the oldest snapshots, and say which.

    Raises:
        StorageError: the file system refused.
    """
    dropped = []
    for snapshot in snapshots_in(folder)[:-keep]:
        with storage_errors("An older snapshot cannot be removed"):
            # Its name goes first: what is left of it is no snapshot any more.
            gone = snapshot.path.with_name(f"{INCOMPLETE}{snapshot.path.name}")
            snapshot.path.rename(gone)
            shutil.rmtree(gone)
        dropped.append(snapshot.path.name)
    return dropped


# ── its payloads ──────────────────────────────────────────────────────────────


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
        mended: payloads (SHA-256) that were damaged in earlier snapshots, and are not any more.
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
    mended: list[str] = field(default_factory=list)
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
            "mended": self.mended,
            "accessLog": self.has_access_log,
            "dropped": self.dropped,
        }


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
        with (
            storage_errors("A payload cannot be copied"),
            files.created(target, mode=PAYLOAD_MODE) as file,
        ):
            self._parts.blobs.copy(statement.digests, statement.predicate.size, file.write)

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
                    files.sync_folder(path.parent)


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


# ── its check ─────────────────────────────────────────────────────────────────


@contextmanager
def apart(settings: Settings, place: Path) -> Iterator[Settings]:
    """Settings of a client that has seen nothing yet, for a snapshot in ``place``."""
    with tempfile.TemporaryDirectory(prefix="sealstore-snapshot-") as memory:
        yield replace(
            settings,
            path=place,
            trust_folder=Path(memory),
            first_use=FirstUse.RECORD,
            max_age=None,
            access_log_url=None,
        )


def refusal(report: FsckReport) -> tuple[str, str] | None:
    """What stands against a snapshot, and its code; None where it is sound.

    An artifact that a revoked key signed stays refused, wherever it is. A head or settings that one
    signed prove nothing at all. Modes are set again when a snapshot is restored.
    """
    count, first = report.but_for(_is_harmless)
    if not count:
        return None
    if first is None:
        return f"{count} findings.", ""
    about = f"{first.artifact}: " if first.artifact else ""
    more = f" And {count - 1} more." if count > 1 else ""
    return f"{about}{first.message} [{first.code}]{more}", first.code


def _is_harmless(section: Section, code: str) -> bool:
    if code == PERMISSIONS:
        return True
    return section is not Section.HEAD and code == RevokedKeyError.code
