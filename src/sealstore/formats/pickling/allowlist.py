"""What every policy trusts: reviewed data, read once.

Two files beside this module, of one line an entry. ``allowlist.json`` is generated from objects
that were really made and dumped (``python -m tools.allowlist``) and lists names with their uses.
``pinned.json`` is written by hand, each entry with its reason: names that are trusted with certain
arguments alone. What every policy calls dangerous stands in ``denylist``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
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

_List = TypeVar("_List")


class Trusted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a trusted name.

    Attributes:
        uses: by use, the arguments that it may have; None where any will do.
        reason: why its arguments matter, where a person has written that down.
    """

    uses: dict[str, Alternatives | None]
    reason: str | None = None


class Allowlist(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``allowlist.json`` says.

    Attributes:
        format: 1.
        made_with: the versions of Python and packages whose objects it is made of.
        covered: top-level modules of which every name that is not trusted is dangerous.
        names: by name and use, the arguments that the name may have.
    """

    format: int
    made_with: tuple[str, ...]
    covered: frozenset[str]
    names: dict[str, dict[str, Alternatives | None]]


class PinnedNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``pinned.json`` says: names that a person has written down, each with its reason."""

    format: int
    names: dict[str, Trusted]


@functools.cache
def allowlist() -> Allowlist:
    """The generated list, read the first time."""
    return read_list("allowlist.json", Allowlist)


@functools.cache
def pinned() -> PinnedNames:
    """The list that is written by hand, read the first time."""
    return read_list("pinned.json", PinnedNames)


def read_list(file: str, kind: type[_List]) -> _List:
    """One of the lists beside this module.

    Raises:
        msgspec.ValidationError: it does not decode strictly.
    """
    with open(os.path.join(_FOLDER, file), "rb") as opened:
        return msgspec.json.decode(opened.read(), type=kind)


@functools.lru_cache(_REMEMBERED_NAMES)
def trusted(name: str) -> Trusted | None:
    """What is known of ``name``, None where it is not trusted."""
    known = pinned().names.get(name)
    if known is None and name in allowlist().names:
        known = Trusted({NAMED: None, **allowlist().names[name]})
    return known


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
        is_free: whether a name may stand where an alternative has a different one.
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
