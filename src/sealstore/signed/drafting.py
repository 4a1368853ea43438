"""Making a statement: its one byte string, its envelope, and the metadata that it may carry."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sealstore import limits
from sealstore.errors import InvalidMetadataError, StatementFormatError
from sealstore.signed.envelope import STATEMENT_PAYLOAD_TYPE, Signer, seal
from sealstore.signed.statement import (
    Digests,
    Predicate,
    Statement,
    Subject,
    encoder,
    refuse_ambiguous_json,
)

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:sealstore:artifact:v1"
"""Names the predicate's fields and their meaning; any change of them is another version."""

_METADATA_DEPTH: Final = 2
"""Levels of a statement above its metadata: the statement's own and the predicate's."""


def make_statement(predicate: Predicate, digests: Digests) -> Statement:
    """The statement that says ``predicate`` of the payload with ``digests``."""
    return Statement(
        type_=STATEMENT_TYPE,
        subject=(Subject(name=predicate.name, digest=digests),),
        predicate_type=PREDICATE_TYPE,
        predicate=predicate,
    )


def encode(statement: Statement) -> bytes:
    """The one byte string of ``statement``.

    Raises:
        StatementFormatError: it would be longer than ``limits.MAX_STATEMENT_BYTES``.
    """
    data = encoder.encode(statement)
    if len(data) > limits.MAX_STATEMENT_BYTES:
        raise StatementFormatError(
            f"The statement would have {len(data)} bytes;"
            f" {limits.MAX_STATEMENT_BYTES} are allowed.",
            hint="store less metadata, or an object of fewer classes.",
        )
    return data


def seal_statement(statement: Statement, signer: Signer) -> bytes:
    """The envelope with ``statement`` signed by ``signer``."""
    return seal(STATEMENT_PAYLOAD_TYPE, encode(statement), signer)


def checked_metadata(metadata: object) -> dict[str, Any]:
    """A copy of ``metadata`` if JSON carries it exactly.

    Args:
        metadata: the user's dict, or None for an empty one.

    Raises:
        InvalidMetadataError: not a dict, not exactly representable (NaN, tuples, bytes, keys that
            are no strings, integers over 64 bits), nested too deeply for a statement, or over
            ``limits.MAX_METADATA_BYTES``.
    """
    if metadata is None:
        return {}
    if type(metadata) is not dict:
        raise InvalidMetadataError("Metadata must be a dict of JSON values.")
    try:
        encoded = encoder.encode(metadata)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidMetadataError(
            f"Metadata must be a JSON object ({type(error).__name__}: {error})."
        ) from error
    if len(encoded) > limits.MAX_METADATA_BYTES:
        raise InvalidMetadataError(
            f"Metadata has {len(encoded)} bytes as JSON; {limits.MAX_METADATA_BYTES} are allowed.",
            hint="store large things as objects of their own and keep their name here.",
        )
    try:
        refuse_ambiguous_json(encoded, "metadata", depth=limits.MAX_JSON_DEPTH - _METADATA_DEPTH)
    except StatementFormatError as error:
        raise InvalidMetadataError(error.message) from error
    decoded: dict[str, Any] | None
    try:
        decoded = msgspec.json.decode(encoded)
    except (msgspec.MsgspecError, ValueError):
        # What the caller had encoded before (msgspec.Raw) goes into the document unchecked.
        decoded = None
    if decoded is None or not _same_json(decoded, metadata):
        raise InvalidMetadataError(
            "Metadata must come back from JSON as it was: only dicts with string keys, lists,"
            " strings, finite numbers, booleans and None."
        )
    # The copy: what was checked is what will be signed, whatever happens to the caller's dict.
    return decoded


def _same_json(decoded: Any, given: Any) -> bool:
    # 1 == True == 1.0 in Python but not in JSON, so types are compared as well.
    if type(decoded) is not type(given):
        return False
    if isinstance(decoded, dict):
        return (
            all(type(key) is str for key in given)
            and decoded.keys() == given.keys()
            and all(_same_json(value, given[key]) for key, value in decoded.items())
        )
    if isinstance(decoded, list):
        return len(decoded) == len(given) and all(map(_same_json, decoded, given))
    return bool(decoded == given)
