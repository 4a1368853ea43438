"""Proven look-ups and recorded loads among 1, 1,000, 10,000 and 1,000,000 artifacts."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench.figures import Figure
from bench.keeping import new_repository
from bench.timing import median_seconds
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.ledger.authenticated_map import map_key, positions_of, revision_key
from sealstore.ledger.head import decode_head, seal_head
from sealstore.ledger.map_update import encode_value, update
from sealstore.ledger.map_values import LatestValue, RevisionValue, TagValue
from sealstore.names import LATEST_TAG, Name, Tag
from sealstore.repository.facade import Repository
from sealstore.signed.envelope import read_unverified
from sealstore.storage.catalogue.changing import WriteTransaction
from sealstore.storage.catalogue.listing import ListFilter, list_rows
from sealstore.trust import operating

SIZES = (1, 1_000, 10_000, 1_000_000)
TARGET_RATIO = 1.5
TARGET_LOAD_MS = 1.0
_REAL = 100
_BATCH = 50_000
_NAMES_OF_TEN_MILLION = 10_000_000


@dataclass(frozen=True)
class Latency:
    """Seconds of one call, medians, and the bytes of the map's rows that one proof reads."""

    look_up: float
    load: float
    proof_bytes: float


def figures() -> Iterator[Figure]:
    """The latencies at each size, and the largest against smaller ones."""
    found: dict[int, Latency] = {}
    for size in SIZES:
        found[size] = each = _measure(size)
        detail = f"{each.proof_bytes / 1024:.1f} KiB of rows a proof"
        yield Figure(f"look-up among {size:,} artifacts", each.look_up * 1e6, "us", None, detail)
        yield Figure(
            f"recorded load of a small object among {size:,}",
            each.load * 1e3,
            "ms",
            TARGET_LOAD_MS,
            "proof, verification and access entry included",
        )
    most = found[SIZES[-1]]
    yield Figure(
        "look-up: 1,000,000 against 10,000",
        most.look_up / found[10_000].look_up,
        "x",
        TARGET_RATIO,
        "verified statement",
    )
    yield Figure(
        "load: 1,000,000 against 1,000", most.load / found[1_000].load, "x", TARGET_RATIO, ""
    )
    # Three nodes of 2 KiB stay; what is in a bucket grows with the names.
    nodes = 3 * 2_048
    expected = nodes + (most.proof_bytes - nodes) * _NAMES_OF_TEN_MILLION / SIZES[-1]
    yield Figure(
        "rows a proof at 10,000,000 names, by arithmetic", expected / 1024, "KiB", None, ""
    )


def _measure(size: int) -> Latency:
    key = new_key(HmacSha256.generate())
    with (
        tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder,
        new_repository(Path(folder), key) as repository,
    ):
        real = min(size, _REAL)
        for i in range(real):
            repository.store(i, f"real {i}", "1")
        _fill_rows(repository, size - real)
        with repository.catalogue.write() as transaction:
            _fill_map(transaction, repository, size - real)
        names = [f"real {i}" for i in range(real)]
        random.Random(1).shuffle(names)  # noqa: S311 (an order, not a secret)
        order = iter(names * 200)
        runs = max(real * 20, 200) if real > 1 else 90
        look_up = median_seconds(lambda: repository.get(next(order), "1"), runs=runs)
        load = median_seconds(lambda: repository.load(next(order), "1"), runs=runs)
        with repository.catalogue.read() as rows:
            proofs = [
                sum(map(len, rows.map.fetch(positions_of(map_key(name, "1"))).values()))
                for name in names
            ]
        return Latency(look_up, load, sum(proofs) / len(proofs))


def _fill_rows(repository: Repository, rows: int) -> None:
    """Add rows of the size of real ones; none of them is ever loaded."""
    [template] = list_rows(repository.catalogue, ListFilter(), limit=1)
    for begin in range(0, rows, _BATCH):
        with repository.catalogue.write() as transaction:
            for i in range(begin, min(begin + _BATCH, rows)):
                row = replace(template, sequence=1_000 + i, name=f"model {i}", tag="1")
                transaction.insert_artifact(row)


def _fill_map(transaction: WriteTransaction, repository: Repository, names: int) -> None:
    """Let the map say of each name what a store says, and sign it."""
    digest, first = "57" * 32, Tag("1")
    tagged = encode_value(TagValue(revision=1, highest=1, statement=digest))
    latest = encode_value(LatestValue(tag="1", revision=1, statement=digest))
    revision = encode_value(
        RevisionValue(state="stored", statement=digest, sequence=1_000_000, previous=None)
    )
    changes = {}
    for i in range(names):
        name = Name(f"model {i}")
        changes[map_key(name, first)] = tagged
        changes[map_key(name, LATEST_TAG)] = latest
        changes[revision_key(name, first, 1)] = revision
    if not changes:
        return
    head = decode_head(read_unverified(transaction.history.head() or b"").payload)
    positions = {position for key in changes for position in positions_of(key)}
    updated = update(bytes.fromhex(head.map_root), changes, transaction.map.fetch(positions))
    transaction.map.replace(updated.rows)
    [key] = repository.keyring
    changed = msgspec.structs.replace(head, map_root=updated.root_hash.hex())
    transaction.history.replace_head(seal_head(changed, key))
    # What this process remembers is of before: nothing was stored that changed the map.
    operating.forget(repository.settings.trust_store(repository.root))
