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

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from sealstore import limits
from sealstore.errors import CatalogueError, CatalogueTamperedError, InvalidNameError, UsageError
from sealstore.ledger.merkle import HASH_BYTES
from sealstore.names import LATEST, Name, Tag

_CHILDREN: Final = 64
_CHILD_BITS: Final = 6
_BUCKETS: Final = 3
"""The level of the buckets; the levels of nodes are 0, 1 and 2."""
_KEY_BITS: Final = _BUCKETS * _CHILD_BITS
_FIRST_POSITIONS: Final = (0, 1, 65, 4161)
ROWS: Final = 266_305
"""Number of positions: 1 + 64 + 4,096 + 262,144."""
_NODE_BYTES: Final = _CHILDREN * HASH_BYTES
_LENGTH_BYTES: Final = 4
_RECORD_HEAD_BYTES: Final = HASH_BYTES + _LENGTH_BYTES


def _row_hash(level: int, content: bytes) -> bytes:
    prefix = b"\x02" if level == _BUCKETS else b"\x03" + level.to_bytes(1, "big")
    return sha256(prefix + content).digest()


def _empty_contents() -> tuple[bytes, ...]:
    contents = [b""]
    for level in range(_BUCKETS, 0, -1):
        contents.insert(0, _row_hash(level, contents[0]) * _CHILDREN)
    return tuple(contents)


_EMPTY_CONTENTS: Final = _empty_contents()
EMPTY_MAP_ROOT: Final = _row_hash(0, _EMPTY_CONTENTS[0])
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
    return b"segment\0%b\0%b" % (_checked(name).encode(), tag.encode())


def revision_key(name: str, tag: str, revision: int) -> bytes:
    """The key of one revision.

    Raises:
        InvalidNameError: not a name, a tag to store under, and a revision from 1 on.
    """
    if type(revision) is not int or not 1 <= revision <= limits.MAX_SEQUENCE:
        raise InvalidNameError("A revision is a whole number from 1 on.")
    segments = (_checked(name).encode(), Tag.to_store(tag).encode(), revision)
    return b"revision\0%b\0%b\0%d" % segments


def alias_key(name: str, number: int) -> bytes:
    """The key of the ``number``th alias that a name ever had, from 1: so all of them are found.

    Raises:
        InvalidNameError: not a name, and a number from 1 on.
    """
    if type(number) is not int or not 1 <= number <= limits.MAX_ALIASES:
        raise InvalidNameError(f"A name's aliases are numbered from 1 to {limits.MAX_ALIASES}.")
    return b"alias\0%b\0%d" % (_checked(name).encode(), number)


def _checked(name: str) -> Name:
    # Checking takes longer than a whole proof; what is of this type has been checked.
    return name if type(name) is Name else Name(name)


def positions_of(key: bytes) -> tuple[int, int, int, int]:
    """The positions of the four rows that prove what the map says of ``key``, the root's first."""
    bucket = _bucket_of(sha256(key).digest())
    return (
        0,
        _FIRST_POSITIONS[1] + (bucket >> 2 * _CHILD_BITS),
        _FIRST_POSITIONS[2] + (bucket >> _CHILD_BITS),
        _FIRST_POSITIONS[3] + bucket,
    )


def _bucket_of(key_hash: bytes) -> int:
    return int.from_bytes(key_hash[:3], "big") >> 24 - _KEY_BITS


# ── reading ──────────────────────────────────────────────────────────────────


def prove(root_hash: bytes, key: bytes, rows: Mapping[int, bytes]) -> bytes | None:
    """What the map says of ``key``.

    Args:
        root_hash: from a verified head, 32 bytes.
        key: from ``map_key``, ``revision_key`` or ``alias_key``.
        rows: contents by position; those of ``positions_of(key)`` that are stored. None of them is
            believed: each is held against the hash above it.

    Returns:
        The value; None if the map proves that there is none.

    Raises:
        CatalogueTamperedError: the rows do not lead from the root to an answer.
    """
    return prove_all(root_hash, [key], rows)[key]


def prove_all(
    root_hash: bytes, keys: Iterable[bytes], rows: Mapping[int, bytes]
) -> dict[bytes, bytes | None]:
    """What the map says of each of ``keys``; see ``prove``. Rows that they share count once.

    Raises:
        CatalogueTamperedError: the rows do not lead from the root to an answer.
    """
    verified = _VerifiedRows(root_hash, rows)
    answers = {}
    for key in keys:
        key_hash = sha256(key).digest()
        answers[key] = verified.records(_bucket_of(key_hash)).get(key_hash)
    return answers


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
    content = _verified_row(rows, level, offset, expected)
    if level == _BUCKETS:
        yield from _parse_bucket(content, offset).items()
        return
    for child in range(_CHILDREN):
        child_hash = _child_hash(content, child)
        if child_hash != _child_hash(_EMPTY_CONTENTS[level], child):
            yield from _walk(rows, level + 1, offset * _CHILDREN + child, child_hash)


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
                parent, child = divmod(offset, _CHILDREN)
                expected = _child_hash(self.content(level - 1, parent), child)
            known = _verified_row(self._rows, level, offset, expected)
            self._contents[level, offset] = known
        return known

    def records(self, bucket: int) -> dict[bytes, bytes]:
        """The values of a bucket by the hash of their key."""
        return _parse_bucket(self.content(_BUCKETS, bucket), bucket)


def _verified_row(rows: Mapping[int, bytes], level: int, offset: int, expected: bytes) -> bytes:
    position = _FIRST_POSITIONS[level] + offset
    found = rows.get(position)
    content = _EMPTY_CONTENTS[level] if found is None else found
    # Before it is hashed: a row of any size can be planted.
    if type(content) is not bytes or not _is_possible_size(level, len(content)):
        raise CatalogueTamperedError(f"Row {position} of the map has a size that none has.")
    if _row_hash(level, content) != expected:
        raise CatalogueTamperedError(
            f"Row {position} of the map is not the one that the signed root vouches for."
        )
    return content


def _child_hash(content: bytes, child: int) -> bytes:
    return content[child * HASH_BYTES : (child + 1) * HASH_BYTES]


def _is_possible_size(level: int, size: int) -> bool:
    if level < _BUCKETS:
        return size == _NODE_BYTES
    return size <= limits.MAX_MAP_BUCKET_BYTES


def _parse_bucket(content: bytes, bucket: int) -> dict[bytes, bytes]:
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
            and _bucket_of(key_hash) == bucket
        ):
            raise CatalogueTamperedError(f"Bucket {bucket} of the map is not a list of records.")
        records[key_hash] = content[value_start:start]
        before = key_hash
    return records


# ── changing ─────────────────────────────────────────────────────────────────


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
        bucket = _bucket_of(key_hash)
        if bucket not in buckets:
            buckets[bucket] = verified.records(bucket)
        buckets[bucket][key_hash] = value
    changed: dict[int, bytes] = {}

    def hashes_of_changed(level: int, contents: dict[int, bytes]) -> dict[int, bytes]:
        hashes = {}
        for offset, content in contents.items():
            if content != verified.content(level, offset):
                changed[_FIRST_POSITIONS[level] + offset] = content
                hashes[offset] = _row_hash(level, content)
        return hashes

    contents = {bucket: _bucket_content(records) for bucket, records in buckets.items()}
    hashes = hashes_of_changed(_BUCKETS, contents)
    for level in reversed(range(_BUCKETS)):
        hashes = hashes_of_changed(level, _with_children(verified, level, hashes))
    return MapUpdate(hashes.get(0, root_hash), changed)


def _bucket_content(records: dict[bytes, bytes]) -> bytes:
    parts: list[bytes] = []
    for key_hash, value in sorted(records.items()):
        parts += (key_hash, len(value).to_bytes(_LENGTH_BYTES, "big"), value)
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
        parent, child = divmod(offset, _CHILDREN)
        if parent not in nodes:
            nodes[parent] = bytearray(verified.content(level, parent))
        nodes[parent][child * HASH_BYTES : (child + 1) * HASH_BYTES] = child_hash
    return {offset: bytes(content) for offset, content in nodes.items()}
