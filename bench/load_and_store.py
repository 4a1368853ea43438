"""Storing and loading, everything included, against plain joblib on the same file system."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib

from bench import objects
from bench.objects import MIB
from bench.timing import Comparison, Figure, compare
from sealstore.formats.pickling.inspection import imports_to_sign, inspect_memory
from sealstore.formats.pickling.reader import SignedImports, load_object
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.keyring import Keyring, new_key
from sealstore.repository.facade import Repository
from sealstore.storage.blobs.payload_hash import DigestName


@dataclass(frozen=True)
class Case:
    """One object and what its figures should be at most, as ratios against joblib.

    Attributes:
        name: of the object.
        make: makes it.
        load, store: the targets; None where nothing is promised.
        load_ms: target of the whole load in milliseconds.
        is_large: whether it is an array that fills memory: its peak is measured, and to inspect it
            and to load it from memory are both next to nothing.
    """

    name: str
    make: Callable[[], object]
    load: float | None = None
    store: float | None = None
    load_ms: float | None = None
    is_large: bool = False


CASES = (
    Case("linear model", objects.linear_model, load_ms=0.8),
    Case("HistGradientBoosting, 200 iterations", objects.boosting, load=0.4, store=0.8),
    Case("RandomForest, 100 trees", objects.forest, load=0.6, store=1.3),
    Case("DataFrame, 100,000 rows with an object column", objects.frame, load=0.1),
    Case("dict of 200,000 floats", objects.floats, load=0.15, store=0.4),
    Case("20,000 small arrays", objects.small_arrays, load=0.3, store=0.8),
    Case("array of 256 MB", objects.array(256), load=1.1, store=1.4, is_large=True),
    Case("array of 1 GB", objects.array(1024), load=1.1, store=1.4, is_large=True),
)
INSPECTION = 1.5
"""At most, for each second that loading the same payload takes."""
PEAK_MEMORY = 1.1
"""At most, for each byte of a large payload."""


def figures(*, only: str = "") -> Iterator[Figure]:
    """Measure every case whose name contains ``only``."""
    keyring = Keyring.of([new_key(HmacSha256.generate())])
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        here = Path(folder)
        with Repository.create(here / "repository", keyring=keyring) as repository:
            settings = dataclasses.replace(repository.settings, digest=DigestName.SHA256)
            with Repository.open(repository.root, keyring=keyring, settings=settings) as checked:
                for case in CASES:
                    if only in case.name:
                        yield from _measure(case, here, repository, checked)


def _measure(
    case: Case, here: Path, repository: Repository, by_sha256: Repository
) -> Iterator[Figure]:
    obj = case.make()
    plain = here / "plain.joblib"

    def store_plain() -> None:
        with plain.open("wb") as file:
            joblib.dump(obj, file)
            file.flush()
            os.fsync(file.fileno())

    counter = iter(range(1_000_000))

    def store_ours() -> None:
        # A fresh tag each time; the same payload would not be written again.
        for payload in _repository_payloads(here):
            payload.unlink()
        repository.store(obj, "bench", f"run-{next(counter)}")

    stored = compare(store_ours, store_plain)
    yield _ratio(f"store: {case.name}", stored, case.store)
    loaded = compare(lambda: repository.load("bench"), lambda: joblib.load(plain))
    yield _ratio(f"load: {case.name}", loaded, case.load)
    if case.load_ms is not None:
        yield Figure(f"load: {case.name}", loaded.ours * 1e3, "ms", case.load_ms, "in all")
    loaded = compare(lambda: by_sha256.load("bench"), lambda: joblib.load(plain), budget=3)
    yield _ratio(f"load, SHA-256: {case.name}", loaded, None)
    yield from _inspection(case, here)
    if case.is_large:
        yield _peak_memory(case, repository)
    for payload in _repository_payloads(here):
        payload.unlink()


def _inspection(case: Case, here: Path) -> Iterator[Figure]:
    [payload] = _repository_payloads(here)
    memory = memoryview(bytearray(payload.read_bytes()))
    signed = SignedImports(entry.name for entry in imports_to_sign(inspect_memory(memory)))
    inspected = compare(
        lambda: inspect_memory(memory),
        lambda: load_object(memory, find_class=signed.resolve),
        budget=3,
    )
    target = None if case.is_large else INSPECTION
    yield _ratio(f"inspection to loading: {case.name}", inspected, target)


def _peak_memory(case: Case, repository: Repository) -> Figure:
    size = repository.get("bench").size
    # Resets the peak to what is resident now (man 5 proc, clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    loaded = repository.load("bench")
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


def _ratio(what: str, measured: Comparison, target: float | None) -> Figure:
    return Figure(what, measured.ratio, "x", target, measured.detail)


def _repository_payloads(here: Path) -> Iterator[Path]:
    return (path for path in (here / "repository" / "objects").glob("*/*") if path.is_file())
