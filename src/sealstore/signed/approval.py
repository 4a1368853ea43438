"""Approvals: the signature of a person under one move of an alias. Nothing here does any I/O.

Where the settings protect an alias, a move of it holds only with approvals by as many keys as they
say: by whoever makes it, and again by every loader, so that the key that signs heads is not enough.

    1. The approval is genuine
       1a. one canonical envelope, exactly one signature, of the right type   envelope.open_envelope
       1b. by a key that is known, not revoked, with the role approve, of an
           algorithm whose verifiers cannot sign; its signature holds         keys.Keyring.verify
           (to make a move, the key is active; a loader counts a retired one's, too)
       1c. the signed bytes are one move, in its one spelling
       1d. of a repository that the key is for
    2. It is for this very move
       2a. of this repository
       2b. of this alias of this name
       2c. to this artifact, by tag, revision and statement
       2d. with this number
       2e. from what the alias meant before      (a loader: the same in all that are counted)
       2f. under the settings that hold          (a loader: the same in all, and none to come)
    3. There are enough
       3a. by distinct keys
       3b. of one and the same move

A loader leaves 2e and 2f as said, since a head tells it what an alias means, and not what it meant;
number and history do, and 'sealstore fsck' holds both against the approvals. What holds for a move
that is about to be made stands in ``approving``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from sealstore import limits
from sealstore.errors import (
    ApprovalFormatError,
    ApprovalMismatchError,
    InvalidNameError,
    NotApprovedError,
    StatementFormatError,
    VerificationError,
)
from sealstore.names import Name, Tag
from sealstore.signed.envelope import APPROVAL_PAYLOAD_TYPE, Verifier, open_envelope
from sealstore.signed.statement import Positive, RepositoryId, Sha256Hex, decode_canonical
from sealstore.signed.verified import Verified, make_verified


class AliasTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The artifact that an alias means.

    Attributes:
        tag, revision: which, of the alias's name.
        statement: digest of its statement.

    Raises:
        ApprovalFormatError: the tag is none.
    """

    tag: str
    revision: Positive
    statement: Sha256Hex

    def __post_init__(self) -> None:
        try:
            Tag.to_store(self.tag)
        except InvalidNameError as error:
            raise ApprovalFormatError("A move of an alias leads to what is no tag.") from error


class AliasMove(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="camel",
    kw_only=True,
    tag_field="kind",
    tag="alias-move-v1",
):
    """What an approval signs, and a request for approvals holds.

    Attributes:
        repository: the repository's id.
        name, alias: which alias.
        target: what it is to mean.
        move: counts the moves of this alias from 1.
        previous: what it means until then; None where that is nothing.
        settings_version: of the settings that hold.

    Raises:
        ApprovalFormatError: name or alias are none.
    """

    repository: RepositoryId
    name: str
    alias: str
    target: AliasTarget
    move: Positive
    previous: AliasTarget | None
    settings_version: Positive

    def __post_init__(self) -> None:
        try:
            Name(self.name)
            Tag.to_store(self.alias)
        except InvalidNameError as error:
            raise ApprovalFormatError("A move is one of an alias, and this names none.") from error


class VerifiedApproval(Verified, comes_from="approval.open_approval"):
    """An approval that came out of an opened envelope; only ``open_approval`` can make one.

    Attributes:
        move: what was approved.
        key_id: id of the key that signed it.
        envelope: the bytes.
        digest: SHA-256 of the envelope, hexadecimal. What is signed is the same for all approvers,
            and an envelope has one spelling: its digest names who signed what.
    """

    __slots__ = ("digest", "envelope", "key_id", "move")

    move: AliasMove
    key_id: str
    envelope: bytes
    digest: str

    def __repr__(self) -> str:
        return f"<VerifiedApproval {self.move.alias} {self.move.move} by {self.key_id}>"


_decoder: Final = msgspec.json.Decoder(AliasMove)


# ── opening ──────────────────────────────────────────────────────────────────


def decode_move(data: bytes) -> AliasMove:
    """The move that ``data`` is, byte for byte; nobody's signature is checked.

    Raises:
        ApprovalFormatError: any other bytes.
    """
    if len(data) > limits.MAX_APPROVAL_BYTES:
        raise ApprovalFormatError(
            f"The approval has {len(data)} bytes; {limits.MAX_APPROVAL_BYTES} are allowed."
        )
    try:
        return decode_canonical(data, _decoder, "approval")
    except StatementFormatError as error:
        raise ApprovalFormatError(error.message) from error


def open_approval(data: bytes, verifier: Verifier) -> VerifiedApproval:
    """The verified approval in an envelope.

    Raises:
        VerificationError: it is refused.
    """
    # steps 1a and 1b: one envelope, and a signature of a key that may approve
    opened = open_envelope(data, APPROVAL_PAYLOAD_TYPE, verifier)
    # step 1c: the signed bytes are one move
    move = decode_move(opened.payload)
    # step 1d: of a repository that the key is for
    opened.scope.require(move.repository)
    return make_verified(
        VerifiedApproval,
        move=move,
        key_id=opened.key_id,
        envelope=data,
        digest=hashlib.sha256(data).hexdigest(),
    )


# ── whether a move is approved ───────────────────────────────────────────────


def require_kept_approvals(
    envelopes: Sequence[bytes], made: AliasMove, needed: int, verifier: Verifier
) -> tuple[VerifiedApproval, ...]:
    """The approvals of a move that was made, if there are enough; a loader asks this.

    What is refused is not counted: a key that was revoked since, or that this keyring does not
    have, takes its approval away and not those of others.

    Args:
        envelopes: as the catalogue gave them; unauthenticated.
        made: what the signed head says of the alias, with the version of the settings that it
            names. ``previous`` is passed over.
        needed: how many the settings ask for.
        verifier: the keys.

    Raises:
        NotApprovedError: there are too few.
    """
    counted: dict[AliasMove, dict[str, VerifiedApproval]] = {}
    refusal: VerificationError | None = None
    for data in envelopes:
        try:
            # step 1: genuine
            approval = open_approval(data, verifier)
            approved = approval.move
            # step 2: it is for this very move; of 2f, not for settings that are still to come
            version = min(approved.settings_version, made.settings_version)
            expected = msgspec.structs.replace(
                made, previous=approved.previous, settings_version=version
            )
            require_same_move(approved, expected)
        except VerificationError as error:
            refusal = refusal or error
            continue
        # steps 3a and 3b: each key counts once, for one and the same document
        counted.setdefault(approved, {})[approval.key_id] = approval
    most = max(counted.values(), key=len, default={})
    if len(most) < needed:
        raise too_few(len(most), needed, refusal) from refusal
    return tuple(most.values())


def require_same_move(approved: AliasMove, expected: AliasMove) -> None:
    """Return if an approval is for the move that is expected (step 2).

    Raises:
        ApprovalMismatchError: it is for a different one.
    """
    for says, wanted, what in (
        (approved.repository, expected.repository, "another repository"),
        (approved.name, expected.name, "an alias of another name"),
        (approved.alias, expected.alias, "another alias"),
        (approved.target, expected.target, "a move to another artifact"),
        (approved.move, expected.move, "another move of this alias"),
        (approved.previous, expected.previous, "a move from another artifact"),
        (approved.settings_version, expected.settings_version, "other settings"),
    ):
        if says != wanted:
            raise ApprovalMismatchError(f"The approval is genuine, but for {what}.")


def too_few(found: int, needed: int, refusal: VerificationError | None = None) -> NotApprovedError:
    """The error for a move with too few approvals (step 3)."""
    because = "" if refusal is None else f" One was refused: {refusal.message}"
    return NotApprovedError(
        f"A move of this protected alias needs {needed} approvals by different keys, and {found}"
        f" hold.{because}"
    )
