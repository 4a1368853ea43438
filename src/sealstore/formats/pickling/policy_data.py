"""What is built into every policy: reviewed data, read once.

Three files beside this module, of one line an entry. ``allowlist.json`` is generated from objects
that were really made and dumped (``python -m tools.allowlist``) and lists names with their uses.
``pinned.json`` and ``denylist.json`` are written by hand, each entry with its reason: names that
are trusted with certain arguments alone, and names that are dangerous whatever they are used for.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from sealstore.formats.pickling.policy_entry import NAMED

Alternatives = tuple[tuple[str, ...], ...]
"""Argument lists of which one must fit. Each argument is a text as inspection shows it, or only its
first word, which fits whatever follows: ``str``, ``global``."""

_FOLDER: Final = os.path.join(os.path.dirname(__file__), "data")


class _AllowlistFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    made_with: tuple[str, ...]
    covered: frozenset[str]
    names: dict[str, dict[str, Alternatives | None]]


class _PinnedName(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    reason: str
    named: Alternatives | msgspec.UnsetType | None = msgspec.UNSET
    called: Alternatives | msgspec.UnsetType | None = msgspec.UNSET
    built: Alternatives | msgspec.UnsetType | None = msgspec.UNSET
    extended: Alternatives | msgspec.UnsetType | None = msgspec.UNSET


class _PinnedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    names: dict[str, _PinnedName]


class _DenylistFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    modules: dict[str, str]
    names: dict[str, str]


_File = TypeVar("_File", _AllowlistFile, _PinnedFile, _DenylistFile)


@dataclass(frozen=True, slots=True)
class Trusted:
    """What is known of a trusted name.

    Attributes:
        uses: by use, the arguments that it may have; None where any will do.
        pinned_for: why its arguments matter, where a person has written that down.
    """

    uses: Mapping[str, Alternatives | None]
    pinned_for: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyData:
    """The built-in lists.

    Attributes:
        made_with: the versions of Python and packages whose objects the allowlist is made of.
        covered: top-level modules of which every name that is not trusted is dangerous.
        trusted: trusted names.
        denied_modules: why a module, with everything beneath it, is dangerous.
        denied_names: why a name, or one use of it (``numpy:memmap called``), is dangerous.
    """

    made_with: tuple[str, ...]
    covered: frozenset[str]
    trusted: Mapping[str, Trusted]
    denied_modules: Mapping[str, str]
    denied_names: Mapping[str, str]

    def denial(self, name: str, use: str) -> str | None:
        """Why ``name`` is dangerous in any policy, None where it isn't listed as such."""
        reason = self.denied_names.get(name) or self.denied_names.get(f"{name} {use}")
        if reason is not None:
            return reason
        module = name.partition(":")[0]
        while module:
            reason = self.denied_modules.get(module)
            if reason is not None:
                return reason
            module = module.rpartition(".")[0]
        return None

    def covers(self, name: str) -> bool:
        """Whether ``name`` is of the standard library or of a package on the allowlist."""
        return name.partition(":")[0].partition(".")[0] in self.covered


@functools.cache
def policy_data() -> PolicyData:
    """The built-in lists, read from their files the first time."""
    allowlist = _read("allowlist.json", _AllowlistFile)
    pinned = _read("pinned.json", _PinnedFile)
    denylist = _read("denylist.json", _DenylistFile)
    trusted = {name: Trusted({NAMED: None, **uses}) for name, uses in allowlist.names.items()}
    trusted.update((name, _trusted(entry)) for name, entry in pinned.names.items())
    return PolicyData(
        made_with=allowlist.made_with,
        covered=allowlist.covered | sys.stdlib_module_names,
        trusted=trusted,
        denied_modules=denylist.modules,
        denied_names=denylist.names,
    )


def _trusted(entry: _PinnedName) -> Trusted:
    uses = {
        NAMED: entry.named,
        "called": entry.called,
        "built": entry.built,
        "extended": entry.extended,
    }
    return Trusted(
        {use: lists for use, lists in uses.items() if lists is not msgspec.UNSET},
        entry.reason,
    )


def _read(file: str, kind: type[_File]) -> _File:
    with open(os.path.join(_FOLDER, file), "rb") as opened:
        return msgspec.json.decode(opened.read(), type=kind)
