"""Reading and changing the catalogue. Nothing here decides what is true: rows are hints."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from sqlalchemy import and_, delete, func, insert, or_, select, update
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.sql import Select
from sqlalchemy.sql.expression import Executable

from sealstore import limits
from sealstore.names import ArtifactRef
from sealstore.storage.catalogue.approvals import ApprovalRows
from sealstore.storage.catalogue.chains import (
    ChainReader,
    ChainWriter,
    MapRows,
    as_bytes,
    no_larger_than,
)
from sealstore.storage.catalogue.engine import reading, snapshot, writing
from sealstore.storage.catalogue.failures import catalogue_errors
from sealstore.storage.catalogue.lookup import ARTIFACT_COLUMNS, Answer, Lookup, artifact_row
from sealstore.storage.catalogue.rows import ArtifactRow, ListFilter
from sealstore.storage.catalogue.sqlite_file import sync_commits
from sealstore.storage.catalogue.tables import artifact, history, origin
from sealstore.storage.catalogue.writers_queue import writers_queue

_ROWS_A_FETCH: Final = 500
_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Catalogue:
    """The artifacts and the history of one repository, as the database has them.

    Args:
        engine: from ``catalogue_engine``.
        lock_file: where writers to SQLite queue; None for PostgreSQL.
    """

    def __init__(self, engine: Engine, *, lock_file: Path | None) -> None:
        self.engine = engine
        self._lock_file = lock_file
        self._lookup = Lookup(engine)

    def ask(self, ref: ArtifactRef, positions: Sequence[int]) -> Answer:
        """What a load asks for; see ``Lookup.ask``.

        Raises:
            CatalogueError: the database failed.
        """
        return self._lookup.ask(ref, positions)

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """The ledger's rows, as one snapshot sees them.

        Raises:
            CatalogueError: the database failed.
        """
        with snapshot(self.engine) as connection:
            yield Reading(connection)

    def sync(self) -> None:
        """Make everything durable that can be read, whoever committed it.

        PostgreSQL shows nothing that is not.

        Raises:
            CatalogueError: the database or its file system failed.
        """
        if self.engine.dialect.name != "sqlite":
            return
        with reading(self.engine) as connection:
            _, _, file = connection.exec_driver_sql("PRAGMA database_list").first() or (0, "", "")
            sync_commits(Path(file))

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
        statement = _matching(conditions)
        if before_sequence is not None:
            statement = statement.where(artifact.c.sequence < before_sequence)
        statement = statement.order_by(artifact.c.sequence.desc()).limit(_page_rows(limit))
        with reading(self.engine) as connection:
            return [artifact_row(row) for row in connection.execute(statement)]

    def count(self, conditions: ListFilter) -> int:
        """How many artifacts meet ``conditions``.

        Raises:
            CatalogueError: the database failed.
        """
        statement = select(func.count()).select_from(_matching(conditions).subquery())
        with reading(self.engine) as connection:
            return int(connection.execute(statement).scalar_one())

    def names(self) -> list[str]:
        """Every name, sorted.

        Raises:
            CatalogueError: the database failed.
        """
        statement = select(artifact.c.name).distinct().order_by(artifact.c.name)
        with reading(self.engine) as connection:
            return [str(name) for name in connection.execute(statement).scalars()]

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
            writing(self.engine) as connection,
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
        self.history = ChainReader(connection, history)
        self.map = MapRows(connection)
        self.approvals = ApprovalRows(connection)

    def artifacts(self) -> Iterator[ArtifactRow]:
        """The row of every artifact, in no particular order."""
        statement = select(*ARTIFACT_COLUMNS).execution_options(stream_results=True)
        with catalogue_errors("The catalogue cannot be read"):
            for page in self._connection.execute(statement).partitions(_ROWS_A_FETCH):
                yield from map(artifact_row, page)

    def claims(self) -> Iterator[tuple[object, object, object]]:
        """Sequence, digest of the statement and SHA-256 that each row claims, in no order."""
        columns = select(artifact.c.sequence, artifact.c.statement_digest, artifact.c.sha256)
        statement = columns.execution_options(stream_results=True)
        with catalogue_errors("The catalogue cannot be read"):
            for page in self._connection.execute(statement).partitions(_ROWS_A_FETCH):
                yield from ((sequence, digest, sha256) for sequence, digest, sha256 in page)

    def artifact(self, sequence: int) -> ArtifactRow | None:
        """The row of the artifact that was stored as this entry of the history."""
        return _artifact_at(self._connection, sequence)

    def origin(self, sequence: int) -> bytes | None:
        """The envelope of the origin of the artifact that was imported as this entry."""
        column = no_larger_than(origin.c.envelope, limits.MAX_ENVELOPE_BYTES)
        statement = select(column).where(origin.c.sequence == sequence)
        with catalogue_errors("The catalogue cannot be read"):
            return as_bytes(self._connection.execute(statement).scalar())

    def origin_sequences(self) -> Iterator[object]:
        """The places in the history that origins are kept for, as the rows give them."""
        with catalogue_errors("The catalogue cannot be read"):
            yield from self._connection.execute(select(origin.c.sequence)).scalars()


class WriteTransaction:
    """What a change of the repository does to the catalogue, in one transaction.

    Attributes:
        history: the history.
        map: the map and the settings.
        approvals: of moves of aliases.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.history = ChainWriter(connection, history)
        self.map = MapRows(connection)
        self.approvals = ApprovalRows(connection)

    def _execute(self, statement: Executable, values: dict[str, Any] | None = None) -> Any:
        # One by one: drivers raise errors of Python's own for values that they cannot carry, and
        # what else is raised in the transaction's block is not the database's.
        with catalogue_errors("The catalogue cannot be changed"):
            return self._connection.execute(statement, values)

    def artifact(self, sequence: int) -> ArtifactRow | None:
        """The row of the artifact that was stored as this entry of the history."""
        return _artifact_at(self._connection, sequence)

    def highest_sequence(self) -> object:
        """The highest sequence that any artifact claims; None where there is none."""
        return self._execute(select(func.max(artifact.c.sequence))).scalar()

    def count_artifacts(self) -> int:
        """How many artifacts there are."""
        return int(self._execute(select(func.count()).select_from(artifact)).scalar_one())

    def insert_artifact(self, row: ArtifactRow) -> None:
        """Add an artifact."""
        self._execute(insert(artifact), asdict(row))

    def insert_origin(self, sequence: int, envelope: bytes) -> None:
        """Keep the envelope that an artifact had where it comes from.

        Args:
            sequence: of the artifact here.
            envelope: of its statement there.
        """
        self._execute(insert(origin), {"sequence": sequence, "envelope": envelope})

    def replace_envelope(self, row: ArtifactRow) -> None:
        """Give an artifact another signature: its envelope and key id, nothing else."""
        self._execute(
            update(artifact)
            .where(artifact.c.sequence == row.sequence)
            .values(envelope=row.envelope, key_id=row.key_id)
        )

    def delete_artifacts(self, name: str, tag: str, revision: int) -> None:
        """Take a revision out of the index; the history keeps that it was there."""
        which = and_(
            artifact.c.name == name, artifact.c.tag == tag, artifact.c.revision == revision
        )
        sequences = select(artifact.c.sequence).where(which)
        self._execute(delete(origin).where(origin.c.sequence.in_(sequences)))
        self._execute(delete(artifact).where(which))


def _artifact_at(connection: Connection, sequence: int) -> ArtifactRow | None:
    statement = select(*ARTIFACT_COLUMNS).where(artifact.c.sequence == sequence)
    with catalogue_errors("The catalogue cannot be read"):
        row = connection.execute(statement).first()
    return None if row is None else artifact_row(row)


def _matching(conditions: ListFilter) -> Select[Any]:
    statement = select(*ARTIFACT_COLUMNS)
    for column in ("name", "tag", "format", "actor", "key_id"):
        value = getattr(conditions, column)
        if value is not None:
            statement = statement.where(artifact.c[column] == value)
    if conditions.created_from is not None:
        statement = statement.where(artifact.c.created >= conditions.created_from)
    if conditions.created_before is not None:
        statement = statement.where(artifact.c.created < conditions.created_before)
    if conditions.search is not None:
        # What lower() makes of the columns on both databases: it knows ASCII's letters only.
        pattern = f"%{_escaped(conditions.search.translate(_ASCII_LOWER))}%"
        statement = statement.where(
            or_(
                *(
                    func.lower(column).like(pattern, escape="\\")
                    for column in (artifact.c.name, artifact.c.tag, artifact.c.user_metadata)
                )
            )
        )
    if conditions.newest_only:
        newer = artifact.alias("newer")
        statement = statement.where(
            ~select(newer.c.sequence)
            .where(
                and_(
                    newer.c.name == artifact.c.name,
                    newer.c.tag == artifact.c.tag,
                    newer.c.revision > artifact.c.revision,
                )
            )
            .exists()
        )
    return statement


def _page_rows(limit: int) -> int:
    # SQLite takes a negative limit for none.
    return max(0, min(limit, limits.MAX_LIST_ROWS))


def _escaped(search: str) -> str:
    return search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
