"""Verification: the numbered procedure of a load. It does no I/O; it decides.

    1. The request is valid                        names.request
    2. The catalogue answers                       catalogue.Catalogue.find (I/O, decides nothing)
    3. The head is genuine and not older           pending: heads do not exist yet
    4. The answer is proven against the head       pending, likewise
    5. The statement is genuine, and the one asked for
       5a. one canonical envelope, exactly one signature, of the right type
       5b. a key that is known, not revoked, with the role; its signature holds
       5c. the signed bytes are one statement, about a repository that the key is for
       5d. of this repository
       5e. of the name, tag and revision that were asked for
       5f. the catalogue's row says what the statement says
    6. The policy allows the imports               pending: there is no policy yet
    7. The payload is the signed one               blobs.VerifiedPayload (size first, then digest)

A check that stands elsewhere is not repeated here, and none is left out.
"""

from __future__ import annotations

from collections.abc import Callable

from sealstore.envelope import VerifiedStatement, Verifier, open_statement
from sealstore.errors import CatalogueTamperedError, IdentityMismatchError
from sealstore.names import ArtifactRef


def verify_statement(
    envelope: bytes,
    *,
    request: ArtifactRef,
    repository: str,
    verifier: Verifier,
    row_differences: Callable[[VerifiedStatement], list[str]],
) -> VerifiedStatement:
    """The statement in ``envelope``, if it is genuine and the one that was asked for.

    Args:
        envelope: as the catalogue gave it; unauthenticated.
        request: what was asked for.
        repository: id of the repository that is being read.
        verifier: the keys.
        row_differences: the columns in which the row beside the envelope contradicts a statement.

    Raises:
        VerificationError: the envelope or the statement is refused.
        CatalogueTamperedError: the row contradicts the statement.
    """
    # 5a, 5b, 5c
    verified = open_statement(envelope, verifier)
    statement = verified.statement
    # 5d
    if statement.predicate.repository != repository:
        raise IdentityMismatchError(
            "The statement is genuine, but belongs to another repository.", artifact=request
        )
    # 5e
    if not _answers(statement.ref, request):
        raise IdentityMismatchError(
            f"The statement is genuine, but vouches for {statement.ref}.", artifact=request
        )
    # 5f
    differences = row_differences(verified)
    if differences:
        raise CatalogueTamperedError(
            f"The catalogue's row contradicts the signed statement ({', '.join(differences)}).",
            artifact=request,
        )
    return verified


def _answers(ref: ArtifactRef, request: ArtifactRef) -> bool:
    if ref.name != request.name:
        return False
    # Which tag is the latest is not signed yet (step 4); the name is.
    if request.tag.is_latest:
        return True
    return ref.tag == request.tag and request.revision in (None, ref.revision)
