"""Migrations: from every released schema to this one, on both databases, whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from sealstore.errors import CatalogueError, SchemaVersionError
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.keys.keyring import Keyring
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.storage.catalogue import catalogue_engine, require_current_schema
from sealstore.storage.catalogue.contract import Engine
from sealstore.storage.catalogue.database_facts import schema_revision
from sealstore.storage.catalogue.migrations import migrations_path, upgrade
from sealstore.storage.catalogue.schema import SCHEMA_REVISIONS
from sealstore.storage.catalogue.tables import metadata
from sealstore.upkeep.migration import migrate
from tests.catalogue_sql import by_sqlalchemy, run_in
from tests.faults.children import run_all
from tests.older_release import make_older

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
    found = {}
    with by_sqlalchemy(engine) as connection:
        inspector = inspect(connection)
        for table in inspector.get_table_names():
            rows = connection.execute(text(f'SELECT * FROM "{table}"')).all()
            found[table] = [
                *(repr(inspector.get_columns(table)), repr(inspector.get_indexes(table))),
                *(repr(inspector.get_pk_constraint(table)), sorted(map(plainly, rows))),
            ]
    return found


# ── released schemas ─────────────────────────────────────────────────────────


def test_an_older_repository_is_migrated(
    tmp_path: Path, older_release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After migrating, everything that was stored loads, and storing goes on where it was."""
    monkeypatch.setenv("MODEL_REPO_PATH", str(tmp_path / "repository"))
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(tmp_path / "keyring.json"))
    write_keyring_file(tmp_path / "keyring.json", Keyring.of([new_key(HmacSha256(bytes(32)))]))
    with Repository.create(tmp_path / "repository") as repository:
        for tag in ("1", "2"):
            repository.store({"tag": tag}, "churn", tag)
        assert repository.load("churn") == {"tag": "2"}
    make_older(tmp_path / "repository")
    with pytest.raises(SchemaVersionError, match="sealstore migrate"):
        Repository.open()
    done = migrate(Settings.from_environment())
    assert (done.old, done.new) == (older_release, SCHEMA_REVISIONS[-1])
    with Repository.open() as repository:
        assert [repository.load("churn", tag) for tag in ("1", "2")] == [{"tag": "1"}, {"tag": "2"}]
        newest = repository.history(limit=1)[0].sequence
        assert repository.store("new", "churn", "2").sequence == newest + 1


def test_an_older_database_is_migrated(engine: Engine, older_release: str) -> None:
    """On both databases the next schema is made of the one before, and is the shipped one."""
    upgrade(engine, older_release)
    assert schema_revision(engine) == older_release
    with pytest.raises(SchemaVersionError, match="sealstore migrate"):
        require_current_schema(engine)
    upgrade(engine)
    assert schema_revision(engine) == SCHEMA_REVISIONS[-1]
    require_current_schema(engine)


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
    with by_sqlalchemy(engine) as connection:
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
    with by_sqlalchemy(engine) as connection:
        found = list(connection.execute(columns).scalars())
        dialect = connection.dialect
    assert found == ["C"] * sum(
        column.type.compile(dialect=dialect).startswith(("VARCHAR", "TEXT"))
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
        "sealstore.storage.catalogue.schema.SCHEMA_REVISIONS", (*SCHEMA_REVISIONS, "9999")
    )


@pytest.mark.invariant(3)
@pytest.mark.usefixtures("broken_migration")
def test_a_migration_that_fails_changes_nothing(engine: Engine) -> None:
    """Tables, rows and the schema's revision are those from before, from any revision on."""
    upgrade(engine, SCHEMA_REVISIONS[-1])
    entry = "INSERT INTO history_entry (sequence, entry, event, at) VALUES (1, '', 'create', '')"
    run_in(engine, entry)
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
    assert schema_revision(engine) is None
    run_all([(upgrade_from_here, (tmp_path, database_url))] * 4)
    require_current_schema(engine)


# ── where the migrations are ─────────────────────────────────────────────────

USE = """
import sys
from pathlib import Path
from sealstore.storage.catalogue import catalogue_engine, require_current_schema
from sealstore.storage.catalogue.migrations import migrations_path, upgrade
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
        with by_sqlalchemy(engine) as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, target)

    for target in ("-1", "base"):
        with pytest.raises(NotImplementedError, match="restore the backup"):
            downgrade(target)
    assert description(engine) == before
