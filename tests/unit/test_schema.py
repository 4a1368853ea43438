"""The shipped schema: one description, whoever made the database, and what equals it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from sealstore import limits
from sealstore.errors import CatalogueError, CatalogueTamperedError, SchemaVersionError
from sealstore.storage.catalogue import (
    catalogue_engine,
    require_current_schema,
    schema,
    schema_sqlite,
)
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.contract import Engine
from sealstore.storage.catalogue.database_facts import schema_revision
from sealstore.storage.catalogue.migrations import upgrade
from sealstore.storage.catalogue.schema import (
    SCHEMA_REVISIONS,
    Definition,
    SqliteConnection,
    bounded_parsing,
    definitions_in,
    digest_of,
)
from sealstore.storage.catalogue.schema_postgresql import (
    require_checked_postgresql,
    require_shipped_postgresql,
)
from sealstore.storage.catalogue.schema_sqlite import (
    as_schema,
    expected_sqlite_schema,
    normalised,
    require_shipped_sqlite,
    shipped_definitions,
)
from sealstore.storage.catalogue.tables import access, alembic_version, metadata
from tests.catalogue_sql import by_sqlalchemy, run_in
from tests.matrix import each_row

FILE = "catalogue.sqlite3"
TRIGGER = "CREATE TRIGGER planted AFTER INSERT ON artifact BEGIN DELETE FROM artifact; END"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = catalogue_engine(tmp_path, create=True)
    yield made
    made.dispose()


def run(root: Path, *statements: str) -> None:
    with closing(sqlite3.connect(root / FILE, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


# ── what is shipped ──────────────────────────────────────────────────────────


def test_every_table_and_index_is_expected() -> None:
    """The tables of the code, and Alembic's, are what a catalogue consists of."""
    kinds = dict(expected_sqlite_schema())
    for table in metadata.sorted_tables:
        assert ("table", table.name) in kinds
        for index in table.indexes:
            assert ("index", str(index.name)) in kinds
    assert kinds["table", "alembic_version"] == (
        "create table alembic_version ( version_num varchar ( 32 ) not null ,"
        " constraint alembic_version_pkc primary key ( version_num ) )"
    )
    assert kinds["index", "sqlite_autoindex_alembic_version_1"] == ""
    assert all(len(sql) < limits.MAX_SCHEMA_SQL_BYTES / 8 for sql in kinds.values())


def test_the_shipped_schema_is_what_sqlalchemy_makes_of_the_tables() -> None:
    """The text that a load checks with, and the tables that migrations make, cannot drift."""
    dialect = sqlite.dialect()
    with closing(sqlite3.connect(":memory:")) as database:
        for table in (*metadata.sorted_tables, alembic_version):
            database.execute(str(CreateTable(table).compile(dialect=dialect)))
            for index in table.indexes:
                database.execute(str(CreateIndex(index).compile(dialect=dialect)))
        found = definitions_in(database)
    assert as_schema(found) == expected_sqlite_schema()
    assert digest_of(found) == schema._SHIPPED


def test_the_digest_is_that_of_the_shipped_schema() -> None:
    """The one line that a load compares with, and the text that people read, cannot drift."""
    assert digest_of(shipped_definitions()) == schema._SHIPPED


@each_row(
    "change",
    [
        lambda kind, name, sql: (kind, name, b"%s CHECK (1)" % sql),
        lambda kind, name, sql: (kind, name, sql.replace(b"NOT NULL", b"NOTNULL")),
        lambda kind, name, sql: (kind, name, sql.replace(b" NULL", b"\x0bNULL")),
        lambda kind, name, sql: (kind, name, sql.replace(b" NULL", b"\xa0NULL")),
        lambda kind, name, sql: (kind, name, sql.replace(b" NULL", b"/**/NULL")),
        lambda kind, name, sql: (kind, name, sql.replace(b"sequence", b'"sequence"')),
        lambda kind, name, sql: (kind, name.upper(), sql),
        lambda kind, name, sql: (b"view", name, sql),
        lambda kind, name, sql: (kind, name, None),
    ],
)
def test_a_digest_tells_every_change(change: Callable[..., Definition]) -> None:
    """Of the definitions it passes over white space, and nothing else."""
    shipped = shipped_definitions()
    at = next(at for at, each in enumerate(shipped) if each[:2] == (b"table", b"artifact"))
    changed = [*shipped[:at], change(*shipped[at]), *shipped[at + 1 :]]
    for each in (changed, shipped[1:], [*shipped, shipped[0]]):
        assert digest_of(each) != schema._SHIPPED
    spaced = [(kind, name, sql and sql.replace(b" ", b" \n")) for kind, name, sql in shipped]
    assert digest_of(spaced[::-1]) == schema._SHIPPED


def test_a_file_as_shipped_is_not_looked_at_in_detail(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has an operator's statistics is, and is as good."""
    looked: list[sqlite3.Connection] = []

    def look(database: sqlite3.Connection) -> None:
        looked.append(database)
        require_shipped_sqlite(database)

    upgrade(engine)
    monkeypatch.setattr(schema_sqlite, "require_shipped_sqlite", look)
    require_current_schema(engine)
    assert looked == []
    run(tmp_path, "ANALYZE")
    require_current_schema(engine)
    with engine.writing() as connection:
        assert isinstance(connection, SqliteConnection)
        assert looked == [connection]


def test_the_table_of_the_revision_is_alembics(engine: Engine) -> None:
    """No release of Alembic makes another one."""
    with by_sqlalchemy(engine) as connection:
        theirs = MigrationContext.configure(connection)._version
    ours = normalised(str(CreateTable(alembic_version)))
    assert normalised(str(CreateTable(theirs))) == ours


def test_every_way_to_this_schema_gives_the_shipped_one(engine: Engine) -> None:
    """Revision by revision, and again."""
    for revision in SCHEMA_REVISIONS:
        upgrade(engine, revision)
    upgrade(engine)
    require_current_schema(engine)


def test_looking_often_is_not_taken_for_a_large_schema(engine: Engine) -> None:
    """What is counted is one look, also on one connection."""
    upgrade(engine)
    with engine.writing() as connection:
        assert isinstance(connection, sqlite3.Connection)
        for _ in range(200):
            require_shipped_sqlite(connection)


def test_other_errors_than_the_bound_are_their_own() -> None:
    """A statement that fails for another reason is not called a large schema."""
    with (
        closing(sqlite3.connect(":memory:")) as database,
        pytest.raises(sqlite3.OperationalError, match="no such table"),
        bounded_parsing(database),
    ):
        database.execute("SELECT * FROM missing")


# ── what is equal ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "spelling",
    [
        "CREATE TABLE artifact (\n\tsequence BIGINT NOT NULL, \n\tPRIMARY KEY (sequence)\n)",
        "create table artifact(sequence bigint not null,primary key(sequence))",
        'CREATE TABLE "artifact" (Sequence BIGINT\f NOT\r\nNULL, PRIMARY KEY (sequence) )',
    ],
)
def test_one_table_in_several_spellings(spelling: str) -> None:
    """White space, the case of words and quotes around the table's name say nothing."""
    assert normalised(spelling) == (
        "create table artifact ( sequence bigint not null , primary key ( sequence ) )"
    )


@each_row(
    ("one", "other"),
    [
        ("a BIGINT PRIMARY KEY", 'a BIGINT "PRIMARY" "KEY"'),
        ("a BIGINT PRIMARY KEY", 'a BIGINT "primary" "key"'),
        ("a BIGINT PRIMARY KEY", "a BIGINT [PRIMARY] KEY"),
        ("a BIGINT PRIMARY KEY", "a BIGINT `PRIMARY` KEY"),
        ("a BIGINT NOT NULL", "a BIGINT NOT NULL -- b"),
        ("a BIGINT NOT NULL", "a BIGINT /* b */ NOT NULL"),
        ("a BIGINT NOT NULL", "a BIGINTNOT NULL"),
        ("a BIGINT NOT NULL", "a BIGINT NOT NULL\0"),
        ("a BIGINT NOT NULL", "a BIGINT\u00a0NOT NULL"),
        ("a BIGINT NOT NULL", "a BIGINT\x0bNOT NULL"),
        ("key_id TEXT", "\u212aey_id TEXT"),
        ("a CHECK (b <> 'A')", "a CHECK (b <> 'a')"),
        ("a CHECK (b <> 'a b')", "a CHECK (b <> 'a  b')"),
        ("a CHECK (b <> 'a')", 'a CHECK (b <> "a")'),
        ("create table a (b)", 'create table "A" (b)'),
        ("create table a (b)", 'create table "a b" (b)'),
    ],
)
def test_what_is_not_the_same_does_not_look_the_same(one: str, other: str) -> None:
    """Quoted keywords are names, comments count, and letters outside of ASCII have no case."""
    assert normalised(one) != normalised(other)


# ── older and newer schemas ──────────────────────────────────────────────────


def test_a_newer_schema_is_told_before_its_tables_are_compared(
    engine: Engine, tmp_path: Path
) -> None:
    """A process that runs while somebody migrates says what to do."""
    upgrade(engine)
    with engine.reading():
        pass
    run(
        tmp_path,
        "UPDATE alembic_version SET version_num = '9999'",
        "ALTER TABLE artifact ADD COLUMN later TEXT",
    )
    for use in (engine.reading, engine.writing):
        with pytest.raises(SchemaVersionError, match="newer schema"), use():
            pass
    assert schema_revision(engine) == "9999"


def test_a_revision_that_is_missing(engine: Engine, tmp_path: Path) -> None:
    """Tables without their revision are no shipped schema."""
    upgrade(engine)
    run(tmp_path, "DELETE FROM alembic_version")
    with pytest.raises(SchemaVersionError, match="no tables"):
        require_current_schema(engine)
    run(tmp_path, "DROP TABLE alembic_version")
    with pytest.raises(CatalogueTamperedError, match="table 'alembic_version' is missing"):
        require_current_schema(engine)


def test_what_is_planted_in_an_older_schema_is_not_migrated(
    engine: Engine, tmp_path: Path, older_release: str
) -> None:
    """The migration is refused as a whole."""
    upgrade(engine, older_release)
    run(tmp_path, TRIGGER)
    with pytest.raises(CatalogueTamperedError, match="trigger 'planted'"):
        upgrade(engine)
    assert schema_revision(engine) == older_release


def test_a_migration_that_was_rolled_back_is_not_remembered(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process makes under the cookie that it would have had is looked at."""
    cookies: list[int] = []

    def give_up(connection: sqlite3.Connection) -> None:
        require_shipped_sqlite(connection)
        cookies.extend(connection.execute("PRAGMA schema_version").fetchone())
        raise LookupError

    with monkeypatch.context() as patch:
        patch.setattr(schema_sqlite, "require_shipped_sqlite", give_up)
        with pytest.raises(LookupError):
            upgrade(engine)
    other = catalogue_engine(tmp_path, create=True)
    upgrade(other)
    other.dispose()
    run(tmp_path, TRIGGER, f"PRAGMA schema_version={cookies[0]}")
    with pytest.raises(CatalogueTamperedError, match="trigger 'planted'"):
        require_current_schema(engine)


def test_many_differences_are_counted(engine: Engine, tmp_path: Path) -> None:
    """An error names some of them, and stays one that can be read."""
    upgrade(engine)
    run(tmp_path, *(f"CREATE TABLE planted_{number} (a)" for number in range(50)))
    with pytest.raises(CatalogueTamperedError, match="and 47 more differences"):
        require_current_schema(engine)


@pytest.mark.skipif(
    not hasattr(sqlite3.Connection, "setconfig"), reason="Python 3.11 does not offer it"
)
def test_sqlite_is_told_to_defend_itself(engine: Engine) -> None:
    """Defensive, and no triggers and views at all, where Python offers it."""
    upgrade(engine)
    with engine.reading() as connection:
        database: Any = connection
        options = {
            name: database.getconfig(getattr(sqlite3, name))
            for name in dir(sqlite3)
            if name.startswith("SQLITE_DBCONFIG_")
        }
    assert options["SQLITE_DBCONFIG_DEFENSIVE"] is True
    assert options["SQLITE_DBCONFIG_TRUSTED_SCHEMA"] is False
    assert options["SQLITE_DBCONFIG_ENABLE_TRIGGER"] is False
    assert options["SQLITE_DBCONFIG_ENABLE_VIEW"] is False


@pytest.mark.postgresql
def test_a_database_of_postgresql_without_tables(tmp_path: Path, postgresql_url: str) -> None:
    """An emptied database is no tampered schema, on PostgreSQL neither."""
    engine = catalogue_engine(tmp_path, postgresql_url)
    with pytest.raises(SchemaVersionError, match="no tables"):
        require_current_schema(engine)
    upgrade(engine)
    require_current_schema(engine)
    run_in(engine, "UPDATE alembic_version SET version_num = '9999'")
    # For reading, each connection is asked once.
    engine.dispose()
    with pytest.raises(SchemaVersionError, match="newer schema"):
        require_current_schema(engine)
    engine.dispose()


@pytest.mark.postgresql
def test_a_user_of_postgresql_without_privileges(tmp_path: Path, postgresql_url: str) -> None:
    """Who may not write to a table is told that, and not that somebody changed it."""
    engine = catalogue_engine(tmp_path, postgresql_url)
    upgrade(engine)
    with by_sqlalchemy(engine) as connection:
        for statement in (
            "CREATE ROLE loader",
            "GRANT USAGE ON SCHEMA public TO loader",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO loader",
            "GRANT INSERT ON access_entry TO loader",
            "SET LOCAL ROLE loader",
        ):
            connection.exec_driver_sql(statement)
        require_checked_postgresql(connection, [access.entry])
        with pytest.raises(CatalogueError, match="lacks a privilege"), catalogue_errors("Writing"):
            require_checked_postgresql(connection, metadata.sorted_tables)
    engine.dispose()


@pytest.mark.postgresql
def test_a_type_with_the_name_of_postgresqls_own(tmp_path: Path, postgresql_url: str) -> None:
    """Whatever the search path is, a type of somebody else's is told from the shipped one."""
    engine = catalogue_engine(tmp_path, postgresql_url)
    upgrade(engine)
    with by_sqlalchemy(engine) as connection:
        for statement in (
            "CREATE DOMAIN public.text AS pg_catalog.text",
            'ALTER TABLE artifact ALTER actor TYPE public.text COLLATE "C"',
            "SET LOCAL search_path = public, pg_catalog",
        ):
            connection.exec_driver_sql(statement)
        with pytest.raises(CatalogueTamperedError, match=r"column 'artifact\.actor'"):
            require_shipped_postgresql(connection, metadata.sorted_tables)
    engine.dispose()
