"""Envelopes: one spelling, one signature, and no verified statement by any other door."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    EnvelopeFormatError,
    KeyRoleError,
    RevokedKeyError,
    SignatureInvalidError,
    StatementFormatError,
    UnknownKeyError,
)
from sealstore.keys.changing import with_state
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.signed.drafting import encode, seal_statement
from sealstore.signed.envelope import (
    ROLE_OF_PAYLOAD_TYPE,
    SETTINGS_PAYLOAD_TYPE,
    STATEMENT_PAYLOAD_TYPE,
    Scope,
    VerifiedStatement,
    open_envelope,
    open_statement,
    pre_authentication_encoding,
    read_unverified,
    seal,
    statement_digest,
)
from tests.matrix import each_row
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    scope,
    sealed,
    statement,
)

KEY = hmac_key()
KEYRING = Keyring.of([KEY])
ENVELOPE = sealed(KEY)


def forged(**changes: Any) -> bytes:
    """The envelope with other parts, spelled canonically and signed by nobody again."""
    part = read_unverified(ENVELOPE)
    fields: dict[str, Any] = {
        "payloadType": part.payload_type,
        "payload": base64.b64encode(part.payload).decode(),
        "signatures": [{"keyid": part.key_id, "sig": base64.b64encode(part.signature).decode()}],
    }
    return json.dumps(fields | changes, separators=(",", ":")).encode()


def signature(key_id: str | None = None, value: bytes | None = None) -> dict[str, str]:
    part = read_unverified(ENVELOPE)
    sig = base64.b64encode(part.signature if value is None else value).decode()
    return {"keyid": part.key_id if key_id is None else key_id, "sig": sig}


def test_a_forged_envelope_without_a_change_is_the_genuine_one() -> None:
    """The forgeries below fail for what they change and for nothing else."""
    assert forged() == forged(signatures=[signature()]) == ENVELOPE


@pytest.mark.invariant(7)
@pytest.mark.parametrize("key", [hmac_key(), ed25519_key()])
def test_what_was_sealed_opens_with_the_same_key(key: Any) -> None:
    """The verified statement is the sealed one, with the key that signed it and its digest."""
    verified = open_statement(sealed(key), Keyring.of([key]))
    assert verified.statement == statement()
    assert verified.key_id == key.key_id
    assert verified.digest == hashlib.sha256(encode(statement())).hexdigest()
    assert verified.digest == statement_digest(sealed(key))


def test_an_envelope_is_json_as_dsse_describes_it() -> None:
    """Other tools can read it: payloadType, payload and signatures, in standard base64."""
    document = json.loads(ENVELOPE)
    assert set(document) == {"payloadType", "payload", "signatures"}
    assert document["payloadType"] == STATEMENT_PAYLOAD_TYPE == "application/vnd.in-toto+json"
    assert base64.b64decode(document["payload"], validate=True) == encode(statement())
    [entry] = document["signatures"]
    assert entry["keyid"] == KEY.key_id
    message = pre_authentication_encoding(STATEMENT_PAYLOAD_TYPE, encode(statement()))
    assert KEY.material.is_signature(message, base64.b64decode(entry["sig"], validate=True))


def test_pre_authentication_encoding_counts_bytes() -> None:
    """Lengths are those of the bytes, not of the characters."""
    assert pre_authentication_encoding("tüp", "ü".encode()) == b"DSSEv1 4 t\xc3\xbcp 2 \xc3\xbc"
    assert pre_authentication_encoding("", b"") == b"DSSEv1 0  0 "


def test_pre_authentication_encoding_is_unambiguous() -> None:
    """Bytes cannot be moved between the type and the payload under one signature."""
    assert pre_authentication_encoding("a", b"b 1 c") != pre_authentication_encoding("a b", b"1 c")
    assert pre_authentication_encoding("a 1 b", b"") != pre_authentication_encoding("a", b"b")


@each_row(
    "signatures",
    [
        [],
        [signature(), signature()],
        [signature(), signature(value=b"wrong" * 8)],
        [signature(value=b"wrong" * 8), signature()],
        [signature("f" * 32), signature()],
        {},
        None,
        "",
        [[]],
        [{}],
        [{"sig": signature()["sig"]}],
        [{"keyid": KEY.key_id}],
        [signature() | {"alg": "none"}],
        [{"sig": signature()["sig"], "keyid": KEY.key_id}],
    ],
)
def test_an_envelope_has_exactly_one_signature(signatures: object) -> None:
    """No list of signatures but the one of one is read, however good one of them is."""
    with pytest.raises(EnvelopeFormatError):
        open_statement(forged(signatures=signatures), KEYRING)


@each_row(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b" " + ENVELOPE,
        ENVELOPE + b" ",
        ENVELOPE + b"\n",
        ENVELOPE + b"\0",
        ENVELOPE + ENVELOPE,
        ENVELOPE[:-1],
        ENVELOPE[1:],
        ENVELOPE.replace(b":", b": "),
        ENVELOPE.replace(b",", b",\n"),
        ENVELOPE.replace(b"payloadType", b"payload\\u0054ype"),
        ENVELOPE.replace(b"application/", b"application\\/"),
        ENVELOPE.replace(b'"signatures"', b'"Signatures"'),
        b"\xef\xbb\xbf" + ENVELOPE,
        ENVELOPE.decode().encode("utf-16"),
        json.dumps(json.loads(ENVELOPE), indent=2).encode(),
        json.dumps(dict(reversed(json.loads(ENVELOPE).items()))).encode(),
        forged(extra=1),
        forged(payload=None),
        forged(payload=7),
        forged(payloadType=None),
        forged(payloadType=""),
        forged(payloadType=STATEMENT_PAYLOAD_TYPE.upper()),
        ENVELOPE.replace(b'{"payloadType"', b'{"payloadType":"x","payloadType"', 1),
        ENVELOPE.replace(b'"payload":', b'"payload":"e30=","payload":', 1),
        ENVELOPE.replace(b'"keyid":', b'"keyid":"' + b"f" * 32 + b'","keyid":', 1),
        ENVELOPE.replace(b'"signatures"', b'"signatures":[],"signatures"', 1),
        b"[" * 10_000 + ENVELOPE + b"]" * 10_000,
        b'{"payload":' * 10_000 + b"null" + b"}" * 10_000,
        forged(signatures=[signature("F" * 32)]),
        forged(signatures=[signature("f" * 31)]),
        forged(signatures=[signature("../../../../../../etc/passwd0000")]),
        forged(signatures=[signature("")]),
    ],
)
def test_any_other_spelling_of_an_envelope_is_refused(data: bytes) -> None:
    """One grammar decides; no parser sees bytes that no signature covers."""
    with pytest.raises(EnvelopeFormatError):
        read_unverified(data)
    with pytest.raises(EnvelopeFormatError):
        open_statement(data, KEYRING)


PAYLOAD = base64.b64encode(encode(statement())).decode()


@each_row(
    ("payload", "reason"),
    [
        (PAYLOAD + "=", "not one DSSE envelope"),
        (PAYLOAD + "==", "not one DSSE envelope"),
        (PAYLOAD[:-1], "not valid"),
        (PAYLOAD[:-3], "not valid"),
        (PAYLOAD + "A", "not one DSSE envelope"),
        ("=", "not valid|not canonical"),
        ("==", "not valid|not canonical"),
        ("A", "not valid"),
        ("A=", "not valid"),
        ("AB==", "not canonical"),
        ("AAB=", "not canonical"),
        (PAYLOAD.replace("A", "-", 1), "not one DSSE envelope"),
        (PAYLOAD[:8] + "\n" + PAYLOAD[8:], "not one DSSE envelope"),
        (PAYLOAD[:8] + "=" + PAYLOAD[8:], "not one DSSE envelope"),
        (" " + PAYLOAD, "not one DSSE envelope"),
    ],
)
def test_base64_has_one_spelling(payload: str, reason: str) -> None:
    """Neither padding nor unused bits, white space or another alphabet give bytes a second name."""
    with pytest.raises(EnvelopeFormatError, match=reason):
        read_unverified(forged(payload=payload))


def test_the_base64_of_a_signature_has_one_spelling_too() -> None:
    """A signature cannot be changed in bits that do not count."""
    sig = signature()["sig"]
    assert sig.endswith("=")
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/":
        other = f"{sig[:-2]}{last}="
        if other != sig:
            entry = {"keyid": KEY.key_id, "sig": other}
            with pytest.raises((EnvelopeFormatError, SignatureInvalidError)):
                open_statement(forged(signatures=[entry]), KEYRING)


def test_an_envelope_over_the_limit_is_refused_before_it_is_read() -> None:
    """Size comes first, and the largest statement fits."""
    with pytest.raises(EnvelopeFormatError, match=f"{limits.MAX_ENVELOPE_BYTES} are allowed"):
        read_unverified(b" " * (limits.MAX_ENVELOPE_BYTES + 1))
    with pytest.raises(EnvelopeFormatError, match="not one DSSE envelope"):
        read_unverified(b" " * limits.MAX_ENVELOPE_BYTES)
    largest = seal(STATEMENT_PAYLOAD_TYPE, b"x" * limits.MAX_STATEMENT_BYTES, KEY)
    assert len(read_unverified(largest).payload) == limits.MAX_STATEMENT_BYTES


@pytest.mark.parametrize(
    "payload_type", ["text/plain", "application/vnd.in-toto", SETTINGS_PAYLOAD_TYPE, "x" * 128]
)
def test_a_genuine_signature_over_another_type_is_refused(payload_type: str) -> None:
    """What was signed as one thing is not taken for another."""
    envelope = seal(payload_type, encode(statement()), KEY)
    with pytest.raises(EnvelopeFormatError, match="of another type"):
        open_statement(envelope, KEYRING)


def test_another_type_is_refused_before_any_key_is_asked() -> None:
    """A document of another type never reaches a key."""

    class Unreachable:
        def verify(self, *_: object) -> Scope:
            raise AssertionError

    with pytest.raises(EnvelopeFormatError):
        open_envelope(
            seal(SETTINGS_PAYLOAD_TYPE, b"{}", KEY), STATEMENT_PAYLOAD_TYPE, Unreachable()
        )


@pytest.mark.invariant(4)
@each_row("payload_type", sorted(ROLE_OF_PAYLOAD_TYPE))
@each_row("role", list(Role))
def test_each_payload_type_needs_its_role(payload_type: str, role: Role) -> None:
    """A key opens what it has the role for, and nothing else."""
    # Approvals need a key that only its owner can sign with.
    key = replace(ed25519_key(), roles=roles(role))
    envelope = seal(payload_type, b"{}", key)
    if ROLE_OF_PAYLOAD_TYPE[payload_type] == role:
        opened = open_envelope(envelope, payload_type, Keyring.of([key]))
        assert (opened.payload, opened.key_id) == (b"{}", key.key_id)
    else:
        with pytest.raises(KeyRoleError, match="does not have the role"):
            open_envelope(envelope, payload_type, Keyring.of([key]))


@pytest.mark.invariant(4)
def test_an_unknown_key_is_refused() -> None:
    """A perfect signature of a stranger is worth nothing."""
    with pytest.raises(UnknownKeyError, match="has no key"):
        open_statement(ENVELOPE, Keyring.of([hmac_key(2)]))


@pytest.mark.invariant(4)
def test_a_revoked_key_is_refused_and_a_retired_one_is_not() -> None:
    """Revoking takes back what was signed; retiring does not."""
    with pytest.raises(RevokedKeyError, match="is revoked"):
        open_statement(ENVELOPE, with_state(KEYRING, KEY.key_id, State.REVOKED))
    retired = with_state(KEYRING, KEY.key_id, State.RETIRED)
    assert open_statement(ENVELOPE, retired).key_id == KEY.key_id


def test_a_key_for_another_repository_is_refused() -> None:
    """The scope of the key is compared with the repository that the statement names."""
    own = replace(KEY, scope=scope(REPOSITORY_ID, "0" * 32))
    assert open_statement(ENVELOPE, Keyring.of([own])).key_id == KEY.key_id
    for repositories in ([OTHER_REPOSITORY_ID], []):
        foreign = replace(KEY, scope=scope(*repositories))
        with pytest.raises(KeyRoleError, match="not for this repository"):
            open_statement(ENVELOPE, Keyring.of([foreign]))


@pytest.mark.parametrize("key", [hmac_key(), ed25519_key()])
def test_a_flipped_bit_of_payload_type_key_id_or_signature_is_refused(key: Any) -> None:
    """The signature covers the type and every bit of the statement, and has none to spare."""
    ring = Keyring.of([key])
    part = read_unverified(sealed(key))
    for position in range(len(part.payload)):
        other = bytearray(part.payload)
        other[position] ^= 1 << (position % 8)
        payload = base64.b64encode(other).decode()
        entry = {"keyid": key.key_id, "sig": base64.b64encode(part.signature).decode()}
        with pytest.raises(SignatureInvalidError):
            open_statement(forged(payload=payload, signatures=[entry]), ring)
    genuine = base64.b64encode(part.payload).decode()
    for bit in range(len(part.signature) * 8):
        other = bytearray(part.signature)
        other[bit // 8] ^= 1 << (bit % 8)
        entry = {"keyid": key.key_id, "sig": base64.b64encode(other).decode()}
        with pytest.raises(SignatureInvalidError):
            open_statement(forged(payload=genuine, signatures=[entry]), ring)


@each_row("key", [hmac_key(), ed25519_key()])
@each_row("length", [1, 16, 31, 33, 63, 65, 128, 768])
def test_a_signature_of_another_length_is_refused(key: Any, length: int) -> None:
    """Neither a prefix of the signature nor more than it counts."""
    genuine = read_unverified(sealed(key)).signature
    other = (genuine * 24)[:length]
    entry = {"keyid": key.key_id, "sig": base64.b64encode(other).decode()}
    with pytest.raises(SignatureInvalidError):
        open_statement(forged(signatures=[entry]), Keyring.of([key]))


def test_genuinely_signed_bytes_that_are_no_statement_are_refused() -> None:
    """A signature does not excuse a document from strict decoding."""
    for payload in (b"", b"{}", encode(statement()) + b" "):
        with pytest.raises(StatementFormatError):
            open_statement(seal(STATEMENT_PAYLOAD_TYPE, payload, KEY), KEYRING)


def test_a_verified_statement_cannot_be_made_or_changed_by_hand() -> None:
    """Neither constructor, assignment, copying nor unpickling give one but opening an envelope."""
    verified = open_statement(ENVELOPE, KEYRING)
    with pytest.raises(TypeError, match="open_statement only"):
        VerifiedStatement(statement(), KEY.key_id, "0" * 64)
    for attribute in ("statement", "key_id", "digest"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(verified, attribute, None)
        with pytest.raises(AttributeError, match="does not change"):
            delattr(verified, attribute)
    with pytest.raises(AttributeError):
        copy.copy(verified)
    pickled = pickle.dumps(verified)
    with pytest.raises(AttributeError):
        pickle.loads(pickled)
    assert verified.statement == statement()


def test_a_verified_statement_shows_what_it_is_about() -> None:
    """Logs show reference and digest, and none of the metadata."""
    verified = open_statement(sealed(KEY, metadata={"secret": "s3cret"}), KEYRING)
    assert repr(verified) == f"<VerifiedStatement churn:2026-11@1 {verified.digest[:12]}>"


def test_an_envelope_is_sealed_the_same_way_every_time() -> None:
    """HMAC and Ed25519 are deterministic, and so is the envelope."""
    for key in (hmac_key(), ed25519_key()):
        assert seal_statement(statement(), key) == seal_statement(statement(), key)
