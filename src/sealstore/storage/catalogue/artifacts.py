"""Finding, listing and changing artifacts. Nothing here decides what is true: rows are hints."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sealstore import limits
from sealstore.names import ArtifactRef
from sealstore.signed.envelope import VerifiedStatement
from sealstore.storage.catalogue import statements
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.ledger_rows import (
    ApprovalRows,
    ChainReader,
    ChainWriter,
    MapRows,
    as_bytes,
)
from sealstore.storage.catalogue.sqlite import writers_queue

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Connection, Engine

PROOF_ROWS: Final = 4
"""Rows of the map that prove one answer."""
_ROWS_A_FETCH: Final = 500
_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """One row of the table ``artifact``: unverified, whatever it says.

    Every column but the envelope repeats what the statement in the envelope says, to be searched.
    """

    sequence: int
    name: str
    tag: str
    revision: int
    created: str
    format: str
    size: int
    sha256: str
    actor: str
    user_metadata: str
    key_id: str
    statement_digest: str
    envelope: bytes

    @classmethod
    def of(cls, verified: VerifiedStatement, envelope: bytes) -> ArtifactRow:
        """The row that says what ``verified``, the statement in ``envelope``, says."""
        statement = verified.statement
        predicate = statement.predicate
        return cls(
            sequence=predicate.sequence,
            name=predicate.name,
            tag=predicate.tag,
            revision=predicate.revision,
            created=predicate.created,
            format=predicate.format,
            size=predicate.size,
            sha256=statement.digests.sha256,
            actor=predicate.stored_by.actor or predicate.stored_by.user,
            user_metadata=msgspec.json.encode(predicate.metadata).decode("utf-8"),
            key_id=verified.key_id,
            statement_digest=verified.digest,
            envelope=envelope,
        )

    def differences(self, expected: ArtifactRow) -> list[str]:
        """The columns in which this row is not ``expected``, types included."""
        return [
            column
            for column in self.__slots__
            if type(getattr(self, column)) is not type(getattr(expected, column))
            or getattr(self, column) != getattr(expected, column)
        ]


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which artifacts a listing shows; every condition given must hold.

    Attributes:
        name, tag, format, actor, key_id: equal to this.
        search: found in the name, the tag or the metadata, ignoring the case of ASCII letters.
        created_from, created_before: UTC times as statements write them, or their beginnings.
        newest_only: only the newest revision of each (name, tag).
    """

    name: str | None = None
    tag: str | None = None
    format: str | None = None
    actor: str | None = None
    key_id: str | None = None
    search: str | None = None
    created_from: str | None = None
    created_before: str | None = None
    newest_only: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the catalogue says to a load. Nothing of it is believed yet.

    Attributes:
        head: the head's envelope; None where there is none.
        map_rows: contents of the map's rows by position, those that are stored.
        artifact: the row that seems to be the one; None where there is none.
    """

    head: bytes | None
    map_rows: Mapping[int, bytes]
    artifact: ArtifactRow | None


_CAP: Final = {"cap": limits.MAX_ENVELOPE_BYTES}
_CAPS: Final = {
    "head_cap": limits.MAX_HEAD_ENVELOPE_BYTES,
    "row_cap": limits.MAX_MAP_BUCKET_BYTES,
    **_CAP,
}


class Catalogue:
    """The artifacts and the history of one repository, as the database has them.

    Args:
        engine: from ``catalogue_engine``.
        lock_file: where writers to SQLite queue; None for PostgreSQL.
    """

    def __init__(self, engine: Engine, *, lock_file: Path | None) -> None:
        self.engine = engine
        self._lock_file = lock_file

    def ask(self, ref: ArtifactRef, positions: Sequence[int]) -> Answer:
        """What the catalogue says of ``ref`` to a load.

        Args:
            ref: which artifact.
            positions: of the map's rows that prove the answer, from ``ledger.positions_of``.

        Raises:
            CatalogueError: the database failed.
        """
        given: dict[str, Any] = {"name": str(ref.name), **_CAPS}
        for level, position in enumerate(positions):
            given[f"position_{level}"] = position
        statement = statements.NEWEST_OF_NAME
        if not ref.tag.is_latest:
            given["tag"] = str(ref.tag)
            statement = statements.NEWEST_OF_TAG
            if ref.revision is not None:
                given["revision"] = ref.revision
                statement = statements.REVISION
        with self.engine.reading() as connection:
            row = connection.execute(statement, given).fetchone()
        if row is None:
            return Answer(None, {}, None)
        head, *rest = row
        contents, columns = rest[:PROOF_ROWS], rest[PROOF_ROWS:]
        map_rows = {
            position: content
            for position, stored in zip(positions, contents, strict=True)
            if (content := as_bytes(stored)) is not None
        }
        # A row that is not there has no sequence, which is the table's key.
        found = None if columns[0] is None else _artifact_row(columns)
        return Answer(as_bytes(head), map_rows, found)

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """The ledger's rows, as one snapshot sees them.

        Raises:
            CatalogueError: the database failed.
        """
        with self.engine.reading() as connection:
            yield Reading(connection)

    def sync(self) -> None:
        """Make everything durable that can be read, whoever committed it.

        Raises:
            CatalogueError: the database or its file system failed.
        """
        self.engine.sync()

    def list_rows(
        self, conditions: ListFilter, *, limit: int, before_sequence: int | None = None
    ) -> list[ArtifactRow]:
        """Rows that meet ``conditions``, the ones stored last first.

        Args:
            conditions: which.
            limit: how many at most, up to ``limits.MAX_LIST_ROWS``.
            before_sequence: only those stored before this sequence: the last one of the page
                before (keyset pagination: a page costs the same wherever it lies).

        Raises:
            CatalogueError: the database failed.
        """
        wanted, asked = _matching(conditions)
        if before_sequence is not None:
            wanted.append(statements.BEFORE)
            asked["before"] = before_sequence
        # SQLite takes a negative limit for no limit.
        asked["most"] = max(0, min(limit, limits.MAX_LIST_ROWS))
        statement = statements.where(statements.LISTING, wanted)
        with self.engine.reading() as connection:
            found = connection.execute(statement, asked | _CAP).fetchall()
        return [_artifact_row(row) for row in found]

    def count(self, conditions: ListFilter) -> int:
        """How many artifacts meet ``conditions``.

        Raises:
            CatalogueError: the database failed.
        """
        wanted, asked = _matching(conditions)
        statement = statements.where(statements.COUNT, wanted)
        with self.engine.reading() as connection:
            return int(connection.execute(statement, asked).fetchone()[0])

    def names(self) -> list[str]:
        """Every name, sorted.

        Raises:
            CatalogueError: the database failed.
        """
        with self.engine.reading() as connection:
            return [str(name) for (name,) in connection.execute(statements.NAMES).fetchall()]

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """One transaction that excludes all other writers; rolled back if the block raises.

        Raises:
            CatalogueError: the database is locked, not writable, damaged or full.
        """
        what = "The catalogue cannot be changed"
        with (
            catalogue_errors(what, reading=False),
            writers_queue(self._lock_file, "the catalogue"),
            self.engine.writing() as connection,
        ):
            yield WriteTransaction(connection)


class Reading:
    """The ledger's rows in one snapshot.

    Attributes:
        history: the history.
        map: the map and the settings.
        approvals: of moves of aliases.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.history = ChainReader(connection, "history")
        self.map = MapRows(connection)
        self.approvals = ApprovalRows(connection)

    def artifacts(self) -> Iterator[ArtifactRow]:
        """The row of every artifact."""
        yield from map(_artifact_row, self._pages(statements.ARTIFACT_COLUMNS, _CAP))

    def claims(self) -> Iterator[tuple[object, object, object]]:
        """Sequence, digest of the statement and SHA-256 that each row claims."""
        yield from self._pages(statements.CLAIMS, {})

    def _pages(self, columns: str, values: Mapping[str, Any]) -> Iterator[Any]:
        """Rows of the artifacts; the first of ``columns`` is the sequence.

        Page by page, whatever a sequence claims to be: drivers fetch all that is asked for.
        """
        asked = {**values, "most": _ROWS_A_FETCH}
        page = statements.PAGE.replace("COLUMNS", columns)
        conditions: list[str] = []
        while True:
            statement = statements.where(page, conditions)
            with catalogue_errors("The catalogue cannot be read"):
                rows = self._connection.execute(statement, asked).fetchall()
            yield from rows
            if len(rows) < _ROWS_A_FETCH:
                return
            conditions, asked["after"] = [statements.AFTER], rows[-1][0]

    def artifact(self, sequence: int) -> ArtifactRow | None:
        """The row of the artifact that was stored as this entry of the history."""
        return _artifact_at(self._connection, sequence)

    def origin(self, sequence: int) -> bytes | None:
        """The envelope of the origin of the artifact that was imported as this entry."""
        with catalogue_errors("The catalogue cannot be read"):
            asked = {"sequence": sequence, **_CAP}
            row = self._connection.execute(statements.ORIGIN, asked).fetchone()
        return None if row is None else as_bytes(row[0])

    def origin_sequences(self) -> Iterator[object]:
        """The places in the history that origins are kept for, as the rows give them."""
        with catalogue_errors("The catalogue cannot be read"):
            found = self._connection.execute(statements.ORIGINS).fetchall()
        for (sequence,) in found:
            yield sequence


class WriteTransaction:
    """What a change of the repository does to the catalogue, in one transaction.

    Attributes:
        history: the history.
        map: the map and the settings.
        approvals: of moves of aliases.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.history = ChainWriter(connection, "history")
        self.map = MapRows(connection)
        self.approvals = ApprovalRows(connection)

    def _execute(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        # One by one: drivers raise errors of Python's own for values that they cannot carry, and
        # what else is raised in the transaction's block is not the database's.
        with catalogue_errors("The catalogue cannot be changed"):
            return self._connection.execute(statement, values or {})

    def artifact(self, sequence: int) -> ArtifactRow | None:
        """The row of the artifact that was stored as this entry of the history."""
        return _artifact_at(self._connection, sequence)

    def highest_sequence(self) -> object:
        """The highest sequence that any artifact claims; None where there is none."""
        return self._execute(statements.HIGHEST_SEQUENCE).fetchone()[0]

    def insert_artifact(self, row: ArtifactRow) -> None:
        """Add an artifact."""
        self._execute(statements.ADD_ARTIFACT, {name: getattr(row, name) for name in row.__slots__})

    def insert_origin(self, sequence: int, envelope: bytes) -> None:
        """Keep the envelope that an artifact had where it comes from.

        Args:
            sequence: of the artifact here.
            envelope: of its statement there.
        """
        self._execute(statements.ADD_ORIGIN, {"sequence": sequence, "envelope": envelope})

    def replace_envelope(self, row: ArtifactRow) -> None:
        """Give an artifact another signature: its envelope and key id, nothing else."""
        changed = {"envelope": row.envelope, "key_id": row.key_id, "sequence": row.sequence}
        self._execute(statements.REPLACE_ENVELOPE, changed)

    def delete_artifacts(self, name: str, tag: str, revision: int) -> None:
        """Take a revision out of the index; the history keeps that it was there."""
        which = {"name": name, "tag": tag, "revision": revision}
        self._execute(statements.REMOVE_ORIGIN, which)
        self._execute(statements.REMOVE_ARTIFACT, which)


def _artifact_row(values: Sequence[Any]) -> ArtifactRow:
    """The row of an artifact, from its columns."""
    columns = list(values)
    # PostgreSQL's drivers give a memoryview; what SQLite gives for a text is for the check to see.
    if isinstance(columns[-1], memoryview):
        columns[-1] = bytes(columns[-1])
    return ArtifactRow(*columns)


def _artifact_at(connection: Connection, sequence: int) -> ArtifactRow | None:
    with catalogue_errors("The catalogue cannot be read"):
        asked = {"sequence": sequence, **_CAP}
        row = connection.execute(statements.ARTIFACT, asked).fetchone()
    return None if row is None else _artifact_row(row)


def _matching(conditions: ListFilter) -> tuple[list[str], dict[str, Any]]:
    """What artifacts must meet, and the values that this asks for."""
    given = {key: getattr(conditions, key) for key in statements.LISTED}
    asked = {key: value for key, value in given.items() if value is not None}
    wanted = [statements.LISTED[key] for key in asked]
    if conditions.search is not None:
        # What lower() makes of the columns on both databases: it knows ASCII's letters only.
        asked["search"] = f"%{_escaped(conditions.search.translate(_ASCII_LOWER))}%"
    if conditions.newest_only:
        wanted.append(statements.IS_NEWEST)
    return wanted, asked


def _escaped(search: str) -> str:
    # Not by a backslash: what that is to PostgreSQL is for its settings to say.
    return search.replace("!", "!!").replace("%", "!%").replace("_", "!_")
