"""Look-ups in catalogues of 1, 10,000 and 1,000,000 artifacts."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import insert

from bench.timing import Figure, median_seconds
from sealstore.catalogue import ListFilter
from sealstore.catalogue.tables import artifact
from sealstore.keys import HmacSha256, Keyring
from sealstore.keys.keyring import new_key
from sealstore.repository import Repository

SIZES = (1, 10_000, 1_000_000)
TARGET_RATIO = 1.5
_REAL = 100
_BATCH = 50_000


def figures() -> Iterator[Figure]:
    """The latency of a verified look-up at each size, and the largest against the middle one."""
    took = {}
    for size in SIZES:
        took[size] = _median(size)
        yield Figure(f"look-up among {size:,} artifacts", took[size] * 1e6, "us", None, "")
    ratio = took[SIZES[2]] / took[SIZES[1]]
    yield Figure(
        f"look-up: {SIZES[2]:,} against {SIZES[1]:,}",
        ratio,
        "x",
        TARGET_RATIO,
        "verified statement",
    )


def _median(size: int) -> float:
    keyring = Keyring.of([new_key(HmacSha256.generate())])
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        root = Path(folder) / "repository"
        with Repository.create(root, keyring=keyring) as repository:
            real = min(size, _REAL)
            for i in range(real):
                repository.store(i, f"real {i}", "1")
            _fill(repository, size - real)
            names = [f"real {i}" for i in range(real)]
            random.Random(1).shuffle(names)  # noqa: S311 (an order, not a secret)
            order = iter(names * 100)
            return median_seconds(lambda: repository.get(next(order), "1"), runs=real * 50)


def _fill(repository: Repository, rows: int) -> None:
    """Add rows of the size of real ones; none of them is ever loaded."""
    [template] = repository.catalogue.list_rows(ListFilter(), limit=1)
    for begin in range(0, rows, _BATCH):
        with repository.catalogue.engine.execution_options(sealstore_write=True).begin() as batch:
            batch.execute(
                insert(artifact),
                [
                    asdict(template)
                    | {"sequence": 1_000 + i, "name": f"model {i % 5_000}", "tag": f"{i}"}
                    for i in range(begin, min(begin + _BATCH, rows))
                ],
            )
