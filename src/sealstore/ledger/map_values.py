"""What the map says: the values under its keys, as canonical JSON.

Under the key of a name and a tag, an alias or ``latest`` stands what that means now; under the key
of a revision, what became of it; and ``alias_names`` says which aliases a name has. All of it is
written by whoever signs the head.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from sealstore import limits
from sealstore.errors import LedgerFormatError
from sealstore.ledger.documents import decode_document, require_stored_tag
from sealstore.names import Tag
from sealstore.signed.statement import Positive, Sha256Hex


class MapValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all of them share: ``kind`` says which it is."""


class TagValue(MapValue, frozen=True, kw_only=True, tag="tag"):
    """What a tag means.

    Attributes:
        revision: the newest that has not been removed; None if all have been.
        highest: the highest that was ever given out; the next store makes one more.
        statement: digest of the statement of ``revision``; None where that is.

    Raises:
        LedgerFormatError: these contradict each other.
    """

    revision: Positive | None
    highest: Positive
    statement: Sha256Hex | None

    def __post_init__(self) -> None:
        _require_all_or_none(self.revision, self.statement)
        if self.revision is not None and self.revision > self.highest:
            raise LedgerFormatError("A tag's newest revision is higher than the highest given out.")


class LatestValue(MapValue, frozen=True, kw_only=True, tag="latest"):
    """What was stored last under a name; None throughout once all of it has been removed.

    Attributes:
        tag, revision: which artifact.
        statement: digest of its statement.

    Raises:
        LedgerFormatError: only some of them are None, or the tag is none.
    """

    tag: str | None
    revision: Positive | None
    statement: Sha256Hex | None

    def __post_init__(self) -> None:
        _require_all_or_none(self.tag, self.revision, self.statement)
        if self.tag is not None:
            require_stored_tag(self.tag)


class AliasValue(MapValue, frozen=True, kw_only=True, tag="alias"):
    """What an alias means; None throughout, but for ``move``, once it has been removed.

    Attributes:
        tag, revision: which artifact.
        statement: digest of its statement.
        move: counts the changes of this alias from 1.

    Raises:
        LedgerFormatError: only some of them are None, or the tag is none.
    """

    tag: str | None
    revision: Positive | None
    statement: Sha256Hex | None
    move: Positive

    def __post_init__(self) -> None:
        _require_all_or_none(self.tag, self.revision, self.statement)
        if self.tag is not None:
            require_stored_tag(self.tag)


class PreviousLatest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The artifact of the same name that was ``latest`` before another was stored.

    Raises:
        LedgerFormatError: the tag is none.
    """

    tag: str
    revision: Positive

    def __post_init__(self) -> None:
        require_stored_tag(self.tag)


class RevisionValue(MapValue, frozen=True, kw_only=True, tag="revision"):
    """What became of a revision.

    Attributes:
        state: whether it is there.
        statement: digest of its statement, which stays when it is removed.
        sequence: place of its store in the history, counted from 1.
        previous: what was ``latest`` before it was stored, so that removing the latest follows a
            proven chain; None for the first of its name.
    """

    state: Literal["stored", "removed"]
    statement: Sha256Hex
    sequence: Positive
    previous: PreviousLatest | None


SegmentValue = TagValue | LatestValue | AliasValue
"""What stands under a key of ``authenticated_map.map_key``."""

_segment_decoder: Final[msgspec.json.Decoder[SegmentValue]] = msgspec.json.Decoder(SegmentValue)
_revision_decoder: Final = msgspec.json.Decoder(RevisionValue)


def decode_segment(segment: Tag, data: bytes) -> SegmentValue:
    """The value that ``data`` is, under a name and this tag, alias or ``latest``.

    Raises:
        LedgerFormatError: any other bytes; ``latest`` under another segment, or another kind of
            value under ``latest``.
    """
    value = decode_document(data, _segment_decoder, limits.MAX_MAP_VALUE_BYTES, "map's value")
    if isinstance(value, LatestValue) is not segment.is_latest:
        raise LedgerFormatError("The map has a value of another kind than its key asks for.")
    return value


def decode_revision(data: bytes) -> RevisionValue:
    """The value that ``data`` is, under the key of a revision.

    Raises:
        LedgerFormatError: any other bytes.
    """
    return decode_document(data, _revision_decoder, limits.MAX_MAP_VALUE_BYTES, "map's value")


def _require_all_or_none(*parts: object) -> None:
    if len({part is None for part in parts}) != 1:
        raise LedgerFormatError("A value of the map names only a part of an artifact.")
