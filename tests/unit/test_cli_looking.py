"""list, show, history: verified rows, refused rows, filters and pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealstore import limits
from sealstore.keys.keyring import State
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from tests.command_line import FORBIDDEN, HOSTILE, Site
from tests.sealstore_fixtures import ed25519_key, hmac_key, run_sql


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@pytest.fixture
def stored(repository: Repository) -> Repository:
    repository.store([1], "churn", "2026-10", metadata={"auc": 0.91}, actor="nightly")
    repository.store([2], "churn", "2026-11", metadata={"auc": 0.93})
    repository.store([3], "churn", "2026-11", metadata={"auc": 0.94})
    repository.store([4], "fraud", "1", actor="ada")
    return repository


def plain(artifact: Artifact) -> object:
    """An artifact as JSON brings it back."""
    return json.loads(json.dumps(artifact.to_json()))


def refs(site: Site, *arguments: str) -> list[str]:
    """What a listing shows, as JSON has it."""
    listed = site.run("list", "--json", *arguments).json
    assert listed["refused"] == []
    return [f"{one['name']}:{one['tag']}@{one['revision']}" for one in listed["artifacts"]]


def test_a_listing_shows_what_was_stored_last_first(stored: Repository, site: Site) -> None:
    """Every artifact is a row, with its revision, size, actor and key, marked verified."""
    lines = site.run("list").out.splitlines()
    key = next(iter(stored.keyring)).key_id
    assert lines[0].split()[:3] == ["NAME", "TAG", "REV"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["fraud", "1", "1"],
        ["churn", "2026-11", "2"],
        ["churn", "2026-11", "1"],
        ["churn", "2026-10", "1"],
    ]
    assert "nightly" in lines[4]
    assert all(line.split()[-2:] == [key[:12], "verified"] for line in lines[1:])


def test_a_listing_as_json_has_the_whole_statement(stored: Repository, site: Site) -> None:
    """`--json` is one document with every field of each statement."""
    listed = site.run("list", "--json").json
    assert listed["nextAfter"] is None
    assert listed["artifacts"][0] == plain(stored.get("fraud"))
    assert listed["artifacts"][-1]["metadata"] == {"auc": 0.91}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["churn"], ["churn:2026-11@2", "churn:2026-11@1", "churn:2026-10@1"]),
        (["churn", "--newest"], ["churn:2026-11@2", "churn:2026-10@1"]),
        (["--tag", "1"], ["fraud:1@1"]),
        (["--actor", "nightly"], ["churn:2026-10@1"]),
        (["--search", "0.93"], ["churn:2026-11@1"]),
        (["--search", "FRAU"], ["fraud:1@1"]),
        (["--format", "onnx"], []),
        (["--format", "joblib", "--limit", "1"], ["fraud:1@1"]),
        (["--from", "9999"], []),
        (["--from", "2020-01-01T00:00Z", "--tag", "1"], ["fraud:1@1"]),
        (["--before", "2020-01"], []),
        (["--before", "9999-12-31T23:59:59.5Z", "--tag", "1"], ["fraud:1@1"]),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("stored")
def test_filters_choose(arguments: list[str], expected: list[str], site: Site) -> None:
    """Every filter leaves exactly what fits."""
    assert refs(site, *arguments) == expected


def test_the_key_filter_takes_the_beginning_of_an_id(stored: Repository, site: Site) -> None:
    """`--key` takes an id, or eight digits of one that the keyring holds."""
    key_id = hmac_key().key_id
    assert len(refs(site, "--key", key_id)) == len(refs(site, "--key", key_id[:8].upper())) == 4
    assert refs(site, "--key", "0" * 32) == []
    assert "keys list" in site.run("list", "--key", "abc", code=1).err
    assert stored.keyring.get(key_id).key_id == key_id


def test_pages_join_to_the_whole(stored: Repository, site: Site) -> None:
    """`--after` goes on where the page before ended, and the last page says that it is the last."""
    first = site.run("list", "--json", "--limit", "3").json
    assert [one["sequence"] for one in first["artifacts"]] == [5, 4, 3]
    rest = site.run("list", "--json", "--limit", "3", "--after", str(first["nextAfter"])).json
    assert [one["sequence"] for one in rest["artifacts"]] == [2]
    assert rest["nextAfter"] is None
    assert site.run("list", "--limit", "3").err == "there are more: add --after 3\n"
    assert site.run("list", "--limit", "4").err == ""
    assert len(list(stored.history())) == 5


def test_a_limit_above_the_cap_lists_all(
    stored: Repository, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit larger than one page of the database is met by reading several."""
    monkeypatch.setattr(limits, "MAX_LIST_ROWS", 2)
    assert len(refs(site, "--limit", "4")) == 4
    listed = site.run("list", "--json", "--limit", "3").json
    assert (len(listed["artifacts"]), listed["nextAfter"]) == (3, 3)
    assert stored.id


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "yesterday"],
        ["--before", "2026-13-"],
        ["--limit", "0"],
        ["--after", "0"],
        ["--limit", "many"],
        ["a", "b"],
    ],
    ids=" ".join,
)
def test_impossible_filters_are_usage_errors(arguments: list[str], site: Site) -> None:
    """A filter that cannot be meant is refused, not ignored."""
    assert site.run("list", *arguments, code=2).out == ""


def test_an_empty_listing_says_so(site: Site) -> None:
    """Nothing stored is no error, and no output."""
    ran = site.run("list")
    assert (ran.out, ran.err) == ("", "nothing is stored that fits\n")


COLUMNS = {
    "name": "other",
    "tag": "other",
    "revision": 7,
    "created": "2026-01-01T00:00:00.000000Z",
    "format": "x",
    "size": "large",
    "sha256": "0" * 64,
    "actor": HOSTILE,
    "user_metadata": HOSTILE,
    "key_id": b"\x80",
    "statement_digest": b"\x00\xff",
    "envelope": b"{}",
    "sequence": "zz",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_edited_by_sql_is_marked_refused(column: str, stored: Repository, site: Site) -> None:
    """A listing hides no damage: the row stands there, refused, beside the others."""
    edit = f"UPDATE artifact SET {column} = ? WHERE name = 'fraud'"
    run_sql(stored, edit, COLUMNS[column])
    ran = site.run("list", code=1)
    assert ran.out.count("REFUSED") == 1
    assert ran.out.count("verified") == 3
    assert not set(FORBIDDEN) & set(ran.out + ran.err)
    listed = site.run("list", "--json", code=1).json
    [refused] = listed["refused"]
    assert len(listed["artifacts"]) == 3
    assert refused["code"]
    assert set(refused["unverified"]) == {"sequence", "name", "tag", "revision", "key_id"}


def test_a_damaged_last_row_does_not_become_a_page_number(stored: Repository, site: Site) -> None:
    """The next page's number may be anything in a damaged catalogue, and is shown harmlessly."""
    run_sql(stored, "UPDATE artifact SET sequence = ? WHERE name = 'fraud'", HOSTILE)
    ran = site.run("list", "--limit", "1", code=1)
    assert "REFUSED" in ran.out
    assert not set(FORBIDDEN) & set(ran.out + ran.err)
    assert site.run("list", "--limit", "1", "--json", code=1).json["nextAfter"] == HOSTILE


def test_what_a_revoked_key_signed_is_marked_refused(stored: Repository, site: Site) -> None:
    """A listing knows the keys' states."""
    site.set_keys(hmac_key(), ed25519_key(2))
    site.run("resign", "--settings")
    verified = site.run("list").out.count("verified")
    site.set_keys(hmac_key(state=State.REVOKED), ed25519_key(2))
    ran = site.run("list", code=1)
    assert (verified, ran.out.count("REFUSED")) == (4, 4)
    assert "[REVOKED_KEY]" in ran.out
    assert stored.id


# ── show ─────────────────────────────────────────────────────────────────────


def test_show_tells_all_of_a_statement(stored: Repository, site: Site) -> None:
    """The statement's fields, for people."""
    artifact = stored.get("churn", "2026-10")
    shown = site.run("show", "churn", "2026-10").out
    for part in (
        "churn:2026-10@1",
        artifact.digests.sha256,
        artifact.digests.blake3,
        artifact.key_id,
        artifact.verified.digest,
        f"{artifact.stored_by.user} on {artifact.stored_by.host}, nightly",
        '"auc": 0.91',
        artifact.python,
    ):
        assert part in shown
    assert "imports" not in shown or artifact.imports


def test_show_without_a_tag_shows_the_latest(stored: Repository, site: Site) -> None:
    """The tag is the latest by default, and a revision can be asked for."""
    assert site.run("show", "churn", "--json").json["revision"] == 2
    ran = site.run("show", "churn", "2026-11", "--revision", "1", "--json")
    shown = ran.json
    assert shown.pop("origin") is None
    assert shown == plain(stored.get("churn", "2026-11", revision=1))
    site.run("show", "churn", "--revision", "1", code=2)


def test_show_refuses_an_edited_row(stored: Repository, site: Site) -> None:
    """Nothing of a refused statement is shown."""
    run_sql(stored, "UPDATE artifact SET actor = 'eve' WHERE name = 'fraud'")
    ran = site.run("show", "fraud", code=1)
    assert ran.out == ""
    assert "(actor)" in ran.err


# ── history ──────────────────────────────────────────────────────────────────


def test_history_shows_what_changed(stored: Repository, site: Site) -> None:
    """Creation, stores and removals, the newest first, with who did them."""
    stored.remove("fraud", "1", actor="janitor")
    lines = site.run("history").out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["remove", *["store"] * 4, "create"]
    assert "janitor" in lines[1]
    assert "fraud:1@1" in lines[1]
    entries = site.run("history", "churn", "2026-11", "--json").json["entries"]
    assert [(entry["event"], entry["artifact"]["revision"]) for entry in entries] == [
        ("store", 2),
        ("store", 1),
    ]
    assert "nothing is on record" in site.run("history", "chrun").err


def test_history_pages(stored: Repository, site: Site) -> None:
    """`--after` goes on where the page before ended."""
    ran = site.run("history", "--limit", "2", "--json")
    assert ran.json["nextAfter"] == 4
    assert [one["sequence"] for one in ran.json["entries"]] == [5, 4]
    rest = site.run("history", "--after", "4", "--json").json
    assert [one["sequence"] for one in rest["entries"]] == [3, 2, 1]
    assert rest["nextAfter"] is None
    assert site.run("history", "--limit", "2").err == "there may be more: add --after 4\n"
    assert stored.id


def test_history_shows_damage_harmlessly(stored: Repository, site: Site) -> None:
    """An edited entry is refused, and nothing of it reaches the terminal."""
    for column, value in (("name", HOSTILE), ("at", b"\x1b"), ("event", 9.5), ("entry", HOSTILE)):
        [[before]] = run_sql(stored, f"SELECT {column} FROM history_entry WHERE sequence = 2")
        edit = f"UPDATE history_entry SET {column} = ? WHERE sequence = 2"
        run_sql(stored, edit, value)
        for arguments in (["history"], ["history", "--json"]):
            ran = site.run(*arguments, code=1)
            assert not set(FORBIDDEN) & set(ran.out + ran.err)
            assert "entry 2" in ran.err or "signed root" in ran.err
        run_sql(stored, edit, before)
    site.run("history")
