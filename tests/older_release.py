"""A release before this one, whose schema was another: what a migration finds.

No such release there was: the first schema is this one's. So that migrating works on the day when
there is a second, one is made up. It had no index on the artifacts' keys.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sealstore.storage.catalogue import migrations, schema

OLDER = "0000"
FORGOTTEN = "DROP INDEX ix_artifact_key_id"

_VERSIONS = {
    "0000_older.py": f"""
from sealstore.storage.catalogue.tables import metadata
from alembic import op

revision = "{OLDER}"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
    op.execute("{FORGOTTEN}")
""",
    "0001_newer.py": f"""
from alembic import op

revision = "{schema.SCHEMA_REVISIONS[-1]}"
down_revision = "{OLDER}"


def upgrade() -> None:
    op.create_index("ix_artifact_key_id", "artifact", ["key_id"])
""",
}


def be_the_next_release(patch: Any, folder: Path) -> None:
    """Let this process be of a release whose migrations begin with the older schema.

    Args:
        patch: sets attributes, as pytest's ``MonkeyPatch`` does.
        folder: for the migrations; absent or made by this before.
    """
    if OLDER in schema.SCHEMA_REVISIONS:
        return
    if not folder.exists():
        shutil.copytree(migrations.migrations_path(), folder)
        shutil.rmtree(folder / "versions")
        (folder / "versions").mkdir()
        for name, text in _VERSIONS.items():
            (folder / "versions" / name).write_text(text, encoding="utf-8")
    patch.setattr(migrations, "migrations_path", lambda: folder)
    patch.setattr(schema, "SCHEMA_REVISIONS", (OLDER, *schema.SCHEMA_REVISIONS))


def make_older(root: Path) -> None:
    """Let the repository in ``root`` be one that the older release left."""
    for name in ("catalogue", "access"):
        with closing(sqlite3.connect(root / f"{name}.sqlite3", isolation_level=None)) as database:
            database.execute(FORGOTTEN)
            database.execute("UPDATE alembic_version SET version_num = ?", [OLDER])


@pytest.fixture
def older_release(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The revision of the schema that the release before this one had."""
    be_the_next_release(monkeypatch, tmp_path_factory.mktemp("next") / "migrations")
    return OLDER
