"""Whoever may write to the catalogue: every column, every type, and the schema itself."""

from __future__ import annotations

import sqlite3
import tracemalloc
from base64 import b64decode, b64encode
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    ArtifactNotFound,
    CatalogueError,
    CatalogueTamperedError,
    EnvelopeFormatError,
    SealstoreError,
    SignatureInvalidError,
)
from sealstore.names import request
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.signed.envelope import read_unverified
from sealstore.storage.catalogue.tables import artifact as artifact_table
from sealstore.storage.catalogue.tables import history as history_tables
from tests.sealstore_fixtures import (
    MODEL,
    Trap,
    change_row,
    digests_of,
    envelope_of,
    payload_path,
    replace_payload,
    run_sql,
)

pytestmark = [pytest.mark.invariant(2), pytest.mark.usefixtures("bystander")]

# Values of every type that SQLite keeps, whatever the column's own type is.
HOSTILE = [
    None,
    0,
    -1,
    1,
    7,
    (1 << 63) - 1,
    -(1 << 63),
    1.5,
    float("inf"),
    "",
    "x",
    "latest",
    "../../etc/passwd",
    "\x1b[31m\x00\u202e",
    "x" * 100_000,
    b"",
    b"victim",
    b"\xff\xfe",
    b"x" * 100_000,
]
COLUMNS = [column.name for column in artifact_table.columns]


def set_raw(repository: Repository, column: str, expression: str, *parameters: object) -> bool:
    """Whether SQLite let the victim's column be set."""
    try:
        run_sql(
            repository,
            f"UPDATE artifact SET {column} = {expression} WHERE name = 'victim'",
            *parameters,
        )
    except sqlite3.IntegrityError:
        return False
    return True


def current(repository: Repository) -> list[tuple[Any, ...]]:
    return run_sql(repository, "SELECT * FROM artifact ORDER BY sequence")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_edited_by_raw_sql(repository: Repository, victim: Artifact, column: str) -> None:
    """Each column, set to values of each type: an error of the family, and never an object."""
    genuine = current(repository)
    [[original]] = run_sql(
        repository,
        f"SELECT {column} FROM artifact WHERE sequence = ?",
        victim.sequence,
    )
    attempts = 0
    for value in HOSTILE:
        if not set_raw(repository, column, "?", value):
            continue
        if current(repository) == genuine:
            continue
        attempts += 1
        for tag in ("v1", "latest"):
            for read in (repository.load, repository.get, repository.verify):
                with pytest.raises(SealstoreError):
                    read("victim", tag)
        page = repository.list()
        assert [each.name for each in page.artifacts] == ["bystander"]
        assert len(page.refused) == 1
        assert str(page.refused[0].error).isprintable()
        # The victim may have lost its name: it is found again by elimination.
        run_sql(
            repository,
            f"UPDATE artifact SET {column} = ? WHERE name <> 'bystander'",
            original,
        )
        assert current(repository) == genuine
    assert attempts >= 10
    assert repository.load("victim", "v1") == MODEL


@pytest.mark.parametrize("column", COLUMNS)
def test_a_text_that_is_no_utf_8(repository: Repository, victim: Artifact, column: str) -> None:
    """Bytes that do not decode are an error of the family that does not repeat them."""
    assert set_raw(repository, column, "CAST(x'ff676f74636861' AS TEXT)")
    for read in (repository.load, repository.get, repository.verify):
        with pytest.raises(SealstoreError) as refusal:
            read(victim.name, victim.tag)
        assert "gotcha" not in str(refusal.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (column.name, value)
        for column in history_tables.entry.columns
        for value in (None, -1, (1 << 63) - 1, 1.5, "x", b"x", "\x1b[31m")
        if value is not None or column.nullable
        # SQLite keeps only whole numbers where a row has its own.
        if type(value) is int or not column.primary_key
    ],
)
def test_a_history_edited_by_raw_sql(
    repository: Repository, victim: Artifact, column: str, value: object
) -> None:
    """Loads do not depend on it; a store makes the right number of it or refuses."""
    update = f"UPDATE history_entry SET {column} = ? WHERE sequence = ?"
    run_sql(repository, update, value, victim.sequence)
    assert repository.load("victim", "v1") == MODEL
    before = current(repository)
    try:
        again = repository.store("again", "victim", "v1")
    except SealstoreError:
        assert current(repository) == before
    else:
        assert repository.load("victim", "v1", revision=again.revision) == "again"
    assert repository.load("victim", "v1", revision=1) == MODEL


# ── envelopes in a row ───────────────────────────────────────────────────────


def with_signatures(envelope: bytes, signatures: bytes) -> bytes:
    start = envelope.index(b'"signatures":')
    return envelope[:start] + b'"signatures":' + signatures + b"}"


def test_an_empty_list_of_signatures(repository: Repository, victim: Artifact) -> None:
    """No signature is not a valid one."""
    envelope = envelope_of(repository, victim)
    for signatures in (b"[]", b"null", b"{}", b'""', b"[[]]", b"[{}]"):
        change_row(repository, victim, envelope=with_signatures(envelope, signatures))
        with pytest.raises(EnvelopeFormatError):
            repository.load("victim")


def test_two_signatures_of_which_one_is_wrong(repository: Repository, victim: Artifact) -> None:
    """A genuine signature does not carry another one with it, before or behind."""
    envelope = envelope_of(repository, victim)
    part = read_unverified(envelope)
    right = envelope[envelope.index(b'{"keyid"') : -2]
    for wrong in (
        right.replace(b'"sig":"', b'"sig":"AAAA'),
        right.replace(part.key_id.encode(), b"f" * 32),
        right,
    ):
        for pair in (right + b"," + wrong, wrong + b"," + right):
            change_row(repository, victim, envelope=with_signatures(envelope, b"[" + pair + b"]"))
            with pytest.raises(EnvelopeFormatError, match="exactly one signature"):
                repository.load("victim")


def test_a_statement_edited_under_its_signature(
    repository: Repository, victim: Artifact, trap: Trap
) -> None:
    """The digests of a malicious payload, put into a signed statement, are not signed."""
    payload = trap.payload(victim.size)
    replace_payload(payload_path(repository, victim), payload)
    envelope = envelope_of(repository, victim)
    encoded = envelope.split(b'"payload":"')[1].split(b'"')[0]
    edited = b64decode(encoded)
    for ours, theirs in (
        (victim.digests.sha256, digests_of(payload).sha256),
        (victim.digests.blake3, digests_of(payload).blake3),
    ):
        edited = edited.replace(ours.encode(), theirs.encode())
    assert edited != b64decode(encoded)
    change_row(repository, victim, envelope=envelope.replace(encoded, b64encode(edited)))
    with pytest.raises(SignatureInvalidError):
        repository.load("victim")
    assert not trap.sprung


# ── sizes ────────────────────────────────────────────────────────────────────


def test_a_huge_declared_size_in_the_row(repository: Repository, victim: Artifact) -> None:
    """The signed size counts; the row's is compared with it and nothing is made of it."""
    for size in (1 << 40, (1 << 63) - 1, -1, 0):
        change_row(repository, victim, size=size)
        with pytest.raises(CatalogueTamperedError, match=r"\(size\)"):
            repository.load("victim")
        tracemalloc.start()
        with pytest.raises(CatalogueTamperedError, match=r"\(size\)"):
            repository.load("victim")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # A connection's buffers are a megabyte; the claimed size is a million times that.
        assert peak < 1 << 22


@pytest.mark.parametrize("column", ["envelope", "user_metadata", "actor"])
def test_a_huge_value_in_a_row(repository: Repository, victim: Artifact, column: str) -> None:
    """A value beyond the cap is refused by the database's library, before memory is taken."""
    expression = f"zeroblob({limits.MAX_ROW_BYTES * 8})"
    if column != "envelope":
        expression = f"CAST({expression} AS TEXT)"
    assert set_raw(repository, column, expression)
    tracemalloc.start()
    # An envelope's length is asked for first: a larger one is not fetched at all.
    expected = (
        (EnvelopeFormatError, "exactly one")
        if column == "envelope"
        else (
            CatalogueError,
            "too big",
        )
    )
    with pytest.raises(expected[0], match=expected[1]):
        repository.load("victim")
    if column == "envelope":
        assert [type(each.error) for each in repository.list().refused] == [EnvelopeFormatError]
    else:
        with pytest.raises(CatalogueError, match="too big"):
            repository.list()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < limits.MAX_ROW_BYTES
    change_row(repository, victim, **{column: "x"})


# ── missing rows ─────────────────────────────────────────────────────────────


def test_rows_that_are_gone_are_missed(repository: Repository, victim: Artifact) -> None:
    """A deleted row is no missing artifact: the head vouches for one."""
    run_sql(repository, "DELETE FROM artifact WHERE name = 'victim'")
    for tag in ("v1", "latest"):
        with pytest.raises(CatalogueTamperedError, match="has no row of it"):
            repository.load("victim", tag)


def test_a_row_that_names_no_artifact_is_refused(repository: Repository, victim: Artifact) -> None:
    """What is removed is what the head vouches for; the row goes on being refused."""
    repository.store("two", "victim", "v1")
    change_row(repository, victim, revision="x")
    removed = repository.remove("victim", "v1")
    assert removed == (request("victim", "v1", 1), request("victim", "v1", 2))
    assert len(current(repository)) == 2
    assert [type(each.error) for each in repository.list().refused] == [CatalogueTamperedError]
    with pytest.raises(ArtifactNotFound):
        repository.load("victim")
