"""Pages of artifacts and of the history, each entry proven against the head."""

from __future__ import annotations

from dataclasses import dataclass, field

from sealstore import limits
from sealstore.errors import (
    ArtifactNotFound,
    CatalogueTamperedError,
    InvalidNameError,
    LedgerTamperedError,
    SealstoreError,
)
from sealstore.ledger.authenticated_map import positions_of
from sealstore.ledger.history import HistoryEntry
from sealstore.names import ArtifactRef, request
from sealstore.repository.artifact import Artifact
from sealstore.repository.assembly import Parts
from sealstore.repository.history_entries import CachedNodes, proven_entry
from sealstore.repository.proving import Found, verified_in
from sealstore.storage.catalogue import ArtifactRow
from sealstore.storage.catalogue.chain_rows import newest_rows
from sealstore.storage.catalogue.listing import ListFilter, list_rows
from sealstore.verification import prove_answer, question_key


@dataclass(frozen=True, slots=True)
class Refused:
    """A row of the catalogue whose statement was refused.

    Attributes:
        row: what the row claims, unverified.
        error: why it was refused.
    """

    row: ArtifactRow
    error: SealstoreError


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, the artifacts stored last first.

    Attributes:
        artifacts: the verified ones.
        refused: the rows that were refused; a listing hides no damage.
        next_cursor: to be given as ``after`` for the next page; None after the last.
    """

    artifacts: list[Artifact]
    refused: list[Refused] = field(default_factory=list)
    next_cursor: int | None = None


def verify_row(parts: Parts, row: ArtifactRow) -> Found:
    """The verified artifact of a row of the catalogue, if it is what the head vouches for.

    Raises:
        ArtifactNotFound: it was removed since the row was read.
        VerificationError, CatalogueTamperedError: it is refused.
    """
    ref = ref_of(row)
    with parts.state.asking(remembering=False) as asking:
        found = parts.catalogue.ask(ref, positions_of(question_key(ref)))
        state = asking.verify(found.head)
    try:
        proven = prove_answer(state.head.map_root, ref, found.map_rows)
    except ArtifactNotFound as error:
        if found.artifact is None:
            raise
        raise CatalogueTamperedError(
            "The catalogue has a row of it, and the signed head vouches for none."
        ) from error
    # Only a new signature may have come since: what it vouches for is held against the proof.
    present = row if found.artifact is None else found.artifact
    return Found(verified_in(state, present, proven), state)


def history_page(
    parts: Parts, name: str | None, tag: str | None, *, limit: int, after: int | None
) -> tuple[HistoryEntry, ...]:
    """A page of the history, each entry proven. See ``Repository.history``."""
    with parts.snapshot() as snapshot:
        rows, head = snapshot.rows, snapshot.state.head
        nodes = CachedNodes(rows.history)
        before = head.size + 1 if after is None else min(after, head.size + 1)
        found = newest_rows(rows.history, limit=limit, before_sequence=before, name=name, tag=tag)
        if name is None and tag is None:
            _require_no_gap([row.sequence for row in found], before, limit)
        return tuple(proven_entry(row, nodes, head) for row in found)


def _require_no_gap(sequences: list[int], before: int, limit: int) -> None:
    last = max(before - min(limit, limits.MAX_LIST_ROWS), 1)
    if sequences != list(range(before - 1, last - 1, -1)):
        raise LedgerTamperedError("Entries of the history are missing.")


def ref_of(row: ArtifactRow) -> ArtifactRef:
    """Which artifact a row claims to be.

    Raises:
        CatalogueTamperedError: none that was ever stored.
    """
    try:
        return request(row.name, row.tag, row.revision)
    except InvalidNameError as error:
        raise CatalogueTamperedError("The catalogue's row names no artifact.") from error


def list_page(parts: Parts, wanted: ListFilter, *, limit: int, after: int | None) -> Page:
    """One page of verified artifacts. See ``Repository.list``."""
    rows = list_rows(parts.catalogue, wanted, limit=limit, before_sequence=after)
    is_full = bool(rows) and len(rows) >= min(limit, limits.MAX_LIST_ROWS)
    page = Page([], [], rows[-1].sequence if is_full else None)
    for row in rows:
        try:
            page.artifacts.append(Artifact(verify_row(parts, row).verified))
        except ArtifactNotFound:
            # Removed since the rows were read, and proven to be.
            continue
        except SealstoreError as error:
            page.refused.append(Refused(row, error))
    return page
