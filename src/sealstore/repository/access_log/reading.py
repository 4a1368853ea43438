"""The access log as an auditor reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sealstore.ledger.head import AccessHead, VerifiedHead
from sealstore.repository.access_log.heads import present_envelope
from sealstore.storage.catalogue.ledger_rows import ChainReader


@dataclass(frozen=True, slots=True)
class AccessReading:
    """The log as one snapshot sees it, for auditors.

    Attributes:
        chain: entries and nodes, none of them believed yet.
        envelope: of the head, unverified; None where there is none.
    """

    chain: ChainReader
    envelope: bytes | None
    _open: Callable[[bytes], VerifiedHead[AccessHead]]

    def head(self) -> VerifiedHead[AccessHead]:
        """The verified head: what the chain must hold, and nothing else.

        Raises:
            AccessLogNotFoundError: there is none.
            VerificationError: it is refused.
        """
        return self._open(present_envelope(self.envelope))
