"""The built-in lists: how their files are written, and what stands in them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealstore.formats.pickling import policy_data
from sealstore.formats.pickling.policy_entry import USES, is_name

DATA = Path(policy_data.__file__).parent / "data"
FILES = ("allowlist.json", "denylist.json", "pinned.json")
USES_WITHOUT_A_NAME = set(USES) - {"named"}


def content(file: str) -> dict[str, Any]:
    """A data file, decoded without the types that the policy decodes it with."""
    found: dict[str, Any] = json.loads((DATA / file).read_text("utf-8"))
    return found


def entries(file: str) -> list[str]:
    """The keys of a data file, as often as they are written."""
    keys: list[str] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys.extend(key for key, _ in pairs)
        return dict(pairs)

    json.loads((DATA / file).read_text("utf-8"), object_pairs_hook=keep)
    return keys


@pytest.mark.parametrize("file", FILES)
def test_each_entry_has_a_line_of_its_own(file: str) -> None:
    """A change of the lists can be read line by line."""
    lines = (DATA / file).read_text("utf-8").splitlines()
    assert content(file)["format"] == 1
    for key in ("names", "modules"):
        for name in content(file).get(key, {}):
            begins = json.dumps(name) + ": "
            assert sum(line.startswith(begins) for line in lines) == 1, name


@pytest.mark.parametrize("file", FILES)
def test_entries_are_sorted(file: str) -> None:
    """An entry has one place, so two changes cannot both add it."""
    for key in ("names", "modules"):
        names = list(content(file).get(key, {}))
        assert names == sorted(names)


def test_no_entry_stands_twice() -> None:
    """Of two entries for one name a decoder would silently drop one."""
    for file in ("allowlist.json", "denylist.json"):
        names = [key for key in entries(file) if ":" in key]
        assert len(names) == len(set(names))


def test_the_allowlist_lists_uses_that_statements_know() -> None:
    """A misspelled use would trust nothing, silently."""
    for file in ("allowlist.json", "pinned.json"):
        for name, uses in content(file)["names"].items():
            assert is_name(name)
            assert uses.keys() - {"reason", "named"} <= USES_WITHOUT_A_NAME, name


def test_generated_alternatives_are_about_calls_and_states() -> None:
    """For these the policy knows to say why the arguments matter."""
    for name, uses in content("allowlist.json")["names"].items():
        pinned = {use for use, lists in uses.items() if lists is not None}
        assert pinned <= {"called", "built"}, name


def test_the_allowlist_says_what_it_was_made_with() -> None:
    """Both ends of the supported versions are among its sources."""
    made_with = content("allowlist.json")["made_with"]
    for versions in (
        ("numpy 1.26.3", "scikit-learn 1.4.0", "pandas 2.1.3", "scipy 1.12.0", "joblib 1.3.2"),
        ("numpy 2.4.6", "scikit-learn 1.9.1", "pandas 3.1.1", "scipy 1.17.1", "joblib 1.6.0"),
    ):
        assert any(all(version in line for version in versions) for line in made_with)


@pytest.mark.parametrize(
    "name",
    [
        "numpy.core.multiarray:_reconstruct",
        "numpy._core.multiarray:_reconstruct",
        "numpy.core._multiarray_umath:log",
        "numpy:log",
        "pandas.core.frame:DataFrame",
        "pandas:DataFrame",
        "pathlib:PurePosixPath",
        "pathlib._local:PurePosixPath",
        "sklearn._loss._loss:CyHalfBinomialLoss",
        "sklearn.ensemble._hist_gradient_boosting.binning:_BinMapper",
    ],
)
def test_the_allowlist_knows_the_names_of_old_and_new_versions(name: str) -> None:
    """Modules move between releases; what was stored by either is loaded by its own."""
    assert name in policy_data.policy_data().trusted


def test_the_running_standard_library_is_covered() -> None:
    """A module that a newer Python adds is dangerous until somebody lists it."""
    data = policy_data.policy_data()
    assert sys.stdlib_module_names <= data.covered
    assert {"numpy", "pandas", "scipy", "sklearn", "joblib"} <= data.covered
    assert "mine" not in data.covered


def test_the_lists_are_read_once() -> None:
    """Every policy of a process shares them."""
    assert policy_data.policy_data() is policy_data.policy_data()


def test_a_data_file_with_an_unknown_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelled key in a list must not make the list shorter."""
    for file in FILES:
        (tmp_path / file).write_bytes((DATA / file).read_bytes())
    broken = content("denylist.json")
    broken["name"] = broken.pop("names")
    (tmp_path / "denylist.json").write_text(json.dumps(broken), "utf-8")
    monkeypatch.setattr(policy_data, "_FOLDER", str(tmp_path))
    with pytest.raises(msgspec.ValidationError):
        policy_data.policy_data.__wrapped__()
