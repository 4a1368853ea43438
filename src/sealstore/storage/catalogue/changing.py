"""What a change of the repository writes into the catalogue, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sealstore.storage.catalogue.artifacts import ArtifactRow, Reading
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.ledger_rows import ChainWriter, fields_of

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Connection

HIGHEST_SEQUENCE: Final = "SELECT max(artifact.sequence) FROM artifact"
ADD_ARTIFACT: Final = """
INSERT INTO artifact (sequence, name, tag, revision, created, format, size, sha256, actor,
user_metadata, key_id, statement_digest, envelope)
VALUES (:sequence, :name, :tag, :revision, :created, :format, :size, :sha256, :actor,
:user_metadata, :key_id, :statement_digest, :envelope)
"""
REPLACE_ENVELOPE: Final = """
UPDATE artifact SET key_id = :key_id, envelope = :envelope WHERE artifact.sequence = :sequence
"""
REMOVE_ARTIFACT: Final = """
DELETE FROM artifact
WHERE artifact.name = :name AND artifact.tag = :tag AND artifact.revision = :revision
"""
ADD_ORIGIN: Final = "INSERT INTO origin (sequence, envelope) VALUES (:sequence, :envelope)"
REMOVE_ORIGIN: Final = """
DELETE FROM origin WHERE origin.sequence IN (SELECT artifact.sequence FROM artifact
WHERE artifact.name = :name AND artifact.tag = :tag AND artifact.revision = :revision)
"""
PUT_SETTINGS: Final = """
INSERT INTO settings (version, envelope) VALUES (:version, :envelope)
ON CONFLICT (version) DO UPDATE SET envelope = excluded.envelope
"""
REMOVE_APPROVALS: Final = """
DELETE FROM approval
WHERE approval.name = :name AND approval.alias = :alias AND approval.move >= :move
"""
REMOVE_APPROVAL: Final = "DELETE FROM approval WHERE approval.digest = :digest"
ADD_APPROVAL: Final = """
INSERT INTO approval (digest, name, alias, move, envelope)
VALUES (:digest, :name, :alias, :move, :envelope)
"""


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """An approval of a move of an alias, as it is stored.

    Attributes:
        digest: SHA-256 of the envelope, hexadecimal.
        name, alias, move: of which move.
        envelope: the bytes.
    """

    digest: str
    name: str
    alias: str
    move: int
    envelope: bytes


class WriteTransaction(Reading):
    """What a change of the repository does to the catalogue, in one transaction.

    Attributes:
        history: the history.
    """

    history: ChainWriter

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.history = ChainWriter(connection, "history")

    def _execute(self, statement: str, values: Mapping[str, Any] | None = None) -> Any:
        # One by one: drivers raise errors of Python's own for values that they cannot carry, and
        # what else is raised in the transaction's block is not the database's.
        with catalogue_errors("The catalogue cannot be changed"):
            return self.connection.execute(statement, values or {})

    def highest_sequence(self) -> object:
        """The highest sequence that any artifact claims; None where there is none."""
        return self._execute(HIGHEST_SEQUENCE).fetchone()[0]

    def insert_artifact(self, row: ArtifactRow) -> None:
        """Add an artifact."""
        self._execute(ADD_ARTIFACT, fields_of(row))

    def insert_origin(self, sequence: int, envelope: bytes) -> None:
        """Keep the envelope that an artifact had where it comes from.

        Args:
            sequence: of the artifact here.
            envelope: of its statement there.
        """
        self._execute(ADD_ORIGIN, {"sequence": sequence, "envelope": envelope})

    def replace_envelope(self, row: ArtifactRow) -> None:
        """Give an artifact another signature: its envelope and key id, nothing else."""
        changed = {"envelope": row.envelope, "key_id": row.key_id, "sequence": row.sequence}
        self._execute(REPLACE_ENVELOPE, changed)

    def delete_artifacts(self, name: str, tag: str, revision: int) -> None:
        """Take a revision out of the index; the history keeps that it was there."""
        which = {"name": name, "tag": tag, "revision": revision}
        self._execute(REMOVE_ORIGIN, which)
        self._execute(REMOVE_ARTIFACT, which)

    def put_settings(self, version: int, envelope: bytes) -> None:
        """Keep the envelope of one version of the settings; one that is there gives way."""
        with catalogue_errors("The settings cannot be written"):
            self.connection.execute(PUT_SETTINGS, {"version": version, "envelope": envelope})

    def replace_approvals(
        self, name: str, alias: str, move: int, rows: Sequence[ApprovalRow]
    ) -> None:
        """Let these be the approvals of a move; what a row in the way says is nothing."""
        with catalogue_errors("The approvals cannot be written"):
            of_move = {"name": name, "alias": alias, "move": move}
            self.connection.execute(REMOVE_APPROVALS, of_move)
            digests = ({"digest": row.digest} for row in rows)
            self.connection.executemany(REMOVE_APPROVAL, digests)
            self.connection.executemany(ADD_APPROVAL, map(fields_of, rows))
