"""The entries of the access log, and what both chains' entries have in common, as canonical JSON.

An entry's bytes are a leaf of its chain's Merkle tree. Each says its place itself, so that one that
was moved, or comes from another place, is named without any hash; and its kind, so that none of one
chain passes for one of the other.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec

from sealstore import limits
from sealstore.errors import LedgerFormatError, LedgerTamperedError
from sealstore.ledger.documents import (
    KeyId,
    decode_document,
    encode_document,
    require_name,
    require_stored_tag,
    require_tag,
)
from sealstore.signed.statement import Positive, Sha256Hex, UtcTime, Who

Act = Literal["load", "verify", "export", "inspect"]
"""What can be asked for."""

Outcome = Literal["granted", "refused", "failed"]
"""Granted before the first byte is interpreted; refused; or failed after it had been granted."""

Context = Annotated[str, msgspec.Meta(max_length=limits.MAX_CONTEXT_CHARACTERS)]
Reason = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]{0,63}\Z")]


class Actor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who did it, as the holder of the recording key claims.

    Attributes:
        user, host: of the process.
        process: its id; None where it says nothing.
        actor: what the caller said of itself.
    """

    user: Who
    host: Who
    process: Positive | None
    actor: Who | None


class EntryArtifact(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True
):
    """The artifact that an entry is about, once it has been found.

    Attributes:
        name, tag, revision: which.
        sha256: digest of its payload.
        statement: digest of its statement.
        key_id: the key that signed the statement.

    Raises:
        LedgerFormatError: the name or the tag is none.
    """

    name: str
    tag: str
    revision: Positive
    sha256: Sha256Hex
    statement: Sha256Hex
    key_id: KeyId

    def __post_init__(self) -> None:
        require_name(self.name)
        require_stored_tag(self.tag)


class ChainEntry(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="camel",
    kw_only=True,
    tag_field="kind",
):
    """What the entries of both chains say first.

    Attributes:
        sequence: place in the chain, counted from 1.
    """

    sequence: Positive


class AccessRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was asked for.

    Attributes:
        name: the name.
        tag: the tag, the alias or ``latest``, as it was asked for.
        revision: None where the newest was.

    Raises:
        LedgerFormatError: the name or the tag is none.
    """

    name: str
    tag: str
    revision: Positive | None

    def __post_init__(self) -> None:
        require_name(self.name)
        require_tag(self.tag)


class AccessEntry(ChainEntry, frozen=True, kw_only=True, tag="access-v1"):
    """One load, verification, export or inspection, or why it was refused.

    Attributes:
        act: what was to be done.
        outcome: what came of it.
        reason: the stable code of the error; None where it was granted.
        at: when, UTC, by the clock of whoever did it.
        by: who did it.
        context: what the caller said of the occasion.
        recorded_by: the key that signed the access head with this entry.
        request: what was asked for.
        artifact: what was found; None where a refusal came before that.
        grant: sequence of the grant that a failure came after; None otherwise.

    Raises:
        LedgerFormatError: outcome, reason, artifact and grant contradict each other.
    """

    act: Act
    outcome: Outcome
    reason: Reason | None
    at: UtcTime
    by: Actor
    context: Context | None
    recorded_by: KeyId
    request: AccessRequest
    artifact: EntryArtifact | None
    grant: Positive | None

    def __post_init__(self) -> None:
        if (self.outcome == "granted") is not (self.reason is None):
            raise LedgerFormatError("What is granted has no reason, what is not has one.")
        if self.outcome != "refused" and self.artifact is None:
            raise LedgerFormatError("What was granted is an artifact, and the entry names none.")
        if (self.outcome == "failed") is not (self.grant is not None):
            raise LedgerFormatError("A failure follows a grant, and nothing else does.")
        if self.grant is not None and self.grant >= self.sequence:
            raise LedgerFormatError("A failure comes after the grant that it follows.")


AnyEntry = TypeVar("AnyEntry", bound=ChainEntry)

_decoder: Final = msgspec.json.Decoder(AccessEntry)


def encode_entry(entry: ChainEntry) -> bytes:
    """The bytes of an entry, which ``merkle.leaf_hash`` takes.

    Raises:
        LedgerFormatError: more than ``limits.MAX_ENTRY_BYTES``.
    """
    return encode_document(entry, limits.MAX_ENTRY_BYTES, "entry")


def decode_entry(
    data: bytes, decoder: msgspec.json.Decoder[AnyEntry], sequence: int, what: str
) -> AnyEntry:
    """The entry that ``data`` is.

    Args:
        data: the bytes.
        decoder: says which chain's.
        sequence: the place where they were found, counted from 1.
        what: what it is, for the error's text.

    Raises:
        LedgerFormatError: any other bytes.
        LedgerTamperedError: an entry of another place.
    """
    entry = decode_document(data, decoder, limits.MAX_ENTRY_BYTES, what)
    if entry.sequence != sequence:
        raise LedgerTamperedError(
            f"Where entry {sequence} should be is one that says it is {entry.sequence}."
        )
    return entry


def decode_access_entry(data: bytes, sequence: int) -> AccessEntry:
    """The entry of the access log that ``data`` is; see ``decode_entry``."""
    return decode_entry(data, _decoder, sequence, "access log's entry")
