"""The map: a Merkle tree with a fixed shape over keys, which proves a value or its absence.

Three levels of nodes with 64 children each, over 262,144 buckets: the first 18 bits of SHA-256(key)
choose the bucket, six a level. A proof is four rows. A row is addressed by its position: the root
is 0, then come 64, 4,096 and 262,144 others, level by level. The content of a node's row is its
children's hashes, of 32 bytes each; that of a bucket's is its records, by the hash of their key::

    SHA-256(key) (32 bytes), length of the value (4 bytes, big-endian), value

A row's hash is SHA-256 over 0x02 and a bucket's content, or over 0x03, the level (one byte) and a
node's. A row that is not there stands for an empty bucket, or a node above nothing but such. Keys
are never taken out: what was removed has a value that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from sealstore import limits
from sealstore.errors import CatalogueTamperedError, InvalidNameError
from sealstore.ledger.merkle import HASH_BYTES
from sealstore.names import LATEST, Name, Tag

CHILDREN: Final = 64
_CHILD_BITS: Final = 6
BUCKETS: Final = 3
"""The level of the buckets; the levels of nodes are 0, 1 and 2."""
_KEY_BITS: Final = BUCKETS * _CHILD_BITS
FIRST_POSITIONS: Final = (0, 1, 65, 4161)
ROWS: Final = 266_305
"""Number of positions: 1 + 64 + 4,096 + 262,144."""
_NODE_BYTES: Final = CHILDREN * HASH_BYTES
LENGTH_BYTES: Final = 4
_RECORD_HEAD_BYTES: Final = HASH_BYTES + LENGTH_BYTES


def row_hash(level: int, content: bytes) -> bytes:
    """The hash of a row of this level: 32 bytes."""
    prefix = b"\x02" if level == BUCKETS else b"\x03" + level.to_bytes(1, "big")
    return sha256(prefix + content).digest()


def _empty_contents() -> tuple[bytes, ...]:
    contents = [b""]
    for level in range(BUCKETS, 0, -1):
        contents.insert(0, row_hash(level, contents[0]) * CHILDREN)
    return tuple(contents)


EMPTY_CONTENTS: Final = _empty_contents()
EMPTY_MAP_ROOT: Final = row_hash(0, EMPTY_CONTENTS[0])
"""The root hash of the map without records: 32 bytes."""


# ── keys ─────────────────────────────────────────────────────────────────────


def map_key(name: str, segment: str) -> bytes:
    """The key of a name with a tag, an alias, or ``latest``: one namespace.

    Raises:
        InvalidNameError: one of them is no name or tag.
    """
    checked = segment if type(segment) is Tag else Tag(segment)
    # However it is written, it asks for the same.
    tag = LATEST if checked.is_latest else checked
    # No name holds a NUL byte.
    return b"segment\0%b\0%b" % (checked_name(name).encode(), tag.encode())


def revision_key(name: str, tag: str, revision: int) -> bytes:
    """The key of one revision.

    Raises:
        InvalidNameError: not a name, a tag to store under, and a revision from 1 on.
    """
    if type(revision) is not int or not 1 <= revision <= limits.MAX_SEQUENCE:
        raise InvalidNameError("A revision is a whole number from 1 on.")
    segments = (checked_name(name).encode(), Tag.to_store(tag).encode(), revision)
    return b"revision\0%b\0%b\0%d" % segments


def checked_name(name: str) -> Name:
    """``name`` as a name.

    Raises:
        InvalidNameError: it is none.
    """
    # Checking takes longer than a whole proof; what is of this type has been checked.
    return name if type(name) is Name else Name(name)


def positions_of(key: bytes) -> tuple[int, ...]:
    """The positions of the four rows that prove what the map says of ``key``, the root's first."""
    bucket = bucket_of(sha256(key).digest())
    return tuple(first + _offset(level, bucket) for level, first in enumerate(FIRST_POSITIONS))


def _offset(level: int, bucket: int) -> int:
    """Which row of a level leads to a bucket."""
    return bucket >> (BUCKETS - level) * _CHILD_BITS


def bucket_of(key_hash: bytes) -> int:
    """The bucket that a key belongs to, by the SHA-256 of the key."""
    return int.from_bytes(key_hash[:3], "big") >> 24 - _KEY_BITS


# ── reading ──────────────────────────────────────────────────────────────────


def prove(root_hash: bytes, key: bytes, rows: Mapping[int, bytes]) -> bytes | None:
    """What the map says of ``key``.

    Args:
        root_hash: from a verified head, 32 bytes.
        key: from ``map_key``, ``revision_key`` or ``alias_names.alias_key``.
        rows: contents by position; those of ``positions_of(key)`` that are stored. None of them is
            believed: each is held against the hash above it.

    Returns:
        The value; None if the map proves that there is none.

    Raises:
        CatalogueTamperedError: the rows do not lead from the root to an answer.
    """
    key_hash = sha256(key).digest()
    bucket = bucket_of(key_hash)
    expected = root_hash
    for level in range(BUCKETS):
        content = verified_row(rows, level, _offset(level, bucket), expected)
        expected = hash_of_child(content, _offset(level + 1, bucket) % CHILDREN)
    content = verified_row(rows, BUCKETS, bucket, expected)
    return parse_bucket(content, bucket).get(key_hash)


def verified_row(rows: Mapping[int, bytes], level: int, offset: int, expected: bytes) -> bytes:
    """The content of a row, if it has the hash that the row above it vouches for.

    Raises:
        CatalogueTamperedError: it has another hash, or a size that no row has.
    """
    position = FIRST_POSITIONS[level] + offset
    found = rows.get(position)
    content = EMPTY_CONTENTS[level] if found is None else found
    # Before it is hashed: a row of any size can be planted.
    if type(content) is not bytes or not _is_possible_size(level, len(content)):
        raise CatalogueTamperedError(f"Row {position} of the map has a size that none has.")
    if row_hash(level, content) != expected:
        raise CatalogueTamperedError(
            f"Row {position} of the map is not the one that the signed root vouches for."
        )
    return content


def hash_of_child(content: bytes, child: int) -> bytes:
    """The hash of a node's child, counted from 0: 32 bytes."""
    return content[child * HASH_BYTES : (child + 1) * HASH_BYTES]


def _is_possible_size(level: int, size: int) -> bool:
    if level < BUCKETS:
        return size == _NODE_BYTES
    return size <= limits.MAX_MAP_BUCKET_BYTES


def parse_bucket(content: bytes, bucket: int) -> dict[bytes, bytes]:
    """The values in a bucket's content, by the SHA-256 of their key.

    Raises:
        CatalogueTamperedError: the content is not a list of records of this bucket, in order.
    """
    records: dict[bytes, bytes] = {}
    before = b""
    start = 0
    while start < len(content):
        value_start = start + _RECORD_HEAD_BYTES
        key_hash = content[start : start + HASH_BYTES]
        length = int.from_bytes(content[start + HASH_BYTES : value_start], "big")
        start = value_start + length
        if not (
            start <= len(content)
            and 1 <= length <= limits.MAX_MAP_VALUE_BYTES
            and before < key_hash
            and bucket_of(key_hash) == bucket
        ):
            raise CatalogueTamperedError(f"Bucket {bucket} of the map is not a list of records.")
        records[key_hash] = content[value_start:start]
        before = key_hash
    return records
