"""Eight processes that do everything at once, and are killed at any moment.

The storm lasts 20 seconds, or as many as ``SEALSTORE_STORM_SECONDS`` says; its chances follow from
``SEALSTORE_STORM_SEED`` (1 by default), as far as the machine's own allow. The long one, which says
what was done::

    SEALSTORE_STORM_SECONDS=120 .venv/bin/python -m pytest -n 0 -s tests/faults/test_storm.py
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sealstore.audit.chains import ChainName
from sealstore.audit.verifying import verify_ledger
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.upkeep.fsck import fsck
from sealstore.upkeep.gc import collect
from tests.faults import storm_workers
from tests.faults.children import SECONDS_FOR_A_CHILD, fork_server
from tests.faults.operations import KEYRING
from tests.faults.soundness import proven_accesses, proven_history
from tests.faults.storm_journals import Action, Claims, read
from tests.faults.storm_workers import parcel, settings

pytestmark = [pytest.mark.invariant(3), pytest.mark.slow]

WORKERS = 8
SECONDS = float(os.environ.get("SEALSTORE_STORM_SECONDS", "20"))
SEED = int(os.environ.get("SEALSTORE_STORM_SEED", "1"))
LIFE = (0.2, 4.0)
"""Seconds after which a process is killed, between these two."""


@dataclass
class Place:
    """One of the eight places at the repository, and the processes that take it in turn."""

    folder: Path
    number: int
    chance: random.Random
    lives: int = 0
    kills: int = 0
    dies_at: float = 0.0
    process: Any = None
    failures: list[str] = field(default_factory=list)

    def begin(self, until: float) -> None:
        """Start the next process."""
        self.lives += 1
        who = f"worker-{self.number}-{self.lives}"
        self.process = fork_server().Process(
            target=storm_workers.work, args=(self.folder, who, SEED, until)
        )
        self.process.start()
        self.dies_at = time.monotonic() + self.chance.uniform(*LIFE)

    def kill_in_time(self, until: float) -> None:
        """Kill it if it is time; then there is another one."""
        if time.monotonic() >= self.dies_at and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGKILL)
            self.kills += 1
        elif self.process.is_alive():
            return
        self.end()
        self.begin(until)

    def end(self) -> None:
        """Wait until it is over."""
        self.process.join(SECONDS_FOR_A_CHILD)
        if self.process.exitcode not in (0, -signal.SIGKILL):
            self.failures.append(f"worker {self.number}: exit code {self.process.exitcode}")
            self.process.kill()
            self.process.join()
        self.process.close()


def rage(folder: Path) -> list[Place]:
    """Let the storm go on for its time."""
    until = time.monotonic() + SECONDS
    places = [
        Place(folder, number, random.Random(f"{SEED} kills {number}"))
        for number in range(1, WORKERS + 1)
    ]
    for place in places:
        place.begin(until)
    while time.monotonic() < until - 0.1:
        for place in places:
            place.kill_in_time(until)
        time.sleep(0.002)
    for place in places:
        place.end()
    return places


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the storm goes on."""
    folder = tmp_path_factory.mktemp("storm")
    (folder / "journals").mkdir()
    write_keyring_file(folder / "keyring.json", KEYRING)
    Repository.create(folder / "repository", settings=settings(folder)).close()
    return folder


def test_nothing_is_lost_in_a_storm_of_killed_processes(folder: Path) -> None:
    """No acknowledged object is lost, no wrong one is ever loaded, and everything verifies."""
    places = rage(folder)
    claims = Claims(read(folder / "journals"))
    said = f"{sum(place.kills for place in places)} kills; {claims.tally()}"
    sys.stdout.write(f"\n{said}\n")
    assert [failure for place in places for failure in place.failures] == []
    complaints = list(claims.complaints())
    assert not complaints, "\n".join(complaints[:20])
    require_some_of_each(claims.actions, sum(place.kills for place in places))
    audited = verify_ledger(settings(folder))
    assert audited.findings == []
    assert [each.chain for each in audited.chains] == list(ChainName)
    report = fsck(settings(folder))
    assert report.findings == []
    with Repository.open(settings=settings(folder)) as repository:
        require_on_record(repository, claims)
        require_kept(repository, claims)
        require_aliases(repository, claims)
        require_nothing_left_over(repository)
    assert verify_ledger(settings(folder)).is_sound


def require_some_of_each(actions: list[Action], kills: int) -> None:
    """The storm was one: everything was done, and something was killed in the middle."""
    assert kills >= SECONDS
    assert {action.kind for action in actions if action.result is not None} == set(
        storm_workers.WEIGHTS
    )
    assert any(action.outcome is None for action in actions)


def require_kept(repository: Repository, claims: Claims) -> None:
    """What was acknowledged loads, what was removed is gone, and the rest is whole."""
    kept, removed = claims.kept(), claims.removed()
    page = repository.list(limit=1_000)
    found = list(page.artifacts)
    while page.next_cursor is not None:
        assert page.refused == []
        page = repository.list(limit=1_000, after=page.next_cursor)
        found += page.artifacts
    refs = {(each.name, each.tag, each.revision) for each in found}
    assert len(refs) == len(found)
    assert kept.keys() <= refs
    assert not removed & refs
    for name, tag, revision in sorted(refs):
        loaded = repository.load(name, tag, revision=revision)
        assert loaded == parcel(name, tag, loaded["token"])
        repository.verify(name, tag, revision=revision)
        if (name, tag, revision) in claims.stores:
            assert loaded["token"] == claims.token((name, tag, revision))
        else:
            unknown = [each for each in claims.begun[name, tag] if each.outcome is None]
            assert loaded["token"] in {each.said["token"] for each in unknown}


def require_on_record(repository: Repository, claims: Claims) -> None:
    """Every acknowledged store, removal and load is on record, once."""
    history = proven_history(repository)
    stored = {}
    removed = []
    for entry in history:
        if entry.artifact is not None and entry.event in ("store", "remove"):
            ref = (entry.artifact.name, entry.artifact.tag, entry.artifact.revision)
            if entry.event == "store":
                assert ref not in stored
                stored[ref] = entry.sequence
            else:
                removed.append(ref)
    assert len(set(removed)) == len(removed)
    assert claims.removed() <= set(removed)
    for ref, store in claims.stores.items():
        assert store.result is not None
        assert stored[ref] == store.result["sequence"]
    loads = [
        (entry.by.actor, entry.context)
        for entry in proven_accesses(repository)
        if (entry.act, entry.outcome) == ("load", "granted")
    ]
    assert len(set(loads)) == len(loads)
    assert {
        (action.who, str(action.number))
        for action in claims.actions
        if action.kind == "load" and action.result is not None
    } <= set(loads)


def require_aliases(repository: Repository, claims: Claims) -> None:
    """Every acknowledged move of an alias is in its history, as what it was acknowledged as."""
    known: dict[tuple[str, str], dict[object, tuple[object, object]]] = {}
    for action in claims.actions:
        if action.kind in ("set alias", "rollback alias") and action.result is not None:
            which = (action.said["name"], action.said["alias"])
            if which not in known:
                known[which] = {
                    entry.details["move"]: (entry.details["tag"], entry.details["revision"])
                    for entry in repository.alias_history(*which, limit=10_000)
                }
            moved = action.result
            assert known[which][moved["move"]] == (moved["tag"], moved["revision"])


def require_nothing_left_over(repository: Repository) -> None:
    """A last collection leaves exactly what is needed, and nothing to be told."""
    collect(repository, delete=True, grace=0, set_aside=True)
    needed = set()
    page = repository.list(limit=1_000)
    while True:
        needed |= {artifact.digests.sha256 for artifact in page.artifacts}
        if page.next_cursor is None:
            break
        page = repository.list(limit=1_000, after=page.next_cursor)
    assert set(repository.blobs.sha256s()) == needed
    report = fsck(repository.settings)
    assert (report.findings, report.notes) == ([], [])
