"""Names, tags and references: what may become a path segment.

Each accepted (name, tag) is two path segments of its own, so that no two artifacts share a file
and none leaves the repository. Every rule has its own error text.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from sealstore import limits
from sealstore.errors import InvalidNameError, ReservedTagError

LATEST: Final = "latest"

_PUNCTUATION: Final = frozenset("._-+=, ()[]")
_FIRST_PUNCTUATION: Final = frozenset("_")
_LAST_FORBIDDEN: Final = frozenset(". ")
_REVISION_DIGITS: Final = 19
"""Digits of ``limits.MAX_SEQUENCE``."""


class _Segment(str):
    """A string that has passed the rules for path segments."""

    kind: ClassVar[str] = "name"
    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if isinstance(text, str):
            # A subclass, such as an enumeration's member, may have another __str__, and that is
            # what the new string would be made of: unchecked.
            text = str.__str__(text)
        broken_rule = _broken_rule(text)
        if broken_rule is not None:
            raise InvalidNameError(
                f"The {cls.kind} {_shown(text)} is not allowed: {broken_rule}.",
                hint=f"choose another {cls.kind}, such as 'churn_model' or '2026-11'.",
            )
        return super().__new__(cls, text)


class Name(_Segment):
    """The name of an artifact."""

    kind = "name"
    __slots__ = ()


class Tag(_Segment):
    """The tag of an artifact, or ``latest`` in a request to load."""

    kind = "tag"
    __slots__ = ()

    @property
    def is_latest(self) -> bool:
        """Whether this tag asks for what was stored last, in any case of its letters."""
        return self.casefold() == LATEST

    @classmethod
    def to_store(cls, text: str) -> Self:
        """A tag that something may be stored under.

        Raises:
            ReservedTagError: for ``latest``, in any case.
            InvalidNameError: for anything that is no tag at all.
        """
        tag = cls(text)
        if tag.is_latest:
            raise ReservedTagError(
                '"latest" has a special meaning as a tag: it loads what was stored last, and cannot'
                " be stored under.",
                hint="store under a tag of its own, such as a date or a version.",
            )
        return tag


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """Which artifact: a name, a tag, and a revision unless the newest is meant."""

    name: Name
    tag: Tag
    revision: int | None = None

    def __str__(self) -> str:
        suffix = "" if self.revision is None else f"@{self.revision}"
        return f"{self.name}:{self.tag}{suffix}"


def request(name: str, tag: str, revision: int | None = None) -> ArtifactRef:
    """The reference for a request to load.

    Raises:
        InvalidNameError: the name, the tag or the revision is none.
    """
    ref = ArtifactRef(Name(name), Tag(tag), revision)
    if revision is not None:
        # bool is an int: True would be revision 1 by accident.
        if type(revision) is not int or not 1 <= revision <= limits.MAX_SEQUENCE:
            raise InvalidNameError("A revision is a whole number from 1 on.", artifact=ref)
        if ref.tag.is_latest:
            raise InvalidNameError(
                "A revision belongs to a tag; 'latest' has none.",
                artifact=ref,
                hint="name the tag whose revision you want.",
            )
    return ref


def parse_request(text: str) -> ArtifactRef:
    """The reference that ``NAME``, ``NAME:TAG`` or ``NAME:TAG@REVISION`` is; ``latest`` by default.

    Raises:
        InvalidNameError: it is none.
    """
    # No name or tag has either of these characters.
    name, _, rest = text.partition(":")
    tag, at, digits = rest.partition("@")
    if not at:
        return request(name, tag or LATEST)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _REVISION_DIGITS):
        raise InvalidNameError(
            "A revision is a whole number from 1 on.", hint="write NAME:TAG@REVISION: churn:v1@2."
        )
    return request(name, tag, int(digits))


def _broken_rule(text: str) -> str | None:
    if not isinstance(text, str):
        return "it is not a string"
    if not text:
        return "it is empty"
    if len(text) > limits.MAX_NAME_CHARACTERS:
        return f"it has more than {limits.MAX_NAME_CHARACTERS} characters"
    for character in text:
        # isalnum() covers letters and digits of all scripts, and no control or format characters.
        if not (character.isalnum() or character in _PUNCTUATION):
            return (
                f"it contains {_shown(character)}; letters, digits, spaces and . _ - + = , ( ) [ ]"
                " are allowed"
            )
    if not (text[0].isalnum() or text[0] in _FIRST_PUNCTUATION):
        return "it does not begin with a letter, a digit or an underscore"
    if text[-1] in _LAST_FORBIDDEN:
        return "it ends with a dot or a space"
    if len(text.encode("utf-8")) > limits.MAX_NAME_BYTES:
        return f"it has more than {limits.MAX_NAME_BYTES} bytes in UTF-8"
    if unicodedata.normalize("NFC", text) != text:
        return "it is not in Unicode normal form C, so another name could look the same"
    return None


def _shown(text: object) -> str:
    if not isinstance(text, str):
        return f"of type {type(text).__name__}"
    shortened = text if len(text) <= 64 else text[:61] + "..."
    return ascii(shortened)


LATEST_TAG: Final = Tag(LATEST)
"""The tag that asks for what was stored last under a name."""
