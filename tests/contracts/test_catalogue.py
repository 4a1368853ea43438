"""Finding and listing, on both databases: which row answers, and which rows a page shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.catalogue import (
    ArtifactRow,
    Catalogue,
    EntryRow,
    ListFilter,
    NodeRow,
    WriteTransaction,
    catalogue_engine,
    upgrade,
)
from sealstore.envelope import open_statement
from sealstore.errors import CatalogueError
from sealstore.keys import Keyring
from sealstore.names import request
from sealstore.statement import StoredBy
from tests.sealstore_fixtures import hmac_key, sealed


@pytest.fixture
def sqlite_catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    engine = catalogue_engine(tmp_path, create=True)
    upgrade(engine)
    yield Catalogue(engine, lock_file=tmp_path / "catalogue.sqlite3.lock")
    engine.dispose()


@pytest.fixture
def postgresql_catalogue(postgresql_url: str, tmp_path: Path) -> Iterator[Catalogue]:
    engine = catalogue_engine(tmp_path, postgresql_url)
    upgrade(engine)
    yield Catalogue(engine, lock_file=None)
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def catalogue(request: pytest.FixtureRequest) -> Catalogue:
    """An empty catalogue of each kind."""
    made: Catalogue = request.getfixturevalue(f"{request.param}_catalogue")
    return made


def row(sequence: int, name: str, tag: str, revision: int = 1, **changes: Any) -> ArtifactRow:
    """The row that a store would make."""
    fields: dict[str, Any] = {
        "name": name,
        "tag": tag,
        "revision": revision,
        "sequence": sequence,
        "created": f"2026-01-{sequence:02}T00:00:00.000000Z",
    }
    envelope = sealed(hmac_key(), **(fields | changes))
    return ArtifactRow.of(open_statement(envelope, Keyring.of([hmac_key()])), envelope)


def entry(row: ArtifactRow, event: str = "store", sequence: int | None = None) -> EntryRow:
    return EntryRow(
        sequence=sequence or row.sequence,
        entry=b"entry",
        event=event,
        at=row.created,
        name=row.name,
        tag=row.tag,
    )


def append(transaction: WriteTransaction, *rows: EntryRow) -> None:
    nodes = [NodeRow(0, row.sequence - 1, bytes(32)) for row in rows]
    transaction.history.append(rows, nodes, b"head")


def insert(catalogue: Catalogue, *rows: ArtifactRow) -> None:
    with catalogue.write() as transaction:
        for each in rows:
            transaction.insert_artifact(each)
        append(transaction, *map(entry, rows))


POSITIONS = (0, 1, 65, 4161)


def find(catalogue: Catalogue, *asked: Any) -> ArtifactRow | None:
    """The row that the catalogue gives with its answer."""
    return catalogue.ask(request(*asked), POSITIONS).artifact


ROWS = [
    row(1, "churn", "a", 1, metadata={"stage": "Test"}),
    row(2, "churn", "b", 1),
    row(3, "fraud", "a", 1, stored_by=StoredBy(user="ada", host="h", actor="job 7")),
    row(4, "churn", "a", 2, metadata={"stage": "100%_done"}),
    row(5, "Churn", "a", 1, format="skops"),
    row(6, "Änderung", "ß", 1, metadata={"Größe": "ÜBER"}),
    row(7, "churn", "b", 2),
]


@pytest.fixture
def filled(catalogue: Catalogue) -> Catalogue:
    insert(catalogue, *ROWS)
    return catalogue


# ── one row ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "sequence"),
    [
        (("churn", "a"), 4),
        (("churn", "a", 1), 1),
        (("churn", "a", 2), 4),
        (("churn", "b"), 7),
        (("churn", "latest"), 7),
        (("churn", "LATEST"), 7),
        (("fraud", "latest"), 3),
        (("Churn", "latest"), 5),
        (("Änderung", "ß"), 6),
    ],
)
def test_a_request_is_answered_by_its_row(filled: Catalogue, asked: Any, sequence: int) -> None:
    """That revision, or the newest of the tag, or what was stored last under the name."""
    found = find(filled, *asked)
    assert found == ROWS[sequence - 1]


@pytest.mark.parametrize(
    "asked", [("x", "latest"), ("churn", "c"), ("churn", "A"), ("churn", "a", 3), ("CHURN", "a")]
)
def test_what_is_not_there_is_not_answered_by_something_alike(
    filled: Catalogue, asked: Any
) -> None:
    """Names and tags are compared letter by letter, and no other revision falls in."""
    assert find(filled, *asked) is None


def test_the_latest_is_what_was_stored_last_not_the_highest_tag(catalogue: Catalogue) -> None:
    """The order of storing decides, not that of the alphabet or of revisions."""
    insert(catalogue, row(1, "m", "z", 9), row(2, "m", "a", 1))
    found = find(catalogue, "m", "latest")
    assert found is not None
    assert found.tag == "a"


def test_a_row_comes_back_as_it_was_put_in(filled: Catalogue) -> None:
    """Every column, with its type; a row that differs in one is told by that column's name."""
    found = find(filled, "churn", "a", 1)
    assert found is not None
    assert astuple(found) == astuple(ROWS[0])
    assert [type(value) for value in astuple(found)] == [type(v) for v in astuple(ROWS[0])]
    for column in ArtifactRow.__slots__:
        others: list[Any] = [None, str(getattr(found, column)), 0, True, 1.0, b"x"]
        for other in others:
            if type(other) is not type(getattr(found, column)) or other != getattr(found, column):
                assert replace(found, **{column: other}).differences(found) == [column]


# ── pages ────────────────────────────────────────────────────────────────────


def sequences(rows: list[ArtifactRow]) -> list[int]:
    return [each.sequence for each in rows]


def listed(catalogue: Catalogue, **conditions: Any) -> list[int]:
    """The sequences of all rows that meet the conditions, and their number checked."""
    wanted = ListFilter(**conditions)
    found = sequences(catalogue.list_rows(wanted, limit=100))
    assert catalogue.count(wanted) == len(found)
    return found


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, [7, 6, 5, 4, 3, 2, 1]),
        ({"name": "churn"}, [7, 4, 2, 1]),
        ({"tag": "a"}, [5, 4, 3, 1]),
        ({"name": "churn", "tag": "a"}, [4, 1]),
        ({"name": "nobody"}, []),
        ({"format": "skops"}, [5]),
        ({"actor": "job 7"}, [3]),
        ({"actor": "ada"}, [7, 6, 5, 4, 2, 1]),
        ({"key_id": hmac_key().key_id}, [7, 6, 5, 4, 3, 2, 1]),
        ({"key_id": "f" * 32}, []),
        ({"created_from": "2026-01-05"}, [7, 6, 5]),
        ({"created_before": "2026-01-03"}, [2, 1]),
        ({"created_from": "2026-01-02", "created_before": "2026-01-04"}, [3, 2]),
        ({"newest_only": True}, [7, 6, 5, 4, 3]),
        ({"newest_only": True, "name": "churn"}, [7, 4]),
        ({"newest_only": True, "name": "churn", "tag": "a"}, [4]),
    ],
)
def test_a_listing_shows_what_meets_every_condition(
    filled: Catalogue, conditions: dict[str, Any], expected: list[int]
) -> None:
    """Stored last first; conditions narrow each other."""
    assert listed(filled, **conditions) == expected


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("churn", [7, 5, 4, 2, 1]),
        ("HUR", [7, 5, 4, 2, 1]),
        ("fraud", [3]),
        ("stage", [4, 1]),
        ("test", [1]),
        ("Änderung", [6]),
        ("nderung", [6]),
        ("Größe", [6]),
        ("ÜBER", [6]),
        ("über", []),
        ("änderung", []),
        ("ß", [6]),
        ("100%", [4]),
        ("0%_d", [4]),
        ("%", [4]),
        ("_", [4]),
        ("\\", []),
        ("'", []),
        ("' OR 1=1 --", []),
        ('"stage":"Test"', [1]),
        ("", [7, 6, 5, 4, 3, 2, 1]),
    ],
)
def test_a_search_finds_text_in_name_tag_and_metadata(
    filled: Catalogue, search: str, expected: list[int]
) -> None:
    """ASCII letters in any case, every other character as it is, and no wildcards."""
    assert listed(filled, search=search) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8])
def test_pages_join_without_gap_or_overlap(filled: Catalogue, size: int) -> None:
    """Each page begins where the one before ended, also when rows come in between."""
    found: list[int] = []
    before = None
    while page := filled.list_rows(ListFilter(), limit=size, before_sequence=before):
        assert len(page) <= size
        found += sequences(page)
        before = page[-1].sequence
        if len(found) == size:
            insert(filled, row(20, "new", "a"))
    assert found == [7, 6, 5, 4, 3, 2, 1]


def test_a_page_has_no_more_rows_than_the_limit(catalogue: Catalogue) -> None:
    """Neither a huge nor a negative limit brings the whole table."""
    template = row(1, "m", "a")
    with catalogue.write() as transaction:
        for number in range(limits.MAX_LIST_ROWS + 5):
            transaction.insert_artifact(replace(template, sequence=number + 1, revision=number + 1))
        append(
            transaction,
            *(entry(template, sequence=number + 1) for number in range(limits.MAX_LIST_ROWS + 5)),
        )
    assert len(catalogue.list_rows(ListFilter(), limit=1 << 40)) == limits.MAX_LIST_ROWS
    with catalogue.read() as rows:
        assert len(rows.history.newest_rows(limit=1 << 40)) == limits.MAX_LIST_ROWS
        for limit in (0, -1):
            assert catalogue.list_rows(ListFilter(), limit=limit) == []
            assert rows.history.newest_rows(limit=limit) == []
    assert catalogue.count(ListFilter()) == limits.MAX_LIST_ROWS + 5


def test_names_are_listed_once_and_sorted(filled: Catalogue) -> None:
    """What a chooser shows."""
    assert filled.names() == ["Churn", "churn", "fraud", "Änderung"]


# ── history ──────────────────────────────────────────────────────────────────


def test_the_history_is_read_newest_first_and_page_by_page(filled: Catalogue) -> None:
    """Of all, of one name, of one tag; a page begins before an entry."""

    def read(**conditions: Any) -> list[int]:
        with filled.read() as rows:
            return [
                each.sequence for each in rows.history.newest_rows(**{"limit": 100} | conditions)
            ]

    assert read() == [7, 6, 5, 4, 3, 2, 1]
    assert read(name="churn") == [7, 4, 2, 1]
    assert read(name="churn", tag="a") == [4, 1]
    assert read(tag="a") == [5, 4, 3, 1]
    assert read(limit=2) == [7, 6]
    assert read(limit=2, before_sequence=6) == [5, 4]
    assert read(name="churn", before_sequence=4) == [2, 1]
    assert read(events=["remove"]) == []
    assert read(events=["remove", "store"], since="2026-01-03", until="2026-01-05") == [4, 3]
    with filled.read() as rows:
        assert rows.history.newest_rows(name="fraud", limit=1) == [entry(ROWS[2])]
        assert list(rows.history.rows(1, 3)) == [entry(ROWS[1]), entry(ROWS[2])]
        assert rows.history.head() == b"head"
        assert rows.history.get(0, 6) == bytes(32)
        assert rows.history.get(1, 0) is None


# ── the map and the settings ─────────────────────────────────────────────────


def test_rows_of_the_map_are_answered_beside_the_artifact(filled: Catalogue) -> None:
    """Head, proof and artifact, as one statement sees them; what is not there is left out."""
    contents = {position: bytes([number]) * 40 for number, position in enumerate(POSITIONS[:3])}
    with filled.write() as transaction:
        transaction.map.replace(contents)
    answer = filled.ask(request("churn", "a"), POSITIONS)
    assert answer.head == b"head"
    assert answer.map_rows == contents
    assert answer.artifact == ROWS[3]
    absent = filled.ask(request("nobody", "a"), POSITIONS)
    assert (absent.head, absent.map_rows, absent.artifact) == (b"head", contents, None)


def test_many_rows_of_the_map_are_replaced_and_fetched(catalogue: Catalogue) -> None:
    """More of them than one statement takes; the others stay."""
    first = dict.fromkeys(range(1200), b"first")
    with catalogue.write() as transaction:
        transaction.map.replace(first)
        transaction.map.replace(dict.fromkeys(range(600, 1200), b"second"))
    with catalogue.read() as rows:
        found = rows.map.fetch(range(2_000))
    assert found == {**first, **dict.fromkeys(range(600, 1200), b"second")}


def test_settings_are_kept_by_version(catalogue: Catalogue) -> None:
    """The newest does not take the older ones' place; one that is signed anew does."""
    with catalogue.write() as transaction:
        for version, envelope in ((1, b"one"), (2, b"two"), (2, b"two again")):
            transaction.map.put_settings(version, envelope)
    with catalogue.read() as rows:
        assert [rows.map.settings(version) for version in (1, 2, 3)] == [b"one", b"two again", None]


# ── changing ─────────────────────────────────────────────────────────────────


def test_a_new_signature_changes_envelope_and_key_id_and_nothing_else(filled: Catalogue) -> None:
    """Re-signing leaves every other column as it was."""
    changed = replace(row(1, "x", "y"), sequence=4, envelope=b"new", key_id="f" * 32)
    with filled.write() as transaction:
        transaction.replace_envelope(changed)
    expected = replace(ROWS[3], envelope=b"new", key_id="f" * 32)
    assert find(filled, "churn", "a", 2) == expected
    assert find(filled, "churn", "a", 1) == ROWS[0]


@pytest.mark.invariant(3)
def test_a_transaction_that_fails_changes_nothing(filled: Catalogue) -> None:
    """Whatever was raised, the rows are those from before."""
    before = filled.list_rows(ListFilter(), limit=100)

    def fail() -> None:
        with filled.write() as transaction:
            transaction.delete_artifacts("churn", "a", 1)
            transaction.insert_artifact(row(9, "m", "a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert filled.list_rows(ListFilter(), limit=100) == before
    for duplicate in (row(9, "churn", "a", 2), row(7, "m", "a")):
        with (
            pytest.raises(
                CatalogueError, match="another row stands where this one belongs"
            ) as refusal,
            filled.write() as transaction,
        ):
            transaction.insert_artifact(duplicate)
        assert "churn" not in refusal.value.message
    assert filled.list_rows(ListFilter(), limit=100) == before


def test_a_transaction_reads_what_it_wrote(filled: Catalogue) -> None:
    """Inside a transaction the newest state counts."""
    with filled.write() as transaction:
        transaction.insert_artifact(row(8, "churn", "a", 3))
        assert transaction.highest_sequence() == 8
        found = transaction.artifact(8)
        assert found is not None
        assert found.revision == 3
        transaction.delete_artifacts("churn", "a", 3)
        assert transaction.artifact(8) is None
        assert transaction.count_artifacts() == len(ROWS)
