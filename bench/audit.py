"""Verifying an access log of 1,000,000 entries, and proving one of its states from another."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from bench.figures import Figure
from bench.timing import median_seconds
from sealstore.audit.chains import ChainName, open_ledger
from sealstore.audit.documents import consistency
from sealstore.audit.verifying import verify_ledger
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.keys.keyring import Key, Keyring
from sealstore.keys.writing import write_keyring_file
from sealstore.ledger.entries import AccessEntry, AccessRequest, Actor, EntryArtifact, encode_entry
from sealstore.ledger.head import AccessHead, seal_access_head
from sealstore.ledger.merkle import Frontier
from sealstore.ledger.points import AccessCheckpoint
from sealstore.ledger.whole_tree import grown
from sealstore.repository.access_log.place import access_rows
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.storage.catalogue.ledger_rows import EntryRow, NodeRow

SIZE = 1_000_000
OLDER_SIZE = 654_321
TARGET_ENTRY_US = 10.0
"""100,000 entries a second."""
TARGET_CONSISTENCY_MS = 10.0
_BATCH = 20_000


def figures(*, size: int = SIZE) -> Iterator[Figure]:
    """What an entry takes, hashed alone and decoded as well; and a consistency proof."""
    key = new_key(HmacSha256.generate())
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        settings = _settings(Path(folder), key)
        Repository.create(settings.path, settings=settings).close()
        newer = _fill(settings, key, size)
        report = verify_ledger(settings, chain=ChainName.ACCESS)
        [chain] = report.chains
        assert report.is_sound
        assert chain.hashed is not None
        assert chain.hashed.entries == size
        hashing = chain.hashed.hashing_seconds / size
        whole = hashing + chain.hashed.decoding_seconds / size
        what = f"audit verify: an entry of {size:,}"
        yield Figure(
            f"{what}, hashed with its stored hashes",
            hashing * 1e6,
            "us",
            TARGET_ENTRY_US,
            f"{1 / hashing:,.0f} entries/s",
        )
        yield Figure(
            f"{what}, decoded as well", whole * 1e6, "us", None, f"{1 / whole:,.0f} entries/s"
        )
        with open_ledger(settings) as ledger:
            older = _older(settings, newer, min(OLDER_SIZE, size - 1))
            took = median_seconds(lambda: consistency(ledger, older, newer), runs=50)
        detail = "head verified, proof made and verified"
        yield Figure(
            f"audit consistency: {older.size:,} to {size:,} entries",
            took * 1e3,
            "ms",
            TARGET_CONSISTENCY_MS,
            detail,
        )


def _settings(folder: Path, key: Key) -> Settings:
    keyring = folder / "keys" / "keyring.json"
    write_keyring_file(keyring, Keyring.of([key]))
    return Settings.from_environment(
        {
            "MODEL_REPO_PATH": str(folder / "repository"),
            "MODEL_REPO_KEYRING": str(keyring),
            "MODEL_REPO_TRUST_STATE": str(folder / "trust"),
        }
    )


def _entry(sequence: int, key_id: str) -> AccessEntry:
    name, tag = f"model {sequence % 500}", f"2026-{sequence % 12 + 1:02}"
    is_granted = sequence % 50 > 0
    return AccessEntry(
        sequence=sequence,
        act="load",
        outcome="granted" if is_granted else "refused",
        reason=None if is_granted else "PAYLOAD_DIGEST",
        at=f"2026-11-{sequence * 28 // SIZE + 1:02}T12:00:00.000000Z",
        by=Actor(user="runtime", host=f"node-{sequence % 7}", process=4711, actor="hetida"),
        context=f"job {sequence}",
        recorded_by=key_id,
        request=AccessRequest(name=name, tag="latest", revision=None),
        artifact=EntryArtifact(
            name=name, tag=tag, revision=1, sha256="5a" * 32, statement="57" * 32, key_id=key_id
        ),
        grant=None,
    )


def _fill(settings: Settings, key: Key, size: int) -> AccessCheckpoint:
    """Put entries into the access log as appending would, many at a time; its new head."""
    rows = access_rows(settings, settings.path)
    with open_ledger(settings) as ledger, ledger.chosen(ChainName.ACCESS)[0].open() as chain:
        head = chain.head
    assert isinstance(head, AccessHead)
    tree = Frontier()
    for begin in range(0, size, _BATCH):
        entries = [_entry(i + 1, key.key_id) for i in range(begin, min(begin + _BATCH, size))]
        data = [encode_entry(entry) for entry in entries]
        tree, runs = grown(tree, data)
        head = msgspec.structs.replace(
            head,
            size=tree.size,
            root=tree.root().hex(),
            frontier=tuple(root.hex() for root in tree.roots),
        )
        nodes = [
            NodeRow(run.level, index, digest)
            for run in runs
            for index, digest in enumerate(run.digests, run.first)
        ]
        with rows.write() as log:
            log.append(map(_row, entries, data), nodes, seal_access_head(head, key))
    rows.engine.dispose()
    return AccessCheckpoint.of(head)


def _row(entry: AccessEntry, data: bytes) -> EntryRow:
    about = entry.artifact or entry.request
    event = f"{entry.act} {entry.outcome}"
    return EntryRow(entry.sequence, data, event, entry.at, about.name, about.tag)


def _older(settings: Settings, newer: AccessCheckpoint, size: int) -> AccessCheckpoint:
    """The checkpoint that would have been made when the log had so many entries."""
    with open_ledger(settings) as ledger, ledger.chosen(ChainName.ACCESS)[0].open() as chain:
        tree = Frontier().extended(chain.reader.entries(0, size))
    return replace(newer, size=size, root=tree.root().hex())
