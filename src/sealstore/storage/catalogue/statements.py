"""Every statement about rows, as text that SQLite and PostgreSQL both understand.

A test holds each of them against what SQLAlchemy compiles from ``tables``, for both databases. What
stands in capital letters (``CHAIN``, ``COLUMNS``, ``CONDITIONS``, ``WANTED``) is filled in from
texts of this package only; a value is always one of the named parameters.

A value that is larger than it may be (``:cap``) is not fetched: NULL stands in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal

Chain = Literal["history", "access"]


def where(statement: str, conditions: Sequence[str]) -> str:
    """A statement with its conditions filled in."""
    return statement.replace("CONDITIONS", " AND ".join(conditions) or "1 = 1")


# ── artifacts ────────────────────────────────────────────────────────────────

ARTIFACT_COLUMNS: Final = """
artifact.sequence, artifact.name, artifact.tag, artifact.revision, artifact.created,
artifact.format, artifact.size, artifact.sha256, artifact.actor, artifact.user_metadata,
artifact.key_id, artifact.statement_digest,
CASE WHEN (length(artifact.envelope) <= :cap) THEN artifact.envelope END
"""
CLAIMS: Final = "artifact.sequence, artifact.statement_digest, artifact.sha256"

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

ARTIFACT: Final = "SELECT COLUMNS FROM artifact WHERE artifact.sequence = :sequence".replace(
    "COLUMNS", ARTIFACT_COLUMNS
)
PAGE: Final = """
SELECT COLUMNS FROM artifact WHERE CONDITIONS ORDER BY artifact.sequence LIMIT :most
"""
LISTING: Final = """
SELECT COLUMNS FROM artifact WHERE CONDITIONS ORDER BY artifact.sequence DESC LIMIT :most
""".replace("COLUMNS", ARTIFACT_COLUMNS)
COUNT: Final = "SELECT count(*) FROM artifact WHERE CONDITIONS"
NAMES: Final = "SELECT DISTINCT artifact.name FROM artifact ORDER BY artifact.name"
HIGHEST_SEQUENCE: Final = "SELECT max(artifact.sequence) FROM artifact"

AFTER: Final = "artifact.sequence > :after"
BEFORE: Final = "artifact.sequence < :before"
LISTED: Final = {
    "name": "artifact.name = :name",
    "tag": "artifact.tag = :tag",
    "format": "artifact.format = :format",
    "actor": "artifact.actor = :actor",
    "key_id": "artifact.key_id = :key_id",
    "created_from": "artifact.created >= :created_from",
    "created_before": "artifact.created < :created_before",
    "search": """(lower(artifact.name) LIKE :search ESCAPE '!'
OR lower(artifact.tag) LIKE :search ESCAPE '!'
OR lower(artifact.user_metadata) LIKE :search ESCAPE '!')""",
}
"""Conditions of a listing, by the name of their value."""
IS_NEWEST: Final = """
NOT (EXISTS (SELECT newer.sequence FROM artifact AS newer WHERE newer.name = artifact.name
AND newer.tag = artifact.tag AND newer.revision > artifact.revision))
"""

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

ORIGIN: Final = """
SELECT CASE WHEN (length(origin.envelope) <= :cap) THEN origin.envelope END
FROM origin WHERE origin.sequence = :sequence
"""
ORIGINS: Final = "SELECT origin.sequence FROM origin"
ADD_ORIGIN: Final = "INSERT INTO origin (sequence, envelope) VALUES (:sequence, :envelope)"
REMOVE_ORIGIN: Final = """
DELETE FROM origin WHERE origin.sequence IN (SELECT artifact.sequence FROM artifact
WHERE artifact.name = :name AND artifact.tag = :tag AND artifact.revision = :revision)
"""

# ── map, settings, approvals ─────────────────────────────────────────────────

MAP_ROWS: Final = """
SELECT map_row.position, CASE WHEN (length(map_row.content) <= :cap) THEN map_row.content END
FROM map_row WHERE map_row.position IN (WANTED)
"""
MAP_FROM: Final = """
SELECT map_row.position, CASE WHEN (length(map_row.content) <= :cap) THEN map_row.content END
FROM map_row WHERE map_row.position >= :position ORDER BY map_row.position LIMIT :most
"""
COUNT_MAP: Final = "SELECT count(*) FROM map_row"
PUT_MAP: Final = """
INSERT INTO map_row (position, content) VALUES (:position, :content)
ON CONFLICT (position) DO UPDATE SET content = excluded.content
"""
SETTINGS: Final = """
SELECT CASE WHEN (length(settings.envelope) <= :cap) THEN settings.envelope END
FROM settings WHERE settings.version = :version
"""
PUT_SETTINGS: Final = """
INSERT INTO settings (version, envelope) VALUES (:version, :envelope)
ON CONFLICT (version) DO UPDATE SET envelope = excluded.envelope
"""
APPROVALS: Final = """
SELECT CASE WHEN (length(approval.envelope) <= :cap) THEN approval.envelope END FROM approval
WHERE approval.name = :name AND approval.alias = :alias AND approval.move = :move
ORDER BY approval.digest LIMIT :most
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

# ── chains ───────────────────────────────────────────────────────────────────


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
    newest_rows: str = """
SELECT CHAIN_entry.sequence,
CASE WHEN (length(CHAIN_entry.entry) <= :cap) THEN CHAIN_entry.entry END,
CHAIN_entry.event, CHAIN_entry.at, CHAIN_entry.name, CHAIN_entry.tag
FROM CHAIN_entry WHERE CONDITIONS ORDER BY CHAIN_entry.sequence DESC LIMIT :most
"""
    strays: str = """
SELECT CHAIN_entry.sequence FROM CHAIN_entry
WHERE CHAIN_entry.sequence < :first OR CHAIN_entry.sequence > :last
ORDER BY CHAIN_entry.sequence LIMIT :most
"""
    nodes: str = """
SELECT CHAIN_node.node_index,
CASE WHEN (length(CHAIN_node.digest) <= :cap) THEN CHAIN_node.digest END
FROM CHAIN_node WHERE CHAIN_node.level = :level
AND CHAIN_node.node_index >= :start AND CHAIN_node.node_index < :stop
ORDER BY CHAIN_node.node_index
"""
    count_nodes: str = "SELECT count(*) FROM CHAIN_node"
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


CHAINS: Final[dict[Chain, ChainStatements]] = {
    "history": ChainStatements.of("history"),
    "access": ChainStatements.of("access"),
}
NEWEST_ROWS: Final = {
    "before": "sequence < :before",
    "name": "name = :name",
    "tag": "tag = :tag",
    "since": "at >= :since",
    "until": "at < :until",
}
"""Conditions of ``newest_rows``, by the name of their value."""
IS_EVENT: Final = "event IN (WANTED)"
