"""Why a pickle stream is refused: a stable word for each reason, and the error that carries it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sealstore.errors import LimitExceededError, PayloadFormatError, UnsupportedPayloadError


class Reason(StrEnum):
    """The reasons for which reader and inspection refuse a payload."""

    MALFORMED = "malformed"
    """No well-formed pickle stream, or not one that a pickler writes."""
    TRUNCATED = "truncated"
    """It ends in the middle."""
    TRAILING_BYTES = "trailing-bytes"
    """It goes on behind its STOP opcode, or behind its compressed data."""
    FRAME = "frame"
    """A frame that lies: something reaches beyond it, or stands between a wrapper and its array."""
    COMPRESSION = "compression"
    """Its compressed data is damaged."""
    LIMIT = "limit"
    """It asks for more than one of the caps in ``sealstore.limits``."""
    OLD_JOBLIB = "old-joblib"
    """A form that joblib wrote before 0.10, which reads neighbouring files."""
    PYTHON_2 = "python-2"
    """It was written by Python 2."""
    PERSISTENT_ID = "persistent-id"
    """It uses persistent ids."""
    EXTENSION = "extension-registry"
    """It uses the extension registry, whose codes mean something else in each process."""
    COMPUTED_NAME = "computed-name"
    """It computes the name of what it imports."""
    AMBIGUOUS_NAME = "ambiguous-name"
    """A name whose meaning depends on a second PROTO opcode."""
    ARRAY = "array"
    """An array's wrapper, state or size that joblib and numpy do not write."""
    DTYPE = "dtype"
    """A dtype that contradicts itself, or is not numpy's own."""
    EXHAUSTION = "exhaustion"
    """Its inspection was ended: by a signal, for want of memory, or because its time was over."""
    FOREIGN_STATE = "foreign-state"
    """BUILD, SETITEMS or APPENDS on something that the stream did not make."""


_UNSUPPORTED: Final = frozenset(
    (
        Reason.OLD_JOBLIB,
        Reason.PYTHON_2,
        Reason.PERSISTENT_ID,
        Reason.EXTENSION,
        Reason.COMPUTED_NAME,
        Reason.AMBIGUOUS_NAME,
    )
)


def refused(reason: Reason, message: str, *, hint: str | None = None) -> PayloadFormatError:
    """The error to raise for ``reason``, of the class that tells callers what kind it is."""
    kind = PayloadFormatError
    if reason in _UNSUPPORTED:
        kind = UnsupportedPayloadError
    elif reason is Reason.LIMIT:
        kind = LimitExceededError
    error = kind(message, hint=hint)
    error.reason = reason.value
    return error


def old_joblib(form: str) -> PayloadFormatError:
    """The error for a form that only joblib before 0.10 wrote."""
    return refused(
        Reason.OLD_JOBLIB,
        f"The payload {form}, a form that joblib wrote before 0.10.",
        hint="load it with the joblib that wrote it, and store the object again.",
    )


def truncated() -> PayloadFormatError:
    """The error for a stream that asks for more bytes than there are."""
    return refused(Reason.TRUNCATED, "The payload ends in the middle of its pickle stream.")


def extension() -> PayloadFormatError:
    """The error for a stream that names something by a code of the extension registry."""
    return refused(Reason.EXTENSION, "The payload uses the extension registry of copyreg.")
