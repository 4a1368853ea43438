"""The entries of the history: what changed the repository. A load reads none of them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from sealstore import limits
from sealstore.errors import LedgerFormatError
from sealstore.ledger.documents import KeyId
from sealstore.ledger.entries import Actor, ChainEntry, EntryArtifact, decode_entry
from sealstore.signed.statement import UtcTime

Event = Literal[
    "create", "store", "remove", "resign", "settings", "key", "alias", "gc", "lost", "rebuild"
]
"""What can change a repository. ``lost`` stands for an entry that a rebuild could not recover."""

_EVENTS_OF_ARTIFACTS: Final = frozenset({"store", "remove", "resign"})

DetailText = Annotated[str, msgspec.Meta(max_length=limits.MAX_DETAIL_CHARACTERS)]
WholeNumber = Annotated[int, msgspec.Meta(ge=-limits.MAX_SEQUENCE, le=limits.MAX_SEQUENCE)]
Details = Annotated[
    dict[DetailText, bool | WholeNumber | DetailText | None],
    msgspec.Meta(max_length=limits.MAX_ENTRY_DETAILS),
]


class HistoryEntry(ChainEntry, frozen=True, kw_only=True, tag="history-v1"):
    """One change of the repository.

    Attributes:
        event: what happened.
        at: when, UTC, by the clock of whoever did it.
        by: who did it.
        recorded_by: the key that signed the head with this entry.
        artifact: what it is about; None where it is about none.
        details: what else belongs to the event.

    Raises:
        LedgerFormatError: an event of an artifact without one.
    """

    event: Event
    at: UtcTime
    by: Actor
    recorded_by: KeyId
    artifact: EntryArtifact | None
    details: Details

    def __post_init__(self) -> None:
        if self.event in _EVENTS_OF_ARTIFACTS and self.artifact is None:
            raise LedgerFormatError(f"An entry of the event {self.event} names no artifact.")


_decoder: Final = msgspec.json.Decoder(HistoryEntry)


def decode_history_entry(data: bytes, sequence: int) -> HistoryEntry:
    """The entry of the history that ``data`` is; see ``entries.decode_entry``."""
    return decode_entry(data, _decoder, sequence, "history's entry")
