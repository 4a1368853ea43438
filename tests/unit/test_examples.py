"""The examples: each is run as a reader runs it, in a process and a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sealstore.repository.settings import PREFIX

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {path.name: path for path in (ROOT / "examples").glob("*.py")}
ARGUMENTS = {"loader_service.py": ["--self-test"]}
"""Of those that would otherwise run until they are stopped."""
SHOWN = {
    "audit.py": ["access: 3 entries, 0 findings", "entry 2 of 3: store", "LEDGER_TAMPERED"],
    "demo.py": ["equal to the trained model's: True", "Every attack was refused"],
    "loader_service.py": ["churn:2026-11@1", "PAYLOAD_DIGEST", "NO_SIGNING_KEY"],
    "notebook.py": ["production means 2026-11@1, after 2 moves", "ARTIFACT_NOT_FOUND"],
}
"""What each has to show in the end: that it loads, and that it is refused what it must be."""


def test_every_example_is_run() -> None:
    """An example that nobody runs would not work for long."""
    assert EXAMPLES.keys() == SHOWN.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHOWN))
def test_an_example_works_by_itself_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    """Each file alone, away from the source tree: it shows what it promises, and clears up."""
    home, scratch, elsewhere = tmp_path / "home", tmp_path / "scratch", tmp_path / "elsewhere"
    for folder in (home, scratch, elsewhere):
        folder.mkdir()
    shutil.copy(EXAMPLES[name], elsewhere)
    kept = {each: value for each, value in os.environ.items() if not each.startswith(PREFIX)}
    done = subprocess.run(
        [sys.executable, name, *ARGUMENTS.get(name, [])],
        cwd=elsewhere,
        env=kept
        | {
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "TMPDIR": str(scratch),
            # Threads that wait for each other while other tests run take many times as long.
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for text in SHOWN[name]:
        assert text in done.stdout
    left = [path for folder in (home, scratch, elsewhere) for path in folder.rglob("*")]
    assert left == [elsewhere / name]
