"""The environments whose objects the allowlist is made of.

The first and the last have the versions of requirements/lowest.txt and requirements/current.txt;
those between are what was stored meanwhile, and what other interpreters name differently.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What inspection itself needs.
TOOLS = ("alembic", "blake3", "click", "cryptography", "msgspec", "platformdirs", "rich")


@dataclass(frozen=True)
class Environment:
    """An interpreter and the packages whose objects are recorded with it."""

    python: str
    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        """A name for files and folders."""
        return "-".join((self.python, *self.packages)).replace("==", "")


def _environment(python: str, **versions: str) -> Environment:
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return Environment(python, tuple(f"{name}=={version}" for name, version in named.items()))


ENVIRONMENTS = (
    _environment(
        "3.11", joblib="1.3.2", numpy="1.26.3", pandas="2.1.3", scikit_learn="1.4.0", scipy="1.12.0"
    ),
    _environment(
        "3.11",
        joblib="1.4.2",
        numpy="2.0.2",
        pandas="2.2.3",
        pyarrow="17.0.0",
        scikit_learn="1.5.2",
        scipy="1.14.1",
    ),
    _environment(
        "3.12",
        joblib="1.5.2",
        numpy="2.2.6",
        pandas="2.3.3",
        scikit_learn="1.6.1",
        scipy="1.15.3",
    ),
    _environment(
        "3.13",
        joblib="1.5.2",
        numpy="2.3.4",
        pandas="2.3.3",
        scikit_learn="1.7.2",
        scipy="1.16.3",
    ),
    _environment(
        "3.13",
        joblib="1.6.0",
        numpy="2.4.6",
        pandas="3.1.1",
        pyarrow="22.0.0",
        scikit_learn="1.9.1",
        scipy="1.17.1",
    ),
    _environment(
        "3.11", joblib="1.6.0", numpy="2.4.6", pandas="3.1.1", scikit_learn="1.9.1", scipy="1.17.1"
    ),
)


def make(environment: Environment, folder: Path) -> Path:
    """Make ``environment`` in ``folder``, unless it is there, and record its objects.

    Args:
        environment: what to make.
        folder: where environments and recordings are kept.

    Returns:
        The file of the recording.

    Raises:
        subprocess.CalledProcessError: no such interpreter, no such packages, or an object that
            could not be recorded.
    """
    python = folder / environment.name / "bin" / "python"
    if not python.exists():
        interpreter = f"python{environment.python}"
        subprocess.run([interpreter, "-m", "venv", str(folder / environment.name)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
        subprocess.run([*install, "SQLAlchemy<3", *TOOLS, *environment.packages], check=True)
    recording = folder / f"{environment.name}.json"
    print(f"{environment.name}: recording", file=sys.stderr)
    subprocess.run(
        [str(python), "-m", "tools.allowlist", "record", str(recording)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "0"},
        check=True,
    )
    return recording
