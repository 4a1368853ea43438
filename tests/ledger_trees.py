"""Chains, maps, heads and entries that the tests of the ledger share, and naive counterparts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from sealstore.ledger.authenticated_map import EMPTY_MAP_ROOT
from sealstore.ledger.entries import AccessEntry, AccessRequest, Actor, EntryArtifact
from sealstore.ledger.head import AccessHead, Head
from sealstore.ledger.history import HistoryEntry
from sealstore.ledger.merkle import Frontier, leaf_hash
from tests.sealstore_fixtures import REPOSITORY_ID

LOG_ID = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
KEY_ID = "0123456789abcdef0123456789abcdef"
NOON = "2026-11-23T12:00:00.000000Z"
LATER = "2026-11-23T12:00:00.000001Z"

# ── chains ───────────────────────────────────────────────────────────────────


def entry_bytes(number: int) -> bytes:
    """Something to append; any bytes will do for a tree."""
    return b"entry %d" % number


class StoredNodes:
    """Nodes in memory, and which of them were asked for."""

    def __init__(self) -> None:
        self.digests: dict[tuple[int, int], bytes] = {}
        self.asked: list[tuple[int, int]] = []

    def get(self, level: int, index: int) -> bytes | None:
        self.asked.append((level, index))
        return self.digests.get((level, index))


class Chain:
    """A chain with all that a repository would store of it."""

    def __init__(self, entries: Iterable[bytes] = ()) -> None:
        self.entries: list[bytes] = []
        self.nodes = StoredNodes()
        self.frontier = Frontier()
        self.roots = [self.frontier.root()]
        for entry in entries:
            self.append(entry)

    @classmethod
    def of(cls, size: int) -> Chain:
        return cls(map(entry_bytes, range(size)))

    def append(self, entry: bytes) -> None:
        appended = self.frontier.append(leaf_hash(entry))
        self.entries.append(entry)
        self.frontier = appended.frontier
        self.roots.append(self.frontier.root())
        for node in appended.nodes:
            assert (node.level, node.index) not in self.nodes.digests, "a node was completed twice"
            self.nodes.digests[node.level, node.index] = node.digest

    def between(self, start: int, stop: int) -> list[bytes]:
        return self.entries[start:stop]

    @property
    def size(self) -> int:
        return self.frontier.size

    @property
    def root(self) -> bytes:
        return self.roots[-1]


# The recursive definitions of RFC 9162, section 2.1, as they stand there: d is the list of entries,
# and mth computes the root over such a list.


def naive_root(d: list[bytes]) -> bytes:
    """MTH (section 2.1.1)."""
    if not d:
        return sha256().digest()
    if len(d) == 1:
        return sha256(b"\x00" + d[0]).digest()
    k = largest_power_of_two_below(len(d))
    return sha256(b"\x01" + naive_root(d[:k]) + naive_root(d[k:])).digest()


def naive_inclusion(m: int, d: list[bytes], mth: Callable[[list[bytes]], bytes]) -> list[bytes]:
    """PATH (section 2.1.3.1)."""
    if len(d) == 1:
        return []
    k = largest_power_of_two_below(len(d))
    if m < k:
        return [*naive_inclusion(m, d[:k], mth), mth(d[k:])]
    return [*naive_inclusion(m - k, d[k:], mth), mth(d[:k])]


def naive_consistency(
    m: int, d: list[bytes], mth: Callable[[list[bytes]], bytes], *, is_known: bool = True
) -> list[bytes]:
    """PROOF, or with ``is_known`` as its third argument SUBPROOF (section 2.1.4.1)."""
    if m == len(d):
        return [] if is_known else [mth(d)]
    k = largest_power_of_two_below(len(d))
    if m <= k:
        return [*naive_consistency(m, d[:k], mth, is_known=is_known), mth(d[k:])]
    return [*naive_consistency(m - k, d[k:], mth, is_known=False), mth(d[:k])]


def largest_power_of_two_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


# ── maps ─────────────────────────────────────────────────────────────────────


class NaiveMap:
    """The map, made again from a plain dictionary each time; and a proof, checked step by step."""

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self.records = {sha256(key).digest(): value for key, value in values.items()}
        self.rows: dict[int, bytes] = {}
        self.root = self._hash(0, 0)

    def _hash(self, level: int, offset: int) -> bytes:
        below = {
            key_hash: value
            for key_hash, value in self.records.items()
            if int.from_bytes(key_hash, "big") >> (256 - 6 * level) == offset
        }
        if not below and level > 0:
            return EMPTY_HASHES[level]
        first = sum(64**above for above in range(level))
        if level == 3:
            content = b"".join(map(record, sorted(below), (below[key] for key in sorted(below))))
            digest = sha256(b"\x02" + content).digest()
        else:
            inner = NaiveMap.__new__(NaiveMap)
            inner.records, inner.rows = below, self.rows
            content = b"".join(inner._hash(level + 1, offset * 64 + child) for child in range(64))
            digest = sha256(b"\x03" + bytes([level]) + content).digest()
        if below:
            self.rows[first + offset] = content
        return digest


def record(key_hash: bytes, value: bytes) -> bytes:
    """A record in a bucket."""
    return key_hash + len(value).to_bytes(4, "big") + value


def _empty_hashes() -> list[bytes]:
    bucket = sha256(b"\x02").digest()
    lowest = sha256(b"\x03\x02" + bucket * 64).digest()
    middle = sha256(b"\x03\x01" + lowest * 64).digest()
    return [sha256(b"\x03\x00" + middle * 64).digest(), middle, lowest, bucket]


EMPTY_HASHES = _empty_hashes()


def naive_answer(root: bytes, key: bytes, rows: Mapping[int, bytes]) -> bytes | None:
    """What four rows prove of a key, checked without any code of the map's own; or ValueError."""
    key_hash = sha256(key).digest()
    bits = "".join(f"{byte:08b}" for byte in key_hash)
    expected, position = root, 0
    for level in range(3):
        content = rows.get(position, EMPTY_HASHES[level + 1] * 64)
        if len(content) != 2048 or sha256(b"\x03%c" % level + content).digest() != expected:
            raise ValueError(position)
        child = int(bits[6 * level : 6 * level + 6], 2)
        expected = content[32 * child : 32 * child + 32]
        # The children of a level's node number n are numbers 64 n to 64 n + 63 of the next.
        position = 64 * position + child + 1
    content = rows.get(position, b"")
    if sha256(b"\x02" + content).digest() != expected:
        raise ValueError(position)
    found: dict[bytes, bytes] = {}
    while content:
        length = int.from_bytes(content[32:36], "big")
        found[content[:32]] = content[36 : 36 + length]
        content = content[36 + length :]
    return found.get(key_hash)


# ── documents ────────────────────────────────────────────────────────────────


def head(chain: Chain | None = None, **changes: Any) -> Head:
    """The head of a chain, with some fields changed."""
    fields: dict[str, Any] = {
        **chain_fields(Chain.of(3) if chain is None else chain),
        "epoch": 1,
        "map_root": EMPTY_MAP_ROOT.hex(),
        "settings_version": 1,
        "settings_digest": "5e" * 32,
    }
    return Head(**(fields | changes))


def access_head(chain: Chain | None = None, **changes: Any) -> AccessHead:
    """The head of an access log's chain, with some fields changed."""
    fields = {**chain_fields(Chain.of(3) if chain is None else chain), "log": LOG_ID}
    return AccessHead(**(fields | changes))


def chain_fields(chain: Chain) -> dict[str, Any]:
    """What every head says of a chain."""
    return {
        "repository": REPOSITORY_ID,
        "size": chain.size,
        "root": chain.root.hex(),
        "frontier": tuple(root.hex() for root in chain.frontier.roots),
        "time": NOON,
    }


ACTOR = Actor(user="ada", host="trainer", process=4711, actor="job 7")


def entry_artifact(**changes: Any) -> EntryArtifact:
    """An artifact that an entry is about, with some fields changed."""
    fields: dict[str, Any] = {
        "name": "churn",
        "tag": "2026-11",
        "revision": 1,
        "sha256": "5a" * 32,
        "statement": "57" * 32,
        "key_id": KEY_ID,
    }
    return EntryArtifact(**(fields | changes))


ARTIFACT = entry_artifact()


def history_entry(**changes: Any) -> HistoryEntry:
    """An entry of the history that is valid, with some fields changed."""
    fields: dict[str, Any] = {
        "sequence": 2,
        "event": "store",
        "at": NOON,
        "by": ACTOR,
        "recorded_by": KEY_ID,
        "artifact": ARTIFACT,
        "details": {},
    }
    return HistoryEntry(**(fields | changes))


def access_entry(**changes: Any) -> AccessEntry:
    """An entry of the access log that is valid, with some fields changed."""
    fields: dict[str, Any] = {
        "sequence": 9,
        "act": "load",
        "outcome": "granted",
        "reason": None,
        "at": NOON,
        "by": ACTOR,
        "context": "hetida job 0815",
        "recorded_by": KEY_ID,
        "request": AccessRequest(name="churn", tag="latest", revision=None),
        "artifact": ARTIFACT,
        "grant": None,
    }
    return AccessEntry(**(fields | changes))
