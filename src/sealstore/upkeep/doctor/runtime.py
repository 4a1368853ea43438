"""hetida designer: whether its stock functions, which sign nothing, would still be in use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from sealstore.hetida.legacy_folder import LATEST_SUFFIX, splits
from sealstore.upkeep.doctor.check import Check

_TOPIC: Final = "hetida"
_RUNTIME: Final = "hetdesrun"
_INSTALL: Final = (
    "add to the runtime's hetdesrun_config.py: import sealstore.hetida; sealstore.hetida.install()"
)
_SECONDS: Final = 120
_NOT_INSTALLED: Final = 3
_PROBE: Final = f"""
import sys
sys.path[:] = sys.argv[1:]
import {_RUNTIME}
from sealstore.hetida import is_installed
sys.exit(0 if is_installed() else {_NOT_INSTALLED})
"""


def check_hetida(root: Path, environment: Mapping[str, str]) -> list[Check]:
    """Whether anything still stores or loads with hetida designer's own functions.

    Args:
        root: the repository's folder, in which these write files called ``name_tag``.
        environment: of the runtime, if there is one here. It is imported in a child process, as
            its workers import it, so that the site's ``hetdesrun_config.py`` runs.
    """
    checks = []
    files = _stock_files(root)
    if files:
        checks.append(
            Check.wrong(
                _TOPIC,
                f"hetida designer's stock functions have written here: {len(files)} entries that"
                f" nobody signed, such as {files[0].name}",
                f"{_INSTALL}; then bring them in with 'sealstore adopt', and move them away",
                paths=[str(path) for path in files[:100]],
            )
        )
    if PathFinder.find_spec(_RUNTIME) is not None:
        checks.append(_check_runtime(environment))
    return checks


def _stock_files(root: Path) -> list[Path]:
    try:
        entries = sorted(root.iterdir())
    except OSError:
        # Told where the folders are looked at.
        return []
    return [
        entry
        for entry in entries
        if (entry.is_symlink() or entry.is_file())
        and (splits(entry.name) or entry.name.endswith(LATEST_SUFFIX))
    ]


def _check_runtime(environment: Mapping[str, str]) -> Check:
    try:
        done = subprocess.run(  # noqa: S603 (this interpreter, and a constant)
            [sys.executable, "-c", _PROBE, *sys.path],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        code = done.returncode
    except subprocess.TimeoutExpired:
        code = -1
    if code == 0:
        return Check.ok(_TOPIC, "its Store Object and Load Object use sealstore here")
    if code == _NOT_INSTALLED:
        text = "its runtime here would store and load with its stock functions, unsigned"
        return Check.wrong(_TOPIC, text, _INSTALL)
    text = "its runtime is here and cannot be imported: what its functions are is not known"
    fix = "run 'sealstore doctor' with the runtime's own environment and in its folder"
    return Check.wrong(_TOPIC, text, fix)
