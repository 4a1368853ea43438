"""What is there: the repository's folder, its database, its head, and its last backup."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sealstore import limits
from sealstore.errors import CatalogueError, RetiredKeyError, SealstoreError
from sealstore.keys.keyring import Keyring, State
from sealstore.repository.access_log.place import open_access_log
from sealstore.repository.assembly import key_source, open_catalogue
from sealstore.repository.settings import Settings
from sealstore.repository.state import StateKeeper
from sealstore.signed.envelope import read_unverified
from sealstore.signed.settings import RepositorySettings, open_settings
from sealstore.storage import layout
from sealstore.storage.catalogue import require_current_schema
from sealstore.storage.catalogue.database_facts import (
    filesystem_type,
    journal_mode,
    schema_revision,
)
from sealstore.storage.catalogue.listing import ListFilter, count_artifacts
from sealstore.storage.catalogue.sqlite import SQLITE_FILE
from sealstore.upkeep.backup.folder import last_backup
from sealstore.upkeep.doctor.check import Check, quoted
from sealstore.upkeep.doctor.client import check_settings_key

# ── the folder ────────────────────────────────────────────────────────────────


_NEEDED_FREE_BYTES: Final = 64 * limits.MIB
_LITTLE_FREE_SHARE: Final = 0.05
_MAX_FILES_LOOKED_AT: Final = 200_000
_STALE_SECONDS: Final = 3_600
"""A staging file younger than this may belong to a store that is running."""


def check_settings(
    settings: Settings, keyring: Keyring
) -> tuple[RepositorySettings | None, list[Check]]:
    """``repository.json``: there, signed by an admin key, of the repository that is expected."""
    topic = "settings"
    try:
        data = layout.read_settings_file(settings.path.absolute())
        identity = open_settings(data, keyring).document
    except SealstoreError as error:
        return None, [Check.failed(topic, error)]
    tags = "immutable" if identity.immutable_tags else "may be stored again"
    checks = [
        Check.ok(topic, f"repository {identity.repository}; tags {tags}", id=identity.repository),
        check_settings_key(keyring, read_unverified(data).key_id),
    ]
    if settings.repository_id not in (None, identity.repository):
        checks.append(
            Check.wrong(
                topic,
                f"this is repository {identity.repository}; MODEL_REPO_ID asks for a different one",
                f"check what is mounted at {quoted(settings.path)}",
            )
        )
    return identity, checks


def check_folders(root: Path, *, writing: bool) -> list[Check]:
    """The folders of a repository.

    Args:
        root: its folder.
        writing: whether anything is to be stored from here.
    """
    fine = Check.ok("folders", "the repository's folders are as they should be")
    return list(_unfit_folders(root, writing=writing)) or [fine]


def _unfit_folders(root: Path, *, writing: bool) -> Iterator[Check]:
    for folder in (root, root / "objects", root / layout.STATEMENTS_FOLDER):
        if folder != root and (folder.is_symlink() or not folder.is_dir()):
            text = f"{folder} is no folder"
            yield Check.wrong("folders", text, "restore the repository from a backup")
        elif writing and not _is_writable(folder):
            yield Check.wrong(
                "folders",
                f"this user cannot write to {folder}",
                f"chmod u+w {quoted(folder)}, or mount it for writing; where nothing is to be"
                " stored: use a verify-only keyring ('sealstore keys export --public')",
            )
        elif folder.stat().st_mode & 0o002 and not folder.stat().st_mode & stat.S_ISVTX:
            text = f"everybody can write to {folder}: they can destroy, though not forge"
            yield Check.note("folders", text, f"chmod o-w {quoted(folder)}")


def _is_writable(folder: Path) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)


def check_space(root: Path) -> Check:
    """Free space where the repository lies."""
    total, _, free = shutil.disk_usage(root)
    share = free / total if total else 0.0
    text = f"{free / 1e9:.1f} GB free of {total / 1e9:.1f} GB"
    if free < _NEEDED_FREE_BYTES:
        return Check.wrong("space", text, "make room, or move the repository", freeBytes=free)
    if share < _LITTLE_FREE_SHARE:
        return Check.note("space", text, "make room soon", freeBytes=free)
    return Check.ok("space", text, freeBytes=free)


def check_leftovers(root: Path) -> list[Check]:
    """What an interrupted store, or a repair, left behind."""
    stale, aside, looked_at = [], [], 0
    oldest = time.time() - _STALE_SECONDS
    for entry in _files(root):
        looked_at += 1
        if looked_at > _MAX_FILES_LOOKED_AT:
            break
        if entry.name.startswith(".staging-") and _modified(entry) < oldest:
            stale.append(entry.path)
        elif ".set-aside-" in entry.name:
            aside.append(entry.path)
    checks = []
    for paths, what, fix in (
        (
            stale,
            "staging files of stores that did not end",
            f"find {quoted(root)} -name '.staging-*' -mmin +60 -delete",
        ),
        (
            aside,
            "files with wrong bytes that were moved aside",
            "find out who wrote them, then remove them",
        ),
    ):
        if paths:
            text = f"{len(paths)} {what}, such as {paths[0]}"
            checks.append(Check.note("leftovers", text, fix, paths=paths[:100]))
    if looked_at > _MAX_FILES_LOOKED_AT:
        text = f"only the first {_MAX_FILES_LOOKED_AT} files were looked at for leftovers"
        checks.append(Check.note("leftovers", text))
    return checks or [Check.ok("leftovers", "nothing was left behind")]


def _files(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        # A folder that cannot be listed, or went away meanwhile; check_folders tells.
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        else:
            yield entry


def _modified(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return time.time()


# ── the database ──────────────────────────────────────────────────────────────


_CATALOGUE: Final = "catalogue"
_LOST: Final = (
    "check permissions and free space; if the file is lost or damaged: 'sealstore restore' from a"
    " backup, or 'sealstore rebuild' from what is signed"
)
_LARGE_WAL_BYTES: Final = 64 * limits.MIB


def check_catalogue(settings: Settings, *, writing: bool) -> Iterator[Check]:
    """Whether the catalogue can be used, and how.

    Args:
        settings: names it.
        writing: whether anything is to be stored from here.
    """
    try:
        catalogue = open_catalogue(settings.path.absolute(), settings)
        try:
            require_current_schema(catalogue.engine)
            revision = schema_revision(catalogue.engine)
            count = count_artifacts(catalogue, ListFilter())
            mode = journal_mode(catalogue.engine)
        finally:
            catalogue.engine.dispose()
    except SealstoreError as error:
        is_file = settings.database_url is None and isinstance(error, CatalogueError)
        if is_file and "'sealstore doctor'" in error.hint:
            error.hint = _LOST
        yield Check.failed(_CATALOGUE, error)
        return
    text = f"{count} artifact{'s' * (count != 1)}, schema {revision}"
    yield Check.ok(_CATALOGUE, text, artifacts=count)
    if mode is not None:
        yield from _check_sqlite(settings, mode, writing=writing)


def _check_sqlite(settings: Settings, mode: str, *, writing: bool) -> Iterator[Check]:
    root = settings.path.absolute()
    file = root / SQLITE_FILE
    kind = filesystem_type(root) or "unknown"
    text = f"SQLite, journal {mode}, on file system {kind}"
    yield Check.ok(_CATALOGUE, text, journal=mode, fileSystem=kind)
    if mode != settings.journal:
        yield Check.note(
            _CATALOGUE,
            f"its journal is '{mode}', and '{settings.journal}' is configured",
            f"while nothing uses it: sqlite3 {quoted(file)} 'PRAGMA journal_mode=wal'",
        )
    if writing and not os.access(file, os.W_OK):
        text = f"this user cannot write to {file}"
        yield Check.wrong(_CATALOGUE, text, f"chmod u+w {quoted(file)}")
    wal = file.with_name(f"{SQLITE_FILE}-wal")
    size = wal.stat().st_size if wal.is_file() else 0
    if size > _LARGE_WAL_BYTES:
        yield Check.note(
            _CATALOGUE,
            f"its write-ahead log has grown to {size / 1e6:.0f} MB: some reader never ends",
            f"end it, then: sqlite3 {quoted(file)} 'PRAGMA wal_checkpoint(TRUNCATE)'",
            walBytes=size,
        )


# ── the head ──────────────────────────────────────────────────────────────────


_HEAD: Final = "head"
_ACCESS: Final = "access log"


def check_head(settings: Settings) -> Iterator[Check]:
    """Whether this client accepts the signed head, and the head of the access log.

    Each is verified as a load does, held against what this client remembers; nothing is remembered.
    """
    root = settings.path.absolute()
    try:
        catalogue = open_catalogue(root, settings)
        try:
            trust = settings.trust_store(root)
            keeper = StateKeeper(root, settings, key_source(settings, root, None), catalogue, trust)
            with keeper.snapshot(remembering=False) as snapshot:
                state = snapshot.state
            access = open_access_log(settings, root, state.repository, lambda: state.keyring, trust)
        finally:
            catalogue.engine.dispose()
    except SealstoreError as error:
        yield Check.failed(_HEAD, error)
        return
    head = state.head
    text = f"epoch {head.epoch}, size {head.size}, signed {head.time}, is accepted here"
    yield Check.ok(_HEAD, text, epoch=head.epoch, size=head.size, time=head.time)
    try:
        with access.read() as reading:
            size = reading.head().head.size
    except SealstoreError as error:
        if isinstance(error, RetiredKeyError):
            error.hint = "sealstore heartbeat"
        yield Check.failed(_ACCESS, error)
    else:
        yield Check.ok(_ACCESS, f"size {size}, is accepted here", size=size)
    finally:
        access.close()


# ── the last backup ───────────────────────────────────────────────────────────


_BACKUP: Final = "backup"
_OLD_BACKUP: Final = timedelta(days=7)
_BACK_UP: Final = "sealstore backup FOLDER, on another disk"


def check_backup(settings: Settings, keyring: Keyring, *, writing: bool) -> Check:
    """Whether a backup was made from here, and how old the last one is.

    Args:
        settings: name the repository and this client's memory.
        keyring: the keys: what a retired one signed is restored on somebody's word only.
        writing: whether anything is stored from here; who only loads makes no backups.
    """
    if settings.database_url is not None:
        return Check.note(
            _BACKUP,
            "the catalogue is in PostgreSQL, whose backups are not seen from here",
            "pg_dump it, then copy the repository's folder",
        )
    try:
        last = last_backup(settings)
    except SealstoreError as error:
        return Check.failed(_BACKUP, error)
    size = _seen_size(settings)
    if last is None:
        # The first entry is the repository's creation.
        if size <= 1:
            return Check.ok(_BACKUP, "nothing is stored yet that could be backed up")
        text = "nothing has been backed up from here"
        if not writing:
            return Check.note(_BACKUP, text, "who stores should run: sealstore backup FOLDER")
        return Check.wrong(_BACKUP, text, _BACK_UP)
    age = datetime.now(UTC) - datetime.fromisoformat(last.at)
    behind = max(0, size - last.size)
    when = "today" if not age.days else f"{age.days} day{'s' * (age.days != 1)} ago"
    changes = f"{behind} change{'s' * (behind != 1)}"
    text = f"last backed up {when} to {last.folder}; {changes} since"
    details = {"at": last.at, "folder": last.folder, "changesSince": behind}
    if last.key_id in keyring.ids(State.REVOKED):
        text = f"{text}; its head was signed with a key that is revoked by now: nobody restores it"
        return Check.wrong(_BACKUP, text, _BACK_UP, **details)
    if last.key_id in keyring.ids(State.RETIRED):
        text = f"{text}; its head was signed with a key that is retired by now"
        return Check.note(_BACKUP, text, f"{_BACK_UP}: that one is restored on your word only")
    if behind and age > _OLD_BACKUP:
        return Check.note(_BACKUP, text, _BACK_UP, **details)
    return Check.ok(_BACKUP, text, **details)


def _seen_size(settings: Settings) -> int:
    try:
        remembered = settings.trust_store().read()
    except SealstoreError:
        # The check of the trust state says so.
        return 0
    return 0 if remembered is None else remembered.point.size
