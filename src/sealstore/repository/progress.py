"""How long work tells how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears of progress; called from one thread at a time."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Take note.

        Args:
            what: the phase, such as ``payloads``.
            done: units of it that are done: artifacts, or bytes in the phase ``payloads``.
            total: units in all, as far as is known.
        """
        ...


def no_progress(_what: str, _done: int, _total: int, /) -> None:
    """Nobody listens."""
