"""What bounds the figures of large arrays on this machine: writing, syncing and hashing alone."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import joblib
from blake3 import blake3

from bench import objects
from bench.objects import MIB
from bench.timing import Figure, compare

CHUNK_BYTES = 4 * MIB


def figures() -> Iterator[Figure]:
    """Each step alone, as a ratio to the whole ``joblib.dump`` with fsync, or ``joblib.load``."""
    array = objects.array(256)()
    octets = memoryview(array).cast("B")  # type: ignore[arg-type] # an array, as objects makes it
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        plain, bare = Path(folder, "plain.joblib"), Path(folder, "bare")

        def dump() -> None:
            with plain.open("wb") as file:
                joblib.dump(array, file)
                file.flush()
                os.fsync(file.fileno())

        def write() -> None:
            with bare.open("wb", buffering=0) as file:
                for start in range(0, len(octets), CHUNK_BYTES):
                    file.write(octets[start : start + CHUNK_BYTES])
                os.fsync(file.fileno())

        yield _step("store, 256 MB: write and fsync alone", write, dump)
        yield _step("store, 256 MB: SHA-256 alone", lambda: hashlib.sha256(octets).digest(), dump)
        yield _step("store, 256 MB: BLAKE3 alone", lambda: blake3(octets).digest(), dump)
        yield _step("load, 256 MB: BLAKE3 alone", lambda: blake3(octets).digest(), _load(plain))
        threads = blake3(max_threads=2)
        yield _step(
            "load, 256 MB: BLAKE3, two threads", lambda: threads.update(octets), _load(plain)
        )
        yield _step(
            "load, 256 MB: SHA-256 alone", lambda: hashlib.sha256(octets).digest(), _load(plain)
        )


def _load(path: Path) -> Callable[[], object]:
    return lambda: joblib.load(path)


def _step(what: str, step: Callable[[], object], whole: Callable[[], object]) -> Figure:
    took = compare(step, whole, budget=4)
    return Figure(what, took.ratio, "x", None, took.detail)
