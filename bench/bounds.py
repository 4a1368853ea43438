"""What bounds the figures on this machine: writing, hashing and the C unpickler, each alone."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import joblib
from blake3 import blake3

from bench import objects
from bench.objects import MIB
from bench.timing import Figure, compare
from sealstore.formats.pickling.inspection import imports_to_sign, inspect_memory
from sealstore.formats.pickling.reader import SignedImports, load_object

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

    yield from _unpickling()


def _unpickling() -> Iterator[Figure]:
    for what, make in (
        ("dict", objects.floats),
        ("DataFrame", objects.frame),
        ("HistGradientBoosting", objects.boosting),
    ):
        file = BytesIO()
        joblib.dump(make(), file)
        content, plain = file.getvalue(), pickle.dumps(joblib.load(BytesIO(file.getvalue())), 5)
        memory = memoryview(bytearray(content))
        signed = SignedImports(entry.name for entry in imports_to_sign(inspect_memory(memory)))
        whole = partial(_load_again, content)
        yield _step(f"load, {what}: pickle.loads alone", partial(pickle.loads, plain), whole)
        engine = partial(load_object, memory, find_class=signed.resolve)
        yield _step(f"load, {what}: the engine alone", engine, whole)


def _load_again(content: bytes) -> object:
    return joblib.load(BytesIO(content))


def _load(path: Path) -> Callable[[], object]:
    return lambda: joblib.load(path)


def _step(what: str, step: Callable[[], object], whole: Callable[[], object]) -> Figure:
    took = compare(step, whole, budget=4)
    return Figure(what, took.ratio, "x", None, took.detail)
