"""completion: the scripts, and what they complete; never an error in somebody's prompt."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sealstore.repository.facade import Repository
from tests.command_line import HOSTILE, Site
from tests.sealstore_fixtures import run_sql


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    repository.store([1], "churn", "2026-10")
    repository.store([1], "churn", "2026-11")
    repository.store([1], "churn", "2026-11")
    repository.store([1], "cheese", "1")
    repository.store([1], "fraud", "1")
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


def request(*words: str) -> dict[str, str]:
    """The variables by which bash asks for a completion of the last word."""
    return {
        "_SEALSTORE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["sealstore", *words]),
        "COMP_CWORD": str(len(words)),
    }


def values(site: Site, *words: str) -> list[str]:
    """What is offered for the last word."""
    ran = site.run(request=request(*words))
    assert ran.err == ""
    # click prints an empty line where nothing is completed.
    return sorted(line.partition(",")[2] for line in ran.out.splitlines() if line)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(shell: str, site: Site) -> None:
    """The script calls the program as `sealstore`, whatever it was started as."""
    script = site.run("completion", shell).out
    assert f"_SEALSTORE_COMPLETE={shell}_complete" in script
    assert "_sealstore_completion" in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_understands(
    shell: str, site: Site, tmp_path: Path
) -> None:
    """The shell parses the script, where it is installed."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(site.run("completion", shell).out)
    subprocess.run([found, "-n", str(script)], check=True)


def test_only_known_shells(site: Site) -> None:
    """Another shell is a usage error."""
    site.run("completion", "powershell", code=2)
    site.run("completion", code=2)


def test_commands_and_options_complete(site: Site) -> None:
    """Commands, the commands of `keys`, and options."""
    assert values(site, "ver") == ["verify"]
    assert values(site, "keys", "re") == ["retire", "revoke"]
    assert values(site, "verify", "--th") == ["--threads"]


def test_names_and_tags_complete_from_the_catalogue(site: Site) -> None:
    """Names by their beginning; tags of the name that was typed, each once."""
    assert values(site, "show", "ch") == ["cheese", "churn"]
    assert values(site, "verify", "churn", "2026-") == ["2026-10", "2026-11"]
    assert values(site, "export", "nothing", "2") == []


def test_a_shell_asks_the_program(site: Site) -> None:
    """The installed program answers a shell's request, and does nothing else."""
    ran = site.run_apart(**request("show", "fr"))
    assert (ran.code, ran.out, ran.err) == (0, "plain,fraud\n", "")


def test_completion_looks_where_the_options_say(site: Site) -> None:
    """`--repository` and `--keyring` hold while typing too."""
    repository, keyring = str(site.repository), str(site.keyring)
    site.variables.update(MODEL_REPO_PATH="/nowhere", MODEL_REPO_KEYRING="/nowhere/k")
    assert values(site, "show", "fr") == []
    words = ("--repository", repository, "--keyring", keyring, "show", "fr")
    assert values(site, *words) == ["fraud"]


@pytest.mark.parametrize(
    "trouble", ["no repository", "no keyring", "damaged catalogue", "impossible variable"]
)
def test_completion_never_raises(trouble: str, site: Site) -> None:
    """Whatever is wrong, nothing is completed, and nothing is said."""
    if trouble == "no repository":
        shutil.rmtree(site.repository)
    elif trouble == "no keyring":
        site.keyring.unlink()
    elif trouble == "damaged catalogue":
        (site.repository / "catalogue.sqlite3").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    else:
        site.variables["MODEL_REPO_DIGEST"] = "md5"
    assert values(site, "show", "ch") == []
    assert values(site, "show", "churn", "2") == []


def test_a_request_that_is_none_ends_quietly(site: Site) -> None:
    """Without the shell's own variables there is no traceback either."""
    ran = site.run(code=1, _SEALSTORE_COMPLETE="bash_complete", COMP_WORDS=None)
    assert (ran.out, ran.err) == ("", "")
    ran = site.run(code=1, _SEALSTORE_COMPLETE="bash_nonsense")
    assert (ran.out, ran.err) == ("", "")


def test_names_that_are_none_are_not_offered(site: Site, repository: Repository) -> None:
    """A planted row cannot type control characters into somebody's prompt."""
    run_sql(repository, "UPDATE artifact SET name = ? WHERE name = 'cheese'", f"ch{HOSTILE}")
    run_sql(repository, "UPDATE artifact SET tag = ? WHERE tag = '2026-10'", f"2026-{HOSTILE}")
    assert values(site, "show", "ch") == ["churn"]
    assert values(site, "show", "churn", "2") == ["2026-11"]
