"""The whole map: every record of it, and the map with some values changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import NamedTuple

from sealstore import limits
from sealstore.errors import CatalogueError, UsageError
from sealstore.ledger.alias_names import AliasName
from sealstore.ledger.authenticated_map import (
    BUCKETS,
    CHILDREN,
    EMPTY_CONTENTS,
    FIRST_POSITIONS,
    LENGTH_BYTES,
    bucket_of,
    hash_of_child,
    parse_bucket,
    row_hash,
    verified_row,
)
from sealstore.ledger.documents import encode_document
from sealstore.ledger.map_values import RevisionValue, SegmentValue
from sealstore.ledger.merkle import HASH_BYTES


def verified_records(root_hash: bytes, rows: Mapping[int, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Every record of the map: SHA-256 of its key, and its value, by the former.

    Args:
        root_hash: from a verified head, 32 bytes.
        rows: every stored row; a mapping that fetches them one by one will do. Each is asked for
            once, in the order of a walk downwards.

    Raises:
        CatalogueTamperedError: the rows do not lead from the root to all records.
    """
    yield from _walk(rows, 0, 0, root_hash)


def _walk(
    rows: Mapping[int, bytes], level: int, offset: int, expected: bytes
) -> Iterator[tuple[bytes, bytes]]:
    content = verified_row(rows, level, offset, expected)
    if level == BUCKETS:
        yield from parse_bucket(content, offset).items()
        return
    for child in range(CHILDREN):
        child_hash = hash_of_child(content, child)
        if child_hash != hash_of_child(EMPTY_CONTENTS[level], child):
            yield from _walk(rows, level + 1, offset * CHILDREN + child, child_hash)


class _VerifiedRows:
    """Rows, each verified when it is first needed."""

    def __init__(self, root_hash: bytes, rows: Mapping[int, bytes]) -> None:
        self._root_hash = root_hash
        self._rows = rows
        self._contents: dict[tuple[int, int], bytes] = {}

    def content(self, level: int, offset: int) -> bytes:
        """The content of a row, which the rows above it vouch for."""
        known = self._contents.get((level, offset))
        if known is None:
            expected = self._root_hash
            if level > 0:
                parent, child = divmod(offset, CHILDREN)
                expected = hash_of_child(self.content(level - 1, parent), child)
            known = verified_row(self._rows, level, offset, expected)
            self._contents[level, offset] = known
        return known

    def records(self, bucket: int) -> dict[bytes, bytes]:
        """The values of a bucket by the hash of their key."""
        return parse_bucket(self.content(BUCKETS, bucket), bucket)


def encode_value(value: SegmentValue | RevisionValue | AliasName) -> bytes:
    """The bytes that stand in the map."""
    return encode_document(value, limits.MAX_MAP_VALUE_BYTES, "map's value")


class MapUpdate(NamedTuple):
    """What changing values gives.

    Attributes:
        root_hash: the new root hash, 32 bytes.
        rows: the contents of every row that is another now, by position.
    """

    root_hash: bytes
    rows: dict[int, bytes]


def update(
    root_hash: bytes, changes: Mapping[bytes, bytes], rows: Mapping[int, bytes]
) -> MapUpdate:
    """The map with some values set, after verifying the rows that this changes.

    Args:
        root_hash: from a verified head, 32 bytes.
        changes: the new values by key; 1 to ``limits.MAX_MAP_VALUE_BYTES`` bytes each.
        rows: as for ``prove``, for all keys together.

    Raises:
        CatalogueTamperedError: the rows do not lead from the root to the buckets.
        UsageError: a value has an impossible size.
        CatalogueError: a bucket would be larger than ``limits.MAX_MAP_BUCKET_BYTES``.
    """
    verified = _VerifiedRows(root_hash, rows)
    buckets: dict[int, dict[bytes, bytes]] = {}
    for key, value in changes.items():
        if type(value) is not bytes or not 1 <= len(value) <= limits.MAX_MAP_VALUE_BYTES:
            raise UsageError(
                f"A value of the map has 1 to {limits.MAX_MAP_VALUE_BYTES} bytes; this one does"
                " not."
            )
        key_hash = sha256(key).digest()
        bucket = bucket_of(key_hash)
        if bucket not in buckets:
            buckets[bucket] = verified.records(bucket)
        buckets[bucket][key_hash] = value
    changed: dict[int, bytes] = {}

    def hashes_of_changed(level: int, contents: dict[int, bytes]) -> dict[int, bytes]:
        hashes = {}
        for offset, content in contents.items():
            if content != verified.content(level, offset):
                changed[FIRST_POSITIONS[level] + offset] = content
                hashes[offset] = row_hash(level, content)
        return hashes

    contents = {bucket: _bucket_content(records) for bucket, records in buckets.items()}
    hashes = hashes_of_changed(BUCKETS, contents)
    for level in reversed(range(BUCKETS)):
        hashes = hashes_of_changed(level, _with_children(verified, level, hashes))
    return MapUpdate(hashes.get(0, root_hash), changed)


def _bucket_content(records: dict[bytes, bytes]) -> bytes:
    parts: list[bytes] = []
    for key_hash, value in sorted(records.items()):
        parts += (key_hash, len(value).to_bytes(LENGTH_BYTES, "big"), value)
    content = b"".join(parts)
    if len(content) > limits.MAX_MAP_BUCKET_BYTES:
        raise CatalogueError(
            f"A bucket of the map would have {len(content)} bytes;"
            f" {limits.MAX_MAP_BUCKET_BYTES} are allowed.",
            hint="use another repository: this one holds more names than a map is made for.",
        )
    return content


def _with_children(
    verified: _VerifiedRows, level: int, hashes: dict[int, bytes]
) -> dict[int, bytes]:
    """The contents of the nodes of a level whose children at these offsets have these hashes."""
    nodes: dict[int, bytearray] = {}
    for offset, child_hash in hashes.items():
        parent, child = divmod(offset, CHILDREN)
        if parent not in nodes:
            nodes[parent] = bytearray(verified.content(level, parent))
        nodes[parent][child * HASH_BYTES : (child + 1) * HASH_BYTES] = child_hash
    return {offset: bytes(content) for offset, content in nodes.items()}
