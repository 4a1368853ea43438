"""The statements that a load needs, as text that SQLite and PostgreSQL both understand.

A test holds each statement, here and in the modules beside, against what SQLAlchemy compiles from
``tables``, for both databases. What stands in capital letters (``CHAIN``, ``COLUMNS``,
``CONDITIONS``, ``WANTED``) is filled in from texts of this package only; a value is always one of
the named parameters.

A value that is larger than it may be (``:cap``) is not fetched: NULL stands in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal, get_args

Chain = Literal["history", "access"]

ARTIFACT_COLUMNS: Final = """
artifact.sequence, artifact.name, artifact.tag, artifact.revision, artifact.created,
artifact.format, artifact.size, artifact.sha256, artifact.actor, artifact.user_metadata,
artifact.key_id, artifact.statement_digest,
CASE WHEN (length(artifact.envelope) <= :cap) THEN artifact.envelope END
"""

# The one question that a load asks: head, map and artifact, as one statement sees them. So it is
# one snapshot on both databases, and one round trip.
_QUESTION: Final = """
SELECT CASE WHEN (length(history_head.envelope) <= :head_cap) THEN history_head.envelope END,
CASE WHEN (length(row_0.content) <= :row_cap) THEN row_0.content END,
CASE WHEN (length(row_1.content) <= :row_cap) THEN row_1.content END,
CASE WHEN (length(row_2.content) <= :row_cap) THEN row_2.content END,
CASE WHEN (length(row_3.content) <= :row_cap) THEN row_3.content END, COLUMNS
FROM history_head
LEFT OUTER JOIN map_row AS row_0 ON row_0.position = :position_0
LEFT OUTER JOIN map_row AS row_1 ON row_1.position = :position_1
LEFT OUTER JOIN map_row AS row_2 ON row_2.position = :position_2
LEFT OUTER JOIN map_row AS row_3 ON row_3.position = :position_3
LEFT OUTER JOIN artifact ON artifact.sequence = (
SELECT found.sequence FROM artifact AS found WHERE WANTED LIMIT 1)
WHERE history_head.id = 1 LIMIT 1
""".replace("COLUMNS", ARTIFACT_COLUMNS)
NEWEST_OF_NAME: Final = _QUESTION.replace(
    "WANTED", "found.name = :name ORDER BY found.sequence DESC"
)
NEWEST_OF_TAG: Final = _QUESTION.replace(
    "WANTED", "found.name = :name AND found.tag = :tag ORDER BY found.revision DESC"
)
REVISION: Final = _QUESTION.replace(
    "WANTED", "found.name = :name AND found.tag = :tag AND found.revision = :revision"
)

SETTINGS: Final = """
SELECT CASE WHEN (length(settings.envelope) <= :cap) THEN settings.envelope END
FROM settings WHERE settings.version = :version
"""
APPROVALS: Final = """
SELECT CASE WHEN (length(approval.envelope) <= :cap) THEN approval.envelope END FROM approval
WHERE approval.name = :name AND approval.alias = :alias AND approval.move = :move
ORDER BY approval.digest LIMIT :most
"""


@dataclass(frozen=True, slots=True)
class ChainStatements:
    """The statements about the tables of one chain; by default, of a chain called ``CHAIN``."""

    head: str = """
SELECT CASE WHEN (length(CHAIN_head.envelope) <= :cap) THEN CHAIN_head.envelope END
FROM CHAIN_head WHERE CHAIN_head.id = :id
"""
    node: str = """
SELECT CASE WHEN (length(CHAIN_node.digest) <= :cap) THEN CHAIN_node.digest END
FROM CHAIN_node WHERE CHAIN_node.level = :level AND CHAIN_node.node_index = :node_index
"""
    newest_sequence: str = "SELECT max(CHAIN_entry.sequence) FROM CHAIN_entry"
    entries: str = """
SELECT CHAIN_entry.sequence,
CASE WHEN (length(CHAIN_entry.entry) <= :cap) THEN CHAIN_entry.entry END,
CHAIN_entry.event, CHAIN_entry.at, CHAIN_entry.name, CHAIN_entry.tag
FROM CHAIN_entry WHERE CHAIN_entry.sequence > :after AND CHAIN_entry.sequence <= :last
ORDER BY CHAIN_entry.sequence LIMIT :most
"""
    add_entry: str = """
INSERT INTO CHAIN_entry (sequence, entry, event, at, name, tag)
VALUES (:sequence, :entry, :event, :at, :name, :tag)
"""
    add_node: str = """
INSERT INTO CHAIN_node (level, node_index, digest) VALUES (:level, :node_index, :digest)
"""
    remove_head: str = "DELETE FROM CHAIN_head"
    add_head: str = "INSERT INTO CHAIN_head (id, envelope) VALUES (:id, :envelope)"

    @classmethod
    def of(cls, chain: Chain) -> ChainStatements:
        """Those of one chain."""
        return cls(*(str(each.default).replace("CHAIN", chain) for each in fields(cls)))


CHAINS: Final = {chain: ChainStatements.of(chain) for chain in get_args(Chain)}
