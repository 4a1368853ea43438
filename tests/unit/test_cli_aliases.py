"""alias and approve: moves on the command line, from a request to a load of what was approved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.repository.facade import Repository
from sealstore.signed.approval import decode_move
from sealstore.signed.approving import encode_move
from sealstore.signed.envelope import read_unverified
from tests.alias_moves import approver, move, public_part
from tests.command_line import HOSTILE, Site
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    hmac_key,
    run_sql,
    scope,
)

ADA, BOB = approver(1), approver(2)


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.of([hmac_key(), public_part(ADA), public_part(BOB)])


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    for tag in ("2026-10", "2026-11"):
        repository.store(tag, "churn", tag)
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@pytest.fixture
def desk(tmp_path: Path) -> Callable[[Key], Site]:
    """An approver's own machine: a keyring, and no repository anywhere."""

    def with_key(*keys: Key) -> Site:
        made = Site(tmp_path / "nowhere", tmp_path / f"desk-{keys[0].key_id}" / "keyring.json")
        made.set_keys(*keys)
        return made

    return with_key


Desk = Callable[..., Site]


# ── alias ────────────────────────────────────────────────────────────────────


def test_an_alias_is_set_listed_loaded_and_rolled_back(site: Site) -> None:
    """Each command says what the alias means then."""
    assert site.run("alias", "list").err == "there are no aliases\n"
    ran = site.run("alias", "set", "churn", "production", "2026-10", "--actor", "job 7")
    assert ran.out == "churn:production means 2026-10@1 now, by move 1\n"
    moved = site.run("alias", "set", "churn", "production", "2026-11", "--json").json
    assert (moved["tag"], moved["revision"], moved["move"]) == ("2026-11", 1, 2)
    assert site.run("show", "churn", "production", "--json").json["tag"] == "2026-11"
    ran = site.run("alias", "rollback", "churn", "production")
    assert ran.out == "churn:production means 2026-10@1 now, by move 3\n"
    assert site.run("alias", "rollback", "churn", "production", "--json").json["move"] == 4
    for arguments in ([], ["churn"]):
        listed = site.run("alias", "list", *arguments)
        assert listed.out.splitlines()[1].split() == ["churn", "production", "2026-11", "1", "4"]
    assert site.run("alias", "list", "fraud", "--json").json == {"aliases": [], "protected": {}}


def test_the_moves_of_an_alias_are_shown(site: Site) -> None:
    """The newest first, page by page, with what it meant before."""
    site.run("alias", "set", "churn", "production", "2026-10", "--actor", "job 7")
    site.run("alias", "set", "churn", "production", "2026-11")
    site.run("alias", "remove", "churn", "production", "--yes")
    lines = site.run("alias", "history", "churn", "production").out.splitlines()
    assert [line.split()[0] for line in lines] == ["MOVE", "3", "2", "1"]
    assert lines[1].split()[-2:] == ["nothing", "2026-11@1"]
    assert "job 7" in lines[3]
    page = site.run("alias", "history", "churn", "production", "--limit", "2", "--json").json
    assert ([one["details"]["move"] for one in page["moves"]], page["nextAfter"]) == ([3, 2], 2)
    ran = site.run("alias", "history", "churn", "production", "--limit", "2")
    assert ran.err == "there are more: add --after 2\n"
    ran = site.run("alias", "history", "churn", "production", "--limit", "1", "--after", "2")
    assert (ran.err, ran.out.splitlines()[1].split()[0]) == ("", "1")
    page = site.run("alias", "history", "churn", "production", "--after", "1", "--json").json
    assert page == {"moves": [], "nextAfter": None}


@pytest.mark.parametrize("as_json", [True, False])
def test_removing_an_alias_asks_first(site: Site, as_json: bool) -> None:
    """Nobody can answer through a pipe; with --yes it means nothing any more."""
    site.run("alias", "set", "churn", "production", "2026-10")
    site.run("alias", "remove", "churn", "production", code=2)
    options = ["--yes", *["--json"][: int(as_json)]]
    ran = site.run("alias", "remove", "churn", "production", *options)
    if as_json:
        assert ran.json == {"removed": {"name": "churn", "alias": "production"}}
    else:
        assert ran.out == "churn:production means nothing any more\n"
    assert "ARTIFACT_NOT_FOUND" not in site.run("show", "churn", "production", code=1).out


def test_completion_offers_the_aliases_of_the_name(site: Site) -> None:
    """As for tags: of the name that was typed, and of none where there is no such name."""
    site.run("alias", "set", "churn", "production", "2026-10")
    site.run("alias", "set", "churn", "canary", "2026-10")
    for typed, offered in (("", ["canary", "production"]), ("p", ["production"]), ("x", [])):
        words = ["sealstore", "alias", "set", "churn", typed]
        ran = site.run(
            request={
                "_SEALSTORE_COMPLETE": "bash_complete",
                "COMP_WORDS": " ".join(words),
                "COMP_CWORD": "4",
            }
        )
        found = sorted(line.partition(",")[2] for line in ran.out.splitlines() if line)
        assert (found, ran.err) == (offered, "")


# ── protecting ───────────────────────────────────────────────────────────────


def test_an_alias_is_protected_and_unprotected(site: Site) -> None:
    """Both ask first, and say as which version of the settings it holds."""
    site.run("alias", "protect", "production", "--approvals", "2", code=2)
    ran = site.run("alias", "protect", "production", "--approvals", "2", "--yes")
    assert ran.out == (
        "each move of production needs 2 approvals from now on, as version 2 of the settings says\n"
    )
    assert ran.err == ""
    assert site.run("alias", "list").out == "production: a move needs 2 approvals\n"
    assert site.run("alias", "list", "--json").json["protected"] == {"production": 2}
    assert (
        "needs 2 approvals"
        in site.run("alias", "set", "churn", "production", "2026-10", code=1).err
    )
    site.run("alias", "unprotect", "production", code=2)
    ran = site.run("alias", "unprotect", "production", "--yes")
    assert "need no approvals any more, as version 3" in ran.out
    site.run("alias", "set", "churn", "production", "2026-10")
    ran = site.run("alias", "unprotect", "production", "--yes", code=2)
    assert "is not protected" in ran.err


def test_what_protecting_interrupts_is_told(site: Site) -> None:
    """Which aliases load nothing until a move is approved, and how few approvers are known."""
    site.run("alias", "set", "churn", "production", "2026-10")
    ran = site.run("alias", "protect", "production", "--approvals", "3", "--yes")
    assert (
        "churn:production loads nothing until a move of it is approved: 'sealstore approve request"
        " churn production 2026-10 --revision 1 --output FILE'" in ran.out
    )
    assert "2 active keys that may approve here" in ran.err
    told = site.run("alias", "protect", "production", "--approvals", "1", "--yes", "--json").json
    assert (told["approvalsNeeded"], told["settingsVersion"], told["approvers"]) == (1, 3, 2)
    assert [one["name"] for one in told["notApproved"]] == ["churn"]
    changed = site.run("alias", "unprotect", "production", "--yes", "--json").json
    assert changed == {"alias": "production", "approvalsNeeded": 0, "settingsVersion": 4}


def test_protecting_names_the_names_it_is_about_to_whom_it_asks(site: Site) -> None:
    """The question at a terminal; the answer no changes nothing."""
    site.run("alias", "set", "churn", "production", "2026-10")
    code, shown = site.run_at_terminal(
        "alias", "protect", "production", "--approvals", "1", answer="n\n"
    )
    assert code == 1
    assert "It is an alias of churn." in " ".join(shown.split())
    assert site.run("alias", "list", "--json").json["protected"] == {}


def test_what_is_a_tag_is_not_protected(site: Site, repository: Repository) -> None:
    """Loads of it would be refused; one that does not load anyway is not told of."""
    ran = site.run("alias", "protect", "2026-10", "--approvals", "1", "--yes", code=1)
    assert "stored under 2026-10 as a tag" in ran.err
    site.run("alias", "set", "churn", "production", "2026-10")
    run_sql(repository, "DELETE FROM artifact WHERE tag = '2026-10'")
    move_ = site.run("alias", "protect", "staging", "--approvals", "1", "--yes", "--json").json
    assert move_["notApproved"] == []


def test_an_alias_that_is_damaged_is_not_called_unapproved(
    site: Site, repository: Repository, desk: Desk, tmp_path: Path
) -> None:
    """Approvals would not mend it."""
    request, approval = tmp_path / "request", tmp_path / "approval"
    site.run("approve", "request", "churn", "production", "2026-10", "--output", request)
    desk(ADA).run("approve", "sign", request, "--output", approval, "--yes")
    site.run("approve", "apply", request, approval)
    run_sql(repository, "DELETE FROM artifact WHERE tag = '2026-10'")
    told = site.run("alias", "protect", "production", "--approvals", "1", "--yes", "--json").json
    assert told["notApproved"] == []


@pytest.mark.parametrize("count", ["0", str(limits.MAX_APPROVALS + 1), "x"])
def test_impossible_numbers_of_approvals_are_usage_errors(site: Site, count: str) -> None:
    """From 1 to the most that any move may have."""
    site.run("alias", "protect", "production", "--approvals", count, "--yes", code=2)
    site.run("alias", "protect", "production", "--yes", code=2)


# ── approve ──────────────────────────────────────────────────────────────────


def test_a_move_is_requested_approved_elsewhere_and_made(
    site: Site, desk: Desk, tmp_path: Path
) -> None:
    """The request is the very bytes that are signed; each approver sees all of them."""
    site.run("alias", "protect", "production", "--approvals", "2", "--yes")
    request = tmp_path / "move.json"
    ran = site.run("approve", "request", "churn", "production", "2026-11", "--output", request)
    assert f"wrote the request to {request}; the move needs 2 approvals" in ran.out
    signed = decode_move(request.read_bytes())
    files = []
    for key in (ADA, BOB):
        files.append(tmp_path / f"{key.key_id}.approval")
        ran = desk(key).run("approve", "sign", request, "--output", files[-1], "--yes")
        for part in (REPOSITORY_ID, "churn", "production", "2026-11@1", signed.target.statement):
            assert part in ran.out
        assert f"approved with key {key.key_id}; wrote the approval to {files[-1]}" in ran.out
        assert read_unverified(files[-1].read_bytes()).payload == request.read_bytes()
    assert "and 1 hold" in site.run("approve", "apply", request, files[0], code=1).err
    assert site.run("approve", "apply", request, *files).out == (
        "churn:production means 2026-11@1 now, by move 1\n"
    )
    assert site.run("show", "churn", "production", "--json").json["tag"] == "2026-11"
    history = site.run("alias", "history", "churn", "production").out
    assert f"{ADA.key_id[:12]} {BOB.key_id[:12]}" in history
    assert "have changed since" in site.run("approve", "apply", request, *files, code=1).err


def test_set_and_rollback_take_approvals_too(site: Site, desk: Desk, tmp_path: Path) -> None:
    """A request without a tag is the one for the rollback."""
    site.run("alias", "protect", "production", "--approvals", "1", "--yes")

    def approval(*arguments: str) -> Path:
        name = "-".join([*arguments, "x"])
        request, file = tmp_path / f"{name}.request", tmp_path / f"{name}.approval"
        requested = site.run(
            "approve", "request", "churn", "production", *arguments, "--output", request, "--json"
        ).json
        assert (requested["approvalsNeeded"], requested["file"]) == (1, str(request))
        given = desk(ADA).run("approve", "sign", request, "--output", file, "--yes", "--json").json
        assert given == {"move": requested["move"], "keyId": ADA.key_id, "file": str(file)}
        return file

    for tag in ("2026-10", "2026-11"):
        site.run("alias", "set", "churn", "production", tag, "--approval", approval(tag))
    ran = site.run("alias", "rollback", "churn", "production", "--approval", approval())
    assert ran.out == "churn:production means 2026-10@1 now, by move 3\n"
    site.run(
        *("approve", "request", "churn", "production", "--revision", "1"),
        *("--output", tmp_path / "no"),
        code=2,
    )
    assert not (tmp_path / "no").exists()


def test_an_approver_sees_everything_and_can_say_no(desk: Desk, tmp_path: Path) -> None:
    """Not through a pipe without --yes, and nothing is written by a no."""
    request, approval = tmp_path / "request", tmp_path / "approval"
    request.write_bytes(encode_move(move()) + b"\n")
    machine = desk(ADA)
    machine.run("approve", "sign", request, "--output", approval, code=2)
    code, shown = machine.run_at_terminal(
        "approve", "sign", str(request), "--output", str(approval), answer="n\n"
    )
    assert (code, approval.exists()) == (1, False)
    for part in ("2026-10@1", "2026-11@2", "Approve exactly this?", "version 2"):
        assert part in shown
    code, _ = machine.run_at_terminal(
        "approve", "sign", str(request), "--output", str(approval), answer="y\n"
    )
    assert (code, approval.exists()) == (0, True)


def test_which_key_approves_can_be_said(desk: Desk, tmp_path: Path) -> None:
    """The newest by default; one that may not approve, or is not there, is refused."""
    request = tmp_path / "request"
    request.write_bytes(encode_move(move()))
    storer = hmac_key(1)
    machine = desk(ADA, BOB, storer)

    def sign(name: str, *arguments: str, code: int = 0) -> Any:
        file = tmp_path / name
        return machine.run(
            "approve", "sign", request, "--output", file, "--yes", *arguments, code=code
        )

    assert BOB.key_id in sign("1").out
    assert ADA.key_id in sign("2", "--key", ADA.key_id[:8]).out
    assert "may not approve" in sign("3", "--key", storer.key_id, code=1).err
    assert "no such key" in sign("4", "--key", "0" * 32, code=1).err
    machine.set_keys(replace(ADA, state=State.RETIRED), storer)
    assert "No active key" in sign("5", code=1).err
    assert "No active key" in sign("6", "--key", ADA.key_id, code=1).err
    machine.set_keys(replace(ADA, scope=scope(OTHER_REPOSITORY_ID)))
    assert "No active key" in sign("7", code=1).err
    assert [path.name for path in sorted(tmp_path.glob("[0-9]"))] == ["1", "2"]


def test_an_approver_can_say_for_which_repository(desk: Desk, tmp_path: Path) -> None:
    """With MODEL_REPO_ID, a request of another one is refused before it is signed."""
    request, approval = tmp_path / "request", tmp_path / "approval"
    request.write_bytes(encode_move(move()))
    arguments = ("approve", "sign", request, "--output", approval, "--yes")
    ran = desk(ADA).run(*arguments, code=1, MODEL_REPO_ID=OTHER_REPOSITORY_ID)
    assert "another repository" in ran.err
    assert not approval.exists()
    desk(ADA).run(*arguments, MODEL_REPO_ID=REPOSITORY_ID)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"x" * 100_000, b"\xff", HOSTILE.encode("utf-8", "surrogatepass")],
    ids=["empty", "object", "large", "binary", "hostile"],
)
def test_a_file_that_is_no_request_or_approval_is_refused(
    site: Site, desk: Desk, tmp_path: Path, content: bytes
) -> None:
    """Before anything is signed or moved, and without a byte of it on the terminal."""
    file, out = tmp_path / "file", tmp_path / "out"
    file.write_bytes(content)
    desk(ADA).run("approve", "sign", file, "--output", out, "--yes", code=1)
    site.run("approve", "apply", file, code=1)
    site.run("alias", "set", "churn", "production", "2026-10", "--approval", file, code=1)
    assert not out.exists()
    assert site.run("alias", "list", "--json").json["aliases"] == []


@pytest.mark.parametrize("kind", ["absent", "folder", "fifo", "link"])
def test_what_is_no_regular_file_is_not_read(
    site: Site, desk: Desk, tmp_path: Path, kind: str
) -> None:
    """A pipe would hang, and a link may lead anywhere."""
    file = tmp_path / "file"
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "link":
        file.symlink_to(site.keyring)
    desk(ADA).run("approve", "sign", file, "--output", tmp_path / "out", "--yes", code=1)
    site.run("approve", "apply", file, code=1)


def test_no_file_is_written_over_another(site: Site, desk: Desk, tmp_path: Path) -> None:
    """Requests and approvals are new files."""
    taken, request = tmp_path / "taken", tmp_path / "request"
    taken.write_text("mine")
    arguments = ("approve", "request", "churn", "production", "2026-10", "--output")
    assert "does not exist yet" in site.run(*arguments, taken, code=1).err
    site.run(*arguments, request)
    desk(ADA).run("approve", "sign", request, "--output", taken, "--yes", code=1)
    assert taken.read_text() == "mine"
    assert json.loads(request.read_text())["alias"] == "production"


@pytest.mark.parametrize("command", ["alias", "approve"])
def test_the_groups_alone_show_their_help(site: Site, command: str) -> None:
    """Every command of them explains itself."""
    ran = site.run(command, "--help")
    for name in {"alias": ("set", "rollback", "protect"), "approve": ("request", "sign", "apply")}[
        command
    ]:
        assert f"  {name} " in ran.out
        assert site.run(command, name, "--help").out.startswith(
            f"Usage: sealstore {command} {name}"
        )


# ── approvers' keys ──────────────────────────────────────────────────────────


@pytest.fixture
def owner(site: Site) -> Site:
    """The repository's own machine, before it knows any approver."""
    site.set_keys(hmac_key())
    return site


def exported(desk: Desk, tmp_path: Path, *keys: Key) -> Path:
    """What approvers send: the public parts of their keyring."""
    file = tmp_path / f"{keys[0].key_id}.public"
    desk(*keys).run("keys", "export", file)
    return file


def test_approvers_keys_come_in_and_then_their_approvals_count(
    owner: Site, desk: Desk, tmp_path: Path
) -> None:
    """From two people who only ever handed over public keys, to a load of what they approved."""
    request = tmp_path / "request"
    for key in (ADA, BOB):
        file = exported(desk, tmp_path, key)
        ran = owner.run("keys", "import", file, "--role", "approve", "--yes")
        assert f"{key.key_id}: ed25519-public, active, roles approve" in ran.out
        assert "added 1 key to" in ran.out
    assert [key.can_sign for key in owner.keys_kept()] == [True, False, False]
    owner.run("alias", "protect", "production", "--approvals", "2", "--yes")
    owner.run("approve", "request", "churn", "production", "2026-10", "--output", request)
    files = [tmp_path / "1", tmp_path / "2"]
    for key, file in zip((ADA, BOB), files, strict=True):
        desk(key).run("approve", "sign", request, "--output", file, "--yes")
    owner.run("approve", "apply", request, *files)
    assert owner.run("show", "churn", "production", "--json").json["tag"] == "2026-10"


def test_a_revoked_approver_is_told_to_every_client(
    owner: Site, desk: Desk, tmp_path: Path
) -> None:
    """`keys revoke` of a public key goes into the settings; the alias then lacks an approval."""
    test_approvers_keys_come_in_and_then_their_approvals_count(owner, desk, tmp_path)
    client = Site(owner.repository, tmp_path / "client" / "keyring.json")
    client.set_keys(*owner.keys_kept())
    owner.run("keys", "revoke", ADA.key_id, "--yes")
    for site in (owner, client):
        ran = site.run("show", "churn", "production", code=1)
        assert "1 hold" in ran.err
        assert "revoked" in ran.err


def test_keys_are_trusted_with_what_was_said_and_nothing_else(
    owner: Site, desk: Desk, tmp_path: Path
) -> None:
    """A key that could store elsewhere approves here; one without the role stays out."""
    both = replace(ADA, roles=frozenset(Role))
    storer = replace(BOB, roles=frozenset({Role.STORE}))
    file = exported(desk, tmp_path, both, storer)
    came = owner.run("keys", "import", file, "--role", "approve", "--yes", "--json").json
    assert [(key["keyId"], key["roles"], key["canSign"]) for key in came["added"]] == [
        (ADA.key_id, ["approve"], False)
    ]
    assert came["leftOut"] == [BOB.key_id]
    assert owner.keys_kept().get(ADA.key_id).roles == {Role.APPROVE}


def test_a_key_that_is_here_already_stays_as_it_is(owner: Site, desk: Desk, tmp_path: Path) -> None:
    """Nobody brings a revoked key back by sending it again; a keyring with secrets gives none."""
    owner.set_keys(hmac_key(), replace(public_part(ADA), state=State.REVOKED))
    before = owner.keyring.read_bytes()
    whole = desk(ADA, hmac_key(9))
    ran = owner.run("keys", "import", whole.keyring, "--role", "approve")
    assert f"none of these roles: {hmac_key(9).key_id}, {ADA.key_id}" in ran.out
    assert "added 0 keys" in ran.out
    assert owner.keyring.read_bytes() == before


def test_importing_keys_asks_first(owner: Site, desk: Desk, tmp_path: Path) -> None:
    """For what they are trusted with must be said, too."""
    file = exported(desk, tmp_path, ADA)
    before = owner.keyring.read_bytes()
    owner.run("keys", "import", file, "--yes", code=2)
    owner.run("keys", "import", file, "--role", "approve", code=2)
    owner.run("keys", "import", tmp_path / "absent", "--role", "approve", code=1)
    assert owner.keyring.read_bytes() == before
