"""Statements and envelopes as byte strings: one spelling each, and nothing near it is read."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sealstore import limits
from sealstore.errors import InvalidMetadataError, StatementFormatError, VerificationError
from sealstore.keys.keyring import Keyring
from sealstore.signed.drafting import encode, make_statement, seal_statement
from sealstore.signed.envelope import open_statement, read_unverified
from sealstore.signed.metadata import checked_metadata
from sealstore.signed.statement import (
    Digests,
    Import,
    ImportUse,
    Predicate,
    Statement,
    StoredBy,
    decode,
)
from tests.sealstore_fixtures import ed25519_key, fewer_examples, hmac_key, sealed

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
HEXADECIMAL = st.sampled_from("0123456789abcdef")
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 63), (1 << 64) - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        TEXT,
    ),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXT, children, max_size=4),
    max_leaves=15,
)


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text(HEXADECIMAL, min_size=count, max_size=count)


NAMES = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_. -]{0,20}[a-z0-9]", fullmatch=True)
WHO = st.text(st.characters(codec="utf-8"), max_size=limits.MAX_ACTOR_CHARACTERS)
IMPORTS = st.builds(
    Import,
    name=TEXT,
    uses=st.lists(
        st.builds(
            ImportUse,
            use=st.sampled_from(["called", "made", "built", "extended"]),
            arguments=st.none() | st.lists(TEXT, max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
)
PREDICATES = st.builds(
    Predicate,
    repository=digits(32),
    name=NAMES,
    tag=NAMES.filter(lambda tag: tag.casefold() != "latest"),
    revision=st.integers(1, limits.MAX_SEQUENCE),
    sequence=st.integers(1, limits.MAX_SEQUENCE),
    format=TEXT,
    size=st.integers(0, limits.MAX_PAYLOAD_BYTES),
    created=st.datetimes().map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)),
    stored_by=st.builds(StoredBy, user=WHO, host=WHO, actor=st.none() | WHO),
    python=TEXT,
    packages=st.dictionaries(TEXT, TEXT, max_size=3),
    imports=st.lists(IMPORTS, max_size=3).map(tuple),
    metadata=st.dictionaries(TEXT, JSON, max_size=4),
)
STATEMENTS = st.builds(
    make_statement, PREDICATES, st.builds(Digests, sha256=digits(64), blake3=digits(64))
)


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """Another byte string, near ``data``."""
    place = draw(st.integers(0, len(data) - 1))
    length = draw(st.integers(1, 4))
    kind = draw(st.sampled_from(["flip", "insert", "delete", "truncate", "repeat", "swap", "json"]))
    if kind == "flip":
        flipped = bytes([data[place] ^ (1 << draw(st.integers(0, 7)))])
        return data[:place] + flipped + data[place + 1 :]
    if kind == "insert":
        return data[:place] + draw(st.binary(min_size=1, max_size=4)) + data[place:]
    if kind == "delete":
        return data[:place] + data[place + length :]
    if kind == "truncate":
        return data[:place]
    if kind == "repeat":
        return data[: place + length] + data[place:]
    if kind == "swap":
        return data[place:] + data[:place]
    written: Any = json.loads(data)
    return json.dumps(written, indent=draw(st.sampled_from([None, 0, 2]))).encode()


# ── statements ───────────────────────────────────────────────────────────────


@given(statement=STATEMENTS)
@fewer_examples(1)
def test_decoding_undoes_encoding(statement: Statement) -> None:
    """Every statement comes back from its bytes, and its bytes from it."""
    data = encode(statement)
    assert decode(data) == statement
    assert encode(decode(data)) == data


@given(statement=STATEMENTS, data=st.data())
@fewer_examples(3)
def test_another_byte_string_is_refused_or_another_statement(
    statement: Statement, data: st.DataObject
) -> None:
    """Nothing but the one spelling of a statement decodes to it."""
    original = encode(statement)
    mutated = data.draw(mutations(original))
    assume(mutated != original)
    try:
        decoded = decode(mutated)
    except StatementFormatError:
        return
    assert encode(decoded) == mutated
    assert encode(decoded) != original


@given(data=st.binary(max_size=200))
@fewer_examples(4)
def test_arbitrary_bytes_are_no_statement(data: bytes) -> None:
    """Refused, and never by another exception."""
    with pytest.raises(StatementFormatError):
        decode(data)


# ── envelopes ────────────────────────────────────────────────────────────────

KEYS = [hmac_key(1), ed25519_key(2)]
KEYRING = Keyring.of(KEYS)


@given(statement=STATEMENTS, key=st.sampled_from(KEYS))
@fewer_examples(0.5)
def test_what_was_sealed_opens(statement: Statement, key: Any) -> None:
    """Any statement, signed with any key, is the verified one."""
    verified = open_statement(seal_statement(statement, key), KEYRING)
    assert (verified.statement, verified.key_id) == (statement, key.key_id)


ENVELOPES = [sealed(key, metadata={"a": [1, "ü"]}) for key in KEYS]


@given(envelope=st.sampled_from(ENVELOPES), data=st.data())
@fewer_examples(6)
def test_no_other_byte_string_than_the_envelope_opens(envelope: bytes, data: st.DataObject) -> None:
    """There is no second envelope of a statement: any change is a refusal."""
    mutated = data.draw(mutations(envelope))
    assume(mutated != envelope)
    with pytest.raises(VerificationError):
        open_statement(mutated, KEYRING)


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_every_single_byte_of_an_envelope_counts(envelope: bytes) -> None:
    """Changed, left out or doubled, at every place: refused."""
    open_statement(envelope, KEYRING)
    for place in range(len(envelope)):
        before, byte, after = envelope[:place], envelope[place], envelope[place + 1 :]
        for other in (
            before + bytes([byte ^ 1]) + after,
            before + bytes([byte ^ 0x20]) + after,
            before + bytes([byte ^ 0x80]) + after,
            before + after,
            envelope[: place + 1] + envelope[place:],
            before,
        ):
            if other != envelope:
                with pytest.raises(VerificationError):
                    open_statement(other, KEYRING)


@given(data=st.binary(max_size=300))
@fewer_examples(2)
def test_arbitrary_bytes_are_no_envelope(data: bytes) -> None:
    """Refused, and never by another exception."""
    with pytest.raises(VerificationError):
        read_unverified(data)


# ── metadata ─────────────────────────────────────────────────────────────────


class Text(str):
    __slots__ = ()


NEARLY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        JSON,
        st.integers(),
        st.integers(1 << 63, 1 << 65),
        st.floats(),
        st.text(max_size=5),
        st.binary(max_size=5),
        st.complex_numbers(),
        st.dates(),
        st.decimals(),
        st.uuids(),
        st.text(max_size=3).map(Text),
        st.just(...),
    ),
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.lists(children, max_size=3).map(tuple),
        st.dictionaries(st.one_of(TEXT, st.integers(), st.none()), children, max_size=3),
    ),
    max_leaves=6,
)


def carries(value: object) -> bool:
    """Whether JSON carries ``value`` exactly: told here a second time, in another way."""
    kind = type(value)
    if kind is str:
        assert isinstance(value, str)
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if kind is float:
        assert isinstance(value, float)
        return math.isfinite(value)
    if kind is int:
        assert isinstance(value, int)
        return -(2**63) <= value < 2**64
    if kind is list:
        assert isinstance(value, list)
        return all(map(carries, value))
    if kind is dict:
        assert isinstance(value, dict)
        return all(type(key) is str and carries(key) for key in value) and all(
            map(carries, value.values())
        )
    return value is None or value is True or value is False


@given(metadata=st.dictionaries(TEXT | st.integers(), NEARLY_JSON, max_size=3) | NEARLY_JSON)
@fewer_examples(5)
def test_metadata_is_accepted_if_and_only_if_json_carries_it_exactly(metadata: Any) -> None:
    """What is accepted comes back equal to the bit; what would change is refused."""
    acceptable = metadata is None or (type(metadata) is dict and carries(metadata))
    try:
        accepted = checked_metadata(metadata)
    except InvalidMetadataError:
        assert not acceptable
    else:
        assert acceptable
        assert repr(accepted) == repr(metadata or {})
        assert json.loads(json.dumps(accepted)) == accepted
