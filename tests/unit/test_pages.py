"""What the pages say of the code is what the code is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sealstore import Repository, verification
from sealstore.keys.keyring import Keyring
from sealstore.keys.writing import write_keyring_file
from tools import trusted_core

ROOT = Path(__file__).resolve().parents[2]
DESIGN = (ROOT / "docs/design.md").read_text(encoding="utf-8")
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "SECURITY.md"]


# ── the trusted core ─────────────────────────────────────────────────────────

LOAD = """
import sys
from sealstore import Repository

with Repository.open(sys.argv[1]) as repository:
    assert repository.load("churn")[1].sum() == 100_000
files = {module.__file__ for name, module in sys.modules.items() if name.startswith("sealstore")}
print(*sorted(files), sep="\\n")
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
NOT_NEEDED = {"alembic", "click", "psycopg", "psycopg2", "rich", "sqlalchemy"}
"""What other processes of sealstore's import, and one that loads does not."""


@pytest.mark.invariant(1)
def test_a_process_that_loads_imports_the_trusted_core_and_nothing_else(
    repository: Repository, keyring: Keyring, tmp_path: Path
) -> None:
    """Whoever reads the page has read all of sealstore that takes part in a load."""
    np = pytest.importorskip("numpy")
    repository.store([{"small": np.arange(3.0)}, np.ones(100_000)], "churn", "1")
    write_keyring_file(tmp_path / "keyring.json", keyring)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, repository.root],
        capture_output=True,
        text=True,
        check=True,
        env={
            "MODEL_REPO_KEYRING": str(tmp_path / "keyring.json"),
            "MODEL_REPO_TRUST_STATE": str(tmp_path / "trust"),
            "PYTHONPATH": str(ROOT / "src"),
        },
    )
    imported = {Path(line) for line in done.stdout.splitlines()}
    read = {trusted_core.SOURCE / file for part in trusted_core.READING for file in part.files}
    fronts = {path for path in imported if path.name == "__init__.py" and not code(path)}
    assert sorted(imported - fronts - read) == []
    assert sorted(read - imported - trusted_core.ONLY_WHEN_NEEDED) == []
    assert NOT_NEEDED & set(done.stderr.split()) == set()


def code(path: Path) -> int:
    return trusted_core.code_lines(path)


def test_the_page_of_the_trusted_core_is_what_the_code_says() -> None:
    """`python -m tools.trusted_core` writes it again."""
    assert trusted_core.main(["--check"]) == 0


def test_a_page_that_drifted_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing it mends it."""
    monkeypatch.setattr(trusted_core, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text("older\n", encoding="utf-8")
    assert trusted_core.main(["--check"]) == 1
    assert trusted_core.main([]) == 0
    assert trusted_core.main(["--check"]) == 0


def test_the_trusted_core_is_small_enough_to_be_read() -> None:
    """In an afternoon; and what decides, in an hour of it."""
    assert sum(part.lines() for part in trusted_core.READING) <= trusted_core.MOST_LINES
    assert trusted_core.READING[0].lines() <= trusted_core.MOST_DECIDING_LINES


def test_only_lines_with_code_are_counted(tmp_path: Path) -> None:
    """Neither blank lines nor comments nor docstrings, and a text of several lines in full."""
    text = '"""Doc\nstring."""\n\n# comment\nX = """a\nb"""\n\n\ndef f() -> None:\n    """Doc."""\n'
    path = tmp_path / "module.py"
    path.write_text(text + "    # why\n    g(  # how\n        1,\n    )\n", encoding="utf-8")
    assert trusted_core.code_lines(path) == 6


# ── the design page ──────────────────────────────────────────────────────────


def test_the_procedure_and_the_page_list_the_same_steps() -> None:
    """Whoever reads one of the two has read the other."""
    chapter = DESIGN.partition("## Load, step by step")[2].partition("\n## ")[0]
    page = re.findall(r"^(?:(\d)\.|   - (\d[a-z])\.) ", chapter, re.MULTILINE)
    lines = re.findall(r"^ +(\d[a-z]?)\. ", verification.__doc__ or "", re.MULTILINE)
    assert [number or letter for number, letter in page] == lines
    assert lines[0] == "1"
    assert lines[-1] == "9"


def test_each_room_is_on_the_page_once() -> None:
    """A newcomer finds each entry of the package in the list of rooms, and none twice."""
    chapter = DESIGN.partition("## Rooms")[2].partition("\n## ")[0]
    listed = re.findall(r"^  ([a-z_]+(?:\.py|/))", chapter, re.MULTILINE)
    entries = [
        f"{path.name}/" if path.is_dir() else path.name
        for path in trusted_core.SOURCE.iterdir()
        if path.name not in ("__init__.py", "__pycache__", "py.typed")
    ]
    assert sorted(listed) == sorted(entries)


def test_a_page_names_no_variable_that_nothing_reads() -> None:
    """Every `MODEL_REPO_…` of the texts stands in the source."""
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in trusted_core.SOURCE.rglob("*.py")
    )
    for page in PAGES:
        for name in set(re.findall(r"MODEL_REPO_[A-Z_]+", page.read_text(encoding="utf-8"))):
            assert name in source, f"{page.name}: {name}"


def test_the_design_page_names_no_file_that_is_not_there() -> None:
    """A module that the page names in backticks is a module of the package."""
    for name in re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)`", DESIGN):
        assert any((room / name).exists() for room in (trusted_core.SOURCE, ROOT / "migrations")), (
            name
        )
