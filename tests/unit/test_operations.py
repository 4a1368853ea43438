"""docs/operations.md, followed to the letter: each of its commands is run, section by section."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sealstore.keys.sources import read_keyring_file
from sealstore.repository.facade import Repository
from sealstore.repository.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))
WALKED = [
    "First set-up",
    "Backing up",
    "Rotating a key",
    "A leaked key",
    "Clearing up",
    "A lost catalogue",
    "Moving to another machine",
    "A full disk",
    "An auditor's visit",
    "Into an air-gapped site",
]


class Operator:
    """A shell in an empty folder, with nothing but the program and a module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "models.py").write_text("model = {'weights': [0.5, 1.5]}\n")
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "sealstore"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sealstore.cli "$@"\n')
        program.chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self.environment = kept | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "MODEL_REPO_PATH": str(folder / "repository"),
        }

    @property
    def settings(self) -> Settings:
        known = {name: value for name, value in self.environment.items() if name.startswith(PREFIX)}
        keyring = self.folder / "config" / "sealstore" / "keyring.json"
        trust = self.folder / "state" / "sealstore" / "trust"
        return Settings.from_environment(
            {"MODEL_REPO_KEYRING": str(keyring), "MODEL_REPO_TRUST_STATE": str(trust)} | known
        )

    def run(self, script: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-eu", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"

    def follow(self, section: str) -> None:
        """Run all that a section says, in one shell."""
        self.run("\n".join(re.findall(r"```sh\n(.*?)```", SECTIONS[section], flags=re.DOTALL)))


def leak(operator: Operator) -> None:
    """Somebody else has the newest key; a training record has the payload's digest."""
    settings = operator.settings
    [*_, newest] = read_keyring_file(settings.keyring_path, outside=None)
    with Repository.open(settings=settings) as repository:
        operator.environment["SHA256"] = repository.get("churn").digests.sha256
    operator.environment["LEAKED"] = newest.key_id


def store_again(operator: Operator) -> None:
    """What an operator does between two sections."""
    operator.run("sealstore store models:model churn 2026-11")


BEFORE: dict[str, Callable[[Operator], None]] = {
    "A leaked key": leak,
    "Into an air-gapped site": store_again,
}


@pytest.mark.slow
def test_a_new_operator_can_follow_the_page(tmp_path: Path) -> None:
    """First set-up, rotation, a leaked key, clearing up, a full disk, an auditor, an air gap."""
    operator = Operator(tmp_path)
    for section in WALKED:
        if section in BEFORE:
            BEFORE[section](operator)
        operator.follow(section)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>".casefold()) or (
        "<html" in (tmp_path / "report.html").read_text()
    )


def test_every_section_is_walked() -> None:
    """No command of the page is left out."""
    with_commands = [title for title, text in SECTIONS.items() if "```sh" in text]
    assert with_commands == WALKED
