"""Rows of the ledger's chains, of the map and of the settings. None of them is believed here.

``ChainReader`` is a ``ledger.Nodes``: proofs are made from what it gives, and verified like anybody
else's.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import bindparam, case, func, insert, null, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import Select
from sqlalchemy.sql.elements import ColumnElement

from sealstore import limits
from sealstore.storage.catalogue.failures import catalogue_errors
from sealstore.storage.catalogue.tables import ChainTables, map_row, settings

HEAD_ID: Final = 1
_ENTRIES_A_FETCH: Final = 2_000
_ROWS_A_STATEMENT: Final = 500
"""SQLite before 3.32 knows no more than 999 parameters."""
HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry as it is stored; the columns beside its bytes repeat them, to be searched.

    Attributes:
        sequence: place in the chain, counted from 1.
        entry: the bytes.
        event: what happened; of an access log the act and its outcome, as ``load granted``.
        at: UTC time by the clock of who did it.
        name, tag: of the artifact concerned.
    """

    sequence: int
    entry: bytes
    event: str
    at: str
    name: str | None
    tag: str | None


EntryValues = tuple[int, bytes, str, str, str | None, str | None]
"""What an ``EntryRow`` is made of, in its order: making one takes as long as fetching its row."""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node of a chain's Merkle tree, as ``ledger.Node`` names it."""

    level: int
    node_index: int
    digest: bytes


def no_larger_than(column: ColumnElement[Any], cap: int) -> ColumnElement[Any]:
    """``column`` where it has at most so many bytes; otherwise nothing is fetched."""
    return case((func.length(column) <= cap, column), else_=null())


_CONTENT: Final = no_larger_than(map_row.c.content, limits.MAX_MAP_BUCKET_BYTES)


@cache
def head_of(tables: ChainTables) -> Select[Any]:
    """The statement that reads the head. Making one takes as long as its answer."""
    column = no_larger_than(tables.head.c.envelope, limits.MAX_HEAD_ENVELOPE_BYTES)
    return select(column).where(tables.head.c.id == HEAD_ID)


@cache
def node_of(tables: ChainTables) -> Select[Any]:
    """The one that reads the node ``at_index`` of the level ``at_level``."""
    node = tables.node
    return select(no_larger_than(node.c.digest, HASH_BYTES)).where(
        node.c.level == bindparam("at_level"), node.c.node_index == bindparam("at_index")
    )


class ChainReader:
    """One chain, as a connection sees it."""

    def __init__(self, connection: Connection, tables: ChainTables) -> None:
        self._connection = connection
        self._tables = tables

    def head(self) -> bytes | None:
        """The head's envelope; None where there is none, or one that cannot be one."""
        with catalogue_errors("The ledger cannot be read"):
            return as_bytes(self._connection.execute(head_of(self._tables)).scalar())

    def get(self, level: int, index: int) -> bytes | None:
        """See ``ledger.Nodes``."""
        place = {"at_level": level, "at_index": index}
        with catalogue_errors("The ledger cannot be read"):
            return as_bytes(self._connection.execute(node_of(self._tables), place).scalar())

    def newest_sequence(self) -> int:
        """The largest sequence that a row has; 0 where there is no row."""
        with catalogue_errors("The ledger cannot be read"):
            found = self._connection.execute(select(func.max(self._tables.entry.c.sequence)))
            return int(found.scalar() or 0)

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of the entries from index ``start`` up to ``stop``, counted from 0.

        Rows that are missing are passed over: whoever verifies sees that there are too few.
        """
        for row in self.rows(start, stop):
            yield row.entry

    def rows(self, start: int, stop: int) -> Iterator[EntryRow]:
        """The rows of the entries from index ``start`` up to ``stop``, counted from 0."""
        for batch in self.batches(start, stop):
            for values in batch:
                yield EntryRow(*values)

    def batches(self, start: int, stop: int) -> Iterator[list[EntryValues]]:
        """As ``rows``, with all the rows of a fetch at a time."""
        entry = self._tables.entry
        after = start
        while after < stop:
            statement = (
                select(*_entry_columns(self._tables))
                .where(entry.c.sequence > after, entry.c.sequence <= stop)
                .order_by(entry.c.sequence)
                .limit(_ENTRIES_A_FETCH)
            )
            with catalogue_errors("The ledger cannot be read"):
                found = list(map(_entry_values, self._fetched(statement)))
            if found:
                yield found
            if len(found) < _ENTRIES_A_FETCH:
                return
            after = found[-1][0]

    def strays(self, size: int, *, limit: int) -> list[int]:
        """Sequences of rows that are no entry of a chain of this size, the smallest first."""
        sequence = self._tables.entry.c.sequence
        statement = select(sequence).where(or_(sequence < 1, sequence > size))
        with catalogue_errors("The ledger cannot be read"):
            found = self._connection.execute(statement.order_by(sequence).limit(limit))
            return [int(value) for value in found.scalars()]

    def digests(self, level: int, start: int, stop: int) -> dict[int, bytes | None]:
        """The nodes of a level from index ``start`` up to ``stop``, by their index."""
        node = self._tables.node
        statement = select(node.c.node_index, no_larger_than(node.c.digest, HASH_BYTES)).where(
            node.c.level == level, node.c.node_index >= start, node.c.node_index < stop
        )
        with catalogue_errors("The ledger cannot be read"):
            found = self._fetched(statement.order_by(node.c.node_index))
        return {
            index: digest if type(digest) is bytes else as_bytes(digest) for index, digest in found
        }

    def _fetched(self, statement: Any) -> list[tuple[Any, ...]]:
        """All rows as the driver gives them: SQLAlchemy's own take as long again as fetching."""
        result: Any = self._connection.execute(statement)
        try:
            rows: list[tuple[Any, ...]] = result.cursor.fetchall()
            return rows
        finally:
            result.close()

    def count_nodes(self) -> int:
        """How many nodes there are."""
        statement = select(func.count()).select_from(self._tables.node)
        with catalogue_errors("The ledger cannot be read"):
            return int(self._connection.execute(statement).scalar_one())

    def newest_rows(
        self,
        *,
        limit: int,
        before_sequence: int | None = None,
        name: str | None = None,
        tag: str | None = None,
        events: Collection[str] = (),
        since: str | None = None,
        until: str | None = None,
    ) -> list[EntryRow]:
        """Rows of entries, the newest first.

        Args:
            limit: how many at most, up to ``limits.MAX_LIST_ROWS``.
            before_sequence: only entries before this one.
            name, tag: only entries about these.
            events: only these, if any are given.
            since, until: UTC times, or beginnings of one; ``until`` is not included.
        """
        entry = self._tables.entry
        statement = select(*_entry_columns(self._tables))
        for column, compare, value in (
            (entry.c.sequence, operator.lt, before_sequence),
            (entry.c.name, operator.eq, name),
            (entry.c.tag, operator.eq, tag),
            (entry.c.at, operator.ge, since),
            (entry.c.at, operator.lt, until),
        ):
            if value is not None:
                statement = statement.where(compare(column, value))
        if events:
            statement = statement.where(entry.c.event.in_(list(events)))
        rows = max(0, min(limit, limits.MAX_LIST_ROWS))
        statement = statement.order_by(entry.c.sequence.desc()).limit(rows)
        with catalogue_errors("The ledger cannot be read"):
            return [EntryRow(*_entry_values(row)) for row in self._connection.execute(statement)]


class ChainWriter(ChainReader):
    """One chain, in a transaction that excludes other writers."""

    def append(self, rows: Iterable[EntryRow], nodes: Iterable[NodeRow], head: bytes) -> None:
        """Add entries with the nodes that they complete, and replace the head."""
        tables = self._tables
        with catalogue_errors("The ledger cannot be changed"):
            _insert_all(self._connection, tables.entry, rows)
            _insert_all(self._connection, tables.node, nodes)
            self.replace_head(head)

    def replace_head(self, head: bytes) -> None:
        """Put another head in the place of the one that is there, if any."""
        table = self._tables.head
        with catalogue_errors("The ledger cannot be changed"):
            self._connection.execute(table.delete())
            self._connection.execute(insert(table), {"id": HEAD_ID, "envelope": head})


class MapRows:
    """The rows of the map and of the settings, as a connection sees them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(self, positions: Collection[int]) -> dict[int, bytes]:
        """The contents of the rows at ``positions`` that are there."""
        wanted = sorted(positions)
        found: dict[int, bytes] = {}
        for start in range(0, len(wanted), _ROWS_A_STATEMENT):
            statement = select(map_row.c.position, _CONTENT).where(
                map_row.c.position.in_(wanted[start : start + _ROWS_A_STATEMENT])
            )
            with catalogue_errors("The map cannot be read"):
                for position, stored in self._connection.execute(statement):
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
        statement = select(map_row.c.position, _CONTENT).where(map_row.c.position >= position)
        with catalogue_errors("The map cannot be read"):
            found = self._connection.execute(statement.order_by(map_row.c.position).limit(limit))
            return [(at, as_bytes(stored)) for at, stored in found]

    def count(self) -> int:
        """How many rows of the map there are."""
        with catalogue_errors("The map cannot be read"):
            found = self._connection.execute(select(func.count()).select_from(map_row))
            return int(found.scalar_one())

    def get(self, position: int) -> bytes | None:
        """The content of one row."""
        return self.fetch([position]).get(position)

    def replace(self, contents: dict[int, bytes]) -> None:
        """Set the contents of rows."""
        changed = [{"position": at, "content": content} for at, content in contents.items()]
        with catalogue_errors("The map cannot be changed"):
            for start in range(0, len(changed), _ROWS_A_STATEMENT):
                rows = changed[start : start + _ROWS_A_STATEMENT]
                positions = [row["position"] for row in rows]
                self._connection.execute(map_row.delete().where(map_row.c.position.in_(positions)))
                self._connection.execute(insert(map_row), rows)

    def settings(self, version: int) -> bytes | None:
        """The envelope of one version of the settings."""
        column = no_larger_than(settings.c.envelope, limits.MAX_SETTINGS_BYTES)
        statement = select(column).where(settings.c.version == version)
        with catalogue_errors("The settings cannot be read"):
            return as_bytes(self._connection.execute(statement).scalar())

    def put_settings(self, version: int, envelope: bytes) -> None:
        """Keep the envelope of one version of the settings; one that is there gives way."""
        with catalogue_errors("The settings cannot be written"):
            self._connection.execute(settings.delete().where(settings.c.version == version))
            self._connection.execute(insert(settings), {"version": version, "envelope": envelope})


def as_bytes(value: object) -> bytes | None:
    """Bytes of any driver; None for whatever else stands where bytes should."""
    if isinstance(value, memoryview):
        return bytes(value)
    return value if isinstance(value, bytes) else None


def _entry_columns(tables: ChainTables) -> list[ColumnElement[Any]]:
    entry = tables.entry.c
    return [
        no_larger_than(column, limits.MAX_ENTRY_BYTES) if column.name == "entry" else column
        for column in entry
    ]


def _entry_values(row: Any) -> EntryValues:
    sequence, entry, event, at, name, tag = row
    # What is no bytes is no entry: verifying the chain, or decoding this one, says so.
    if type(entry) is not bytes:
        entry = as_bytes(entry) or b""
    return sequence, entry, event, at, name, tag


def _insert_all(connection: Connection, table: Any, rows: Iterable[Any]) -> None:
    values = [{name: getattr(row, name) for name in row.__slots__} for row in rows]
    if values:
        connection.execute(insert(table), values)
