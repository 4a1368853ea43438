"""adopt, inspect and policy on the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import joblib
import pytest

from sealstore import inspect
from sealstore.errors import PolicyError
from sealstore.formats.pickling.refusals import Reason
from sealstore.repository.facade import Repository
from tests.command_line import FORBIDDEN, HOSTILE, Site
from tests.sealstore_fixtures import Trap, hmac_key, payload_path, replace_payload


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "legacy"
    made.mkdir()
    joblib.dump([1, 2], made / "good_v1")
    return made


def test_adopt_is_a_dry_run_unless_told(site: Site, folder: Path) -> None:
    """What would be signed is listed; --sign signs it."""
    ran = site.run("adopt", folder)
    assert "signable" in ran.out
    assert "dry run" in ran.out
    assert site.run("list", "--json").json["artifacts"] == []
    [adoption] = site.run("adopt", folder, "--sign", "--json").json
    assert (adoption["outcome"], adoption["stored"]) == ("signed", "good:v1@1")
    assert adoption["inspection"]["findings"] == []
    assert site.run("list", "--json").json["artifacts"][0]["name"] == "good"


def test_adopt_fails_where_a_file_is_refused(site: Site, folder: Path, trap: Trap) -> None:
    """The exit code tells that something was refused, and what it was is escaped."""
    (folder / "evil_v1").write_bytes(trap.payload())
    (folder / f"{HOSTILE.replace('/', '')}_v1").write_bytes(b"no pickle")
    ran = site.run("adopt", folder, code=1)
    assert "posix:mkdir" in ran.out
    assert not set(FORBIDDEN) & set(ran.out)
    assert "sealstore inspect --file FILE" in ran.err


def test_adopt_takes_a_mapping(site: Site, folder: Path, tmp_path: Path) -> None:
    """A file whose name does not tell is named by the mapping."""
    joblib.dump(3, folder / "model.joblib")
    site.run("adopt", folder / "model.joblib", code=1)
    mapping = tmp_path / "map.toml"
    mapping.write_text('["model.joblib"]\nname = "model"\ntag = "1"\n')
    site.run("adopt", folder / "model.joblib", "--map", mapping, "--sign")
    with Repository.open(settings=site.settings) as repository:
        assert repository.load("model", "1") == 3


def test_inspect_shows_what_a_file_would_do(site: Site, folder: Path, trap: Trap) -> None:
    """A file is inspected by a confined process; nothing of it runs."""
    (folder / "evil").write_bytes(trap.payload())
    ran = site.run("inspect", "--file", folder / "evil")
    assert "posix:mkdir" in ran.out
    assert "called" in ran.out
    [found] = site.run("inspect", "--file", folder / "evil", "--json").json["imports"]
    assert (found["module"], found["qualname"]) == ("posix", "mkdir")


def test_inspect_fails_where_something_speaks_against_loading(site: Site, folder: Path) -> None:
    """Findings are shown with their word, and the exit code is 1."""
    (folder / "cut").write_bytes((folder / "good_v1").read_bytes()[:-1])
    ran = site.run("inspect", "--file", folder / "cut", code=1)
    assert "REFUSED" in ran.out
    site.run("inspect", "--file", folder / "cut", "--json", code=1)


def test_inspect_shows_an_artifact(site: Site, repository: Repository) -> None:
    """A stored artifact is verified, then inspected."""
    artifact = repository.store({"a": 1}, "model", "1")
    assert "protocol" in site.run("inspect", "model").out
    assert inspect(artifact, repository=repository).findings == ()
    replace_payload(payload_path(repository, artifact), b"x" * artifact.size)
    site.run("inspect", "model", "1", code=1)


def test_inspect_again_makes_the_next_revision(site: Site, repository: Repository) -> None:
    """--resign stores the same payload again with what today's inspection finds."""
    first = repository.store({"a": 1}, "model", "1", metadata={"kept": True})
    site.run("inspect", "model", "1", "--resign", "--actor", "auditor")
    second = repository.get("model", "1")
    assert (second.revision, second.digests) == (2, first.digests)
    assert (second.metadata, second.stored_by.actor) == ({"kept": True}, "auditor")


@pytest.mark.parametrize("arguments", [(), ("model", "--file", "x"), ("--file", "x", "--resign")])
def test_inspect_says_how_it_is_used(site: Site, arguments: tuple[str, ...]) -> None:
    """An impossible request is a usage error."""
    site.run("inspect", *arguments, code=2)


def test_inspect_of_a_file_in_python(folder: Path) -> None:
    """The function takes a path as text too."""
    (folder / "zf").write_bytes(b"ZF" + b"\x00" * 20)
    [finding] = inspect(str(folder / "zf")).findings
    assert finding.reason is Reason.OLD_JOBLIB


def test_inspect_of_an_artifact_uses_the_configured_repository(
    site: Site, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a repository the configured one is opened."""
    for name, value in site.variables.items():
        monkeypatch.setenv(name, value)
    artifact = repository.store([1], "model", "1")
    assert inspect(artifact).protocol == 5


# ── policy ───────────────────────────────────────────────────────────────────


def test_policy_is_shown_set_and_enforced(
    site: Site, repository: Repository, tmp_path: Path
) -> None:
    """A policy.toml becomes the repository's own: signed, shown, and what loads are judged by."""
    repository.store(Decimal(1), "number", "1")
    assert 'mode = "standard"' in site.run("policy", "show").out
    policy = tmp_path / "policy.toml"
    policy.write_text('mode = "strict"\ndeny = ["decimal:Decimal"]\n')
    assert "strict policy" in site.run("policy", "set", policy).out
    [shown] = site.run("policy", "show", "--json").json
    assert (shown["mode"], shown["deny"]) == ("strict", ["decimal:Decimal"])
    ran = site.run("policy", "check", code=1)
    assert "REFUSED number:1@1" in ran.out
    document = site.run("policy", "check", "number", "--json", code=1).json
    assert document["artifacts"][0]["refused"] is True


def test_policy_learns_what_strict_mode_must_allow(
    site: Site, repository: Repository, tmp_path: Path
) -> None:
    """What learn prints is a policy.toml under which everything stored passes strict mode."""
    from tests.unit.test_policies import Mine

    repository.store(Mine(1), "mine", "1")
    learned = site.run("policy", "learn").out
    assert "tests.unit.test_policies:Mine" in learned
    (tmp_path / "learned.toml").write_text(learned)
    site.run("policy", "set", tmp_path / "learned.toml")
    assert "ok" in site.run("policy", "check").out
    (tmp_path / "strict.toml").write_text('mode = "strict"\n')
    site.run("policy", "set", tmp_path / "strict.toml")
    site.run("policy", "check", code=1)


def test_policy_check_tells_of_refused_statements(site: Site, repository: Repository) -> None:
    """A row whose statement is refused is told, and fails the check."""
    repository.store(1, "model", "1")
    site.set_keys(hmac_key(2))
    site.set_keys(*repository.keyring)
    from tests.sealstore_fixtures import run_sql

    run_sql(repository, "UPDATE artifact SET size = 1")
    assert "REFUSED" in site.run("policy", "check", code=1).out
    assert site.run("policy", "check", "--json", code=1).json["errors"]


def test_policy_show_marks_what_lifts_a_refusal(site: Site, tmp_path: Path) -> None:
    """Entries that override the built-in lists, or change nothing, are marked as such."""
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'allow = ["subprocess:Popen called", "subprocess:run", "mine:Model"]\n'
        'deny = ["other:Thing"]\n'
    )
    shown = site.run("policy", "show", MODEL_REPO_POLICY=str(policy)).out
    assert "subprocess:Popen called: allowed although" in shown
    assert "subprocess:run: changes nothing" in shown


def test_policy_set_refuses_an_entry_that_changes_nothing(site: Site, tmp_path: Path) -> None:
    """The entry is named with the use that it lacks; what is trusted anyway is only told of."""
    policy = tmp_path / "policy.toml"
    policy.write_text('allow = ["subprocess:run", "mine:Model"]\n')
    ran = site.run("policy", "set", policy, code=1)
    assert "subprocess:run called" in ran.err
    assert "mine:Model" not in ran.err
    policy.write_text('allow = ["mine:Model called"]\ndeny = ["mine:Model"]\n')
    assert "deny has it as well" in site.run("policy", "set", policy, code=1).err
    assert "subprocess" not in site.run("policy", "show").out
    policy.write_text('allow = ["subprocess:run called", "decimal:Decimal called"]\n')
    ran = site.run("policy", "set", policy)
    assert "decimal:Decimal called is trusted anyway" in ran.err
    assert "subprocess:run" not in ran.err


def test_policy_check_judges_what_a_load_would_load(
    site: Site, repository: Repository, tmp_path: Path
) -> None:
    """An alias, latest, a revision and a name are judged; what does not exist is no success."""
    repository.store(Decimal(1), "number", "1")
    repository.store([1], "number", "1")
    repository.set_alias("number", "production", "1", revision=1)
    repository.store([1], "plain", "1")
    policy = tmp_path / "policy.toml"
    policy.write_text('deny = ["decimal:Decimal"]\n')
    site.run("policy", "set", policy)
    for refused in (["production"], ["1", "--revision", "1"], ["1"], []):
        assert "decimal:Decimal" in site.run("policy", "check", "number", *refused, code=1).out
    for fine in (["latest"], ["1", "--revision", "2"]):
        assert "number:1@2" in site.run("policy", "check", "number", *fine).out
    assert site.run("policy", "check", "plain").out.count("ok ") == 1
    for missing in (
        ["nmuber"],
        ["number", "2"],
        ["number", "1", "--revision", "3"],
        ["number", "stable"],
        ["nmuber", "latest"],
    ):
        assert "no such artifact" in site.run("policy", "check", *missing, code=1).err
    for words in (["number", "--revision", "1"], ["--revision", "1"]):
        site.run("policy", "check", *words, code=2)


def test_policy_check_of_an_empty_repository_says_so(site: Site) -> None:
    """Nothing to judge is told."""
    assert "nothing is stored" in site.run("policy", "check").err


def test_a_refusal_at_a_store_names_a_command_that_shows_it(
    site: Site, repository: Repository, tmp_path: Path
) -> None:
    """Nothing is stored, be it an object or a file: what shows the imports is given the file."""
    obj = subprocess.run
    joblib.dump(obj, tmp_path / "file")
    stores: tuple[Callable[[], object], ...] = (
        lambda: repository.store(obj, "a", "1"),
        lambda: repository.store_payload(memoryview((tmp_path / "file").read_bytes()), "a", "1"),
    )
    for store in stores:
        with pytest.raises(PolicyError) as refusal:
            store()
        assert "sealstore inspect --file FILE" in refusal.value.hint
        assert "policy check" not in refusal.value.hint
    assert "subprocess:run" in site.run("inspect", "--file", tmp_path / "file").out
