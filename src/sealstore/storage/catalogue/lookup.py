"""The one question that a load asks: head, map and artifact, as one statement sees them.

One statement is one snapshot on both databases, and one round trip. It is the hot path: prepared
once, and run on SQLite's own connection from SQLAlchemy's pool.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, bindparam, select
from sqlalchemy.engine import Engine
from sqlalchemy.sql import Select

from sealstore import limits
from sealstore.names import ArtifactRef
from sealstore.storage.catalogue.chains import HEAD_ID, as_bytes, no_larger_than
from sealstore.storage.catalogue.engine import reading
from sealstore.storage.catalogue.failures import catalogue_errors
from sealstore.storage.catalogue.forking import no_fork
from sealstore.storage.catalogue.prepared import Prepared
from sealstore.storage.catalogue.rows import ArtifactRow
from sealstore.storage.catalogue.schema import require_checked_sqlite
from sealstore.storage.catalogue.tables import artifact, history, map_row

PROOF_ROWS: Final = 4
"""Rows of the map that prove one answer."""

ARTIFACT_COLUMNS: Final = tuple(
    no_larger_than(artifact.c[name], limits.MAX_ENVELOPE_BYTES).label(name)
    if name == "envelope"
    else artifact.c[name]
    for name in ArtifactRow.__slots__
)


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


def artifact_row(values: Sequence[Any]) -> ArtifactRow:
    """The row of an artifact, from its columns."""
    columns = list(values)
    # PostgreSQL's drivers give a memoryview; what SQLite gives for a text is for the check to see.
    if isinstance(columns[-1], memoryview):
        columns[-1] = bytes(columns[-1])
    return ArtifactRow(*columns)


class Lookup:
    """Asks one engine the question."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"

    def ask(self, ref: ArtifactRef, positions: Sequence[int]) -> Answer:
        """What the catalogue says of ``ref``.

        Args:
            ref: which artifact.
            positions: of the map's rows that prove the answer, from ``ledger.positions_of``.

        Raises:
            CatalogueError: the database failed.
        """
        given: dict[str, Any] = {"name": str(ref.name)}
        given |= {f"position_{level}": position for level, position in enumerate(positions)}
        kind = "latest"
        if not ref.tag.is_latest:
            given["tag"] = str(ref.tag)
            kind = "tag"
            if ref.revision is not None:
                given["revision"] = ref.revision
                kind = "revision"
        row = self._run_sqlite(kind, given) if self._is_sqlite else self._run(kind, given)
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
        found = None if columns[0] is None else artifact_row(columns)
        return Answer(as_bytes(head), map_rows, found)

    def _run(self, kind: str, given: dict[str, Any]) -> Sequence[Any] | None:
        with reading(self._engine) as connection:
            row: Sequence[Any] | None = connection.execute(_STATEMENTS[kind], given).first()
            return row

    def _run_sqlite(self, kind: str, given: dict[str, Any]) -> Sequence[Any] | None:
        prepared = _PREPARED[kind]
        with catalogue_errors("The catalogue cannot be read"), no_fork():
            connection: Any = self._engine.raw_connection()
            try:
                driver: sqlite3.Connection = connection.driver_connection
                require_checked_sqlite(driver, connection.info)
                row: Sequence[Any] | None = driver.execute(
                    prepared.text, prepared.parameters(given)
                ).fetchone()
            finally:
                connection.close()
        return row


def _statement(newest: Select[Any]) -> Select[Any]:
    """The question, where ``newest`` selects the sequence of the artifact."""
    head = history.head
    rows = [map_row.alias(f"row_{level}") for level in range(PROOF_ROWS)]
    joined: Any = head
    for level, row in enumerate(rows):
        joined = joined.outerjoin(row, row.c.position == bindparam(f"position_{level}"))
    joined = joined.outerjoin(artifact, artifact.c.sequence == newest.scalar_subquery())
    return (
        select(
            no_larger_than(head.c.envelope, limits.MAX_HEAD_ENVELOPE_BYTES),
            *(no_larger_than(row.c.content, limits.MAX_MAP_BUCKET_BYTES) for row in rows),
            *ARTIFACT_COLUMNS,
        )
        .select_from(joined)
        .where(head.c.id == HEAD_ID)
        .limit(1)
    )


def _statements() -> dict[str, Select[Any]]:
    found = artifact.alias("found")
    by_name = found.c.name == bindparam("name")
    by_tag = and_(by_name, found.c.tag == bindparam("tag"))
    by_revision = and_(by_tag, found.c.revision == bindparam("revision"))
    newest = select(found.c.sequence).limit(1)
    return {
        "latest": _statement(newest.where(by_name).order_by(found.c.sequence.desc())),
        "tag": _statement(newest.where(by_tag).order_by(found.c.revision.desc())),
        "revision": _statement(newest.where(by_revision)),
    }


_STATEMENTS: Final = _statements()
_PREPARED: Final = {kind: Prepared(statement) for kind, statement in _STATEMENTS.items()}
