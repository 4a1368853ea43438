"""The built-in lists: how their files are written, and what stands in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealstore.formats.pickling import allowlist
from sealstore.formats.pickling.denylist import covered_modules, denylist
from sealstore.formats.pickling.instance_states import WITH_ANOTHER_TEMPLATE
from sealstore.formats.pickling.policy import Policy
from sealstore.formats.pickling.verdicts import USES, Level, is_name
from sealstore.signed.statement import Import, ImportUse

DATA = Path(allowlist.__file__).parent / "data"
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


def trusted_names() -> set[str]:
    """Every name of which the lists know something good."""
    return {*allowlist.pinned().names, *allowlist.allowlist().names}


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
    for file in FILES:
        names = [key for key in entries(file) if ":" in key]
        assert len(names) == len(set(names))


def test_the_allowlist_lists_uses_that_statements_know() -> None:
    """A misspelled use would trust nothing, silently."""
    for name, uses in content("allowlist.json")["names"].items():
        assert is_name(name)
        assert uses.keys() <= USES_WITHOUT_A_NAME, name
    for name, entry in content("pinned.json")["names"].items():
        assert is_name(name)
        assert entry["reason"]
        assert entry["uses"].keys() <= set(USES), name


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
    assert name in trusted_names()


def test_the_running_standard_library_is_covered() -> None:
    """A module that a newer Python adds is dangerous until somebody lists it."""
    covered = covered_modules()
    assert sys.stdlib_module_names <= covered
    assert {"numpy", "pandas", "scipy", "sklearn", "joblib"} <= covered
    assert "mine" not in covered


def test_the_lists_are_read_once() -> None:
    """Every policy of a process shares them."""
    assert denylist() is denylist()
    assert allowlist.allowlist() is allowlist.allowlist()
    assert allowlist.pinned() is allowlist.pinned()


def test_a_data_file_with_an_unknown_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelled key in a list must not make the list shorter."""
    for file in FILES:
        (tmp_path / file).write_bytes((DATA / file).read_bytes())
    broken = content("denylist.json")
    broken["name"] = broken.pop("names")
    (tmp_path / "denylist.json").write_text(json.dumps(broken), "utf-8")
    monkeypatch.setattr(allowlist, "_FOLDER", str(tmp_path))
    with pytest.raises(msgspec.ValidationError):
        denylist.__wrapped__()


# ── what is trusted needs no judge ───────────────────────────────────────────


def trusted_imports() -> Iterator[Import]:
    """Every use of every trusted name, as a statement could list it."""
    for name in trusted_names():
        known = allowlist.trusted(name)
        assert known is not None
        for use, lists in known.uses.items():
            if use == "named":
                yield Import(name, ())
                continue
            for arguments in [("tuple",), None] if lists is None else lists:
                yield Import(name, (ImportUse(use, arguments),))  # type: ignore[arg-type] # a use


def changed(entry: Import) -> Iterator[Import]:
    """``entry``, and others that are not quite so."""
    yield entry
    yield Import(f"{entry.name}x", entry.uses)
    yield Import("mine:Model", entry.uses)
    for use in entry.uses:
        others: list[tuple[str, ...] | None] = [None, (), allowlist.ANOTHER_TEMPLATE]
        if use.arguments:
            first, *rest = use.arguments
            others += [(first, *rest, "int 1"), tuple(rest), (f"{first} 'x'", *rest)]
            others += [("global os:system", *rest), ("global mine:Model", *rest)]
        for arguments in others:
            yield Import(entry.name, (ImportUse(use.use, arguments),))
        yield Import(entry.name, (ImportUse("result-called", use.arguments),))


def test_what_is_trusted_without_a_judge_is_trusted_by_one() -> None:
    """The quick answer is yes only where the policy finds every use trusted."""
    policy = Policy("strict")
    answers = set()
    for entry in trusted_imports():
        for imports in [(each,) for each in changed(entry)]:
            verdicts = policy.judge(imports)
            quick = allowlist.are_trusted(imports)
            answers.add(quick)
            assert not quick or {verdict.level for verdict in verdicts} == {Level.TRUSTED}, imports
    assert answers == {True, False}


def test_most_of_what_is_trusted_needs_no_judge() -> None:
    """All that a name is trusted for is found by the quick answer, but for words that fit many."""
    slow = {entry.name for entry in trusted_imports() if not allowlist.are_trusted((entry,))}
    assert slow < set(content("pinned.json")["names"])


def test_a_name_that_must_not_be_handed_on_is_looked_for_among_arguments() -> None:
    """Whoever gets such a name could call it, so that its own uses say too little."""
    pinned = Import("functools:partial", (ImportUse("called", ("global numpy:log",)),))
    handing = Import(
        "sklearn.svm._classes:SVC", (ImportUse("made", ("global functools:partial",)),)
    )
    assert allowlist.are_trusted((pinned,))
    assert not allowlist.are_trusted((pinned, handing))


def test_the_policys_word_for_a_state_with_code_is_the_inspections() -> None:
    """Each says it by itself: a load knows no inspection."""
    assert allowlist.ANOTHER_TEMPLATE == (WITH_ANOTHER_TEMPLATE,)
