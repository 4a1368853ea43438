"""What reaches a terminal: no markup, no control characters, no colour where none is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealstore.audit.findings import Finding
from sealstore.cli import output
from sealstore.repository.facade import Repository
from tests.command_line import FORBIDDEN, HOSTILE, Site
from tests.sealstore_fixtures import run_sql


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@pytest.fixture
def hostile(repository: Repository) -> Repository:
    """A repository whose artifact was stored by somebody who wants to write to terminals."""
    repository.store([1], "a[red]x[bold]", "t[link]", metadata={HOSTILE: [HOSTILE]}, actor=HOSTILE)
    return repository


COMMANDS = [
    ["list"],
    ["show", "a[red]x[bold]"],
    ["history"],
    ["verify", "a[red]x[bold]"],
    ["verify", "--all"],
    ["doctor"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_no_control_character_of_others_is_printed(
    command: list[str], as_json: list[str], hostile: Repository, site: Site
) -> None:
    """Names, metadata and actors are escaped in every output, text and JSON."""
    site.run("backup", site.keyring.parent / "backup")
    ran = site.run(*command, *as_json)
    assert not set(FORBIDDEN) & set(ran.out + ran.err)
    assert hostile.id


@pytest.mark.parametrize("command", COMMANDS[:3], ids=lambda command: command[0])
def test_a_terminal_gets_no_sequence_of_others(
    command: list[str], hostile: Repository, site: Site
) -> None:
    """At a terminal, where colours are on, only the program's own colours arrive."""
    code, shown = site.run_at_terminal(*command)
    assert code == 0
    own = "".join(shown.split("\x1b[0m"))
    for sequence in ("\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[?25l", "\x1b[?25h"):
        own = own.replace(sequence, "")
    assert not set(FORBIDDEN) & set(own.replace("\r\n", "\n"))
    assert hostile.id


def test_markup_in_names_is_shown_as_it_stands(hostile: Repository, site: Site) -> None:
    """`a[red]x` is a name, not a colour."""
    assert "a[red]x[bold]" in site.run("list").out
    assert "a[red]x[bold]:t[link]@1" in site.run("show", "a[red]x[bold]").out
    _, shown = site.run_at_terminal("list")
    assert "a[red]x" in shown
    assert "[bold]" in "".join(shown.split())
    assert hostile.id


def test_refused_rows_are_escaped_at_a_terminal(hostile: Repository, site: Site) -> None:
    """A row that somebody wrote with SQL is marked REFUSED, and its claims are escaped."""
    run_sql(hostile, "UPDATE artifact SET name = ?, tag = ?", HOSTILE, HOSTILE)
    code, shown = site.run_at_terminal("list")
    assert code == 1
    assert "\x1b[31ma\\x1b" in shown.replace("\r\n", "\n")
    assert "\x07" not in shown
    assert "\u202e" not in shown


def test_no_color_is_respected(hostile: Repository, site: Site) -> None:
    """With NO_COLOR a terminal gets no colour, neither in tables nor in errors."""
    run_sql(hostile, "UPDATE artifact SET actor = 'eve'")
    for command in (["list"], ["show", "nothing"]):
        _, plain = site.run_at_terminal(*command, NO_COLOR="1")
        _, coloured = site.run_at_terminal(*command)
        assert "\x1b[3" not in plain
        assert "\x1b[3" in coloured


def test_colour_stays_out_of_pipes(hostile: Repository, site: Site) -> None:
    """What is piped has no colour."""
    run_sql(hostile, "UPDATE artifact SET actor = 'eve'")
    ran = site.run_apart("list")
    assert "\x1b" not in ran.out + ran.err


def test_a_piped_table_keeps_each_row_on_one_line(repository: Repository, site: Site) -> None:
    """Nothing is cut or folded where no terminal sets a width."""
    repository.store([1], "n" * 128, "t" * 128, actor="a" * 256)
    lines = site.run_apart("list", COLUMNS="20").out.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:2] == ["n" * 128, "t" * 128]
    assert "a" * 256 in lines[1]


def test_a_table_at_a_terminal_is_folded_and_not_cut(repository: Repository, site: Site) -> None:
    """At a narrow terminal every character of a name is still there."""
    repository.store([1], "n" * 100, "1")
    _, shown = site.run_at_terminal("list")
    assert shown.count("n") >= 100
    assert "…" not in shown


def test_arguments_come_back_escaped(site: Site) -> None:
    """What was typed, by a script too, is shown escaped in errors."""
    for arguments in (["a\x1b[31m"], ["list", "--limit", "\x1b[31m"], ["--\x1b[31m"]):
        ran = site.run(*arguments, code=2)
        assert "\x1b" not in ran.err


def test_a_finding_may_have_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A finding about no artifact, without a hint, is one line."""
    output.findings([Finding(None, "CODE", HOSTILE, "")])
    said = capsys.readouterr().out
    assert said.startswith("REFUSED a\\x1b[31m")
    assert said.count("\n") == 1
    assert not set(FORBIDDEN) & set(said)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (2_500_000_000, "2.5 GB"),
        (1 << 40, "1.1 TB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_are_told_in_powers_of_a_thousand(size: int, text: str) -> None:
    """Sizes read as file systems and networks count them."""
    assert output.size_text(size) == text
