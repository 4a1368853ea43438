"""Repositories that were opened before a fork."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import socket, socketpair
from typing import Any

import pytest

from sealstore import limits
from sealstore.repository.facade import Repository
from tests.faults.children import SECONDS_FOR_A_CHILD, run_all, started
from tests.faults.operations import KEYRING, model
from tests.faults.soundness import contents, require_that_it_works

pytestmark = pytest.mark.invariant(3)


@contextmanager
def forked(body: Callable[[socket], None]) -> Iterator[socket]:
    """A fork of this process that runs ``body`` with a connection to the block.

    In the end the connection is closed, and the child must have succeeded.
    """
    ours, theirs = socketpair()
    child = os.fork()
    if not child:
        ours.close()
        status = 1
        try:
            body(theirs)
            status = 0
        finally:
            # Whatever was raised: the child must not return into the code of its parent.
            if status:
                traceback.print_exc()
            os._exit(status)
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        _, status = os.waitpid(child, 0)
        assert status == 0


def store_on_both_sides(root: Path) -> None:
    """Fork after use; the parent closes first, and the child goes on storing."""
    repository = Repository.open(root, keyring=KEYRING)
    repository.load("churn")

    def use_in_child(parent: socket) -> None:
        repository.store(model("child", "1", 1), "child", "1")
        parent.send(b"stored one")
        parent.recv(100)
        for number in range(2, 6):
            repository.store(model("child", "1", number), "child", "1")
            assert repository.load("child", "1") == model("child", "1", number)
        parent.send(b"stored five")
        parent.recv(100)

    with forked(use_in_child) as child:
        for number in range(1, 4):
            repository.store(model("parent", "1", number), "parent", "1")
            assert repository.load("parent", "1") == model("parent", "1", number)
        assert child.recv(100) == b"stored one"
        repository.close()
        child.send(b"closed")
        assert child.recv(100) == b"stored five"
        assert repository.load("child", "1") == model("child", "1", 5)
        repository.store(model("parent", "1", 4), "parent", "1")


def test_what_a_fork_stores_is_there_after_its_parent_closed(root: Path) -> None:
    """Parent and child of a fork each store, in any order; every acknowledged store is kept."""
    run_all([(store_on_both_sides, (root,))])
    with Repository.open(root, keyring=KEYRING) as repository:
        found = contents(repository)
        assert {("child", "1", number) for number in range(1, 6)} <= found
        assert {("parent", "1", number) for number in range(1, 5)} <= found
        require_that_it_works(repository)


def fork_among_threads(root: Path) -> int:
    """Fork again and again while other threads load and store."""
    repository = Repository.open(root, keyring=KEYRING)
    finished = threading.Event()
    completed: list[int] = []

    def use(number: int) -> None:
        name, revision = f"thread-{number}", 0
        while not finished.is_set():
            revision += 1
            repository.store(model(name, "1", revision), name, "1")
            for _ in range(20):
                assert repository.load(name) == model(name, "1", revision)
        completed.append(number)

    def use_in_child(_: socket) -> None:
        assert repository.load("churn") == model("churn", "2026-11", 1)
        name = f"child-{os.getpid()}"
        repository.store(model(name, "1", 1), name, "1")
        assert repository.load(name) == model(name, "1", 1)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    forks = 10
    try:
        for _ in range(forks):
            with forked(use_in_child):
                pass
    finally:
        finished.set()
        for thread in threads:
            thread.join()
    assert sorted(completed) == [0, 1, 2], "a thread raised"
    repository.close()
    return forks


def test_forks_among_busy_threads_lose_nothing_and_do_not_hang(root: Path) -> None:
    """While threads load and store, forked children do as well: every object is whole."""
    [forks] = run_all([(fork_among_threads, (root,))])
    with Repository.open(root, keyring=KEYRING) as repository:
        found = contents(repository)
        assert len([name for name, *_ in found if name.startswith("child-")]) == forks
        require_that_it_works(repository)


def leave_a_fork_behind(root: Path, ready: Any) -> None:
    """Fork while a thread waits in the writers' queue; the child lives on and does nothing."""
    repository = Repository.open(root, keyring=KEYRING)
    writer = threading.Thread(target=lambda: repository.store(model("a", "1", 1), "a", "1"))
    writer.start()
    lock_file = root / "catalogue.sqlite3.lock"
    while lock_file not in _open_files():
        time.sleep(0.001)

    def live_as_long_as_the_parent(parent: socket) -> None:
        parent.recv(1)

    with forked(live_as_long_as_the_parent):
        ready.send("ready")
        writer.join()
        repository.close()
        time.sleep(SECONDS_FOR_A_CHILD)


def _open_files() -> set[Path]:
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(descriptor.readlink())
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see open files")
def test_a_fork_does_not_keep_the_writers_lock_of_its_parent(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child forked while its parent waited to write does not hold others up afterwards."""
    with Repository.open(root, keyring=KEYRING) as repository, ExitStack() as stack:
        with repository.catalogue.write():
            parent = stack.enter_context(started(leave_a_fork_behind, root))
        while ("a", "1", 1) not in contents(repository):
            time.sleep(0.01)
        assert parent.is_alive()
        monkeypatch.setattr(limits, "DATABASE_BUSY_SECONDS", 5)
        require_that_it_works(repository)
