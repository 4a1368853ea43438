"""What hetida designer's own serialisation does wrong, done to the repository: it must not."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sealstore.errors import ArtifactNotFound, InvalidNameError, NotSerialisableError
from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository
from tests.sealstore_fixtures import MODEL, snapshot

pytestmark = pytest.mark.usefixtures("bystander")


def test_names_and_tags_that_join_to_the_same_text(repository: Repository) -> None:
    """("a_b", "c") and ("a", "b_c") are two artifacts, in either order."""
    repository.store("first", "a_b", "c")
    repository.store("second", "a", "b_c")
    assert repository.load("a_b", "c") == "first"
    assert repository.load("a", "b_c") == "second"
    for name, tag in (("a", "b"), ("a", "c"), ("a_b_c", "c"), ("a_b", "b_c"), ("a", "b_c_")):
        with pytest.raises(ArtifactNotFound):
            repository.load(name, tag)
    repository.remove("a", "b_c")
    assert repository.load("a_b") == "first"


@pytest.mark.parametrize("name", ["../outside", "a/../../b", "..", ".", "a/b", "", "\\..\\x"])
def test_a_name_that_leaves_the_repository(repository: Repository, name: str) -> None:
    """Neither as a name nor as a tag, neither storing nor loading."""
    parent = repository.root.parent
    before = snapshot(parent)
    for arguments in ((name, "v1"), ("m", name)):
        with pytest.raises(InvalidNameError):
            repository.store(MODEL, *arguments)
        with pytest.raises(InvalidNameError):
            repository.load(*arguments)
    assert snapshot(parent) == before


def test_an_absolute_name(repository: Repository, tmp_path: Path) -> None:
    """A path is no name, wherever it leads."""
    target = tmp_path / "absolute"
    for name in (str(target), str(repository.root / "objects"), "/mnt/obj_repo/x"):
        with pytest.raises(InvalidNameError):
            repository.store(MODEL, name, "v1")
        with pytest.raises(InvalidNameError):
            repository.store(MODEL, "m", name)
    assert not target.exists()


def test_the_tag_y_latest_of_x(repository: Repository) -> None:
    """It is a tag like any other, and touches no latest but that of x."""
    repository.store("xy 1", "x_y", "1")
    repository.store("the tag", "x", "y_latest")
    assert repository.load("x_y") == "xy 1"
    assert repository.load("x") == repository.load("x", "y_latest") == "the tag"
    repository.store("xy 2", "x_y", "2")
    assert repository.load("x", "y_latest") == "the tag"
    assert repository.load("x_y") == "xy 2"


@pytest.mark.invariant(3)
def test_an_object_that_cannot_be_pickled_over_one_that_could(repository: Repository) -> None:
    """The version that was there is whole, by its tag and as the latest."""
    repository.store(MODEL, "m", "v1")
    before = snapshot(repository.root)
    with pytest.raises(NotSerialisableError):
        repository.store({"large": b"x" * (3 << 20), "lock": threading.Lock()}, "m", "v1")
    assert snapshot(repository.root) == before
    assert repository.load("m", "v1") == repository.load("m") == MODEL


@pytest.mark.invariant(3)
def test_storing_a_tag_again(repository: Repository) -> None:
    """The older object is still there, as its revision."""
    repository.store("old", "m", "v1")
    repository.store("new", "m", "v1")
    assert repository.load("m", "v1", revision=1) == "old"
    assert repository.load("m", "v1") == "new"


def test_a_repository_that_is_moved(
    repository: Repository, keyring: Keyring, tmp_path: Path
) -> None:
    """No absolute path and no link holds it in its place: latest loads wherever it lies."""
    repository.store(MODEL, "m", "v1")
    repository.close()
    repository.root.rename(tmp_path / "moved")
    with Repository.open(tmp_path / "moved", keyring=keyring) as moved:
        assert moved.load("m") == moved.load("m", "v1") == MODEL
        moved.store("after", "m", "v2")
        assert moved.load("m") == "after"
    assert not repository.root.exists()
    for path in (tmp_path / "moved").rglob("*"):
        assert not path.is_symlink()
    (tmp_path / "moved").rename(repository.root)


def test_a_missing_objects_error_shows_no_path(repository: Repository) -> None:
    """What is told is the request."""
    with pytest.raises(ArtifactNotFound) as refusal:
        repository.load("missing", "v1")
    assert str(refusal.value).startswith("missing:v1: There is no such artifact")
    assert str(repository.root) not in str(refusal.value)
    assert refusal.value.filename is None
