"""What a process imports that opens a repository in SQLite and loads from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sealstore.keys.keyring import Keyring
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository

LOAD = """
import json, sys
from sealstore import Repository
with Repository.open(sys.argv[1]) as repository:
    assert repository.load("churn", "1") == {"weights": [0.5]}
print(json.dumps(sorted(sys.modules)))
"""
NOT_NEEDED = (
    "alembic", "psycopg", "psycopg2", "sqlalchemy",
    "sealstore.storage.catalogue.migrations",
    "sealstore.storage.catalogue.postgresql",
    "sealstore.storage.catalogue.schema_postgresql",
    "sealstore.storage.catalogue.sqlite_files",
    "sealstore.storage.catalogue.tables",
)  # fmt: skip


def test_a_recorded_load_from_sqlite_needs_no_sqlalchemy(
    repository: Repository, keyring: Keyring, tmp_path: Path
) -> None:
    """Opening, its schema's check, the look-up, the proof and the access entry go without it."""
    repository.store({"weights": [0.5]}, "churn", "1")
    write_keyring_file(tmp_path / "keyring.json", keyring)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(repository.root)],
        env={
            "MODEL_REPO_KEYRING": str(tmp_path / "keyring.json"),
            "MODEL_REPO_TRUST_STATE": str(tmp_path / "trust"),
        },
        capture_output=True,
        check=True,
    )
    assert set(NOT_NEEDED) & set(json.loads(done.stdout)) == set()
