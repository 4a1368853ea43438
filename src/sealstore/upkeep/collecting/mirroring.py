"""Writing what a store that was killed after its commit left out: its mirrored statement."""

from __future__ import annotations

import time
from typing import Final

from sealstore.names import ArtifactRef, Name, Tag
from sealstore.repository import environment
from sealstore.repository.assembly import Parts
from sealstore.repository.proving import verified_in
from sealstore.repository.recording import Change, change
from sealstore.repository.state import RepositoryState
from sealstore.repository.storing import mirror
from sealstore.upkeep.collecting.report import GcReport
from sealstore.verification import Proven

_SECONDS_A_TRANSACTION: Final = 0.5
"""How long the other writers are kept waiting; each statement is synced."""


def write_missing_mirrors(parts: Parts, report: GcReport, actor: str | None) -> None:
    """Mirror what is stored and has no mirrored statement, from its verified row.

    In transactions that exclude every writer: whoever removes an artifact puts its mirror away
    afterwards, and finds this one.

    Raises:
        VerificationError, CatalogueTamperedError: the head is refused, or a row.
        CatalogueError: the database refused.
    """
    waiting = list(report.missing_mirrors)
    while waiting:
        began = time.monotonic()
        with change(parts, environment.stored_by(actor)) as (made, state):
            while waiting and time.monotonic() - began < _SECONDS_A_TRANSACTION:
                report.mirrored += _mirror(parts, made, state, waiting.pop())


def _mirror(parts: Parts, made: Change, state: RepositoryState, ref: ArtifactRef) -> bool:
    value = made.revision(Name(ref.name), Tag.to_store(ref.tag), ref.revision or 0)
    if value is None or value.state == "removed":
        return False
    row = made.transaction.artifact(value.sequence)
    if row is None:
        return False
    verified_in(state, row, Proven(ref, value.statement))
    mirror(parts, ref, row.envelope)
    return True
