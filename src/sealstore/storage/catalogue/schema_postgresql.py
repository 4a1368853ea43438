"""What PostgreSQL tells about the tables of the catalogue, and whether they are as shipped.

Who owns the tables, and which privileges there are, is the site's; other tables and views of the
database are none of ours, as long as no statement of ours reaches them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Column, PrimaryKeyConstraint, Table, UniqueConstraint, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ProgrammingError

from sealstore import limits
from sealstore.errors import CatalogueTamperedError
from sealstore.storage.catalogue.schema import READ_REVISION
from sealstore.storage.catalogue.schema_differences import require_equal
from sealstore.storage.catalogue.tables import alembic_version, metadata

_CHECKED: Final = "sealstore_schema"
"""Where a connection of the pool keeps that its schema was found to be the shipped one."""

_NO_SUCH_TABLE: Final = ("42P01", "42809")
"""undefined_table and wrong_object_type."""

# format_type names types as the standard does; SQLAlchemy as everybody does.
_STANDARD_NAMES: Final = {"VARCHAR": "character varying"}
_COLLATED: Final = ("character varying", "text")
_COLLATIONS: Final = {"": 100, '"C"': 950}
"""PostgreSQL's numbers of "default" and "C", the same in every database (pg_collation.dat)."""

# It runs before every write, so it joins as little as can be, and numbers stand for names. What
# PostgreSQL brings along has numbers below 16384 (FirstNormalObjectId).
#
# to_regclass finds what the name means to every other statement, by the search path. A table's
# definition: kind, persistence (an unlogged one is empty after a crash), row security, whether it
# is a partition, or of a type. A column's: place, type and whether it is PostgreSQL's own,
# collation, NOT NULL, whether there is a default, identity, generated. A constraint's: its type;
# its columns are those of the index that has its name, and one that is deferrable has a trigger.
# Constraints that are NOT NULL are the columns', though PostgreSQL 18 lists them here too.
_READ: Final = text(
    """
    WITH shipped AS MATERIALIZED (
      SELECT name, to_regclass(quote_ident(name))::oid AS id
      FROM unnest(CAST(:names AS text[])) AS given(name)
    )
    SELECT 'table' AS kind, s.name AS in_table, '' AS object,
      concat_ws('|', c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
                c.relispartition, c.reloftype) AS definition
    FROM shipped s JOIN pg_catalog.pg_class c ON c.oid = s.id
    UNION ALL
    SELECT 'column', s.name, a.attname,
      concat_ws('|', row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
                format_type(a.atttypid, a.atttypmod), a.atttypid < 16384, a.attcollation,
                a.attnotnull, a.atthasdef, a.attidentity, a.attgenerated)
    FROM shipped s JOIN pg_catalog.pg_attribute a ON a.attrelid = s.id
    WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'constraint', s.name, k.conname, k.contype::text
    FROM shipped s JOIN pg_catalog.pg_constraint k ON k.conrelid = s.id
    WHERE k.contype <> 'n'
    UNION ALL
    SELECT 'index', s.name, c.relname,
      concat_ws('|', i.indisunique, i.indisvalid, i.indislive,
                left(pg_get_indexdef(i.indexrelid), :characters))
    FROM shipped s JOIN pg_catalog.pg_index i ON i.indrelid = s.id
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    UNION ALL
    SELECT 'trigger', s.name, t.tgname, ''
    FROM shipped s JOIN pg_catalog.pg_trigger t ON t.tgrelid = s.id
    UNION ALL
    SELECT 'rule', s.name, r.rulename, ''
    FROM shipped s JOIN pg_catalog.pg_rewrite r ON r.ev_class = s.id
    UNION ALL
    SELECT 'inheritance', s.name, '', ''
    FROM shipped s JOIN pg_catalog.pg_inherits i ON s.id IN (i.inhrelid, i.inhparent)
    LIMIT :rows
    """
)


def require_checked_postgresql(connection: Connection, to_write: Sequence[Table] = ()) -> None:
    """Return if the schema is the shipped one.

    It is asked for once for each connection, and before each write about the tables that it is for:
    what is read is proven afterwards, and asking takes longer than reading.

    Args:
        connection: before its first statement.
        to_write: the tables that the transaction may write to. Nobody changes their definitions
            from now on until its end.

    Raises:
        SchemaVersionError, CatalogueTamperedError: as ``schema.require_checked_sqlite``.
        SQLAlchemyError: the database failed.
    """
    if _CHECKED not in connection.info:
        require_shipped_postgresql(connection, metadata.sorted_tables)
        connection.info[_CHECKED] = True
    if to_write:
        lock_tables(connection, to_write)
        # Of the other tables, which are read at most, this connection has been told.
        require_shipped_postgresql(connection, to_write)


def require_shipped_postgresql(connection: Connection, tables: Sequence[Table]) -> None:
    """Return if ``tables`` are as they are shipped, and the schema's revision with them.

    Raises:
        SchemaVersionError, CatalogueTamperedError, SQLAlchemyError: as
            ``require_checked_postgresql``.
    """
    expected, found = _schemas(connection, (*tables, alembic_version))
    require_equal(expected, found, lambda: connection.exec_driver_sql(READ_REVISION).scalar())


def forget_checked_schema(connection: Connection) -> None:
    """Let ``connection`` be checked again: it is going to be used on any schema."""
    connection.info.pop(_CHECKED, None)


def lock_tables(connection: Connection, tables: Sequence[Table]) -> None:
    """Keep all others from changing the definition of ``tables`` until the transaction ends.

    Others may read and write meanwhile.

    Raises:
        CatalogueTamperedError: one is not there, or is something else.
        SQLAlchemyError: the database failed.
    """
    quote = connection.dialect.identifier_preparer.quote
    names = ", ".join(quote(table.name) for table in tables)
    try:
        # The weakest that CREATE TRIGGER waits for.
        connection.exec_driver_sql(f"LOCK TABLE {names} IN ROW EXCLUSIVE MODE")
    except ProgrammingError as error:
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        if state not in _NO_SUCH_TABLE:
            raise
        raise CatalogueTamperedError(
            "A table of the catalogue is missing, or something else has its name.",
            hint="find out who changed the database, then restore it from a backup.",
        ) from error


def _schemas(
    connection: Connection, tables: Sequence[Table]
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """The definitions that ``tables`` should have, and those that the database has.

    Each by kind (table, column, constraint, index, trigger, rule, inheritance) and by name, with
    the table's before it.

    Raises:
        SQLAlchemyError: the database failed.
    """
    expected: dict[tuple[str, str], str] = {}
    for table in tables:
        expected |= _expected(table)
    values = {
        "names": [table.name for table in tables],
        "characters": limits.MAX_SCHEMA_SQL_BYTES,
        "rows": limits.MAX_SCHEMA_OBJECTS,
    }
    found: dict[tuple[str, str], str] = {}
    for kind, table_name, name, definition in connection.execute(_READ, values):
        key = (kind, f"{table_name}.{name}" if name else table_name)
        found[key] = _as_used(definition) if kind == "index" else definition
    return expected, found


def _as_used(definition: str) -> str:
    """What an index is like, without where it is: its name and its table's are compared apart."""
    flags, _, sql = definition.partition("|CREATE ")
    # PostgreSQL quotes columns that have the name of a keyword. A column of any other name than the
    # shipped ones is a difference by itself.
    return f"{flags}|{sql.partition(' USING ')[2]}".replace('"', "")


@cache
def _expected(table: Table) -> dict[tuple[str, str], str]:
    found = {("table", table.name): "r|p|f|f|f|0"}
    for place, column in enumerate(table.columns, start=1):
        found["column", f"{table.name}.{column.name}"] = f"{place}|{_column(column)}"
    for constraint in table.constraints:
        # We ship no others; one that comes is missing here, so that every test says so.
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint):
            kind = "p" if isinstance(constraint, PrimaryKeyConstraint) else "u"
            name = f"{table.name}.{constraint.name or f'{table.name}_pkey'}"
            found["constraint", name] = kind
            found["index", name] = _index(constraint.columns, unique=True)
    for index in table.indexes:
        name = f"{table.name}.{index.name}"
        found["index", name] = _index(index.columns, unique=bool(index.unique))
    return found


def _column(column: Column[Any]) -> str:
    sql = column.type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    kind, _, collation = sql.partition(" COLLATE ")
    name, bracket, length = kind.partition("(")
    name = _STANDARD_NAMES.get(name, name.lower())
    number = _COLLATIONS[collation] if name in _COLLATED else 0
    null = "f" if column.nullable else "t"
    return f"{name}{bracket}{length}|t|{number}|{null}|f||"


def _index(columns: Iterable[Any], *, unique: bool) -> str:
    names = ", ".join(column.name for column in columns)
    return f"{'t' if unique else 'f'}|t|t|btree ({names})"
