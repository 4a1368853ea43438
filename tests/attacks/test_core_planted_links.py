"""Links in the repository that lead out of it: nothing is written or read through them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealstore.errors import (
    CatalogueError,
    RepairWarning,
    RepositoryExistsError,
    RepositoryLayoutError,
    SealstoreError,
)
from sealstore.keys.keyring import Keyring
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.storage.layout import REPOSITORY_FILE
from tests.sealstore_fixtures import MODEL, snapshot, statement_path

pytestmark = [pytest.mark.invariant(2), pytest.mark.usefixtures("bystander")]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of somebody else, with the folders that a careless writer would find there."""
    folder = tmp_path / "outside"
    (folder / "m" / "v1").mkdir(parents=True)
    (folder / "v1").mkdir()
    (folder / "precious").write_bytes(b"precious")
    return folder


@pytest.mark.parametrize("segment", ["statements", "statements/m", "statements/m/v1"])
def test_a_folder_of_the_mirror_is_a_link(
    repository: Repository, outside: Path, segment: str
) -> None:
    """The store succeeds, warns at the caller's line, and writes nothing out there."""
    planted = repository.root / segment
    if planted.is_dir():
        planted.rename(outside.parent / "moved")
    planted.parent.mkdir(exist_ok=True)
    planted.symlink_to(outside)
    before = snapshot(outside)
    with pytest.warns(RepairWarning, match=r"^m:v1@1: The statement cannot be mirrored") as told:
        repository.store(MODEL, "m", "v1")
    assert [warning.filename for warning in told] == [__file__]
    assert snapshot(outside) == before
    assert repository.load("m", "v1") == MODEL


@pytest.mark.parametrize("target", ["precious", "made by following"])
def test_a_mirrored_statement_is_a_link(repository: Repository, outside: Path, target: str) -> None:
    """The link is moved aside, what it points to stays as it is."""
    planted = repository.root / "statements" / "m" / "v1" / "1.json"
    planted.parent.mkdir(parents=True)
    planted.symlink_to(outside / target)
    before = snapshot(outside)
    with pytest.warns(RepairWarning, match="another file lay in the statement's place"):
        stored = repository.store(MODEL, "m", "v1")
    assert snapshot(outside) == before
    assert not planted.is_symlink()
    assert planted == statement_path(repository, stored)
    assert repository.load("m", "v1") == MODEL


def test_a_statement_that_was_planted_beforehand(repository: Repository) -> None:
    """The next revision's file is there already: it is kept aside, and told."""
    planted = repository.root / "statements" / "m" / "v1" / "1.json"
    planted.parent.mkdir(parents=True)
    planted.write_bytes(b"planted")
    with pytest.warns(RepairWarning, match="moved aside"):
        repository.store(MODEL, "m", "v1")
    [aside] = planted.parent.glob("1.json.set-aside-*")
    assert aside.read_bytes() == b"planted"
    assert repository.load("m") == MODEL


def test_the_folder_of_a_payload_is_a_link(repository: Repository, outside: Path) -> None:
    """A store that would have to write through it fails and changes nothing."""
    for number in range(256):
        fan_out = repository.root / "objects" / f"{number:02x}"
        if not fan_out.exists():
            fan_out.symlink_to(outside)
    before = snapshot(outside), repository.history()
    with pytest.raises(SealstoreError):
        repository.store(MODEL, "m", "v1")
    assert (snapshot(outside), repository.history()) == before


def test_the_settings_are_a_link(
    repository: Repository, keyring: Keyring, victim: Artifact, outside: Path
) -> None:
    """Not even one to the genuine settings is followed."""
    path = repository.root / REPOSITORY_FILE
    genuine = outside / "repository.json"
    path.rename(genuine)
    path.symlink_to(genuine)
    with pytest.raises(RepositoryLayoutError):
        Repository.open(repository.root, keyring=keyring)
    path.unlink()
    genuine.rename(path)
    with Repository.open(repository.root, keyring=keyring) as opened:
        assert opened.load(victim.name) == MODEL


def test_the_lock_of_the_writers_is_a_link(repository: Repository, outside: Path) -> None:
    """No file is made at its end; reading goes on."""
    lock = repository.root / "catalogue.sqlite3.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(outside / "made by following")
    before = snapshot(outside)
    with pytest.raises(CatalogueError):
        repository.store(MODEL, "m", "v1")
    assert snapshot(outside) == before
    lock.unlink()


@pytest.mark.parametrize("name", ["objects", "statements"])
def test_a_repository_made_over_planted_links(
    tmp_path: Path, outside: Path, keyring: Keyring, name: str
) -> None:
    """Creation does not take a link for an empty folder."""
    root = tmp_path / "new"
    root.mkdir()
    (outside.parent / "empty").mkdir()
    (root / name).symlink_to(outside.parent / "empty")
    with pytest.raises(RepositoryExistsError):
        Repository.create(root, keyring=keyring)
    assert list((outside.parent / "empty").iterdir()) == []


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to a device"])
def test_a_catalogue_that_is_no_file(
    repository: Repository, keyring: Keyring, tmp_path: Path, kind: str
) -> None:
    """An error of the family, without waiting, and the repository works when it is back."""
    path = repository.root / "catalogue.sqlite3"
    repository.close()
    path.rename(tmp_path / "kept")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(SealstoreError):
        Repository.open(repository.root, keyring=keyring)
    if kind == "folder":
        path.rmdir()
    else:
        path.unlink()
    (tmp_path / "kept").rename(path)
    assert repository.load("bystander") == {"by": "stander"}
