"""The map: what it proves is what was put in, and no row proves anything else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    CatalogueError,
    CatalogueTamperedError,
    InvalidNameError,
    ReservedTagError,
    UsageError,
)
from sealstore.ledger.alias_names import alias_key
from sealstore.ledger.authenticated_map import (
    EMPTY_MAP_ROOT,
    ROWS,
    map_key,
    positions_of,
    prove,
    revision_key,
)
from sealstore.ledger.map_update import update, verified_records
from sealstore.names import Name, Tag
from tests.ledger_trees import EMPTY_HASHES, NaiveMap, naive_answer, record
from tests.matrix import each_row

VALUES = {map_key(f"model-{number}", "2026-11"): b"value %d" % number for number in range(40)}
FULL = update(EMPTY_MAP_ROOT, VALUES, {})
KEY = map_key("model-7", "2026-11")
ABSENT = map_key("model-7", "2026-12")
# Found among a million others: its record belongs into the bucket of KEY.
NEIGHBOUR = b"neighbour 1066341"


def hash_of(key: bytes) -> bytes:
    return sha256(key).digest()


# ── keys and positions ───────────────────────────────────────────────────────


def test_a_name_with_a_tag_is_one_key_and_no_other() -> None:
    """No two requests share a key, and a revision's is none of a tag."""
    names = ["a", "a b", "b", "a.b", "ä"]
    keys = [map_key(name, segment) for name in names for segment in [*names, "latest", "1"]]
    keys += [
        revision_key(name, tag, number) for name in names for tag in names for number in (1, 11)
    ]
    keys += [alias_key(name, number) for name in names for number in (1, 11)]
    assert len(set(keys)) == len(keys)
    assert map_key("churn", "2026-11") == b"segment\0churn\x002026-11"
    assert alias_key("ä", 12) == "alias\0ä\x0012".encode()
    assert revision_key("ä", "1", 12) == "revision\0ä\x001\x0012".encode()
    most = limits.MAX_SEQUENCE
    assert revision_key("a", "b", most) == b"revision\0a\0b\0%d" % most


def test_latest_is_one_key_however_it_is_written() -> None:
    """`Latest` asks for what `latest` asks for, and nothing can be stored there."""
    keys = {map_key("churn", segment) for segment in ("latest", "Latest", "LATEST", Tag("lAtEsT"))}
    assert keys == {map_key("churn", "latest")}
    with pytest.raises(ReservedTagError):
        revision_key("churn", "Latest", 1)


def test_checked_names_give_the_same_keys() -> None:
    """What has been checked before is not checked again, and is the same."""
    name, tag = Name("churn"), Tag("2026-11")
    assert map_key(name, tag) == map_key("churn", "2026-11")
    assert revision_key(name, tag, 3) == revision_key("churn", "2026-11", 3)


@pytest.mark.parametrize(
    ("name", "tag"), [("", "a"), ("a", ""), ("a\0b", "c"), ("a", "b\0c"), ("a/b", "c"), (b"a", "b")]
)
def test_what_is_no_name_has_no_key(name: Any, tag: Any) -> None:
    """Nothing reaches the map by a name that nothing can be stored under."""
    with pytest.raises(InvalidNameError):
        map_key(name, tag)
    with pytest.raises(InvalidNameError):
        revision_key(name, tag, 1)


@pytest.mark.parametrize("revision", [0, -1, True, 1.0, "1", None, limits.MAX_SEQUENCE + 1])
def test_what_is_no_revision_has_no_key(revision: Any) -> None:
    """Revisions are whole numbers from 1 on."""
    with pytest.raises(InvalidNameError, match="whole number"):
        revision_key("churn", "2026-11", revision)


@pytest.mark.parametrize("number", [0, -1, True, 1.0, "1", None, limits.MAX_ALIASES + 1])
def test_what_is_no_number_of_an_alias_has_no_key(number: Any) -> None:
    """A name's aliases are numbered from 1 on, and are not many."""
    with pytest.raises(InvalidNameError, match="numbered"):
        alias_key("churn", number)
    with pytest.raises(InvalidNameError):
        alias_key("a/b", 1)
    assert alias_key("churn", limits.MAX_ALIASES) == b"alias\0churn\0%d" % limits.MAX_ALIASES


def test_a_key_is_proven_by_one_row_of_each_level() -> None:
    """The first 18 bits of the key's hash say which; no two rows share a position."""
    bits = int.from_bytes(hash_of(KEY)[:3], "big")
    assert positions_of(KEY) == (0, 1 + (bits >> 18), 65 + (bits >> 12), 4161 + (bits >> 6))
    assert ROWS == 1 + 64 + 64**2 + 64**3
    for key in VALUES:
        root, first, second, bucket = positions_of(key)
        assert root == 0
        assert 1 <= first <= 64
        assert (second - 65) // 64 == first - 1
        assert (bucket - 4161) // 64 == second - 65
        assert bucket < ROWS


# ── what is proven ───────────────────────────────────────────────────────────


def test_an_empty_map_proves_that_nothing_is_there() -> None:
    """A repository without artifacts says so provably, without any row."""
    assert EMPTY_HASHES[0] == EMPTY_MAP_ROOT
    assert prove(EMPTY_MAP_ROOT, KEY, {}) is None
    assert list(verified_records(EMPTY_MAP_ROOT, {})) == []


def test_the_map_is_the_tree_that_its_definition_gives() -> None:
    """Root and rows are those of a tree that is made again from a plain dictionary."""
    naive = NaiveMap(VALUES)
    assert naive.root == FULL.root_hash
    assert naive.rows == FULL.rows


@pytest.mark.invariant(2)
def test_what_was_put_in_is_proven_and_so_is_what_was_not() -> None:
    """Each value comes back by four rows alone; for any other key they prove its absence."""
    for key, value in VALUES.items():
        path = {position: FULL.rows[position] for position in positions_of(key)}
        assert prove(FULL.root_hash, key, path) == value
        assert naive_answer(FULL.root_hash, key, path) == value
    assert prove(FULL.root_hash, ABSENT, FULL.rows) is None
    assert positions_of(NEIGHBOUR) == positions_of(KEY)
    assert prove(FULL.root_hash, NEIGHBOUR, FULL.rows) is None, "its bucket has another record"


def test_every_record_can_be_walked_through() -> None:
    """An auditor gets all records, by the hash of their key, and each row is asked for once."""
    asked: list[int] = []

    class Watched(dict[int, bytes]):
        def get(self, position: int, default: Any = None) -> Any:
            asked.append(position)
            return super().get(position, default)

    found = list(verified_records(FULL.root_hash, Watched(FULL.rows)))
    assert found == sorted((hash_of(key), value) for key, value in VALUES.items())
    assert sorted(asked) == sorted(FULL.rows)


# ── rows that were changed ───────────────────────────────────────────────────


def refuses(rows: Mapping[int, bytes], *, root_hash: bytes = FULL.root_hash) -> bool:
    """Whether no answer, no update and no walk comes from these rows."""
    attempts = (
        lambda: prove(root_hash, KEY, rows),
        lambda: prove(root_hash, NEIGHBOUR, rows),
        lambda: update(root_hash, {KEY: b"new"}, rows),
        lambda: update(root_hash, {NEIGHBOUR: b"new"}, rows),
        lambda: list(verified_records(root_hash, rows)),
    )
    refused = 0
    for attempt in attempts:
        try:
            attempt()
        except CatalogueTamperedError:
            refused += 1
    assert refused in (0, len(attempts))
    return refused > 0


@pytest.mark.invariant(2)
@pytest.mark.parametrize("level", range(4))
def test_a_flipped_bit_in_any_row_is_refused(level: int) -> None:
    """Whichever byte of the four rows is changed, nothing is proven by them."""
    position = positions_of(KEY)[level]
    content = FULL.rows[position]
    for place in range(0, len(content), 1 if level == 3 else 13):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        assert refuses({**FULL.rows, position: bytes(flipped)}), place


@pytest.mark.invariant(2)
@pytest.mark.parametrize("level", range(4))
def test_a_deleted_row_is_no_proof_of_absence(level: int) -> None:
    """A row that is not there stands for an empty one, which the row above does not vouch for."""
    rows = dict(FULL.rows)
    del rows[positions_of(KEY)[level]]
    assert refuses(rows)


def test_a_map_whose_rows_are_all_gone_proves_nothing() -> None:
    """An emptied table does not make a repository empty."""
    assert refuses({})


@each_row("level", range(4))
@each_row("other_level", range(4))
def test_a_row_from_another_place_is_refused(level: int, other_level: int) -> None:
    """Rows that were exchanged, or copied over each other, are refused."""
    mine, other = positions_of(KEY), positions_of(next(key for key in VALUES if key != KEY))
    position, source = mine[level], other[other_level]
    if FULL.rows[position] != FULL.rows[source]:
        assert refuses({**FULL.rows, position: FULL.rows[source]})


def test_a_row_of_an_empty_place_may_be_there_or_not() -> None:
    """What stands for nothing is the same as nothing."""
    position = positions_of(ABSENT)[3]
    assert position not in FULL.rows
    assert prove(FULL.root_hash, ABSENT, {**FULL.rows, position: b""}) is None


def test_another_root_proves_nothing() -> None:
    """Genuine rows of another state, and no root at all, are refused."""
    newer = update(FULL.root_hash, {KEY: b"new"}, FULL.rows)
    for root_hash in (newer.root_hash, EMPTY_MAP_ROOT, b"", bytes(32)):
        assert refuses(FULL.rows, root_hash=root_hash)


@pytest.mark.invariant(2)
def test_an_older_row_put_back_is_refused_or_changes_nothing() -> None:
    """Whichever of the rows of an older state are put back, the answer is the newest or none."""
    newer = update(FULL.root_hash, {KEY: b"new", ABSENT: b"new"}, FULL.rows)
    rows = {**FULL.rows, **newer.rows}
    assert prove(newer.root_hash, KEY, rows) == b"new"
    changed = sorted(newer.rows)
    for count in range(1, len(changed) + 1):
        for restored in itertools.combinations(changed, count):
            mixed = dict(rows)
            for position in restored:
                if position in FULL.rows:
                    mixed[position] = FULL.rows[position]
                else:
                    del mixed[position]
            for key in (KEY, ABSENT):
                try:
                    assert prove(newer.root_hash, key, mixed) == b"new"
                except CatalogueTamperedError:
                    assert set(restored) & set(positions_of(key))
                else:
                    assert not set(restored) & set(positions_of(key))


@each_row("level", range(4))
@each_row(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 2047, id="short"),
        pytest.param(b"\0" * 2049, id="long"),
        pytest.param(b"\0" * (limits.MAX_MAP_BUCKET_BYTES + 1), id="larger than any bucket"),
        pytest.param("0" * 2048, id="text"),
        pytest.param(bytearray(2048), id="bytearray"),
    ],
)
def test_a_row_of_an_impossible_size_is_refused(level: int, content: Any) -> None:
    """A planted row is refused for its size before any of it is hashed."""
    assert refuses({**FULL.rows, positions_of(KEY)[level]: content})


def test_a_row_larger_than_a_bucket_is_refused_even_if_it_is_vouched_for() -> None:
    """No signature makes a reader take more memory than the cap."""
    content = b"\0" * (limits.MAX_MAP_BUCKET_BYTES + 1)
    root_hash, rows = vouched_for(content)
    with pytest.raises(CatalogueTamperedError, match="size"):
        prove(root_hash, KEY, rows)


# ── buckets that a signed root vouches for, and that are none ────────────────


def vouched_for(content: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Rows that lead from a root to this content in the bucket of ``KEY``."""
    rows = {positions_of(KEY)[3]: content}
    digest = sha256(b"\x02" + content).digest()
    number = positions_of(KEY)[3] - 4161
    for level, first in ((2, 65), (1, 1), (0, 0)):
        number, child = divmod(number, 64)
        node = bytearray(EMPTY_HASHES[level + 1] * 64)
        node[32 * child : 32 * child + 32] = digest
        rows[first + number] = bytes(node)
        digest = sha256(b"\x03%c" % level + node).digest()
    return digest, rows


LOW, HIGH = sorted(map(hash_of, (KEY, NEIGHBOUR)))
ELSEWHERE = hash_of(next(key for key in VALUES if key != KEY))
RECORD = record(hash_of(KEY), b"v")


def test_a_sound_bucket_that_is_vouched_for_is_read() -> None:
    """The cases below differ from this one by what they are about only."""
    root_hash, rows = vouched_for(record(LOW, b"v") + record(HIGH, b"v"))
    assert prove(root_hash, KEY, rows) == prove(root_hash, NEIGHBOUR, rows) == b"v"
    assert naive_answer(root_hash, KEY, rows) == b"v"
    largest = b"v" * limits.MAX_MAP_VALUE_BYTES
    root_hash, rows = vouched_for(record(hash_of(KEY), largest))
    assert prove(root_hash, KEY, rows) == largest


@each_row(
    "content",
    [
        pytest.param(record(HIGH, b"v") + record(LOW, b"v"), id="descending"),
        pytest.param(record(LOW, b"v") + record(LOW, b"w"), id="one key twice"),
        pytest.param(record(LOW, b"v") + record(HIGH, b"v") + record(LOW, b"w"), id="again later"),
        pytest.param(record(ELSEWHERE, b"v"), id="of another bucket"),
        pytest.param(RECORD + b"\0", id="a trailing byte"),
        pytest.param(RECORD + bytes(36), id="trailing zeros"),
        pytest.param(RECORD[:-1], id="a cut value"),
        pytest.param(RECORD[:36], id="no value"),
        pytest.param(RECORD[:35], id="a cut length"),
        pytest.param(RECORD[:32], id="no length"),
        pytest.param(RECORD[:31], id="a cut key"),
        pytest.param(record(hash_of(KEY), b""), id="an empty value"),
        pytest.param(
            record(hash_of(KEY), b"v" * (limits.MAX_MAP_VALUE_BYTES + 1)), id="a large value"
        ),
        pytest.param(hash_of(KEY) + b"\xff\xff\xff\xffv", id="a length beyond the end"),
        pytest.param(hash_of(KEY) + (2).to_bytes(4, "little") + b"vv", id="little-endian"),
        pytest.param(b"\0", id="one byte"),
    ],
)
def test_a_bucket_that_is_no_list_of_records_is_refused(content: bytes) -> None:
    """There is one way to spell a bucket; whoever signs another one is not believed either."""
    root_hash, rows = vouched_for(content)
    assert refuses(rows, root_hash=root_hash)


# ── changing ─────────────────────────────────────────────────────────────────


def test_an_update_is_the_map_made_again() -> None:
    """Root and rows after any change are those of a tree made from the whole dictionary."""
    values, root_hash, rows = dict(VALUES), FULL.root_hash, dict(FULL.rows)
    for changes in (
        {KEY: b"newer"},
        {KEY: b"newest", NEIGHBOUR: b"first"},
        {
            map_key("new", "1"): b"a",
            map_key("new", "latest"): b"b",
            revision_key("new", "1", 1): b"c",
        },
    ):
        changed = update(root_hash, changes, rows)
        assert set(changed.rows) <= {at for key in changes for at in positions_of(key)}
        assert all(rows.get(position) != content for position, content in changed.rows.items())
        values |= changes
        rows |= changed.rows
        root_hash = changed.root_hash
        naive = NaiveMap(values)
        assert (root_hash, rows) == (naive.root, naive.rows)


def test_an_update_needs_the_rows_of_its_keys_only() -> None:
    """Four rows for each key are enough, as for a proof."""
    path = {position: FULL.rows[position] for position in positions_of(KEY)}
    assert update(FULL.root_hash, {KEY: b"new"}, path) == update(
        FULL.root_hash, {KEY: b"new"}, FULL.rows
    )


def test_an_update_leaves_its_arguments_as_they_were() -> None:
    """A transaction that is rolled back leaves nothing behind."""
    rows = dict(FULL.rows)
    update(FULL.root_hash, {KEY: b"new"}, rows)
    assert rows == FULL.rows


def test_what_is_set_to_what_it_was_changes_no_row() -> None:
    """Nothing is written where nothing is new."""
    assert update(FULL.root_hash, VALUES, FULL.rows) == (FULL.root_hash, {})
    assert update(FULL.root_hash, {}, {}) == (FULL.root_hash, {})


def test_one_change_writes_four_rows() -> None:
    """A change is as cheap as a proof."""
    changed = update(FULL.root_hash, {KEY: b"new"}, FULL.rows)
    assert sorted(changed.rows) == sorted(positions_of(KEY))


@pytest.mark.parametrize("value", [b"", b"v" * (limits.MAX_MAP_VALUE_BYTES + 1), "v", None])
def test_an_impossible_value_is_not_written(value: Any) -> None:
    """Nothing is signed that could not be read."""
    with pytest.raises(UsageError, match="1 to 1024 bytes"):
        update(FULL.root_hash, {KEY: value}, FULL.rows)


def test_a_bucket_may_be_full_to_the_last_byte() -> None:
    """What is as large as the cap is read and written; one byte more is not written."""
    filler, room = b"f" * limits.MAX_MAP_VALUE_BYTES, limits.MAX_MAP_BUCKET_BYTES
    count, rest = divmod(room, 36 + len(filler))
    hashes = [hash_of(KEY)[:3] + number.to_bytes(29, "big") for number in range(count)]
    last = b"l" * (rest - 36)
    content = b"".join(record(each, filler) for each in hashes) + record(hash_of(KEY), last)
    assert len(content) == room
    root_hash, rows = vouched_for(content)
    assert prove(root_hash, KEY, rows) == last
    changed = update(root_hash, {KEY: last[::-1].replace(b"l", b"m")}, rows)
    assert len(changed.rows[positions_of(KEY)[3]]) == room
    with pytest.raises(CatalogueError, match="bucket"):
        update(root_hash, {KEY: last + b"l"}, rows)


def test_a_bucket_that_is_full_takes_no_more() -> None:
    """What would be too large to be read is not written."""
    prefix = hash_of(KEY)[:3]
    value = b"v" * limits.MAX_MAP_VALUE_BYTES
    count = limits.MAX_MAP_BUCKET_BYTES // (36 + len(value))
    hashes = [prefix + number.to_bytes(29, "big") for number in range(count)]
    content = b"".join(record(key_hash, value) for key_hash in hashes)
    root_hash, rows = vouched_for(content)
    assert prove(root_hash, KEY, rows) is None
    assert len(content) <= limits.MAX_MAP_BUCKET_BYTES < len(content) + 36 + len(value)
    with pytest.raises(CatalogueError, match="bucket"):
        update(root_hash, {KEY: value}, rows)
