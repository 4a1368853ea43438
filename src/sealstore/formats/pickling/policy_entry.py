"""One line of a policy: an exact name, optionally with a use. No prefixes and no patterns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from sealstore import limits

NAMED: Final = "named"
"""The use of a name that the object only refers to, for which a statement lists no use."""

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
