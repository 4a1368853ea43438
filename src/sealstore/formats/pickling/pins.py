"""Arguments against which a use is held: argument lists, of which one must fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from sealstore.formats.pickling.policy_data import Alternatives
from sealstore.signed.statement import Import

_KINDS: Final = frozenset(("str", "int", "bool", "global", "made", "result"))
"""First words of arguments that are shown with a value."""

GLOBAL: Final = "global "
"""Stands before a ``module:qualname`` that is an argument."""


def fits(
    alternatives: Alternatives, arguments: tuple[str, ...], is_free: Callable[[str], bool]
) -> bool:
    """Whether ``arguments`` are one of ``alternatives``.

    Args:
        alternatives: argument lists; see ``policy_data.Alternatives``.
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


def names_among_arguments(imports: Iterable[Import]) -> frozenset[str]:
    """The names that some use of ``imports`` has for an argument."""
    return frozenset(
        argument[len(GLOBAL) :]
        for entry in imports
        for use in entry.uses
        for argument in use.arguments or ()
        if argument.startswith(GLOBAL)
    )
