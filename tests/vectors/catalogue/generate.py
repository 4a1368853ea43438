"""Writes the repository that a release with the newest schema leaves.

Run ``python -m tests.vectors.catalogue.generate`` once for each revision of the schema, when it is
released, and commit the folder. Migrations are tested with it, and it is never made anew.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import sys
import tempfile
from pathlib import Path

from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.keyring import Keyring, new_key
from sealstore.repository.facade import Repository
from sealstore.storage.catalogue.tables import SCHEMA_REVISIONS

VECTORS = Path(__file__).parent
KEY = HmacSha256(b"the key of catalogue's vectors, known to everybody")
STORED = {
    ("churn", "2026-10", 1): {"weights": [0.25, -1.5], "stage": "first"},
    ("churn", "2026-10", 2): {"weights": [0.5, -1.25], "stage": "second"},
    ("Änderung", "größte", 1): {"text": "ÄÖÜ", "nothing": None},
    ("fraud", "v1", 2): [1, 2, 3],
}
"""What a vector holds, by name, tag and revision. Revision 1 of fraud:v1 was removed."""


def generate(folder: Path) -> None:
    """Write the vector into ``folder``."""
    # Not who and where this happens to run.
    os.environ["LOGNAME"] = "ada"
    socket.gethostname = lambda: "trainer"
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "repository"
        with Repository.create(root, keyring=Keyring.of([new_key(KEY)])) as repository:
            repository.store("removed", "fraud", "v1")
            repository.remove("fraud", "v1", revision=1)
            for (name, tag, revision), value in STORED.items():
                stored = repository.store(value, name, tag, metadata={"revision": revision})
                assert stored.revision == revision
            referenced = {artifact.digests.sha256 for artifact in repository.list().artifacts}
        folder.mkdir(parents=True)
        shutil.copy(root / "repository.json", folder)
        for sha256 in sorted(referenced):
            (folder / "objects" / sha256[:2]).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(
                root / "objects" / sha256[:2] / sha256, folder / "objects" / sha256[:2] / sha256
            )
        for name in ("catalogue", "access"):
            database = sqlite3.connect(root / f"{name}.sqlite3")
            dump = "\n".join(database.iterdump()) + "\n"
            (folder / f"{name}.sql").write_text(dump, encoding="utf-8")
            database.close()


if __name__ == "__main__":
    target = VECTORS / SCHEMA_REVISIONS[-1]
    if target.exists():
        sys.exit(f"{target.name} is there: a schema that was released does not change")
    generate(target)
