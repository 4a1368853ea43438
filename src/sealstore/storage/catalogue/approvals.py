"""Rows of the approvals of moves of aliases. None of them is believed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import delete, insert, or_, select
from sqlalchemy.engine import Connection

from sealstore import limits
from sealstore.storage.catalogue.chains import as_bytes, no_larger_than
from sealstore.storage.catalogue.failures import catalogue_errors
from sealstore.storage.catalogue.tables import approval

_ENVELOPE: Final = no_larger_than(approval.c.envelope, limits.MAX_APPROVAL_ENVELOPE_BYTES)


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """An approval as it is stored.

    Attributes:
        digest: SHA-256 of the envelope, hexadecimal.
        name, alias, move: of which move.
        envelope: the bytes.
    """

    digest: str
    name: str
    alias: str
    move: int
    envelope: bytes


class ApprovalRows:
    """The approvals, as a connection sees them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_move(self, name: str, alias: str, move: int) -> list[bytes]:
        """The envelopes of one move, as many as a move may have."""
        statement = (
            select(_ENVELOPE)
            .where(approval.c.name == name, approval.c.alias == alias, approval.c.move == move)
            .order_by(approval.c.digest)
            .limit(limits.MAX_APPROVALS)
        )
        with catalogue_errors("The approvals cannot be read"):
            # What is no bytes is no envelope: opening it says so.
            return [as_bytes(each) or b"" for each in self._connection.execute(statement).scalars()]

    def replace(self, name: str, alias: str, move: int, rows: Sequence[ApprovalRow]) -> None:
        """Let these be the approvals of a move; what a row in the way says is nothing."""
        of_move = (approval.c.name == name) & (approval.c.alias == alias)
        digests = [row.digest for row in rows]
        in_the_way = or_(of_move & (approval.c.move >= move), approval.c.digest.in_(digests))
        with catalogue_errors("The approvals cannot be written"):
            self._connection.execute(delete(approval).where(in_the_way))
            if rows:
                self._connection.execute(insert(approval), [asdict(row) for row in rows])
