"""Names, tags and references: which are accepted, and which rule each refusal names."""

from __future__ import annotations

import os
import sys
import unicodedata
from enum import Enum
from pathlib import PurePosixPath

import pytest

from sealstore import limits
from sealstore.errors import InvalidNameError, ReservedTagError
from sealstore.names import ArtifactRef, Name, Tag, parse_request, request
from tests.matrix import each_row


@each_row(
    "text",
    [
        "churn",
        "2026-11",
        "_private",
        "churn model (v2) [eu], a=b+c",
        "Überlauf",
        "模型",
        "x" * limits.MAX_NAME_CHARACTERS,
        "ü" * 127,
        "模" * 85,
        "a..b",
        "a- -b",
        "latest",
    ],
)
def test_an_ordinary_name_is_accepted_unchanged(text: str) -> None:
    """What people call their models is kept letter by letter."""
    assert Name(text) == text
    assert Tag(text) == text


@each_row(
    ("text", "rule"),
    [
        (None, "it is not a string"),
        (7, "it is not a string"),
        (b"churn", "it is not a string"),
        (PurePosixPath("churn"), "it is not a string"),
        ("", "it is empty"),
        ("x" * (limits.MAX_NAME_CHARACTERS + 1), "more than 128 characters"),
        ("模" * 86, "more than 255 bytes in UTF-8"),
        ("../x", "it contains '/'"),
        ("a/b", "it contains '/'"),
        ("/etc/passwd", "it contains '/'"),
        ("a\\b", "it contains '\\\\'"),
        ("C:x", "it contains ':'"),
        ("a\0b", "it contains '\\x00'"),
        ("a\nb", "it contains '\\n'"),
        ("\x1b[31mred", "it contains '\\x1b'"),
        ("a\x9bb", "it contains '\\x9b'"),
        ("a\u202eb", "it contains '\\u202e'"),
        ("a\u200bb", "it contains '\\u200b'"),
        ("a\u2028b", "it contains '\\u2028'"),
        ("a\u2215b", "it contains '\\u2215'"),
        ("a\uff0fb", "it contains '\\uff0f'"),
        ("a\ud800b", "it contains '\\ud800'"),
        ("a%b", "it contains '%'"),
        ("a*b", "it contains '*'"),
        ("a'b", 'it contains "\'"'),
        ("a|b", "it contains '|'"),
        ("~root", "it contains '~'"),
        ("$HOME", "it contains '$'"),
        (".", "does not begin with a letter"),
        ("..", "does not begin with a letter"),
        (".hidden", "does not begin with a letter"),
        ("-rf", "does not begin with a letter"),
        (" a", "does not begin with a letter"),
        ("=1+1", "does not begin with a letter"),
        ("[bold]", "does not begin with a letter"),
        ("a.", "ends with a dot or a space"),
        ("a ", "ends with a dot or a space"),
        (unicodedata.normalize("NFD", "Überlauf"), "it contains '\\u0308'"),
        ("\u212bngström", "not in Unicode normal form C"),
    ],
)
@each_row("kind", [Name, Tag])
def test_what_may_not_be_a_path_segment_is_refused_and_the_rule_is_named(
    kind: type[Name] | type[Tag], text: object, rule: str
) -> None:
    """A refused name is told which rule it broke, in printable characters."""
    with pytest.raises(InvalidNameError) as refusal:
        kind(text)  # type: ignore[arg-type] # what callers without a type checker do
    assert rule in refusal.value.message
    assert f"The {kind.kind} " in refusal.value.message
    assert refusal.value.message.isascii()
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 600


def test_a_refused_name_is_shown_whole_up_to_64_characters() -> None:
    """Long mistakes, such as a whole file's content, do not fill a log."""
    for length, shown in ((64, "x" * 63 + "/"), (65, "x" * 61 + "...")):
        with pytest.raises(InvalidNameError) as refusal:
            Name("x" * (length - 1) + "/")
        assert f"The name '{shown}' is not allowed" in refusal.value.message


@pytest.mark.parametrize(
    "text", ["latest", "LATEST", "Latest", "lAtEsT", "late\u017ft", "late\ufb06"]
)
def test_latest_cannot_be_stored_under_in_any_case(text: str) -> None:
    """The tag 'latest' is reserved, also in letters that only case folding makes equal."""
    assert Tag(text).is_latest
    with pytest.raises(ReservedTagError, match='"latest" has a special meaning as a tag'):
        Tag.to_store(text)


@pytest.mark.parametrize("text", ["latest2", "the latest", "y_latest", "late", "l\u00e4test"])
def test_a_tag_that_only_resembles_latest_is_an_ordinary_one(text: str) -> None:
    """Only 'latest' itself is reserved."""
    assert Tag.to_store(text) == text
    assert not Tag(text).is_latest


def test_a_text_whose_str_is_another_one_is_taken_as_the_text_that_was_checked() -> None:
    """An enumeration's member stands for its value, and no override smuggles in a path."""

    class Stage(str, Enum):  # noqa: UP042 (StrEnum has another __str__)
        PRODUCTION = "production"

    class Deceptive(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "../../etc/passwd"

    tag = Tag(Stage.PRODUCTION)
    name = Name(Deceptive("churn"))
    assert (str(tag), tag) == ("production", "production")
    assert (str(name), name, os.fspath(PurePosixPath(name))) == ("churn", "churn", "churn")


def test_every_accepted_character_is_a_letter_a_digit_or_listed_punctuation() -> None:
    """No control, format, separator or combining character gets into a path, in all of Unicode."""
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        category = unicodedata.category(character)
        # Nearly all of Unicode is unassigned or private: every hundredth of those will do.
        if category[0] in "LN" or (category in {"Cn", "Co"} and number % 100):
            continue
        try:
            Name(f"a{character}a")
        except InvalidNameError:
            continue
        assert character in "._-+=, ()[]", number


@pytest.mark.parametrize("revision", [0, -1, 1.0, "1", True, False])
def test_a_revision_is_a_whole_number_from_1_on(revision: object) -> None:
    """Nothing but a positive int is a revision, and True is not revision 1."""
    with pytest.raises(InvalidNameError, match="A revision is a whole number from 1 on") as refusal:
        request("churn", "2026-11", revision)  # type: ignore[arg-type] # on purpose
    assert refusal.value.artifact is not None


@pytest.mark.parametrize("tag", ["latest", "Latest"])
def test_latest_has_no_revisions(tag: str) -> None:
    """A revision belongs to a tag that something was stored under."""
    with pytest.raises(InvalidNameError, match="'latest' has none"):
        request("churn", tag, 1)


def test_a_request_checks_the_name_and_the_tag() -> None:
    """A request is refused for either part."""
    with pytest.raises(InvalidNameError, match="The name "):
        request("../churn", "2026-11")
    with pytest.raises(InvalidNameError, match="The tag "):
        request("churn", "../2026-11")


def test_a_reference_is_shown_as_name_tag_and_revision() -> None:
    """People see one spelling of a reference."""
    assert str(request("churn", "2026-11", 3)) == "churn:2026-11@3"
    assert str(request("churn", "2026-11")) == "churn:2026-11"
    assert ArtifactRef(Name("a"), Tag("b")) == ArtifactRef(Name("a"), Tag("b"), None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("churn", request("churn", "latest")),
        ("churn:", request("churn", "latest")),
        ("churn:v1", request("churn", "v1")),
        ("churn model:v 1@12", request("churn model", "v 1", 12)),
    ],
)
def test_an_artifact_is_named_in_one_word(text: str, expected: ArtifactRef) -> None:
    """A name, with a tag and a revision where they are said."""
    assert parse_request(text) == expected


@each_row(
    "text",
    [
        *(
            "",
            ":v1",
            "churn:v1@",
            "churn:v1@0",
            "churn:v1@-1",
            "churn:v1@x",
            "churn:v1@²",
            "churn@1",
        ),
        *("churn:v1@" + "9" * 5_000, "churn:v1:v2", "churn:latest@1", "churn:v1@1@2", "churn:@1"),
    ],
)
def test_a_word_that_names_no_artifact_is_refused(text: str) -> None:
    """Whatever is missing, too much, or no number."""
    with pytest.raises(InvalidNameError):
        parse_request(text)
