"""Storing and loading, everything included, against joblib with fsync on the same file system.

Where MLflow is installed it is measured in the same races, as it is: without fsync.
"""

from __future__ import annotations

import dataclasses
import gc
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import objects
from bench.figures import Figure
from bench.keeping import (
    MLFLOW,
    NAME,
    SEALSTORE,
    SYNCED_JOBLIB,
    Kept,
    kept_in,
    new_repository,
    payloads,
)
from bench.objects import MIB
from bench.timing import Contestant, Race, Times, compare, race, repeated
from sealstore.formats.pickling.inspection import imports_to_sign, inspect_memory
from sealstore.formats.pickling.reader import SignedImports, load_object
from sealstore.repository.facade import Repository
from sealstore.storage.blobs.payload_hash import DigestName


@dataclass(frozen=True)
class Case:
    """One object and what its figures should be at most, as ratios against joblib.

    Attributes:
        name: of the object.
        make: makes it.
        load, store: the targets; None where nothing is promised.
        load_to_mlflow: the target of a load as a ratio against MLflow's.
        is_large: whether it is an array that fills memory: its peak is measured, and to inspect it
            and to load it from memory are both next to nothing.
    """

    name: str
    make: Callable[[], object]
    load: float | None = None
    store: float | None = None
    load_to_mlflow: float | None = None
    is_large: bool = False


CASES = (
    Case("HistGradientBoosting, 200 iterations", objects.boosting, 0.15, 0.40, 1.0),
    Case("RandomForest, 100 trees", objects.forest, 0.35, 1.0, 1.0),
    Case("DataFrame, 100,000 rows with an object column", objects.frame, 0.08, 1.4),
    Case("dict of 200,000 floats", objects.floats, 0.15, 0.15),
    Case("20,000 small arrays", objects.small_arrays, 0.06, 0.17),
    Case("array of 256 MB", objects.array(256), 1.1, 1.2, is_large=True),
    Case("array of 1 GB", objects.array(1024), 1.1, 1.2, is_large=True),
)
INSPECTION = 1.5
"""At most, for each second that loading the same payload takes."""
PEAK_MEMORY = 1.1
"""At most, for each byte of a large payload."""

LINEAR = "linear model, in all"
LOAD_MS, LOAD_AFTER_COLLECTION_MS, STORE_MS = 0.5, 1.5, 4.0
STORE_TO_MLFLOW = 1.0
BY_SHA256 = "sealstore, SHA-256"


def figures(*, only: str = "") -> Iterator[Figure]:
    """Measure every case whose name contains ``only``."""
    if not MLFLOW.is_installed:
        print("MLflow is not installed here (pip install mlflow-skinny): not compared with it")
    for case in CASES:
        if only in case.name:
            with _beside(case.make()) as beside:
                yield from _measure(case, beside)
    if only in LINEAR:
        with _beside(objects.linear_model()) as beside:
            yield from _small(beside)


class _Beside:
    """One object, kept by sealstore, by joblib, and by MLflow where it is installed."""

    def __init__(self, obj: object) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sealstore-bench-")
        here = Path(self._folder.name)
        self.repository = new_repository(here)
        self.kept: dict[str, Kept] = {SEALSTORE.name: kept_in(self.repository, obj)}
        for way in (SYNCED_JOBLIB, *([MLFLOW] if MLFLOW.is_installed else [])):
            place = here / way.name
            place.mkdir()
            self.kept[way.name] = way.keep(place, obj)

    def __enter__(self) -> _Beside:
        return self

    def __exit__(self, *_: object) -> None:
        for kept in self.kept.values():
            kept.close()
        self._folder.cleanup()

    @property
    def storing(self) -> dict[str, Contestant]:
        return {name: kept.storing for name, kept in self.kept.items()}

    @property
    def loading(self) -> dict[str, Contestant]:
        return {name: kept.loading for name, kept in self.kept.items()}


def _beside(obj: object) -> _Beside:
    return _Beside(obj)


def _measure(case: Case, beside: _Beside) -> Iterator[Figure]:
    repository = beside.repository
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice
        stored = race(beside.storing)
        settings = dataclasses.replace(repository.settings, digest=DigestName.SHA256)
        keyring = repository.keyring
        with Repository.open(repository.root, keyring=keyring, settings=settings) as by_sha256:
            sha256 = {BY_SHA256: Contestant(lambda: by_sha256.load(NAME))}
            loaded = race({**beside.loading, **sha256})
    yield from _ratios("load", case.name, loaded, case.load, case.load_to_mlflow)
    yield from _ratios("store", case.name, stored, case.store, None)
    yield Figure(
        f"load, SHA-256: {case.name}",
        loaded.ratio(BY_SHA256, SYNCED_JOBLIB.name),
        "x",
        None,
        loaded.detail(BY_SHA256, SYNCED_JOBLIB.name),
    )
    yield _inspection(case, repository)
    if case.is_large:
        yield _peak_memory(case, repository)


def _ratios(
    act: str, name: str, ran: Race, target: float | None, to_mlflow: float | None
) -> Iterator[Figure]:
    for other, column, wanted in (
        (SYNCED_JOBLIB.name, act, target),
        (MLFLOW.name, f"{act}, to MLflow", to_mlflow),
    ):
        if other in ran.times:
            ratio, detail = ran.ratio(SEALSTORE.name, other), ran.detail(SEALSTORE.name, other)
            what = f"{column}: {name}"
            yield Figure(what, ratio, "x", wanted, detail, place=(name, column))


def _small(beside: _Beside) -> Iterator[Figure]:
    """A model of 1 KB: what a load and a store take whatever the object is, in milliseconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice
        # Not collected in between: a service that stores does not do that, either.
        stored = race(beside.storing, collect=False)
        loaded = race(beside.loading, collect=False)
    for act, ran, target, to_mlflow in (
        ("load", loaded, LOAD_MS, None),
        ("store", stored, STORE_MS, STORE_TO_MLFLOW),
    ):
        yield from _in_all(act, ran, target, to_mlflow)
    kept = beside.kept[SEALSTORE.name]
    warm = repeated(kept.load, runs=500)
    detail = f"one after the other; {_least(warm)}"
    place = (f"{LINEAR}: warm", "load")
    yield Figure(f"load: {LINEAR}, warm", warm.median * 1e3, "ms", LOAD_MS, detail, place=place)
    cold = repeated(kept.load, runs=100, prepare=gc.collect)
    detail = f"gc.collect() before each; {_least(cold)}"
    what = f"load: {LINEAR}, after a garbage collection"
    place = (f"{LINEAR}: after a garbage collection", "load")
    target = LOAD_AFTER_COLLECTION_MS
    yield Figure(what, cold.median * 1e3, "ms", target, detail, place=place)


def _in_all(act: str, ran: Race, target: float, to_mlflow: float | None) -> Iterator[Figure]:
    row = f"{LINEAR}: warm"
    ours = ran.times[SEALSTORE.name]
    others = ", ".join(
        f"{name} {times.median * 1e3:.2f} ms"
        for name, times in ran.times.items()
        if name != SEALSTORE.name
    )
    detail = f"in turn with {others}; {_least(ours)}"
    place = (row, act) if act == "store" else None
    what = f"{act}: {LINEAR}, in turn with others"
    yield Figure(what, ours.median * 1e3, "ms", target, detail, place=place)
    if MLFLOW.name in ran.times:
        column = f"{act}, to MLflow"
        ratio, detail = (
            ran.ratio(SEALSTORE.name, MLFLOW.name),
            ran.detail(SEALSTORE.name, MLFLOW.name),
        )
        yield Figure(f"{column}: {LINEAR}", ratio, "x", to_mlflow, detail, place=(row, column))


def _least(times: Times) -> str:
    cpu = statistics.median(times.cpu) * 1e3
    return f"quickest {times.quickest * 1e3:.2f} ms, CPU {cpu:.2f} ms"


def _inspection(case: Case, repository: Repository) -> Figure:
    [payload] = payloads(repository)
    memory = memoryview(bytearray(payload.read_bytes()))
    signed = SignedImports(entry.name for entry in imports_to_sign(inspect_memory(memory)))
    ratio, detail = compare(
        lambda: inspect_memory(memory),
        lambda: load_object(memory, find_class=signed.resolve),
        budget=3,
    )
    target = None if case.is_large else INSPECTION
    return Figure(f"inspection to loading: {case.name}", ratio, "x", target, detail)


def _peak_memory(case: Case, repository: Repository) -> Figure:
    size = repository.get(NAME).size
    # Resets the peak to what is resident now (man 5 proc, clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    loaded = repository.load(NAME)
    peak = _status("VmHWM") - before
    del loaded
    detail = f"{peak / MIB:.0f} MiB for a payload of {size / MIB:.0f} MiB"
    return Figure(f"peak memory of a load: {case.name}", peak / size, "x", PEAK_MEMORY, detail)


def _status(key: str) -> int:
    """Bytes that ``/proc/self/status`` shows under ``key``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(key)
