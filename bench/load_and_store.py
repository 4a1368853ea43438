"""Storing and loading, everything included, against plain joblib on the same file system."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib

from bench import objects
from bench.timing import Figure, compare
from sealstore.keys import HmacSha256, Keyring
from sealstore.keys.keyring import new_key
from sealstore.repository import Repository


@dataclass(frozen=True)
class Case:
    """One object and what its figures should be at most, as ratios against joblib.

    Attributes:
        name: of the object.
        make: makes it.
        load, store: the targets; None where nothing is promised.
        load_ms: target of the whole load in milliseconds.
    """

    name: str
    make: Callable[[], object]
    load: float | None = None
    store: float | None = None
    load_ms: float | None = None


CASES = (
    Case("linear model", objects.linear_model, load_ms=0.8),
    Case("HistGradientBoosting, 200 iterations", objects.boosting),
    Case("RandomForest, 100 trees", objects.forest),
    Case("DataFrame, 100,000 rows with an object column", objects.frame),
    Case("dict of 200,000 floats", objects.floats),
    Case("20,000 small arrays", objects.small_arrays),
    Case("array of 256 MB", objects.array(256), load=1.5),
)


def figures(*, only: str = "") -> Iterator[Figure]:
    """Measure every case whose name contains ``only``."""
    keyring = Keyring.of([new_key(HmacSha256.generate())])
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        here = Path(folder)
        with Repository.create(here / "repository", keyring=keyring) as repository:
            for case in CASES:
                if only in case.name:
                    yield from _measure(case, here, repository)


def _measure(case: Case, here: Path, repository: Repository) -> Iterator[Figure]:
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
        payload = next(_repository_payloads(here), None)
        if payload is not None:
            payload.unlink()
        repository.store(obj, "bench", f"run-{next(counter)}")

    stored = compare(store_ours, store_plain)
    detail = f"{stored.ours * 1e3:.2f} ms against {stored.peer * 1e3:.2f} ms"
    yield Figure(f"store: {case.name}", stored.ratio, "x", case.store, detail)

    loaded = compare(lambda: repository.load("bench"), lambda: joblib.load(plain))
    detail = f"{loaded.ours * 1e3:.2f} ms against {loaded.peer * 1e3:.2f} ms"
    yield Figure(f"load: {case.name}", loaded.ratio, "x", case.load, detail)
    if case.load_ms is not None:
        yield Figure(f"load: {case.name}", loaded.ours * 1e3, "ms", case.load_ms, "in all")
    for payload in _repository_payloads(here):
        payload.unlink()


def _repository_payloads(here: Path) -> Iterator[Path]:
    return (path for path in (here / "repository" / "objects").glob("*/*") if path.is_file())
