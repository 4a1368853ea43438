"""The ledger's JSON documents: one byte string each, as for statements."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Final, TypeVar

import msgspec

from sealstore import limits
from sealstore.errors import InvalidNameError, LedgerFormatError, StatementFormatError
from sealstore.names import Name, Tag
from sealstore.signed.statement import decode_canonical

Document = TypeVar("Document")

Count = Annotated[int, msgspec.Meta(ge=0, le=limits.MAX_SEQUENCE)]
KeyId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]

_encoder: Final = msgspec.json.Encoder()


def encode_document(document: msgspec.Struct, limit: int, what: str) -> bytes:
    """The one byte string of a document.

    Args:
        document: what to encode.
        limit: bytes that it may have.
        what: what it is, for the error's text.

    Raises:
        LedgerFormatError: it would be longer, or has text that is no Unicode.
    """
    try:
        data = _encoder.encode(document)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
        raise LedgerFormatError(
            f"The {what} cannot be written as JSON ({type(error).__name__}).", hint=""
        ) from error
    if len(data) > limit:
        raise LedgerFormatError(
            f"The {what} would have {len(data)} bytes; {limit} are allowed.", hint=""
        )
    return data


def decode_document(
    data: bytes, decoder: msgspec.json.Decoder[Document], limit: int, what: str
) -> Document:
    """The document that ``data`` is, byte for byte.

    Args:
        data: the bytes.
        decoder: says the type, with unknown fields forbidden.
        limit: bytes that it may have.
        what: what it is, for the error's text.

    Raises:
        LedgerFormatError: any byte string that encoding the result would not give.
    """
    # A database may hold text, or nothing, where it should hold bytes.
    if type(data) is not bytes:
        raise LedgerFormatError(f"The {what} is not made of bytes.")
    if len(data) > limit:
        raise LedgerFormatError(f"The {what} has {len(data)} bytes; {limit} are allowed.")
    try:
        return decode_canonical(data, decoder, what)
    except StatementFormatError as error:
        raise LedgerFormatError(error.message) from error


def require_name(name: str) -> None:
    """Return if ``name`` is a name.

    Raises:
        LedgerFormatError: it is not.
    """
    _require(Name, name)


def require_tag(tag: str) -> None:
    """Return if ``tag`` is a tag, an alias or ``latest``.

    Raises:
        LedgerFormatError: it is not.
    """
    _require(Tag, tag)


def require_stored_tag(tag: str) -> None:
    """Return if ``tag`` is one that something can be stored under.

    Raises:
        LedgerFormatError: it is not.
    """
    _require(Tag.to_store, tag)


# A ledger says the same names over and over, and checking one takes longer than decoding its entry.
@functools.lru_cache(maxsize=1_024)
def _require(rules: Callable[[str], object], text: str) -> None:
    try:
        rules(text)
    except InvalidNameError as error:
        raise LedgerFormatError(
            f"A document of the ledger names no artifact: {error.message}"
        ) from error
