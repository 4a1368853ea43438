"""What the children of these tests do. Each imports it again: no pytest, no Hypothesis."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sealstore import limits
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import DEFAULT_ROLES
from sealstore.keys.keyring import Key, Keyring, State
from sealstore.keys.sources import read_keyring_file
from sealstore.keys.writing import locked_keyring_file, write_keyring_file
from sealstore.ledger.consistency import consistency_proof
from sealstore.ledger.merkle import Frontier, leaf_hash
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.names import request
from sealstore.repository.access_log.operating import create as create_log
from sealstore.repository.access_log.place import open_access_log
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import Scope
from sealstore.storage.catalogue.sqlite import SqliteEngine
from sealstore.trust import operating
from sealstore.trust.store import TrustStore
from sealstore.upkeep.migration import migrate
from sealstore.upkeep.trust import accept_trust, current_point
from tests.older_release import be_the_next_release

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def key(number: int) -> Key:
    """An HMAC key, the same for each number; later numbers are newer."""
    created = FIRST_DAY + timedelta(days=number)
    return Key(HmacSha256(bytes([number]) * 32), State.ACTIVE, created, DEFAULT_ROLES, Scope(None))


KEYRING = Keyring.of([key(1)])
ROTATING = Keyring.of([key(1), key(2)])
"""In the middle of a rotation: both keys are active, and the newer one signs."""
ROTATED = Keyring.of([replace(key(1), state=State.RETIRED), key(2)])
"""After a rotation: the first key still verifies what it signed once, and no head."""


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


def client(root: Path, **variables: str) -> Settings:
    """The settings of a client that remembers the repository in ``root`` beside it.

    Whoever copies the one to another place, or back, copies the other with it.
    """
    given = {f"MODEL_REPO_{name.upper()}": value for name, value in variables.items()}
    beside = {"MODEL_REPO_TRUST_STATE": str(root.parent / "trust"), "MODEL_REPO_PATH": str(root)}
    return Settings.from_environment(os.environ | beside | given)


def opened(root: Path, keyring: Keyring = KEYRING) -> Repository:
    """The repository in ``root``, by that client."""
    return Repository.open(root, keyring=keyring, settings=client(root))


def logging_to(file: Path, root: Path, keyring: Keyring = KEYRING) -> Settings:
    """The settings of loaders that put their accesses on record in ``file``; the log is made."""
    settings = replace(Settings.from_environment(), access_log_url=f"sqlite:///{file}")
    with Repository.open(root, keyring=keyring, settings=settings) as repository:
        trust = settings.trust_store(root)
        log = open_access_log(settings, root, repository.id, lambda: keyring, trust, create=True)
        with closing(log):
            create_log(log)
    return settings


def set_journal(root: Path, journal: str) -> None:
    """Give both databases another journal, and leave no file of the old one."""
    for name in ("catalogue", "access"):
        with closing(sqlite3.connect(root / f"{name}.sqlite3")) as connection:
            connection.execute(f"PRAGMA journal_mode={journal}")


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
TO_REVOKE = (key(8).key_id, key(9).key_id)

CHANGES: dict[str, Callable[[Repository], object]] = {
    "store": lambda repository: repository.store(model("churn", "2026-12", 1), "churn", "2026-12"),
    "store again": lambda repository: repository.store(model("fraud", "v1", 3), "fraud", "v1"),
    "remove": lambda repository: repository.remove("churn", "2026-10"),
    "resign": lambda repository: repository.resign(request("churn", "2026-11", 1)),
    "settings": lambda repository: repository.change_settings(revoked_keys=TO_REVOKE),
    "heartbeat": lambda repository: repository.heartbeat(),
}
"""Everything that changes a filled repository that was opened in the middle of a rotation."""


def store(root: Path, done: Done) -> None:
    """Store under a new tag, then under one whose newest revision was removed."""
    with opened(root) as repository:
        for name, tag, revision in TO_STORE:
            artifact = repository.store(model(name, tag, revision), name, tag)
            done.add(name, tag, artifact.revision)


def store_by_temporary_names(root: Path, done: Done) -> None:
    with without_nameless_files():
        store(root, done)


def create(root: Path, done: Done) -> None:
    Repository.create(root, keyring=KEYRING, settings=client(root)).close()
    done.add("created")


def remove(root: Path, done: Done) -> None:
    """Remove a tag with all its revisions."""
    with opened(root) as repository:
        repository.remove("churn", "2026-10")
        done.add("removed")


def resign(root: Path, done: Done) -> None:
    """Give one artifact a signature of the new key."""
    with opened(root, ROTATING) as repository:
        repository.resign(request("churn", "2026-10", 2))
        done.add("resigned")


def change_settings(root: Path, done: Done) -> None:
    """Revoke two keys, one after the other."""
    with opened(root) as repository:
        for number in range(1, len(TO_REVOKE) + 1):
            changed = repository.change_settings(revoked_keys=TO_REVOKE[:number])
            done.add(changed.version)


def beat(root: Path, done: Done) -> None:
    """Sign the heads of both chains again, with the new key."""
    with opened(root, ROTATING) as repository:
        repository.heartbeat()
        done.add("signed")


def load_synced(root: Path, done: Done) -> None:
    """Load three times, by a client whose accesses survive a crash of the machine."""
    settings = client(root, access_sync="full")
    with Repository.open(root, keyring=KEYRING, settings=settings) as repository:
        for number in range(1, 4):
            repository.load("churn", actor=f"load {number}")
            done.add(number)


def load_and_remember(root: Path, done: Done) -> None:
    """Load three times; after the second, and at the end, the access log's head is remembered."""
    with opened(root) as repository:
        for number in range(1, 4):
            with remembering() if number == 2 else nullcontext():
                repository.load("churn", actor=f"load {number}")
    done.add("closed")


class remembering:  # noqa: N801 (read as a statement)
    """Time flies: within the block it is time to remember the access log's head again."""

    def __enter__(self) -> None:
        self._seconds = limits.REMEMBER_ACCESS_SECONDS
        vars(limits)["REMEMBER_ACCESS_SECONDS"] = 0

    def __exit__(self, *_: object) -> None:
        vars(limits)["REMEMBER_ACCESS_SECONDS"] = self._seconds


def look(root: Path, done: Done) -> None:
    """See the present settings, and remember the head that names them."""
    with opened(root) as repository:
        done.add(repository.state.document.version)


def accept(root: Path, done: Done) -> None:
    """Remember the present head in place of what was remembered, as an operator says."""
    settings = client(root, keyring=str(root.parent / "keyring.json"))
    point = current_point(settings)
    accept_trust(settings, point)
    done.add(point.settings_version)


def store_without_syncs(root: Path, done: Done) -> None:
    """What sealstore must not do: to leave it to the system when files are written to the disk."""
    vars(os)["fsync"] = lambda _: None
    store(root, done)


def store_in_a_lazy_database(root: Path, done: Done) -> None:
    """The same of SQLite."""
    configure = SqliteEngine._configure

    def configure_lazily(engine: SqliteEngine, connection: sqlite3.Connection) -> None:
        configure(engine, connection)
        connection.execute("PRAGMA synchronous=OFF")

    setattr(SqliteEngine, "_configure", configure_lazily)  # noqa: B010 (mypy knows it for a method)
    store(root, done)


def put_rotation_on_record(root: Path, done: Done) -> None:
    """What 'sealstore keys rotate' does to a repository."""
    with opened(root, ROTATING) as repository:
        repository.record_key_change("rotated", key(1).key_id, sign_settings=True)
        done.add("recorded")


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
    operating.accept(trust, HISTORY.point(2))
    done.add(2)
    trust.advance(HISTORY.point(4), prove=HISTORY.prove)
    done.add(4)
    operating.forget(trust)
    done.add(None)


def migration_client(place: Path) -> Settings:
    """The settings of who migrates the repository of an older release."""
    return client(place / "repository", keyring=str(place / "keyring.json"))


def migrate_repository(place: Path, done: Done) -> None:
    """Bring the repository of an older release to this release's schema."""
    be_the_next_release(SimpleNamespace(setattr=setattr), place / "migrations")
    migrate(migration_client(place))
    done.add("migrated")
