"""Verification: the numbered procedure of a load. It does no I/O; it decides.

    1. The request is valid                        names.request
    2. The catalogue answers                       catalogue.Catalogue.ask (I/O, decides nothing)
    3. The head is genuine and not older
       3a. one canonical envelope, exactly one signature, by a key with the role store
       3b. the key is active; or retired since, and this very head was accepted before
       3c. of the repository that is expected       state.StateKeeper (MODEL_REPO_ID), and 3d
       3d. it extends what was seen before         ledger.require_extends, as require_continuity
       3e. the settings are the ones it names      state.StateKeeper, by their digest
       3f. it is of the epoch that an admin began, and its key is none that the
           settings revoke                         state.StateKeeper
    4. The answer is proven against the head: this statement, or none
       4a. the map's rows lead from the head's root to it
       4b. where the settings protect an alias of this name: it is one, and its last
           move has the approvals that they ask for  signed.approval
    5. The statement is genuine, and the one asked for
       5a. one canonical envelope, exactly one signature, of the right type
       5b. a key that is known, not revoked, with the role; its signature holds
       5c. the signed bytes are one statement, about a repository that the key is for
       5d. of this repository, and of the name, tag and revision that were proven
       5e. the proven one, by its digest
       5f. the catalogue's row says what the statement says
    6. The policy allows the imports               formats.policies.Policies.check
    7. The payload is the signed one               storage.blobs (size first, then digest)
    8. The load is on the record                   access_log.AccessLog (I/O)
    9. Only the signed imports are resolved        formats.pickling.unpickler

A check that stands elsewhere is not repeated here, and none is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sealstore.errors import (
    ArtifactNotFound,
    CatalogueTamperedError,
    IdentityMismatchError,
    NotApprovedError,
    RetiredKeyError,
)
from sealstore.keys.keyring import Keyring, State
from sealstore.ledger.authenticated_map import map_key, prove, revision_key
from sealstore.ledger.continuity import require_extends
from sealstore.ledger.head import Head, VerifiedHead, open_head
from sealstore.ledger.map_values import (
    AliasValue,
    LatestValue,
    RevisionValue,
    decode_revision,
    decode_segment,
)
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.names import ArtifactRef, Tag
from sealstore.signed.envelope import VerifiedStatement, open_statement

_GONE: Final = "There is no such artifact in this repository: it was removed."


# ── 3: the head ──────────────────────────────────────────────────────────────


def verify_head(
    envelope: bytes, *, keyring: Keyring, accepted: HistoryCheckpoint | None
) -> VerifiedHead[Head]:
    """The head in ``envelope``, if it is genuine.

    Args:
        envelope: as the catalogue gave it; unauthenticated.
        keyring: the keys.
        accepted: the newest head that was accepted here before.

    Raises:
        VerificationError: it is refused.
    """
    # steps 3a and 3b: one signature with the role store, by an active key
    try:
        verified = open_head(envelope, keyring, keyring.ids(State.ACTIVE))
    except RetiredKeyError:
        # Signed while the key was active, if this client saw it then. Whoever has the key by now
        # can sign nothing that says something else.
        verified = open_head(envelope, keyring, keyring.ids(State.ACTIVE, State.RETIRED))
        if accepted is None or HistoryCheckpoint.of(verified.head) != accepted:
            raise
    return verified


def require_continuity(
    accepted: HistoryCheckpoint | None, head: Head, consistency_proof: Sequence[bytes]
) -> None:
    """Return if ``head`` is a later state of what was accepted before, or the same (3d).

    Args:
        accepted: the newest head that was accepted here before; None at first use.
        head: from ``verify_head``.
        consistency_proof: from the one's size to the other's.

    Raises:
        RollbackError, RepositoryExchangedError, LedgerTamperedError: it is not.
    """
    if accepted is not None:
        require_extends(accepted, HistoryCheckpoint.of(head), consistency_proof)


# ── 4: the answer ────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Proven:
    """What the map proves to be the answer to a request.

    Attributes:
        ref: which artifact, with its revision.
        statement: digest of its statement, hexadecimal.
        move: number of the alias's last move, where an alias was asked for; None otherwise.
    """

    ref: ArtifactRef
    statement: str
    move: int | None = None


def question_key(request: ArtifactRef) -> bytes:
    """The key of the map that answers a request."""
    if request.revision is not None:
        return revision_key(request.name, request.tag, request.revision)
    return map_key(request.name, request.tag)


def prove_answer(map_root: str, request: ArtifactRef, rows: Mapping[int, bytes]) -> Proven:
    """What the map says to ``request``.

    Args:
        map_root: of a verified head, hexadecimal.
        request: what was asked for.
        rows: of the map, by position; none of them is believed.

    Raises:
        ArtifactNotFound: it proves that there is none, or none any more.
        CatalogueTamperedError: the rows prove nothing.
        LedgerFormatError: a value of the map does not decode strictly.
    """
    # step 4a: the rows lead from the root to an answer
    found = prove(bytes.fromhex(map_root), question_key(request), rows)
    if found is None:
        raise ArtifactNotFound("There is no such artifact in this repository.")
    if request.revision is not None:
        return _proven_revision(request, decode_revision(found))
    value = decode_segment(request.tag, found)
    if value.revision is None or value.statement is None:
        raise ArtifactNotFound(_GONE)
    tag = request.tag
    if isinstance(value, LatestValue | AliasValue):
        tag = Tag(value.tag or "")
    move = value.move if isinstance(value, AliasValue) else None
    return Proven(ArtifactRef(request.name, tag, value.revision), value.statement, move)


def _proven_revision(request: ArtifactRef, value: RevisionValue) -> Proven:
    if value.state == "removed":
        raise ArtifactNotFound(_GONE)
    return Proven(request, value.statement)


def require_approved(
    request: ArtifactRef,
    proven: Proven,
    approvals: Sequence[bytes],
    *,
    needed: int,
    head: Head,
    keyring: Keyring,
) -> None:
    """Return if what was asked for is a protected alias whose last move was approved (4b).

    Args:
        request: what was asked for.
        proven: what the map proves.
        approvals: envelopes that the catalogue gave with it; unauthenticated.
        needed: how many the settings ask for.
        head: the verified head.
        keyring: the keys.

    Raises:
        NotApprovedError: it was not, or it is no alias at all.
    """
    # Not at the top: a repository that protects no alias needs none of it.
    from sealstore.signed.approval import AliasMove, AliasTarget, require_kept_approvals

    if proven.move is None:
        raise NotApprovedError(
            f"{request.tag} is protected as an alias in this repository, and of this name it is a"
            " tag.",
            hint="find out who stored under it; what an alias should mean is set with 'sealstore"
            " alias set'.",
        )
    target = AliasTarget(
        tag=str(proven.ref.tag), revision=proven.ref.revision or 0, statement=proven.statement
    )
    made = AliasMove(
        repository=head.repository,
        name=str(request.name),
        alias=str(request.tag),
        target=target,
        move=proven.move,
        previous=None,
        settings_version=head.settings_version,
    )
    require_kept_approvals(approvals, made, needed, keyring)


# ── 5: the statement ─────────────────────────────────────────────────────────


def verify_statement(
    envelope: bytes,
    *,
    proven: Proven,
    repository: str,
    keyring: Keyring,
    row_differences: Callable[[VerifiedStatement], list[str]],
) -> VerifiedStatement:
    """The statement in ``envelope``, if it is genuine and the proven one.

    Args:
        envelope: as the catalogue gave it; unauthenticated.
        proven: what the map proves.
        repository: id of the repository that is being read.
        keyring: the keys.
        row_differences: the columns in which the row beside the envelope contradicts a statement.

    Raises:
        VerificationError: the envelope or the statement is refused.
        CatalogueTamperedError: the row holds another statement, or contradicts its own.
    """
    # steps 5a to 5c: one envelope, a signature that holds, one statement
    verified = open_statement(envelope, keyring)
    statement = verified.statement
    # step 5d: of this repository, and of what was proven
    if statement.predicate.repository != repository:
        raise IdentityMismatchError("The statement is genuine, but belongs to another repository.")
    if statement.ref != proven.ref:
        raise IdentityMismatchError(f"The statement is genuine, but vouches for {statement.ref}.")
    # step 5e: the very statement that the map vouches for
    if verified.digest != proven.statement:
        raise CatalogueTamperedError(
            "The catalogue's row holds a genuine statement, but not the one that the signed head"
            " vouches for."
        )
    # step 5f: the row beside it says the same
    differences = row_differences(verified)
    if differences:
        raise CatalogueTamperedError(
            f"The catalogue's row contradicts the signed statement ({', '.join(differences)})."
        )
    return verified
