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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeVar

import msgspec

from sealstore.signed.statement import Import

Alternatives = tuple[tuple[str, ...], ...]
"""Argument lists of which one must fit. Each argument is a text as inspection shows it, or only its
first word, which fits whatever follows: ``str``, ``global``."""

NAMED: Final = "named"
"""The use of a name that the object only refers to, for which a statement lists no use."""

ANOTHER_TEMPLATE: Final = ("dict with another template",)
"""How an inspection shows a state that brings code of its own along; see `instance_states`."""

_REMEMBERED_NAMES: Final = 2_048
_REMEMBERED_ANSWERS: Final = 64  # a service loads the same few artifacts again and again
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
    """The built-in lists, but for the trusted names: see `trusted`.

    Attributes:
        made_with: the versions of Python and packages whose objects the allowlist is made of.
        covered: top-level modules of which every name that is not trusted is dangerous.
        denied_modules: why a module, with everything beneath it, is dangerous.
        denied_names: why a name, or one use of it (``numpy:memmap called``), is dangerous.
    """

    made_with: tuple[str, ...]
    covered: frozenset[str]
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
    denylist = _read("denylist.json", _DenylistFile)
    return PolicyData(
        made_with=_allowlist().made_with,
        covered=_allowlist().covered | sys.stdlib_module_names,
        denied_modules=denylist.modules,
        denied_names=denylist.names,
    )


@functools.lru_cache(_REMEMBERED_NAMES)
def trusted(name: str) -> Trusted | None:
    """What is known of ``name``, None where it is not trusted."""
    pinned = _pinned().get(name)
    if pinned is not None:
        return _trusted(pinned)
    uses = _allowlist().names.get(name)
    return None if uses is None else Trusted({NAMED: None, **uses})


def trusted_names() -> Iterator[str]:
    """All names of which something is known."""
    return chain(_pinned(), _allowlist().names)


def are_trusted(imports: Sequence[Import]) -> bool:
    """Whether the built-in lists trust all of ``imports``, with all of their uses and arguments.

    What is true of nearly every payload, and takes the least to find out. Where it is not, a
    `policy.Policy` judges: it knows why, and what else may be accepted.
    """
    return _are_trusted((*imports,))


@functools.lru_cache(_REMEMBERED_ANSWERS)
def _are_trusted(imports: tuple[Import, ...]) -> bool:
    return all(_is_trusted(entry, imports) for entry in imports)


def _is_trusted(entry: Import, imports: tuple[Import, ...]) -> bool:
    known = trusted(entry.name)
    if known is None:
        return False
    if not _may_be_named(known) and (
        not entry.uses or entry.name in names_among_arguments(imports)
    ):
        return False
    return all(_is_trusted_use(known.uses.get(use.use, ()), use.arguments) for use in entry.uses)


def _is_trusted_use(lists: Alternatives | None, arguments: tuple[str, ...] | None) -> bool:
    if lists is None:
        return arguments != ANOTHER_TEMPLATE
    return (
        arguments is not None
        and fits(lists, arguments, never)
        and all(map(_may_be_argument, arguments))
    )


def _may_be_argument(argument: str) -> bool:
    if not argument.startswith(GLOBAL):
        return True
    known = trusted(argument[len(GLOBAL) :])
    return known is not None and _may_be_named(known)


def _may_be_named(known: Trusted) -> bool:
    return known.uses.get(NAMED, ()) is None


@functools.cache
def _allowlist() -> _AllowlistFile:
    return _read("allowlist.json", _AllowlistFile)


@functools.cache
def _pinned() -> Mapping[str, _PinnedName]:
    return _read("pinned.json", _PinnedFile).names


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


_KINDS: Final = frozenset(("str", "int", "bool", "global", "made", "result"))
"""First words of arguments that are shown with a value."""

GLOBAL: Final = "global "
"""Stands before a ``module:qualname`` that is an argument."""


def fits(
    alternatives: Alternatives, arguments: tuple[str, ...], is_free: Callable[[str], bool]
) -> bool:
    """Whether ``arguments`` are one of ``alternatives``.

    Args:
        alternatives: argument lists; see `Alternatives`.
        arguments: as an inspection shows them.
        is_free: whether a name may stand where an alternative has another one.
    """
    return any(
        len(pattern) == len(arguments)
        and all(
            expected == shown or _fits_one(expected, shown, is_free)
            for expected, shown in zip(pattern, arguments, strict=True)
        )
        for pattern in alternatives
    )


def _fits_one(expected: str, shown: str, is_free: Callable[[str], bool]) -> bool:
    if expected in _KINDS:
        return shown.startswith(f"{expected} ")
    return (
        expected.startswith(GLOBAL) and shown.startswith(GLOBAL) and is_free(shown[len(GLOBAL) :])
    )


def never(_name: str) -> bool:
    """For `fits`: no name may stand for a different one."""
    return False


def names_among_arguments(imports: Iterable[Import]) -> frozenset[str]:
    """The names that some use of ``imports`` has for an argument."""
    return frozenset(
        argument[len(GLOBAL) :]
        for entry in imports
        for use in entry.uses
        for argument in use.arguments or ()
        if argument.startswith(GLOBAL)
    )
