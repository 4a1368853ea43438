"""Migrations: from every released schema to this one, on both databases, whole or not at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.engine import Engine

from sealstore.errors import CatalogueError, SchemaVersionError
from sealstore.keys.keyring import Keyring, new_key
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.storage.catalogue import (
    catalogue_engine,
    migrations_path,
    require_current_schema,
    schema_revision,
    upgrade,
)
from sealstore.storage.catalogue.tables import SCHEMA_REVISIONS, metadata
from sealstore.upkeep.migration import migrate
from tests.faults.children import run_all
from tests.vectors.catalogue.generate import KEY, STORED, VECTORS

PROJECT = Path(__file__).resolve().parents[2]
BROKEN = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = {newest!r}


def upgrade() -> None:
    op.create_table("extra", sa.Column("number", sa.BigInteger, primary_key=True))
    op.execute("INSERT INTO extra VALUES (1)")
    op.execute("UPDATE history_entry SET event = 'changed'")
    op.execute("INSERT INTO no_such_table VALUES (1)")
"""


TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'alembic_version'"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Each kind of database, empty, as the environment names it; None for SQLite's file."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("postgresql_url")
    monkeypatch.setenv("MODEL_REPO_DATABASE_URL", url)
    return url


@pytest.fixture
def engine(tmp_path: Path, database_url: str | None) -> Iterator[Engine]:
    """An engine of an empty database."""
    made = catalogue_engine(tmp_path, database_url, create=True)
    yield made
    made.dispose()


def plainly(row: Iterable[Any]) -> str:
    """A row's values as text: bytes of any driver show what they are."""
    return repr([bytes(value) if isinstance(value, memoryview) else value for value in row])


def description(engine: Engine) -> dict[str, Any]:
    """Everything in a database: tables, columns, constraints, indices, rows."""
    inspector = inspect(engine)
    found = {}
    with engine.connect() as connection:
        for table in inspector.get_table_names():
            rows = connection.execute(text(f'SELECT * FROM "{table}"')).all()
            found[table] = [
                *(repr(inspector.get_columns(table)), repr(inspector.get_indexes(table))),
                *(repr(inspector.get_pk_constraint(table)), sorted(map(plainly, rows))),
            ]
    return found


# ── released schemas ─────────────────────────────────────────────────────────


def released_repository(revision: str, root: Path, url: str | None) -> None:
    """What a release with this schema left: in SQLite's file, or moved to PostgreSQL."""
    shutil.copytree(VECTORS / revision, root)
    access = root / "access.sql"
    if access.exists():
        with closing(sqlite3.connect(root / "access.sqlite3")) as database:
            database.executescript(access.read_text(encoding="utf-8"))
        access.unlink()
    dump = root / "catalogue.sql"
    with closing(sqlite3.connect(root / "catalogue.sqlite3")) as database:
        database.executescript(dump.read_text(encoding="utf-8"))
        dump.unlink()
        if url is None:
            return
        engine = catalogue_engine(root, url)
        upgrade(engine, revision)
        with engine.begin() as connection:
            for (table,) in database.execute(TABLES).fetchall():
                cursor = database.execute(f"SELECT * FROM {table}")
                names = [column[0] for column in cursor.description]
                values = ", ".join(f":{name}" for name in names)
                statement = text(f"INSERT INTO {table} VALUES ({values})")
                for row in cursor:
                    connection.execute(statement, dict(zip(names, row, strict=True)))
        engine.dispose()
    (root / "catalogue.sqlite3").unlink()


@pytest.mark.filterwarnings("ignore::sealstore.errors.EnvironmentMismatchWarning")
@pytest.mark.parametrize("revision", SCHEMA_REVISIONS)
def test_the_repository_of_every_released_schema_is_migrated(
    revision: str, tmp_path: Path, database_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After migrating, everything that was stored loads, and storing goes on where it was."""
    root = tmp_path / "repository"
    released_repository(revision, root, database_url)
    write_keyring_file(tmp_path / "keyring.json", Keyring.of([new_key(KEY)]))
    monkeypatch.setenv("MODEL_REPO_PATH", str(root))
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(tmp_path / "keyring.json"))
    engine = catalogue_engine(root, database_url)
    assert schema_revision(engine) == revision
    if revision != SCHEMA_REVISIONS[-1]:
        with pytest.raises(SchemaVersionError, match="sealstore migrate"):
            require_current_schema(engine)
    migrate(Settings.from_environment())
    require_current_schema(engine)
    engine.dispose()
    with Repository.open() as repository:
        assert repository.list().refused == []
        assert len(repository.list().artifacts) == len(STORED)
        for (name, tag, number), value in STORED.items():
            assert repository.load(name, tag, revision=number) == value
            assert repository.verify(name, tag, revision=number).metadata == {"revision": number}
        assert repository.load("churn") == STORED["churn", "2026-10", 2]
        newest = repository.history(limit=1)[0].sequence
        stored = repository.store("new", "fraud", "v1")
        assert (stored.revision, stored.sequence) == (3, newest + 1)


def test_every_released_schema_has_its_vector() -> None:
    """A schema is not released without the repository that later releases are tested with."""
    folders = {path.name for path in VECTORS.iterdir() if (path / "catalogue.sql").is_file()}
    assert folders == set(SCHEMA_REVISIONS)


def test_the_migrations_are_one_line() -> None:
    """No branches: each revision of the schema follows the one before, the last is the code's."""
    config = Config()
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    line = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(line)) == SCHEMA_REVISIONS
    assert scripts.get_heads() == [SCHEMA_REVISIONS[-1]]


# ── the schema ───────────────────────────────────────────────────────────────


def test_the_migrations_make_the_tables_that_the_code_knows(engine: Engine) -> None:
    """Columns, types, constraints, indices and defaults are the same in both descriptions."""
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_all_text_is_compared_by_its_bytes(engine: Engine) -> None:
    """No column's order depends on the database's locale."""
    upgrade(engine)
    columns = text(
        "SELECT collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name != 'alembic_version'"
        " AND data_type IN ('text', 'character varying')"
    )
    with engine.connect() as connection:
        found = list(connection.execute(columns).scalars())
    assert found == ["C"] * sum(
        column.type.compile(dialect=engine.dialect).startswith(("VARCHAR", "TEXT"))
        for table in metadata.tables.values()
        for column in table.c
    )


# ── whole or not at all ──────────────────────────────────────────────────────


@pytest.fixture
def broken_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A next revision of the schema that fails when most of it is done."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrations_path(), folder)
    script = BROKEN.format(newest=SCHEMA_REVISIONS[-1])
    (folder / "versions/9999_broken.py").write_text(script)
    monkeypatch.setattr("sealstore.storage.catalogue.migrations.migrations_path", lambda: folder)
    monkeypatch.setattr(
        "sealstore.storage.catalogue.migrations.SCHEMA_REVISIONS", (*SCHEMA_REVISIONS, "9999")
    )


@pytest.mark.invariant(3)
@pytest.mark.usefixtures("broken_migration")
def test_a_migration_that_fails_changes_nothing(engine: Engine) -> None:
    """Tables, rows and the schema's revision are those from before, from any revision on."""
    upgrade(engine, SCHEMA_REVISIONS[-1])
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO history_entry (sequence, entry, event, at)"
                " VALUES (1, '', 'create', '')"
            )
        )
    before = description(engine)
    with pytest.raises(CatalogueError, match="cannot be migrated"):
        upgrade(engine)
    assert description(engine) == before
    assert schema_revision(engine) == SCHEMA_REVISIONS[-1]


@pytest.mark.invariant(3)
@pytest.mark.usefixtures("broken_migration")
def test_a_creation_whose_migration_fails_leaves_no_tables(engine: Engine) -> None:
    """All migrations are one transaction."""
    with pytest.raises(CatalogueError, match="cannot be migrated"):
        upgrade(engine)
    assert description(engine) == {}


def upgrade_from_here(root: Path, url: str | None) -> None:
    engine = catalogue_engine(root, url)
    for _ in range(3):
        upgrade(engine)
    engine.dispose()


@pytest.mark.invariant(3)
def test_processes_that_migrate_at_the_same_time_migrate_once(
    engine: Engine, tmp_path: Path, database_url: str | None
) -> None:
    """The second waits for the first, and finds nothing to do."""
    engine.connect().close()
    run_all([(upgrade_from_here, (tmp_path, database_url))] * 4)
    require_current_schema(engine)


# ── where the migrations are ─────────────────────────────────────────────────

USE = """
import sys
from pathlib import Path
from sealstore.storage.catalogue import (
    catalogue_engine, migrations_path, require_current_schema, upgrade
)
engine = catalogue_engine(Path(sys.argv[1]), create=True)
upgrade(engine)
require_current_schema(engine)
engine.dispose()
print(migrations_path())
"""


def installed_as_a_wheel(folder: Path) -> tuple[Path, Path]:
    shutil.copytree(migrations_path(), folder / "sealstore/migrations", dirs_exist_ok=True)
    return folder, folder / "sealstore/migrations"


def installed_editable(folder: Path) -> tuple[Path, Path]:
    (folder / "src").mkdir()
    (folder / "sealstore").rename(folder / "src/sealstore")
    shutil.copytree(migrations_path(), folder / "migrations")
    return folder / "src", folder / "migrations"


@pytest.mark.parametrize("installed", [installed_as_a_wheel, installed_editable])
@pytest.mark.parametrize("odd", ["plain", "50% a&b?c#d=e %(here)s ü"])
def test_migrations_are_found_wherever_they_are_installed(
    tmp_path: Path, installed: Callable[[Path], tuple[Path, Path]], odd: str
) -> None:
    """In the package or beside it, in a folder of any name, for a repository of any name."""
    site, repository = tmp_path / f"site {odd}", tmp_path / f"repository {odd}"
    repository.mkdir()
    package = Path(sys.modules["sealstore"].__file__ or "").parent
    shutil.copytree(
        package, site / "sealstore", ignore=shutil.ignore_patterns("__pycache__", "migrations")
    )
    path, expected = installed(site)
    done = subprocess.run(
        [sys.executable, "-c", USE, str(repository)],
        env=os.environ | {"PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.rstrip("\n")) == expected
    assert [entry.name for entry in repository.iterdir()] == ["catalogue.sqlite3"]


def test_alembic_alone_changes_nothing(tmp_path: Path) -> None:
    """Without sealstore, which says which database, the migrations say what to use."""
    config = Config()
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    with pytest.raises(SystemExit, match="sealstore migrate"):
        command.upgrade(config, "head")


def test_no_migration_goes_back(engine: Engine) -> None:
    """A catalogue is not downgraded: that would lose what only the newer schema can hold."""
    upgrade(engine)
    before = description(engine)
    config = Config()
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))

    def downgrade(target: str) -> None:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, target)

    for target in ("-1", "base"):
        with pytest.raises(NotImplementedError, match="restore the backup"):
            downgrade(target)
    assert description(engine) == before
