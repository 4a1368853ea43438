"""Where an imported artifact comes from: what the history says of it, and what is kept of it.

An import gives an artifact a statement of this repository, since a load accepts no other. The entry
of its store, which the head vouches for, names the statement that it had at its origin, with the
head that proved it; the origin's envelope is kept beside, and is held against that entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

import msgspec

from sealstore.errors import (
    CatalogueTamperedError,
    EnvelopeFormatError,
    LedgerFormatError,
    LedgerTamperedError,
    SealstoreError,
)
from sealstore.ledger.documents import KeyId
from sealstore.ledger.history import HistoryEntry
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.repository.assembly import Parts
from sealstore.repository.history_entries import Detail, proven_entry
from sealstore.repository.proving import Found
from sealstore.signed.envelope import VerifiedStatement, open_statement, read_unverified
from sealstore.signed.statement import Positive, RepositoryId, Sha256Hex
from sealstore.storage.catalogue.chain_rows import entry_rows
from sealstore.storage.catalogue.listing import origin_at

_PREFIX: Final = "origin_"


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where an artifact was imported from: under the same name and tag, in another repository.

    Attributes:
        repository: id of that repository.
        revision: of the artifact there.
        statement: digest of its statement there.
        key: id of the key that signed it there.
        epoch, size, root: of the head there that proved it.
    """

    repository: RepositoryId
    revision: Positive
    statement: Sha256Hex
    key: KeyId
    epoch: Positive
    size: Positive
    root: Sha256Hex

    @classmethod
    def of(cls, verified: VerifiedStatement, point: HistoryCheckpoint) -> Self:
        """The origin that a bundle has proven.

        Args:
            verified: the statement there.
            point: of the head there.
        """
        return cls(
            repository=point.repository,
            revision=verified.statement.predicate.revision,
            statement=verified.digest,
            key=verified.key_id,
            epoch=point.epoch,
            size=point.size,
            root=point.root,
        )

    def details(self) -> dict[str, Detail]:
        """What the history's entry of the import says."""
        fields: dict[str, Detail] = msgspec.structs.asdict(self)
        return {f"{_PREFIX}{name}": value for name, value in fields.items()}


def origin_of(entry: HistoryEntry) -> Origin | None:
    """Where the artifact of a proven entry was imported from; None if it was not.

    Raises:
        LedgerFormatError: the entry says only a part of it.
    """
    fields = {
        name.removeprefix(_PREFIX): value
        for name, value in entry.details.items()
        if name.startswith(_PREFIX)
    }
    if not fields:
        return None
    try:
        return msgspec.convert(fields, Origin)
    except msgspec.ValidationError:
        raise LedgerFormatError("The history's entry names no origin that can be.") from None


@dataclass(frozen=True, slots=True)
class KeptOrigin:
    """An artifact's origin, and what is kept of it.

    Attributes:
        origin: what the history says.
        statement: the verified statement there; None where its signature is refused by now.
        refusal: why it is refused: its key may be revoked here, or not be known any more.
    """

    origin: Origin
    statement: VerifiedStatement | None
    refusal: SealstoreError | None = None


def kept_origin(parts: Parts, found: Found) -> KeptOrigin | None:
    """Where a verified artifact comes from. See ``Repository.origin``."""
    sequence = found.verified.statement.predicate.sequence
    with parts.snapshot(remembering=False) as snapshot:
        rows, state = snapshot.rows, snapshot.state
        row = next(entry_rows(rows.history, sequence - 1, sequence), None)
        if row is None:
            raise LedgerTamperedError(f"Entry {sequence} of the history is missing.")
        entry = proven_entry(row, rows.history, state.head)
        if entry.artifact is None or entry.artifact.statement != found.verified.digest:
            raise LedgerTamperedError(
                f"Entry {sequence} of the history is not that of the artifact's store."
            )
        origin = origin_of(entry)
        if origin is None:
            return None
        envelope = origin_at(rows, sequence)
    require_origin(envelope, origin)
    try:
        return KeptOrigin(origin, open_statement(envelope or b"", state.keyring))
    except SealstoreError as error:
        return KeptOrigin(origin, None, error)


def require_origin(envelope: bytes | None, origin: Origin) -> None:
    """Return if an envelope that is kept holds the statement that was imported.

    Raises:
        CatalogueTamperedError: it holds a different one, or there is none.
    """
    try:
        digest = sha256(read_unverified(envelope or b"").payload).hexdigest()
    except EnvelopeFormatError:
        digest = ""
    if digest != origin.statement:
        raise CatalogueTamperedError(
            "The origin's statement that the catalogue keeps is not the one that was imported."
        )
