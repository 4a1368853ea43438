"""The program: its options, its exit codes, how it tells errors, and how little it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import sealstore
import sealstore.cli
from sealstore.admin.keyring_file import NEW_KEY_ALGORITHMS
from sealstore.cli import admin
from sealstore.cli import keys as keys_module
from sealstore.cli.app import COMMANDS, command_line
from sealstore.keys.algorithms import ALGORITHMS
from sealstore.keys.keyring import Role
from sealstore.repository.facade import Repository
from tests.command_line import FORBIDDEN, HOSTILE, Site

HEAVY = ("alembic", "blake3", "cryptography", "joblib", "msgspec", "numpy", "rich", "sqlalchemy")


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


def test_version_is_printed(site: Site) -> None:
    """`sealstore --version` prints the package's version."""
    assert site.run("--version").out == f"sealstore {sealstore.__version__}\n"
    assert site.run_apart("--version").out == f"sealstore {sealstore.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--debug", "--version"], ["--help"], ["keys", "--help"]]
)
def test_version_and_help_import_nothing_heavy(arguments: list[str], site: Site) -> None:
    """What people run most often starts without the database, cryptography and the terminal kit."""
    script = (
        "import sys, sealstore.cli\n"
        "try:\n    sealstore.cli.main()\n"
        f"finally:\n    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=site.environment(),
        check=True,
    )
    assert done.stderr == "[]\n"


def test_the_entry_point_takes_the_processs_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`main` runs what stands behind the program's name; both ways to the version say the same."""
    monkeypatch.setattr(sys, "argv", ["sealstore", "--version"])
    sealstore.cli.main()
    monkeypatch.setattr(sys, "argv", ["sealstore", "--debug", "--version"])
    with pytest.raises(SystemExit) as ended:
        sealstore.cli.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"sealstore {sealstore.__version__}\n" * 2


def test_the_entry_point_is_the_program(site: Site) -> None:
    """The installed script calls `sealstore.cli.main`."""
    done = subprocess.run(
        [sys.executable, "-c", "import sealstore.cli; sealstore.cli.main()", "list", "--json"],
        capture_output=True,
        env=site.environment(),
        check=True,
    )
    assert done.stdout.startswith(b"{")


def all_commands() -> list[list[str]]:
    context = click.Context(command_line)
    names = [[name] for name in command_line.list_commands(context)]
    return names + [["keys", name] for name in keys_module.keys.list_commands(context)]


@pytest.mark.parametrize("command", all_commands(), ids=" ".join)
def test_every_command_has_help(command: list[str], site: Site) -> None:
    """Each command explains itself, and says so with exit code 0."""
    ran = site.run(*command, "--help")
    assert ran.out.startswith(f"Usage: sealstore {' '.join(command)}")
    assert ran.err == ""


def test_every_command_has_a_line_in_the_overview(site: Site) -> None:
    """The overview tells what each command does."""
    overview = site.run("--help").out
    for name in COMMANDS:
        command = command_line.get_command(click.Context(command_line), name)
        assert command is not None
        assert command.short_help
        assert f"{name} " in overview


def test_choices_are_what_the_keys_offer() -> None:
    """The choices, written out so that help need not import keys, are the ones that there are."""
    assert set(NEW_KEY_ALGORITHMS) == set(admin.ALGORITHMS) < set(ALGORITHMS)
    assert tuple(Role) == keys_module.ROLES


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["keys"],
        ["nonsense"],
        ["keys", "nonsense"],
        ["--nonsense"],
        ["list", "--nonsense"],
        ["show"],
        ["--repository"],
        ["--repository", "", "list"],
        ["--keyring", "", "list"],
        ["init", "--path", ""],
    ],
    ids=" ".join,
)
def test_usage_errors_exit_with_2(arguments: list[str], site: Site) -> None:
    """Arguments that cannot be meant end with exit code 2, on standard error."""
    ran = site.run(*arguments, code=2)
    assert ran.out == ""
    assert "sealstore" in ran.err


def test_a_refusal_says_what_to_do_and_exits_with_1(site: Site) -> None:
    """An error of sealstore is two lines: what failed, and what to do."""
    ran = site.run("show", "nothing", code=1)
    assert ran.out == ""
    assert ran.err == (
        "error: nothing:latest: There is no such artifact in this repository.\n"
        "to do: 'sealstore list' shows what is stored.\n"
    )


def test_an_impossible_name_is_a_usage_error(site: Site) -> None:
    """What can never succeed as it was written exits with 2."""
    assert "'../x'" in site.run("show", "../x", code=2).err


def test_errors_show_where_a_file_lies(site: Site, tmp_path: Path) -> None:
    """The person at the terminal is told the path that an error is about."""
    elsewhere = tmp_path / "elsewhere"
    assert str(elsewhere) in site.run("--repository", elsewhere, "list", code=1).err
    site.keyring.chmod(0o644)
    assert f"chmod 600 {site.keyring}" in site.run("list", code=1).err


def test_paths_are_escaped_in_what_to_do(site: Site) -> None:
    """A path with control characters stays harmless in a command to be copied."""
    hostile = site.keyring.with_name(HOSTILE.replace("/", "|"))
    site.keyring.rename(hostile)
    hostile.chmod(0o644)
    ran = site.run("--keyring", hostile, "list", code=1)
    assert "to do: chmod 600" in ran.err
    assert not set(FORBIDDEN) & set(ran.err)


def test_debug_shows_where_an_error_was_raised(site: Site) -> None:
    """`--debug` adds the traceback, line by line, and the exit code stays."""
    ran = site.run("--debug", "show", "nothing", code=1)
    assert "Traceback (most recent call last):\n" in ran.err
    assert "ArtifactNotFound" in ran.err


def test_an_error_that_nobody_expected_is_told_without_a_traceback(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the program is one escaped line, exit code 1, and the way to see more."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr(Repository, "get", fail)
    ran = site.run("show", "x", code=1)
    assert ran.err.startswith("error: RuntimeError: a\\x1b[31m")
    assert "sealstore --debug" in ran.err
    assert not set(FORBIDDEN) & set(ran.err + site.run("--debug", "show", "x", code=1).err)


def test_an_interruption_ends_quietly(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with exit code 1 and no traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Repository, "get", interrupt)
    assert site.run("show", "x", code=1).err.strip() == "stopped"


def test_options_win_over_the_environment(site: Site, tmp_path: Path) -> None:
    """`--repository` and `--keyring` name other places than the variables, for this run only."""
    ran = site.run(
        *("--repository", site.repository, "--keyring", site.keyring, "list", "--json"),
        MODEL_REPO_PATH=str(tmp_path / "a"),
        MODEL_REPO_KEYRING=str(tmp_path / "b"),
    )
    assert ran.json == {"artifacts": [], "refused": [], "nextAfter": None}
    assert os.environ.get("MODEL_REPO_PATH") is None


def test_an_impossible_variable_is_an_error(site: Site) -> None:
    """A variable that cannot be used is named, and nothing is done."""
    assert "MODEL_REPO_DIGEST" in site.run("list", code=1, MODEL_REPO_DIGEST="md5").err


def test_a_reader_that_has_seen_enough_is_no_error_to_talk_about(
    site: Site, repository: Repository
) -> None:
    """`sealstore … | head` ends without a traceback."""
    repository.store({"a": 1}, "x", "1")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "sealstore.cli", "list", "--json"],
            stdout=closed,
            stderr=subprocess.PIPE,
            env=site.environment(),
            check=False,
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_a_terminal_without_the_letters_gets_their_escapes(
    site: Site, repository: Repository
) -> None:
    """A name that the terminal's encoding lacks is shown escaped, and is no error."""
    repository.store({"a": 1}, "größe", "1")
    ran = site.run_apart("list", PYTHONIOENCODING="ascii")
    assert ran.code == 0
    assert "gr\\xf6\\xdfe" in ran.out


def test_warnings_are_one_escaped_line(site: Site, repository: Repository) -> None:
    """What the library warns of is told on standard error, without a file and a line number."""
    repository.store({"a": 1}, "x", "1")
    (site.repository / "statements" / "x" / "1" / "2.json").write_text("planted")
    ran = site.run("store", "sys:version", "x", "1")
    said = "warning: x:1@2: another file lay in the statement's place; moved aside.\n"
    assert ran.err == said
