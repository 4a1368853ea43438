"""Connections: what may be asked for, and what is told when the database fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from sealstore import limits
from sealstore.errors import (
    CatalogueError,
    CatalogueTamperedError,
    ConfigurationError,
    SchemaVersionError,
)
from sealstore.names import request
from sealstore.storage.catalogue import Catalogue, catalogue_engine, require_current_schema, sqlite
from sealstore.storage.catalogue.artifacts import PROOF_ROWS
from sealstore.storage.catalogue.connections import catalogue_errors
from sealstore.storage.catalogue.database_facts import (
    filesystem_type,
    schema_revision,
)
from sealstore.storage.catalogue.listing import ListFilter, list_rows
from sealstore.storage.catalogue.migrations import migrations_path, upgrade
from sealstore.storage.catalogue.schema import SCHEMA_REVISIONS
from sealstore.storage.catalogue.sqlite import SQLITE_FILE
from sealstore.storage.catalogue.tables import metadata
from tests.catalogue_sql import by_sqlalchemy, run_in

DRIVER = "psycopg2" if sqlalchemy.__version__.startswith("1.") else "psycopg"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Any]:
    made = catalogue_engine(tmp_path, create=True)
    upgrade(made)
    yield made
    made.dispose()


def execute(engine: Any, statement: str) -> list[Any]:
    return run_in(engine, statement)


# ── what may be asked for ────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///elsewhere.db",
        "mysql://user:s3cret@host/db",
        "not a url s3cret",
        "",
        "postgres://user:s3cret@host/db",
        "postgresql://user:s3cret@host:port/db",
    ],
)
def test_only_postgresql_urls_are_taken_and_none_is_quoted(tmp_path: Path, url: str) -> None:
    """Another database is a configuration error without the URL's password."""
    with pytest.raises(ConfigurationError) as refusal:
        catalogue_engine(tmp_path, url)
    assert "s3cret" not in str(refusal.value)
    assert "MODEL_REPO_DATABASE_URL" in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@host/db",
        f"postgresql+{DRIVER}://user:s3cret@host/db",
        "postgresql://user@host/db?password=s3cret",
    ],
)
def test_a_shown_url_has_no_password(tmp_path: Path, url: str) -> None:
    """What the doctor prints can be pasted into a ticket."""
    pytest.importorskip(DRIVER)
    engine = catalogue_engine(tmp_path, url)
    assert "host/db" in engine.place
    assert "s3cret" not in engine.place


def test_an_unknown_journal_mode_is_refused(tmp_path: Path) -> None:
    """No other mode than the two that are tested, and none with SQL in it."""
    for journal in ("off", "memory", "wal; DROP TABLE artifact"):
        with pytest.raises(ConfigurationError, match="MODEL_REPO_JOURNAL"):
            catalogue_engine(tmp_path, journal=journal)


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_connections_are_durable_and_distrust_the_schema(tmp_path: Path, journal: str) -> None:
    """Every sync that SQLite knows, no trust in what the file defines, and a cap on values."""
    engine = catalogue_engine(tmp_path, journal=journal, create=True)
    upgrade(engine)
    assert execute(engine, "PRAGMA journal_mode") == [(journal,)]
    assert execute(engine, "PRAGMA synchronous") == [(3,)]
    assert execute(engine, "PRAGMA trusted_schema") == [(0,)]
    assert execute(engine, "PRAGMA cell_size_check") == [(1,)]
    assert execute(engine, "PRAGMA foreign_keys") == [(1,)]
    assert execute(engine, f"SELECT length(zeroblob({limits.MAX_ROW_BYTES}))")
    with pytest.raises(sqlite3.DataError, match="too big"):
        execute(engine, f"SELECT zeroblob({limits.MAX_ROW_BYTES + 1})")
    engine.dispose()


def test_a_path_with_every_odd_character_is_one_file(tmp_path: Path) -> None:
    """The path is part of a URI, and means itself all the same."""
    folder = tmp_path / "50% of ?a=b#c&mode=ro ü"
    folder.mkdir()
    engine = catalogue_engine(folder, create=True)
    upgrade(engine)
    require_current_schema(engine)
    engine.dispose()
    assert (folder / SQLITE_FILE).is_file()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_missing_file_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    """Opening does not create an empty catalogue in a wrong place."""
    engine = catalogue_engine(tmp_path)
    with pytest.raises(CatalogueError, match="unable to open database file"):
        require_current_schema(engine)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_wal_on_a_network_file_system_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The write-ahead log needs memory that all writers share."""
    monkeypatch.setattr(sqlite, "mounts", lambda: [(str(tmp_path), kind)])
    with pytest.raises(CatalogueError, match="MODEL_REPO_JOURNAL=delete"):
        catalogue_engine(tmp_path)
    catalogue_engine(tmp_path, journal="delete")
    monkeypatch.setattr(sqlite, "mounts", lambda: [("/elsewhere", kind)])
    catalogue_engine(tmp_path)


def test_the_type_of_a_file_system_is_read_from_its_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deepest mount counts, of two on one point the later, and escapes are undone."""
    lines = [
        "1 0 8:1 / / rw - ext4 /dev/a rw",
        "2 1 8:1 / /proc rw - proc proc rw",
        f"3 1 0:1 / {tmp_path} rw shared:1 - xfs /dev/b rw",
        f"4 1 0:1 / {tmp_path} rw - nfs4 server:/x rw",
        f"5 1 0:1 / {tmp_path}/with\\040space rw - cifs //x rw",
        f"6 1 0:1 / {tmp_path}/other rw - tmpfs x rw",
    ]
    (tmp_path / "with space").mkdir()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "\n".join(lines))
    assert filesystem_type(tmp_path / "folder") == "nfs4"
    assert filesystem_type(tmp_path / "with space" / "x") == "cifs"
    assert filesystem_type(Path("/")) == "ext4"
    with pytest.raises(CatalogueError, match="nfs4"):
        catalogue_engine(tmp_path)

    def fail(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", fail)
    assert filesystem_type(tmp_path) is None
    catalogue_engine(tmp_path)


# ── the schema ───────────────────────────────────────────────────────────────


def test_the_migrations_make_the_tables_that_the_code_knows(engine: Any) -> None:
    """Columns, types, constraints and indices are the same in both descriptions."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with by_sqlalchemy(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    assert schema_revision(engine) == SCHEMA_REVISIONS[-1]
    require_current_schema(engine)


def test_every_revision_of_the_schema_has_its_migration() -> None:
    """The list in the code is the list of the files, in their order."""
    files = sorted((migrations_path() / "versions").glob("*.py"))
    assert tuple(path.stem.partition("_")[0] for path in files) == SCHEMA_REVISIONS


def test_upgrading_twice_changes_nothing(engine: Any) -> None:
    """Migrating what is current is no error."""
    before = execute(engine, "SELECT sql FROM sqlite_master ORDER BY name")
    upgrade(engine)
    assert execute(engine, "SELECT sql FROM sqlite_master ORDER BY name") == before


def test_a_newer_schema_is_refused_and_left_alone(engine: Any) -> None:
    """What a later release made is neither used nor migrated."""
    execute(engine, "UPDATE alembic_version SET version_num = '9999'")
    for use in (require_current_schema, upgrade):
        with pytest.raises(SchemaVersionError, match="newer schema") as refusal:
            use(engine)
        assert "9999" not in str(refusal.value)
    assert schema_revision(engine) == "9999"


def test_an_older_schema_names_the_command(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upgrading is a step that somebody takes, after a backup."""
    monkeypatch.setattr(
        "sealstore.storage.catalogue.schema.SCHEMA_REVISIONS", (*SCHEMA_REVISIONS, "9999")
    )
    with pytest.raises(SchemaVersionError, match="run 'sealstore migrate'"):
        require_current_schema(engine)


def test_a_database_without_tables_is_refused(tmp_path: Path) -> None:
    """An emptied file is not an empty repository."""
    engine = catalogue_engine(tmp_path, create=True)
    assert schema_revision(engine) is None
    with pytest.raises(SchemaVersionError, match="has no tables"):
        require_current_schema(engine)
    execute(engine, "CREATE TABLE alembic_version (version_num VARCHAR)")
    with pytest.raises(SchemaVersionError, match="has no tables"):
        require_current_schema(engine)
    engine.dispose()


def test_migrations_that_are_not_installed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation says so, rather than making no tables."""
    monkeypatch.setattr(
        "sealstore.storage.catalogue.migrations.resources.files", lambda _: tmp_path / "a"
    )
    with pytest.raises(ConfigurationError, match="not installed"):
        migrations_path()


# ── failures ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not a database" * 100, "file is not a database"),
        (b"SQLite format 3\0" + b"\xff" * 4000, "file is not a database|malformed|SQL logic error"),
    ],
)
def test_a_damaged_file_is_an_error_in_the_words_of_sqlite(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    """Damage is a CatalogueError, whatever the driver made of it."""
    (tmp_path / SQLITE_FILE).write_bytes(content)
    engine = catalogue_engine(tmp_path)
    catalogue = Catalogue(engine, lock_file=tmp_path / "lock")
    with pytest.raises(CatalogueError, match=reason):
        catalogue.ask(request("a", "b"), range(PROOF_ROWS))
    with pytest.raises(CatalogueError, match=reason), catalogue.write():
        pass
    engine.dispose()


@pytest.mark.invariant(2)
def test_no_error_quotes_what_stands_in_the_database(engine: Any, tmp_path: Path) -> None:
    """Neither a value that does not decode nor a planted name gets into a message."""
    catalogue = Catalogue(engine, lock_file=tmp_path / "lock")
    raw = sqlite3.connect(tmp_path / SQLITE_FILE, isolation_level=None)
    values = {column.name: "'a'" for column in metadata.tables["artifact"].columns}
    values["actor"] = "CAST(x'ff676f74636861' AS TEXT)"
    row = ", ".join(values.values())
    raw.execute(f"INSERT INTO artifact ({', '.join(values)}) VALUES ({row})")
    with pytest.raises(CatalogueError, match="cannot be read: OperationalError") as refusal:
        list_rows(catalogue, ListFilter(), limit=1)
    assert "gotcha" not in str(refusal.value)
    raw.execute("ALTER TABLE artifact RENAME TO hidden")
    raw.execute('CREATE VIEW artifact AS SELECT * FROM "gotcha \x1b[31m"')
    raw.close()
    with pytest.raises(CatalogueTamperedError, match="view 'artifact'") as tampered:
        list_rows(catalogue, ListFilter(), limit=1)
    assert "gotcha" not in str(tampered.value)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), TypeError("x"), OverflowError("x"), UnicodeDecodeError("x", b"", 0, 1, "")],
)
def test_what_drivers_raise_on_damage_is_a_catalogue_error_while_reading_only(
    error: Exception,
) -> None:
    """An error of the caller's own, while it writes, is not taken for the database's."""
    with pytest.raises(CatalogueError, match=type(error).__name__), catalogue_errors("Reading"):
        raise error
    with pytest.raises(type(error)), catalogue_errors("Writing", reading=False):
        raise error


def test_an_error_of_the_system_is_told_in_its_words() -> None:
    """What the system says holds no path."""
    with (
        pytest.raises(CatalogueError, match="Reading: No such file") as refusal,
        catalogue_errors("Reading"),
    ):
        raise FileNotFoundError(2, "No such file", "/secret/path")
    assert "/secret" not in str(refusal.value)
    with pytest.raises(CatalogueError, match="Reading: OSError"), catalogue_errors("Reading"):
        raise OSError


def test_the_lock_of_the_writers_is_not_followed_out_of_the_repository(
    engine: Any, tmp_path: Path
) -> None:
    """A planted link makes no file elsewhere."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    catalogue = Catalogue(engine, lock_file=tmp_path / "lock")
    with pytest.raises(CatalogueError, match="cannot be changed"), catalogue.write():
        pass
    assert not (tmp_path / "elsewhere").exists()
