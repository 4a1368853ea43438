"""gc and fsck that die at any step, and while others store, load and remove."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealstore.repository.facade import Repository
from sealstore.upkeep.gc import collect
from tests.faults import gc_operations
from tests.faults.children import fork_server, run_all
from tests.faults.conftest import SAMPLES, Deaths
from tests.faults.dying import Steps, count_steps, survives
from tests.faults.gc_operations import check, collect_all, opened, parcel, settings
from tests.faults.operations import KEYRING, PRESENT, Done, model
from tests.faults.soundness import contents
from tests.sealstore_fixtures import snapshot

pytestmark = [pytest.mark.invariant(3), pytest.mark.slow]


@pytest.fixture(scope="module")
def littered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with all that gc removes or puts away; copied, never changed."""
    place = tmp_path_factory.mktemp("littered") / "place"
    gc_operations.litter(place)
    return place


def test_a_killed_collection_loses_nothing_that_is_needed(littered: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, all is sound, the next one ends it, and storing goes on."""
    for place, done in deaths(collect_all, littered):
        with opened(place) as repository:
            assert check(place).findings == []
            assert contents(repository) == PRESENT
            needed = {artifact.digests.sha256 for artifact in repository.list().artifacts}
            if done.entries():
                assert set(repository.blobs.sha256s()) == needed
            # What was collected, or is about to be, is stored again.
            artifact = repository.store(model("fraud", "v1", 4), "fraud", "v1")
            assert artifact.revision == 4
            repository.store(model("fraud", "v1", 3), "again", "1")
            collect(repository, delete=True, grace=0, set_aside=True)
            assert repository.load("again") == model("fraud", "v1", 3)
            assert repository.load("fraud") == model("fraud", "v1", 4)
            report = check(place)
            assert (report.findings, report.notes) == ([], [])


def test_a_killed_check_changes_nothing(littered: Path, tmp_path: Path) -> None:
    """Whatever step it dies at, payloads and statements are what they were, and all is sound."""
    place, done = tmp_path / "place", Done(tmp_path / "done")
    shutil.copytree(littered, place)
    root = place / "repository"
    before = [snapshot(root / folder) for folder in ("objects", "statements")]
    steps = count_steps(Steps.ALL, gc_operations.check_all, place, done)
    for step in range(1, steps, max(1, steps // SAMPLES)):
        survives(step, Steps.ALL, gc_operations.check_all, place, done)
        assert [snapshot(root / folder) for folder in ("objects", "statements")] == before
    assert check(place).findings == []


def test_stores_loads_collections_and_checks_at_the_same_time(tmp_path: Path) -> None:
    """Without any grace, on four payloads: no error, no lost object, no finding, nothing left."""
    place = tmp_path / "place"
    Repository.create(place / "repository", keyring=KEYRING, settings=settings(place)).close()
    workers = [f"worker-{number}" for number in range(3)]
    with fork_server().Manager() as manager:
        barrier = manager.Barrier(len(workers) + 3)
        calls: list[tuple[Callable[..., Any], tuple[object, ...]]] = [
            *((gc_operations.store_and_remove, (place, name, 60, barrier)) for name in workers),
            (gc_operations.collect_often, (place, 60, barrier)),
            (gc_operations.load_often, (place, workers, 150, barrier)),
            (gc_operations.check_often, (place, 5, barrier)),
        ]
        *stored, removed, _, found = run_all(calls)
    assert found == []
    assert removed > 0
    with opened(place) as repository:
        collect(repository, delete=True, grace=0)
        needed = set()
        for worker, kept in zip(workers, stored, strict=True):
            for tag, number in kept:
                assert repository.load(worker, tag) == parcel(number)
                needed.add(repository.get(worker, tag).digests.sha256)
        assert set(repository.blobs.sha256s()) == needed
    report = check(place)
    assert (report.findings, report.notes) == ([], [])
