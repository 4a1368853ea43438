"""doctor: what is configured, from where, what is wrong, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sealstore
from sealstore.formats.pickling import framing
from sealstore.keys.keyring import Role, State
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Variable
from sealstore.repository.storing import FALLBACK
from sealstore.storage.catalogue import Catalogue, catalogue_engine, database_facts, sqlite
from sealstore.storage.catalogue.sqlite_files import copy_database
from sealstore.trust import operating
from sealstore.upkeep import migration
from sealstore.upkeep.doctor import repository as there
from tests.command_line import FORBIDDEN, HOSTILE, Site
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    run_sql,
    scope,
    snapshot,
    write_private,
)
from tests.trust_points import point


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    repository.store([1], "x", "1")
    site.run("backup", tmp_path / "backup")
    return site


def checks(site: Site, level: str, code: int = 0, /, **variables: str) -> list[dict[str, Any]]:
    """The doctor's checks of one level."""
    ran = site.run("doctor", "--json", code=code, request=variables).json
    assert ran["ok"] is (code == 0)
    return [check for check in ran["checks"] if check["level"] == level]


def wrong(site: Site, **variables: str) -> dict[str, Any]:
    """The one thing that is wrong."""
    [check] = checks(site, "wrong", 1, **variables)
    assert check["fix"]
    return check


def note(site: Site, **variables: str) -> dict[str, Any]:
    """The one thing to know."""
    [check] = checks(site, "note", **variables)
    return check


def details(site: Site, topic: str) -> list[dict[str, Any]]:
    return [
        check["details"]
        for check in checks(site, "ok")
        if check["topic"] == topic and "details" in check
    ]


# ── all is well ──────────────────────────────────────────────────────────────


def test_all_is_well(site: Site) -> None:
    """A fresh repository has nothing wrong, and nothing in it is changed by looking."""
    before = snapshot(site.repository / "objects"), site.keyring.read_bytes()
    ran = site.run("doctor")
    assert ran.out.endswith("all is well\n")
    assert checks(site, "note") == []
    assert (snapshot(site.repository / "objects"), site.keyring.read_bytes()) == before


def test_each_value_is_told_with_its_source(site: Site, tmp_path: Path) -> None:
    """Variable, option or default: the doctor says which."""
    said = {
        one["variable"]: (one["value"], one["source"]) for one in details(site, "configuration")
    }
    assert set(said) == set(Variable)
    assert said["MODEL_REPO_PATH"] == (str(site.repository), "MODEL_REPO_PATH")
    assert said["MODEL_REPO_JOURNAL"] == ("wal", "default")
    assert said["MODEL_REPO_ID"] == ("not set", "default")
    ran = site.run(
        *("--repository", site.repository, "--keyring", site.keyring, "doctor"),
        MODEL_REPO_PATH=str(tmp_path),
        MODEL_REPO_KEYRING=None,
    )
    assert f"MODEL_REPO_PATH: {site.repository} (--repository)" in ran.out
    assert f"MODEL_REPO_KEYRING: {site.keyring} (--keyring)" in ran.out


def test_versions_are_told(site: Site) -> None:
    """The versions that a report of a fault needs."""
    [versions] = details(site, "versions")
    assert versions["sealstore"] == sealstore.__version__
    assert versions["SQLite"] == sqlite3.sqlite_version
    for name in ("Python", "OpenSSL", "SQLAlchemy", "cryptography", "joblib"):
        assert versions[name][0].isdigit()


def test_what_joblib_has_to_write_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the fast writer cannot be used, the doctor says for what objects, and why."""
    assert details(site, "writer") == [{"fallbacks": 0}]
    monkeypatch.setattr(framing, "_SENTINEL_BYTES", bytes(100))
    told = note(site)
    assert told["topic"] == "writer"
    assert sorted(told["details"]["reasons"]) == [
        "arrays of objects",
        "compressed arrays",
        "large arrays",
        "structured arrays",
    ]
    assert told["details"]["fallbacks"] == 4
    assert told["text"].startswith(
        "joblib writes, as well and more slowly: large arrays (an array in"
    )
    assert told["fix"]


def test_what_joblib_had_to_write_is_counted(
    site: Site, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each such store has its reason on record; whoever asks later is told how many there were."""
    assert details(site, "written") == [{"written": 0, "changes": 2}]
    with monkeypatch.context() as patched:
        patched.setattr(framing, "_SENTINEL_BYTES", bytes(100))
        repository.store(np.zeros(9_000), "array", "1")
    assert repository.load("array").tolist() == [0.0] * 9_000
    told = note(site)
    reason = "the stream ends too early"
    assert told["topic"] == "written"
    assert told["details"] == {"written": 1, "changes": 3, "reasons": {reason: 1}}
    assert told["text"].endswith(f"as well and more slowly: {reason} (1)")
    [stored] = repository.history("array")
    assert stored.details == {FALLBACK: reason}


# ── configuration ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("variable", "meant"),
    [("MODEL_REPO_KEYRINGS", "MODEL_REPO_KEYRING"), ("MODEL_REPO_ZZZZZZZZZZZZZZZZZZ", None)],
)
def test_a_misspelt_variable_is_wrong(variable: str, meant: str | None, site: Site) -> None:
    """What looks like sealstore's variable and is none was meant to do something."""
    found = wrong(site, **{variable: "1"})
    assert variable in found["text"]
    assert found["fix"] == f"unset {variable}"
    assert ("may be meant" in found["text"]) is (meant is not None)


@pytest.mark.parametrize(
    "variable", ["DIGEST", "JOURNAL", "ID", "STRICT_ENVIRONMENT", "FIRST_USE", "MAX_AGE"]
)
def test_an_impossible_value_is_wrong_and_the_rest_is_looked_at(variable: str, site: Site) -> None:
    """One bad variable does not hide what else there is to say."""
    found = wrong(site, **{f"MODEL_REPO_{variable}": "nonsense"})
    assert f"MODEL_REPO_{variable}" in found["text"]
    assert checks(site, "ok", 1, **{f"MODEL_REPO_{variable}": "nonsense"})[-1]["topic"] == (
        "versions"
    )


def test_a_databases_password_is_never_shown(site: Site) -> None:
    """Neither the password nor the options of a database's URL are printed."""
    url = "postgresql://ada:secret1@127.0.0.1:1/models?password=secret2"
    ran = site.run("doctor", code=1, MODEL_REPO_DATABASE_URL=url)
    assert "secret1" not in ran.out + ran.err
    assert "secret2" not in ran.out + ran.err
    ran = site.run("doctor", "--json", code=1, MODEL_REPO_DATABASE_URL="mysql://ada:secret1@host/x")
    assert "secret1" not in ran.out + ran.err
    assert "postgresql://" in ran.json["checks"][3]["fix"]


def test_hostile_values_are_escaped(site: Site) -> None:
    """A variable's value and a path reach the terminal escaped."""
    ran = site.run("doctor", code=1, MODEL_REPO_PATH=f"/nowhere/{HOSTILE}")
    assert not set(FORBIDDEN) & set(ran.out + ran.err)


# ── keys ─────────────────────────────────────────────────────────────────────


def test_no_keyring_is_wrong(site: Site) -> None:
    """Without keys nothing can be verified, and the settings neither."""
    site.keyring.unlink()
    found = checks(site, "wrong", 1)
    assert [check["topic"] for check in found] == ["keyring", "settings"]
    assert "sealstore init" in found[0]["fix"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_keyring_that_others_can_reach_is_wrong(mode: int, site: Site) -> None:
    """The mode is told, with the command that mends it."""
    site.keyring.chmod(mode)
    found = checks(site, "wrong", 1)[0]
    assert f"mode {mode:04o}" in found["text"]
    assert f"chmod 600 {site.keyring}" in found["fix"]


def test_a_keyring_inside_the_repository_is_wrong(site: Site) -> None:
    """Whoever can write there could replace it."""
    inside = site.repository / "keyring.json"
    shutil.copy(site.keyring, inside)
    found = checks(site, "wrong", 1, MODEL_REPO_KEYRING=str(inside))[0]
    assert found["details"]["code"] == "KEYRING_PERMISSIONS"


def test_a_keyring_folder_that_others_can_write_is_wrong(site: Site) -> None:
    """A folder of others lets them replace the keyring; a sticky one, such as /tmp, does not."""
    folder = site.keyring.parent
    folder.chmod(0o777)
    assert "chmod go-w" in wrong(site)["fix"]
    folder.chmod(0o1777)
    assert checks(site, "wrong") == []
    folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_keyring_folder_of_somebody_else_is_wrong(site: Site) -> None:
    """Whose folder it is, his keyring it is."""
    os.chown(site.keyring.parent, 65_534, 65_534)
    assert "must belong to you" in wrong(site)["fix"]


def test_a_mounted_secret_is_looked_at(site: Site, tmp_path: Path) -> None:
    """With a mounted secret no keyring is needed; an exposed or missing one is wrong."""
    secret = write_private(tmp_path / "secret", "01" * 32)
    site.keyring.unlink()
    variables = {"MODEL_REPO_HMAC_KEY_FILE": str(secret)}
    texts = [check["text"] for check in checks(site, "ok", **variables)]
    assert "no keyring file; the mounted secret is the key" in texts
    assert f"key {hmac_key().key_id} is the mounted secret" in texts
    secret.chmod(0o644)
    assert "chmod" in checks(site, "wrong", 1, **variables)[0]["fix"]
    secret.unlink()
    assert checks(site, "wrong", 1, **variables)[0]["topic"] == "keyring"


def test_a_key_without_a_signer_for_the_repository_is_wrong(site: Site) -> None:
    """Each role that nothing can sign for is told, with the command that makes a key."""
    site.set_keys(hmac_key(state=State.RETIRED), hmac_key(2, roles=roles(Role.STORE)))
    [found] = checks(site, "wrong", 1)
    assert found["fix"] == f"sealstore keys generate --role admin --repository {REPOSITORY_ID}"
    site.set_keys(hmac_key(), hmac_key(2, scope=scope(OTHER_REPOSITORY_ID)))
    assert checks(site, "wrong") == []


def test_keys_are_judged_where_there_is_no_repository_yet(site: Site, tmp_path: Path) -> None:
    """Before a repository is made, a key has to be for every one."""
    site.set_keys(hmac_key(scope=scope(REPOSITORY_ID)))
    found = checks(site, "wrong", 1, MODEL_REPO_PATH=str(tmp_path / "nowhere"))
    assert [check["topic"] for check in found] == ["settings", "signing", "signing"]
    assert "sealstore init" in found[0]["fix"]
    assert found[1]["fix"].endswith("--repository any")


def test_a_verify_only_keyring_is_well(site: Site, repository: Repository) -> None:
    """Where nothing is to be stored, nothing has to sign, and no folder has to be writable."""
    site.set_keys(hmac_key(), ed25519_key(2))
    site.run("keys", "retire", hmac_key().key_id)
    public = site.keyring.parent / "public.json"
    site.run("keys", "export", public)
    site.variables["MODEL_REPO_KEYRING"] = str(public)
    texts = [check["text"] for check in checks(site, "ok")]
    assert "verify-only keyring: it loads, and stores nothing" in texts


# ── the trust state ──────────────────────────────────────────────────────────


def remembers(site: Site, repository: str, size: int = 3) -> None:
    """Let this client have seen a state of a repository there."""
    site.variables["MODEL_REPO_TRUST_STATE"] = str(site.keyring.parent / "trust")
    operating.accept(site.settings.trust_store(), point(size, repository=repository))


def test_what_is_remembered_is_told(site: Site) -> None:
    """Nothing at first; then which state of which repository was seen."""
    site.variables["MODEL_REPO_TRUST_STATE"] = str(site.keyring.parent / "trust")
    operating.forget(site.settings.trust_store())
    assert "nothing is remembered of this repository yet" in site.run("doctor").out
    site.run("list")
    site.run("backup", site.keyring.parent.parent / "backup")
    [told] = details(site, "trust state")
    assert (told["repository"], told["size"]) == (REPOSITORY_ID, 2)
    [head] = details(site, "head")
    assert (head["epoch"], head["size"]) == (1, 2)
    assert details(site, "access log") == [{"size": 0}]


def test_an_exchanged_repository_is_wrong(site: Site) -> None:
    """Another one than was seen there before."""
    remembers(site, OTHER_REPOSITORY_ID)
    # Nothing was backed up of that one.
    [found, backup] = checks(site, "wrong", 1)
    assert [found["topic"], backup["topic"]] == ["trust state", "backup"]
    assert f"{OTHER_REPOSITORY_ID} was seen here before" in found["text"]
    site.set_keys(hmac_key(7))
    assert "trust state" not in [check["topic"] for check in checks(site, "wrong", 1)]


def test_a_trust_state_that_others_can_write_is_wrong(site: Site) -> None:
    """With the command that mends it."""
    remembers(site, REPOSITORY_ID)
    path = site.settings.trust_store().path
    path.chmod(0o666)
    assert f"chmod go-w {path}" in wrong(site)["fix"]


def test_a_first_use_that_is_refused_is_wrong(site: Site, tmp_path: Path) -> None:
    """With the command that begins."""
    variables = {
        "MODEL_REPO_TRUST_STATE": str(tmp_path / "none"),
        "MODEL_REPO_FIRST_USE": "refuse",
    }
    assert "sealstore trust init" in wrong(site, **variables)["fix"]


# ── the repository ───────────────────────────────────────────────────────────


def test_settings_of_a_retired_key_are_noted(site: Site) -> None:
    """They hold, and the command that signs them again is told."""
    site.set_keys(hmac_key(state=State.RETIRED), hmac_key(2))
    assert wrong(site)["fix"] == "sealstore heartbeat"
    assert site.run("heartbeat").code == 0
    fixes = [each["fix"] for each in checks(site, "note")]
    assert fixes[0] == "sealstore resign --settings"
    assert "restored on your word only" in fixes[1]


def test_an_older_state_than_was_seen_is_wrong(site: Site, repository: Repository) -> None:
    """As a load would say: with a repository that nobody can load from, not all is well."""
    repository.close()
    older = site.repository.parent / "older.sqlite3"
    copy_database(site.repository / "catalogue.sqlite3", older)
    with Repository.open(settings=site.settings) as opened:
        opened.store([2], "x", "2")
    site.run("backup", site.keyring.parent.parent / "backup")
    for path in site.repository.glob("catalogue.sqlite3*"):
        path.unlink()
    shutil.copy(older, site.repository / "catalogue.sqlite3")
    found = wrong(site)
    assert (found["topic"], found["details"]["code"]) == ("head", "ROLLBACK")
    assert "trust accept --current" in found["fix"]


def test_a_missing_access_log_is_wrong(site: Site, repository: Repository) -> None:
    """Nothing could be loaded, since no load could be put on record."""
    repository.close()
    for path in site.repository.glob("access.sqlite3*"):
        path.unlink()
    found = wrong(site)
    assert found["topic"] == "access log"
    assert "sealstore audit init" in found["fix"]


def test_settings_of_a_revoked_key_are_wrong(site: Site) -> None:
    """The repository is closed, and what opens it again is told."""
    site.set_keys(hmac_key(state=State.REVOKED), hmac_key(2))
    [found, backup] = checks(site, "wrong", 1)
    assert "sealstore resign --settings --accept" in found["fix"]
    assert "nobody restores it" in backup["text"]


def test_changed_settings_are_wrong(site: Site) -> None:
    """A repository.json that was edited is refused."""
    file = site.repository / "repository.json"
    file.write_bytes(file.read_bytes().replace(b'"sig":"', b'"sig":"A'))
    assert wrong(site)["topic"] == "settings"


def test_another_repository_than_expected_is_wrong(site: Site) -> None:
    """MODEL_REPO_ID and what is mounted contradict each other."""
    found = wrong(site, MODEL_REPO_ID=OTHER_REPOSITORY_ID)
    assert REPOSITORY_ID in found["text"]
    assert checks(site, "wrong", MODEL_REPO_ID=REPOSITORY_ID) == []


def test_a_missing_catalogue_is_wrong(site: Site, repository: Repository) -> None:
    """No database, an empty one, a damaged one, one of another release."""
    repository.close()
    run_sql(repository, "PRAGMA wal_checkpoint(TRUNCATE)")
    file = site.repository / "catalogue.sqlite3"
    run_sql(repository, "UPDATE alembic_version SET version_num = '9999'")
    assert "newer" in wrong(site)["text"]
    for suffix in ("-wal", "-shm"):
        (site.repository / f"catalogue.sqlite3{suffix}").unlink(missing_ok=True)
    file.write_bytes(b"")
    assert "no tables" in wrong(site)["text"]
    file.write_bytes(b"\xff" * 8192)
    assert wrong(site)["topic"] == "catalogue"
    file.unlink()
    assert wrong(site)["topic"] == "catalogue"
    assert not file.exists()


def test_a_planted_trigger_is_wrong(site: Site, repository: Repository) -> None:
    """A schema that is not the shipped one is told, with what is in it and the way out."""
    run_sql(
        repository,
        'CREATE TRIGGER "\x1b[31mplanted" AFTER INSERT ON artifact BEGIN SELECT 1; END',
    )
    found = wrong(site)
    assert found["topic"] == "catalogue"
    assert found["details"] == {"code": "CATALOGUE_TAMPERED"}
    assert "trigger '\\x1b[31mplanted'" in found["text"]
    assert "backup" in found["fix"]


def test_a_database_out_of_reach_is_wrong(site: Site) -> None:
    """Nobody listens at the configured PostgreSQL, or its driver is missing."""
    found = checks(site, "wrong", 1, MODEL_REPO_DATABASE_URL="postgresql://ada@127.0.0.1:1/models")
    assert {check["topic"] for check in found} <= {"catalogue", "configuration"}


def test_a_journal_that_is_not_the_configured_one_is_noted(
    site: Site, repository: Repository
) -> None:
    """A file keeps the journal that it was made with."""
    repository.close()
    run_sql(repository, "PRAGMA journal_mode=delete")
    assert "PRAGMA journal_mode=wal" in note(site)["fix"]
    assert checks(site, "note", MODEL_REPO_JOURNAL="delete") == []


def test_wal_on_a_network_file_system_is_wrong(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way out is told: the rollback journal, or PostgreSQL."""
    monkeypatch.setattr(sqlite, "mounts", lambda: [("/", "nfs4")])
    assert "MODEL_REPO_JOURNAL=delete" in wrong(site)["fix"]


def test_a_large_write_ahead_log_is_noted(
    site: Site, monkeypatch: pytest.MonkeyPatch, repository: Repository
) -> None:
    """A log that only grows is the sign of a reader that never ends."""
    monkeypatch.setattr(there, "_LARGE_WAL_BYTES", 16)
    repository.store([2], "x", "2")
    assert "wal_checkpoint" in note(site)["fix"]


@pytest.mark.parametrize("folder", ["objects", "statements"])
def test_a_folder_that_is_none_is_wrong(folder: str, site: Site, tmp_path: Path) -> None:
    """A missing folder, or a link in its place, is told."""
    (site.repository / folder).rename(tmp_path / folder)
    assert f"{folder} is no folder" in wrong(site)["text"]
    (site.repository / folder).symlink_to(tmp_path / folder)
    assert f"{folder} is no folder" in wrong(site)["text"]


def test_what_cannot_be_written_is_wrong(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder, and the database, that this user may not write to is told."""
    # As root, who may write anywhere, only the answer of the system can be changed.
    refused = {site.repository / "objects", site.repository / "catalogue.sqlite3"}
    real = os.access

    def access(path: Any, mode: int, **options: Any) -> bool:
        return real(path, mode, **options) and not (mode & os.W_OK and Path(path) in refused)

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(os, "supports_effective_ids", {access})
    found = checks(site, "wrong", 1)
    assert [check["topic"] for check in found] == ["catalogue", "folders"]
    assert all(check["fix"].startswith("chmod u+w ") for check in found)


def test_a_folder_that_everybody_can_write_is_noted(site: Site) -> None:
    """Others can destroy there, though not forge."""
    site.repository.chmod(0o777)
    assert "chmod o-w" in note(site)["fix"]


@pytest.mark.parametrize(
    ("free", "level"), [(10**6, "wrong"), (10**9, "note"), (10**11, "ok"), (0, "wrong")]
)
def test_little_space_is_told(
    free: int, level: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is nearly full is noted, and a full one wrong."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12 if free else 0, 0, free))
    found = checks(site, level, int(level == "wrong"))
    assert [check["details"]["freeBytes"] for check in found if check["topic"] == "space"] == [free]


def test_leftovers_are_noted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staging files of stores that died, and files set aside; not those of a running store."""
    young = site.repository / "objects" / ".staging-young"
    old = site.repository / "statements" / ".staging-old"
    aside = site.repository / "objects" / f"ab.set-aside-{HOSTILE.replace('/', '|')}"
    for path in (young, old):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 7_200,) * 2)
    found = note(site)
    assert found["details"]["paths"] == [str(old)]
    assert found["fix"].startswith("find ")
    old.unlink()
    aside.write_bytes(b"")
    assert "moved aside" in note(site)["text"]
    assert not set(FORBIDDEN) & set(site.run("doctor").out)
    monkeypatch.setattr(there, "_MAX_FILES_LOOKED_AT", 0)
    assert "only the first 0 files" in note(site)["text"]


def test_files_that_vanish_meanwhile_are_no_trouble(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that ends while the doctor looks is not an error."""

    class Vanished:
        name = ".staging-gone"
        path = "gone"

        def stat(self, **_: object) -> os.stat_result:
            raise FileNotFoundError

    monkeypatch.setattr(there, "_files", lambda _: iter([Vanished()]))
    assert checks(site, "note") == []
    monkeypatch.undo()
    assert list(there._files(site.repository / "not there")) == []


def test_only_sqlite_has_a_journal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another database nothing is said about files."""
    elsewhere = catalogue_engine(site.repository, "postgresql://ada:pw@db/models?password=x")
    assert database_facts.journal_mode(elsewhere) is None
    assert elsewhere.place.endswith("://ada:***@db/models")
    assert migration.place(site.settings, Catalogue(elsewhere, lock_file=None)).startswith(
        "the files *.sqlite3*"
    )
    site.variables["MODEL_REPO_DATABASE_URL"] = "postgresql://db/models"
    said = migration.place(site.settings, Catalogue(elsewhere, lock_file=None))
    assert said.endswith("://ada:***@db/models")
    del site.variables["MODEL_REPO_DATABASE_URL"]
    monkeypatch.setattr(there, "journal_mode", lambda _: None)
    assert "journal" not in str(
        [check for check in checks(site, "ok") if check["topic"] == "catalogue"]
    )
