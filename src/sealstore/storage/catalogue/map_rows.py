"""Rows of the map: fetched to prove, walked to audit, and replaced by changes.

A load needs none of this: the rows that prove its answer come with the answer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from sealstore import limits
from sealstore.storage.catalogue.chain_rows import listed
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.ledger_rows import as_bytes, value_of

if TYPE_CHECKING:
    from sealstore.storage.catalogue.contract import Connection

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

_ROWS_A_STATEMENT: Final = 500
"""SQLite before 3.32 knows no more than 999 parameters."""
_BUCKET: Final = {"cap": limits.MAX_MAP_BUCKET_BYTES}


class MapRows:
    """The rows of the map, as a connection sees them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(self, positions: Collection[int]) -> dict[int, bytes]:
        """The contents of the rows at ``positions`` that are there."""
        wanted = sorted(positions)
        found: dict[int, bytes] = {}
        for start in range(0, len(wanted), _ROWS_A_STATEMENT):
            places, values = listed(wanted[start : start + _ROWS_A_STATEMENT])
            statement = MAP_ROWS.replace("WANTED", places)
            with catalogue_errors("The map cannot be read"):
                rows = self._connection.execute(statement, values | _BUCKET).fetchall()
            for position, stored in rows:
                content = as_bytes(stored)
                # What is too large, or no bytes, is as good as not there: no hash is its own.
                if content is not None:
                    found[position] = content
        return found

    def following(self, position: int, *, limit: int) -> list[tuple[int, bytes | None]]:
        """Position and content of the rows from ``position`` on, in their order; None for no bytes.

        Args:
            position: of the first.
            limit: how many at most.
        """
        asked = {"position": position, "most": limit, **_BUCKET}
        with catalogue_errors("The map cannot be read"):
            found = self._connection.execute(MAP_FROM, asked).fetchall()
            return [(at, as_bytes(stored)) for at, stored in found]

    def count(self) -> int:
        """How many rows of the map there are."""
        with catalogue_errors("The map cannot be read"):
            return int(value_of(self._connection.execute(COUNT_MAP)))

    def replace(self, contents: dict[int, bytes]) -> None:
        """Set the contents of rows."""
        rows = ({"position": at, "content": content} for at, content in contents.items())
        with catalogue_errors("The map cannot be changed"):
            self._connection.executemany(PUT_MAP, rows)
