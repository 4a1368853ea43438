"""What the children of the tests of gc and fsck do. Each imports it again: no pytest."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sealstore.errors import ArtifactNotFound, PayloadMissingError
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.upkeep.fsck import fsck
from sealstore.upkeep.fsck.report import FsckReport
from sealstore.upkeep.gc import collect
from tests.faults import operations
from tests.faults.operations import KEYRING, Done, model

STAGING = ".staging-" + "0" * 32


def settings(place: Path) -> Settings:
    """The settings of a place: its repository, and what its client remembers of it."""
    return replace(
        Settings.from_environment(), path=place / "repository", trust_folder=place / "trust"
    )


def opened(place: Path) -> Repository:
    """The repository of a place."""
    return Repository.open(place / "repository", keyring=KEYRING, settings=settings(place))


def check(place: Path) -> FsckReport:
    """Check it with the keys of these tests."""
    return fsck(settings(place), keyring=KEYRING, threads=1)


def litter(place: Path) -> None:
    """Make a place whose repository has all that gc removes or puts away."""
    root = place / "repository"
    operations.fill(root)
    with opened(place) as repository:
        artifact = repository.store(model("fraud", "v1", 3), "fraud", "v1")
        repository.remove("fraud", "v1", revision=3)
        payload = root / "objects" / artifact.digests.sha256[:2] / artifact.digests.sha256
    statement = root / "statements" / "fraud" / "v1" / "3.json"
    statement.with_name("3.json.removed").rename(statement)
    for path in (
        root / "objects" / STAGING,
        payload.with_name(f"{payload.name}.set-aside-{'0' * 16}"),
        statement.with_name(STAGING),
    ):
        path.write_bytes(b"left")


def collect_all(place: Path, done: Done) -> None:
    """Remove everything that nothing needs."""
    with opened(place) as repository:
        report = collect(repository, delete=True, grace=0, set_aside=True)
        done.add(len(report.removed))


def check_all(place: Path, done: Done) -> None:
    """Check everything."""
    done.add(len(check(place).findings))


# ── many at once ─────────────────────────────────────────────────────────────

POOL = 4
"""Different objects: few, so that nearly every store finds its payload there, or just gone."""


def parcel(number: int) -> dict[str, Any]:
    return {"number": number, "content": random.Random(number).randbytes(3_000)}


def store_and_remove(place: Path, worker: str, rounds: int, barrier: Any) -> list[tuple[str, int]]:
    """Store objects that others store and remove as well; what is stored loads until removed."""
    chance = random.Random(worker)
    kept: list[tuple[str, int]] = []
    with opened(place) as repository:
        barrier.wait()
        for step in range(rounds):
            number = chance.randrange(POOL)
            tag = f"{step}"
            repository.store(parcel(number), worker, tag)
            assert repository.load(worker, tag) == parcel(number)
            repository.verify(worker, tag)
            if chance.random() < 0.9:
                repository.remove(worker, tag)
            else:
                kept.append((tag, number))
    return kept


def collect_often(place: Path, rounds: int, barrier: Any) -> int:
    """Collect again and again, without any grace."""
    removed = 0
    with opened(place) as repository:
        barrier.wait()
        for _ in range(rounds):
            report = collect(repository, delete=True, grace=0)
            assert report.findings == []
            removed += len(report.removed)
    return removed


def load_often(place: Path, workers: list[str], rounds: int, barrier: Any) -> int:
    """Load what others store and remove: the right object, or proof that it was removed."""
    chance = random.Random("loads")
    loaded = 0
    with opened(place) as repository:
        barrier.wait()
        for _ in range(rounds):
            worker = chance.choice(workers)
            try:
                tag = repository.get(worker).tag
            except ArtifactNotFound:
                continue
            try:
                found = repository.load(worker, tag)
            except ArtifactNotFound:
                continue
            except PayloadMissingError:
                # Between the proof and the reading it was removed, and collected without any grace.
                with suppress(ArtifactNotFound):
                    repository.get(worker, tag)
                    raise
                continue
            assert found == parcel(found["number"])
            loaded += 1
    return loaded


def check_often(place: Path, rounds: int, barrier: Any) -> list[str]:
    """Check while all that goes on; what is found."""
    barrier.wait()
    return [str(each) for _ in range(rounds) for each in check(place).findings]
