"""SQLite's file while connections are open: replaced, deleted, or where nobody may write to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DisconnectionError

_WRITE_VERSION: Final = 18
"""Offset in the database's header, https://www.sqlite.org/fileformat2.html#file_format_version_numbers"""
_WAL: Final = b"\x02"


def query_of_uri(file: Path, *, create: bool) -> str:
    """How SQLite's URI of ``file`` ends: what the connection may do."""
    if create:
        return "mode=rwc"
    # With a write-ahead log, readers share memory by way of a file, which cannot be made here.
    # SQLite then takes the database for one that never changes; when it does: see follow_file.
    return "mode=ro&immutable=1" if _is_at_rest(file) else "mode=rw"


def follow_file(engine: Engine, file: Path) -> None:
    """Let ``engine`` connect anew where the file is gone, or is another one than was opened.

    SQLite would go on with the file that it opened: what is stored into a deleted database is lost.
    """

    def remember(_connection: object, record: Any) -> None:
        record.info["file"] = _state(file)

    def compare(_connection: object, record: Any, _proxy: object) -> None:
        if record.info["file"] != _state(file):
            raise DisconnectionError("The catalogue's file is another one now.")

    event.listen(engine, "connect", remember)
    event.listen(engine, "checkout", compare)


def sync_commits(file: Path) -> None:
    """Make everything durable that SQLite shows as committed, whoever committed it.

    A process that dies within a commit may leave it in the write-ahead log, or its journal removed:
    whoever opens the database then takes it for committed, and syncs nothing as long as he only
    reads.

    Raises:
        OSError: the file system refused.
    """
    # Never the database itself: closing it here would release the locks that SQLite has on it. Of
    # a commit that is not in the log, it was synced before the journal was removed.
    for name, flags in ((f"{file}-wal", os.O_NOFOLLOW), (file.parent, os.O_DIRECTORY)):
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | flags)
        except FileNotFoundError:
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_at_rest(file: Path) -> bool:
    """Whether nobody may write beside ``file`` here, and nobody elsewhere has its log open."""
    if os.access(file.parent, os.W_OK) or os.path.exists(f"{file}-wal"):
        return False
    try:
        with open(file, "rb") as opened:
            return opened.read(_WRITE_VERSION + 1)[_WRITE_VERSION:] == _WAL
    except OSError:
        return False


def _state(file: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    if _is_at_rest(file):
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    return status.st_dev, status.st_ino
