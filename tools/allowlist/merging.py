"""Recordings, merged into the allowlist: one entry a line, the same bytes for the same objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sealstore.formats.pickling.instance_states import WITH_SCIPYS_TEMPLATE
from tools.allowlist.recording import Recording

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "src" / "sealstore" / "formats" / "pickling" / "data"
ALLOWLIST = DATA / "allowlist.json"

PACKAGES = (
    # By this name scikit-learn 1.5 to 1.7 registers its own sklearn._loss._loss.
    "_loss",
    *("dateutil", "joblib", "numpy", "pandas", "pyarrow", "pytz", "scipy", "sklearn"),
    *("threadpoolctl", "tzdata"),
)
"""Top-level modules that are covered: what of them isn't on the allowlist is dangerous."""


@dataclass(frozen=True)
class Recorded:
    """A recording, and what it was made with."""

    made_with: str
    standard_library: frozenset[str]
    names: Recording


def read_recording(path: Path) -> Recorded:
    """The recording that `recording.recorded_here` wrote to a file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return Recorded(
        document["made_with"],
        frozenset(document["standard_library"]),
        {
            name: {use: {tuple(arguments) for arguments in lists} for use, lists in uses.items()}
            for name, uses in document["names"].items()
        },
    )


def merged(recordings: Iterable[Recorded]) -> str:
    """The allowlist of ``recordings``, as the text of its file.

    Raises:
        RuntimeError: a recorded name that must not be on an allowlist.
    """
    together: Recording = {}
    made_with = []
    covered = set(PACKAGES)
    for recorded in recordings:
        made_with.append(recorded.made_with)
        covered |= recorded.standard_library
        for name, uses in recorded.names.items():
            for use, lists in uses.items():
                together.setdefault(name, {}).setdefault(use, set()).update(lists)
    names = {name: _entry(name, uses) for name, uses in together.items() if _is_listed(name)}
    _refuse_others(names, covered)
    return _text(made_with, covered, names)


def _pinned() -> set[str]:
    return set(json.loads((DATA / "pinned.json").read_text(encoding="utf-8"))["names"])


def _is_listed(name: str) -> bool:
    # Pinned names have their own file. A constructor under its own name is how protocols 2 and 3
    # write results of scipy's tests, through a partial function that is called while loading.
    return name not in _pinned() and not name.endswith(".__new__")


def _entry(name: str, uses: dict[str, set[tuple[str, ...]]]) -> dict[str, list[list[str]] | None]:
    entry: dict[str, list[list[str]] | None] = {}
    for use, lists in sorted(uses.items()):
        if use == "named":
            continue
        if use == "result-called":
            raise RuntimeError(f"{name} returns something that is called: pin its arguments")
        entry[use] = _alternatives(use, lists)
    return entry


def _alternatives(use: str, lists: set[tuple[str, ...]]) -> list[list[str]] | None:
    """The arguments that ``use`` is trusted with, None for any."""
    if (WITH_SCIPYS_TEMPLATE,) in lists:
        return [[WITH_SCIPYS_TEMPLATE]]
    if use == "built" and lists == {("dict",)}:
        # The attributes. A pair of dicts, for one, would set slots, and more than slots.
        return [["dict"]]
    takes_names = any(argument.startswith("global ") for found in lists for argument in found)
    return sorted(map(list, lists)) if use == "called" and takes_names else None


def _refuse_others(names: dict[str, dict[str, list[list[str]] | None]], covered: set[str]) -> None:
    denylist = json.loads((DATA / "denylist.json").read_text(encoding="utf-8"))
    for name, uses in names.items():
        module = name.partition(":")[0]
        parts = module.split(".")
        above = {".".join(parts[: length + 1]) for length in range(len(parts))}
        spelled = {name, f"{name} named", *(f"{name} {use}" for use in uses)}
        if above & denylist["modules"].keys() or spelled & denylist["names"].keys():
            raise RuntimeError(f"{name} is on the denylist")
        if parts[0] not in covered:
            raise RuntimeError(f"{name} is of a package that the allowlist does not cover")


def _text(
    made_with: list[str], covered: set[str], names: dict[str, dict[str, list[list[str]] | None]]
) -> str:
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(names[name])}" for name in sorted(names))
    head = ",\n".join(map(json.dumps, made_with))
    return (
        f'{{\n"format": 1,\n"made_with": [\n{head}\n],\n'
        f'"covered": {json.dumps(sorted(covered))},\n"names": {{\n{lines}\n}}\n}}\n'
    )
