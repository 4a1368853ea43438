"""The access log: appending by one process and by eight, alone and as part of a load."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.timing import Figure
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.keyring import Keyring, new_key
from sealstore.ledger.entries import AccessRequest, EntryArtifact
from sealstore.repository.facade import Repository

PROCESSES = 8
APPENDS = 2_000
"""By each process."""
LOADS = 1_000

TARGET_APPEND_US = 200.0
TARGET_WAIT_MS = 250.0
TARGET_LOADS_A_SECOND = 1_500


_KEY = new_key(HmacSha256(bytes(range(32))))
_REQUEST = AccessRequest(name="bench", tag="latest", revision=None)
_ARTIFACT = EntryArtifact(
    name="bench",
    tag="1",
    revision=1,
    sha256="5a" * 32,
    statement="57" * 32,
    key_id=_KEY.key_id,
)

Action = Callable[[Repository], object]


@dataclass(frozen=True)
class Waits:
    """What each of many calls took, and all of them together.

    Attributes:
        each: seconds, sorted.
        elapsed: seconds from the first call's begin to the last one's end.
    """

    each: list[float]
    elapsed: float

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.each)

    @property
    def p99(self) -> float:
        """Seconds: 99 of 100 calls take no longer."""
        return self.each[int(len(self.each) * 0.99)]

    @property
    def rate(self) -> float:
        """Calls a second, of all processes."""
        return len(self.each) / self.elapsed


def figures() -> Iterator[Figure]:
    """Appends and recorded loads of one process, and of eight at the same time."""
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        root = Path(folder) / "repository"
        with Repository.create(root, keyring=Keyring.of([_KEY])) as repository:
            repository.store([0.5] * 20, "bench", "1")
        for action, count in ((_append, APPENDS), (_load, LOADS)):
            yield from _figures(root, action, count)


def _figures(root: Path, action: Action, count: int) -> Iterator[Figure]:
    what = "append to the access log" if action is _append else "recorded load"
    alone = _measure(root, action, count, processes=1)
    target = TARGET_APPEND_US if action is _append else None
    yield Figure(f"{what}: 1 process, median", alone.median * 1e6, "us", target, _rate(alone))
    yield Figure(f"{what}: 1 process, 99th percentile", alone.p99 * 1e3, "ms", None, "")
    together = _measure(root, action, count, processes=PROCESSES)
    what = f"{what}: {PROCESSES} processes"
    yield Figure(f"{what}, median", together.median * 1e3, "ms", None, "")
    yield Figure(f"{what}, 99th percentile", together.p99 * 1e3, "ms", TARGET_WAIT_MS, "")
    target = None if action is _append else 1e6 / TARGET_LOADS_A_SECOND
    yield Figure(f"{what}, time for each", 1e6 / together.rate, "us", target, _rate(together))


def _rate(waits: Waits) -> str:
    return f"{waits.rate:,.0f} a second"


def _measure(root: Path, action: Action, count: int, *, processes: int) -> Waits:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=_work, args=(root, action, count, barrier, results))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    elapsed = max(ended for _, ended, _ in found) - min(began for began, _, _ in found)
    return Waits(sorted(took for *_, waits in found for took in waits), elapsed)


def _work(root: Path, action: Action, count: int, barrier: Any, results: Any) -> None:
    with Repository.open(root, keyring=Keyring.of([_KEY])) as repository:
        for _ in range(20):
            action(repository)
        barrier.wait()
        waits = []
        first = time.monotonic()
        for _ in range(count):
            began = time.perf_counter()
            action(repository)
            waits.append(time.perf_counter() - began)
        results.put((first, time.monotonic(), waits))


def _append(repository: Repository) -> None:
    repository.access_log.grant("load", _REQUEST, _ARTIFACT, actor="bench", context="bench")


def _load(repository: Repository) -> None:
    repository.load("bench", actor="bench", context="bench")
