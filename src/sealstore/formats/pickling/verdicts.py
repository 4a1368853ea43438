"""The words of a policy: its entries, what it can think of an import, and how it says so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Self

from sealstore import limits
from sealstore.errors import PolicyError
from sealstore.formats.pickling.allowlist import NAMED

USES: Final = (NAMED, "called", "made", "built", "extended", "result-called")
"""What a payload can do with a name, as ``pickling.uses`` tells it."""

_IDENTIFIERS: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Entry:
    """A name, or one use of it.

    Attributes:
        name: ``module:qualname``.
        use: one of ``USES``, or None for all of them.
    """

    name: str
    use: str | None = None

    def __str__(self) -> str:
        return self.name if self.use is None else f"{self.name} {self.use}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The entry that ``text`` spells, such as ``functools:partial called``.

        Raises:
            ValueError: it is none; the message says why, without quoting it.
        """
        name, space, use = text.partition(" ")
        if space and use not in USES:
            raise ValueError(f"behind the name stands a use, one of: {', '.join(USES)}")
        if not is_name(name):
            raise ValueError(
                "a name is spelled module:qualname, exactly, without prefixes or patterns"
            )
        return cls(name, use or None)


def is_name(text: str) -> bool:
    """Whether ``text`` is a ``module:qualname`` that a pickler could have written."""
    if len(text) > limits.MAX_POLICY_NAME_CHARACTERS:
        return False
    module, colon, qualname = text.partition(":")
    return bool(colon) and all(map(_IDENTIFIERS.fullmatch, (module, qualname)))


_SHOWN_REFUSALS: Final = 10
_SHOWN_NAME_CHARACTERS: Final = 200


class Level(StrEnum):
    """How far an import is trusted."""

    TRUSTED = "trusted"
    UNKNOWN = "unknown"
    DANGEROUS = "dangerous"


class Source(StrEnum):
    """What a verdict rests on."""

    ALLOWLIST = "allowlist"
    """the name and its use are on it, and its arguments fit"""
    ARGUMENTS = "arguments"
    """the name and its use are on the allowlist, and its arguments do not fit"""
    DENYLIST = "denylist"
    """the name, or a module above it, is on it"""
    COVERED = "covered"
    """its package is one of those that the allowlist is made of, and it isn't on it"""
    FORM = "form"
    """how the name is spelled"""
    SITE = "site"
    """one of the site's own entries"""
    NOTHING = "nothing"
    """nobody has said anything about it"""


class Verdict(NamedTuple):
    """What a policy thinks of one import.

    Attributes:
        name: ``module:qualname``.
        use: the use that the verdict is about; of a name's several, the worst one.
        level: how far it is trusted.
        source: what that rests on.
        reason: a phrase that follows the name; empty for what is trusted.
        lacks_arguments: whether another inspection of the payload could change the verdict.
        is_refused: whether the policy that judged refuses it.
    """

    name: str
    use: str
    level: Level
    source: Source
    reason: str = ""
    lacks_arguments: bool = False
    is_refused: bool = False


_GRAVITY: Final = {Level.TRUSTED: 0, Level.UNKNOWN: 1, Level.DANGEROUS: 2}


def gravity(verdict: Verdict) -> int:
    """The larger, the worse."""
    return _GRAVITY[verdict.level]


def refusal(verdicts: list[Verdict], count: int, mode: str) -> PolicyError:
    """The error that names each refused use; ``count`` is how many names were judged."""
    shown = "; ".join(map(_shown, verdicts[:_SHOWN_REFUSALS]))
    left_out = len(verdicts) - _SHOWN_REFUSALS
    more = f"; and {left_out} more" if left_out > 0 else ""
    lacking = all(verdict.lacks_arguments for verdict in verdicts)
    return PolicyError(
        f"The {mode} policy refuses {len({verdict.name for verdict in verdicts})} of {count}"
        f" imports: {shown}{more}.",
        hint=_INSPECT_AGAIN if lacking else None,
    )


_INSPECT_AGAIN: Final = (
    "'sealstore inspect --resign' inspects it again and records the arguments that are missing."
)


def _shown(verdict: Verdict) -> str:
    name = verdict.name
    if len(name) > _SHOWN_NAME_CHARACTERS:
        name = f"{name[:_SHOWN_NAME_CHARACTERS]}…"
    use = "" if verdict.use == NAMED else f" ({verdict.use})"
    return f"{name}{use}: {verdict.reason}"
