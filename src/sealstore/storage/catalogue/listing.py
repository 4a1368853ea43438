"""Artifacts as people, audits and upkeep look for them: by conditions, by sequence, or all of them.

Nothing here decides what is true: rows are hints.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sealstore import limits
from sealstore.storage.catalogue.artifacts import (
    ENVELOPE_CAP,
    ArtifactRow,
    Catalogue,
    Reading,
    artifact_row,
)
from sealstore.storage.catalogue.chain_rows import where
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.ledger_rows import as_bytes
from sealstore.storage.catalogue.statements import ARTIFACT_COLUMNS

CLAIMS: Final = "artifact.sequence, artifact.statement_digest, artifact.sha256"
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

ORIGIN: Final = """
SELECT CASE WHEN (length(origin.envelope) <= :cap) THEN origin.envelope END
FROM origin WHERE origin.sequence = :sequence
"""
ORIGINS: Final = "SELECT origin.sequence FROM origin"

_ROWS_A_FETCH: Final = 500
_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


# ── by conditions ────────────────────────────────────────────────────────────


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


def list_rows(
    catalogue: Catalogue,
    conditions: ListFilter,
    *,
    limit: int,
    before_sequence: int | None = None,
) -> list[ArtifactRow]:
    """Rows that meet ``conditions``, the ones stored last first.

    Args:
        catalogue: where to look.
        conditions: which.
        limit: how many at most, up to ``limits.MAX_LIST_ROWS``.
        before_sequence: only those stored before this sequence: the last one of the page
            before (keyset pagination: a page costs the same wherever it lies).

    Raises:
        CatalogueError: the database failed.
    """
    wanted, asked = _matching(conditions)
    if before_sequence is not None:
        wanted.append(BEFORE)
        asked["before"] = before_sequence
    # SQLite takes a negative limit for no limit.
    asked["most"] = max(0, min(limit, limits.MAX_LIST_ROWS))
    with catalogue.engine.reading() as connection:
        found = connection.execute(where(LISTING, wanted), asked | ENVELOPE_CAP).fetchall()
    return [artifact_row(row) for row in found]


def count_artifacts(catalogue: Catalogue, conditions: ListFilter) -> int:
    """How many artifacts meet ``conditions``.

    Raises:
        CatalogueError: the database failed.
    """
    wanted, asked = _matching(conditions)
    with catalogue.engine.reading() as connection:
        return int(connection.execute(where(COUNT, wanted), asked).fetchone()[0])


def artifact_names(catalogue: Catalogue) -> list[str]:
    """Every name, sorted.

    Raises:
        CatalogueError: the database failed.
    """
    with catalogue.engine.reading() as connection:
        return [str(name) for (name,) in connection.execute(NAMES).fetchall()]


def _matching(conditions: ListFilter) -> tuple[list[str], dict[str, Any]]:
    """What artifacts must meet, and the values that this asks for."""
    given = {key: getattr(conditions, key) for key in LISTED}
    asked = {key: value for key, value in given.items() if value is not None}
    wanted = [LISTED[key] for key in asked]
    if conditions.search is not None:
        # What lower() makes of the columns on both databases: it knows ASCII's letters only.
        asked["search"] = f"%{_escaped(conditions.search.translate(_ASCII_LOWER))}%"
    if conditions.newest_only:
        wanted.append(IS_NEWEST)
    return wanted, asked


def _escaped(search: str) -> str:
    # Not by a backslash: what that is to PostgreSQL is for its settings to say.
    return search.replace("!", "!!").replace("%", "!%").replace("_", "!_")


# ── in one snapshot ──────────────────────────────────────────────────────────


def artifact_at(rows: Reading, sequence: int) -> ArtifactRow | None:
    """The row of the artifact that was stored as this entry of the history."""
    with catalogue_errors("The catalogue cannot be read"):
        asked = {"sequence": sequence, **ENVELOPE_CAP}
        row = rows.connection.execute(ARTIFACT, asked).fetchone()
    return None if row is None else artifact_row(row)


def every_artifact(rows: Reading) -> Iterator[ArtifactRow]:
    """The row of every artifact."""
    yield from map(artifact_row, _pages(rows, ARTIFACT_COLUMNS, ENVELOPE_CAP))


def every_claim(rows: Reading) -> Iterator[tuple[object, object, object]]:
    """Sequence, digest of the statement and SHA-256 that each row claims."""
    yield from _pages(rows, CLAIMS, {})


def _pages(rows: Reading, columns: str, values: Mapping[str, Any]) -> Iterator[Any]:
    """Rows of the artifacts; the first of ``columns`` is the sequence.

    Page by page, whatever a sequence claims to be: drivers fetch all that is asked for.
    """
    asked = {**values, "most": _ROWS_A_FETCH}
    page = PAGE.replace("COLUMNS", columns)
    conditions: list[str] = []
    while True:
        with catalogue_errors("The catalogue cannot be read"):
            found = rows.connection.execute(where(page, conditions), asked).fetchall()
        yield from found
        if len(found) < _ROWS_A_FETCH:
            return
        conditions, asked["after"] = [AFTER], found[-1][0]


def origin_at(rows: Reading, sequence: int) -> bytes | None:
    """The envelope of the origin of the artifact that was imported as this entry."""
    with catalogue_errors("The catalogue cannot be read"):
        asked = {"sequence": sequence, **ENVELOPE_CAP}
        row = rows.connection.execute(ORIGIN, asked).fetchone()
    return None if row is None else as_bytes(row[0])


def origin_sequences(rows: Reading) -> Iterator[object]:
    """The places in the history that origins are kept for, as the rows give them."""
    with catalogue_errors("The catalogue cannot be read"):
        found = rows.connection.execute(ORIGINS).fetchall()
    for (sequence,) in found:
        yield sequence
