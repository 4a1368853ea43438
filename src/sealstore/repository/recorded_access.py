"""Accesses on the record: step 8 of a load, and the same for verifying, exporting, inspecting.

A grant is on record before a byte of the payload is interpreted or handed out. A refusal is put on
record as well as it can be: what was refused stays refused, whether or not the log can be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from sealstore.errors import SealstoreError
from sealstore.ledger.entries import AccessRequest, Act
from sealstore.names import ArtifactRef
from sealstore.repository.access_log.log import Event
from sealstore.repository.artifact import entry_artifact
from sealstore.repository.assembly import Parts
from sealstore.signed.envelope import VerifiedStatement


class Access:
    """One access, while it is being made.

    Args:
        parts: of the repository.
        act: what is to be done.
        ref: what was asked for.
        actor: what the caller says of itself.
        context: what the caller says of the occasion.
    """

    def __init__(
        self, parts: Parts, act: Act, ref: ArtifactRef, actor: str | None, context: str | None
    ) -> None:
        self._log = parts.access
        request = AccessRequest(name=str(ref.name), tag=str(ref.tag), revision=ref.revision)
        # What is to be recorded if it ends here.
        self._event = Event(act, "refused", request, actor=actor, context=context)

    def found(self, verified: VerifiedStatement) -> None:
        """Note what was found, so that a refusal from here on names it."""
        self._event = replace(self._event, artifact=entry_artifact(verified))

    def granted(self, verified: VerifiedStatement) -> None:
        """Record the grant.

        Raises:
            AccessLogError, KeyringError, VerificationError: it cannot be recorded; nothing may be
                handed out.
        """
        self.found(verified)
        grant = self._log.record(replace(self._event, outcome="granted"))
        self._event = replace(self._event, outcome="failed", grant=grant)

    def ended_with(self, reason: str) -> None:
        """Record why nothing is handed out: a refusal, or a failure after the grant.

        Raises:
            SealstoreError: it cannot be recorded.
        """
        self._log.record(replace(self._event, reason=reason))

    @property
    def is_granted(self) -> bool:
        """Whether the grant is on record."""
        return self._event.grant is not None


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
    made = Access(parts, act, ref, actor, context)
    try:
        yield made
    except SealstoreError as error:
        # The refusal is what the caller must hear of; a log that fails, too, adds nothing to it.
        with suppress(SealstoreError):
            made.ended_with(error.code)
        raise
    except BaseException:
        # An interruption, or no memory: after a grant somebody will ask what came of it.
        if made.is_granted:
            with suppress(SealstoreError):
                made.ended_with("INTERRUPTED")
        raise
