"""Many processes and threads at one repository."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import ArtifactNotFound, RepositoryExistsError
from sealstore.repository.facade import Repository
from tests.faults.children import fork_server, run_all
from tests.faults.operations import HISTORY, KEYRING, TRUST_ENTRIES, trust_store
from tests.faults.soundness import proven_accesses, proven_history
from tests.faults.traffic import Stored, require_complete, store_and_load

pytestmark = pytest.mark.invariant(3)

WORKERS = 8
STORES = 400
LOADS = 2_000


def work(root: Path, worker: str, barrier: Any) -> list[Stored]:
    with Repository.open(root, keyring=KEYRING) as repository:
        barrier.wait()
        return store_and_load(repository, worker, STORES // WORKERS, LOADS // WORKERS)


@pytest.mark.slow
def test_processes_store_and_load_at_the_same_time(tmp_path: Path) -> None:
    """8 processes, 400 stores, 2,000 loads, 20 names: no error, every object whole.

    Both chains verify, without a gap and without a fork: they say what each worker was told.
    """
    root = tmp_path / "repository"
    Repository.create(root, keyring=KEYRING).close()
    with fork_server().Manager() as manager:
        barrier = manager.Barrier(WORKERS)
        calls = [(work, (root, f"worker-{number}", barrier)) for number in range(WORKERS)]
        by_worker = run_all(calls)
    stored = [entry for entries in by_worker for entry in entries]
    assert len(stored) == STORES
    with Repository.open(root, keyring=KEYRING) as repository:
        require_each_on_record(repository, by_worker)
        require_complete(repository, stored)


def require_each_on_record(repository: Repository, by_worker: list[list[Stored]]) -> None:
    """What each worker stored is in the history, under its process; each of its loads is, too."""
    history, accesses = proven_history(repository), proven_accesses(repository)
    assert [entry.event for entry in history] == ["create"] + ["store"] * STORES
    assert len(accesses) == LOADS
    processes = set()
    for number, stored in enumerate(by_worker):
        own = [entry for entry in history if entry.by.actor == f"worker-{number}"]
        assert [entry.sequence for entry in own] == [sequence for *_, sequence, _ in stored]
        [process] = {entry.by.process for entry in own}
        processes.add(process)
        # A load of what nobody has stored yet is on record as refused.
        loads = [entry for entry in accesses if entry.by.process == process]
        assert len(loads) == LOADS // WORKERS
        assert {entry.outcome for entry in loads} <= {"granted", "refused"}
    assert len(processes) == WORKERS


def test_threads_store_and_load_at_the_same_time(tmp_path: Path) -> None:
    """20 threads at one opened repository: more than the database has connections for."""
    with Repository.create(tmp_path / "repository", keyring=KEYRING) as repository:
        stored: list[Stored] = []

        def work_in_thread(number: int) -> None:
            stored.extend(store_and_load(repository, f"thread-{number}", 10, 50))

        threads = [threading.Thread(target=work_in_thread, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(stored) == 200
        require_complete(repository, stored)


def create_once(root: Path, barrier: Any) -> str | None:
    barrier.wait()
    try:
        with Repository.create(root, keyring=KEYRING) as repository:
            return repository.id
    except RepositoryExistsError:
        with Repository.open(root, keyring=KEYRING) as repository:
            repository.store("second", "found", "1")
        return None


def test_of_processes_that_create_one_repository_one_succeeds(tmp_path: Path) -> None:
    """The others are told that it exists, and can use it."""
    processes = 4
    with fork_server().Manager() as manager:
        for number in range(5):
            root = tmp_path / f"repository-{number}"
            barrier = manager.Barrier(processes)
            made = run_all([(create_once, (root, barrier))] * processes)
            with Repository.open(root, keyring=KEYRING) as repository:
                assert sorted(made, key=str) == sorted([repository.id, None, None, None], key=str)
                assert repository.get("found").revision == processes - 1
                assert repository.load("found") == "second"


def remove_all(root: Path, barrier: Any) -> int:
    removed = 0
    with Repository.open(root, keyring=KEYRING) as repository:
        barrier.wait()
        for name, tag, revision in [("m", "t", number) for number in range(1, 31)]:
            try:
                removed += len(repository.remove(name, tag, revision=revision))
            except ArtifactNotFound:
                continue
    return removed


def test_each_revision_is_removed_by_one_of_two_processes(tmp_path: Path) -> None:
    """What two processes remove at the same time is removed, and recorded, exactly once."""
    root = tmp_path / "repository"
    with Repository.create(root, keyring=KEYRING) as repository:
        for number in range(1, 31):
            repository.store(number, "m", "t")
        with fork_server().Manager() as manager:
            barrier = manager.Barrier(2)
            assert sum(run_all([(remove_all, (root, barrier))] * 2)) == 30
        removals = [entry for entry in proven_history(repository) if entry.event == "remove"]
        removed = [entry.artifact.revision for entry in removals if entry.artifact is not None]
        assert sorted(removed) == list(range(1, 31))
        assert repository.store(31, "m", "t").revision == 31


def advance_all(folder: Path, worker: int, barrier: Any) -> None:
    """See every eighth state of a history; what is remembered never goes back meanwhile."""
    barrier.wait()
    trust = trust_store(folder)
    newest = 0
    for size in range(1 + worker, TRUST_ENTRIES + 1, WORKERS):
        remembered = trust.advance(HISTORY.point(size), prove=HISTORY.prove)
        read = trust.read()
        assert read is not None
        assert max(newest, size) <= remembered.point.size <= read.point.size
        newest = read.point.size


def test_processes_that_see_different_states_remember_the_newest(tmp_path: Path) -> None:
    """8 processes, 500 states: none is lost, none brings an older one back, from the first on."""
    folder = tmp_path / "trust"
    with fork_server().Manager() as manager:
        barrier = manager.Barrier(WORKERS)
        run_all([(advance_all, (folder, worker, barrier)) for worker in range(WORKERS)])
    found = trust_store(folder).read()
    assert found is not None
    assert found.point == HISTORY.point(TRUST_ENTRIES)
    assert len(list(folder.iterdir())) == 2
