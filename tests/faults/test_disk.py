"""Full disks and read-only ones: a documented error, and nothing of what was there has changed."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import (
    AccessLogError,
    CatalogueError,
    RepairWarning,
    SealstoreError,
    StorageError,
    TrustStateError,
)
from sealstore.formats.joblib_format import JoblibFormat
from sealstore.keys.keyring import Keyring
from sealstore.keys.sources import read_keyring_file
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.trust import operating
from tests.faults.mounts import fill_up, free_blocks, read_only, read_only_view, small_file_system
from tests.faults.operations import (
    CHANGES,
    KEYRING,
    PRESENT,
    ROTATED,
    ROTATING,
    logging_to,
    model,
    set_journal,
)
from tests.faults.soundness import (
    contents,
    proven_accesses,
    proven_history,
    require_that_it_works,
)
from tests.sealstore_fixtures import snapshot

pytestmark = pytest.mark.invariant(3)


def observed(root: Path, change: str = "") -> tuple[object, ...]:
    """Everything in a repository that somebody could have relied on.

    A payload whose artifact was refused afterwards may have come, to be collected; it is whole. A
    heartbeat signs one head after the other: the second may be refused, and says nothing new.
    """
    connection = sqlite3.connect(f"file:{root}/catalogue.sqlite3?mode=ro", uri=True)
    try:
        rows = [
            row
            for row in connection.iterdump()
            if change != "heartbeat" or not row.startswith('INSERT INTO "history_head"')
        ]
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
        before = observed(root, change)
        refusals: list[SealstoreError] = []
        while not try_change(root, ballast, change, len(refusals), refusals):
            assert observed(root, change) == before
            assert len(refusals) < 100
        assert refusals, "the disk was never full"
        assert {type(error) for error in refusals} <= {StorageError, CatalogueError, AccessLogError}
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
            write_keyring_file(path, ROTATED)
        assert path.read_bytes() == before
        assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []
        (tmp_path / "disk/ballast").unlink()
        write_keyring_file(path, ROTATED)
        assert len(read_keyring_file(path, outside=None)) == len(ROTATED)


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


@pytest.fixture
def handed_out(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every object that a payload became, whatever was done with it afterwards."""
    objects: list[object] = []
    load = JoblibFormat.load

    def note(*arguments: Any, **keywords: Any) -> object:
        objects.append(load(*arguments, **keywords))
        return objects[-1]

    monkeypatch.setattr(JoblibFormat, "load", note)
    return objects


def require_nothing_handed_out(repository: Repository, handed_out: list[object]) -> None:
    """Whatever needs an entry in the access log is refused, before a byte of it is interpreted."""
    before = len(handed_out)
    for use in (repository.load, repository.verify, repository.read_payload):
        with pytest.raises(AccessLogError):
            use("churn")
    assert len(handed_out) == before


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_read_only_repository_loads_where_its_accesses_are_logged_elsewhere(
    root: Path, tmp_path: Path, journal: str
) -> None:
    """A loader that may not write anywhere in the repository finds, verifies and loads."""
    set_journal(root, journal)
    settings = logging_to(tmp_path / "accesses.sqlite3", root)
    before = snapshot(root)
    with read_only(root), Repository.open(root, keyring=KEYRING, settings=settings) as repository:
        assert contents(repository) == PRESENT
        # Each was loaded and verified.
        assert len(proven_accesses(repository)) == 2 * len(PRESENT)
    assert snapshot(root) == before


@pytest.mark.invariant(5)
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_read_only_repository_hands_nothing_out_without_a_log_elsewhere(
    root: Path, journal: str, handed_out: list[object]
) -> None:
    """No entry can be made, so there is no object; the error says what to configure."""
    set_journal(root, journal)
    before = snapshot(root)
    with read_only(root), Repository.open(root, keyring=KEYRING) as repository:
        require_nothing_handed_out(repository, handed_out)
        with pytest.raises(AccessLogError, match="MODEL_REPO_ACCESS_LOG_URL"):
            repository.load("churn")
        # What needs no entry can be seen.
        assert repository.get("churn").tag == "2026-11"
        assert len(proven_history(repository)) == 7
    assert snapshot(root) == before
    assert not handed_out


@pytest.mark.invariant(5)
@pytest.mark.parametrize("opens_first", [True, False])
def test_an_unwritable_access_log_hands_nothing_out(
    root: Path, handed_out: list[object], opens_first: bool
) -> None:
    """Where only the log's file cannot be written, nothing is loaded; stores go on."""
    with Repository.open(root, keyring=KEYRING) as repository:
        if opens_first:
            repository.load("churn")
            repository.access_log.close()
        with read_only(root / "access.sqlite3"):
            require_nothing_handed_out(repository, handed_out)
            repository.store(model("new", "1", 1), "new", "1")
        require_that_it_works(repository)


@pytest.mark.invariant(5)
def test_a_full_disk_of_the_access_log_hands_nothing_out(
    root: Path, tmp_path: Path, handed_out: list[object]
) -> None:
    """As long as no entry fits, no object; with room again, the log goes on, and has no gap."""
    with small_file_system(tmp_path / "disk", 1 << 20):
        settings = logging_to(tmp_path / "disk/accesses.sqlite3", root)
        with Repository.open(root, keyring=KEYRING, settings=settings) as repository:
            repository.load("churn")
            fill_up(tmp_path / "disk/ballast", 0)
            # The write-ahead log may have room for some entries in the blocks that it has.
            while (error := refusal_of_a_load(repository)) is None:
                assert len(handed_out) < 100
            assert "full" in error.message
            require_nothing_handed_out(repository, handed_out)
            (tmp_path / "disk/ballast").unlink()
            repository.load("churn")
            entries = proven_accesses(repository)
            assert [entry.outcome for entry in entries].count("granted") == len(handed_out)
            require_that_it_works(repository)


def refusal_of_a_load(repository: Repository) -> AccessLogError | None:
    """Why nothing is loaded; None if something is."""
    try:
        repository.load("churn")
    except AccessLogError as error:
        return error
    return None


@pytest.mark.invariant(4)
def test_a_client_that_cannot_remember_hands_nothing_out(
    root: Path, tmp_path: Path, handed_out: list[object]
) -> None:
    """A head that cannot be remembered is not relied on; a change that is made is a warning."""
    with small_file_system(tmp_path / "disk", 1 << 20):
        settings = replace(Settings.from_environment(), trust_folder=tmp_path / "disk/trust")
        with (
            Repository.open(root, keyring=KEYRING) as other,
            Repository.open(root, keyring=KEYRING, settings=settings) as repository,
        ):
            remembered = settings.trust_store(root).path.read_bytes()
            fill_up(tmp_path / "disk/ballast", 0)
            repository.load("churn")
            other.store(model("new", "1", 1), "new", "1")
            before = len(handed_out)
            for use in (repository.load, repository.get):
                with pytest.raises(TrustStateError, match="No space left"):
                    use("new")
            assert len(handed_out) == before
            with pytest.warns(RepairWarning, match="not remembered here"):
                repository.store(model("new", "1", 2), "new", "1")
            assert settings.trust_store(root).path.read_bytes() == remembered
            (tmp_path / "disk/ballast").unlink()
            assert repository.load("new") == model("new", "1", 2)
            require_that_it_works(repository)


def test_a_read_only_loader_sees_what_others_store(root: Path, tmp_path: Path) -> None:
    """What a writer stores by way of another mount is found, while it writes and afterwards."""
    loader_view = tmp_path / "mount"
    loader_view.mkdir()
    settings = logging_to(tmp_path / "accesses.sqlite3", root)
    # The same place by another name: what is remembered of it there begins again.
    operating.forget(settings.trust_store(root))
    with (
        read_only_view(root, at=loader_view),
        Repository.open(loader_view, keyring=KEYRING, settings=settings) as loader,
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
        assert len(proven_history(loader)) == 10


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
