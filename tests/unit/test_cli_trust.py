"""trust: what a client remembers, begun from a checkpoint, replaced, forgotten."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.audit.documents import note_key, open_checkpoint_of
from sealstore.errors import RevokedKeyError, UnknownKeyError
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.ledger.checkpoint import seal_checkpoint
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.repository.facade import Repository
from sealstore.trust import operating
from sealstore.trust.store import TrustStore
from tests.command_line import FORBIDDEN, HOSTILE, Site
from tests.ledger_trees import LOG_ID
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    scope,
    snapshot,
)
from tests.trust_points import LOG_LOCATION, Prover, access_point, point

KEY = ed25519_key()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(
        tmp_path / "models",
        tmp_path / "keys" / "keyring.json",
        {"MODEL_REPO_TRUST_STATE": str(tmp_path / "trust")},
    )
    site.set_keys(KEY, hmac_key(2))
    return site


Write = Callable[..., Path]


def note(checkpoint: Any, *keys: Key) -> bytes:
    return seal_checkpoint(checkpoint, [(note_key(key), key) for key in keys])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Write:
    """A file with a checkpoint."""

    def write(of: Any = None, *keys: Key) -> Path:
        path = tmp_path / "checkpoint"
        path.write_bytes(note(point(9) if of is None else of, *(keys or (KEY,))))
        return path

    return write


def trust_of(site: Site, root: Path | None = None) -> TrustStore:
    return site.settings.trust_store(root)


def seen(site: Site) -> HistoryCheckpoint | None:
    found = trust_of(site).read()
    return None if found is None else found.point


# ── show ─────────────────────────────────────────────────────────────────────


def test_nothing_is_remembered_at_first(site: Site, tmp_path: Path) -> None:
    """And looking does not change that."""
    before = snapshot(tmp_path)
    location = f"file://{site.repository}"
    assert site.run("trust", "show").out == f"nothing is remembered of {location}\n"
    assert site.run("trust", "show", "--all").out == "nothing is remembered of any repository\n"
    for arguments in (["--json"], ["--all", "--json"]):
        assert site.run("trust", "show", *arguments).json == {"locations": []}
    assert snapshot(tmp_path) == before


def test_what_is_remembered_is_shown(site: Site) -> None:
    """The point, the newest time and the access logs, for people and as JSON."""
    trust = trust_of(site)
    operating.begin(trust, point(9))
    out = site.run("trust", "show").out
    assert "access logs" not in out
    trust.advance_access(LOG_LOCATION, access_point(3), prove=Prover())
    out = site.run("trust", "show").out
    for text in (REPOSITORY_ID, point(9).root, "2026-11-23 12:00:00 UTC", str(trust.path)):
        assert text in out
    assert f"{LOG_ID}: size 3" in out
    [shown] = site.run("trust", "show", "--json").json["locations"]
    assert shown["file"] == str(trust.path)
    assert shown["location"] == trust.location
    assert shown["history"]["size"] == 9
    assert shown["history"]["mapRoot"] == point(9).map_root
    assert shown["newestTime"] == point(9).time
    assert shown["access"][LOG_LOCATION]["log"] == LOG_ID


def test_all_locations_are_shown(site: Site, tmp_path: Path) -> None:
    """One that cannot be used does not hide the others, and the exit code tells."""
    for name in ("a", "b"):
        operating.begin(trust_of(site, tmp_path / name), point(3))
    operating.begin(trust_of(site), point(9))
    shown = site.run("trust", "show", "--all")
    assert shown.out.count("repository ") == 3
    assert len(site.run("trust", "show", "--json").json["locations"]) == 1
    damaged = trust_of(site, tmp_path / "a").path
    damaged.write_bytes(b"{")
    shown = site.run("trust", "show", "--all", code=1)
    assert shown.out.count("repository ") == 2
    assert "sealstore trust accept" in shown.err
    found = site.run("trust", "show", "--all", "--json", code=1).json["locations"]
    assert len(found) == 3
    [error] = [each for each in found if "error" in each]
    assert error["file"] == str(damaged)
    assert error["error"]["code"] == "TRUST_STATE_FORMAT"


def test_a_damaged_trust_state_is_told(site: Site) -> None:
    """With the file and the way out."""
    operating.begin(trust_of(site), point(9))
    path = trust_of(site).path
    path.chmod(0o666)
    ran = site.run("trust", "show", code=1)
    assert f"chmod go-w {path}" in ran.err
    [shown] = site.run("trust", "show", "--json", code=1).json["locations"]
    assert shown["error"]["code"] == "TRUST_STATE_PERMISSIONS"


def test_locations_are_escaped(site: Site, tmp_path: Path) -> None:
    """The location of an access log may hold whatever its URL does."""
    trust = trust_of(site)
    operating.begin(trust, point(9))
    trust.advance_access(HOSTILE, access_point(3), prove=Prover())
    for arguments in ([], ["--json"], ["--all"]):
        ran = site.run("trust", "show", *arguments)
        assert not set(FORBIDDEN) & set(ran.out + ran.err)


# ── init ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", [KEY, hmac_key(2)], ids=["ed25519", "hmac"])
def test_a_client_begins_from_a_checkpoint(site: Site, checkpoint: Write, key: Key) -> None:
    """A new container expects at least what somebody it trusts has seen."""
    ran = site.run("trust", "init", "--checkpoint", checkpoint(None, key))
    assert REPOSITORY_ID in ran.out
    assert seen(site) == point(9)
    assert trust_of(site).advance(point(12), prove=Prover()).point == point(12)


def test_what_was_begun_is_told_as_json(site: Site, checkpoint: Write) -> None:
    """In the names of the file; a first use that is refused does not stand against it."""
    ran = site.run(
        *("trust", "init", "--checkpoint", checkpoint(), "--json"), MODEL_REPO_FIRST_USE="refuse"
    )
    assert ran.json["history"]["size"] == 9
    assert ran.json["location"] == f"file://{site.repository}"


def test_a_client_that_has_begun_does_not_begin_again(site: Site, checkpoint: Write) -> None:
    """A script that starts containers cannot set one back."""
    site.run("trust", "init", "--checkpoint", checkpoint())
    ran = site.run("trust", "init", "--checkpoint", checkpoint(point(3)), code=1)
    assert "sealstore trust accept" in ran.err
    assert seen(site) == point(9)


REVOKED = ed25519_key(3, state=State.REVOKED)


@pytest.mark.invariant(4)
@pytest.mark.parametrize(
    ("keyring", "signed", "text"),
    [
        ([hmac_key(2)], lambda: note(point(9), KEY), "No signature"),
        ([REVOKED], lambda: note(point(9), ed25519_key(3)), "is revoked"),
        ([ed25519_key(roles=roles(Role.ACCESS))], lambda: note(point(9), KEY), "role 'store'"),
        (
            [ed25519_key(scope=scope(OTHER_REPOSITORY_ID))],
            lambda: note(point(9), KEY),
            "not for this repository",
        ),
        ([KEY], lambda: note(point(9), KEY).replace(b"\n9\n", b"\n8\n"), "not one of key"),
        ([KEY], lambda: b"", "not a text with signatures"),
        ([KEY], lambda: b"x" * (limits.MAX_CHECKPOINT_BYTES + 10), "more than 65536 bytes"),
    ],
)
def test_only_a_checkpoint_of_a_trusted_key_is_taken(
    site: Site, tmp_path: Path, keyring: list[Key], signed: Callable[[], bytes], text: str
) -> None:
    """Unknown, revoked, without the role, for another repository, edited, or no checkpoint."""
    site.set_keys(*keyring)
    path = tmp_path / "checkpoint"
    path.write_bytes(signed())
    for command in (["init"], ["accept", "--yes"]):
        assert text in site.run("trust", *command, "--checkpoint", path, code=1).err
    assert seen(site) is None


def test_a_revoked_signature_beside_a_good_one_says_nothing(site: Site, checkpoint: Write) -> None:
    """One compromised key does not spoil the checkpoints that others signed as well."""
    keyring = Keyring.of([KEY, REVOKED])
    both = note(point(9), ed25519_key(3), KEY)
    assert open_checkpoint_of(keyring, both).key_ids == (KEY.key_id,)
    with pytest.raises(RevokedKeyError):
        open_checkpoint_of(keyring, note(point(9), ed25519_key(3)))
    with pytest.raises(UnknownKeyError):
        open_checkpoint_of(Keyring.of([]), both)
    site.set_keys(*keyring)
    site.run("trust", "init", "--checkpoint", checkpoint(None, ed25519_key(3), KEY))
    assert seen(site) == point(9)


def test_a_retired_keys_checkpoint_is_taken(site: Site, checkpoint: Write) -> None:
    """It says what was, and was kept where nobody could change it."""
    site.set_keys(ed25519_key(state=State.RETIRED))
    site.run("trust", "init", "--checkpoint", checkpoint())
    assert seen(site) == point(9)


def test_a_checkpoint_of_something_else_is_refused(site: Site, checkpoint: Write) -> None:
    """Of an access log, or of another repository than the configured one."""
    log = checkpoint(access_point(3))
    assert "of an access log" in site.run("trust", "init", "--checkpoint", log, code=2).err
    path = checkpoint()
    ran = site.run("trust", "init", "--checkpoint", path, code=1, MODEL_REPO_ID=OTHER_REPOSITORY_ID)
    assert "MODEL_REPO_ID" in ran.err
    assert seen(site) is None
    site.run("trust", "init", "--checkpoint", path, MODEL_REPO_ID=REPOSITORY_ID)


def test_a_checkpoint_that_is_not_there_is_told(site: Site, tmp_path: Path) -> None:
    """With its name."""
    path = tmp_path / "nowhere"
    assert f"check {path}" in site.run("trust", "init", "--checkpoint", path, code=1).err
    assert "--checkpoint" in site.run("trust", "init", code=2).err
    for ran in (
        site.run("trust", "accept", code=2),
        site.run("trust", "accept", "--current", "--checkpoint", path, code=2),
    ):
        assert "either --checkpoint FILE or --current" in ran.err


# ── accept ───────────────────────────────────────────────────────────────────


def test_an_older_state_is_accepted_by_an_operator(site: Site, checkpoint: Write) -> None:
    """Both states are shown, and the replaced one is kept."""
    operating.begin(trust_of(site), point(12))
    ran = site.run("trust", "accept", "--yes", "--checkpoint", checkpoint())
    assert point(12).root in ran.err
    assert point(9).root in ran.err
    assert "replaced-1" in ran.out
    assert seen(site) == point(9)
    other = checkpoint(point(3, repository=OTHER_REPOSITORY_ID))
    accepted = site.run("trust", "accept", "--yes", "--checkpoint", other, "--json").json
    assert accepted["history"]["repository"] == OTHER_REPOSITORY_ID
    assert Path(accepted["kept"]).exists()


def test_a_state_is_accepted_where_nothing_was(site: Site, checkpoint: Write) -> None:
    """There is nothing to keep."""
    path = checkpoint()
    ran = site.run("trust", "accept", "--yes", "--checkpoint", path)
    assert "nothing is remembered here" in ran.err
    assert "kept" not in ran.out
    operating.forget(trust_of(site))
    assert site.run("trust", "accept", "--yes", "--checkpoint", path, "--json").json["kept"] is None


def test_a_damaged_state_is_replaced(site: Site, checkpoint: Write) -> None:
    """What is wrong with it is told first."""
    trust = trust_of(site)
    operating.begin(trust, point(12))
    trust.path.write_bytes(b"damaged")
    ran = site.run("trust", "accept", "--yes", "--checkpoint", checkpoint())
    assert "does not decode" in ran.err
    assert seen(site) == point(9)


def test_a_restored_repository_is_accepted_as_it_is_now(site: Site, tmp_path: Path) -> None:
    """It is refused as a rollback until an operator says that it is right."""
    with Repository.create(site.repository, settings=site.settings) as repository:
        repository.store([1], "x", "1")
        shutil.copytree(site.repository, tmp_path / "backup")
        repository.store([2], "x", "2")
    lost = seen(site)
    shutil.rmtree(site.repository)
    shutil.copytree(tmp_path / "backup", site.repository)
    assert "were seen here before" in site.run("list", code=1).err
    ran = site.run("trust", "accept", "--current", "--yes")
    assert lost is not None
    assert lost.root in ran.err
    now = seen(site)
    assert now is not None
    assert now.size < lost.size
    assert "x" in site.run("list").out
    with Repository.open(settings=site.settings) as repository:
        repository.store([3], "x", "3")


@pytest.mark.invariant(4)
def test_what_the_repository_says_now_is_verified(site: Site) -> None:
    """An operator's word does not stand for a signature."""
    Repository.create(site.repository, settings=site.settings).close()
    before = seen(site)
    site.set_keys(hmac_key(7))
    assert site.run("trust", "accept", "--current", "--yes", code=1).out == ""
    assert seen(site) == before
    shutil.rmtree(site.repository)
    assert "error" in site.run("trust", "accept", "--current", "--yes", code=1).err
    assert seen(site) == before


@pytest.mark.parametrize("command", ["accept", "forget"])
def test_an_operator_is_asked(site: Site, checkpoint: Write, command: str) -> None:
    """Without --yes somebody at a terminal has to agree."""
    trust = trust_of(site)
    operating.begin(trust, point(12))
    arguments = ["--checkpoint", str(checkpoint())] if command == "accept" else []
    assert "--yes" in site.run("trust", command, *arguments, code=2).err
    code, shown = site.run_at_terminal("trust", command, *arguments, answer="n\n")
    assert code == 1
    assert "stopped" in shown
    assert seen(site) == point(12)
    code, _ = site.run_at_terminal("trust", command, *arguments, answer="y\n")
    assert code == 0
    assert seen(site) == (point(9) if command == "accept" else None)


# ── forget ───────────────────────────────────────────────────────────────────


def test_a_repository_is_forgotten(site: Site, tmp_path: Path) -> None:
    """Only this one; where nothing is remembered, nobody is asked."""
    operating.begin(trust_of(site, tmp_path / "other"), point(3))
    operating.begin(trust_of(site), point(12))
    location = f"file://{site.repository}"
    assert site.run("trust", "forget", "--yes").out == f"forgot what was seen at {location}\n"
    assert site.run("trust", "forget").out == f"nothing is remembered of {location}\n"
    forgotten = {"location": location, "forgotten": False}
    assert site.run("trust", "forget", "--json").json == forgotten
    assert trust_of(site, tmp_path / "other").read() is not None
    operating.begin(trust_of(site), point(12))
    assert site.run("trust", "forget", "--yes", "--json").json["forgotten"] is True
