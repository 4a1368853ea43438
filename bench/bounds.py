"""What bounds the figures on this machine: each step alone, with nothing of sealstore around it.

A target that a row of ``load-and-store``, ``new-process`` or ``processes`` misses is held against
these: what the C unpickler, the hashes, the disk and the imports of others take is not ours to
save.
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import joblib
from blake3 import blake3

from bench import new_process, objects, processes
from bench.bare import loading, prepare, storing, write_synced
from bench.figures import Figure
from bench.keeping import dump_synced
from bench.timing import Action, compare, runs_of
from sealstore.formats.pickling.inspection import imports_to_sign, inspect_memory
from sealstore.formats.pickling.reader import SignedImports, load_object

OBJECTS: dict[str, Callable[[], object]] = {
    "HistGradientBoosting": objects.boosting,
    "RandomForest": objects.forest,
    "DataFrame": objects.frame,
    "dict": objects.floats,
    "small arrays": objects.small_arrays,
}


def figures() -> Iterator[Figure]:
    """Each step alone, as a ratio to the whole ``joblib.dump`` with fsync, or ``joblib.load``."""
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        here = Path(folder)
        yield from _large(here)
        for what, make in OBJECTS.items():
            yield from _pickling(what, make(), here)
        yield from _small(here)
    yield from _importing()


# ── large arrays: the disk and the hashes ────────────────────────────────────


def _large(here: Path) -> Iterator[Figure]:
    array = objects.array(256)()
    octets = memoryview(array).cast("B")  # type: ignore[arg-type] # an array, as objects makes it
    plain, bare = here / "plain.joblib", here / "bare"
    buffer = bytearray(len(octets))
    threads = blake3(max_threads=2)

    def read() -> None:
        with plain.open("rb", buffering=0) as file:
            file.readinto(buffer)

    dump, load = partial(dump_synced, array, plain), partial(joblib.load, plain)
    dump()
    for what, step, whole in (
        ("store, 256 MB: write and fsync alone", partial(write_synced, bare, octets), dump),
        ("store, 256 MB: SHA-256 alone", lambda: hashlib.sha256(octets).digest(), dump),
        ("store, 256 MB: BLAKE3 alone", lambda: blake3(octets).digest(), dump),
        ("load, 256 MB: reading alone", read, load),
        ("load, 256 MB: BLAKE3 alone", lambda: blake3(octets).digest(), load),
        ("load, 256 MB: BLAKE3, two threads", lambda: threads.update(octets), load),
        ("load, 256 MB: SHA-256 alone", lambda: hashlib.sha256(octets).digest(), load),
    ):
        yield _step(what, step, whole)


# ── the pickler, the unpickler, and this project's engine ────────────────────


def _pickling(what: str, obj: object, here: Path) -> Iterator[Figure]:
    path, bare = here / "plain.joblib", here / "bare"
    file = BytesIO()
    joblib.dump(obj, file)
    content, plain = file.getvalue(), pickle.dumps(obj, 5)
    memory = memoryview(bytearray(content))
    signed = SignedImports(entry.name for entry in imports_to_sign(inspect_memory(memory)))

    def load_again() -> object:
        return joblib.load(BytesIO(content))

    for step_name, step in (
        ("pickle.loads alone", partial(pickle.loads, plain)),
        ("BLAKE3 alone", lambda: blake3(plain).digest()),
        ("the engine alone", partial(load_object, memory, find_class=signed.resolve)),
    ):
        yield _step(f"load, {what}: {step_name}", step, load_again)
    dump = partial(dump_synced, obj, path)
    for step_name, step in (
        ("pickle.dumps alone", partial(pickle.dumps, obj, 5)),
        ("write and fsync alone", partial(write_synced, bare, plain)),
        ("both digests alone", lambda: hashlib.sha256(plain).digest() + blake3(plain).digest()),
        ("its inspection alone", partial(inspect_memory, memory)),
    ):
        yield _step(f"store, {what}: {step_name}", step, dump)


def _step(what: str, step: Action, whole: Action) -> Figure:
    ratio, detail = compare(step, whole, budget=3)
    return Figure(what, ratio, "x", None, detail)


# ── small loads and stores: what the invariants ask of disk and database ─────


def _small(here: Path) -> Iterator[Figure]:
    for what, start, count in (
        ("small load: read it, hash it, unpickle it, and a commit", loading, 1_000),
        ("small store: a payload synced, and a synced commit", storing, 60),
    ):
        folder = here / start.__name__
        folder.mkdir()
        prepare(folder)
        alone = processes.measure(folder, start, runs_of(count), processes=1).median
        yield Figure(f"{what}: 1 process", alone * 1e3, "ms", None, "")
        together = processes.measure(folder, start, runs_of(count), processes=processes.PROCESSES)
        yield Figure(
            f"{what}: {processes.PROCESSES} processes together",
            together.rate,
            "/s",
            None,
            f"median {together.median * 1e3:.1f} ms; {together.detail}",
        )


# ── a new process: what others' modules take ─────────────────────────────────

IMPORTS = {
    "msgspec, blake3 and sqlite3 as well": "import msgspec, blake3, sqlite3",
    "cryptography as well": "from cryptography.hazmat.primitives.asymmetric import ed25519",
    "platformdirs as well": "import platformdirs",
    "SQLAlchemy as well": "import sqlalchemy",
    "all of these": "import msgspec, blake3, sqlite3, platformdirs, sqlalchemy\n"
    "from cryptography.hazmat.primitives.asymmetric import ed25519",
}


def _importing() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        plain = str(Path(folder, "plain.joblib"))
        joblib.dump(objects.linear_model(), plain)
        by_joblib = new_process.BY_JOBLIB
        programs = {"joblib": ["-c", by_joblib, plain]} | {
            what: ["-c", f"{by_joblib}\n{statement}", plain] for what, statement in IMPORTS.items()
        }
        used = new_process.run(programs, {})
    whole = used["joblib"].cpu
    for what in IMPORTS:
        more = (used[what].cpu.median - whole.median) * 1e3
        ratio = used[what].cpu.median / whole.median
        yield Figure(f"a new process: {what}", ratio, "x", None, f"{more:.0f} ms of CPU more")
