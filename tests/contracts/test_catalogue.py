"""Finding and listing, on both databases: which row answers, and which rows a page shows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import CatalogueError
from sealstore.keys.keyring import Keyring
from sealstore.names import request
from sealstore.signed.envelope import open_statement
from sealstore.signed.statement import StoredBy
from sealstore.storage.catalogue import Catalogue, catalogue_engine
from sealstore.storage.catalogue.artifacts import Answer, ArtifactRow
from sealstore.storage.catalogue.chain_rows import (
    entry_rows,
    newest_rows,
    node_digests,
)
from sealstore.storage.catalogue.ledger_rows import HASH_BYTES, ChainReader, EntryRow, NodeRow
from sealstore.storage.catalogue.listing import (
    ListFilter,
    artifact_at,
    artifact_names,
    count_artifacts,
    every_artifact,
    every_claim,
    list_rows,
)
from sealstore.storage.catalogue.migrations import upgrade
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
    """The row of the history that a store would make; of its bytes the catalogue knows nothing."""
    return EntryRow(
        sequence=sequence or row.sequence,
        entry=b"entry %d" % (sequence or row.sequence),
        event=event,
        at=row.created,
        name=row.name,
        tag=row.tag,
    )


HEAD = b"the head"


def insert(catalogue: Catalogue, *rows: ArtifactRow) -> None:
    with catalogue.write() as transaction:
        for each in rows:
            transaction.insert_artifact(each)
        transaction.history.append(map(entry, rows), [], HEAD)


POSITIONS = (0, 5, 70, 4_500)
"""Of rows of the map that might prove an answer: which ones it is are known to the ledger only."""


def find(catalogue: Catalogue, *asked: Any) -> ArtifactRow | None:
    """The row that the catalogue gives for an answer."""
    return catalogue.ask(request(*asked), POSITIONS).artifact


ROWS = [
    row(1, "churn", "a", 1, metadata={"stage": "Test"}),
    row(2, "churn", "b", 1),
    row(3, "fraud", "a", 1, stored_by=StoredBy(user="ada", host="h", actor="job 7")),
    row(4, "churn", "a", 2, metadata={"stage": "100%_done!"}),
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


@pytest.mark.parametrize("asked", [("churn", "a"), ("churn", "a", 1), ("churn", "latest")])
def test_an_answer_brings_the_head_and_the_rows_that_are_there(
    filled: Catalogue, asked: Any
) -> None:
    """One question: head, proof and artifact; what is not stored of the map is not in it."""
    with filled.write() as transaction:
        transaction.map.replace({0: b"top", 70: b"bucket", 71: b"another"})
    answer = filled.ask(request(*asked), POSITIONS)
    assert (answer.head, answer.map_rows) == (HEAD, {0: b"top", 70: b"bucket"})
    assert answer.artifact is not None
    nothing = filled.ask(request("nobody", *asked[1:]), POSITIONS)
    assert nothing == Answer(HEAD, {0: b"top", 70: b"bucket"}, None)


def test_without_a_head_there_is_no_answer(catalogue: Catalogue) -> None:
    """Rows that no head could vouch for are not even fetched."""
    with catalogue.write() as transaction:
        transaction.insert_artifact(ROWS[0])
    assert catalogue.ask(request("churn", "a"), POSITIONS) == Answer(None, {}, None)


@pytest.mark.invariant(2)
def test_what_is_too_large_is_not_fetched(filled: Catalogue) -> None:
    """A planted giant is as good as not there, and takes no memory."""
    with filled.write() as transaction:
        transaction.map.replace({0: bytes(limits.MAX_MAP_BUCKET_BYTES + 1), 5: b"fits"})
        transaction.put_settings(7, bytes(limits.MAX_SETTINGS_BYTES + 1))
        giant = replace(ROWS[0], envelope=bytes(limits.MAX_ENVELOPE_BYTES + 1))
        transaction.replace_envelope(giant)
        nodes = [NodeRow(0, 0, bytes(HASH_BYTES)), NodeRow(0, 1, bytes(HASH_BYTES + 1))]
        transaction.history.append([], nodes, bytes(limits.MAX_HEAD_ENVELOPE_BYTES + 1))
    answer = filled.ask(request("churn", "a", 1), POSITIONS)
    assert (answer.head, answer.map_rows) == (None, {5: b"fits"})
    assert answer.artifact is not None
    assert answer.artifact.envelope is None
    with filled.read() as rows:
        assert rows.history.head() is None
        assert [rows.history.get(0, index) for index in (0, 1)] == [bytes(HASH_BYTES), None]
        assert node_digests(rows.history, 0, 0, 2) == {0: bytes(HASH_BYTES), 1: None}
        assert rows.settings(7) is None
        assert rows.map.fetch(POSITIONS) == {5: b"fits"}


# ── pages ────────────────────────────────────────────────────────────────────


def sequences(rows: list[ArtifactRow]) -> list[int]:
    return [each.sequence for each in rows]


def listed(catalogue: Catalogue, **conditions: Any) -> list[int]:
    """The sequences of all rows that meet the conditions, and their number checked."""
    wanted = ListFilter(**conditions)
    found = sequences(list_rows(catalogue, wanted, limit=100))
    assert count_artifacts(catalogue, wanted) == len(found)
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
    while page := list_rows(filled, ListFilter(), limit=size, before_sequence=before):
        assert len(page) <= size
        found += sequences(page)
        before = page[-1].sequence
        if len(found) == size:
            insert(filled, row(20, "new", "a"))
    assert found == [7, 6, 5, 4, 3, 2, 1]


def test_a_page_has_no_more_rows_than_the_limit(catalogue: Catalogue) -> None:
    """Neither a huge nor a negative limit brings the whole table."""
    template = row(1, "m", "a")
    numbers = range(1, limits.MAX_LIST_ROWS + 6)
    with catalogue.write() as transaction:
        for number in numbers:
            transaction.insert_artifact(replace(template, sequence=number, revision=number))
        entries = (entry(template, sequence=number) for number in numbers)
        transaction.history.append(entries, [], HEAD)
    with catalogue.read() as rows:
        assert len(list_rows(catalogue, ListFilter(), limit=1 << 40)) == limits.MAX_LIST_ROWS
        assert len(newest_rows(rows.history, limit=1 << 40)) == limits.MAX_LIST_ROWS
        for limit in (0, -1):
            assert list_rows(catalogue, ListFilter(), limit=limit) == []
            assert newest_rows(rows.history, limit=limit) == []
        # Whoever verifies reads them all, a fetch at a time.
        assert len(list(entry_rows(rows.history, 0, len(numbers)))) == len(numbers)
    assert count_artifacts(catalogue, ListFilter()) == len(numbers)


def test_names_are_listed_once_and_sorted(filled: Catalogue) -> None:
    """What a chooser shows."""
    assert artifact_names(filled) == ["Churn", "churn", "fraud", "Änderung"]


# ── history, map and settings ────────────────────────────────────────────────


def test_the_history_is_read_newest_first_and_page_by_page(filled: Catalogue) -> None:
    """Of all, of one name or tag, of some events, of some time; a page begins before an entry."""

    def read(**conditions: Any) -> list[int]:
        with filled.read() as rows:
            return [each.sequence for each in newest_rows(rows.history, limit=100, **conditions)]

    with filled.write() as transaction:
        transaction.history.append([entry(ROWS[3], "remove", 8)], [], HEAD)
    assert read() == [8, 7, 6, 5, 4, 3, 2, 1]
    assert read(name="churn") == [8, 7, 4, 2, 1]
    assert read(name="churn", tag="a") == [8, 4, 1]
    assert read(tag="a") == [8, 5, 4, 3, 1]
    assert read(events=["remove"]) == [8]
    assert read(events=["store", "remove"], name="fraud") == [3]
    assert read(before_sequence=6) == [5, 4, 3, 2, 1]
    assert read(name="churn", before_sequence=4) == [2, 1]
    assert read(since="2026-01-05", until="2026-01-07") == [6, 5]
    with filled.read() as rows:
        assert newest_rows(rows.history, name="fraud", limit=1) == [entry(ROWS[2])]


def test_entries_are_read_in_order_and_as_they_were_put_in(filled: Catalogue) -> None:
    """From an index up to another; what is missing is passed over, and whoever verifies sees it."""
    with filled.write() as transaction:
        transaction.history.append([entry(ROWS[0], sequence=9)], [], b"the next head")
        history = transaction.history
        assert (history.head(), history.newest_sequence()) == (b"the next head", 9)
    with filled.read() as rows:
        assert list(entry_rows(rows.history, 0, 2)) == [entry(ROWS[0]), entry(ROWS[1])]
        assert list(rows.history.entries(5, 9)) == [b"entry 6", b"entry 7", b"entry 9"]
        assert list(rows.history.entries(3, 3)) == []
        assert (rows.history.head(), rows.history.newest_sequence()) == (b"the next head", 9)


def test_an_empty_history_has_neither_head_nor_entries(catalogue: Catalogue) -> None:
    """Nothing is made up where nothing is."""

    def look(history: ChainReader) -> None:
        assert history.head() is None
        assert history.newest_sequence() == 0
        assert list(history.entries(0, 10)) == []
        assert newest_rows(history, limit=10) == []
        assert history.get(0, 0) is None

    with catalogue.read() as rows:
        look(rows.history)
        assert rows.map.fetch([0, 1]) == {}
        assert rows.map.fetch([0]).get(0) is None
        assert rows.settings(1) is None
    with catalogue.write() as transaction:
        look(transaction.history)
        assert transaction.highest_sequence() is None


def test_nodes_come_back_by_level_and_index(catalogue: Catalogue) -> None:
    """A node is 32 bytes; other levels and indices have other nodes, or none."""
    nodes = [NodeRow(0, 0, b"a" * 32), NodeRow(0, 1, b"b" * 32), NodeRow(1, 0, b"c" * 32)]
    with catalogue.write() as transaction:
        transaction.history.append([], nodes, HEAD)
    with catalogue.read() as rows:
        for node in nodes:
            assert rows.history.get(node.level, node.node_index) == node.digest
        assert rows.history.get(1, 1) is None
        assert rows.history.get(2, 0) is None


def test_rows_of_the_map_are_replaced_and_all_others_stay(catalogue: Catalogue) -> None:
    """Of few and of very many rows, more than a statement takes."""
    many = {position: b"row %d" % position for position in range(0, 2_000, 2)}
    with catalogue.write() as transaction:
        transaction.map.replace(many)
    with catalogue.write() as transaction:
        transaction.map.replace({0: b"new", 1: b"added"})
        assert transaction.map.fetch([0]).get(0) == b"new"
    with catalogue.read() as rows:
        assert rows.map.fetch(range(2_000)) == many | {0: b"new", 1: b"added"}
        assert rows.map.fetch([3]).get(3) is None


def test_every_version_of_the_settings_is_kept(catalogue: Catalogue) -> None:
    """By its number; the same one, signed again, takes its own place."""
    for version, envelope in ((1, b"first"), (2, b"second"), (2, b"second, signed again")):
        with catalogue.write() as transaction:
            transaction.put_settings(version, envelope)
    with catalogue.read() as rows:
        found = [rows.settings(version) for version in (1, 2, 3)]
    assert found == [b"first", b"second, signed again", None]


def test_every_artifact_is_read_for_who_verifies_all(filled: Catalogue) -> None:
    """In whatever order, each row as it was put in, and what it claims."""
    with filled.read() as rows:
        assert sorted(every_artifact(rows), key=lambda row: row.sequence) == ROWS
        assert set(every_claim(rows)) == {
            (each.sequence, each.statement_digest, each.sha256) for each in ROWS
        }
        assert artifact_at(rows, 3) == ROWS[2]
        assert artifact_at(rows, 9) is None


def test_a_snapshot_sees_one_state(filled: Catalogue) -> None:
    """Head, entries and map of one moment, whatever is committed meanwhile."""
    with filled.read() as rows:
        assert rows.history.head() == HEAD
        with filled.write() as transaction:
            transaction.history.append([entry(ROWS[0], sequence=8)], [], b"the next head")
            transaction.map.replace({0: b"row"})
        assert (rows.history.head(), rows.history.newest_sequence()) == (HEAD, 7)
        assert rows.map.fetch([0]).get(0) is None
    with filled.read() as rows:
        assert (rows.history.head(), rows.history.newest_sequence()) == (b"the next head", 8)
        assert rows.map.fetch([0]).get(0) == b"row"


def test_what_can_be_read_is_made_durable(
    filled: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's log, and the folder with its name; a server shows nothing that is not durable."""
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    filled.engine.sync()
    if not filled.engine.is_sqlite:
        assert synced == []
        return
    log, folder = synced
    assert (log, folder) == ("catalogue.sqlite3-wal", tmp_path.name)
    filled.engine.dispose()
    with closing(sqlite3.connect(tmp_path / "catalogue.sqlite3")) as database:
        database.execute("PRAGMA journal_mode=delete")
    filled.engine.sync()
    # Without a log, the journal's removal is the commit.
    assert synced[2:] == [tmp_path.name]


# ── changing ─────────────────────────────────────────────────────────────────


@pytest.mark.invariant(3)
def test_removing_an_artifact_takes_that_row_only(filled: Catalogue) -> None:
    """Neither other revisions nor the history change; numbers are for the ledger to give out."""
    with filled.write() as transaction:
        transaction.delete_artifacts("churn", "a", 2)
        transaction.delete_artifacts("CHURN", "a", 1)
        assert artifact_at(transaction, 4) is None
        assert artifact_at(transaction, 1) == ROWS[0]
        assert transaction.highest_sequence() == 7
    assert count_artifacts(filled, ListFilter()) == 6
    assert find(filled, "churn", "a") == ROWS[0]
    with filled.read() as rows:
        assert len(list(entry_rows(rows.history, 0, 7))) == 7


@pytest.mark.invariant(2)
@pytest.mark.parametrize("number", [(1 << 63) - 1, -5])
def test_what_an_artifact_claims_to_be_its_place_is_told_as_it_stands(
    catalogue: Catalogue, number: int
) -> None:
    """Whether any change was given such a number is for the ledger to judge."""
    with catalogue.write() as transaction:
        transaction.insert_artifact(replace(ROWS[0], sequence=number))
        assert transaction.highest_sequence() == number


def test_a_new_signature_changes_envelope_and_key_id_and_nothing_else(filled: Catalogue) -> None:
    """Re-signing leaves every other column as it was."""
    changed = replace(row(1, "x", "y"), sequence=4, envelope=b"new", key_id="f" * 32)
    with filled.write() as transaction:
        transaction.replace_envelope(changed)
    assert find(filled, "churn", "a", 2) == replace(ROWS[3], envelope=b"new", key_id="f" * 32)
    assert find(filled, "churn", "a", 1) == ROWS[0]


@pytest.mark.invariant(3)
def test_a_transaction_that_fails_changes_nothing(filled: Catalogue) -> None:
    """Whatever was raised, the rows are those from before."""
    before = list_rows(filled, ListFilter(), limit=100)

    def fail() -> None:
        with filled.write() as transaction:
            transaction.delete_artifacts("churn", "a", 1)
            transaction.insert_artifact(row(9, "m", "a"))
            transaction.history.append([entry(ROWS[0], sequence=8)], [], b"the next head")
            transaction.map.replace({0: b"row"})
            transaction.put_settings(1, b"settings")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list_rows(filled, ListFilter(), limit=100) == before
    with filled.read() as rows:
        assert (rows.history.head(), rows.history.newest_sequence()) == (HEAD, 7)
        assert rows.map.fetch([0]).get(0) is None
        assert rows.settings(1) is None
    for duplicate in (row(9, "churn", "a", 2), row(7, "m", "a")):
        with (
            pytest.raises(CatalogueError, match="another row stands") as refusal,
            filled.write() as transaction,
        ):
            transaction.insert_artifact(duplicate)
        assert "churn" not in refusal.value.message
    assert list_rows(filled, ListFilter(), limit=100) == before


def test_a_transaction_reads_what_it_wrote(filled: Catalogue) -> None:
    """Inside a transaction the newest state counts."""
    with filled.write() as transaction:
        added = row(8, "churn", "a", 3)
        transaction.insert_artifact(added)
        assert artifact_at(transaction, 8) == added
        transaction.delete_artifacts("churn", "a", 3)
        assert artifact_at(transaction, 8) is None
        transaction.history.append([entry(added)], [], b"the next head")
        assert transaction.history.head() == b"the next head"
        assert list(entry_rows(transaction.history, 7, 8)) == [entry(added)]
