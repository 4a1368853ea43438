"""One thing that was looked at, and how it is."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from sealstore.errors import SealstoreError


class Level(StrEnum):
    """How a thing is."""

    OK = "ok"
    NOTE = "note"
    """Works, and somebody should know."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and the command that mends it.

    Attributes:
        topic: a stable word: ``keyring``, ``catalogue``, …
        level: see ``Level``.
        text: what was found.
        fix: what to do; empty where all is well.
        details: the same as values, for JSON.
    """

    topic: str
    level: Level
    text: str
    fix: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def ok(cls, topic: str, text: str, **details: Any) -> Self:
        """All is well."""
        return cls(topic, Level.OK, text, "", details)

    @classmethod
    def note(cls, topic: str, text: str, fix: str = "", **details: Any) -> Self:
        """Something to know."""
        return cls(topic, Level.NOTE, text, fix, details)

    @classmethod
    def wrong(cls, topic: str, text: str, fix: str, **details: Any) -> Self:
        """Something to mend."""
        return cls(topic, Level.WRONG, text, fix, details)

    @classmethod
    def failed(cls, topic: str, error: SealstoreError) -> Self:
        """What ``error`` says is wrong."""
        hint = error.hint.replace("{path}", quoted(error.path or ""))
        return cls(topic, Level.WRONG, error.message, hint, {"code": error.code})

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "topic": self.topic,
            "level": str(self.level),
            "text": self.text,
            "fix": self.fix,
            **({"details": self.details} if self.details else {}),
        }


def quoted(path: str | Path) -> str:
    """A path as a shell takes it, in a command to be copied."""
    return shlex.quote(str(path))
