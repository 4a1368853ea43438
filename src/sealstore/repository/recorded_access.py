"""Accesses on the record: step 8 of a load, and the same for verifying, exporting, inspecting.

A grant is on record before a byte of the payload is interpreted or handed out. A refusal is put on
record as well as it can be: what was refused stays refused, whether or not the log can be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from sealstore.errors import SealstoreError
from sealstore.ledger.entries import AccessRequest, Act
from sealstore.names import ArtifactRef
from sealstore.repository.access_log.log import AccessLog, Event
from sealstore.repository.artifact import entry_artifact
from sealstore.repository.assembly import Parts
from sealstore.signed.envelope import VerifiedStatement


@dataclass(slots=True)
class Access:
    """One access, while it is being made.

    Attributes:
        log: where it is put on record.
        event: what is recorded if it ends here.
    """

    log: AccessLog
    event: Event

    def found(self, verified: VerifiedStatement) -> None:
        """Note what was found, so that a refusal from here on names it."""
        self.event = replace(self.event, artifact=entry_artifact(verified))

    def granted(self, verified: VerifiedStatement) -> None:
        """Record the grant.

        Raises:
            AccessLogError, KeyringError, VerificationError: it cannot be recorded; nothing may be
                handed out.
        """
        self.found(verified)
        grant = self.log.record(replace(self.event, outcome="granted"))
        self.event = replace(self.event, outcome="failed", grant=grant)

    def ended_with(self, reason: str) -> None:
        """Record why nothing is handed out: a refusal, or a failure after the grant.

        Raises:
            SealstoreError: it cannot be recorded.
        """
        self.log.record(replace(self.event, reason=reason))


@contextmanager
def access(
    parts: Parts, act: Act, ref: ArtifactRef, *, actor: str | None, context: str | None
) -> Iterator[Access]:
    """An access whose end is on record, whatever it is.

    Args:
        parts: of the repository.
        act: what is to be done.
        ref: what was asked for.
        actor: what the caller says of itself.
        context: what the caller says of the occasion.

    Raises:
        SealstoreError: what the block raises.
    """
    asked = AccessRequest(name=str(ref.name), tag=str(ref.tag), revision=ref.revision)
    made = Access(parts.access, Event(act, "refused", asked, actor=actor, context=context))
    try:
        yield made
    except SealstoreError as error:
        # The refusal is what the caller must hear of; a log that fails, too, adds nothing to it.
        with suppress(SealstoreError):
            made.ended_with(error.code)
        raise
    except BaseException:
        # An interruption, or no memory: after a grant somebody will ask what came of it.
        if made.event.grant is not None:
            with suppress(SealstoreError):
                made.ended_with("INTERRUPTED")
        raise
