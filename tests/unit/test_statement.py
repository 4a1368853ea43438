"""Statements: one byte string each, and nothing else decodes."""

from __future__ import annotations

import copy
import datetime
import json
import math
from collections import OrderedDict
from enum import StrEnum
from typing import Any

import msgspec
import pytest

from sealstore import limits
from sealstore.errors import InvalidMetadataError, StatementFormatError
from sealstore.signed.drafting import PREDICATE_TYPE, STATEMENT_TYPE, encode
from sealstore.signed.metadata import checked_metadata
from sealstore.signed.statement import Import, ImportUse, StoredBy, decode
from tests.matrix import each_row
from tests.sealstore_fixtures import DIGESTS, predicate, statement

FULL = statement(
    stored_by=StoredBy(user="ada", host="trainer", actor="job 7"),
    packages={"numpy": "2.4.6", "scikit-learn": "1.9.1"},
    imports=(
        Import("sklearn.linear_model:LinearRegression", (ImportUse("made", None),)),
        Import("functools:partial", (ImportUse("called", ("numpy:sum",)),)),
    ),
    metadata={"score": 0.93, "classes": ["a", None, True], "nested": {"ü": -0.0}},
)


def as_json(data: bytes) -> Any:
    return json.loads(data)


def spelled(document: object) -> bytes:
    """JSON as msgspec spells it, without any type to hold it to."""
    return msgspec.json.encode(document)


def paths(document: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where each object of a document is."""
    found = [here] if isinstance(document, dict) else []
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        if isinstance(value, dict | list):
            found += paths(value, (*here, key))
    return found


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


# metadata's and packages' keys are the user's and the packages' own.
OBJECTS = [
    path
    for path in paths(as_json(encode(FULL)))
    if not {"metadata", "packages"} & set(map(str, path))
]
FIELDS = [(path, field) for path in OBJECTS for field in at(as_json(encode(FULL)), path)]


@pytest.mark.parametrize("original", [FULL, statement()])
def test_a_statement_comes_back_from_its_bytes_as_it_was(original: Any) -> None:
    """Decoding what was encoded gives an equal statement, and encoding that the same bytes."""
    data = encode(original)
    assert decode(data) == original
    assert encode(decode(data)) == data
    assert original.ref == decode(data).ref
    assert original.digests == DIGESTS


def test_a_statement_is_an_in_toto_statement() -> None:
    """The document has in-toto's form, so that other tools can read it."""
    document = as_json(encode(FULL))
    assert list(document) == ["_type", "subject", "predicateType", "predicate"]
    assert document["_type"] == STATEMENT_TYPE == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == PREDICATE_TYPE
    assert document["subject"] == [
        {"name": "churn", "digest": {"sha256": DIGESTS.sha256, "blake3": DIGESTS.blake3}}
    ]


@each_row(("path", "field"), FIELDS)
def test_a_statement_without_one_of_its_fields_is_refused(
    path: tuple[Any, ...], field: str
) -> None:
    """No field has a default that leaving it out could choose."""
    document = as_json(encode(FULL))
    del at(document, path)[field]
    with pytest.raises(StatementFormatError, match="does not decode strictly"):
        decode(spelled(document))


@pytest.mark.parametrize("path", OBJECTS)
def test_a_statement_with_an_unknown_field_is_refused(path: tuple[Any, ...]) -> None:
    """An unknown field, at any level, is no extension but a refusal."""
    document = as_json(encode(FULL))
    at(document, path)["unknown"] = None
    with pytest.raises(StatementFormatError, match="does not decode strictly"):
        decode(spelled(document))


@each_row(("path", "field"), FIELDS)
@each_row("value", [None, True, 0, -1, 1.5, "", "x", [], {}, [[]]])
def test_a_field_of_another_type_or_out_of_bounds_is_refused(
    path: tuple[Any, ...], field: str, value: object
) -> None:
    """A value either is refused or stands in the decoded statement exactly as it was written."""
    document = as_json(encode(FULL))
    at(document, path)[field] = value
    data = spelled(document)
    try:
        decoded = decode(data)
    except StatementFormatError:
        return
    assert encode(decoded) == data
    assert field in {"actor", "user", "host", "format", "python", "metadata", "packages"} | {
        "imports",
        "uses",
        "arguments",
        "size",
        "name",
        "tag",
    }, (field, value)


@each_row(
    ("changes", "reason"),
    [
        ({"repository": "00112233445566778899AABBCCDDEEFF"}, "does not decode"),
        ({"repository": "00112233445566778899aabbccddeef"}, "does not decode"),
        ({"repository": "00112233445566778899aabbccddeeff\n"}, "does not decode"),
        ({"name": "../churn"}, "names no artifact"),
        ({"name": ""}, "names no artifact"),
        ({"tag": "latest"}, "names no artifact"),
        ({"tag": "LATEST"}, "names no artifact"),
        ({"tag": "a/b"}, "names no artifact"),
        ({"revision": 0}, "does not decode"),
        ({"revision": 1 << 63}, "does not decode"),
        ({"revision": 1.0}, "does not decode"),
        ({"sequence": 0}, "does not decode"),
        ({"size": -1}, "does not decode"),
        ({"size": limits.MAX_PAYLOAD_BYTES + 1}, "does not decode"),
        ({"created": "2026-11-23T12:00:00Z"}, "does not decode"),
        ({"created": "2026-11-23T12:00:00.000000+00:00"}, "does not decode"),
        ({"created": "2026-11-23T12:00:00.000000Z\n"}, "does not decode"),
        (
            {
                "stored_by": StoredBy(
                    user="a" * (limits.MAX_ACTOR_CHARACTERS + 1), host="", actor=""
                )
            },
            "does not decode",
        ),
        ({"packages": {"numpy": 2}}, "does not decode"),
        ({"imports": (Import("a:b", (ImportUse("taken", None),)),)}, "does not decode"),  # type: ignore[arg-type] # on purpose
        ({"metadata": [1]}, "does not decode"),
    ],
)
def test_a_statement_that_says_the_impossible_is_refused(
    changes: dict[str, Any], reason: str
) -> None:
    """Every part is held to its type, its pattern and its bounds."""
    with pytest.raises(StatementFormatError, match=reason):
        decode(encode(statement(**changes)))


@pytest.mark.parametrize(
    "digests",
    [
        {"sha256": "5A" * 32},
        {"sha256": "5a" * 31},
        {"sha256": "5a" * 32 + "\n"},
        {"blake3": "b3" * 33},
        {"blake3": "../" + "b3" * 32},
    ],
)
def test_a_digest_is_64_lower_case_hexadecimal_digits(digests: dict[str, str]) -> None:
    """No second spelling of a digest exists, and none leads out of the folder of payloads."""
    changed = msgspec.structs.replace(DIGESTS, **digests)
    with pytest.raises(StatementFormatError):
        decode(encode(statement(changed)))


def test_a_subject_with_another_name_than_the_predicate_is_refused() -> None:
    """Subject and predicate cannot vouch for two artifacts."""
    document = as_json(encode(FULL))
    document["subject"][0]["name"] = "fraud"
    with pytest.raises(StatementFormatError, match="name two artifacts"):
        decode(spelled(document))


@pytest.mark.parametrize("number", [0, 2])
def test_a_statement_has_exactly_one_subject(number: int) -> None:
    """No second payload rides along."""
    document = as_json(encode(FULL))
    document["subject"] *= number
    with pytest.raises(StatementFormatError, match="does not decode strictly"):
        decode(spelled(document))


@pytest.mark.parametrize("field", ["_type", "predicateType"])
def test_another_version_is_refused(field: str) -> None:
    """What a later release means by its fields is not guessed."""
    data = encode(FULL)
    assert data.count(b"v1") == 2
    document = as_json(data)
    document[field] = document[field].replace("v1", "v2")
    with pytest.raises(StatementFormatError, match="does not decode strictly"):
        decode(spelled(document))


DATA = encode(FULL)


@each_row(
    ("other_spelling", "reason"),
    [
        (b" " + DATA, "canonical"),
        (DATA + b"\n", "canonical"),
        (DATA.replace(b'":', b'": ', 1), "canonical"),
        (DATA.replace(b'"churn"', b'"\\u0063hurn"'), "canonical"),
        (DATA.replace(b"https://", b"https:\\/\\/"), "canonical"),
        (DATA.replace("ü".encode(), b"\\u00fc"), "canonical"),
        (DATA.replace(b"0.93", b"0.930"), "canonical"),
        (DATA.replace(b"0.93", b"9.3e-1"), "canonical"),
        (DATA.replace(b"-0.0", b"-0"), "canonical|strictly"),
        (DATA.replace(b"0.93", b"1e400"), "strictly"),
        (DATA.replace(b"0.93", b"NaN"), "strictly"),
        (DATA.replace(b"0.93", b"Infinity"), "strictly"),
        (DATA.replace(b"0.93", b"01"), "does not decode"),
        (b"\xef\xbb\xbf" + DATA, "not JSON|strictly"),
        (DATA.decode().encode("utf-16"), "not JSON|strictly"),
        (DATA.decode().encode("utf-16-le"), "not JSON|strictly"),
        (DATA.decode().encode("utf-32"), "not JSON|strictly"),
        (DATA.replace("ü".encode(), b"\xfc"), "does not decode"),
        (DATA.replace("ü".encode(), b"\xc1\xbc"), "does not decode"),
        (DATA.replace("ü".encode(), b"\xed\xa0\x80"), "not JSON|strictly"),
        (DATA.replace("ü".encode(), b"\\ud800"), "strictly"),
        (DATA[:-1], "does not decode"),
        (DATA + b"}", "does not decode"),
        (DATA + DATA, "does not decode"),
        (DATA + b"\0", "does not decode"),
        (b"", "does not decode"),
        (b"null", "strictly"),
        (b"[]", "strictly"),
        (b"{}", "strictly"),
        (b'"', "does not decode"),
    ],
)
def test_any_other_spelling_of_a_statement_is_refused(other_spelling: bytes, reason: str) -> None:
    """A statement has one byte string: what parsers read differently is not read at all."""
    assert other_spelling != DATA
    with pytest.raises(StatementFormatError, match=reason):
        decode(other_spelling)


def test_fields_in_another_order_are_refused() -> None:
    """The order of the fields is part of the one spelling."""
    document = as_json(DATA)
    document["predicate"] = dict(reversed(document["predicate"].items()))
    with pytest.raises(StatementFormatError, match="canonical"):
        decode(spelled(document))


@pytest.mark.parametrize("path", [*OBJECTS, ("predicate", "metadata"), ("predicate", "packages")])
def test_a_duplicate_key_is_refused_at_every_level(path: tuple[Any, ...]) -> None:
    """Of two values under one key no parser gets to choose."""
    document = as_json(DATA)
    inner = at(document, path)
    key = next(iter(inner))
    inner["zzz"] = inner[key]
    twice = spelled(document).replace(b'"zzz"', spelled(key))
    with pytest.raises(StatementFormatError, match="canonical"):
        decode(twice)


def test_a_duplicate_key_in_another_spelling_is_refused() -> None:
    """An escape does not hide that two keys are one."""
    twice = DATA.replace(b'"score":', b'"sc\\u006fre":1,"score":')
    with pytest.raises(StatementFormatError, match="canonical"):
        decode(twice)


@pytest.mark.parametrize("brackets", [b"[]", b"{}"])
def test_nesting_of_10000_levels_is_refused(brackets: bytes) -> None:
    """Depth ends in a refusal, not in an exhausted stack."""
    opening = {b"[]": b"[", b"{}": b'{"a":'}[brackets]
    deep = opening * 10_000 + b"null" + brackets[1:] * 10_000
    with pytest.raises(StatementFormatError, match="RecursionError"):
        decode(DATA.replace(b"0.93", deep))


@pytest.mark.parametrize(
    "hostile",
    [b'"' * (1 << 20), b'"\\' * (1 << 19), b'"a' * (1 << 19), b"[]" * (1 << 19), b"\\" * (1 << 20)],
)
def test_what_confuses_a_scanner_is_refused_in_linear_time(hostile: bytes) -> None:
    """A megabyte of quotes is refused at once, not after hours of trying each of them."""
    with pytest.raises(StatementFormatError):
        decode(hostile)


def test_brackets_inside_strings_are_no_nesting() -> None:
    """Only structure counts as depth."""
    text = '["{' * 100
    assert decode(encode(statement(metadata={"text": text}))).predicate.metadata == {"text": text}


def test_a_statement_over_the_limit_is_neither_made_nor_read() -> None:
    """Size is checked before any parser sees the bytes."""
    large = statement(metadata={"text": "x" * limits.MAX_STATEMENT_BYTES})
    with pytest.raises(StatementFormatError, match="are allowed"):
        encode(large)
    with pytest.raises(StatementFormatError, match="more than allowed"):
        decode(b"x" * (limits.MAX_STATEMENT_BYTES + 1))


def test_a_refusal_quotes_nothing_of_the_bytes() -> None:
    """No unverified byte gets into an error's text."""
    for bad in (
        DATA.replace(b"joblib", b"\\u001b[31mgotcha"),
        DATA.replace(b'"made"', b'"gotcha"'),
    ):
        with pytest.raises(StatementFormatError) as refusal:
            decode(bad.replace(b'"size":1234', b'"size":"gotcha"'))
        assert "gotcha" not in str(refusal.value)
        assert refusal.value.__cause__ is None


# ── metadata ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"": None},
        {"a": [1, -1, 0, 1.0, -0.0, 1e308, 5e-324, (1 << 64) - 1, -(1 << 63), True, False]},
        {"text": 'quotes " \\ / \n \x00 \x1b[31m \u202e \U0001f600'},
        {"nested": [[], {}, [{"deep": [None]}]]},
    ],
)
def test_metadata_that_json_carries_exactly_is_accepted(metadata: dict[str, Any]) -> None:
    """What goes in comes back equal, type by type and sign by sign."""
    accepted = checked_metadata(metadata)
    assert repr(accepted) == repr(metadata)
    assert decode(encode(statement(metadata=accepted))).predicate.metadata == metadata


def test_no_metadata_is_an_empty_object() -> None:
    """None stands for nothing to say."""
    assert checked_metadata(None) == {}


class Colour(StrEnum):
    RED = "red"


@each_row(
    "metadata",
    [
        {"a": (1, 2)},
        {"a": {1, 2}},
        {"a": b"bytes"},
        {"a": math.nan},
        {"a": math.inf},
        {"a": 1 << 64},
        {"a": -(1 << 63) - 1},
        {"a": "\ud800"},
        {"\ud800": 1},
        {1: "a"},
        {None: "a"},
        {True: "a"},
        {"a": {1: 2}},
        {"a": object()},
        {"a": 1j},
        {"a": Colour.RED},
        {Colour.RED: 1},
        {"a": datetime.date(2026, 1, 1)},
        {"a": OrderedDict(b=1)},
        {"a": msgspec.Raw(b"1")},
        {"a": msgspec.Raw(b'{"b":1,"b":2}')},
        {"a": msgspec.Raw(b"}{")},
        {"a": msgspec.Raw(b"1e999")},
        {"a": predicate()},
        OrderedDict(a=1),
        [("a", 1)],
        "a",
        1,
        [],
    ],
)
def test_metadata_that_json_would_change_is_refused(metadata: object) -> None:
    """Nothing is stored that would come back as something else."""
    with pytest.raises(InvalidMetadataError):
        checked_metadata(metadata)


def test_metadata_that_contains_itself_is_refused() -> None:
    """A circle has no JSON."""
    circle: dict[str, Any] = {}
    circle["self"] = circle
    with pytest.raises(InvalidMetadataError):
        checked_metadata(circle)


def test_metadata_over_the_limit_is_refused() -> None:
    """64 KiB as JSON are allowed, and not one byte more."""
    room = limits.MAX_METADATA_BYTES - len('{"a":""}')
    assert checked_metadata({"a": "x" * room})
    with pytest.raises(InvalidMetadataError, match="65537 bytes as JSON; 65536 are allowed"):
        checked_metadata({"a": "x" * (room + 1)})


def nested(levels: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for _ in range(levels - 1):
        metadata = {"a": metadata}
    return metadata


def test_metadata_that_is_accepted_fits_into_a_statement() -> None:
    """The deepest metadata that is accepted decodes as part of a statement; deeper is refused."""
    deepest = next(levels for levels in range(70, 0, -1) if is_accepted(nested(levels)))
    assert deepest > 50
    fitting = statement(metadata=nested(deepest))
    assert decode(encode(fitting)) == fitting
    with pytest.raises(InvalidMetadataError, match="nested too deeply") as refusal:
        checked_metadata(nested(deepest + 1))
    assert "do not use this artifact" not in str(refusal.value)


def is_accepted(metadata: object) -> bool:
    try:
        checked_metadata(metadata)
    except InvalidMetadataError:
        return False
    return True


def test_metadata_is_signed_as_it_was_checked() -> None:
    """A change of the caller's dict after the check changes nothing."""
    given: dict[str, Any] = {"list": [1, 2], "dict": {"a": 1}}
    before = copy.deepcopy(given)
    accepted = checked_metadata(given)
    given["list"].append(math.nan)
    given["dict"]["b"] = b""
    assert accepted == before
