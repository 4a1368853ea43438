"""The map's values: one byte string each, and none that contradicts itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sealstore import limits
from sealstore.errors import LedgerFormatError
from sealstore.ledger.alias_names import AliasName, decode_alias_name
from sealstore.ledger.map_update import encode_value
from sealstore.ledger.map_values import (
    AliasValue,
    LatestValue,
    PreviousLatest,
    RevisionValue,
    SegmentValue,
    TagValue,
    decode_revision,
    decode_segment,
)
from sealstore.names import Tag
from tests.matrix import each_row

STATEMENT = "57" * 32
TAG = Tag("2026-11")
LATEST = Tag("latest")
LONGEST_TAG = "ä" * 127
HIGHEST = limits.MAX_SEQUENCE

SEGMENT_VALUES: list[tuple[Tag, SegmentValue]] = [
    (TAG, TagValue(revision=2, highest=3, statement=STATEMENT)),
    (TAG, TagValue(revision=None, highest=HIGHEST, statement=None)),
    (TAG, TagValue(revision=3, highest=3, statement=STATEMENT)),
    (LATEST, LatestValue(tag="2026-11", revision=2, statement=STATEMENT)),
    (LATEST, LatestValue(tag=LONGEST_TAG, revision=HIGHEST, statement=STATEMENT)),
    (LATEST, LatestValue(tag=None, revision=None, statement=None)),
    (TAG, AliasValue(tag="2026-11", revision=2, statement=STATEMENT, move=1)),
    (TAG, AliasValue(tag=LONGEST_TAG, revision=HIGHEST, statement=STATEMENT, move=HIGHEST)),
    (TAG, AliasValue(tag=None, revision=None, statement=None, move=7)),
]
REVISION_VALUES = [
    RevisionValue(state="stored", statement=STATEMENT, sequence=2, previous=None),
    RevisionValue(
        state="removed",
        statement=STATEMENT,
        sequence=HIGHEST,
        previous=PreviousLatest(tag=LONGEST_TAG, revision=HIGHEST),
    ),
]


@pytest.mark.parametrize(("segment", "value"), SEGMENT_VALUES)
def test_what_a_segment_means_comes_back(segment: Tag, value: Any) -> None:
    """Decoding what was encoded gives an equal value of the same kind."""
    found = decode_segment(segment, encode_value(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", REVISION_VALUES)
def test_what_became_of_a_revision_comes_back(value: RevisionValue) -> None:
    """Decoding what was encoded gives an equal value."""
    assert decode_revision(encode_value(value)) == value


def test_values_say_what_they_are() -> None:
    """The format on disk: any change of it is another version."""
    assert encode_value(SEGMENT_VALUES[0][1]) == (
        b'{"kind":"tag","revision":2,"highest":3,"statement":"%b"}' % STATEMENT.encode()
    )
    assert encode_value(SEGMENT_VALUES[5][1]) == (
        b'{"kind":"latest","tag":null,"revision":null,"statement":null}'
    )
    assert encode_value(SEGMENT_VALUES[8][1]) == (
        b'{"kind":"alias","tag":null,"revision":null,"statement":null,"move":7}'
    )
    assert encode_value(REVISION_VALUES[0]) == (
        b'{"kind":"revision","state":"stored","statement":"%b","sequence":2,"previous":null}'
        % STATEMENT.encode()
    )


@each_row(
    "make",
    [
        lambda: TagValue(revision=4, highest=3, statement=STATEMENT),
        lambda: TagValue(revision=1, highest=3, statement=None),
        lambda: TagValue(revision=None, highest=3, statement=STATEMENT),
        lambda: LatestValue(tag="a", revision=1, statement=None),
        lambda: LatestValue(tag="a", revision=None, statement=STATEMENT),
        lambda: LatestValue(tag=None, revision=1, statement=STATEMENT),
        lambda: LatestValue(tag="latest", revision=1, statement=STATEMENT),
        lambda: LatestValue(tag="../a", revision=1, statement=STATEMENT),
        lambda: AliasValue(tag="a", revision=None, statement=None, move=1),
        lambda: AliasValue(tag=None, revision=None, statement=STATEMENT, move=1),
        lambda: AliasValue(tag="Latest", revision=1, statement=STATEMENT, move=1),
        lambda: PreviousLatest(tag="latest", revision=1),
        lambda: PreviousLatest(tag="", revision=1),
    ],
)
def test_a_value_that_contradicts_itself_is_not_made(make: Callable[[], object]) -> None:
    """Nothing is written that would be refused when it is read."""
    with pytest.raises(LedgerFormatError):
        make()


def spelled(value: object, **changes: object) -> bytes:
    """A value's document with some fields changed, spelled canonically."""
    return msgspec.json.encode({**msgspec.to_builtins(value), **changes})


TAG_VALUE, LATEST_VALUE, ALIAS_VALUE = (SEGMENT_VALUES[place][1] for place in (0, 3, 6))
REVISION_VALUE = REVISION_VALUES[0]


@each_row(
    "data",
    [
        spelled(TAG_VALUE, revision=4),
        spelled(TAG_VALUE, revision=None),
        spelled(TAG_VALUE, revision=0, highest=1),
        spelled(TAG_VALUE, highest=HIGHEST + 1),
        spelled(TAG_VALUE, highest=3.0),
        spelled(TAG_VALUE, highest="3"),
        spelled(TAG_VALUE, statement=STATEMENT.upper().replace("5", "A")),
        spelled(TAG_VALUE, statement=STATEMENT + "\n"),
        spelled(TAG_VALUE, kind="other"),
        spelled(TAG_VALUE, kind="revision"),
        spelled(TAG_VALUE, unknown=1),
        spelled(LATEST_VALUE, kind="tag"),
        spelled(ALIAS_VALUE, move=0),
        spelled(ALIAS_VALUE, tag="latest"),
        spelled(ALIAS_VALUE, tag="a\0b"),
        spelled(ALIAS_VALUE, move=None),
        spelled(REVISION_VALUE),
        encode_value(TAG_VALUE) + b" ",
        b" " + encode_value(TAG_VALUE),
        encode_value(TAG_VALUE).replace(b'"highest":3', b'"highest":2,"highest":3'),
        encode_value(TAG_VALUE).replace(b'"kind":"tag",', b""),
        encode_value(TAG_VALUE).replace(b'"tag"', b'"t\\u0061g"'),
        msgspec.json.encode(dict(reversed(msgspec.to_builtins(TAG_VALUE).items()))),
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"{" * limits.MAX_MAP_VALUE_BYTES,
        spelled(TAG_VALUE, unknown="x" * limits.MAX_MAP_VALUE_BYTES),
    ],
)
def test_no_other_bytes_are_a_tags_or_an_aliass_value(data: bytes) -> None:
    """Unknown, missing or contradicting fields and other spellings are refused."""
    with pytest.raises(LedgerFormatError):
        decode_segment(TAG, data)


@pytest.mark.parametrize(
    "data",
    [
        spelled(REVISION_VALUE, state="lost"),
        spelled(REVISION_VALUE, sequence=0),
        spelled(REVISION_VALUE, statement=None),
        spelled(REVISION_VALUE, previous={"tag": "latest", "revision": 1}),
        spelled(REVISION_VALUE, previous={"tag": "a"}),
        spelled(REVISION_VALUE, previous={"tag": "a", "revision": 1, "more": 1}),
        spelled(REVISION_VALUE, previous=["a", 1]),
        spelled(TAG_VALUE),
        b"",
    ],
)
def test_no_other_bytes_are_a_revisions_value(data: bytes) -> None:
    """Unknown, missing or contradicting fields and other kinds are refused."""
    with pytest.raises(LedgerFormatError):
        decode_revision(data)


ALIAS_NAME = AliasName(alias="production")


@pytest.mark.parametrize("value", [ALIAS_NAME, AliasName(alias=LONGEST_TAG)])
def test_the_name_of_an_alias_comes_back(value: AliasName) -> None:
    """Decoding what was encoded gives an equal value."""
    assert decode_alias_name(encode_value(value)) == value
    assert encode_value(ALIAS_NAME) == b'{"kind":"alias-name","alias":"production"}'


@pytest.mark.parametrize(
    "data",
    [
        spelled(ALIAS_NAME, alias="latest"),
        spelled(ALIAS_NAME, alias="a/b"),
        spelled(ALIAS_NAME, alias=None),
        spelled(ALIAS_NAME, more=1),
        spelled(ALIAS_VALUE),
        spelled(TAG_VALUE),
        encode_value(ALIAS_NAME) + b" ",
        b"",
    ],
)
def test_no_other_bytes_are_the_name_of_an_alias(data: bytes) -> None:
    """Unknown, missing or contradicting fields and other kinds are refused."""
    with pytest.raises(LedgerFormatError):
        decode_alias_name(data)


def test_latest_stands_under_latest_and_nothing_else_does() -> None:
    """A value that was signed under one kind of key means nothing under another."""
    for value in (TAG_VALUE, ALIAS_VALUE):
        with pytest.raises(LedgerFormatError, match="another kind"):
            decode_segment(Tag("Latest"), encode_value(value))
    with pytest.raises(LedgerFormatError, match="another kind"):
        decode_segment(TAG, encode_value(LATEST_VALUE))


def test_the_largest_values_fit() -> None:
    """Whatever names allow has room in the map."""
    largest = max(len(encode_value(value)) for value in [*REVISION_VALUES, SEGMENT_VALUES[7][1]])
    assert largest <= limits.MAX_MAP_VALUE_BYTES // 2
