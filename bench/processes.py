"""Eight processes at once, on two cores: appends to the access log, recorded loads, stores."""

from __future__ import annotations

import multiprocessing
import os
import queue
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Figure
from bench.keeping import NAME, new_repository, settings_in
from bench.timing import runs_of
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.keys.keyring import Keyring
from sealstore.ledger.entries import AccessRequest, EntryArtifact
from sealstore.repository.access_log.log import Event
from sealstore.repository.facade import Repository

PROCESSES = 8
CORES = 2
WARM_UP = 5
"""Calls of each process that do not count."""
TARGET_APPEND_US = 200.0
TARGET_WAIT_MS = 250.0

_KEY = new_key(HmacSha256(bytes(range(32))))
_REQUEST = AccessRequest(name=NAME, tag="latest", revision=None)
_ARTIFACT = EntryArtifact(
    name=NAME,
    tag="1",
    revision=1,
    sha256="5a" * 32,
    statement="57" * 32,
    key_id=_KEY.key_id,
)

Act = Callable[[int], object]
"""Given a number that no other call gets."""
Start = Callable[[Path], AbstractContextManager[Act]]
"""What a process does first, in the folder that all share; it crosses to them by its name."""


@dataclass(frozen=True)
class Task:
    """What the processes do.

    Attributes:
        what: in the report.
        start: what leads to one call of it.
        count: calls of each process.
        alone_us: target of one call's median in one process, microseconds.
        rate: target of all processes together, calls a second.
        place: of the rate in the table.
    """

    what: str
    start: Start
    count: int
    alone_us: float | None = None
    rate: float | None = None
    place: tuple[str, str] | None = None


@dataclass(frozen=True)
class Waits:
    """What each of many calls took, and all of them together.

    Attributes:
        each: seconds, sorted.
        elapsed: seconds from the first call's begin to the last one's end.
        cpu: seconds of the processors, of all processes.
    """

    each: list[float]
    elapsed: float
    cpu: float

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

    @property
    def detail(self) -> str:
        """What lies behind the rate; what the processors allow others on the machine move less."""
        cpu = self.cpu / len(self.each)
        return (
            f"{len(self.each):,} calls in {self.elapsed:.1f} s; {cpu * 1e6:,.0f} us of CPU each:"
            f" {CORES} cores allow {CORES / cpu:,.0f} a second"
        )


def _opened(folder: Path) -> Repository:
    settings = settings_in(folder)
    return Repository.open(settings.path, keyring=Keyring.of([_KEY]), settings=settings)


@contextmanager
def _appending(folder: Path) -> Iterator[Act]:
    with _opened(folder) as repository:
        log = repository.access_log
        event = Event("load", "granted", _REQUEST, _ARTIFACT, actor="bench", context="bench")
        yield lambda _: log.record(event)


@contextmanager
def _loading(folder: Path) -> Iterator[Act]:
    with _opened(folder) as repository:
        yield lambda _: repository.load(NAME, actor="bench", context="bench")


@contextmanager
def _storing(folder: Path) -> Iterator[Act]:
    with _opened(folder) as repository:
        # Different objects: one that is there already would not be written again.
        yield lambda number: repository.store([0.5] * 20 + [number], "stored", str(number))


TASKS = (
    Task("append to the access log", _appending, 2_000, alone_us=TARGET_APPEND_US),
    Task("recorded load", _loading, 1_000, rate=2_000, place=("recorded loads", "load")),
    Task("small store", _storing, 60, rate=300, place=("small stores", "store")),
)


def figures() -> Iterator[Figure]:
    """Each task by one process, and by eight at the same time."""
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        here = Path(folder)
        with new_repository(here, _KEY) as repository:
            repository.store([0.5] * 20, NAME, "1")
        for task in TASKS:
            yield from _figures(here, task)


def _figures(folder: Path, task: Task) -> Iterator[Figure]:
    alone = measure(folder, task.start, runs_of(task.count), processes=1)
    what, detail = f"{task.what}: 1 process", f"{alone.rate:,.0f} a second"
    yield Figure(f"{what}, median", alone.median * 1e6, "us", task.alone_us, detail)
    yield Figure(f"{what}, 99th percentile", alone.p99 * 1e3, "ms", None, "")
    together = measure(folder, task.start, runs_of(task.count), processes=PROCESSES)
    what = f"{task.what}: {PROCESSES} processes"
    yield Figure(f"{what}, median", together.median * 1e3, "ms", None, "")
    wait = TARGET_WAIT_MS if task.start is not _storing else None
    yield Figure(f"{what}, 99th percentile", together.p99 * 1e3, "ms", wait, "")
    place = None
    if task.place is not None:
        row, column = task.place
        place = (f"{PROCESSES} processes on {CORES} cores, {row}", column)
    yield Figure(
        f"{what}, together",
        together.rate,
        "/s",
        task.rate,
        together.detail,
        is_at_least=True,
        place=place,
    )


def measure(folder: Path, start: Start, count: int, *, processes: int) -> Waits:
    """What ``count`` calls by each of so many processes take, all on the same two cores."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    # No number twice, in later runs neither.
    first = [time.time_ns() + i * 10**6 for i in range(processes)]
    workers = [
        context.Process(target=_work, args=(folder, start, count, number, barrier, results))
        for number in first
    ]
    for worker in workers:
        worker.start()
    found: list[Any] = []
    while len(found) < processes:
        try:
            found.append(results.get(timeout=1))
        except queue.Empty:
            if any(worker.exitcode for worker in workers):
                for worker in workers:
                    worker.terminate()
                raise RuntimeError("a process of the measurement has died") from None
    for worker in workers:
        worker.join()
    elapsed = max(ended for _, ended, _, _ in found) - min(began for began, *_ in found)
    cpu = sum(cpu for _, _, cpu, _ in found)
    return Waits(sorted(took for *_, waits in found for took in waits), elapsed, cpu)


def _work(folder: Path, start: Start, count: int, first: int, barrier: Any, results: Any) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    numbers = iter(range(first, first + 10**6))
    with start(folder) as act:
        for _ in range(WARM_UP):
            act(next(numbers))
        barrier.wait()
        waits = []
        began_all, began_cpu = time.monotonic(), time.process_time()
        for _ in range(count):
            number = next(numbers)
            began = time.perf_counter()
            act(number)
            waits.append(time.perf_counter() - began)
        cpu = time.process_time() - began_cpu
        results.put((began_all, time.monotonic(), cpu, waits))
