"""No database connection crosses a fork.

SQLite keeps its locks in the process's memory. A forked child believes that it holds those which
its parent took, so that the parent, closing its last connection, finds nobody else and deletes the
write-ahead log that the child is still appending to: what the child stored afterwards is lost ("How
To Corrupt An SQLite Database File", section 2.7). A child that shares PostgreSQL's socket confuses
both. So before a fork, threads that are at the database finish what they do, and every connection
is closed; parent and child connect anew when they next need one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakSet

from sqlalchemy.engine import Engine

from sealstore import limits

_engines: Final[WeakSet[Engine]] = WeakSet()


class _Door:
    """Threads pass one by one to the database, and none may while a fork is going on."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._inside: dict[int, int] = {}
        self._forks = 0

    def enter(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            if self._forks and thread not in self._inside:
                # Threads that come and go without end would never let the fork begin.
                self._changed.wait_for(self._no_fork_waits, limits.DATABASE_BUSY_SECONDS)
            self._inside[thread] = self._inside.get(thread, 0) + 1

    def leave(self) -> None:
        thread = threading.get_ident()
        with self._changed:
            self._inside[thread] -= 1
            if not self._inside[thread]:
                del self._inside[thread]
                self._changed.notify_all()

    def close(self) -> None:
        self._changed.acquire()
        self._forks += 1
        # Not for ever: a thread that waits for a stuck database must not stop the whole process.
        self._changed.wait_for(self._others_are_out, limits.DATABASE_BUSY_SECONDS)

    def open(self) -> None:
        self._forks -= 1
        self._changed.notify_all()
        self._changed.release()

    def _no_fork_waits(self) -> bool:
        return not self._forks

    def _others_are_out(self) -> bool:
        return not self._inside.keys() - {threading.get_ident()}


_door = _Door()


def close_at_fork(engine: Engine) -> None:
    """Let ``engine`` have no connection whenever this process forks."""
    _engines.add(engine)


@contextmanager
def no_fork() -> Iterator[None]:
    """Hold back forks while the block uses a connection."""
    door = _door
    door.enter()
    try:
        yield
    finally:
        door.leave()


def _before() -> None:
    _door.close()
    for engine in tuple(_engines):
        engine.dispose()


def _in_parent() -> None:
    _door.open()


def _in_child() -> None:
    global _door  # noqa: PLW0603 (the other threads, and what they held, are not in the child)
    _door = _Door()
    for engine in tuple(_engines):
        # A fork that Python did not begin (a server's own, in C) brought the parent's connections.
        engine.dispose(close=False)


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
