"""The folder of a backup: whether it is a place for one, who uses it, what is remembered of it."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from sealstore import files
from sealstore.errors import (
    BackupRefusedError,
    SealstoreError,
    TrustStateFormatError,
    storage_errors,
)
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import read_unverified
from sealstore.signed.statement import UtcTime
from sealstore.storage import layout
from sealstore.upkeep.backup.snapshot import INCOMPLETE, snapshots_in

_LOCK: Final = ".lock"
_ROOTS_GROUP: Final = 0
_OVERFLOW_ID: Final = Path("/proc/sys/kernel/overflowuid")
_ID_MAP: Final = Path("/proc/self/uid_map")


@contextmanager
def exclusive_backup_folder(folder: Path, root: Path, repository: str) -> Iterator[None]:
    """Hold the folder of a backup, made if it is absent; what was interrupted there is removed.

    Args:
        folder: of the backup.
        root: of the repository, which must neither contain it nor lie in it.
        repository: the repository's id; of others there must be no snapshot.

    Raises:
        BackupRefusedError: the folder is no place for a backup, or another backup is running.
        StorageError: the file system refused.
    """
    _require_apart(folder.resolve(), root.resolve())
    _require_own(folder.resolve())
    with ExitStack() as held:
        with storage_errors("The folder of the backup cannot be made"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            opened = held.enter_context(files.opened_folder(folder, follow_links=False))
        _require_own(folder.resolve())
        _require_backup_of(folder, repository)
        with storage_errors("The lock of the backup cannot be opened"):
            try:
                held.enter_context(files.locked(_LOCK, folder=opened, waiting=False))
            except BlockingIOError:
                raise BackupRefusedError(
                    "Another backup into this folder is running.", hint="wait for it."
                ) from None
        _require_backup_of(folder, repository)
        _remove_incomplete(folder)
        yield


def _require_apart(folder: Path, root: Path) -> None:
    if folder.is_relative_to(root) or root.is_relative_to(folder):
        raise BackupRefusedError(
            "A backup and its repository cannot lie in one another.",
            hint="choose another folder, on another disk if there is one.",
        )
    for each in (folder, *folder.parents):
        if (each / layout.REPOSITORY_FILE).exists():
            raise BackupRefusedError(
                "The folder is a repository or a snapshot, or lies in one.",
                path=each,
                hint="give the folder of the whole backup, or a different folder: not {path}",
            )


def _require_own(folder: Path) -> None:
    """Return if nobody else, but root, can write to a folder or exchange it."""
    for each in (folder, *folder.parents):
        with storage_errors("The folder of the backup cannot be looked at"):
            try:
                found = os.stat(each)
            except FileNotFoundError:
                # It is going to be made.
                continue
        if each == folder and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BackupRefusedError(
                "Others can write to the folder of the backup.",
                path=folder,
                hint="chmod go-w {path}",
            )
        if not _is_trusted(found.st_uid) or _can_be_renamed_in(found):
            raise BackupRefusedError(
                "Others can put another folder in the place of the backup's.",
                path=each,
                hint="choose a folder of your own, below folders that only you and root can change;"
                " others can change {path}",
            )


def _is_trusted(user_id: int) -> bool:
    """Whether a folder's owner is root, who runs this, or unknown to this user namespace.

    In a container of a user's own, what belongs to the host is shown as the overflow id's
    (user_namespaces(7)). Where that id is a user like others, it is one.
    """
    if user_id in (0, os.geteuid()):
        return True
    try:
        overflow = int(_OVERFLOW_ID.read_text())
        ranges = [line.split() for line in _ID_MAP.read_text().splitlines()]
    except (OSError, ValueError):
        return False
    is_mapped = any(int(first) <= user_id < int(first) + int(count) for first, _, count in ranges)
    return user_id == overflow and not is_mapped


def _can_be_renamed_in(folder: os.stat_result) -> bool:
    """Whether others may rename what is in a folder; in a sticky one, like /tmp, they may not."""
    if folder.st_mode & stat.S_ISVTX:
        return False
    others_write = folder.st_mode & stat.S_IWOTH
    group_writes = folder.st_mode & stat.S_IWGRP and not _is_own_group(folder.st_gid)
    return bool(others_write or group_writes)


def _is_own_group(group_id: int) -> bool:
    """Whether nobody else is in a group: root's, or that which a user has for himself alone."""
    if group_id == _ROOTS_GROUP:
        return True
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(group_id)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _require_backup_of(folder: Path, repository: str) -> None:
    """Return if nothing else is in the folder than snapshots of this repository."""
    snapshots = snapshots_in(folder)
    for snapshot in snapshots:
        if _claimed_repository(snapshot.path) not in (None, repository):
            raise BackupRefusedError(
                "The folder has snapshots of another repository.",
                path=snapshot.path,
                hint="give each repository a folder of its own: {path} is not of this one.",
            )
    with storage_errors("The folder of the backup cannot be listed"):
        others = [
            name for name in os.listdir(folder) if not name.startswith(".") and name != "lost+found"
        ]
    if others and not snapshots:
        raise BackupRefusedError(
            "The folder is not empty, and has no snapshot in it.",
            path=folder,
            hint="choose an empty folder, or one that is not there yet.",
        )


def _claimed_repository(snapshot: Path) -> str | None:
    """The repository that a snapshot says it is of; unauthenticated. None where it says nothing."""
    try:
        payload = read_unverified(layout.read_settings_file(snapshot)).payload
        claimed = msgspec.json.decode(payload, type=_Claim).repository
    except (SealstoreError, msgspec.MsgspecError):
        return None
    return claimed


class _Claim(msgspec.Struct):
    repository: str


def _remove_incomplete(folder: Path) -> None:
    with storage_errors("What an interrupted backup left cannot be removed"):
        for path in folder.iterdir():
            if path.name.startswith(INCOMPLETE) and not path.is_symlink():
                shutil.rmtree(path)


# ── the last backup ───────────────────────────────────────────────────────────


_SUFFIX: Final = ".backup"
_MAX_BYTES: Final = 16 * 1024


class BackupRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The last backup that was made from here.

    Attributes:
        at: when, UTC.
        folder: where to.
        snapshot: its name there.
        epoch, size: of the head that it holds.
        key_id: the key that signed that head.
    """

    at: UtcTime
    folder: str
    snapshot: str
    epoch: int
    size: int
    key_id: str


_decoder: Final = msgspec.json.Decoder(BackupRecord)


def remember_backup(settings: Settings, record: BackupRecord) -> None:
    """Remember ``record`` in place of an earlier one.

    Raises:
        StorageError: the file system refused.
    """
    path = _path(settings)
    with storage_errors("The backup cannot be remembered"):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with files.opened_folder(path.parent) as folder:
            files.replace(path.name, msgspec.json.encode(record), folder=folder, mode=0o600)


def last_backup(settings: Settings) -> BackupRecord | None:
    """The last backup that was made from here; None if there was none.

    Raises:
        StorageError: the file cannot be read.
        TrustStateFormatError: sealstore did not write it.
    """
    with storage_errors("What is remembered of the last backup cannot be read"):
        try:
            data = files.read(_path(settings), _MAX_BYTES)
        except FileNotFoundError:
            return None
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise TrustStateFormatError(
            "What is remembered of the last backup does not decode.",
            path=_path(settings),
            hint="remove {path}, and back up again.",
        ) from error


def _path(settings: Settings) -> Path:
    return settings.trust_store().path.with_suffix(_SUFFIX)
