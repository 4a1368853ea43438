"""What PostgreSQL's catalogs tell about the tables of the catalogue.

Who owns the tables, and which privileges there are, is the site's; other tables and views of the
database are none of ours, as long as no statement of ours reaches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Column, PrimaryKeyConstraint, Table, UniqueConstraint, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ProgrammingError

from sealstore import limits
from sealstore.errors import CatalogueTamperedError

_NO_SUCH_TABLE: Final = ("42P01", "42809")
"""undefined_table and wrong_object_type."""

# format_type names types as the standard does; SQLAlchemy as everybody does.
_STANDARD_NAMES: Final = {"VARCHAR": "character varying"}
_COLLATED: Final = ("character varying", "text")

# to_regclass finds what the name means to every other statement, by the search path. A table's
# definition: kind, persistence (an unlogged one is empty after a crash), row security, whether it
# is a partition, or of a type. A column's: place, schema of the type, type, schema and name of the
# collation, NOT NULL, whether there is a default, identity, generated. Constraints that are NOT
# NULL are the columns', though PostgreSQL 18 lists them here too.
_READ: Final = text(
    """
    WITH shipped AS MATERIALIZED (
      SELECT name, to_regclass(quote_ident(name))::oid AS id
      FROM unnest(CAST(:names AS text[])) AS given(name)
    )
    SELECT 'table' AS kind, s.name AS object,
      concat_ws('|', c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
                c.relispartition, c.reloftype <> 0) AS definition
    FROM shipped s JOIN pg_catalog.pg_class c ON c.oid = s.id
    UNION ALL
    SELECT 'column', concat_ws('.', s.name, a.attname),
      concat_ws('|', row_number() OVER (PARTITION BY s.id ORDER BY a.attnum), tn.nspname,
                format_type(a.atttypid, a.atttypmod), cn.nspname, co.collname, a.attnotnull,
                a.atthasdef, a.attidentity, a.attgenerated)
    FROM shipped s JOIN pg_catalog.pg_attribute a ON a.attrelid = s.id
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'constraint', concat_ws('.', s.name, k.conname),
      concat_ws('|', k.contype, k.condeferrable, k.convalidated,
                (SELECT string_agg(a.attname, ',' ORDER BY key.place)
                 FROM unnest(k.conkey) WITH ORDINALITY AS key(number, place)
                 JOIN pg_catalog.pg_attribute a
                   ON a.attrelid = k.conrelid AND a.attnum = key.number))
    FROM shipped s JOIN pg_catalog.pg_constraint k ON k.conrelid = s.id
    WHERE k.contype <> 'n'
    UNION ALL
    SELECT 'index', concat_ws('.', s.name, c.relname),
      concat_ws('|', i.indisunique, i.indisvalid, i.indislive,
                substr(d.definition, strpos(d.definition, ' USING ') + 1, :characters))
    FROM shipped s JOIN pg_catalog.pg_index i ON i.indrelid = s.id
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    CROSS JOIN LATERAL pg_get_indexdef(i.indexrelid) AS d(definition)
    UNION ALL
    SELECT 'trigger', concat_ws('.', s.name, t.tgname), t.tgenabled::text
    FROM shipped s JOIN pg_catalog.pg_trigger t ON t.tgrelid = s.id
    UNION ALL
    SELECT 'rule', concat_ws('.', s.name, r.rulename), r.ev_type::text
    FROM shipped s JOIN pg_catalog.pg_rewrite r ON r.ev_class = s.id
    UNION ALL
    SELECT 'inheritance', s.name, ''
    FROM shipped s JOIN pg_catalog.pg_inherits i ON s.id IN (i.inhrelid, i.inhparent)
    LIMIT :rows
    """
)


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


def postgresql_schemas(
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
    rows = connection.execute(_READ, values)
    # In what an index is like, PostgreSQL quotes columns that have the name of a keyword. A column
    # of any other name than the shipped ones is a difference by itself.
    found = {
        (kind, name): definition.replace('"', "") if kind == "index" else definition
        for kind, name, definition in rows
    }
    return expected, found


@cache
def _expected(table: Table) -> dict[tuple[str, str], str]:
    found = {("table", table.name): "r|p|f|f|f|f"}
    for place, column in enumerate(table.columns, start=1):
        found["column", f"{table.name}.{column.name}"] = f"{place}|{_column(column)}"
    for constraint in table.constraints:
        # We ship no others; one that comes is missing here, so that every test says so.
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint):
            kind = "p" if isinstance(constraint, PrimaryKeyConstraint) else "u"
            names = [column.name for column in constraint.columns]
            name = f"{table.name}.{constraint.name or f'{table.name}_pkey'}"
            found["constraint", name] = f"{kind}|f|t|{','.join(names)}"
            found["index", name] = _index(names, unique=True)
    for index in table.indexes:
        names = [column.name for column in index.columns]
        found["index", f"{table.name}.{index.name}"] = _index(names, unique=bool(index.unique))
    return found


def _column(column: Column[Any]) -> str:
    sql = column.type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    kind, _, collation = sql.partition(" COLLATE ")
    name, bracket, length = kind.partition("(")
    name = _STANDARD_NAMES.get(name, name.lower())
    if name in _COLLATED:
        collation = "|pg_catalog|" + (collation.strip('"') or "default")
    null = "f" if column.nullable else "t"
    return f"pg_catalog|{name}{bracket}{length}{collation}|{null}|f||"


def _index(names: Sequence[str], *, unique: bool) -> str:
    return f"{'t' if unique else 'f'}|t|t|USING btree ({', '.join(names)})"
