"""What a small load and a small store ask of disk and database, with nothing of sealstore in it.

A module of its own: each of the processes that do this imports it, and little else.
"""

from __future__ import annotations

import fcntl
import hmac
import io
import os
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from blake3 import blake3

CHUNK_BYTES = 4 * 1024 * 1024
SMALL = pickle.dumps([0.5] * 20)
ROWS = 29
"""Statements of the transaction of a small store: entry, artifact, head, map and tree."""


def write_synced(path: Path, octets: memoryview | bytes) -> None:
    """A file of these bytes that survives power loss, but for its name."""
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(octets), CHUNK_BYTES):
            file.write(octets[start : start + CHUNK_BYTES])
        os.fsync(file.fileno())


def prepare(folder: Path) -> None:
    """A payload and a database in ``folder``."""
    (folder / "payload").write_bytes(SMALL)
    with closing(_database(folder, "NORMAL")) as database:
        database.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text BLOB)")
        database.execute("CREATE TABLE head (id INTEGER PRIMARY KEY, text BLOB)")
        database.execute("INSERT INTO head VALUES (1, x'00')")


def _database(folder: Path, synchronous: str) -> sqlite3.Connection:
    database = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None, timeout=60)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(f"PRAGMA synchronous={synchronous}")
    return database


def _commit(folder: Path, database: sqlite3.Connection, number: int, rows: int) -> None:
    # Writers queue on a lock: SQLite's own waiting would let them sleep while nobody writes.
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write_rows(database, number, rows)


def _write_rows(database: sqlite3.Connection, number: int, rows: int) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.execute("SELECT text FROM head").fetchone()
    for _ in range(rows):
        database.execute("INSERT INTO entry (text) VALUES (?)", (b"x" * 600,))
    database.execute("UPDATE head SET text = ?", (b"%d" % number,))
    database.execute("COMMIT")


@contextmanager
def loading(folder: Path) -> Iterator[Callable[[int], object]]:
    """What a recorded load cannot do without: invariants 1 and 5."""
    key = bytes(32)
    with closing(_database(folder, "NORMAL")) as database:

        def load(number: int) -> object:
            database.execute("SELECT text FROM head").fetchone()
            payload = (folder / "payload").read_bytes()
            blake3(payload).digest()
            # Head, statement, and the access log's head: verified, verified, verified and signed.
            for _ in range(4):
                hmac.digest(key, bytes(1_000), "sha256")
            _commit(folder, database, number, rows=2)
            return pickle.load(io.BytesIO(payload))

        yield load


@contextmanager
def storing(folder: Path) -> Iterator[Callable[[int], object]]:
    """What a store cannot do without, by invariant 3: two syncs for the payload, one to commit."""
    kept = folder / "objects"
    kept.mkdir(exist_ok=True)
    descriptor = os.open(kept, os.O_RDONLY)
    with closing(_database(folder, "FULL")) as database:

        def store(number: int) -> None:
            staged = kept / f".{number}"
            write_synced(staged, SMALL)
            staged.rename(kept / str(number))
            os.fsync(descriptor)
            _commit(folder, database, number, rows=ROWS)

        yield store
    os.close(descriptor)
