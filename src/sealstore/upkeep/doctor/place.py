"""The repository's folder: who signed it, whether it can be written, what was left in it."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sealstore import limits
from sealstore.errors import SealstoreError
from sealstore.keys.keyring import Keyring
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import read_unverified
from sealstore.signed.settings import RepositorySettings, open_settings
from sealstore.storage import layout
from sealstore.upkeep.doctor.check import Check, quoted
from sealstore.upkeep.doctor.keys import check_settings_key

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
                f"this is repository {identity.repository}, and MODEL_REPO_ID asks for another",
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
    checks = []
    for folder in (root, root / "objects", root / layout.STATEMENTS_FOLDER):
        if folder != root and (folder.is_symlink() or not folder.is_dir()):
            checks.append(
                Check.wrong(
                    "folders", f"{folder} is no folder", "restore the repository from a backup"
                )
            )
        elif writing and not _is_writable(folder):
            checks.append(
                Check.wrong(
                    "folders",
                    f"{folder} cannot be written by this user",
                    f"chmod u+w {quoted(folder)}, or mount it for writing; where nothing is to be"
                    " stored: use a verify-only keyring ('sealstore keys export --public')",
                )
            )
        elif folder.stat().st_mode & 0o002 and not folder.stat().st_mode & stat.S_ISVTX:
            checks.append(
                Check.note(
                    "folders",
                    f"{folder} can be written by everybody: they can destroy, though not forge",
                    f"chmod o-w {quoted(folder)}",
                )
            )
    return checks or [Check.ok("folders", "the repository's folders are as they should be")]


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
    if stale:
        checks.append(
            Check.note(
                "leftovers",
                f"{len(stale)} staging files of stores that did not end, such as {stale[0]}",
                f"find {quoted(root)} -name '.staging-*' -mmin +60 -delete",
                paths=stale[:100],
            )
        )
    if aside:
        checks.append(
            Check.note(
                "leftovers",
                f"{len(aside)} files with wrong bytes were moved aside, such as {aside[0]}",
                "find out who wrote them, then remove them",
                paths=aside[:100],
            )
        )
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
