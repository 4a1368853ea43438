"""Asking the catalogue, and proving what it answers: steps 2 to 5 of a load.

What decides stands in ``verification`` and ``state``; here it is brought together with the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealstore.errors import CatalogueTamperedError
from sealstore.ledger.authenticated_map import positions_of
from sealstore.names import ArtifactRef
from sealstore.repository.artifact import Artifact
from sealstore.repository.assembly import Parts
from sealstore.repository.state import RepositoryState
from sealstore.signed.envelope import VerifiedStatement
from sealstore.storage.catalogue.artifacts import Answer, ArtifactRow
from sealstore.verification import (
    Proven,
    prove_answer,
    question_key,
    require_approved,
    verify_statement,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A verified answer.

    Attributes:
        verified: the statement of what was asked for.
        state: what the head vouches for that proves it.
    """

    verified: VerifiedStatement
    state: RepositoryState

    @property
    def artifact(self) -> Artifact:
        """It as it is handed out."""
        return Artifact(self.verified)


def find(parts: Parts, ref: ArtifactRef) -> Found:
    """The verified statement of what was asked for.

    Raises:
        ArtifactNotFound: it is proven that there is none.
        VerificationError, CatalogueTamperedError: the answer is refused.
    """
    state, found, proven = answer(parts, ref)
    needed = state.document.protected_aliases.get(str(ref.tag))
    if needed is not None:
        # step 4b: the approvals of the alias's last move
        approvals = _approvals(parts, ref, proven)
        require_approved(
            ref, proven, approvals, needed=needed, head=state.head, keyring=state.keyring
        )
    row = found.artifact
    if row is None or not _may_be(row, proven):
        # An alias's artifact has another tag than the one that was asked for.
        meant = proven.statement
        state, found, proven = answer(parts, proven.ref)
        row = found.artifact
        # A revision's statement never changes: what was proven first, and approved, is this one.
        if proven.statement != meant:
            raise CatalogueTamperedError(
                f"The signed head lets {ref.tag} mean another statement than {proven.ref} has."
            )
    if row is None:
        raise CatalogueTamperedError(
            f"The signed head vouches for {proven.ref}, and the catalogue has no row of it.",
            hint="restore the catalogue from a backup; 'sealstore verify --all' shows the damage.",
        )
    return Found(verified_in(state, row, proven), state)


def _approvals(parts: Parts, ref: ArtifactRef, proven: Proven) -> list[bytes]:
    if proven.move is None:
        return []
    with parts.catalogue.read() as rows:
        # Of a move that was made, they stay as they are: it need not be the same snapshot.
        return rows.approvals(str(ref.name), str(ref.tag), proven.move)


def answer(parts: Parts, ref: ArtifactRef) -> tuple[RepositoryState, Answer, Proven]:
    """What the map proves to be the answer, beside what the catalogue gives with it.

    Raises:
        ArtifactNotFound: it is proven that there is none.
        VerificationError, CatalogueTamperedError: head or proof are refused.
    """
    with parts.state.asking() as asking:
        # step 2: one round trip, for head, proof and envelope
        found = parts.catalogue.ask(ref, positions_of(question_key(ref)))
        # step 3: verify the head; it is remembered when the block ends
        state = asking.verify(found.head)
    # step 4: prove that this is the answer, or that there is none
    return state, found, prove_answer(state.head.map_root, ref, found.map_rows)


def verified_in(state: RepositoryState, row: ArtifactRow, proven: Proven) -> VerifiedStatement:
    """The verified statement of a row, where the answer is proven already.

    Args:
        state: what the head vouches for that proves it.
        row: of the catalogue.
        proven: what the map says of the artifact.

    Raises:
        VerificationError, CatalogueTamperedError: it is refused.
    """
    envelope = row.envelope if isinstance(row.envelope, bytes) else b""
    return verify_statement(
        envelope,
        proven=proven,
        repository=state.repository,
        keyring=state.keyring,
        row_differences=lambda verified: row.differences(ArtifactRow.of(verified, envelope)),
    )


def _may_be(row: ArtifactRow, proven: Proven) -> bool:
    return row.tag == str(proven.ref.tag) and row.revision == proven.ref.revision
