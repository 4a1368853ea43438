"""What is remembered of one location: values, the document they are kept in, and what is newer.

Nothing here reads a file, or is signed: whoever can write the trust state is this client itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Final

import msgspec

from sealstore import limits
from sealstore.errors import (
    LedgerFormatError,
    RepositoryExchangedError,
    TrustStateError,
    TrustStateFormatError,
)
from sealstore.ledger.continuity import require_extends, require_extends_access
from sealstore.ledger.documents import Count, decode_document, encode_document
from sealstore.ledger.head import LogId
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from sealstore.signed.statement import Positive, RepositoryId, Sha256Hex, UtcTime
from sealstore.trust.freshness import seconds_between, utc_text

Prove = Callable[[int, int], Sequence[bytes]]
"""The consistency proof from one size of a chain to another that is not smaller."""

_WHAT: Final = "trust state"


@dataclass(frozen=True, slots=True)
class TrustRecord:
    """What is remembered of the repository at one location.

    Attributes:
        location: where it is, as a URL.
        point: the newest point of its history that was seen.
        newest_time: the newest time that was seen: of a head, or by a clock that was accepted.
        access: the newest point of each access log, by the log's location.
    """

    location: str
    point: HistoryCheckpoint
    newest_time: str
    access: Mapping[str, AccessCheckpoint] = field(default_factory=dict)

    @classmethod
    def beginning(cls, location: str, point: HistoryCheckpoint) -> TrustRecord:
        """What there is to remember when a location is seen for the first time."""
        return cls(location, point, point.time)


# ── the document ─────────────────────────────────────────────────────────────

Location = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.MAX_LOCATION_CHARACTERS)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    repository: RepositoryId
    size: Count
    root: Sha256Hex
    time: UtcTime


class _History(_Part, frozen=True, kw_only=True):
    epoch: Positive
    map_root: Sha256Hex
    settings_version: Positive
    settings_digest: Sha256Hex


class _Access(_Part, frozen=True, kw_only=True):
    log: LogId


class TrustDocument(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="camel",
    kw_only=True,
    tag_field="kind",
    tag="trust-state-v1",
):
    """A ``TrustRecord`` as it is written; it has one spelling, as statements do."""

    location: Location
    history: _History
    newest_time: UtcTime
    access: Annotated[dict[Location, _Access], msgspec.Meta(max_length=limits.MAX_TRUST_LOGS)]

    def __post_init__(self) -> None:
        if list(self.access) != sorted(self.access):
            raise ValueError("The access logs are not in their one order.")
        if any(log.repository != self.history.repository for log in self.access.values()):
            raise ValueError("An access log is not the repository's.")
        # Both have the form of UtcTime, in which the order of the text is that of the time.
        if self.newest_time < self.history.time:
            raise ValueError("The newest time is not the newest.")


_decoder: Final = msgspec.json.Decoder(TrustDocument)


def encode_record(record: TrustRecord) -> bytes:
    """The one byte string of what is remembered.

    Raises:
        TrustStateError: ``decode_record`` would refuse it: too long, or too many access logs.
    """
    try:
        said = {
            "location": record.location,
            "history": record.point,
            "newestTime": record.newest_time,
            "access": dict(sorted(record.access.items())),
        }
        document = msgspec.convert(said, TrustDocument, from_attributes=True)
        data = encode_document(document, limits.MAX_TRUST_STATE_BYTES, _WHAT)
        # What could not be read again must not replace what can be.
        decode_record(data, record.location)
    except (LedgerFormatError, TrustStateFormatError, msgspec.MsgspecError, ValueError) as error:
        raise TrustStateError(
            "What is to be remembered has no form in which it could be read again."
        ) from error
    return data


def decode_record(data: bytes, location: str) -> TrustRecord:
    """What ``data`` remembers of ``location``.

    Raises:
        TrustStateFormatError: any byte string that ``encode_record`` would not give, or the state
            of another location.
    """
    record = decode_any_record(data)
    if record.location != location:
        raise TrustStateFormatError("The trust state is that of another location.")
    return record


def decode_any_record(data: bytes) -> TrustRecord:
    """What ``data`` remembers, of whatever location it says.

    Raises:
        TrustStateFormatError: any byte string that ``encode_record`` would not give.
    """
    try:
        document = decode_document(data, _decoder, limits.MAX_TRUST_STATE_BYTES, _WHAT)
    except LedgerFormatError as error:
        raise TrustStateFormatError(error.message) from error
    return TrustRecord(
        document.location,
        HistoryCheckpoint(**msgspec.structs.asdict(document.history)),
        document.newest_time,
        {
            location: AccessCheckpoint(**msgspec.structs.asdict(log))
            for location, log in document.access.items()
        },
    )


# ── what is newer ────────────────────────────────────────────────────────────


def advanced(
    record: TrustRecord, point: HistoryCheckpoint, now: datetime | None, prove: Prove
) -> TrustRecord:
    """``record`` with the newer of its point and ``point``.

    1. One extends the other; which is which decides the order of epoch, size and time. Where the
       remembered one is the newer, another process has been quicker; that is no rollback, but the
       two must be of one history all the same.
    2. The newest time only grows, by the clock in steps of ``limits.TRUST_TIME_STEP_SECONDS``.

    Args:
        record: what is remembered.
        point: of a verified head.
        now: the time by this machine's clock, if the head was found fresh by it.
        prove: gives the consistency proof; asked only if the two points differ.

    Returns:
        ``record`` itself if there is nothing new.

    Raises:
        RepositoryExchangedError: they are points of two repositories, or one was rebuilt.
        LedgerTamperedError, RollbackError: neither extends the other.
    """
    # step 1: one of the two extends the other
    newest = record.point
    if point != newest:
        older = newest
        if point.repository == older.repository and _order(point) < _order(older):
            older, point = point, older
        require_extends(older, point, _proof(prove, older, point))
        newest = point
    # step 2: the newest time only grows
    time = max(record.newest_time, newest.time)
    if now is not None and seconds_between(time, now) >= limits.TRUST_TIME_STEP_SECONDS:
        time = utc_text(now)
    if newest is record.point and time == record.newest_time:
        return record
    return replace(record, point=newest, newest_time=time)


def advanced_access(
    record: TrustRecord, location: str, point: AccessCheckpoint, prove: Prove
) -> TrustRecord:
    """``record`` with the newer of its point of one access log and ``point``; see ``advanced``.

    Raises:
        RepositoryExchangedError: another log, or another repository's.
        LedgerTamperedError, RollbackError: neither extends the other.
    """
    if point.repository != record.point.repository:
        raise RepositoryExchangedError(
            f"The access log is that of repository {point.repository};"
            f" {record.point.repository} was seen here before."
        )
    known = record.access.get(location)
    if known is not None:
        if point == known:
            return record
        older, newer = known, point
        if (point.size, point.time) < (known.size, known.time):
            older, newer = point, known
        require_extends_access(older, newer, _proof(prove, older, newer))
        if newer is known:
            return record
    elif len(record.access) == limits.MAX_TRUST_LOGS:
        raise TrustStateError(
            f"{limits.MAX_TRUST_LOGS} access logs of this repository are remembered, and no more"
            " can be.",
            hint="'sealstore trust accept' forgets them; then keep to one access log.",
        )
    return replace(record, access={**record.access, location: point})


def _order(point: HistoryCheckpoint) -> tuple[int, int, str]:
    return point.epoch, point.size, point.time


def _proof(
    prove: Prove,
    older: HistoryCheckpoint | AccessCheckpoint,
    newer: HistoryCheckpoint | AccessCheckpoint,
) -> Sequence[bytes]:
    # Of two sizes in the wrong order there is no proof; ``require_extends`` says what that means.
    return prove(older.size, newer.size) if older.size <= newer.size else ()
