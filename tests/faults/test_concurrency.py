"""Many processes and threads at one repository."""

from __future__ import annotations

import random
import threading
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import ArtifactNotFound, RepositoryExistsError
from sealstore.repository import Repository
from tests.faults.children import fork_server, run_all
from tests.faults.operations import KEYRING

pytestmark = pytest.mark.invariant(3)

WORKERS = 8
STORES = 1_000
LOADS = 5_000
NAMES = [f"model-{number:02}" for number in range(20)]
TAGS = ["nightly", "weekly", "release"]

Stored = tuple[str, str, int, int, str]
"""Name, tag, revision, sequence, and the token in the object."""


def parcel(name: str, tag: str, token: str, size: int) -> dict[str, Any]:
    """An object that shows whether it is whole and where it belongs."""
    content = random.Random(token).randbytes(size)
    return {"name": name, "tag": tag, "token": token, "bytes": content, "crc": zlib.crc32(content)}


def require_whole(loaded: dict[str, Any], name: str, tag: str | None) -> None:
    assert loaded["name"] == name
    assert tag in (None, loaded["tag"])
    assert zlib.crc32(loaded["bytes"]) == loaded["crc"]


def store_and_load(repository: Repository, worker: str, stores: int, loads: int) -> list[Stored]:
    """Store and load in a random order that is the same in each run."""
    chance = random.Random(worker)
    steps = ["store"] * stores + ["load"] * loads
    chance.shuffle(steps)
    stored: list[Stored] = []
    known: set[tuple[str, str | None]] = set()
    for number, step in enumerate(steps):
        name, tag = chance.choice(NAMES), chance.choice(TAGS)
        if step == "store":
            token = f"{worker}-{number}"
            artifact = repository.store(
                parcel(name, tag, token, chance.randrange(20_000)), name, tag, actor=worker
            )
            stored.append((name, tag, artifact.revision, artifact.sequence, token))
            known |= {(name, None), (name, tag)}
        else:
            load_something(repository, chance, stored, known)
    return stored


def load_something(
    repository: Repository,
    chance: random.Random,
    stored: list[Stored],
    known: set[tuple[str, str | None]],
) -> None:
    if stored and chance.random() < 0.3:
        name, own_tag, revision, _, token = chance.choice(stored)
        assert repository.load(name, own_tag, revision=revision)["token"] == token
        return
    name, tag = chance.choice(NAMES), chance.choice([None, *TAGS])
    try:
        require_whole(repository.load(name, tag or "latest"), name, tag)
    except ArtifactNotFound:
        assert (name, tag) not in known


def work(root: Path, worker: str, barrier: Any) -> list[Stored]:
    with Repository.open(root, keyring=KEYRING) as repository:
        barrier.wait()
        return store_and_load(repository, worker, STORES // WORKERS, LOADS // WORKERS)


def require_complete(repository: Repository, stored: list[Stored]) -> None:
    """Every acknowledged store is there, whole, and numbers have neither gap nor duplicate."""
    assert sorted(sequence for *_, sequence, _ in stored) == list(range(2, len(stored) + 2))
    revisions = defaultdict(list)
    for name, tag, revision, _, token in stored:
        revisions[name, tag].append(revision)
        loaded = repository.load(name, tag, revision=revision)
        require_whole(loaded, name, tag)
        assert loaded["token"] == token
        repository.verify(name, tag, revision=revision)
    for numbers in revisions.values():
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
    last = max(stored, key=lambda entry: entry[3])
    assert repository.load(last[0])["token"] == last[4]


@pytest.mark.slow
def test_processes_store_and_load_at_the_same_time(tmp_path: Path) -> None:
    """8 processes, 1,000 stores, 5,000 loads, 20 names: no error, every object whole, no gap."""
    root = tmp_path / "repository"
    Repository.create(root, keyring=KEYRING).close()
    with fork_server().Manager() as manager:
        barrier = manager.Barrier(WORKERS)
        calls = [(work, (root, f"worker-{number}", barrier)) for number in range(WORKERS)]
        stored = [entry for entries in run_all(calls) for entry in entries]
    assert len(stored) == STORES
    with Repository.open(root, keyring=KEYRING) as repository:
        require_complete(repository, stored)


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
        removals = [entry for entry in repository.history(limit=100) if entry.event == "remove"]
        assert sorted(entry.revision or 0 for entry in removals) == list(range(1, 31))
        assert repository.store(31, "m", "t").revision == 31
