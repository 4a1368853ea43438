"""Parts that are missing or damaged: a documented error, and nothing is made worse."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import (
    CatalogueError,
    KeyringNotFoundError,
    PayloadMissingError,
    PayloadSizeError,
    RepairWarning,
    RepositoryNotFoundError,
    RollbackError,
    SchemaVersionError,
    StorageError,
)
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.upkeep.trust import accept_trust, current_point
from tests.faults.operations import CHANGES, KEYRING, PRESENT, ROTATING, model
from tests.faults.soundness import contents, require_that_it_works
from tests.sealstore_fixtures import snapshot

pytestmark = pytest.mark.invariant(3)

READS: dict[str, Callable[[Repository], object]] = {
    "load": lambda repository: repository.load("churn"),
    "list": lambda repository: repository.list(),
    "history": lambda repository: repository.history(),
}


# ── the catalogue ────────────────────────────────────────────────────────────


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 4096 * 2 + 100])


def spoil_header(path: Path) -> None:
    path.write_bytes(b"not a database, " + path.read_bytes()[16:])


def spoil_pages(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def be_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [delete, empty, cut, spoil_header, spoil_pages, be_a_folder]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_catalogue_is_named_on_opening(
    root: Path, damage: Callable[[Path], None]
) -> None:
    """Whatever is wrong with its file, no other is made and nothing is written."""
    damage(root / "catalogue.sqlite3")
    before = snapshot(root)

    def use() -> None:
        with Repository.open(root, keyring=ROTATING) as repository:
            # Pages that opening does not read are found to be damaged when they are needed.
            repository.remove("churn", "2026-10")

    for _ in range(2):
        with pytest.raises((CatalogueError, SchemaVersionError)) as raised:
            use()
        assert raised.value.hint
        after = snapshot(root)
        # Where the header is whole, SQLite made its own files beside the database.
        made = {"catalogue.sqlite3-wal", "catalogue.sqlite3-shm", "catalogue.sqlite3.lock"}
        assert {name: after[name] for name in after.keys() - made} == {
            name: before[name] for name in before.keys() - made
        }


@pytest.mark.parametrize("action", CHANGES | READS)
def test_a_catalogue_deleted_under_an_open_repository_is_missed(root: Path, action: str) -> None:
    """Nothing is stored into a file without a name, and no empty catalogue takes its place."""
    with Repository.open(root, keyring=ROTATING) as repository:
        repository.load("churn")
        aside = root.parent / "aside.sqlite3"
        repository.close()
        repository.load("churn")
        for suffix in ("", "-wal", "-shm"):
            (root / f"catalogue.sqlite3{suffix}").rename(f"{aside}{suffix}")
        with pytest.raises(CatalogueError, match="unable to open database file"):
            (CHANGES | READS)[action](repository)
        assert not (root / "catalogue.sqlite3").exists()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{aside}{suffix}").rename(root / f"catalogue.sqlite3{suffix}")
        assert contents(repository) == PRESENT
        require_that_it_works(repository)


@pytest.mark.invariant(2)
def test_a_restored_catalogue_is_refused_until_an_operator_accepts_it(root: Path) -> None:
    """Where a backup took the file's place, nothing is loaded or stored; once it is accepted, all.

    Repositories that were open go on with the backup at once.
    """
    backup = root.parent / "backup.sqlite3"
    with Repository.open(root, keyring=KEYRING) as repository:
        copy_database(root / "catalogue.sqlite3", backup)
        repository.store(model("new", "1", 1), "new", "1")
        for suffix in ("-wal", "-shm"):
            (root / f"catalogue.sqlite3{suffix}").unlink()
        backup.rename(root / "catalogue.sqlite3")
        before = dumped(root / "catalogue.sqlite3")
        for use in (*READS.values(), *CHANGES.values()):
            if use is not READS["list"]:
                with pytest.raises(RollbackError):
                    use(repository)
        assert repository.list().artifacts == []
        assert dumped(root / "catalogue.sqlite3") == before
        accept_what_is_there(root)
        assert contents(repository) == PRESENT
        with pytest.warns(RepairWarning, match="moved aside"):
            # The statement that the lost row stood for is kept beside the one of the new row.
            repository.store(model("new", "1", 1), "new", "1")
    with Repository.open(root, keyring=KEYRING) as repository:
        require_that_it_works(repository)


def accept_what_is_there(root: Path) -> None:
    """What 'sealstore trust accept --current' does."""
    path = root.parent / "keys/keyring.json"
    write_keyring_file(path, KEYRING)
    settings = replace(Settings.from_environment(), path=root, keyring_path=path)
    accept_trust(settings, current_point(settings))


def dumped(database: Path) -> list[str]:
    """All that a database says."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def copy_database(source: Path, target: Path) -> None:
    """A backup as SQLite's own backup makes it."""
    with sqlite3.connect(source) as reading, sqlite3.connect(target) as writing:
        reading.backup(writing)
    reading.close()
    writing.close()


# ── files and folders ────────────────────────────────────────────────────────


def test_without_its_payloads_folder_a_repository_refuses_and_makes_none(root: Path) -> None:
    """A folder that is not mounted is not taken for an empty one."""
    with Repository.open(root, keyring=ROTATING) as repository:
        (root / "objects").rename(root.parent / "objects")
        before = snapshot(root / "statements")
        with pytest.raises(PayloadMissingError):
            repository.load("churn")
        with pytest.raises(StorageError, match="No such file"):
            CHANGES["store"](repository)
        assert not (root / "objects").exists()
        assert snapshot(root / "statements") == before
        (root.parent / "objects").rename(root / "objects")
        assert contents(repository) == PRESENT
        require_that_it_works(repository)


def test_without_its_mirror_a_repository_works(root: Path) -> None:
    """The statements' folder is only a copy: storing makes it again."""
    shutil.rmtree(root / "statements")
    with Repository.open(root, keyring=ROTATING) as repository:
        assert contents(repository) == PRESENT
        require_that_it_works(repository)


def test_a_mirror_that_cannot_be_written_is_a_warning(root: Path) -> None:
    """The artifact is stored; that its mirror is missing is said."""
    shutil.rmtree(root / "statements")
    (root / "statements").write_text("in the way")
    with Repository.open(root, keyring=KEYRING) as repository:
        with pytest.warns(RepairWarning, match="statement cannot be mirrored"):
            artifact = repository.store(model("new", "1", 1), "new", "1")
        assert repository.load("new", "1", revision=artifact.revision) == model("new", "1", 1)
        assert (root / "statements").read_text() == "in the way"


def test_without_its_settings_a_folder_is_no_repository(root: Path) -> None:
    """What lies there is neither opened nor made into another repository."""
    (root / "repository.json").unlink()
    before = snapshot(root)
    with pytest.raises(RepositoryNotFoundError):
        Repository.open(root, keyring=KEYRING)
    assert snapshot(root) == before


def test_a_payload_that_was_cut_is_refused_and_others_load(root: Path) -> None:
    """Damage to one payload concerns its artifacts only; storing the object again mends it."""
    with Repository.open(root, keyring=KEYRING) as repository:
        sha256 = repository.get("churn", "2026-11").digests.sha256
        payload = root / "objects" / sha256[:2] / sha256
        payload.chmod(0o640)
        payload.write_bytes(payload.read_bytes()[:-1])
        with pytest.raises(PayloadSizeError):
            repository.load("churn", "2026-11")
        assert repository.load("churn", "2026-10") == model("churn", "2026-10", 2)
        with pytest.warns(RepairWarning, match="wrong bytes lay"):
            repository.store(model("churn", "2026-11", 1), "churn", "2026-11")
        assert repository.load("churn", "2026-11", revision=1) == model("churn", "2026-11", 1)


# ── keys ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def keyring_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys/keyring.json"
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(path))
    return path


@pytest.mark.invariant(4)
def test_without_a_keyring_nothing_is_made_or_opened(
    root: Path, tmp_path: Path, keyring_path: Path
) -> None:
    """The error names the command that makes a key; no folder, no lock, no key is left behind."""
    before = snapshot(tmp_path)
    for use in (Repository.open, Repository.create):
        for place in (root, tmp_path / "new"):
            with pytest.raises((KeyringNotFoundError, RepositoryNotFoundError)) as raised:
                use(place)
            assert "sealstore" in raised.value.hint
    assert snapshot(tmp_path) == before
    assert not keyring_path.parent.exists()


@pytest.mark.invariant(4)
@pytest.mark.parametrize("action", CHANGES | READS)
def test_a_keyring_that_vanishes_stops_an_open_repository(
    root: Path, keyring_path: Path, action: str
) -> None:
    """Without its keys a repository neither loads nor changes anything, until they are back."""
    write_keyring_file(keyring_path, ROTATING)
    with Repository.open(root) as repository:
        repository.load("churn")
        keyring_path.unlink()
        before = without_access_log(snapshot(root)), dumped(root / "access.sqlite3")
        if action == "list":
            assert repository.list().artifacts == []
        else:
            with pytest.raises(KeyringNotFoundError):
                (CHANGES | READS)[action](repository)
        # Without keys, not even the refusal can be put on record.
        assert (without_access_log(snapshot(root)), dumped(root / "access.sqlite3")) == before
        write_keyring_file(keyring_path, ROTATING)
        assert contents(repository) == PRESENT


def without_access_log(files: dict[str, Any]) -> dict[str, Any]:
    """All other files: SQLite writes to those of the log when a connection to it is closed."""
    return {name: each for name, each in files.items() if not name.startswith("access.sqlite3")}
