"""Restoring: a snapshot is copied beside its place, checked as a whole, and only then moved."""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sealstore import layout
from sealstore.access.place import ACCESS_FILE
from sealstore.blobs.folder_walk import OPEN_FOLDER, FoundFile, open_below, walk
from sealstore.blobs.local_files import PAYLOAD_MODE
from sealstore.catalogue.engine import SQLITE_FILE
from sealstore.errors import (
    BackupRefusedError,
    RepositoryExchangedError,
    RepositoryExistsError,
    RetiredKeyError,
    RevokedKeyError,
    storage_errors,
)
from sealstore.keys import Keyring
from sealstore.maintenance.backing_up.snapshots import Snapshot, snapshots_in
from sealstore.maintenance.fsck import FsckReport, fsck
from sealstore.maintenance.fsck.mirror import mirrored_ref
from sealstore.maintenance.progress import Progress, no_progress
from sealstore.settings import Settings
from sealstore.trust import FirstUse, TrustRecord

_FILES: Final = frozenset({layout.REPOSITORY_FILE, SQLITE_FILE, ACCESS_FILE})
_MIRRORS: Final = (layout.STATEMENTS_FOLDER, layout.ORIGINS_FOLDER)
_STAGING: Final = ".restoring-"
_CHUNK: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored.

    Attributes:
        snapshot: from which snapshot.
        root: where.
        checked: what the check of everything found to be there.
        remembered_size: how many entries of the history this client remembers, where that is more
            than the snapshot has, or of another epoch; None where it can go on at once.
    """

    snapshot: Snapshot
    root: Path
    checked: FsckReport
    remembered_size: int | None

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            **self.snapshot.to_json(),
            "repository": self.checked.repository,
            "path": str(self.root),
            "artifacts": self.checked.artifacts,
            "payloads": self.checked.payloads,
            "rememberedSize": self.remembered_size,
        }


def restore(
    settings: Settings,
    folder: Path,
    *,
    name: str | None = None,
    keyring: Keyring | None = None,
    progress: Progress = no_progress,
) -> RestoreReport:
    """Put a repository where the settings say, out of a backup.

    Args:
        settings: name the repository's folder, absent or empty, and the keys.
        folder: of the backup.
        name: of the snapshot in it; the newest by default.
        keyring: the keys; the configured ones by default.
        progress: hears of the phases ``copying`` (bytes), and of those of ``fsck``.

    Raises:
        RepositoryExistsError: something is where the repository is to be.
        RepositoryExchangedError: this client remembers another repository there.
        BackupRefusedError: there is no such snapshot; or it is not sound, in which case nothing
            is left of the attempt.
        StorageError: the file system refused.
    """
    if settings.database_url is not None:
        raise BackupRefusedError(
            "A snapshot's catalogue is SQLite's, and PostgreSQL is configured.",
            hint="restore what pg_dump wrote, or unset MODEL_REPO_DATABASE_URL.",
        )
    root = settings.path.absolute()
    snapshot = _chosen(folder, name)
    record = settings.trust_store(root).read()
    _require_free(root)
    with _staging(root) as staging:
        _copy(snapshot.path, staging, progress)
        checked = _checked(settings, staging, keyring, progress)
        if record is not None and record.point.repository != checked.repository:
            raise RepositoryExchangedError(
                f"The backup is of repository {checked.repository};"
                f" {record.point.repository} was seen here before.",
                hint="choose another folder for it.",
            )
        with storage_errors("The repository cannot be moved to its place"):
            # Onto an empty folder, or where nothing is: whoever came first since is not replaced.
            os.rename(staging, root)
            _sync(root.parent)
    return RestoreReport(snapshot, root, checked, _remembered_size(record, snapshot))


def _chosen(folder: Path, name: str | None) -> Snapshot:
    found = snapshots_in(folder)
    wanted = [each for each in found if name in (None, each.path.name)]
    if not wanted:
        raise BackupRefusedError(
            "There is no such snapshot in the backup." if found else "There is no snapshot here.",
            path=folder,
            hint="'sealstore restore --list' shows what there is in {path}.",
        )
    return wanted[-1]


def _remembered_size(record: TrustRecord | None, snapshot: Snapshot) -> int | None:
    if record is None:
        return None
    point = record.point
    is_newer = (point.epoch, point.size) > (snapshot.epoch, snapshot.size)
    return point.size if is_newer or point.epoch != snapshot.epoch else None


def _require_free(root: Path) -> None:
    with storage_errors("The repository's folder cannot be looked at"):
        if os.path.lexists(root) and (
            root.is_symlink() or not root.is_dir() or any(root.iterdir())
        ):
            raise RepositoryExistsError(
                "There is something where the repository is to be restored to.",
                path=root,
                hint="move it away, or restore to another folder: --repository, MODEL_REPO_PATH.",
            )


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A folder beside ``root``; those that killed restores of the same place left are removed."""
    prefix = f"{_STAGING}{root.name}-"
    staging = root.with_name(f"{prefix}{secrets.token_hex(8)}")
    with storage_errors("The repository cannot be restored here"):
        root.parent.mkdir(parents=True, exist_ok=True)
        parent = os.open(root.parent, OPEN_FOLDER)
        try:
            # Nobody takes a folder for a left one between its making and its lock.
            fcntl.flock(parent, fcntl.LOCK_EX)
            for left in root.parent.glob(f"{glob.escape(prefix)}*"):
                _remove_left(left)
            staging.mkdir(mode=0o750)
            held = os.open(staging, OPEN_FOLDER)
            fcntl.flock(held, fcntl.LOCK_EX)
        finally:
            os.close(parent)
    try:
        yield staging
    finally:
        # Where it was moved to its place, there is nothing any more.
        shutil.rmtree(staging, ignore_errors=True)
        os.close(held)


def _remove_left(folder: Path) -> None:
    try:
        opened = os.open(folder, OPEN_FOLDER)
    except OSError:
        return
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except BlockingIOError:
        # Of a restore that is running.
        return
    finally:
        os.close(opened)


# ── copying ──────────────────────────────────────────────────────────────────


def _copy(source: Path, target: Path, progress: Progress) -> None:
    """Copy what belongs into a repository; anything else is refused, and no link is followed."""
    with storage_errors("The snapshot cannot be copied"):
        opened = os.open(source, OPEN_FOLDER)
        try:
            found = list(walk(opened, 3))
            total = sum(each.status.st_size for each in found if each.is_regular)
            _require_space(target, total)
            done = 0
            for each in found:
                _require_expected(each)
                path = target / each.path
                if each.is_folder:
                    path.mkdir(mode=0o750)
                    continue
                mode = PAYLOAD_MODE if each.folders[:1] == ("objects",) else 0o640
                _copy_file(opened, each, path, mode)
                done += each.status.st_size
                progress("copying", done, total)
        finally:
            os.close(opened)
        for inner, _, _ in os.walk(target, topdown=False):
            _sync(Path(inner))


def _require_space(target: Path, size: int) -> None:
    free = shutil.disk_usage(target).free
    if size > free:
        raise BackupRefusedError(
            f"The snapshot has {size} bytes, and there is room for {free}.",
            hint="make room, or restore to another disk: --repository, MODEL_REPO_PATH.",
        )


def _require_expected(found: FoundFile) -> None:
    where = found.folders
    if found.is_folder:
        is_right = (
            (not where and found.name in ("objects", *_MIRRORS))
            or (where == ("objects",))
            or (where[:1] in [(each,) for each in _MIRRORS] and len(where) < 3)
        )
    else:
        is_right = found.is_regular and (
            (not where and found.name in _FILES)
            or (where[:1] == ("objects",) and where[1:] == (found.name[:2],))
            or (
                where[:1] in [(each,) for each in _MIRRORS]
                and mirrored_ref(replace(found, folders=where[1:])) is not None
            )
        )
    if not is_right:
        raise BackupRefusedError(
            f"{found.path} in the snapshot is nothing that a backup puts there.",
            hint="find out who wrote to the backup, and restore another snapshot.",
        )


def _copy_file(source: int, found: FoundFile, target: Path, mode: int) -> None:
    folder = open_below(source, found.folders)
    try:
        read = os.open(
            found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
        )
    finally:
        os.close(folder)
    with os.fdopen(read, "rb") as file:
        if not stat.S_ISREG(os.fstat(read).st_mode):
            raise BackupRefusedError(f"{found.path} in the snapshot is no regular file.")
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as written:
            shutil.copyfileobj(file, written, _CHUNK)
            written.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)


def _checked(
    settings: Settings, staging: Path, keyring: Keyring | None, progress: Progress
) -> FsckReport:
    with tempfile.TemporaryDirectory(prefix="sealstore-restore-") as memory:
        # What this client remembers of the place is asked when the repository is used there.
        here = replace(
            settings,
            path=staging,
            trust_folder=Path(memory),
            first_use=FirstUse.RECORD,
            max_age=None,
            access_log_url=None,
        )
        report = fsck(here, keyring=keyring, progress=progress)
    # What a revoked key signed is refused there as it was here.
    wrong = [each for _, each in report.findings if each.code != RevokedKeyError.code]
    if wrong:
        first = wrong[0]
        hint = "find out who wrote to the backup, and restore another snapshot."
        if first.code == RetiredKeyError.code:
            hint = (
                "restore a snapshot that was made after the key was retired; or, if you know that"
                " this one is right, let the key be active in your keyring while you restore, and"
                " then 'sealstore keys retire' it again."
            )
        about = f"{first.artifact}: " if first.artifact else ""
        more = len(wrong) - 1
        raise BackupRefusedError(
            f"The snapshot is not sound: {about}{first.message} [{first.code}]"
            f"{f' And {more} more.' if more else ''}",
            hint=hint,
        )
    return report


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
