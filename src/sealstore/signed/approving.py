"""Approving a move of an alias, and whether enough have approved one that is about to be made.

The numbered steps stand in ``approval``.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

import msgspec

from sealstore import limits
from sealstore.errors import NotApprovedError, RetiredKeyError
from sealstore.signed.approval import (
    AliasMove,
    VerifiedApproval,
    open_approval,
    require_same_move,
    too_few,
)
from sealstore.signed.envelope import APPROVAL_PAYLOAD_TYPE, Signer, Verifier, seal

_encoder: Final = msgspec.json.Encoder()


def encode_move(move: AliasMove) -> bytes:
    """The one byte string of a move, as it is signed."""
    return _encoder.encode(move)


def seal_approval(move: AliasMove, signer: Signer) -> bytes:
    """The envelope with a move, signed by a key with the role *approve*."""
    return seal(APPROVAL_PAYLOAD_TYPE, encode_move(move), signer)


def require_approvals(
    envelopes: Sequence[bytes],
    move: AliasMove,
    needed: int,
    verifier: Verifier,
    active_keys: Container[str],
) -> tuple[VerifiedApproval, ...]:
    """The approvals of a move that is about to be made, if all of them are and there are enough.

    Args:
        envelopes: what was handed in; unauthenticated.
        move: what is to be made.
        needed: how many the settings ask for; 0 where the alias is not protected.
        verifier: the keys.
        active_keys: ids of those that are active. A retired key approves nothing new.

    Raises:
        VerificationError: one of them is refused, or is one of another move.
        NotApprovedError: two are by one key, or there are too few, or more than any move may have.
    """
    if len(envelopes) > limits.MAX_APPROVALS:
        raise NotApprovedError(f"A move has {limits.MAX_APPROVALS} approvals at most.", hint="")
    approvals: dict[str, VerifiedApproval] = {}
    for data in envelopes:
        # step 1: genuine, and by an active key
        approval = open_approval(data, verifier)
        if approval.key_id not in active_keys:
            raise RetiredKeyError(
                f"Key {approval.key_id} is retired, and approves nothing new.",
                hint="ask an approver whose key is active.",
            )
        # step 2: of this very move
        require_same_move(approval.move, move)
        # step 3a: each key counts once
        if approval.key_id in approvals:
            raise NotApprovedError(
                f"Two of the approvals are by key {approval.key_id}, which counts once.",
                hint="each approver signs with a key of their own.",
            )
        approvals[approval.key_id] = approval
    if len(approvals) < needed:
        raise too_few(len(approvals), needed)
    return tuple(approvals.values())
