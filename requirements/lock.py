"""Makes the locked requirement files anew from pyproject.toml; run it as ``make lock``.

Every file pins each package with the hashes of its released files, for any platform. ``current``
and ``demo`` hold the newest versions for Python 3.11 to 3.13, ``demo`` only what a user of the
wheel gets. The two ``lowest`` files are for Python 3.11 and hold the floors that pyproject.toml
promises, with the test tools current: one on SQLAlchemy 1.4, one on the oldest SQLAlchemy 2 that is
admitted.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def floors(requirements: list[str]) -> dict[str, str]:
    """The lowest version that each of ``requirements`` admits, by canonical name.

    Raises:
        ValueError: a requirement has no floor, and so none that could be tested.
    """
    lowest: dict[str, str] = {}
    for text in requirements:
        requirement = Requirement(text)
        versions = [part.version for part in requirement.specifier if part.operator == ">="]
        if len(versions) != 1:
            raise ValueError(f"{text} needs exactly one floor, as in {requirement.name}>=1.0")
        lowest[canonicalize_name(requirement.name)] = versions[0]
    return lowest


def compile_requirements(
    target: str, *, extras: list[str], groups: list[str], constraints: str
) -> None:
    """Writes ``requirements/<target>.txt``.

    Args:
        target: the file's name without its suffix.
        extras: names of optional dependencies to include.
        groups: names of dependency groups to include.
        constraints: further limits, one requirement a line.

    Raises:
        subprocess.CalledProcessError: no set of versions meets all limits.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(constraints)
        file.flush()
        output = f"requirements/{target}.txt"
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml"]
        command += ["--universal", "--python-version=3.11", "--upgrade", "--generate-hashes"]
        # No address of a package index may stand in these files: each site has its own.
        command += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate"]
        command += ["--custom-compile-command=make lock", f"--constraints={file.name}"]
        command += [f"--extra={extra}" for extra in extras]
        command += [f"--group={group}" for group in groups]
        command += [f"--output-file={output}"]
        subprocess.run(command, check=True, cwd=ROOT)
    print(output)


def main() -> None:
    """Writes all of them."""
    core = floors(PROJECT["project"]["dependencies"])
    extras = {
        extra: floors(requirements)
        for extra, requirements in PROJECT["project"]["optional-dependencies"].items()
    }
    payloads = floors(PROJECT["dependency-groups"]["payloads"])

    compile_requirements("current", extras=["demo", "postgresql"], groups=["dev"], constraints="")
    current = (ROOT / "requirements/current.txt").read_text(encoding="utf-8")
    pins = "\n".join(line.split(" \\")[0] for line in current.splitlines() if "==" in line)
    compile_requirements("demo", extras=["demo"], groups=[], constraints=pins)

    for target, database in {
        "lowest": "postgresql-sqlalchemy14",
        "lowest-sqlalchemy2": "postgresql",
    }.items():
        pinned = core | payloads | extras["demo"] | extras[database]
        compile_requirements(
            target,
            extras=["demo", database],
            groups=["payloads", "test", "build"],
            constraints="\n".join(f"{name}=={version}" for name, version in pinned.items()),
        )


if __name__ == "__main__":
    main()
