"""Full disks and read-only ones: a documented error, and nothing of what was there has changed."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import warnings
from pathlib import Path

import pytest

from sealstore.errors import CatalogueError, RepairWarning, SealstoreError, StorageError
from sealstore.keys import Keyring, read_keyring_file, write_keyring_file
from sealstore.repository import Repository
from tests.faults.mounts import fill_up, free_blocks, read_only, read_only_view, small_file_system
from tests.faults.operations import CHANGES, KEYRING, PRESENT, ROTATING, model
from tests.faults.soundness import contents, require_that_it_works
from tests.sealstore_fixtures import snapshot

pytestmark = pytest.mark.invariant(3)


def observed(root: Path) -> tuple[object, ...]:
    """Everything in a repository that somebody could have relied on.

    A payload whose artifact was refused afterwards may have come, to be collected; it is whole.
    """
    connection = sqlite3.connect(f"file:{root}/catalogue.sqlite3?mode=ro", uri=True)
    try:
        rows = list(connection.iterdump())
    finally:
        connection.close()
    payloads = {}
    for path in (root / "objects").glob("*/*"):
        content = path.read_bytes()
        assert path.name == hashlib.sha256(content).hexdigest()
        payloads[path.name] = content
    referenced = {name for name in payloads if any(f"'{name}'" in row for row in rows)}
    statements = {
        name: entry
        for name, entry in snapshot(root / "statements").items()
        if name.endswith(".json")
    }
    settings = (root / "repository.json").read_bytes()
    return rows, {name: payloads[name] for name in referenced}, statements, settings


# ── full ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("change", CHANGES)
def test_a_full_disk_changes_nothing(filled: Path, tmp_path: Path, change: str) -> None:
    """With each number of free blocks until it succeeds, a change is refused and has no effect."""
    with small_file_system(tmp_path / "disk", 2 << 20):
        root, ballast = tmp_path / "disk/repository", tmp_path / "disk/ballast"
        shutil.copytree(filled, root)
        before = observed(root)
        refusals: list[SealstoreError] = []
        while not try_change(root, ballast, change, len(refusals), refusals):
            assert observed(root) == before
            assert len(refusals) < 100
        assert refusals, "the disk was never full"
        assert {type(error) for error in refusals} <= {StorageError, CatalogueError}
        for error in refusals:
            assert "full" in str(error) or "No space left" in str(error), error
        with Repository.open(root, keyring=ROTATING) as repository:
            require_that_it_works(repository)


def try_change(
    root: Path, ballast: Path, change: str, leaving: int, refusals: list[SealstoreError]
) -> bool:
    """Whether the change succeeds with so many blocks left."""
    try:
        with warnings.catch_warnings():
            # The mirror may not fit any more when the artifact is stored: that is a warning.
            warnings.simplefilter("ignore", RepairWarning)
            fill_up(ballast, leaving)
            with Repository.open(root, keyring=ROTATING) as repository:
                CHANGES[change](repository)
    except SealstoreError as error:
        refusals.append(error)
        return False
    finally:
        ballast.unlink()
    return True


def test_a_full_disk_leaves_the_keyring_as_it_was(tmp_path: Path) -> None:
    """A keyring that cannot be written whole does not replace the old one."""
    with small_file_system(tmp_path / "disk", 1 << 20):
        path = tmp_path / "disk/keyring.json"
        write_keyring_file(path, KEYRING)
        before = path.read_bytes()
        fill_up(tmp_path / "disk/ballast", 0)
        with pytest.raises(StorageError, match="No space left"):
            write_keyring_file(path, ROTATING)
        assert path.read_bytes() == before
        assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []
        (tmp_path / "disk/ballast").unlink()
        write_keyring_file(path, ROTATING)
        assert len(read_keyring_file(path, outside=None)) == len(ROTATING)


def test_a_creation_on_a_full_disk_can_be_repeated(tmp_path: Path) -> None:
    """A repository that could not be made is not half there, and can be made once there is room."""
    with small_file_system(tmp_path / "disk", 1 << 20):
        root, ballast = tmp_path / "disk/repository", tmp_path / "disk/ballast"
        refusals = 0
        for leaving in range(100):
            fill_up(ballast, leaving)
            try:
                Repository.create(root, keyring=KEYRING).close()
            except (StorageError, CatalogueError):
                assert not (root / "repository.json").exists()
                refusals += 1
            else:
                break
            finally:
                ballast.unlink()
        assert refusals
        with Repository.open(root, keyring=KEYRING) as repository:
            require_that_it_works(repository)


def test_a_payload_that_does_not_fit_leaves_no_file(filled: Path, tmp_path: Path) -> None:
    """The blocks that a refused store had taken are free again."""
    with small_file_system(tmp_path / "disk", 2 << 20):
        root = tmp_path / "disk/repository"
        shutil.copytree(filled, root)
        with Repository.open(root, keyring=KEYRING) as repository:
            repository.load("churn")
            before, files = free_blocks(root), snapshot(root / "objects")
            with pytest.raises(StorageError, match="No space left"):
                repository.store(bytes(4 << 20), "large", "1")
            assert free_blocks(root) == before
            assert snapshot(root / "objects") == files
            require_that_it_works(repository)


# ── read-only ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("change", CHANGES)
def test_a_read_only_repository_refuses_changes(root: Path, change: str) -> None:
    """On a read-only file system each change is an error, and not a byte is another."""
    before = snapshot(root)
    with (
        read_only(root),
        Repository.open(root, keyring=ROTATING) as repository,
        pytest.raises((StorageError, CatalogueError), match=r"(?i)read-?only|Permission denied"),
    ):
        CHANGES[change](repository)
    assert snapshot(root) == before


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_read_only_repository_loads(root: Path, journal: str) -> None:
    """A loader that may not write anywhere in the repository finds, verifies and loads."""
    connection = sqlite3.connect(root / "catalogue.sqlite3")
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.close()
    before = snapshot(root)
    with read_only(root), Repository.open(root, keyring=KEYRING) as repository:
        assert contents(repository) == PRESENT
    assert snapshot(root) == before


def test_a_read_only_loader_sees_what_others_store(root: Path, tmp_path: Path) -> None:
    """What a writer stores by way of another mount is found, while it writes and afterwards."""
    loader_view = tmp_path / "mount"
    loader_view.mkdir()
    with (
        read_only_view(root, at=loader_view),
        Repository.open(loader_view, keyring=KEYRING) as loader,
    ):
        assert loader.load("fraud")["revision"] == 1
        with Repository.open(root, keyring=KEYRING) as writer:
            for revision in (3, 4):
                writer.store(model("fraud", "v1", revision), "fraud", "v1")
                assert loader.load("fraud")["revision"] == revision
        assert loader.load("fraud")["revision"] == 4
        with Repository.open(root, keyring=KEYRING) as writer:
            writer.store(model("fraud", "v1", 5), "fraud", "v1")
        assert loader.load("fraud")["revision"] == 5
        assert ("fraud", "v1", 5) in contents(loader)


def test_an_unwritable_database_refuses_changes(root: Path) -> None:
    """Where only the database cannot be written, each change is an error, and loads go on."""
    before = observed(root)
    with (
        read_only(root / "catalogue.sqlite3"),
        Repository.open(root, keyring=ROTATING) as repository,
    ):
        for change in CHANGES.values():
            with pytest.raises(CatalogueError, match="readonly"):
                change(repository)
        assert contents(repository) == PRESENT
    assert observed(root) == before


def test_a_read_only_folder_leaves_the_keyring_as_it_was(tmp_path: Path) -> None:
    """The keyring cannot be replaced where its folder is read-only, and stays as it was."""
    folder = tmp_path / "configuration"
    write_keyring_file(folder / "keyring.json", KEYRING)
    before = snapshot(folder)
    with read_only(folder), pytest.raises(StorageError, match="cannot be written"):
        write_keyring_file(folder / "keyring.json", Keyring.of([]))
    assert snapshot(folder) == before


def test_nothing_is_made_in_a_read_only_folder(tmp_path: Path) -> None:
    """A repository cannot be created there, and the folder stays empty."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with read_only(folder), pytest.raises((StorageError, CatalogueError)):
        Repository.create(folder, keyring=KEYRING)
    assert snapshot(folder) == {}
