"""Restoring: a snapshot is copied beside its place, checked as a whole, and only then moved."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from sealstore import files, limits
from sealstore.errors import (
    AccessLogNotFoundError,
    BackupRefusedError,
    KeyringNotFoundError,
    RepositoryExchangedError,
    RepositoryExistsError,
    RetiredKeyError,
    RevokedKeyError,
    StorageError,
    UnknownKeyError,
    storage_errors,
)
from sealstore.keys.keyring import Keyring, State
from sealstore.repository.access_log.place import ACCESS_FILE
from sealstore.repository.assembly import open_parts
from sealstore.repository.facade import Repository
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import read_unverified
from sealstore.storage import layout
from sealstore.storage.blobs.folder_walk import FoundFile, open_below, walk
from sealstore.storage.blobs.local_files import PAYLOAD_MODE
from sealstore.storage.catalogue.sqlite import SQLITE_FILE
from sealstore.storage.mirror import mirrored_ref
from sealstore.trust.record import TrustRecord
from sealstore.upkeep.backup.snapshot import (
    Snapshot,
    apart,
    refusal,
    snapshots_in,
)
from sealstore.upkeep.fsck import fsck
from sealstore.upkeep.fsck.report import FsckReport

_STAGING: Final = ".restoring-"
_LOCK_SECONDS: Final = 10
_BRING_KEYS: Final = (
    "keys are not in a backup: bring the copy of the keyring that the repository was used with, and"
    " name it with --keyring or MODEL_REPO_KEYRING."
)
_HINTS: Final = {
    RetiredKeyError.code: (
        "restore a snapshot that was made after the key was retired; or, if you know by other means"
        " that this one is genuine, --accept-retired takes it, and signs its head again."
    ),
    RevokedKeyError.code: (
        "whoever has the revoked key could have made it: restore a snapshot that was made after the"
        " revocation; or store again from the sources."
    ),
    UnknownKeyError.code: _BRING_KEYS,
}


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored.

    Attributes:
        snapshot: from which snapshot; epoch and size are those of its verified head.
        root: where.
        checked: what the check of everything found to be there.
        remembered_size: how many entries of the history this client remembers, where that is more
            than the snapshot has, or of another epoch; None where it can go on at once.
        accepted_key_ids: retired keys that had signed its heads or settings, where that was
            accepted; today's keys sign them now.
    """

    snapshot: Snapshot
    root: Path
    checked: FsckReport
    remembered_size: int | None
    accepted_key_ids: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            **self.snapshot.to_json(),
            "repository": self.checked.repository,
            "path": str(self.root),
            "artifacts": self.checked.artifacts,
            "payloads": self.checked.payloads,
            "rememberedSize": self.remembered_size,
            "accessLog": self.checked.access_entries is not None,
            "acceptedKeyIds": list(self.accepted_key_ids),
        }


def restore(
    settings: Settings,
    folder: Path,
    *,
    name: str | None = None,
    keyring: Keyring | None = None,
    accept_retired: bool = False,
    progress: Progress = no_progress,
) -> RestoreReport:
    """Put a repository where the settings say, out of a backup.

    Args:
        settings: name the repository's folder, absent or empty, and the keys.
        folder: of the backup.
        name: of the snapshot in it, or how it begins; the newest by default.
        keyring: the keys; the configured ones by default.
        accept_retired: whether a snapshot is taken whose head was signed with a key that is retired
            by now. Whoever has that key could have made it, so somebody has to say that it is
            genuine. Its head, and its settings, get signatures of today's keys.
        progress: hears of the phases ``copying`` (bytes), and of those of ``fsck``.

    Raises:
        RepositoryExistsError: something is where the repository is to be.
        RepositoryExchangedError: this client remembers another repository there.
        BackupRefusedError: there is no such snapshot; or it is not sound, in which case nothing
            is left of the attempt.
        KeyringError: there are no keys to check it with.
        StorageError: the file system refused.
    """
    if settings.database_url is not None:
        raise BackupRefusedError(
            "A snapshot's catalogue is SQLite's, and PostgreSQL is configured.",
            hint="restore what pg_dump wrote, or unset MODEL_REPO_DATABASE_URL.",
        )
    root = settings.path.absolute()
    snapshot = _chosen(folder, name)
    keys = _keys(settings) if keyring is None else keyring
    record = settings.trust_store(root).read()
    _require_free(root, folder)
    believed = _accepting(keys) if accept_retired else keys
    with _staging(root) as staging:
        copy_snapshot(snapshot.path, staging, progress)
        with apart(settings, staging) as here:
            checked = _checked(here, believed, progress)
            _require_remembered(record, checked.repository)
            with Repository(open_parts(staging, here, believed)) as opened:
                head = opened.state.head
                accepted = _sign_again(opened, keys) if accept_retired else ()
        with storage_errors("The repository cannot be moved to its place"):
            # Onto an empty folder, or where nothing is: whoever came first since is not replaced.
            os.rename(staging, root)
            files.sync_folder(root.parent)
    snapshot = replace(snapshot, epoch=head.epoch, size=head.size)
    return RestoreReport(snapshot, root, checked, _remembered_size(record, snapshot), accepted)


def _chosen(folder: Path, name: str | None) -> Snapshot:
    found = snapshots_in(folder)
    wanted = [each for each in found if each.path.name == name]
    wanted = wanted or [each for each in found if each.path.name.startswith(name or "")]
    if not wanted:
        raise BackupRefusedError(
            "There is no such snapshot in the backup." if found else "There is no snapshot here.",
            path=folder,
            hint="'sealstore restore --list' shows what there is in {path}.",
        )
    if name and len(wanted) > 1:
        raise BackupRefusedError(
            f"{len(wanted)} snapshots have names that begin so.",
            hint="give more of the name; 'sealstore restore --list' shows them.",
        )
    return wanted[-1]


def _keys(settings: Settings) -> Keyring:
    try:
        return settings.key_source().current()
    except KeyringNotFoundError as error:
        raise KeyringNotFoundError(error.message, path=error.path, hint=_BRING_KEYS) from error


def _require_remembered(record: TrustRecord | None, repository: str | None) -> None:
    if record is not None and record.point.repository != repository:
        raise RepositoryExchangedError(
            f"The backup is of repository {repository};"
            f" {record.point.repository} was seen here before.",
            hint="choose another folder for it.",
        )


def _remembered_size(record: TrustRecord | None, snapshot: Snapshot) -> int | None:
    if record is None:
        return None
    point = record.point
    is_newer = (point.epoch, point.size) > (snapshot.epoch, snapshot.size)
    return point.size if is_newer or point.epoch != snapshot.epoch else None


def _require_free(root: Path, folder: Path) -> None:
    if root.resolve().is_relative_to(folder.resolve()):
        raise BackupRefusedError(
            "The repository cannot be restored into the folder of its backup.",
            hint="choose another place for it: --repository, MODEL_REPO_PATH.",
        )
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
    with ExitStack() as held:
        with storage_errors("The repository cannot be restored here"):
            root.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as beginning:
                # Nobody takes a folder for a left one between its making and its lock.
                _lock(root.parent, beginning)
                for left in root.parent.glob(f"{glob.escape(prefix)}*"):
                    _remove_left(left)
                staging.mkdir(mode=0o750)
                folder = held.enter_context(files.opened_folder(staging, follow_links=False))
                held.enter_context(files.holding(folder))
        try:
            yield staging
        finally:
            # Where it was moved to its place, there is nothing any more.
            shutil.rmtree(staging, ignore_errors=True)


def _lock(path: Path, held: ExitStack) -> None:
    folder = held.enter_context(files.opened_folder(path, follow_links=False))
    began = time.monotonic()
    while True:
        try:
            held.enter_context(files.holding(folder, waiting=False))
        except BlockingIOError:
            if time.monotonic() - began > _LOCK_SECONDS:
                raise StorageError(
                    "Another process has locked the folder that the repository is to be put into"
                    f" for {_LOCK_SECONDS} seconds.",
                    hint="another restore may just begin: try again; 'lslocks' shows who it is.",
                ) from None
            time.sleep(0.05)
        else:
            return


def _remove_left(path: Path) -> None:
    with ExitStack() as held:
        try:
            folder = held.enter_context(files.opened_folder(path, follow_links=False))
            held.enter_context(files.holding(folder, waiting=False))
        except OSError:
            # It is no folder, or of a restore that is running.
            return
        shutil.rmtree(path)


# ── checking ─────────────────────────────────────────────────────────────────


def _accepting(keyring: Keyring) -> Keyring:
    """The keys with the retired ones as good as active, but that they sign nothing."""
    return Keyring.of(
        replace(key, state=State.ACTIVE, is_withheld=True) if key.state is State.RETIRED else key
        for key in keyring
    )


def _checked(here: Settings, keyring: Keyring, progress: Progress) -> FsckReport:
    report = fsck(here, keyring=keyring, progress=progress)
    refused = refusal(report)
    if refused is not None:
        what, code = refused
        raise BackupRefusedError(
            f"The snapshot is not sound: {what}", hint=_HINTS.get(code, ANOTHER_SNAPSHOT)
        )
    return report


def _sign_again(opened: Repository, keyring: Keyring) -> tuple[str, ...]:
    """Let today's keys sign what retired ones did, on record; these keys."""
    state = opened.state
    signers = {read_unverified(state.envelope).key_id, state.settings.key_id}
    with suppress(AccessLogNotFoundError), opened.access_log.read() as reading:
        signers.add(read_unverified(reading.envelope or b"").key_id)
    retired = tuple(sorted(signers & keyring.ids(State.RETIRED)))
    for key_id in retired:
        opened.record_key_change("accepted", key_id, sign_settings=key_id == state.settings.key_id)
    return retired


# ── copying ───────────────────────────────────────────────────────────────────


ANOTHER_SNAPSHOT: Final = "find out who wrote to the backup, and restore another snapshot."
"""What to do where a snapshot has what no backup puts there."""
_FILES: Final = frozenset({layout.REPOSITORY_FILE, SQLITE_FILE, ACCESS_FILE})
_MIRRORS: Final = ((layout.STATEMENTS_FOLDER,), (layout.ORIGINS_FOLDER,))
_CHUNK: Final = 4 * 1024 * 1024


def copy_snapshot(source: Path, target: Path, progress: Progress) -> None:
    """Copy what belongs into a repository; anything else is refused, and no link is followed.

    Args:
        source: the folder of the snapshot.
        target: an empty folder.
        progress: hears of the phase ``copying`` (bytes).

    Raises:
        BackupRefusedError: something is there that no backup puts there; or there is no room.
        StorageError: the file system refused.
    """
    with (
        storage_errors("The snapshot cannot be copied"),
        files.opened_folder(source, follow_links=False) as opened,
    ):
        found = list(walk(opened, 3))
        total = sum(each.status.st_size for each in found if each.is_regular)
        for each in found:
            _require_expected(each)
        _require_space(target, total)
        done = 0
        for each in found:
            path = target / each.path
            if each.is_folder:
                path.mkdir(mode=0o750)
                continue
            mode = PAYLOAD_MODE if each.folders[:1] == ("objects",) else 0o640
            _copy_file(opened, each, path, mode)
            done += each.status.st_size
            progress("copying", done, total)
        for inner, _, _ in os.walk(target, topdown=False):
            files.sync_folder(inner)


def _require_space(target: Path, size: int) -> None:
    free = shutil.disk_usage(target).free
    if size > free:
        raise BackupRefusedError(
            f"The snapshot has {size} bytes, and there is room for {free}.",
            hint="make room, or restore to another disk: --repository, MODEL_REPO_PATH.",
        )


def _require_expected(found: FoundFile) -> None:
    where, size = found.folders, found.status.st_size
    is_mirror = where[:1] in _MIRRORS
    if found.is_folder:
        is_right = (
            (*where, found.name) in (("objects",), *_MIRRORS)
            or where == ("objects",)
            or (is_mirror and len(where) < 3)
        )
    elif is_mirror:
        mirrored = mirrored_ref(replace(found, folders=where[1:]))
        is_right = mirrored is not None and size <= limits.MAX_ENVELOPE_BYTES + 1
    elif where:
        is_right = where == ("objects", found.name[:2])
    else:
        is_right = found.name in _FILES and (
            found.name != layout.REPOSITORY_FILE or size <= limits.MAX_SETTINGS_BYTES
        )
    if not (is_right and (found.is_folder or found.is_regular)):
        raise BackupRefusedError(
            f"{found.path} in the snapshot is nothing that a backup puts there.",
            hint=ANOTHER_SNAPSHOT,
        )


def _copy_file(source: int, found: FoundFile, target: Path, mode: int) -> None:
    folder = open_below(source, found.folders)
    try:
        with (
            files.opened(found.name, folder=folder) as file,
            files.created(target, mode=mode) as written,
        ):
            _copy_bytes(file, written, found)
    except files.NotRegularFileError as error:
        raise BackupRefusedError(
            f"{found.path} in the snapshot is no regular file.", hint=ANOTHER_SNAPSHOT
        ) from error
    finally:
        os.close(folder)


def _copy_bytes(source: BinaryIO, target: BinaryIO, found: FoundFile) -> None:
    """Copy as many bytes as there were: there is room for these."""
    left = found.status.st_size
    while left and (piece := source.read(min(left, _CHUNK))):
        target.write(piece)
        left -= len(piece)
    if left or source.read(1):
        raise BackupRefusedError(
            f"{found.path} in the snapshot changed while it was copied.", hint=ANOTHER_SNAPSHOT
        )
