"""The envelope: DSSE v1 around a statement (https://github.com/secure-systems-lab/dsse).

We sign bytes and keep those very bytes. Unlike DSSE at large, an envelope has exactly one signature
and exactly one spelling: it is matched as a whole against one grammar, so that no JSON parser ever
sees bytes that no signature covers. What comes out is authenticated; whether it is the artifact
that was asked for is decided in ``sealstore.verification``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final, Protocol

from sealstore import limits
from sealstore.errors import EnvelopeFormatError, KeyRoleError
from sealstore.signed import statement as statements
from sealstore.signed.statement import Statement
from sealstore.signed.verified import Verified, make_verified

STATEMENT_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
SETTINGS_PAYLOAD_TYPE: Final = "application/vnd.sealstore.settings+json"
HEAD_PAYLOAD_TYPE: Final = "application/vnd.sealstore.head+json"
ACCESS_HEAD_PAYLOAD_TYPE: Final = "application/vnd.sealstore.access-head+json"
APPROVAL_PAYLOAD_TYPE: Final = "application/vnd.sealstore.approval+json"

ROLE_OF_PAYLOAD_TYPE: Final = {
    STATEMENT_PAYLOAD_TYPE: "store",
    SETTINGS_PAYLOAD_TYPE: "admin",
    HEAD_PAYLOAD_TYPE: "store",
    ACCESS_HEAD_PAYLOAD_TYPE: "access",
    APPROVAL_PAYLOAD_TYPE: "approve",
}
"""The role that a key needs to sign each payload type; there are no other types."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The repositories that a key is for.

    Attributes:
        repositories: their ids, or None for every repository.
    """

    repositories: frozenset[str] | None

    def require(self, repository: str) -> None:
        """Return if the key is for ``repository``.

        Raises:
            KeyRoleError: it is not.
        """
        if self.repositories is not None and repository not in self.repositories:
            raise KeyRoleError(
                "The key that signed this is not for this repository.",
                hint="'sealstore keys list' shows which repositories each key is for.",
            )


class Signer(Protocol):
    """A key that can sign. Its algorithm is its own, no caller and no message chooses it."""

    @property
    def key_id(self) -> str:
        """The id that envelopes name."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message``."""
        ...


class Verifier(Protocol):
    """Keys to verify with, by id. A key id is a hint; what decides is the signature."""

    def verify(self, key_id: str, role: str, message: bytes, signature: bytes) -> Scope:
        """The scope of the key, if it may sign for ``role`` and the signature is its own.

        Raises:
            VerificationError: otherwise.
        """
        ...


@dataclass(frozen=True, slots=True)
class SignedPart:
    """What an envelope says before any signature was checked: all of it unauthenticated."""

    payload_type: str
    payload: bytes
    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """The bytes that a trusted key signed.

    Attributes:
        payload: the signed bytes.
        key_id: id of the key that signed them.
        scope: the repositories that the key is for; whoever learns from the payload which
            repository it is about calls ``scope.require`` with it.
    """

    payload: bytes
    key_id: str
    scope: Scope


class VerifiedStatement(Verified, comes_from="envelope.open_statement"):
    """A statement that came out of an opened envelope; only ``open_statement`` can make one.

    Attributes:
        statement: the decoded statement.
        key_id: id of the key that signed it.
        digest: SHA-256 of the statement's bytes, hexadecimal: the statement's identity.
    """

    __slots__ = ("digest", "key_id", "statement")

    statement: Statement
    key_id: str
    digest: str

    def __repr__(self) -> str:
        return f"<VerifiedStatement {self.statement.ref} {self.digest[:12]}>"


_GRAMMAR: Final = re.compile(
    rb'\{"payloadType":"([a-z0-9./+-]{1,128})",'
    rb'"payload":"([A-Za-z0-9+/]*={0,2})",'
    rb'"signatures":\[\{"keyid":"([0-9a-f]{32})","sig":"([A-Za-z0-9+/]{1,1024}={0,2})"\}\]\}'
)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """DSSE's PAE: what the signature covers, the type with the payload, lengths in bytes."""
    type_bytes = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(type_bytes), type_bytes, len(payload), payload)


def seal(payload_type: str, payload: bytes, signer: Signer) -> bytes:
    """The envelope with ``payload`` signed by ``signer``."""
    signature = signer.sign(pre_authentication_encoding(payload_type, payload))
    return b'{"payloadType":"%b","payload":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}' % (
        payload_type.encode("ascii"),
        base64.b64encode(payload),
        signer.key_id.encode("ascii"),
        base64.b64encode(signature),
    )


def read_unverified(data: bytes) -> SignedPart:
    """Take an envelope apart. Nothing in the result is authenticated.

    Raises:
        EnvelopeFormatError: ``data`` is not one canonical envelope with exactly one signature.
    """
    if len(data) > limits.MAX_ENVELOPE_BYTES:
        raise EnvelopeFormatError(
            f"The envelope has {len(data)} bytes; {limits.MAX_ENVELOPE_BYTES} are allowed."
        )
    match = _GRAMMAR.fullmatch(data)
    if match is None:
        raise EnvelopeFormatError("The bytes are not one DSSE envelope with exactly one signature.")
    payload_type, payload, key_id, signature = match.groups()
    return SignedPart(
        payload_type.decode("ascii"),
        _decode_base64(payload),
        key_id.decode("ascii"),
        _decode_base64(signature),
    )


def open_envelope(data: bytes, payload_type: str, verifier: Verifier) -> Opened:
    """The signed bytes of an envelope whose signature holds.

    Args:
        data: the envelope.
        payload_type: the only type that the caller accepts.
        verifier: the keys; algorithm and roles belong to each key.

    Raises:
        EnvelopeFormatError: not one canonical envelope, or of another payload type.
        VerificationError: an unknown, revoked or unfit key, or a signature that does not hold.
    """
    part = read_unverified(data)
    # The type is checked here although the signature covers it: a genuine signature over another
    # type of document must not even reach the key.
    if part.payload_type != payload_type:
        raise EnvelopeFormatError("The envelope is of another type than the one asked for.")
    scope = verifier.verify(
        part.key_id,
        ROLE_OF_PAYLOAD_TYPE[payload_type],
        pre_authentication_encoding(part.payload_type, part.payload),
        part.signature,
    )
    return Opened(part.payload, part.key_id, scope)


def open_statement(data: bytes, verifier: Verifier) -> VerifiedStatement:
    """The verified statement in an envelope.

    Raises:
        VerificationError: as ``open_envelope``; or the signed bytes are no statement, or one about
            a repository that the key is not for.
    """
    opened = open_envelope(data, STATEMENT_PAYLOAD_TYPE, verifier)
    statement = statements.decode(opened.payload)
    opened.scope.require(statement.predicate.repository)
    return make_verified(
        VerifiedStatement,
        statement=statement,
        key_id=opened.key_id,
        digest=hashlib.sha256(opened.payload).hexdigest(),
    )


def statement_digest(data: bytes) -> str:
    """SHA-256 (hexadecimal) of the payload of an envelope that was made here or verified before.

    Raises:
        EnvelopeFormatError: ``data`` is no envelope.
    """
    return hashlib.sha256(read_unverified(data).payload).hexdigest()


def _decode_base64(text: bytes) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise EnvelopeFormatError("The envelope's base64 is not valid.") from None
    # Unused bits at the end would give one payload several spellings.
    if base64.b64encode(decoded) != text:
        raise EnvelopeFormatError("The envelope's base64 is not canonical.")
    return decoded
