"""What the children of these tests do. Each imports it anew: no pytest, no Hypothesis."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sealstore.catalogue import catalogue_engine, migrations
from sealstore.catalogue.tables import SCHEMA_REVISIONS
from sealstore.envelope import Scope
from sealstore.keys import HmacSha256, Key, Keyring, State, read_keyring_file, write_keyring_file
from sealstore.keys.keyring import DEFAULT_ROLES
from sealstore.keys.sources import locked_keyring_file
from sealstore.ledger import Frontier, HistoryCheckpoint, consistency_proof, leaf_hash
from sealstore.names import request
from sealstore.repository import Repository
from sealstore.trust import TrustStore

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def key(number: int) -> Key:
    """An HMAC key, the same for each number; later numbers are newer."""
    created = FIRST_DAY + timedelta(days=number)
    return Key(HmacSha256(bytes([number]) * 32), State.ACTIVE, created, DEFAULT_ROLES, Scope(None))


KEYRING = Keyring.of([key(1)])
ROTATED = Keyring.of([replace(key(1), state=State.RETIRED), key(2)])
"""After a rotation: the first key still verifies, the second signs."""


def model(name: str, tag: str, revision: int) -> dict[str, Any]:
    """The object that is stored as this revision: it tells which it is."""
    return {"name": name, "tag": tag, "revision": revision, "weights": [revision / 7] * 500}


@dataclass(frozen=True)
class Done:
    """A list in a file of what has been done; it is complete whenever the process dies."""

    path: Path

    def add(self, *entry: object) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, json.dumps(entry).encode() + b"\n")
        os.close(descriptor)

    def entries(self) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        return [tuple(json.loads(line)) for line in self.path.read_text().splitlines()]


@contextmanager
def without_nameless_files() -> Iterator[None]:
    """Stage payloads under temporary names, as on file systems that know no ``O_TMPFILE``."""
    flag = os.O_TMPFILE
    del os.O_TMPFILE
    try:
        yield
    finally:
        os.O_TMPFILE = flag  # type: ignore[misc]  # it is no constant here


# ── what is interrupted ──────────────────────────────────────────────────────


def fill(root: Path) -> None:
    """Make the repository that every interrupted operation finds."""
    with Repository.create(root, keyring=KEYRING) as repository:
        for name, tag, revision in STORED:
            repository.store(model(name, tag, revision), name, tag)
        repository.remove("fraud", "v1", revision=2)


STORED = (
    ("churn", "2026-10", 1),
    ("churn", "2026-10", 2),
    ("fraud", "v1", 1),
    ("fraud", "v1", 2),
    ("churn", "2026-11", 1),
)
PRESENT = frozenset(STORED) - {("fraud", "v1", 2)}
TO_STORE = (("churn", "2026-12", 1), ("fraud", "v1", 3))

CHANGES: dict[str, Callable[[Repository], object]] = {
    "store": lambda repository: repository.store(model("churn", "2026-12", 1), "churn", "2026-12"),
    "store again": lambda repository: repository.store(model("fraud", "v1", 3), "fraud", "v1"),
    "remove": lambda repository: repository.remove("churn", "2026-10"),
    "resign": lambda repository: repository.resign(request("churn", "2026-11", 1)),
}
"""Everything that changes a filled repository that was opened with the rotated keys."""


def store(root: Path, done: Done) -> None:
    """Store under a new tag, then under one whose newest revision was removed."""
    with Repository.open(root, keyring=KEYRING) as repository:
        for name, tag, revision in TO_STORE:
            artifact = repository.store(model(name, tag, revision), name, tag)
            done.add(name, tag, artifact.revision)


def store_by_temporary_names(root: Path, done: Done) -> None:
    with without_nameless_files():
        store(root, done)


def create(root: Path, done: Done) -> None:
    Repository.create(root, keyring=KEYRING).close()
    done.add("created")


def remove(root: Path, done: Done) -> None:
    """Remove a tag with all its revisions."""
    with Repository.open(root, keyring=KEYRING) as repository:
        repository.remove("churn", "2026-10")
        done.add("removed")


def resign(root: Path, done: Done) -> None:
    """Give one artifact a signature of the new key."""
    with Repository.open(root, keyring=ROTATED) as repository:
        repository.resign(request("churn", "2026-10", 2))
        done.add("resigned")


def rotate(keyring_path: Path, done: Done) -> None:
    """Replace the keyring file by one with another key, as the command line does."""
    with locked_keyring_file(keyring_path):
        read_keyring_file(keyring_path, outside=None)
        write_keyring_file(keyring_path, ROTATED)
    done.add("rotated")


TRUST_LOCATION = "file:///srv/models"
TRUST_ENTRIES = 500


class TrustedHistory:
    """A history of which a client remembers points."""

    def __init__(self) -> None:
        self.digests: dict[tuple[int, int], bytes] = {}
        frontier = Frontier()
        self.roots = [frontier.root()]
        for number in range(TRUST_ENTRIES):
            appended = frontier.append(leaf_hash(b"entry %d" % number))
            frontier = appended.frontier
            self.roots.append(frontier.root())
            self.digests.update({(node.level, node.index): node.digest for node in appended.nodes})

    def get(self, level: int, index: int) -> bytes | None:
        return self.digests.get((level, index))

    def prove(self, older: int, newer: int) -> list[bytes]:
        return consistency_proof(self, older, newer)

    def point(self, size: int) -> HistoryCheckpoint:
        return HistoryCheckpoint(
            repository="00112233445566778899aabbccddeeff",
            epoch=1,
            size=size,
            root=self.roots[size].hex(),
            map_root=f"{size:064x}",
            settings_version=1,
            settings_digest="5e" * 32,
            time="2026-11-23T12:00:00.000000Z",
        )


HISTORY = TrustedHistory()


def trust_store(folder: Path) -> TrustStore:
    return TrustStore(folder, TRUST_LOCATION, outside=Path("/srv/models"))


def remember(folder: Path, done: Done) -> None:
    """See a repository for the first time, and then two newer states of it."""
    for size in (3, 5, 8):
        trust_store(folder).advance(HISTORY.point(size), prove=HISTORY.prove)
        done.add(size)


def accept_and_forget(folder: Path, done: Done) -> None:
    """Go back to an older state and on from it, as an operator says; then forget it."""
    trust = trust_store(folder)
    trust.accept(HISTORY.point(2))
    done.add(2)
    trust.advance(HISTORY.point(4), prove=HISTORY.prove)
    done.add(4)
    trust.forget()
    done.add(None)


NEXT_REVISION = "9999"
NEXT_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = {newest!r}


def upgrade() -> None:
    op.create_table("more", sa.Column("number", sa.BigInteger, primary_key=True))
    op.execute("INSERT INTO more SELECT sequence FROM history")
    op.add_column("history", sa.Column("more", sa.Text))
    op.execute("UPDATE history SET more = event")
    op.create_index("ix_history_more", "history", ["more"])
"""


def know_next_schema(folder: Path) -> None:
    """Let this process be a release with one more migration, in ``folder``."""
    if not folder.exists():
        shutil.copytree(migrations.migrations_path(), folder)
        script = NEXT_MIGRATION.format(newest=SCHEMA_REVISIONS[-1])
        (folder / "versions/9999_next.py").write_text(script)
    vars(migrations).update(
        migrations_path=lambda: folder, SCHEMA_REVISIONS=(*SCHEMA_REVISIONS, NEXT_REVISION)
    )


def migrate(place: Path, done: Done) -> None:
    """Bring the catalogue to the next release's schema."""
    know_next_schema(place / "migrations")
    engine = catalogue_engine(place / "repository")
    migrations.upgrade(engine)
    engine.dispose()
    done.add("migrated")
