"""The doctor: whether hetida designer's stock functions would still be in use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import joblib
import pytest

from sealstore.keys.keyring import Keyring
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.upkeep import doctor as doctor_module
from sealstore.upkeep.doctor import check_hetida
from tests.command_line import ROOT, Site
from tests.sealstore_fixtures import hmac_key

INSTALL = "import sealstore.hetida; sealstore.hetida.install()\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A repository in which nothing is stored yet."""
    made = Site(
        tmp_path / "obj_repo",
        tmp_path / "keys" / "keyring.json",
        {"MODEL_REPO_TRUST_STATE": str(tmp_path / "trust")},
    )
    write_keyring_file(made.keyring, Keyring.of([hmac_key()]))
    Repository.create(made.repository, settings=made.settings).close()
    return made


def checked(site: Site, runtime: Path | None = None) -> list[dict[str, Any]]:
    """What a doctor of its own says of hetida designer."""
    path = [str(ROOT / "src"), *([] if runtime is None else [str(runtime)])]
    ran = site.run_apart("doctor", "--json", PYTHONPATH=os.pathsep.join(path))
    checks = json.loads(ran.out)["checks"]
    found = [each for each in checks if each["topic"] == "hetida"]
    assert ran.code == any(each["level"] == "wrong" for each in found)
    return found


def runtime(place: Path, config: str) -> Path:
    """A runtime's folder: its package imports the site's ``hetdesrun_config.py`` first of all."""
    package = place / "app" / "hetdesrun"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import hetdesrun_config\n")
    (package / "serialization.py").write_text(
        "def dump_obj(obj, name, tag): pass\ndef load_obj(name, tag): pass\n"
    )
    (package.parent / "hetdesrun_config.py").write_text(config)
    return package.parent


def test_without_a_runtime_nothing_is_said(site: Site) -> None:
    """Most machines have none."""
    assert checked(site) == []


def test_a_runtime_with_the_line_in_its_configuration_is_well(site: Site, tmp_path: Path) -> None:
    """It is imported as its workers import it."""
    [found] = checked(site, runtime(tmp_path, INSTALL))
    assert found["level"] == "ok"


@pytest.mark.parametrize("config", ["", "import hetdesrun.serialization\n", f"# {INSTALL}"])
def test_a_runtime_whose_functions_are_the_stock_ones_is_wrong(
    site: Site, tmp_path: Path, config: str
) -> None:
    """What it would store is not signed; the line that mends it is told."""
    [found] = checked(site, runtime(tmp_path, config))
    assert found["level"] == "wrong"
    assert INSTALL.strip() in found["fix"]


def test_a_runtime_that_cannot_be_imported_is_wrong(site: Site, tmp_path: Path) -> None:
    """Nothing is known of it then."""
    [found] = checked(site, runtime(tmp_path, f"{INSTALL}raise SystemError\n"))
    assert found["level"] == "wrong"
    assert "not known" in found["text"]


def test_a_runtime_that_never_ends_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for."""
    monkeypatch.syspath_prepend(str(runtime(tmp_path, "import time; time.sleep(600)\n")))
    monkeypatch.setattr(doctor_module, "_SECONDS", 0.5)
    [found] = check_hetida(tmp_path, os.environ)
    assert "not known" in found.text


def test_files_of_the_stock_functions_are_wrong(site: Site) -> None:
    """Some runtime that uses the same folder stores without signing; from here it is not seen."""
    joblib.dump([1], site.repository / "churn_v1")
    (site.repository / "churn_latest").symlink_to("churn_v1")
    [found] = checked(site)
    assert (found["level"], "2 entries" in found["text"]) == ("wrong", True)
    assert "sealstore adopt" in found["fix"]


def test_a_folder_that_is_not_there_has_no_such_files(tmp_path: Path) -> None:
    """That is told elsewhere."""
    assert check_hetida(tmp_path / "nowhere", os.environ) == []
