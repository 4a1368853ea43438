"""Making a statement: its one byte string, and its envelope."""

from __future__ import annotations

from typing import Final

from sealstore import limits
from sealstore.errors import StatementFormatError
from sealstore.signed.envelope import STATEMENT_PAYLOAD_TYPE, Signer, seal
from sealstore.signed.statement import (
    Digests,
    Predicate,
    Statement,
    Subject,
    encoder,
)

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:sealstore:artifact:v1"
"""Names the predicate's fields and their meaning; any change of them is another version."""


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
