"""keys: made, listed, rotated, retired, revoked, exported; and what each means for a repository."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sealstore.admin.signatures import settings_key_id
from sealstore.errors import NoSigningKeyError
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.keyring import Role, State
from sealstore.keys.mounted import read_hmac_key_file
from sealstore.keys.sources import read_keyring_file
from sealstore.repository.facade import Repository
from sealstore.signed.envelope import read_unverified
from tests.command_line import Site
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


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@pytest.fixture
def empty(tmp_path: Path) -> Site:
    """A place with neither repository nor keyring."""
    return Site(tmp_path / "nothing", tmp_path / "new" / "keyring.json")


FIRST = hmac_key()


# ── generate ─────────────────────────────────────────────────────────────────


def test_a_key_is_added_for_the_configured_repository(site: Site) -> None:
    """By default a new key is an HMAC key with the usual roles, for this repository only."""
    ran = site.run("keys", "generate", "--json")
    key = site.keys_kept().get(ran.json["keyId"])
    assert (key.algorithm, key.state) == ("hmac-sha256", State.ACTIVE)
    assert key.roles == roles(Role.STORE, Role.ADMIN, Role.ACCESS)
    assert key.scope == scope(REPOSITORY_ID)
    assert len(site.keys_kept()) == 2
    assert site.keyring.stat().st_mode & 0o777 == 0o600
    assert str(site.keyring) in site.run("keys", "generate").out


def test_a_key_is_for_every_repository_where_there_is_none(empty: Site) -> None:
    """Before there is a repository, a key is for every one, and the keyring is made."""
    key_id = empty.run("keys", "generate", "--json").json["keyId"]
    assert empty.keys_kept().get(key_id).scope.repositories is None


def test_roles_algorithm_and_repository_can_be_chosen(site: Site) -> None:
    """Separate keys for separate roles are one command."""
    ran = site.run(
        *("keys", "generate", "--algorithm", "ed25519", "--role", "approve", "--role", "store"),
        *("--repository", OTHER_REPOSITORY_ID, "--json"),
    )
    key = site.keys_kept().get(ran.json["keyId"])
    assert key.algorithm == "ed25519"
    assert key.roles == roles(Role.APPROVE, Role.STORE)
    assert key.scope == scope(OTHER_REPOSITORY_ID)
    any_id = site.run("keys", "generate", "--repository", "any", "--json").json["keyId"]
    assert site.keys_kept().get(any_id).scope.repositories is None


def test_a_key_for_a_repository_that_cannot_be_verified_must_name_it(site: Site) -> None:
    """The id of a repository that these keys do not verify is not taken from its own files."""
    site.set_keys(hmac_key(7))
    ran = site.run("keys", "generate", code=1)
    assert "--repository ID" in ran.err
    assert len(site.keys_kept()) == 1
    site.run("keys", "generate", "--repository", REPOSITORY_ID)
    assert len(site.keys_kept()) == 2


def test_approvals_need_a_key_that_nobody_else_has(site: Site) -> None:
    """An HMAC key with the role approve is refused."""
    assert "ed25519" in site.run("keys", "generate", "--role", "approve", code=1).err
    assert len(site.keys_kept()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--algorithm", "none"],
        ["--role", "god"],
        ["--repository", "mine"],
        ["--repository", "A" * 32],
        ["--key-file", ""],
        ["--key-file", "k", "--algorithm", "ed25519"],
        ["--key-file", "k", "--role", "store"],
        ["--key-file", "k", "--repository", "any"],
        ["extra"],
    ],
    ids=" ".join,
)
def test_impossible_keys_are_usage_errors(arguments: list[str], site: Site) -> None:
    """There is no algorithm 'none', and nothing is guessed."""
    before = snapshot(site.keyring.parent)
    assert site.run("keys", "generate", *arguments, code=2).out == ""
    assert snapshot(site.keyring.parent) == before


def test_a_secret_to_be_mounted_is_written(site: Site, tmp_path: Path) -> None:
    """The file is private, holds 32 random bytes in hexadecimal, and works as a mounted secret."""
    path = tmp_path / "secret"
    ran = site.run("keys", "generate", "--key-file", path, "--json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(path.read_text())) == 32
    assert read_hmac_key_file(path, outside=None).key_id == ran.json["keyId"]
    assert len(site.keys_kept()) == 1
    listed = site.run("keys", "list", "--json", MODEL_REPO_HMAC_KEY_FILE=str(path)).json
    assert [key["keyId"] for key in listed["keys"]] == [FIRST.key_id, ran.json["keyId"]]
    other = site.run("keys", "generate", "--key-file", tmp_path / "other")
    assert path.read_text().strip() not in other.out


def test_a_secret_is_written_over_nothing_and_never_into_the_repository(
    site: Site, tmp_path: Path
) -> None:
    """A file or link that is there stays, a missing folder is told, the repository is refused."""
    path, link = tmp_path / "secret", tmp_path / "link"
    path.write_text("mine")
    link.symlink_to(tmp_path / "target")
    for refused in (path, link, tmp_path / "missing" / "secret", site.repository / "secret"):
        site.run("keys", "generate", "--key-file", refused, code=1)
    assert path.read_text() == "mine"
    assert not (tmp_path / "target").exists()
    assert not (site.repository / "secret").exists()


def test_no_keyring_is_made_inside_the_repository(site: Site) -> None:
    """Not even a lock file is written where no keyring may lie."""
    before = snapshot(site.repository)
    inside = site.repository / "keyring.json"
    site.run("--keyring", inside, "keys", "generate", "--repository", "any", code=1)
    assert snapshot(site.repository) == before


# ── list ─────────────────────────────────────────────────────────────────────


def test_keys_are_listed_without_their_secrets(site: Site) -> None:
    """State, roles, repositories and age of each key; no material, in no form."""
    site.set_keys(FIRST, ed25519_key(2, state=State.RETIRED, scope=scope(REPOSITORY_ID)))
    ran, listed = site.run("keys", "list"), site.run("keys", "list", "--json")
    assert [key["state"] for key in listed.json["keys"]] == ["active", "retired"]
    assert [key["canSign"] for key in listed.json["keys"]] == [True, False]
    assert [key["repositories"] for key in listed.json["keys"]] == ["any", [REPOSITORY_ID]]
    lines = ran.out.splitlines()
    assert [line.split()[1:3] for line in lines[1:]] == [
        ["hmac-sha256", "active"],
        ["ed25519", "retired"],
    ]
    for key in site.keys_kept():
        material = key.material.to_bytes()
        assert material.hex() not in ran.out + listed.out
        assert "AQEBAQ" not in ran.out + listed.out


def test_listing_without_a_keyring_says_how_to_make_one(empty: Site) -> None:
    """No keyring is an error that names the command."""
    assert "sealstore init" in empty.run("keys", "list", code=1).err


# ── rotate ───────────────────────────────────────────────────────────────────


def test_rotation_puts_a_like_key_in_the_old_ones_place(site: Site, repository: Repository) -> None:
    """The new key has algorithm, roles and scope of the old; the old one's artifacts still load."""
    repository.store([1], "x", "1")
    old = ed25519_key(2, roles=roles(Role.STORE, Role.ADMIN), scope=scope(REPOSITORY_ID))
    site.set_keys(FIRST, old)
    ran = site.run("keys", "rotate", "--json").json
    new = site.keys_kept().get(ran["new"]["keyId"])
    assert (new.algorithm, new.roles, new.scope) == (old.algorithm, old.roles, old.scope)
    assert site.keys_kept().get(old.key_id).state is State.RETIRED
    assert site.keys_kept().get(FIRST.key_id).state is State.ACTIVE
    assert ran["old"]["state"] == "retired"
    assert ran["settingsSigned"] is False
    site.run("verify", "--all")


def test_rotation_signs_the_repositorys_settings_again(site: Site, repository: Repository) -> None:
    """Where the old key signed repository.json, the new one signs it, its content unchanged."""
    repository.store([1], "x", "1")
    site.run("backup", site.keyring.parent / "backup")
    before = site.run("doctor", "--json").json
    ran = site.run("keys", "rotate")
    [_, new] = site.keys_kept()
    assert "repository.json is signed with" in ran.out
    assert settings_key_id(site.repository) == new.key_id
    site.run("resign")
    site.run("keys", "revoke", FIRST.key_id, "--yes")
    assert site.run("verify", "--all", "--json").json["ok"]
    site.run("backup", site.keyring.parent / "backup")
    after = site.run("doctor", "--json").json
    ids = [
        [check["details"]["id"] for check in checks["checks"] if "id" in check.get("details", {})]
        for checks in (before, after)
    ]
    assert ids == [[REPOSITORY_ID], [REPOSITORY_ID]]


def test_a_chosen_key_is_rotated(site: Site) -> None:
    """`--key` names another than the newest."""
    site.set_keys(FIRST, ed25519_key(2))
    site.run("keys", "rotate", "--key", FIRST.key_id[:8])
    assert site.keys_kept().get(FIRST.key_id).state is State.RETIRED
    assert site.keys_kept().get(ed25519_key(2).key_id).state is State.ACTIVE


def test_what_cannot_be_rotated_is_refused(site: Site, tmp_path: Path) -> None:
    """A retired key, an unknown one, a mounted secret: refused, and nothing changes."""
    site.set_keys(hmac_key(state=State.RETIRED), hmac_key(2))
    before = site.keyring.read_bytes()
    site.run("keys", "rotate", "--key", FIRST.key_id, code=1)
    site.run("keys", "rotate", "--key", "0123", code=1)
    site.run("keys", "rotate", "--key", "0" * 32, code=1)
    assert site.keyring.read_bytes() == before
    site.set_keys(hmac_key(state=State.RETIRED))
    secret = write_private(tmp_path / "secret", "11" * 32)
    ran = site.run("keys", "rotate", code=1, MODEL_REPO_HMAC_KEY_FILE=str(secret))
    assert "mounted" in ran.err


def test_rotation_without_a_repository_touches_the_keyring_only(empty: Site) -> None:
    """Where there is no repository, only the keys change."""
    empty.set_keys(FIRST)
    assert "repository.json" not in empty.run("keys", "rotate").out
    assert [key.state for key in empty.keys_kept()] == [State.RETIRED, State.ACTIVE]


def test_rotation_heals_a_damaged_repository_json(site: Site) -> None:
    """The catalogue has the settings that hold; the file follows them."""
    file = site.repository / "repository.json"
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"sig":"', b'"sig":"AAAA'))
    new = site.run("keys", "rotate", "--json").json["new"]["keyId"]
    assert read_unverified(file.read_bytes().removesuffix(b"\n")).key_id == new
    assert read_unverified(file.read_bytes().removesuffix(b"\n")).payload == (
        read_unverified(data.removesuffix(b"\n")).payload
    )


def test_rotation_tells_when_the_repository_cannot_be_signed(
    site: Site, repository: Repository
) -> None:
    """With a damaged head: the old key stays active, since nothing else signed the settings."""
    run_sql(repository, "UPDATE history_head SET envelope = x'00'")
    ran = site.run("keys", "rotate", code=1)
    assert "the new key is made, but" in ran.err
    assert "stays active" in ran.out
    assert [key.state for key in site.keys_kept()] == [State.ACTIVE, State.ACTIVE]


def test_rotation_leaves_settings_of_an_unknown_key_alone(site: Site) -> None:
    """Another keyring's repository is not touched."""
    site.set_keys(hmac_key(9))
    before = (site.repository / "repository.json").read_bytes()
    assert site.run("keys", "rotate", "--json").json["settingsSigned"] is False
    assert (site.repository / "repository.json").read_bytes() == before


# ── retire ───────────────────────────────────────────────────────────────────


def test_a_retired_key_verifies_and_signs_no_more(site: Site, repository: Repository) -> None:
    """What a retired key signed still loads; and if no other can sign, that is said."""
    repository.store([1], "x", "1")
    ran = site.run("keys", "retire", FIRST.key_id)
    assert "no active key is left with the role access, admin, store" in ran.out
    assert site.keys_kept().get(FIRST.key_id).state is State.RETIRED
    site.run("verify", "--all")
    site.run("remove", "x", "1", "--yes", code=1)


def test_a_key_is_not_retired_while_nobody_can_tell_what_it_signs(
    site: Site, repository: Repository, tmp_path: Path
) -> None:
    """The catalogue is out of reach for the moment; its head may be signed with it."""
    site.set_keys(FIRST, hmac_key(2))
    repository.close()
    for path in site.repository.glob("catalogue.sqlite3*"):
        path.rename(tmp_path / path.name)
    ran = site.run("keys", "retire", FIRST.key_id, code=1)
    assert "The repository is signed with this key" in ran.err
    assert site.keys_kept().get(FIRST.key_id).state is State.ACTIVE
    for path in tmp_path.glob("catalogue.sqlite3*"):
        path.rename(site.repository / path.name)
    site.run("keys", "retire", FIRST.key_id)
    site.run("verify", "--all")


@pytest.mark.parametrize("command", ["retire", "rotate"])
def test_the_only_signature_of_a_repository_is_not_given_up(
    command: str, site: Site, repository: Repository
) -> None:
    """Where no other key can sign it: this client has seen a newer state, and refuses this one.

    With its key retired, nothing could be done with the repository any more.
    """
    older = site.repository.parent / "older.sqlite3"
    run_sql(repository, "PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(site.repository / "catalogue.sqlite3", older)
    repository.store([1], "x", "1")
    site.run("list")
    repository.close()
    for path in site.repository.glob("catalogue.sqlite3*"):
        path.unlink()
    shutil.copy(older, site.repository / "catalogue.sqlite3")
    if command == "retire":
        site.set_keys(FIRST, hmac_key(2))
        ran = site.run("keys", "retire", FIRST.key_id, code=1)
        assert "The repository is signed with this key" in ran.err
    else:
        ran = site.run("keys", "rotate", code=1)
        assert f"key {FIRST.key_id} stays active" in ran.out
    assert "trust accept --current" in ran.err
    assert site.keys_kept().get(FIRST.key_id).state is State.ACTIVE
    site.run("trust", "accept", "--current", "--yes")
    site.run("keys", "retire", FIRST.key_id)
    site.run("verify", "--all")


def test_retiring_one_of_two_loses_no_role(site: Site) -> None:
    """Where another active key has the roles, nothing is lost."""
    site.set_keys(FIRST, hmac_key(2, scope=scope(REPOSITORY_ID)))
    assert site.run("keys", "retire", hmac_key(2).key_id).out.count("\n") == 1
    assert "no active key" in site.run("keys", "retire", FIRST.key_id).out
    assert site.run("keys", "retire", FIRST.key_id, "--json").json["state"] == "retired"


def test_a_revoked_key_stays_revoked(site: Site) -> None:
    """There is no way back from revoked."""
    site.set_keys(hmac_key(state=State.REVOKED), hmac_key(2))
    assert "cannot become" in site.run("keys", "retire", FIRST.key_id, code=1).err
    site.run("keys", "revoke", FIRST.key_id, "--yes")
    assert site.keys_kept().get(FIRST.key_id).state is State.REVOKED


@pytest.mark.parametrize(("command", "yes"), [("retire", []), ("revoke", ["--yes"])])
def test_a_mounted_secrets_key_changes_its_state_in_the_keyring(
    command: str, yes: list[str], site: Site, repository: Repository, tmp_path: Path
) -> None:
    """The keyring's word wins over the mount: a mounted key can be retired and revoked."""
    secret = write_private(tmp_path / "secret", "33" * 32)
    site.variables["MODEL_REPO_HMAC_KEY_FILE"] = str(secret)
    key_id = HmacSha256(bytes.fromhex("33" * 32)).key_id
    with Repository.open(settings=site.settings) as opened:
        stored = opened.store([1], "x", "1")
    assert stored.key_id == key_id
    site.run("keys", command, key_id, *yes)
    site.run("verify", "--all", code={"retire": 0, "revoke": 1}[command])
    assert len(site.keys_kept()) == 2
    assert repository.id


def test_a_key_can_be_revoked_though_the_mounted_secret_is_gone(site: Site, tmp_path: Path) -> None:
    """A missing secret does not keep a stolen key alive."""
    site.set_keys(FIRST, hmac_key(2))
    missing = str(tmp_path / "missing")
    site.run("keys", "revoke", FIRST.key_id, "--yes", MODEL_REPO_HMAC_KEY_FILE=missing)
    assert site.keys_kept().get(FIRST.key_id).state is State.REVOKED


# ── revoke ───────────────────────────────────────────────────────────────────


def test_revoking_moves_the_settings_to_another_admin_key(
    site: Site, repository: Repository
) -> None:
    """Where another admin key is active the repository stays open, and only artifacts are lost."""
    repository.store([1], "x", "1")
    site.set_keys(FIRST, ed25519_key(2))
    ran = site.run("keys", "revoke", FIRST.key_id, "--yes", "--json")
    assert ran.json["settingsKeyId"] == ed25519_key(2).key_id
    assert ran.json["settingsRefused"] is False
    assert ran.json["artifactsRefused"] == 1
    assert "1 artifact signed with it will be refused" in ran.err
    assert f"resign --key {FIRST.key_id}" in ran.err
    assert "repository.json" not in ran.err
    site.run("verify", "--all", code=1)
    [finding] = site.run("verify", "--all", "--json", code=1).json["findings"]
    assert finding["code"] == "REVOKED_KEY"


def test_revoking_the_only_admin_key_says_what_stops_and_what_mends_it(
    site: Site, repository: Repository
) -> None:
    """The repository is closed, as was said, and opens again with the commands that were named."""
    repository.store([1], "x", "1")
    ran = site.run("keys", "revoke", FIRST.key_id, "--yes")
    for part in ("1 artifact signed", "cannot be opened", "keys generate", "--settings --accept"):
        assert part in ran.err
    assert "resign --settings --accept ID" in site.run("list", code=1).err
    site.run("keys", "generate", code=1)
    site.run("keys", "generate", "--repository", REPOSITORY_ID)
    assert "--accept" in site.run("resign", "--settings", code=1).err
    site.run("resign", "--settings", "--accept", OTHER_REPOSITORY_ID, code=1)
    site.run("list", code=1)
    site.run("resign", "--settings", "--accept", REPOSITORY_ID)
    assert "REFUSED" in site.run("list", code=1).out


def test_revoking_without_a_terminal_needs_yes(site: Site) -> None:
    """Nobody can be asked in a script: without `--yes` nothing is revoked."""
    assert "--yes" in site.run("keys", "revoke", FIRST.key_id, code=2).err
    assert site.keys_kept().get(FIRST.key_id).state is State.ACTIVE


@pytest.mark.parametrize(
    ("answer", "code", "state"), [("n\n", 1, State.ACTIVE), ("y\n", 0, State.REVOKED)]
)
def test_revoking_at_a_terminal_asks(answer: str, code: int, state: State, site: Site) -> None:
    """At a terminal the consequences are told first, and the answer counts."""
    ended, shown = site.run_at_terminal("keys", "revoke", FIRST.key_id, answer=answer)
    assert shown.index("cannot be opened") < shown.index("Revoke key")
    assert ended == code
    assert site.keys_kept().get(FIRST.key_id).state is state


def test_revoking_does_not_wait_for_a_damaged_repository(site: Site) -> None:
    """A key can be revoked though repository.json is unreadable, or absent."""
    site.set_keys(FIRST, hmac_key(2), hmac_key(3))
    (site.repository / "repository.json").write_bytes(b"{")
    site.run("keys", "revoke", FIRST.key_id, "--yes")
    (site.repository / "repository.json").unlink()
    site.run("keys", "revoke", hmac_key(2).key_id, "--yes")
    assert [key.state for key in site.keys_kept()] == [State.REVOKED, State.REVOKED, State.ACTIVE]


@pytest.mark.parametrize("key_id", ["", "xyz", "0" * 32, FIRST.key_id[:7]])
def test_an_unknown_key_is_not_revoked(key_id: str, site: Site) -> None:
    """A wrong or too short id names no key."""
    assert "keys list" in site.run("keys", "revoke", key_id, "--yes", code=1).err
    site.run("keys", "retire", key_id, code=1)


# ── export ───────────────────────────────────────────────────────────────────


def test_an_exported_keyring_verifies_and_cannot_sign(
    site: Site, repository: Repository, tmp_path: Path
) -> None:
    """Only Ed25519 keys' public parts are in it; HMAC keys are named as left out."""
    repository.store([1], "x", "1")
    site.set_keys(FIRST, ed25519_key(2))
    site.run("resign", "--key", FIRST.key_id)
    site.run("resign", "--settings")
    target = tmp_path / "public.json"
    ran = site.run("keys", "export", "--public", target)
    assert f"left out, since HMAC keys have no public part: {FIRST.key_id}" in ran.out
    [exported] = read_keyring_file(target, outside=None)
    assert exported.key_id == ed25519_key(2).key_id
    assert exported.algorithm == "ed25519-public"
    assert target.stat().st_mode & 0o777 == 0o600
    secret = ed25519_key(2).material.to_bytes()
    assert secret.hex() not in target.read_text()
    site.run("--keyring", target, "verify", "--all")
    site.run("--keyring", target, "remove", "x", "1", "--yes", code=1)


@pytest.mark.invariant(5)
def test_a_loaders_keyring_loads_records_and_cannot_store(site: Site, tmp_path: Path) -> None:
    """Its own key is for that alone, and the repository's owner knows it from then on."""
    site.set_keys(FIRST, ed25519_key(2))
    site.run("heartbeat")
    site.run("resign", "--settings")
    with Repository.open(settings=site.settings) as owner:
        owner.store([1], "x", "1")
        target = tmp_path / "loader.json"
        ran = site.run("keys", "export", "--loader", target, "--json").json
        own = ran["loaderKeyId"]
        assert {key["keyId"] for key in ran["keys"]} == {ed25519_key(2).key_id, own}
        [made] = [key for key in read_keyring_file(target, outside=None) if key.key_id == own]
        assert (made.can_sign, set(made.roles)) == (True, {Role.ACCESS})
        assert not site.keys_kept().get(own).can_sign
        keyring = read_keyring_file(target, outside=None)
        with Repository.open(site.repository, keyring=keyring) as loader:
            assert loader.load("x") == [1]
            with pytest.raises(NoSigningKeyError):
                loader.store([2], "x", "1")
        assert owner.load("x") == [1]
    site.run("keys", "export", "--loader", "--public", tmp_path / "no.json", code=2)


def test_a_loader_needs_a_key_that_verifies_what_is_stored(site: Site, tmp_path: Path) -> None:
    """Public keys for other roles do not help it; what cannot load is not handed out."""
    site.set_keys(FIRST, ed25519_key(2, roles=roles(Role.APPROVE)))
    before = site.keyring.read_bytes()
    ran = site.run("keys", "export", "--loader", tmp_path / "loader.json", code=1)
    assert "a loader could verify nothing" in ran.err
    assert "keys generate --algorithm ed25519" in ran.err
    assert not (tmp_path / "loader.json").exists()
    assert site.keyring.read_bytes() == before


def test_an_export_without_hmac_keys_leaves_nothing_out(site: Site, tmp_path: Path) -> None:
    """`--json` names what was exported and what was left out."""
    site.set_keys(ed25519_key(2))
    ran = site.run("keys", "export", tmp_path / "public.json", "--json").json
    assert [key["keyId"] for key in ran["keys"]] == [ed25519_key(2).key_id]
    assert ran["leftOut"] == []
    assert "left out" not in site.run("keys", "export", tmp_path / "more.json").out


def test_hmac_keys_alone_cannot_be_exported(site: Site, tmp_path: Path) -> None:
    """Nothing is written, and it is said why."""
    ran = site.run("keys", "export", tmp_path / "public.json", code=1)
    assert "HMAC" in ran.err
    assert not (tmp_path / "public.json").exists()


def test_an_export_replaces_nothing_by_accident(site: Site, tmp_path: Path) -> None:
    """A file that is there stays without `--force`; the keyring itself always; no repository."""
    site.set_keys(ed25519_key(2))
    target = tmp_path / "public.json"
    target.write_text("mine")
    before = site.keyring.read_bytes()
    assert "--force" in site.run("keys", "export", target, code=1).err
    assert target.read_text() == "mine"
    site.run("keys", "export", target, "--force")
    site.run("keys", "export", site.keyring, "--force", code=2)
    site.run("keys", "export", site.repository / "public.json", code=2)
    assert site.keyring.read_bytes() == before
    assert not (site.repository / "public.json").exists()
