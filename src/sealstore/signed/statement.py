"""The statement: what is signed about one artifact, and its strict decoding.

An in-toto Statement v1 (https://in-toto.io/Statement/v1) with one subject, the payload, and a
predicate with everything else that a loader relies on. A statement has exactly one byte string:
``decode`` refuses whatever ``drafting.encode`` would not have written, so unknown fields, duplicate
keys, spare white space and numbers in another notation cannot hide anything.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from sealstore import limits
from sealstore.errors import InvalidNameError, StatementFormatError
from sealstore.names import ArtifactRef, Name, Tag

Sha256Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Blake3Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
RepositoryId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
UtcTime = Annotated[
    str,
    msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z"),
]
Positive = Annotated[int, msgspec.Meta(ge=1, le=limits.MAX_SEQUENCE)]
PayloadSize = Annotated[int, msgspec.Meta(ge=0, le=limits.MAX_PAYLOAD_BYTES)]
Who = Annotated[str, msgspec.Meta(max_length=limits.MAX_ACTOR_CHARACTERS)]


class Digests(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Both digests of a payload, as lower-case hexadecimal (32 bytes each)."""

    sha256: Sha256Hex
    blake3: Blake3Hex


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """in-toto's subject: the artifact's name and the digests of its payload."""

    name: str
    digest: Digests


class StoredBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who stored the object, as the holder of the signing key claims."""

    user: Who
    host: Who
    actor: Who | None


class ImportUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way in which the payload uses an import, as ``pickling.uses`` tells them.

    Attributes:
        use: what is done with it.
        arguments: with what; None where no arguments belong to the use, or too many differ.
    """

    use: Literal["called", "made", "built", "extended", "result-called", "kept"]
    arguments: tuple[str, ...] | None


class Import(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ``module:qualname`` that loading the payload resolves.

    Attributes:
        name: ``module:qualname``.
        uses: what the payload does with it; none where it is only referred to.
    """

    name: str
    uses: tuple[ImportUse, ...]


class Predicate(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """Everything besides the payload's digests that a loader relies on.

    Attributes:
        repository: id of the repository, 32 hexadecimal digits.
        name, tag, revision: which artifact; revisions of a (name, tag) count from 1.
        sequence: place of the store in the repository's history, counted from 1.
        format: the name of the payload's format, such as ``joblib``.
        size: bytes of the payload.
        created: when the object was stored, UTC with microseconds, by the storer's clock.
        stored_by: user, host and actor.
        python: version of the storing interpreter.
        packages: versions of the distributions that the object's imports come from.
        imports: what loading the payload imports.
        metadata: the user's own JSON object.
    """

    repository: RepositoryId
    name: str
    tag: str
    revision: Positive
    sequence: Positive
    format: str
    size: PayloadSize
    created: UtcTime
    stored_by: StoredBy
    python: str
    packages: dict[str, str]
    imports: tuple[Import, ...]
    metadata: dict[str, Any]


class Statement(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """An in-toto Statement v1 about one artifact."""

    type_: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: tuple[Subject]
    predicate_type: Literal["urn:sealstore:artifact:v1"]
    predicate: Predicate

    @property
    def ref(self) -> ArtifactRef:
        """Which artifact the statement is about."""
        predicate = self.predicate
        return ArtifactRef(Name(predicate.name), Tag(predicate.tag), predicate.revision)

    @property
    def digests(self) -> Digests:
        """The digests of the payload."""
        return self.subject[0].digest


Decoded = TypeVar("Decoded")

_statement_decoder: Final = msgspec.json.Decoder(Statement)
encoder: Final = msgspec.json.Encoder()
"""What writes signed JSON, and shows that what was read is spelled the same way."""


def decode(data: bytes) -> Statement:
    """The statement that ``data`` is, byte for byte.

    Raises:
        StatementFormatError: any other byte string.
    """
    statement = decode_canonical(data, _statement_decoder, "statement")
    predicate = statement.predicate
    if statement.subject[0].name != predicate.name:
        raise StatementFormatError("The statement's subject and predicate name two artifacts.")
    try:
        Name(predicate.name)
        Tag.to_store(predicate.tag)
    except InvalidNameError as error:
        raise StatementFormatError(f"The statement names no artifact: {error.message}") from error
    return statement


def decode_canonical(
    data: bytes,
    decoder: msgspec.json.Decoder[Decoded],
    what: str,
    *,
    limit: int = limits.MAX_STATEMENT_BYTES,
) -> Decoded:
    """Decode signed JSON of which there is exactly one spelling.

    Args:
        data: the bytes.
        decoder: says the type, with unknown fields forbidden.
        what: what the bytes are, for the error's text.
        limit: how many bytes it may have.

    Raises:
        StatementFormatError: too long, nested too deeply, not the type, or not the bytes that
            encoding the result gives: a key that is there twice, white space, other escapes.
    """
    if len(data) > limit:
        raise StatementFormatError(f"The {what} has {len(data)} bytes, more than allowed.")
    try:
        decoded = decoder.decode(data)
        canonical = encoder.encode(decoded)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        # The cause would quote unverified bytes; its type says enough.
        raise StatementFormatError(
            f"The {what} does not decode strictly ({type(error).__name__})."
        ) from None
    if canonical != data:
        raise StatementFormatError(f"The {what} is not spelled in its one canonical way.")
    return decoded


# A string that never ends is one token too: without that, each quote in it would be tried as a new
# beginning, which takes time that grows with the square of the length.
_JSON_TOKENS: Final = re.compile(rb""""[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]""", re.DOTALL)


def refuse_ambiguous_json(data: bytes, what: str, *, depth: int = limits.MAX_JSON_DEPTH) -> None:
    """Refuse what parsers read differently, or overflow on, before a decoder sees the bytes.

    Args:
        data: the bytes, at most ``limits.MAX_STATEMENT_BYTES``.
        what: what the bytes are, for the error's text.
        depth: how many levels they may have.

    Raises:
        StatementFormatError: too long, nested too deeply, an object that has one key twice
            (RFC 8259, section 4: behaviour "unpredictable"), or an integer over 64 bits.
    """
    if len(data) > limits.MAX_STATEMENT_BYTES:
        raise StatementFormatError(f"The {what} has {len(data)} bytes, more than allowed.")
    level = 0
    for token in _JSON_TOKENS.findall(data):
        if token in b"[{":
            level += 1
            if level > depth:
                raise StatementFormatError(f"The {what} is nested too deeply.")
        elif token in b"]}":
            level -= 1

    def with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        decoded = dict(pairs)
        if len(decoded) != len(pairs):
            raise StatementFormatError(f"The {what} has one key twice in an object.")
        return decoded

    def int64(digits: str) -> int:
        # Releases of msgspec differ in what they make of larger ones.
        number = int(digits)
        if not -(1 << 63) <= number < 1 << 64:
            raise StatementFormatError(f"The {what} has an integer over 64 bits.")
        return number

    try:
        json.loads(data, object_pairs_hook=with_each_key_once, parse_int=int64)
    except ValueError as error:
        raise StatementFormatError(f"The {what} is not JSON ({type(error).__name__}).") from None
