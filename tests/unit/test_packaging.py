"""What is shipped: wheel, source distribution, their metadata, and the locked requirements."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import sealstore

ROOT = Path(__file__).resolve().parents[2]
LOCKED = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("distributions")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        # Without git's and pip's own settings: the archive holds the same wherever it is built.
        env={"PATH": os.defpath, "HOME": str(folder), "SOURCE_DATE_EPOCH": "1700000000"},
    )
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Iterator[zipfile.ZipFile]:
    [path] = distributions.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode("utf-8"))


def files_below(folder: str) -> set[str]:
    """Every file of the project below ``folder`` that is not left over from running it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def pins(path: Path) -> dict[str, set[Version]]:
    """The versions that a locked file names: one, or one for each range of Python versions."""
    found: dict[str, set[Version]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text("utf-8"), re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(Version(version))
    return found


def promised(*extras: str) -> dict[str, SpecifierSet]:
    """What pyproject.toml admits of each dependency, with these extras."""
    texts = list(PROJECT["project"]["dependencies"])
    for extra in extras:
        texts += PROJECT["project"]["optional-dependencies"][extra]
    admitted: dict[str, SpecifierSet] = {}
    for requirement in map(Requirement, texts):
        name = canonicalize_name(requirement.name)
        admitted[name] = admitted.get(name, SpecifierSet()) & requirement.specifier
    return admitted


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """An installed sealstore is the one that was tested."""
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = {name.removeprefix("src/") for name in files_below("src")}
    migrations = {f"sealstore/{name}" for name in files_below("migrations")}
    assert shipped == package | migrations
    assert "sealstore/py.typed" in shipped


def test_the_wheel_ships_the_migrations(wheel: zipfile.ZipFile) -> None:
    """An installed sealstore can create and upgrade its catalogue."""
    shipped = wheel.namelist()
    assert "sealstore/migrations/env.py" in shipped
    assert any(re.fullmatch(r"sealstore/migrations/versions/\w+\.py", name) for name in shipped)


def test_an_installed_wheel_uses_the_migrations_that_it_ships(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    """Away from the source tree, the catalogue finds its migrations inside the package."""
    wheel.extractall(tmp_path)  # noqa: S202 - the fixture has just built this archive
    home = "sealstore.storage.catalogue.migrations"
    script = f"from {home} import migrations_path; print(migrations_path())"
    found = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert Path(found.stdout.strip()) == tmp_path / "sealstore" / "migrations"


def test_the_source_distribution_can_be_built_tested_and_read(distributions: Path) -> None:
    """Whoever gets only the source archive can run everything that this repository can."""
    [path] = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        shipped = {name.split("/", 1)[1] for name in archive.getnames()}
    expected = {".ci/run", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"}
    for folder in ("src", "migrations", "tests", "requirements", "docs", "examples"):
        expected |= files_below(folder)
    assert expected <= shipped


def test_all_versions_agree(metadata: Message) -> None:
    """The package, its metadata, the environment and the changelog speak of one version."""
    assert metadata["Version"] == sealstore.__version__
    assert importlib.metadata.version("sealstore") == sealstore.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changes, re.MULTILINE)
    assert newest is not None
    assert newest[1] == sealstore.__version__


def test_the_wheel_says_what_it_needs(metadata: Message) -> None:
    """An installer learns the licence, the Python version and exactly the core dependencies."""
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    needed = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    core = {canonicalize_name(each.name) for each in needed if each.marker is None}
    assert core == set(promised())


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    """`sealstore` is on the path after an installation."""
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    assert "sealstore = sealstore.cli:main" in wheel.read(name).decode("utf-8").splitlines()


@pytest.mark.parametrize(
    ("locked", "extras"),
    [
        ("lowest", ("demo", "postgresql-sqlalchemy14")),
        ("lowest-sqlalchemy2", ("demo", "postgresql")),
    ],
)
def test_every_floor_is_a_version_that_is_tested(locked: str, extras: tuple[str, ...]) -> None:
    """The lowest versions that pyproject.toml admits are the ones in the lowest locked sets."""
    tested = pins(ROOT / "requirements" / f"{locked}.txt")
    for name, admitted in promised(*extras).items():
        floors = [Version(part.version) for part in admitted if part.operator == ">="]
        assert tested[name] == {max(floors)}, name


@pytest.mark.parametrize(
    ("locked", "extras"), [("current", ("demo", "postgresql")), ("demo", ("demo",))]
)
def test_the_current_sets_hold_every_dependency(locked: str, extras: tuple[str, ...]) -> None:
    """No dependency is missing from a locked set, or locked at a version that is not admitted."""
    tested = pins(ROOT / "requirements" / f"{locked}.txt")
    for name, admitted in promised(*extras).items():
        assert tested[name], name
        assert all(version in admitted for version in tested[name]), name


def test_the_demo_runs_on_the_versions_that_the_tests_run_on() -> None:
    """What a user of the wheel gets is a part of what is tested."""
    current = pins(ROOT / "requirements" / "current.txt")
    demo = pins(ROOT / "requirements" / "demo.txt")
    assert demo.items() <= current.items()


@pytest.mark.parametrize("path", LOCKED, ids=lambda path: path.stem)
def test_every_locked_requirement_has_hashes_and_no_address(path: Path) -> None:
    """An installation gets the very files that were locked, from whichever index a site has."""
    text = path.read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(entries) > 10
    for entry in entries:
        first, *hashes = entry.replace("\\", "").splitlines()
        assert re.match(r"[\w.-]+==[\w.]+( *;.*)?$", first.strip()), first
        assert hashes, first
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64} *", line) for line in hashes), first
