"""Entries: one byte string each, of one chain, of one place, and none that contradicts itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sealstore import limits
from sealstore.errors import LedgerFormatError, LedgerTamperedError
from sealstore.ledger.entries import AccessRequest, Actor, decode_access_entry, encode_entry
from sealstore.ledger.history import decode_history_entry
from tests.ledger_trees import ARTIFACT, access_entry, entry_artifact, history_entry
from tests.matrix import each_row

REFUSED: dict[str, Any] = {"outcome": "refused", "reason": "SIGNATURE_INVALID"}
FAILED: dict[str, Any] = {"outcome": "failed", "reason": "OBJECT_LOAD", "grant": 8}

HISTORY = [
    history_entry(),
    history_entry(sequence=1, event="create", artifact=None),
    history_entry(event="remove"),
    history_entry(event="resign", details={"newKeyId": "0" * 32}),
    history_entry(
        event="settings", artifact=None, details={"version": 2, "strict": True, "x": None}
    ),
    history_entry(event="key", artifact=None, details={"state": "revoked"}),
    history_entry(event="alias", details={"alias": "production", "move": -1}),
    history_entry(by=Actor(user="", host="", process=None, actor=None)),
]
ACCESS = [
    access_entry(),
    access_entry(**REFUSED),
    access_entry(**REFUSED, artifact=None, context=None),
    access_entry(**FAILED),
    *(access_entry(act=act) for act in ("verify", "export", "inspect")),
    access_entry(request=AccessRequest(name="churn", tag="production", revision=None)),
    access_entry(request=AccessRequest(name="churn", tag="2026-11", revision=3)),
]


@pytest.mark.parametrize("entry", HISTORY)
def test_an_entry_of_the_history_comes_back(entry: Any) -> None:
    """Decoding what was encoded gives an equal entry, and encoding that the same bytes."""
    data = encode_entry(entry)
    assert decode_history_entry(data, entry.sequence) == entry
    assert encode_entry(decode_history_entry(data, entry.sequence)) == data


@pytest.mark.parametrize("entry", ACCESS)
def test_an_entry_of_the_access_log_comes_back(entry: Any) -> None:
    """Decoding what was encoded gives an equal entry, and encoding that the same bytes."""
    data = encode_entry(entry)
    assert decode_access_entry(data, entry.sequence) == entry
    assert encode_entry(decode_access_entry(data, entry.sequence)) == data


@pytest.mark.parametrize("place", [1, 3, 2**40])
def test_an_entry_from_another_place_is_named(place: int) -> None:
    """One that was moved, or came from another ledger, is found without any hash."""
    with pytest.raises(LedgerTamperedError, match=rf"entry {place} .* says it is 2\."):
        decode_history_entry(encode_entry(history_entry()), place)
    with pytest.raises(LedgerTamperedError, match=rf"entry {place} .* says it is 9\."):
        decode_access_entry(encode_entry(access_entry()), place)


def test_an_entry_of_one_chain_is_none_of_the_other() -> None:
    """A load that was spliced into the history is no entry there."""
    with pytest.raises(LedgerFormatError):
        decode_history_entry(encode_entry(access_entry()), 9)
    with pytest.raises(LedgerFormatError):
        decode_access_entry(encode_entry(history_entry()), 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"event": "store", "artifact": None},
        {"event": "remove", "artifact": None},
        {"event": "resign", "artifact": None},
    ],
)
def test_an_event_of_an_artifact_names_it(changes: dict[str, Any]) -> None:
    """What was stored, removed or signed again is part of the entry."""
    with pytest.raises(LedgerFormatError, match="names no artifact"):
        history_entry(**changes)


@pytest.mark.invariant(5)
@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "SIGNATURE_INVALID"},
        {"outcome": "refused"},
        {**FAILED, "reason": None},
        {"artifact": None},
        {**FAILED, "artifact": None},
        {"grant": 8},
        {**REFUSED, "grant": 8},
        {**FAILED, "grant": None},
        {**FAILED, "grant": 9},
        {**FAILED, "grant": 10},
    ],
)
def test_an_access_that_contradicts_itself_is_not_recorded(changes: dict[str, Any]) -> None:
    """A grant names what was handed out, a refusal why not, a failure the grant it follows."""
    with pytest.raises(LedgerFormatError):
        access_entry(**changes)


@pytest.mark.parametrize(
    ("name", "tag"), [("", "a"), ("a/b", "a"), ("a", ""), ("a", "a/b"), ("a\n", "a"), ("a", "a\0")]
)
def test_an_entry_names_what_can_be_stored(name: str, tag: str) -> None:
    """Entries are shown to people and become paths: their names obey the same rules."""
    with pytest.raises(LedgerFormatError, match="names no artifact"):
        AccessRequest(name=name, tag=tag, revision=None)
    with pytest.raises(LedgerFormatError, match="names no artifact"):
        entry_artifact(name=name, tag=tag)


def test_latest_can_be_asked_for_and_is_never_what_was_found() -> None:
    """The request keeps what was asked, the artifact says what that meant."""
    assert access_entry().request.tag == "latest"
    with pytest.raises(LedgerFormatError):
        entry_artifact(tag="latest")


def spelled(entry: object, **changes: object) -> bytes:
    """An entry's document with some fields changed, spelled canonically."""
    return msgspec.json.encode({**msgspec.to_builtins(entry), **changes})


BOTH_CHANGES: list[dict[str, Any]] = [
    {"unknown": None},
    {"kind": "history-v2"},
    {"kind": None},
    {"sequence": 0},
    {"sequence": 2**63},
    {"sequence": "2"},
    {"sequence": True},
    {"at": "2026-11-23T12:00:00Z"},
    {"at": "2026-11-23T12:00:00.000000+00:00"},
    {"recordedBy": "0" * 31},
    {"recordedBy": None},
    {"by": {"user": "a", "host": "b", "process": 0, "actor": None}},
    {"by": {"user": "a", "host": "b", "actor": None}},
    {"by": {"user": "a" * 257, "host": "b", "process": None, "actor": None}},
    {"by": {"user": None, "host": "b", "process": None, "actor": None}},
    {"artifact": {"name": "a"}},
    {"artifact": {**msgspec.to_builtins(ARTIFACT), "revision": 0}},
    {"artifact": {**msgspec.to_builtins(ARTIFACT), "sha256": "5A" * 32}},
    {"artifact": {**msgspec.to_builtins(ARTIFACT), "keyId": None}},
    {"artifact": {**msgspec.to_builtins(ARTIFACT), "tag": "latest"}},
    {"artifact": None},
]
HISTORY_CHANGES: list[dict[str, Any]] = [
    {"event": "load"},
    {"event": None},
    {"details": None},
    {"details": {"a": 1.5}},
    {"details": {"a": [1]}},
    {"details": {"a": {}}},
    {"details": {"a": 2**63}},
    {"details": {"a": "x" * (limits.MAX_DETAIL_CHARACTERS + 1)}},
    {"details": {"x" * (limits.MAX_DETAIL_CHARACTERS + 1): 1}},
    {"details": {str(number): number for number in range(limits.MAX_ENTRY_DETAILS + 1)}},
]
ACCESS_CHANGES: list[dict[str, Any]] = [
    {"act": "store"},
    {"outcome": "unknown"},
    {"reason": "because"},
    {"reason": "SIGNATURE_INVALID\n"},
    {"reason": "A" * 65},
    {"outcome": "failed", "reason": "X", "grant": 9},
    {"grant": 0},
    {"context": "x" * (limits.MAX_CONTEXT_CHARACTERS + 1)},
    {"context": 1},
    {"request": None},
    {"request": {"name": "a/b", "tag": "a", "revision": None}},
    {"request": {"name": "a", "tag": "a", "revision": 0}},
]


@each_row("changes", BOTH_CHANGES + HISTORY_CHANGES)
def test_no_other_document_is_an_entry_of_the_history(changes: dict[str, Any]) -> None:
    """Unknown, missing or contradicting fields, other types and other texts are refused."""
    with pytest.raises(LedgerFormatError):
        decode_history_entry(spelled(history_entry(), **changes), 2)


@each_row("changes", BOTH_CHANGES + ACCESS_CHANGES)
def test_no_other_document_is_an_entry_of_the_access_log(changes: dict[str, Any]) -> None:
    """Unknown, missing or contradicting fields, other types and other texts are refused."""
    with pytest.raises(LedgerFormatError):
        decode_access_entry(spelled(access_entry(), **changes), 9)


@pytest.mark.parametrize("field", sorted(msgspec.to_builtins(history_entry())))
def test_an_entry_of_the_history_needs_each_field(field: str) -> None:
    """No field has a default that leaving it out could choose."""
    document = msgspec.to_builtins(history_entry())
    del document[field]
    with pytest.raises(LedgerFormatError):
        decode_history_entry(msgspec.json.encode(document), 2)


@each_row("field", sorted(msgspec.to_builtins(access_entry())))
def test_an_entry_of_the_access_log_needs_each_field(field: str) -> None:
    """No field has a default that leaving it out could choose."""
    document = msgspec.to_builtins(access_entry())
    del document[field]
    with pytest.raises(LedgerFormatError):
        decode_access_entry(msgspec.json.encode(document), 9)


@each_row(
    "other",
    [
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: data.replace(b":", b": ", 1),
        lambda data: data.replace(b'"store"', b'"st\\u006fre"'),
        lambda data: data.replace(b'"sequence":2', b'"sequence":2e0'),
        lambda data: data.replace(b'"sequence":2', b'"sequence":1,"sequence":2'),
        lambda data: data.replace(b'"details":{}', b'"details":{"a":1,"a":2}'),
        lambda data: data[:-1],
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"ada", b"\xff\xff\xff"),
        lambda _: b"",
        lambda _: b"[" * 10_000,
    ],
)
def test_there_is_one_spelling_of_an_entry(other: Any) -> None:
    """White space, escapes, repeated keys and invalid UTF-8 hide nothing."""
    data = encode_entry(history_entry())
    assert other(data) != data
    with pytest.raises(LedgerFormatError):
        decode_history_entry(other(data), 2)


@pytest.mark.parametrize("data", [None, 3, "", bytearray(b"{}"), encode_entry(HISTORY[0]).decode()])
def test_what_is_no_bytes_is_no_entry(data: Any) -> None:
    """SQLite keeps whatever type is written; none of them ends in an error of Python's own."""
    with pytest.raises(LedgerFormatError, match="not made of bytes"):
        decode_history_entry(data, 2)


def test_an_entry_too_large_to_be_read_is_not_written() -> None:
    """The cap holds in both directions."""
    detail = "\x01" * limits.MAX_DETAIL_CHARACTERS
    large = history_entry(
        details={str(number): detail for number in range(limits.MAX_ENTRY_DETAILS)}
    )
    with pytest.raises(LedgerFormatError, match="are allowed") as refusal:
        encode_entry(large)
    assert refusal.value.hint == ""
    with pytest.raises(LedgerFormatError, match="are allowed"):
        decode_history_entry(msgspec.json.encode(large), 2)


def test_an_entry_may_be_as_large_as_the_cap() -> None:
    """The cap is a size that is written and read; one byte more is neither."""
    escaped = "\x01" * limits.MAX_DETAIL_CHARACTERS
    details: dict[str, Any] = {str(number): escaped for number in range(10)}
    room = limits.MAX_ENTRY_BYTES - len(encode_entry(history_entry(details=details)))
    pads: dict[str, str] = {}
    while room > 0:
        # Each is spelled with its name, quotes, colon and comma.
        part = min(limits.MAX_DETAIL_CHARACTERS, room - len(',"p00":""'))
        pads[f"p{len(pads):02}"] = "x" * part
        room -= part + len(',"p00":""')
    entry = history_entry(details=details | pads)
    data = encode_entry(entry)
    assert len(data) == limits.MAX_ENTRY_BYTES
    assert decode_history_entry(data, 2) == entry
    pads["p00"] = "x" * 1023 + "ä"
    with pytest.raises(LedgerFormatError, match="are allowed"):
        encode_entry(history_entry(details=details | pads))


def test_the_longest_names_and_texts_fit() -> None:
    """Whatever a caller may give can be recorded."""
    longest = "\x01" * limits.MAX_ACTOR_CHARACTERS
    by = Actor(user=longest, host=longest, process=2**22, actor=longest)
    context = "\x01" * limits.MAX_CONTEXT_CHARACTERS
    entry = access_entry(by=by, context=context)
    assert decode_access_entry(encode_entry(entry), 9) == entry


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_text_that_is_no_unicode_is_not_written(text: str) -> None:
    """Names that are no UTF-8 reach Python as lone surrogates, which JSON cannot carry."""
    with pytest.raises(LedgerFormatError, match="cannot be written"):
        encode_entry(access_entry(context=text))
