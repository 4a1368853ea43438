"""Where writers to one SQLite file queue, before they ask SQLite for its lock."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sealstore import limits
from sealstore.errors import CatalogueError

_ORDINARY_WAIT: Final = 0.25
"""Seconds: many writers keep each other waiting so long. Beyond, one holds up all the others."""

_OPEN_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def writers_queue(lock_file: Path | None, what: str) -> Iterator[None]:
    """SQLite's own back-off lets some of many writers wait for seconds; a file lock doesn't.

    Args:
        lock_file: the file whose lock they take in turn; None for PostgreSQL, which queues them.
        what: what is written to, for the error's text.

    Raises:
        CatalogueError: another process held the lock for ``limits.DATABASE_BUSY_SECONDS``.
        OSError: the file cannot be opened or made.
    """
    if lock_file is None:
        yield
        return
    descriptor = os.open(lock_file, _OPEN_LOCK, 0o640)
    try:
        if not _try_lock(descriptor):
            _wait_for_lock(descriptor, what)
        yield
    finally:
        # By name: a child forked meanwhile holds the lock with its copy of the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _wait_for_lock(descriptor: int, what: str) -> None:
    began = time.monotonic()
    waited = 0.0
    while waited <= limits.DATABASE_BUSY_SECONDS:
        time.sleep(_pause(waited))
        if _try_lock(descriptor):
            return
        waited = time.monotonic() - began
    raise CatalogueError(
        f"Another process has been writing to {what} for {limits.DATABASE_BUSY_SECONDS} seconds.",
        hint="try again; 'sealstore doctor' shows what is wrong if it stays so.",
    )


def _pause(waited: float) -> float:
    """Seconds until a writer that has waited for so many seconds asks for the lock again."""
    if waited > _ORDINARY_WAIT:
        return _ORDINARY_WAIT / 50
    # Who has waited longer asks more often, so that nobody is overtaken for long; and jitter, so
    # that no waiter is always the one that comes too late.
    return random.uniform(0.0002, 0.002) / (1 + 10 * waited / _ORDINARY_WAIT)  # noqa: S311 (no secret)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
