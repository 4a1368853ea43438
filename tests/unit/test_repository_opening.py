"""Making and opening a repository: whose it is, and which one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import (
    ConfigurationError,
    KeyringNotFoundError,
    KnownLocationError,
    NoSigningKeyError,
    RepositoryExistsError,
    RepositoryMismatchError,
    RepositoryNotFoundError,
    SchemaVersionError,
    UnknownKeyError,
    UsageError,
)
from sealstore.keys.keyring import Keyring, Role
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.trust import operating
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    hmac_key,
    roles,
    run_sql,
    scope,
    snapshot,
)

MODEL = {"weights": [0.5, 1.5], "name": "a model"}


def test_a_new_repository_is_empty_and_opens_again(tmp_path: Path, keyring: Keyring) -> None:
    """The id and the settings are those that were signed."""
    root = tmp_path / "deep" / "inside"
    with Repository.create(root, keyring=keyring, immutable_tags=True) as made:
        assert made.list().artifacts == []
        assert [entry.event for entry in made.history()] == ["create"]
        assert made.keyring is keyring
    with Repository.open(root, keyring=keyring) as opened:
        assert (opened.id, opened.immutable_tags) == (made.id, True)
    assert sorted(path.name for path in root.iterdir()) == [
        "access.sqlite3",
        "access.sqlite3.lock",
        "catalogue.sqlite3",
        "catalogue.sqlite3.lock",
        "objects",
        "repository.json",
        "statements",
    ]
    assert not [path for path in root.rglob("*") if path.stat().st_mode & 0o007]


def test_a_repository_is_made_once(repository: Repository, keyring: Keyring) -> None:
    """An existing one is left alone."""
    before = snapshot(repository.root)
    with pytest.raises(RepositoryExistsError):
        Repository.create(repository.root, keyring=keyring)
    assert snapshot(repository.root) == before


def test_where_a_repository_is_remembered_no_other_one_is_made(
    repository: Repository, keyring: Keyring
) -> None:
    """A folder that lost its repository is not taken for a new place."""
    repository.close()
    shutil.rmtree(repository.root)
    with pytest.raises(KnownLocationError, match="sealstore trust forget"):
        Repository.create(repository.root, keyring=keyring)
    assert list(repository.root.iterdir()) == []
    operating.forget(repository.settings.trust_store(repository.root))
    Repository.create(repository.root, keyring=keyring).close()


@pytest.mark.invariant(4)
@pytest.mark.parametrize(
    "keys",
    [
        [],
        [hmac_key(roles=roles(Role.STORE, Role.ADMIN))],
        [hmac_key(roles=roles(Role.ADMIN, Role.ACCESS))],
        [hmac_key(roles=roles(Role.STORE))],
        [hmac_key(scope=scope(REPOSITORY_ID))],
    ],
)
def test_without_an_admin_key_nothing_is_made(tmp_path: Path, keys: list[Any]) -> None:
    """The key comes first; the folder is not even made."""
    with pytest.raises(NoSigningKeyError, match="sealstore keys generate"):
        Repository.create(tmp_path / "repository", keyring=Keyring.of(keys))
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_was_made_for_a_repository_makes_that_one(tmp_path: Path) -> None:
    """The id may be chosen beforehand, so that a key can be scoped to it."""
    own = Keyring.of([hmac_key(scope=scope(OTHER_REPOSITORY_ID))])
    root = tmp_path / "repository"
    with Repository.create(root, keyring=own, repository_id=OTHER_REPOSITORY_ID) as made:
        assert made.id == OTHER_REPOSITORY_ID
        assert made.store(1, "m", "a").revision == 1


@pytest.mark.parametrize("repository_id", ["", "x", REPOSITORY_ID.upper(), REPOSITORY_ID + "0"])
def test_an_impossible_id_is_refused_before_anything_is_made(
    tmp_path: Path, keyring: Keyring, repository_id: str
) -> None:
    """What could not be opened afterwards is not created."""
    with pytest.raises(UsageError, match="32 hexadecimal digits"):
        Repository.create(tmp_path / "r", keyring=keyring, repository_id=repository_id)
    assert list(tmp_path.iterdir()) == []


def test_without_arguments_the_configured_repository_is_used(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MODEL_REPO_PATH and MODEL_REPO_KEYRING say which."""
    write_keyring_file(tmp_path / "keys" / "ring.json", Keyring.of([hmac_key()]))
    monkeypatch.setenv("MODEL_REPO_PATH", str(repository.root))
    with pytest.raises(KeyringNotFoundError):
        Repository.open()
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(tmp_path / "keys" / "ring.json"))
    with Repository.open() as opened:
        assert opened.id == REPOSITORY_ID
        opened.store(MODEL, "m", "a")
    with Repository.open() as opened:
        assert opened.load("m") == MODEL
    monkeypatch.setenv("MODEL_REPO_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(RepositoryNotFoundError, match="There is no repository here"):
        Repository.open()


def test_another_repository_than_the_expected_one_is_refused(
    repository: Repository,
    keyring: Keyring,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MODEL_REPO_ID pins what may be opened, and nothing is made beside it."""
    monkeypatch.setenv("MODEL_REPO_ID", REPOSITORY_ID)
    with Repository.open(repository.root, keyring=keyring) as opened:
        assert opened.id == REPOSITORY_ID
    monkeypatch.setenv("MODEL_REPO_ID", OTHER_REPOSITORY_ID)
    with pytest.raises(RepositoryMismatchError, match="check what is mounted"):
        Repository.open(repository.root, keyring=keyring)
    with pytest.raises(RepositoryMismatchError):
        Repository.create(tmp_path / "new", keyring=keyring)
    assert not (tmp_path / "new").exists()


def test_a_repository_of_unknown_keys_does_not_open(repository: Repository) -> None:
    """Its settings vouch for nothing without the key."""
    with pytest.raises(UnknownKeyError):
        Repository.open(repository.root, keyring=Keyring.of([hmac_key(9)]))


def test_a_newer_catalogue_is_refused(repository: Repository, keyring: Keyring) -> None:
    """What a later release wrote is not touched."""
    run_sql(repository, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaVersionError, match="newer schema"):
        Repository.open(repository.root, keyring=keyring)


def test_a_closed_repository_can_be_used_again(repository: Repository) -> None:
    """Closing gives connections back and no more."""
    repository.store(MODEL, "m", "a")
    repository.close()
    assert repository.load("m") == MODEL


def test_the_settings_given_count_instead_of_the_environment(
    repository: Repository, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller with settings of its own does not depend on the process's variables."""
    settings = Settings.from_environment({"MODEL_REPO_PATH": str(repository.root)})
    monkeypatch.setenv("MODEL_REPO_DIGEST", "nonsense")
    with Repository.open(keyring=keyring, settings=settings) as opened:
        assert opened.root == repository.root
    with pytest.raises(ConfigurationError):
        Repository.open(repository.root, keyring=keyring)
