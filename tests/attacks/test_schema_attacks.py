"""Whoever may change the database's schema: programs in it, and tables that are others'."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sealstore import limits
from sealstore.errors import CatalogueError, CatalogueTamperedError, SchemaVersionError
from sealstore.keys.keyring import Keyring
from sealstore.repository.access_log.place import ACCESS_FILE
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.storage.catalogue import catalogue_engine
from sealstore.storage.catalogue.database_facts import schema_revision
from sealstore.storage.catalogue.schema import SqliteConnection, require_checked_sqlite
from tests.sealstore_fixtures import MODEL, run_sql

pytestmark = pytest.mark.invariant(2)

FILE = "catalogue.sqlite3"
HIDE = "ALTER TABLE artifact RENAME TO hidden"
EDIT = (
    "CREATE TRIGGER planted AFTER INSERT ON artifact BEGIN"
    " UPDATE artifact SET actor = 'planted' WHERE sequence = NEW.sequence; END"
)


def connect(root: Path) -> closing[SqliteConnection]:
    """The attacker's own connection."""
    return closing(sqlite3.connect(root / FILE, isolation_level=None, factory=SqliteConnection))


def dump(root: Path) -> list[str]:
    """Everything in the catalogue."""
    with connect(root) as database:
        # Not iterdump, which does not know every kind of what is planted here.
        found = [repr(row) for row in database.execute("SELECT * FROM sqlite_master")]
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for [table] in tables:
            found += map(repr, database.execute(f'SELECT * FROM "{table}"'))
    return found


def with_table(pattern: str, replacement: str) -> Callable[[sqlite3.Connection], None]:
    """Makes the table of the artifacts again, another one, with all its rows and indices."""

    def plant(database: sqlite3.Connection) -> None:
        [[shipped]] = database.execute("SELECT sql FROM sqlite_master WHERE name = 'artifact'")
        indices = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'artifact' AND type = 'index'"
            " AND sql IS NOT NULL"
        ).fetchall()
        changed, count = re.subn(pattern, replacement, shipped)
        assert count == 1
        names = ", ".join(row[1] for row in database.execute("PRAGMA table_info(artifact)"))
        database.execute(HIDE)
        database.execute(changed)
        database.execute(f"INSERT INTO artifact ({names}) SELECT * FROM hidden")
        database.execute("DROP TABLE hidden")
        for _, sql in indices:
            database.execute(sql)

    return plant


def with_sql(*statements: str) -> Callable[[sqlite3.Connection], None]:
    def plant(database: sqlite3.Connection) -> None:
        for statement in statements:
            database.execute(statement)

    return plant


def with_many_views(database: sqlite3.Connection) -> None:
    # By one CREATE VIEW each, SQLite would take seconds.
    (version,) = database.execute("PRAGMA schema_version").fetchone()
    database.execute("PRAGMA writable_schema = ON")
    database.execute("BEGIN")
    database.executemany(
        "INSERT INTO sqlite_master"
        " VALUES ('view', ?1, ?1, 0, 'CREATE VIEW ' || ?1 || ' AS SELECT 1')",
        ((f"planted_{number}",) for number in range(limits.MAX_SCHEMA_STEPS // 5)),
    )
    database.execute(f"PRAGMA schema_version = {version + 1}")
    database.execute("COMMIT")
    database.execute("PRAGMA writable_schema = OFF")


ATTACKS: dict[str, Callable[[sqlite3.Connection], None]] = {
    # programs
    "a_trigger_that_edits_what_is_stored": with_sql(EDIT),
    "a_trigger_that_deletes_what_is_stored": with_sql(
        "CREATE TRIGGER planted AFTER INSERT ON artifact BEGIN DELETE FROM artifact; END"
    ),
    "a_trigger_that_ignores_changes": with_sql(
        "CREATE TRIGGER planted BEFORE UPDATE ON artifact BEGIN SELECT RAISE(IGNORE); END"
    ),
    "a_trigger_that_refuses_in_its_own_words": with_sql(
        "CREATE TRIGGER planted BEFORE INSERT ON artifact BEGIN"
        " SELECT RAISE(ABORT, 'gotcha \x1b[31m'); END"
    ),
    "a_trigger_with_an_odd_name": with_sql(EDIT.replace("planted", '"\x1b[31m\n\u202e"', 1)),
    "a_trigger_on_the_version": with_sql(
        "CREATE TRIGGER planted AFTER UPDATE ON alembic_version BEGIN DELETE FROM artifact; END"
    ),
    # in a table's place
    "a_view_in_a_tables_place": with_sql(HIDE, "CREATE VIEW artifact AS SELECT * FROM hidden"),
    "a_view_that_makes_up_huge_rows": with_sql(
        HIDE,
        "CREATE VIEW artifact AS SELECT sequence, name, tag, revision, created, format, size,"
        " sha256, actor, user_metadata, key_id, statement_digest,"
        " zeroblob(1000000000) AS envelope FROM hidden",
    ),
    "a_view_with_a_trigger_instead_of_inserting": with_sql(
        HIDE,
        "CREATE VIEW artifact AS SELECT * FROM hidden",
        "CREATE TRIGGER planted INSTEAD OF INSERT ON artifact BEGIN SELECT 1; END",
    ),
    "a_virtual_table_in_a_tables_place": with_sql(
        HIDE,
        "CREATE VIRTUAL TABLE artifact USING fts5(sequence, name, tag, revision, created, format,"
        " size, sha256, actor, user_metadata, key_id, statement_digest, envelope)",
    ),
    "a_renamed_table": with_sql(HIDE),
    # another table
    "an_extra_column_with_a_default": with_table(
        "envelope BLOB NOT NULL", "envelope BLOB NOT NULL, planted DEFAULT (hex(randomblob(8)))"
    ),
    "an_extra_column_by_alter_table": with_sql("ALTER TABLE artifact ADD COLUMN planted TEXT"),
    "a_default_that_is_an_expression": with_table(
        "actor TEXT NOT NULL", "actor TEXT NOT NULL DEFAULT (hex(randomblob(8)))"
    ),
    "a_generated_column": with_table(
        "envelope BLOB NOT NULL",
        "envelope BLOB NOT NULL, planted TEXT GENERATED ALWAYS AS (name || tag) VIRTUAL",
    ),
    "a_check": with_table("actor TEXT NOT NULL", "actor TEXT NOT NULL CHECK (name <> 'fresh')"),
    "another_collation": with_table(r"name VARCHAR\(128\)", "name VARCHAR(128) COLLATE NOCASE"),
    "another_type": with_table("size BIGINT", "size TEXT"),
    "a_column_that_may_be_null": with_table("actor TEXT NOT NULL", "actor TEXT"),
    "a_key_that_replaces": with_table(
        r"PRIMARY KEY \(sequence\)", "PRIMARY KEY (sequence) ON CONFLICT REPLACE"
    ),
    "a_key_that_only_looks_like_one": with_table(
        r"PRIMARY KEY \(sequence\)", '"PRIMARY" "KEY" CHECK (sequence)'
    ),
    "no_unique_constraint": with_table(r",\s*CONSTRAINT uq_\w+ UNIQUE \([^)]*\)", ""),
    "a_foreign_key_that_cascades": with_table(
        "actor TEXT NOT NULL",
        "actor TEXT NOT NULL REFERENCES alembic_version (version_num) ON DELETE CASCADE",
    ),
    "a_table_without_row_numbers": with_table(r"\)\s*$", ") WITHOUT ROWID"),
    "a_comment": with_table("actor TEXT NOT NULL", "actor TEXT /* planted */ NOT NULL"),
    # indices
    "an_index_of_an_expression": with_sql("CREATE INDEX planted ON artifact (abs(sequence))"),
    "a_partial_index": with_sql("CREATE INDEX planted ON artifact (name) WHERE revision > 1"),
    "a_unique_index": with_sql("CREATE UNIQUE INDEX planted ON artifact (key_id, sequence)"),
    "an_index_of_another_order": with_sql(
        "DROP INDEX ix_artifact_sha256",
        "CREATE INDEX ix_artifact_sha256 ON artifact (sha256 COLLATE NOCASE)",
    ),
    "a_missing_index": with_sql("DROP INDEX ix_artifact_sha256"),
    # beside the tables
    "another_table_beside": with_sql("CREATE TABLE planted (number INTEGER)"),
    "a_table_that_counts": with_sql("CREATE TABLE p (number INTEGER PRIMARY KEY AUTOINCREMENT)"),
    "a_view_beside": with_sql("CREATE VIEW planted AS SELECT 1"),
    "a_virtual_table_beside": with_sql("CREATE VIRTUAL TABLE planted USING fts5(words)"),
    "thousands_of_views": with_many_views,
}


def plant_in(root: Path, attack: str) -> list[str]:
    """Plant it, and return what the catalogue then consists of."""
    with connect(root) as database:
        try:
            ATTACKS[attack](database)
        except sqlite3.OperationalError as error:
            if "no such module" in str(error):
                pytest.skip("this SQLite has no full-text search")
            raise
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return dump(root)


def refused(call: Callable[[], object]) -> None:
    """The call is refused, in words that a terminal may show."""
    with pytest.raises(CatalogueTamperedError, match="schema") as refusal:
        call()
    assert str(refusal.value).isprintable()
    assert "gotcha" not in str(refusal.value)
    assert len(str(refusal.value)) < 1_000


def no_trigger_ran(repository: Repository) -> bool:
    """Whether none did what ``EDIT`` does."""
    return not run_sql(repository, "SELECT 1 FROM artifact WHERE actor = 'planted'")


@pytest.mark.parametrize("attack", ATTACKS)
def test_planted_before_the_repository_is_opened(
    repository: Repository, victim: Artifact, keyring: Keyring, attack: str
) -> None:
    """It is not opened; what it holds is as it was."""
    repository.close()
    planted = plant_in(repository.root, attack)
    refused(lambda: Repository.open(repository.root, keyring=keyring))
    assert dump(repository.root) == planted
    assert victim.name in repr(planted)


@pytest.mark.parametrize("attack", ATTACKS)
def test_planted_while_the_repository_is_open(
    repository: Repository, victim: Artifact, attack: str
) -> None:
    """Neither loads nor changes pass, however often they are tried; nothing is changed."""
    assert repository.load(victim.name) == MODEL
    planted = plant_in(repository.root, attack)
    for _ in range(2):
        refused(lambda: repository.load(victim.name))
        refused(lambda: repository.store(MODEL, "fresh", "v1"))
        refused(lambda: repository.remove(victim.name, victim.tag))
        refused(repository.list)
        refused(repository._parts.catalogue.read().__enter__)
    assert dump(repository.root) == planted


def test_more_views_than_memory_should_hold(repository: Repository, keyring: Keyring) -> None:
    """SQLite gives up while it parses them, not after it has."""
    engine = repository._parts.catalogue.engine
    plant_in(repository.root, "thousands_of_views")
    uses: list[Callable[[], object]] = [
        lambda: repository.store(MODEL, "fresh", "v1"),
        lambda: schema_revision(engine),
        lambda: Repository.open(repository.root, keyring=keyring),
        catalogue_engine(repository.root).reading().__enter__,
    ]
    for use in uses:
        with pytest.raises(CatalogueTamperedError, match="far larger"):
            use()


def test_a_trigger_in_the_access_log(repository: Repository, victim: Artifact) -> None:
    """A load whose record somebody else's program would edit hands out nothing."""
    assert repository.load(victim.name) == MODEL
    with closing(sqlite3.connect(repository.root / ACCESS_FILE, isolation_level=None)) as log:
        log.execute(
            "CREATE TRIGGER planted AFTER INSERT ON access_entry"
            " BEGIN DELETE FROM access_entry; END"
        )
        before = log.execute("SELECT * FROM access_entry").fetchall()
        for _ in range(2):
            refused(lambda: repository.load(victim.name))
        assert log.execute("SELECT * FROM access_entry").fetchall() == before != []
        log.execute("DROP TRIGGER planted")
    assert repository.load(victim.name) == MODEL


def test_a_definition_that_is_gigantic(repository: Repository, keyring: Keyring) -> None:
    """SQLite gives up before it has parsed it."""
    ones = "+".join("1" * (limits.MAX_SCHEMA_SQL_BYTES // 2))
    with connect(repository.root) as database:
        database.execute(f"CREATE VIEW planted AS SELECT {ones.replace('+', ',')}")
    for use in (
        lambda: repository.store(MODEL, "fresh", "v1"),
        lambda: Repository.open(repository.root, keyring=keyring),
    ):
        with pytest.raises(CatalogueError, match="malformed"):
            use()


def test_what_was_planted_is_removed_again(repository: Repository, victim: Artifact) -> None:
    """A connection that refused takes the shipped schema when it is there again."""
    with connect(repository.root) as database:
        database.execute(EDIT)
        refused(lambda: repository.store(MODEL, "fresh", "v1"))
        database.execute("DROP TRIGGER planted")
        # Renaming there and back leaves the name in quotes.
        database.execute(HIDE)
        refused(lambda: repository.load(victim.name))
        database.execute("ALTER TABLE hidden RENAME TO artifact")
    repository.store("new", "fresh", "v1")
    assert no_trigger_ran(repository)
    assert repository.load(victim.name) == MODEL


def test_what_operators_do_is_not_refused(
    repository: Repository, victim: Artifact, keyring: Keyring
) -> None:
    """ANALYZE, VACUUM, REINDEX, a backup, and objects that live in another connection only."""
    with connect(repository.root) as database:
        for statement in ("ANALYZE", "REINDEX", "VACUUM", EDIT.replace("TRIGGER", "TEMP TRIGGER")):
            database.execute(statement)
            assert repository.load(victim.name) == MODEL
            repository.store(statement, "fresh", "v1")
            assert no_trigger_ran(repository)
    with (
        closing(sqlite3.connect(repository.root / FILE)) as source,
        closing(sqlite3.connect(repository.root / "backup")) as target,
    ):
        source.backup(target)
    repository.close()
    for suffix in ("", "-wal", "-shm"):
        (repository.root / f"{FILE}{suffix}").unlink(missing_ok=True)
    (repository.root / "backup").rename(repository.root / FILE)
    with Repository.open(repository.root, keyring=keyring) as opened:
        assert opened.load(victim.name) == MODEL


def test_two_tables_of_one_name(repository: Repository, keyring: Keyring) -> None:
    """Two definitions in the place of one are refused by SQLite itself."""
    with connect(repository.root) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute(
            "INSERT INTO sqlite_master SELECT type, name, tbl_name, rootpage,"
            " replace(sql, 'actor TEXT NOT NULL', 'actor TEXT') FROM sqlite_master"
            " WHERE name = 'artifact'"
        )
    with pytest.raises(CatalogueError, match="malformed"):
        Repository.open(repository.root, keyring=keyring)


def test_statistics_that_are_no_statistics(repository: Repository) -> None:
    """A table with the name of ANALYZE's has ANALYZE's form."""
    with connect(repository.root) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute("ANALYZE")
        database.execute(
            "UPDATE sqlite_master SET sql = 'CREATE TABLE sqlite_stat1(tbl,idx,stat CHECK (0))'"
            " WHERE name = 'sqlite_stat1'"
        )
    refused(lambda: repository.store(MODEL, "fresh", "v1"))


# ── the cookie: what changes the schema without saying so ────────────────────


@pytest.fixture
def attacker(repository: Repository, victim: Artifact) -> Iterator[sqlite3.Connection]:
    """A connection that may edit what SQLite keeps of the schema."""
    assert repository.load(victim.name) == MODEL
    with connect(repository.root) as database:
        database.execute("PRAGMA writable_schema=ON")
        yield database


def cookie(database: sqlite3.Connection) -> int:
    [[found]] = database.execute("PRAGMA schema_version")
    assert isinstance(found, int)
    return found


ABORT = "CREATE TRIGGER planted AFTER INSERT ON artifact BEGIN SELECT RAISE(ABORT, 'it ran'); END"
PLANT_SILENTLY = "INSERT INTO sqlite_master VALUES ('trigger', 'planted', 'artifact', 0, ?)"


def test_a_trigger_that_is_planted_without_changing_the_cookie(
    repository: Repository, keyring: Keyring, attacker: sqlite3.Connection
) -> None:
    """Connections that are open do not see it, so it does not run; new ones see and refuse it."""
    before = cookie(attacker)
    attacker.execute(PLANT_SILENTLY, [EDIT])
    assert cookie(attacker) == before
    repository.store("new", "fresh", "v1")
    assert no_trigger_ran(repository)
    assert repository.load("fresh") == "new"
    refused(lambda: Repository.open(repository.root, keyring=keyring))


def test_a_check_that_is_written_into_the_file_itself(
    repository: Repository, keyring: Keyring, attacker: sqlite3.Connection
) -> None:
    """Other bytes in the file, under connections that are open: not seen, and then refused."""
    attacker.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file = repository.root / FILE
    content = file.read_bytes()
    place = content.index(b"user_metadata TEXT NOT NULL")
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(b"user_metadata TEXT CHECK(0)")
    assert repository.store("new", "fresh", "v1").revision == 1
    refused(lambda: Repository.open(repository.root, keyring=keyring))


def test_a_cookie_that_is_set_back(
    repository: Repository, victim: Artifact, attacker: sqlite3.Connection
) -> None:
    """What was seen under another cookie is looked at again under the old one."""
    before = cookie(attacker)
    attacker.execute(EDIT)
    refused(lambda: repository.load(victim.name))
    attacker.execute(f"PRAGMA schema_version={before}")
    refused(lambda: repository.load(victim.name))
    refused(lambda: repository.store(MODEL, "fresh", "v1"))


@pytest.mark.parametrize("use", ["reading", "writing"])
def test_a_cookie_that_is_set_back_after_something_was_parsed_unchecked(
    repository: Repository, attacker: sqlite3.Connection, use: str
) -> None:
    """What has to work on any schema remembers nothing."""
    before = cookie(attacker)
    attacker.execute(EDIT)
    engine = repository._parts.catalogue.engine
    with getattr(engine, use)(any_schema=True) as connection:
        connection.execute("SELECT count(*) FROM artifact").fetchone()
    attacker.execute(f"PRAGMA schema_version={before}")
    refused(lambda: repository.store(MODEL, "fresh", "v1"))


def test_a_cookie_that_is_set_back_while_somebody_reads(
    repository: Repository, victim: Artifact, attacker: sqlite3.Connection
) -> None:
    """A reader sees one state from its check on: it parses nothing that was not checked."""
    before = cookie(attacker)
    planted = "SELECT count(*) FROM sqlite_master WHERE name = 'planted'"
    with repository._parts.catalogue.engine.reading() as connection:
        attacker.execute(EDIT)
        assert connection.execute(planted).fetchone() == (0,)
    attacker.execute(f"PRAGMA schema_version={before}")
    repository.store("new", "fresh", "v1")
    assert no_trigger_ran(repository)
    assert repository.load(victim.name) == MODEL


def test_a_trigger_that_is_parsed_and_gone_when_it_is_looked_for(
    repository: Repository, attacker: sqlite3.Connection
) -> None:
    """The schema is parsed again in the transaction that looks at it."""
    attacker.execute(PLANT_SILENTLY, [ABORT])
    with connect(repository.root) as other:
        other.execute("SELECT count(*) FROM artifact")
        before = cookie(attacker)
        attacker.execute("DELETE FROM sqlite_master WHERE name = 'planted'")
        assert cookie(attacker) == before
        insert = (
            "INSERT INTO artifact SELECT 999, 'other', tag, revision, created, format, size,"
            " sha256, actor, user_metadata, key_id, statement_digest, envelope"
            " FROM artifact LIMIT 1"
        )
        with pytest.raises(sqlite3.IntegrityError, match="it ran"):
            other.execute(insert)
        other.execute("BEGIN IMMEDIATE")
        require_checked_sqlite(other)
        other.execute(insert)
        other.execute("ROLLBACK")


def test_a_revision_that_is_set_back(repository: Repository, attacker: sqlite3.Connection) -> None:
    """A planted schema that calls itself another release's is refused as that."""
    attacker.execute(EDIT)
    attacker.execute("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(SchemaVersionError):
        repository.load("victim")
    with pytest.raises(SchemaVersionError):
        repository.store(MODEL, "fresh", "v1")


# ── PostgreSQL ───────────────────────────────────────────────────────────────

SEPARATOR = ";; "
FUNCTION = (
    "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN NEW.actor := 'planted'; RETURN NEW; END $$"
)
TRIGGER = "CREATE TRIGGER planted BEFORE INSERT ON artifact FOR EACH ROW EXECUTE FUNCTION planted()"
REPLACE_INDEX = "DROP INDEX ix_artifact_sha256;; CREATE INDEX ix_artifact_sha256 ON artifact"

POSTGRESQL_ATTACKS = {
    "a_trigger": f"{FUNCTION};; {TRIGGER}",
    "a_constraint_trigger": f"{FUNCTION};; "
    "CREATE CONSTRAINT TRIGGER planted AFTER INSERT ON artifact DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION planted()",
    "a_rule": "CREATE RULE planted AS ON INSERT TO artifact DO INSTEAD NOTHING",
    "a_view_in_a_tables_place": f"{HIDE};; CREATE VIEW artifact AS SELECT * FROM hidden",
    "a_materialised_view_in_a_tables_place": (
        f"{HIDE};; CREATE MATERIALIZED VIEW artifact AS SELECT * FROM hidden"
    ),
    "a_renamed_table": HIDE,
    "a_table_in_a_schema_that_comes_first": (
        "CREATE SCHEMA owner;; CREATE TABLE owner.artifact AS SELECT * FROM artifact"
    ),
    "row_security": "ALTER TABLE artifact ENABLE ROW LEVEL SECURITY",
    "forced_row_security": "ALTER TABLE artifact FORCE ROW LEVEL SECURITY",
    "a_table_that_is_not_logged": "ALTER TABLE artifact SET UNLOGGED",
    "a_table_that_inherits": "CREATE TABLE planted () INHERITS (artifact)",
    "a_foreign_key_to_it": "CREATE TABLE planted (id bigint REFERENCES artifact ON DELETE CASCADE)",
    "an_extra_column": "ALTER TABLE artifact ADD COLUMN planted text DEFAULT current_user",
    "a_default": "ALTER TABLE artifact ALTER actor SET DEFAULT current_user",
    "an_identity": "ALTER TABLE artifact ALTER sequence ADD GENERATED ALWAYS AS IDENTITY",
    "a_generated_column": (
        "ALTER TABLE artifact ADD COLUMN planted text GENERATED ALWAYS AS (name || tag) STORED"
    ),
    "a_missing_column": "ALTER TABLE artifact DROP COLUMN actor",
    "a_renamed_column": "ALTER TABLE artifact RENAME actor TO planted",
    "a_column_that_may_be_null": "ALTER TABLE artifact ALTER actor DROP NOT NULL",
    "another_type": "ALTER TABLE artifact ALTER size TYPE numeric",
    "another_length": 'ALTER TABLE artifact ALTER name TYPE varchar(127) COLLATE "C"',
    "a_type_of_their_own": (
        "CREATE DOMAIN planted AS text COLLATE \"C\" CHECK (VALUE <> 'fresh');; "
        "ALTER TABLE artifact ALTER actor TYPE planted"
    ),
    "another_collation": 'ALTER TABLE artifact ALTER actor TYPE text COLLATE "POSIX"',
    "a_check": "ALTER TABLE artifact ADD CONSTRAINT planted CHECK (name <> 'fresh') NOT VALID",
    "an_exclusion": "ALTER TABLE artifact ADD CONSTRAINT planted EXCLUDE (sequence WITH =)",
    "no_unique_constraint": "ALTER TABLE artifact DROP CONSTRAINT uq_artifact_name_tag_revision",
    "a_unique_constraint_that_waits": (
        "ALTER TABLE artifact DROP CONSTRAINT uq_artifact_name_tag_revision;; "
        "ALTER TABLE artifact ADD CONSTRAINT uq_artifact_name_tag_revision"
        " UNIQUE (name, tag, revision) DEFERRABLE INITIALLY DEFERRED"
    ),
    "a_unique_constraint_of_other_columns": (
        "ALTER TABLE artifact DROP CONSTRAINT uq_artifact_name_tag_revision;; "
        "ALTER TABLE artifact ADD CONSTRAINT uq_artifact_name_tag_revision UNIQUE (name, tag)"
    ),
    "a_unique_index": "CREATE UNIQUE INDEX planted ON artifact (key_id, sequence)",
    "an_index_of_an_expression": f"{REPLACE_INDEX} (lower(sha256))",
    "a_partial_index": f"{REPLACE_INDEX} (sha256) WHERE revision > 1",
    "an_index_of_another_order": f"{REPLACE_INDEX} (sha256 DESC)",
    "an_index_of_another_collation": f'{REPLACE_INDEX} (sha256 COLLATE "POSIX")',
    "an_index_of_another_kind": f"{REPLACE_INDEX} USING hash (sha256)",
    "an_index_that_includes": f"{REPLACE_INDEX} (sha256) INCLUDE (actor)",
    "an_index_that_is_not_valid": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_artifact_sha256'::regclass"
    ),
    "a_missing_index": "DROP INDEX ix_artifact_sha256",
    "a_trigger_on_the_version": (
        f"{FUNCTION};; CREATE TRIGGER planted BEFORE UPDATE ON alembic_version"
        " FOR EACH ROW EXECUTE FUNCTION planted()"
    ),
}


@pytest.fixture
def stored_in_postgresql(
    tmp_path: Path, postgresql_url: str, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Repository, Callable[[str], Any]]]:
    """A repository in PostgreSQL, and what runs SQL there as the tables' owner."""
    monkeypatch.setenv("MODEL_REPO_DATABASE_URL", postgresql_url)
    # Not the engine of a repository, whose writers wait for each other.
    database = vars(catalogue_engine(tmp_path, postgresql_url))["_engine"]

    def run(statement: str) -> Any:
        with database.begin() as connection:
            result = connection.execute(text(statement))
            return result.all() if result.returns_rows else []

    with Repository.create(tmp_path / "pg", keyring=keyring) as repository:
        repository.store(MODEL, "victim", "v1")
        yield repository, run
    run("DROP SCHEMA IF EXISTS owner CASCADE")
    database.dispose()


@pytest.mark.postgresql
@pytest.mark.parametrize("attack", POSTGRESQL_ATTACKS)
def test_planted_in_postgresql(
    stored_in_postgresql: tuple[Repository, Callable[[str], Any]], keyring: Keyring, attack: str
) -> None:
    """No change passes, and nobody opens it; nothing is changed."""
    repository, run = stored_in_postgresql
    for statement in POSTGRESQL_ATTACKS[attack].split(SEPARATOR):
        run(statement)
    table = "hidden" if HIDE in POSTGRESQL_ATTACKS[attack] else "public.artifact"
    before = run(f"SELECT * FROM {table}")
    assert len(before) == 1
    for _ in range(2):
        with pytest.raises(CatalogueTamperedError) as refusal:
            repository.store(MODEL, "fresh", "v1")
        assert str(refusal.value).isprintable()
    with pytest.raises(CatalogueTamperedError):
        repository.remove("victim", "v1")
    with pytest.raises(CatalogueTamperedError):
        Repository.open(repository.root, keyring=keyring)
    assert run(f"SELECT * FROM {table}") == before


@pytest.mark.postgresql
def test_a_trigger_waits_for_the_transaction_that_looked_for_it(
    stored_in_postgresql: tuple[Repository, Callable[[str], Any]],
) -> None:
    """Between the check and the first change nobody can plant one."""
    repository, run = stored_in_postgresql
    run(FUNCTION)
    run("SET lock_timeout = '50ms'")
    with repository._parts.catalogue.write(), pytest.raises(DBAPIError, match="lock timeout"):
        run(TRIGGER)
    repository.store(MODEL, "fresh", "v1")


@pytest.mark.postgresql
def test_what_operators_of_postgresql_do_is_not_refused(
    stored_in_postgresql: tuple[Repository, Callable[[str], Any]],
) -> None:
    """Statistics, other tables, privileges and storage parameters are none of ours."""
    repository, run = stored_in_postgresql
    for statement in (
        "ANALYZE",
        "CREATE TABLE theirs (id bigint)",
        "CREATE VIEW their_view AS SELECT name FROM artifact",
        "GRANT SELECT ON artifact TO PUBLIC",
        "ALTER TABLE artifact SET (fillfactor = 90)",
        "REINDEX TABLE artifact",
    ):
        run(statement)
        repository.store(statement, "fresh", "v1")
    assert repository.load("victim") == MODEL
