"""The generator of the allowlist: it finds nothing new, and refuses what must not be listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sealstore import errors
from sealstore.formats.pickling.policy import Policy
from tools.allowlist import merging, numpy_objects, pandas_objects, standard_library_objects
from tools.allowlist.__main__ import main
from tools.allowlist.merging import ALLOWLIST, Recorded, merged, read_recording
from tools.allowlist.recording import Recording, imports_of, record

MODELS = ("LogisticRegression", "StandardScaler", "DecisionTreeClassifier", "PCA", "KMeans")


@pytest.mark.parametrize("module", [standard_library_objects, numpy_objects, pandas_objects])
def test_the_allowlist_is_what_the_generator_finds(module: Any) -> None:
    """Objects of the running versions need nothing that isn't on the list, in any protocol."""
    strict = Policy("strict")
    refused = []
    for label, obj in module.objects():
        for imports in imports_of(obj):
            try:
                strict.check(imports)
            except errors.PolicyError as error:
                refused.append((label, error.message))
    assert refused == []


@pytest.mark.parametrize("name", MODELS)
def test_fitted_estimators_need_nothing_else(name: str) -> None:
    """What the generator does for every estimator, for a few quick ones."""
    from sklearn.utils import all_estimators

    from tools.allowlist.estimator_objects import _first_that_fits

    kind = dict(all_estimators())[name]
    parameters, data = _first_that_fits(name, kind)
    for imports in imports_of(kind(**parameters).fit(*data)):
        Policy("strict").check(imports)


def test_the_same_recordings_make_the_same_bytes(tmp_path: Path) -> None:
    """The file depends on what was found, not on the order in which it was."""
    first = Recorded("A 1", frozenset({"os"}), {"numpy:a": {"called": {("int",), ()}}})
    second = Recorded(
        "B 2", frozenset({"re"}), {"numpy:a": {"made": {()}}, "os:x": {"named": set()}}
    )
    with pytest.raises(RuntimeError, match="os:x is on the denylist"):
        merged([first, second])
    second.names.pop("os:x")
    text = merged([first, second])
    names = json.loads(text)["names"]
    assert names == {"numpy:a": {"called": None, "made": None}}
    assert json.loads(text)["made_with"] == ["A 1", "B 2"]
    assert json.loads(merged([second, first]))["names"] == names


def test_arguments_that_are_names_are_kept() -> None:
    """A function that takes classes is trusted with those that it was seen with."""
    lists: set[tuple[str, ...]] = {
        ("global numpy:ndarray", "int"),
        ("global numpy:matrix", "int"),
    }
    text = merged([Recorded("", frozenset(), {"numpy:make": {"called": lists}})])
    assert json.loads(text)["names"]["numpy:make"] == {
        "called": [["global numpy:matrix", "int"], ["global numpy:ndarray", "int"]]
    }


@pytest.mark.parametrize(
    ("name", "use", "message"),
    [
        ("numpy:load", "named", "denylist"),
        ("numpy.f2py.below:run", "named", "denylist"),
        ("numpy:memmap", "called", "denylist"),
        ("mine:Thing", "named", "does not cover"),
        ("numpy:make", "result-called", "pin its arguments"),
    ],
)
def test_a_name_that_must_not_be_trusted_stops_the_generator(
    name: str, use: str, message: str
) -> None:
    """An object that needs such a name is a decision for a person."""
    with pytest.raises(RuntimeError, match=message):
        merged([Recorded("", frozenset(), {name: {use: {()}}})])


def test_pinned_names_and_constructors_are_left_to_people() -> None:
    """They have a file of their own, or none."""
    recording: Recording = {
        "builtins:getattr": {"called": {("global numpy:x", "str")}},
        "scipy.x:Result.__new__": {"named": set()},
    }
    assert json.loads(merged([Recorded("", frozenset(), recording)]))["names"] == {}


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What one environment records, another one merges."""
    recording: Recording = {}
    record([("a set", {1}), ("a type", int)], recording)
    assert recording == {"builtins:set": {"called": {("list",)}}, "builtins:int": {"named": set()}}
    file = tmp_path / "recording.json"
    document = {"made_with": "A 1", "standard_library": ["os"], "names": {"a:B": {"made": [["x"]]}}}
    file.write_text(json.dumps(document), "utf-8")
    assert read_recording(file) == Recorded("A 1", frozenset({"os"}), {"a:B": {"made": {("x",)}}})


def test_an_object_that_cannot_be_recorded_is_named() -> None:
    """The generator stops at it rather than forgetting it."""
    with pytest.raises(RuntimeError, match="a generator: "):
        record([("a generator", (number for number in range(1)))], {})


def test_merge_writes_the_allowlist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line merges files, and knows nothing else but to record and to make."""
    target = tmp_path / "allowlist.json"
    monkeypatch.setattr("tools.allowlist.__main__.ALLOWLIST", target)
    file = tmp_path / "recording.json"
    document = {"made_with": "A 1", "standard_library": [], "names": {"numpy:x": {"named": []}}}
    file.write_text(json.dumps(document), "utf-8")
    assert main(["merge", str(file)]) == 0
    assert json.loads(target.read_text("utf-8"))["names"] == {"numpy:x": {}}
    assert main(["merge"]) == 2
    assert merging.ALLOWLIST == ALLOWLIST
