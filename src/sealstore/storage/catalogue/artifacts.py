"""The one question of a load, and what else a process needs that opens a catalogue.

Nothing here decides what is true: rows are hints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sealstore import limits
from sealstore.names import ArtifactRef
from sealstore.process_bound import ProcessBound
from sealstore.signed.envelope import VerifiedStatement
from sealstore.storage.catalogue import statements
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.ledger_rows import ChainReader, as_bytes, value_of
from sealstore.storage.catalogue.sqlite import writers_queue

if TYPE_CHECKING:
    from sealstore.storage.catalogue.changing import WriteTransaction
    from sealstore.storage.catalogue.contract import Connection, Engine
    from sealstore.storage.catalogue.map_rows import MapRows

PROOF_ROWS: Final = 4
"""Rows of the map that prove one answer."""
ENVELOPE_CAP: Final = {"cap": limits.MAX_ENVELOPE_BYTES}
_CAPS: Final = {
    "head_cap": limits.MAX_HEAD_ENVELOPE_BYTES,
    "row_cap": limits.MAX_MAP_BUCKET_BYTES,
    **ENVELOPE_CAP,
}
_APPROVALS: Final = {"cap": limits.MAX_APPROVAL_ENVELOPE_BYTES, "most": limits.MAX_APPROVALS}


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


class Catalogue(ProcessBound):
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
        found = None if columns[0] is None else artifact_row(columns)
        return Answer(as_bytes(head), map_rows, found)

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """The ledger's rows, as one snapshot sees them.

        Raises:
            CatalogueError: the database failed.
        """
        with self.engine.reading() as connection:
            yield Reading(connection)

    @contextmanager
    def write(self) -> Iterator[WriteTransaction]:
        """One transaction that excludes all other writers; rolled back if the block raises.

        Raises:
            CatalogueError: the database is locked, not writable, damaged or full.
        """
        from sealstore.storage.catalogue.changing import WriteTransaction

        what = "The catalogue cannot be changed"
        with (
            catalogue_errors(what, reading=False),
            writers_queue(self._lock_file, "the catalogue"),
            self.engine.writing() as connection,
        ):
            yield WriteTransaction(connection)


class Reading:
    """The ledger's rows, as a connection sees them: in one snapshot, or in a transaction.

    Attributes:
        connection: to ask for more than is asked here.
        history: the history.
    """

    history: ChainReader

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.history = ChainReader(connection, "history")

    @property
    def map(self) -> MapRows:
        """The rows of the map."""
        from sealstore.storage.catalogue.map_rows import MapRows

        return MapRows(self.connection)

    def settings(self, version: int) -> bytes | None:
        """The envelope of one version of the settings."""
        asked = {"version": version, "cap": limits.MAX_SETTINGS_BYTES}
        with catalogue_errors("The settings cannot be read"):
            return as_bytes(value_of(self.connection.execute(statements.SETTINGS, asked)))

    def approvals(self, name: str, alias: str, move: int) -> list[bytes]:
        """The envelopes of the approvals of one move of an alias, as many as a move may have."""
        asked = {"name": name, "alias": alias, "move": move, **_APPROVALS}
        with catalogue_errors("The approvals cannot be read"):
            found = self.connection.execute(statements.APPROVALS, asked).fetchall()
            # What is no bytes is no envelope: opening it says so.
            return [as_bytes(each) or b"" for (each,) in found]


def artifact_row(values: Sequence[Any]) -> ArtifactRow:
    """The row of an artifact, from its columns."""
    columns = list(values)
    # PostgreSQL's drivers give a memoryview; what SQLite gives for a text is for the check to see.
    if isinstance(columns[-1], memoryview):
        columns[-1] = bytes(columns[-1])
    return ArtifactRow(*columns)
