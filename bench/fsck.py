"""fsck against what all cores can do: both digests of the same files, and nothing else."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from bench.figures import Figure
from bench.timing import Contestant, race
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.upkeep.fsck import fsck

TARGET_RATIO = 1.25
"""Seconds for each second of plain hashing: at least 80 % of its speed."""
_RAW_CHUNK_BYTES = 1 << 20
_MIB = 1 << 20


@dataclass(frozen=True)
class Load:
    """What is checked.

    Attributes:
        what: for the report.
        payloads: how many.
        size: bytes of each.
        target: as ``Figure.target``.
    """

    what: str
    payloads: int
    size: int
    target: float | None


LOADS = (
    Load("fsck: 16 payloads of 64 MiB", 16, 64 * _MIB, TARGET_RATIO),
    Load("fsck: 512 payloads of 2 MiB, statements included", 512, 2 * _MIB, None),
    Load("fsck: 2,000 payloads of 64 KiB, most of it statements", 2_000, _MIB // 16, None),
)


def figures() -> Iterator[Figure]:
    """The whole of fsck, in seconds for each second that hashing the same files takes."""
    for load in LOADS:
        with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
            yield _figure(Path(folder), load)


def _figure(folder: Path, load: Load) -> Figure:
    root = folder / "repository"
    settings = replace(Settings.from_environment({}), path=root, trust_folder=folder / "trust")
    keyring = Keyring.of([new_key(HmacSha256.generate())])
    with Repository.create(root, keyring=keyring, settings=settings) as repository:
        for number in range(load.payloads):
            repository.store(os.urandom(load.size), f"model {number % 50}", f"{number}")
    files = [path for path in (root / "objects").rglob("*") if path.is_file()]
    assert len(files) == load.payloads
    size = sum(path.stat().st_size for path in files)

    def check() -> None:
        report = fsck(settings, keyring=keyring)
        assert report.findings == []
        assert report.hashed_bytes == size

    ran = race(
        {"fsck": Contestant(check), "hashing": Contestant(lambda: hash_plainly(files))},
        budget=20.0,
    )
    fast, plain = (size / ran.times[name].median / 1e6 for name in ("fsck", "hashing"))
    detail = f"{fast:.0f} MB/s, plain hashing {plain:.0f} MB/s: {fast / plain:.0%}"
    return Figure(load.what, ran.ratio("fsck", "hashing"), "x", load.target, detail)


def hash_plainly(files: list[Path]) -> None:
    """Both digests of each file, on all cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for digests in pool.map(_digests, files):
            assert len(digests[0]) == len(digests[1])


def _digests(path: Path) -> tuple[str, str]:
    sha256, fast = hashlib.sha256(), blake3()
    buffer = memoryview(bytearray(_RAW_CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            sha256.update(buffer[:count])
            fast.update(buffer[:count])
    return sha256.hexdigest(), fast.hexdigest()
