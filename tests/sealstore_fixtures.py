"""Repositories, keys and traps that the tests of the core share."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from blake3 import blake3

from sealstore.keys.algorithms import Ed25519Private, HmacSha256
from sealstore.keys.changing import DEFAULT_ROLES, withholding
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.repository.settings import PREFIX
from sealstore.signed.drafting import make_statement, seal_statement
from sealstore.signed.envelope import Scope, open_statement
from sealstore.signed.settings import RepositorySettings, seal_settings
from sealstore.signed.statement import Digests, Predicate, Statement, StoredBy
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.catalogue import ArtifactRow
from sealstore.storage.creation import place_settings

REPOSITORY_ID = "00112233445566778899aabbccddeeff"
OTHER_REPOSITORY_ID = "ffeeddccbbaa99887766554433221100"
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


# ── the process ──────────────────────────────────────────────────────────────


@pytest.fixture(scope="session", autouse=True)
def no_configuration_of_the_developer(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """No test sees the keys, the repository or the settings of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith(PREFIX)]:
            patch.delenv(variable)
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        yield


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def fewer_examples(fraction: float) -> hypothesis.settings:
    """Hypothesis's settings for a test whose examples are slow: this share of the profile's."""
    profile = hypothesis.settings()
    return hypothesis.settings(max_examples=max(2, int(profile.max_examples * fraction)))


# ── keys ─────────────────────────────────────────────────────────────────────


def hmac_key(number: int = 1, **changes: Any) -> Key:
    """An HMAC key, the same for each number; later numbers are newer."""
    return _key(HmacSha256(bytes([number]) * 32), number, changes)


def ed25519_key(number: int = 1, **changes: Any) -> Key:
    """An Ed25519 key pair, the same for each number; later numbers are newer."""
    return _key(Ed25519Private(bytes([number]) * 32), number, changes)


def _key(material: Any, number: int, changes: dict[str, Any]) -> Key:
    created = FIRST_DAY + timedelta(days=number)
    return replace(Key(material, State.ACTIVE, created, DEFAULT_ROLES, Scope(None)), **changes)


def scope(*repositories: str) -> Scope:
    """The scope of a key that is for these repositories only."""
    return Scope(frozenset(repositories))


def roles(*names: Role) -> frozenset[Role]:
    """The roles of a key."""
    return frozenset(names)


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.of([hmac_key()])


def written(path: Path, *keys: Key) -> dict[str, Any]:
    """A keyring file of ``keys``, and what it says."""
    write_keyring_file(path, Keyring.of(keys))
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def write_private(path: Path, content: bytes | str | dict[str, Any]) -> Path:
    """A key file that nobody else can read, whatever is in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    return path


# ── repositories ─────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def repository_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository of the first HMAC key: copying one is quicker than making one."""
    root = tmp_path_factory.mktemp("template") / "repository"
    Repository.create(root, keyring=Keyring.of([hmac_key()]), repository_id=REPOSITORY_ID).close()
    return root


@pytest.fixture
def repository(repository_template: Path, tmp_path: Path, keyring: Keyring) -> Iterator[Repository]:
    root = tmp_path / "repository"
    shutil.copytree(repository_template, root)
    with Repository.open(root, keyring=keyring) as opened:
        yield opened


@pytest.fixture
def other_repository(tmp_path: Path, keyring: Keyring) -> Iterator[Repository]:
    """Another repository, of the same keys."""
    root = tmp_path / "other"
    with Repository.create(root, keyring=keyring, repository_id=OTHER_REPOSITORY_ID) as made:
        yield made


@pytest.fixture
def reopen(repository: Repository) -> Iterator[Callable[..., Repository]]:
    """Opens the repository with other keys."""
    opened: list[Repository] = []

    def open_with(*keys: Key) -> Repository:
        opened.append(Repository.open(repository.root, keyring=Keyring.of(keys)))
        return opened[-1]

    yield open_with
    for each in opened:
        each.close()


def rotate(repository: Repository, old: Key, new: Key) -> None:
    """What 'sealstore keys rotate' does to a repository: the new key signs heads and settings."""
    keyring = withholding(Keyring.of([replace(old, state=State.ACTIVE), new]), old.key_id)
    with Repository.open(repository.root, keyring=keyring) as rotating:
        rotating.record_key_change("rotated", old.key_id, sign_settings=True)


def access_key(number: int = 9) -> Key:
    """A loader's own key: it records accesses, and nothing else."""
    return ed25519_key(number, roles=roles(Role.ACCESS))


def payload_path(repository: Repository, artifact: Artifact) -> Path:
    """Where the payload of an artifact lies."""
    sha256 = artifact.digests.sha256
    return repository.root / "objects" / sha256[:2] / sha256


def replace_payload(path: Path, data: bytes) -> None:
    """What an attacker does who may write to the folder: unlink, then write again."""
    path.unlink()
    path.write_bytes(data)


def statement_path(repository: Repository, artifact: Artifact) -> Path:
    """Where the envelope of an artifact is mirrored."""
    folder = repository.root / "statements" / artifact.name / artifact.tag
    return folder / f"{artifact.revision}.json"


def run_sql(repository: Repository, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What an attacker does who may write to the catalogue's file."""
    connection = sqlite3.connect(repository.root / "catalogue.sqlite3", isolation_level=None)
    try:
        return connection.execute(statement, parameters).fetchall()
    finally:
        connection.close()


def write_settings(root: Path, settings: RepositorySettings, key: Key) -> bytes:
    """Put settings that ``key`` signs into ``repository.json``; their envelope."""
    envelope = seal_settings(settings, key)
    place_settings(root, envelope)
    return envelope


def envelope_of(repository: Repository, artifact: Artifact) -> bytes:
    """The envelope of an artifact, as its row has it."""
    [[envelope]] = run_sql(
        repository, "SELECT envelope FROM artifact WHERE sequence = ?", artifact.sequence
    )
    assert isinstance(envelope, bytes)
    return envelope


def snapshot(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """Mode and content of everything below a folder, to show that nothing changed."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        name, mode = str(path.relative_to(folder)), path.lstat().st_mode
        if path.is_symlink():
            found[name] = (mode, str(path.readlink()))
        elif name.endswith("-shm"):
            # SQLite's readers note there how far they have read.
            found[name] = (mode, "")
        elif path.is_file():
            found[name] = (mode, path.read_bytes())
        else:
            found[name] = (mode, "")
    return found


MODEL = {"weights": [number / 8 for number in range(100)], "name": "a model"}
"""An object whose payload is large enough to be exchanged for a trap of the same size."""


@pytest.fixture
def victim(repository: Repository) -> Artifact:
    """The artifact that is attacked."""
    return repository.store(MODEL, "victim", "v1", metadata={"stage": "test"}, actor="job 7")


@pytest.fixture
def bystander(repository: Repository) -> Iterator[Artifact]:
    """An artifact that nobody attacks: after the test it loads as ever."""
    stored = repository.store({"by": "stander"}, "bystander", "v1")
    yield stored
    assert repository.load("bystander", "v1") == {"by": "stander"}
    assert repository.verify("bystander").verified.digest == stored.verified.digest


def change_row(repository: Repository, artifact: Artifact, **columns: object) -> None:
    """Set columns of an artifact's row by raw SQL."""
    assignments = ", ".join(f"{column} = ?" for column in columns)
    run_sql(
        repository,
        f"UPDATE artifact SET {assignments} WHERE sequence = ?",
        *columns.values(),
        artifact.sequence,
    )


def consistent_row(envelope: bytes, *signers: Key) -> dict[str, Any]:
    """The row that a clever attacker writes beside an envelope: each column says what it says."""
    return asdict(ArtifactRow.of(open_statement(envelope, Keyring.of(signers)), envelope))


def insert_row(repository: Repository, row: dict[str, Any]) -> None:
    """Insert a row by raw SQL."""
    places = ", ".join("?" * len(row))
    run_sql(
        repository,
        f"INSERT INTO artifact ({', '.join(row)}) VALUES ({places})",
        *row.values(),
    )


# ── payloads ──────────────────────────────────────────────────────────────────


@pytest.fixture
def blob_store(tmp_path: Path) -> LocalBlobStore:
    store = LocalBlobStore(tmp_path)
    store.create()
    return store


def digests_of(data: bytes) -> Digests:
    """Both digests of a payload."""
    return Digests(sha256=hashlib.sha256(data).hexdigest(), blake3=blake3(data).hexdigest())


def blob_path(root: Path, data: bytes) -> Path:
    """Where a payload belongs below a repository's folder."""
    name = digests_of(data).sha256
    return root / "objects" / name[:2] / name


def put_payload(store: LocalBlobStore, root: Path, data: bytes) -> Path:
    """Store a payload; where it lies."""
    with store.stage() as staged:
        staged.write(data)
        staged.commit()
    return blob_path(root, data)


# ── statements ───────────────────────────────────────────────────────────────

DIGESTS = Digests(sha256="5a" * 32, blake3="b3" * 32)


def predicate(**changes: Any) -> Predicate:
    """A predicate that is valid, with some fields changed."""
    fields: dict[str, Any] = {
        "repository": REPOSITORY_ID,
        "name": "churn",
        "tag": "2026-11",
        "revision": 1,
        "sequence": 2,
        "format": "joblib",
        "size": 1234,
        "created": "2026-11-23T12:00:00.000000Z",
        "stored_by": StoredBy(user="ada", host="trainer", actor=None),
        "python": "3.11.7",
        "packages": {},
        "imports": (),
        "metadata": {},
    }
    return Predicate(**(fields | changes))


def statement(digests: Digests = DIGESTS, **changes: Any) -> Statement:
    """A statement that is valid, with some fields of its predicate changed."""
    return make_statement(predicate(**changes), digests)


def sealed(key: Key, digests: Digests = DIGESTS, **changes: Any) -> bytes:
    """The envelope of such a statement, signed by ``key``."""
    return seal_statement(statement(digests, **changes), key)


# ── traps ────────────────────────────────────────────────────────────────────


@dataclass
class Canary:
    """An object whose unpickling leaves a mark: the folder ``mark``."""

    mark: str

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (self.mark,)


@dataclass(frozen=True)
class Trap:
    """A malicious payload, and whether it has ever been unpickled."""

    mark: Path

    def payload(self, size: int = 0) -> bytes:
        """A pickle that leaves the mark when anybody loads it, padded to ``size`` bytes."""
        # What follows the STOP opcode is never read.
        return pickle.dumps(Canary(str(self.mark)), protocol=4).ljust(size, b"\0")

    @property
    def sprung(self) -> bool:
        """Whether it was unpickled."""
        return self.mark.exists()


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Trap]:
    """A trap that must never spring: that is checked after the test, whatever else it checks."""
    trap = Trap(tmp_path / "the-canary-died")
    pickle.loads(trap.payload(1000))
    assert trap.sprung, "a trap that cannot spring shows nothing"
    trap.mark.rmdir()
    yield trap
    assert not trap.sprung, "a payload that nobody signed was unpickled"
