"""The entries of both chains, as canonical JSON: what changed the repository, and what was loaded.

An entry's bytes are a leaf of its chain's Merkle tree. Each says its place itself, so that one that
was moved, or comes from another place, is named without any hash; and its kind, so that none of one
chain passes for one of the other.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

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

Event = Literal[
    "create", "store", "remove", "resign", "settings", "key", "alias", "gc", "lost", "rebuild"
]
"""What can change a repository. ``lost`` stands for an entry that a rebuild could not recover."""

_EVENTS_OF_ARTIFACTS: Final = frozenset({"store", "remove", "resign"})

Act = Literal["load", "verify", "export", "inspect"]
"""What can be asked for."""

Outcome = Literal["granted", "refused", "failed"]
"""Granted before the first byte is interpreted; refused; or failed after it had been granted."""

Context = Annotated[str, msgspec.Meta(max_length=limits.MAX_CONTEXT_CHARACTERS)]
Reason = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]{0,63}\Z")]
DetailText = Annotated[str, msgspec.Meta(max_length=limits.MAX_DETAIL_CHARACTERS)]
WholeNumber = Annotated[int, msgspec.Meta(ge=-limits.MAX_SEQUENCE, le=limits.MAX_SEQUENCE)]
Details = Annotated[
    dict[DetailText, bool | WholeNumber | DetailText | None],
    msgspec.Meta(max_length=limits.MAX_ENTRY_DETAILS),
]


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


class HistoryEntry(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="camel",
    kw_only=True,
    tag_field="kind",
    tag="history-v1",
):
    """One change of the repository.

    Attributes:
        sequence: place in the history, counted from 1.
        event: what happened.
        at: when, UTC, by the clock of whoever did it.
        by: who did it.
        recorded_by: the key that signed the head with this entry.
        artifact: what it is about; None where it is about none.
        details: what else belongs to the event.

    Raises:
        LedgerFormatError: an event of an artifact without one.
    """

    sequence: Positive
    event: Event
    at: UtcTime
    by: Actor
    recorded_by: KeyId
    artifact: EntryArtifact | None
    details: Details

    def __post_init__(self) -> None:
        if self.event in _EVENTS_OF_ARTIFACTS and self.artifact is None:
            raise LedgerFormatError(f"An entry of the event {self.event} names no artifact.")


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


class AccessEntry(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="camel",
    kw_only=True,
    tag_field="kind",
    tag="access-v1",
):
    """One load, verification, export or inspection, or why it was refused.

    Attributes:
        sequence: place in the access log, counted from 1.
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

    sequence: Positive
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


_history_decoder: Final = msgspec.json.Decoder(HistoryEntry)
_access_decoder: Final = msgspec.json.Decoder(AccessEntry)


def encode_entry(entry: HistoryEntry | AccessEntry) -> bytes:
    """The bytes of an entry, which ``merkle.leaf_hash`` takes.

    Raises:
        LedgerFormatError: more than ``limits.MAX_ENTRY_BYTES``.
    """
    return encode_document(entry, limits.MAX_ENTRY_BYTES, "entry")


def decode_history_entry(data: bytes, sequence: int) -> HistoryEntry:
    """The entry of the history that ``data`` is.

    Args:
        data: the bytes.
        sequence: the place where they were found, counted from 1.

    Raises:
        LedgerFormatError: any other bytes.
        LedgerTamperedError: an entry of another place.
    """
    entry = decode_document(data, _history_decoder, limits.MAX_ENTRY_BYTES, "history's entry")
    _require_place(entry.sequence, sequence)
    return entry


def decode_access_entry(data: bytes, sequence: int) -> AccessEntry:
    """The entry of the access log that ``data`` is.

    Args:
        data: the bytes.
        sequence: the place where they were found, counted from 1.

    Raises:
        LedgerFormatError: any other bytes.
        LedgerTamperedError: an entry of another place.
    """
    entry = decode_document(data, _access_decoder, limits.MAX_ENTRY_BYTES, "access log's entry")
    _require_place(entry.sequence, sequence)
    return entry


def _require_place(says: int, found: int) -> None:
    if says != found:
        raise LedgerTamperedError(f"Where entry {found} should be is one that says it is {says}.")
