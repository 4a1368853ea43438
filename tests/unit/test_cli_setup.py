"""init and migrate: a repository's beginning, and its schema."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sealstore.admin.signatures import settings_key_id
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.keyring import Role, State
from sealstore.repository.facade import Repository
from sealstore.storage.catalogue import schema
from tests.command_line import HOSTILE, Site
from tests.older_release import make_older
from tests.sealstore_fixtures import (
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    run_sql,
    scope,
    snapshot,
    write_private,
)


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@pytest.fixture
def empty(tmp_path: Path) -> Site:
    """A place with neither repository nor keyring."""
    return Site(tmp_path / "repo", tmp_path / "new" / "keyring.json")


# ── init ─────────────────────────────────────────────────────────────────────


def test_init_makes_a_repository_and_its_key(empty: Site) -> None:
    """One key with the usual roles, scoped to the new repository; the next steps are told."""
    ran = empty.run("init")
    [key] = empty.keys_kept()
    with Repository.open(settings=empty.settings) as repository:
        assert key.scope == scope(repository.id)
        assert f"made repository {repository.id} in {empty.repository}" in ran.out
        assert not repository.immutable_tags
    assert (key.algorithm, key.state) == ("hmac-sha256", State.ACTIVE)
    assert key.roles == roles(Role.STORE, Role.ADMIN, Role.ACCESS)
    assert f"made its key {key.key_id} (hmac-sha256) in {empty.keyring}" in ran.out
    assert "keep a copy of the keyring" in ran.out
    assert "export" not in ran.out
    assert empty.run("doctor", "--json").json["ok"]


def test_the_next_steps_that_init_tells_work(tmp_path: Path) -> None:
    """What is printed can be pasted into a shell: it stores and loads, from a path with spaces."""
    site = Site(tmp_path / "unused", tmp_path / "unused.json")
    place, keyring = tmp_path / "a repo's place", tmp_path / "a; key" / "keyring.json"
    lines = site.run("init", "--path", place, "--keyring", keyring).out.splitlines()
    steps = [line.strip() for line in lines[lines.index("next:") + 1 :]]
    assert steps[-1] == "sealstore doctor"
    script = "\n".join(steps[:-1]).replace("python -c", f"{sys.executable} -c")
    shell = shutil.which("sh")
    assert shell
    done = subprocess.run(
        [shell, "-eu", "-c", script], env=site.environment(), capture_output=True, check=True
    )
    assert done.stdout == b"{'answer': 42}\n"
    assert not site.repository.exists()


def test_group_options_name_the_places_too(empty: Site, tmp_path: Path) -> None:
    """`--repository` and `--keyring` before the command do the same."""
    ran = empty.run(
        *("--repository", tmp_path / "other", "--keyring", tmp_path / "k" / "keyring.json"),
        *("init", "--immutable-tags", "--algorithm", "ed25519", "--json"),
    )
    assert ran.json["path"] == str(tmp_path / "other")
    assert ran.json["keyring"] == str(tmp_path / "k" / "keyring.json")
    assert (ran.json["immutableTags"], ran.json["algorithm"]) == (True, "ed25519")
    assert ran.json["keyIsNew"] is True
    with Repository.open(
        tmp_path / "other", settings=Site(tmp_path / "other", tmp_path / "k/keyring.json").settings
    ) as repository:
        assert repository.id == ran.json["repository"]
        assert repository.immutable_tags


def test_a_key_for_every_repository_is_used(empty: Site) -> None:
    """An active key that fits is used, and no other is made."""
    empty.set_keys(hmac_key(), ed25519_key(2))
    ran = empty.run("init")
    assert f"signed with key {ed25519_key(2).key_id} (ed25519), which was there" in ran.out
    assert len(empty.keys_kept()) == 2
    assert settings_key_id(empty.repository) == ed25519_key(2).key_id


@pytest.mark.parametrize(
    "unfit",
    [
        hmac_key(state=State.RETIRED),
        hmac_key(state=State.REVOKED),
        hmac_key(scope=scope(REPOSITORY_ID)),
        hmac_key(roles=roles(Role.ADMIN)),
        hmac_key(roles=roles(Role.STORE, Role.ACCESS)),
    ],
    ids=["retired", "revoked", "of another repository", "admin only", "no admin"],
)
def test_a_key_that_does_not_fit_is_left_alone(unfit: object, empty: Site) -> None:
    """A new key is added beside keys that may not sign for a new repository."""
    assert isinstance(unfit, type(hmac_key()))
    empty.set_keys(unfit)
    assert empty.run("init", "--json").json["keyIsNew"] is True
    old, new = empty.keys_kept()
    assert (old.key_id, old.state) == (unfit.key_id, unfit.state)
    assert settings_key_id(empty.repository) == new.key_id


def test_separate_keys_for_each_role_are_used(empty: Site) -> None:
    """Where each role has its own key for every repository, no key is made."""
    empty.set_keys(
        hmac_key(1, roles=roles(Role.STORE, Role.ACCESS)), hmac_key(2, roles=roles(Role.ADMIN))
    )
    assert empty.run("init", "--json").json["keyIsNew"] is False
    assert settings_key_id(empty.repository) == hmac_key(2).key_id


def test_an_algorithm_that_was_asked_for_is_made(empty: Site) -> None:
    """`--algorithm` wins over a fitting key of another algorithm."""
    empty.set_keys(hmac_key())
    assert empty.run("init", "--algorithm", "ed25519", "--json").json["algorithm"] == "ed25519"
    assert len(empty.keys_kept()) == 2


def test_a_mounted_secret_is_used(empty: Site, tmp_path: Path) -> None:
    """With a mounted secret no keyring is written."""
    secret = write_private(tmp_path / "secret", "22" * 32)
    empty.run("init", MODEL_REPO_HMAC_KEY_FILE=str(secret))
    assert not empty.keyring.exists()
    assert settings_key_id(empty.repository) == HmacSha256(b"\x22" * 32).key_id


@pytest.mark.parametrize("there", ["repository", "other files"])
def test_init_changes_nothing_that_is_there(there: str, empty: Site) -> None:
    """A folder that is not empty is refused, before any key is made."""
    empty.repository.mkdir()
    name = {"repository": "repository.json", "other files": "thesis.txt"}[there]
    (empty.repository / name).write_text("mine")
    before = snapshot(empty.repository)
    empty.run("init", code=1)
    assert snapshot(empty.repository) == before
    assert not empty.keyring.exists()


def test_a_second_init_makes_no_key(empty: Site) -> None:
    """Running it twice leaves what the first made."""
    empty.run("init")
    before = empty.keyring.read_bytes()
    assert "already" in empty.run("init", code=1).err
    assert empty.keyring.read_bytes() == before


def test_init_refuses_where_an_existing_repository_is_asked_for(empty: Site) -> None:
    """With MODEL_REPO_ID set there is nothing to make."""
    assert "MODEL_REPO_ID" in empty.run("init", code=1, MODEL_REPO_ID=REPOSITORY_ID).err
    assert not empty.repository.exists()
    assert not empty.keyring.exists()


def test_init_leaves_a_broken_keyring_alone(empty: Site) -> None:
    """A keyring that cannot be read is not replaced by a new one."""
    write_private(empty.keyring, b"{")
    empty.run("init", code=1)
    assert empty.keyring.read_bytes() == b"{"
    assert not empty.repository.exists()


def test_init_puts_no_keyring_into_the_repository(empty: Site) -> None:
    """Whoever can write to a repository must not be able to replace its keys."""
    assert "inside" in empty.run("init", "--keyring", empty.repository / "k.json", code=1).err
    assert not empty.repository.exists()


def test_usage(empty: Site) -> None:
    """There is no algorithm 'none'."""
    empty.run("init", "--algorithm", "none", code=2)
    empty.run("init", "somewhere", code=2)


# ── migrate ──────────────────────────────────────────────────────────────────


@pytest.fixture
def older(site: Site, repository: Repository, older_release: str) -> Site:
    """A repository that a release with an older schema left."""
    repository.store("model", "churn", "1")
    repository.close()
    make_older(site.repository)
    return site


def test_a_current_schema_needs_nothing(site: Site) -> None:
    """Nothing is asked and nothing is changed where the schema is this release's."""
    current = schema.SCHEMA_REVISIONS[-1]
    assert site.run("migrate").out == f"the schema is {current} already: nothing to do\n"
    ran = site.run("migrate", "--json").json
    assert (ran["from"], ran["to"]) == (current, current)
    assert str(site.repository) in ran["database"]


def test_an_older_schema_is_migrated(older: Site, older_release: str) -> None:
    """After a hint to back up, the schema is the new one, and everything is still there."""
    newest = schema.SCHEMA_REVISIONS[-1]
    assert "sealstore migrate" in older.run("list", code=1).err
    assert "--yes" in older.run("migrate", code=2).err
    assert "sealstore migrate" in older.run("list", code=1).err
    ran = older.run("migrate", "--yes")
    assert "back up the files *.sqlite3* in" in ran.err
    assert ran.out == f"the schema was {older_release} and is now {newest}\n"
    assert "nothing to do" in older.run("migrate").out
    older.run("verify", "--all")
    entries = older.run("history", "--json").json["entries"]
    assert [entry["event"] for entry in entries] == ["store", "create"]


def test_a_migration_as_json(older: Site, older_release: str) -> None:
    """`--json` tells from which revision to which."""
    ran = older.run("migrate", "--yes", "--json").json
    assert (ran["from"], ran["to"]) == (older_release, schema.SCHEMA_REVISIONS[-1])


@pytest.mark.parametrize("revision", ["9999", HOSTILE])
def test_a_newer_schema_is_refused(revision: str, site: Site, repository: Repository) -> None:
    """A repository of a later release is not touched."""
    run_sql(repository, "UPDATE alembic_version SET version_num = ?", revision)
    before = snapshot(site.repository)["catalogue.sqlite3"]
    assert "newer" in site.run("migrate", "--yes", code=1).err
    assert snapshot(site.repository)["catalogue.sqlite3"] == before


def test_an_emptied_database_is_not_given_new_tables(site: Site, repository: Repository) -> None:
    """Empty tables would look like a repository in which nothing was ever stored."""
    repository.close()
    for name in ("catalogue.sqlite3", "catalogue.sqlite3-wal", "catalogue.sqlite3-shm"):
        (site.repository / name).unlink(missing_ok=True)
    (site.repository / "catalogue.sqlite3").touch()
    assert "no tables" in site.run("migrate", "--yes", code=1).err


def test_only_ones_own_repository_is_migrated(site: Site, tmp_path: Path) -> None:
    """Without the keys of a repository its database is not touched; and it must be there."""
    site.set_keys(hmac_key(9))
    site.run("migrate", "--yes", code=1)
    site.run("--repository", tmp_path / "nowhere", "migrate", code=1)
    site.run("migrate", "now", code=2)
    assert not (tmp_path / "nowhere").exists()
