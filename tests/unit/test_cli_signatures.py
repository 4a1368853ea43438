"""resign: artifacts and settings get today's signature, and what does not verify gets none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealstore.admin.signatures import settings_key_id
from sealstore.keys.keyring import Role, State
from sealstore.repository.facade import Repository
from tests.command_line import Site
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    payload_path,
    roles,
    run_sql,
    snapshot,
)

OLD, NEW = hmac_key(), ed25519_key(2)


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    repository.store([1], "x", "1")
    repository.store([2], "x", "2")
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(hmac_key(state=State.RETIRED), NEW)
    return site


def test_artifacts_of_retired_keys_are_signed_again(site: Site, repository: Repository) -> None:
    """Payloads and statements stay as they are; only the signature is another."""
    payloads = snapshot(site.repository / "objects")
    before = {one.verified.digest for one in repository.list().artifacts}
    ran = site.run("resign", "--json", "--actor", "janitor")
    assert ran.json == {"ok": True, "keyId": NEW.key_id, "signed": 2, "findings": []}
    listed = site.run("list", "--json").json["artifacts"]
    assert {one["keyId"] for one in listed} == {NEW.key_id}
    assert {one["statementSha256"] for one in listed} == before
    assert snapshot(site.repository / "objects") == payloads
    entries = site.run("history", "--json").json["entries"]
    resigned = [(one["event"], one["by"]["actor"]) for one in entries[:2]]
    assert resigned == [("resign", "janitor")] * 2
    assert site.run("resign").out == f"signed 0 artifacts with key {NEW.key_id}\n"


def test_one_artifact_of_a_revoked_key_is_accepted_by_its_payload(
    site: Site, repository: Repository
) -> None:
    """An admin names it, with the digest of the payload that is known to be genuine."""
    wanted = repository.get("x", "1")
    site.set_keys(OLD, NEW)
    site.run("keys", "revoke", OLD.key_id, "--yes")
    named = ["resign", "--artifact", "x:1@1"]
    assert "--accept" in site.run(*named, code=1).err
    assert "is not the artifact" in site.run(*named, "--accept", "0" * 64, code=1).err
    site.run("verify", "x", "1", code=1)
    ran = site.run(*named, "--accept", wanted.digests.sha256, "--json").json
    assert (ran["keyId"], ran["statementSha256"]) == (NEW.key_id, wanted.verified.digest)
    assert "is signed with key" in site.run(*named).out
    site.run("verify", "x", "1")
    [entry] = site.run("history", "--limit", "1", "--json").json["entries"]
    assert entry["details"] == {"old_key": OLD.key_id, "accepted_by": NEW.key_id}
    for wrong in (["--key", NEW.key_id], ["--settings"]):
        site.run(*named, *wrong, code=2)
    for wrong in (["--artifact", "x"], ["--accept", "x"]):
        site.run("resign", *wrong, code=2)


def test_a_heartbeat_changes_the_time_of_the_head_alone(site: Site, repository: Repository) -> None:
    """Clients that ask for a young head get one; no entry is added."""
    before = repository.state.head
    ran = site.run("heartbeat", "--json").json
    assert ran["size"] == before.size
    assert ran["time"] > before.time
    assert f"{before.size} entries" in site.run("heartbeat").out
    assert len(site.run("history", "--json").json["entries"]) == before.size
    site.variables["MODEL_REPO_MAX_AGE"] = "1h"
    site.run("verify", "x")


def test_a_chosen_keys_artifacts_are_signed_again(site: Site) -> None:
    """`--key` takes an active key too, and the newest one has nothing to do."""
    site.set_keys(OLD, NEW)
    assert site.run("resign", "--json").json["signed"] == 0
    assert site.run("resign", "--key", OLD.key_id[:8], "--json").json["signed"] == 2
    assert site.run("resign", "--key", NEW.key_id, "--json").json["signed"] == 0


def test_what_does_not_verify_is_not_signed(site: Site, repository: Repository) -> None:
    """An edited row is refused and named, keeps its signature, and the others get theirs."""
    run_sql(repository, "UPDATE artifact SET actor = 'eve' WHERE tag = '1'")
    ran = site.run("resign", code=1)
    assert "REFUSED x:1@1" in ran.out
    assert "signed 1 artifact with" in ran.out
    [[key_id]] = run_sql(repository, "SELECT key_id FROM artifact WHERE tag = '1'")
    assert key_id == OLD.key_id
    report = site.run("resign", "--json", code=1).json
    assert (report["ok"], report["signed"]) == (False, 0)


def test_what_a_revoked_key_signed_is_not_signed_again(site: Site) -> None:
    """Nobody can tell its owner's signatures from a thief's."""
    site.run("resign", "--settings")
    site.set_keys(hmac_key(state=State.REVOKED), NEW)
    assert "revoked" in site.run("resign", "--key", OLD.key_id, code=1).err
    assert site.run("resign", "--json").json["signed"] == 0
    site.run("verify", "--all", code=1)


def test_without_a_key_to_sign_nothing_is_signed(site: Site) -> None:
    """A retired key alone signs nothing."""
    site.set_keys(hmac_key(state=State.RETIRED))
    assert "keys generate" in site.run("resign", code=1).err
    assert "keys list" in site.run("resign", "--key", "0" * 32, code=1).err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--accept", REPOSITORY_ID],
        ["--settings", "--key", OLD.key_id],
        ["--settings", "--actor", "ada"],
        ["x"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_options_that_do_not_go_together_are_usage_errors(arguments: list[str], site: Site) -> None:
    """An option that would do nothing is refused."""
    assert site.run("resign", *arguments, code=2).out == ""


# ── settings ─────────────────────────────────────────────────────────────────


def test_settings_of_a_retired_key_are_signed_again(site: Site) -> None:
    """repository.json gets the newest admin key's signature; again, there is nothing to do."""
    assert settings_key_id(site.repository) == OLD.key_id
    ran = site.run("resign", "--settings")
    assert settings_key_id(site.repository) == NEW.key_id
    for part in (REPOSITORY_ID, "immutableTags", "false", "created"):
        assert part in ran.out
    assert f"signed with key {NEW.key_id}, before with {OLD.key_id}" in ran.out
    before = snapshot(site.repository)
    assert "already" in site.run("resign", "--settings").out
    assert site.run("resign", "--settings", "--json").json["signed"] is False
    assert snapshot(site.repository) == before


def test_settings_of_a_revoked_key_need_the_repositorys_id(site: Site) -> None:
    """Only with the right id are they accepted, and then the repository opens again."""
    site.set_keys(hmac_key(state=State.REVOKED), NEW)
    before = snapshot(site.repository)
    assert "--accept" in site.run("resign", "--settings", code=1).err
    site.run("resign", "--settings", "--accept", OTHER_REPOSITORY_ID, code=1)
    assert snapshot(site.repository) == before
    ran = site.run("resign", "--settings", "--accept", REPOSITORY_ID, "--json")
    signed = ran.json
    assert (signed["oldKeyId"], signed["keyId"]) == (OLD.key_id, NEW.key_id)
    assert signed["signed"] is True
    assert (signed["settings"]["repository"], signed["settings"]["immutableTags"]) == (
        *(REPOSITORY_ID, False),
    )
    site.run("history")


def test_accepting_forgives_nothing_but_the_revocation(site: Site) -> None:
    """With `--accept` a wrong signature, an unknown key and an unfit key are refused as ever."""
    file = site.repository / "repository.json"
    good = file.read_bytes()
    accept = ("resign", "--settings", "--accept", REPOSITORY_ID)
    site.set_keys(hmac_key(state=State.REVOKED), NEW)
    file.write_bytes(good.replace(b'"payload":"e', b'"payload":"f'))
    site.run(*accept, code=1)
    file.write_bytes(good)
    site.set_keys(hmac_key(state=State.REVOKED, roles=roles(Role.STORE)), NEW)
    site.run(*accept, code=1)
    site.set_keys(NEW)
    site.run(*accept, code=1)
    assert file.read_bytes() == good


def test_settings_of_a_repository_that_is_not_expected_are_not_signed(site: Site) -> None:
    """MODEL_REPO_ID holds here too."""
    before = snapshot(site.repository)
    site.run("resign", "--settings", code=1, MODEL_REPO_ID=OTHER_REPOSITORY_ID)
    site.run("resign", "--settings", "--accept", OTHER_REPOSITORY_ID, code=1)
    assert snapshot(site.repository) == before


def test_settings_need_an_admin_key(site: Site) -> None:
    """A key without the role admin does not sign settings."""
    site.set_keys(hmac_key(state=State.RETIRED), ed25519_key(2, roles=roles(Role.STORE)))
    assert "admin" in site.run("resign", "--settings", code=1).err
    assert settings_key_id(site.repository) == OLD.key_id


def test_a_resigned_artifacts_payload_is_untouched(site: Site, repository: Repository) -> None:
    """The payload's file is the very same one."""
    path = payload_path(repository, repository.get("x", "1"))
    before = path.stat()
    site.run("resign")
    assert path.stat() == before
