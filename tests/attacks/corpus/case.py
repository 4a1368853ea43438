"""What the corpus is made of: attacks and harmless objects, each with what is known about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

MARKER: Final = "fired"
"""Attacks leave a file of this name, or one whose name begins so, in the working folder."""

PAYLOAD: Final = "payload.joblib"
"""The name of each case's file. It is also the name by which scanners know what it is."""

SHELL: Final = f"touch {MARKER}"
PYTHON: Final = f"open('{MARKER}', 'w').close()"


class When(StrEnum):
    """At which moment an attack has its effect."""

    LOAD = "load"
    SECOND_LOAD = "second load"
    USE = "use"
    EXIT = "exit"


class Effect(StrEnum):
    """What an attack does: leave the marker; exhaust memory, processor or stack; corrupt memory."""

    MARKER = "marker"
    EXHAUSTS = "exhausts"
    CRASHES = "crashes"


def _always() -> None:
    return None


def _no_neighbours() -> dict[str, bytes]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A malicious file.

    Attributes:
        kind: the class of attack that it belongs to.
        name: its name within that class.
        how: how it comes to run, in a few words.
        payload: makes its bytes, the same ones each time.
        when: the moment at which it fires.
        effect: what it does then.
        use: what a victim does with the loaded object, for those that wait for it.
        neighbours: the files that lie beside it.
        dormant: why it does not fire with what is installed here, or None where it does. It is
            refused all the same.
    """

    kind: str
    name: str
    how: str
    payload: Callable[[], bytes]
    when: When = When.LOAD
    effect: Effect = Effect.MARKER
    use: Callable[[Any], object] | None = None
    neighbours: Callable[[], Mapping[str, bytes]] = _no_neighbours
    dormant: Callable[[], str | None] = _always

    @property
    def id(self) -> str:
        """What names it in the whole corpus."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Harmless:
    """A file that nobody may refuse.

    Attributes:
        name: its name.
        make: makes the object.
        options: how it is written: arguments of ``joblib.dump``.
    """

    name: str
    make: Callable[[], Any]
    options: Mapping[str, Any]

    @property
    def id(self) -> str:
        """What names it in the whole corpus."""
        return f"benign/{self.name}"

    def write(self, path: Path) -> None:
        """Write it to ``path``, as its users do."""
        import joblib

        joblib.dump(self.make(), path, **self.options)


class Collection:
    """The attacks of one kind, as a module declares them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.attacks: list[Attack] = []

    def add(self, name: str, how: str, payload: bytes | Callable[[], bytes], **known: Any) -> None:
        """Declare one attack; see `Attack`."""
        if any(attack.name == name for attack in self.attacks):
            raise ValueError(f"{self.kind}/{name} is there already")
        make = payload if callable(payload) else _constant(bytes(payload))
        self.attacks.append(Attack(kind=self.kind, name=name, how=how, payload=make, **known))


def _constant(data: bytes) -> Callable[[], bytes]:
    return lambda: data


# ── when an attack lies dormant ──────────────────────────────────────────────


def unless_installed(module: str) -> Callable[[], str | None]:
    """Dormant where a module is not there."""

    def why() -> str | None:
        try:
            found = importlib.util.find_spec(module) is not None
        except ImportError:
            found = False
        return None if found else f"there is no {module} here"

    return why


def from_python(*version: int) -> Callable[[], str | None]:
    """Dormant from this version of Python on."""
    text = ".".join(map(str, version))
    return lambda: f"Python {text} no longer has it" if sys.version_info >= version else None


def before_python(*version: int) -> Callable[[], str | None]:
    """Dormant before this version of Python."""
    text = ".".join(map(str, version))
    return lambda: f"Python has it since {text}" if sys.version_info < version else None


def from_version(package: str, *version: int) -> Callable[[], str | None]:
    """Dormant from this version of a package on."""
    text = ".".join(map(str, version))
    return lambda: f"{package} {text} mended it" if installed(package) >= version else None


def before_version(package: str, *version: int) -> Callable[[], str | None]:
    """Dormant before this version of a package."""
    text = ".".join(map(str, version))
    return lambda: f"{package} has it since {text}" if installed(package) < version else None


def installed(package: str) -> tuple[int, ...]:
    """The installed version of a package, as numbers."""
    return tuple(map(int, re.findall(r"\d+", importlib.metadata.version(package))[:3]))


# ── files ────────────────────────────────────────────────────────────────────


def write_attack(attack: Attack, folder: Path) -> Path:
    """Write an attack and its neighbours into ``folder``; the path of its payload."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in attack.neighbours().items():
        (folder / name).write_bytes(data)
    path = folder / PAYLOAD
    path.write_bytes(attack.payload())
    return path


def by_id(cases: Iterable[Attack]) -> dict[str, Attack]:
    """The attacks by their ids, of which no two are the same."""
    found: dict[str, Attack] = {}
    for case in cases:
        if case.id in found:
            raise ValueError(f"two attacks are called {case.id}")
        found[case.id] = case
    return found
