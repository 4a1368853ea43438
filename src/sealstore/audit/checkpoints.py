"""Checkpoints: made from verified heads, kept elsewhere, and proven to lead to one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealstore import limits
from sealstore.audit.chains import (
    ChainName,
    Checkpoint,
    Ledger,
    chain_of,
    proof_between,
    require_later,
)
from sealstore.audit.files import read_capped
from sealstore.audit.note_keys import note_key, open_checkpoint_of
from sealstore.audit.verifying import head_json
from sealstore.errors import RepositoryMismatchError
from sealstore.keys.keyring import Role
from sealstore.ledger.checkpoint import VerifiedCheckpoint, seal_checkpoint
from sealstore.repository.history_entries import CachedNodes
from sealstore.repository.settings import Settings

_ROLES = {ChainName.HISTORY: Role.STORE, ChainName.ACCESS: Role.ACCESS}


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that was made.

    Attributes:
        checkpoint: what it says.
        key_id: the key that signed it.
        verifier_key: this key as other tools for signed notes take it; of an Ed25519 key, that is
            all that they need.
        note: the signed text.
    """

    checkpoint: Checkpoint
    key_id: str
    verifier_key: str
    note: bytes

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            **head_json(self.checkpoint),
            "keyId": self.key_id,
            "verifierKey": self.verifier_key,
            "note": self.note.decode(),
        }


def make_checkpoint(ledger: Ledger, chain: ChainName) -> SignedCheckpoint:
    """The checkpoint of a chain's verified head, signed with the newest key of the chain's role.

    Raises:
        NoSigningKeyError: there is none.
        VerificationError: the head is refused.
    """
    [source] = ledger.chosen(chain)
    with source.open() as audited:
        checkpoint, keyring = audited.checkpoint, audited.keyring
    signer = keyring.signer(_ROLES[chain], checkpoint.repository)
    key = note_key(keyring.get(signer.key_id))
    note = seal_checkpoint(checkpoint, [(key, signer)])
    return SignedCheckpoint(checkpoint, key.key_id, key.verifier_key(checkpoint.origin), note)


def read_checkpoint(settings: Settings, path: Path) -> VerifiedCheckpoint:
    """The verified checkpoint in a file.

    Whoever kept the file must be trusted to have kept the newest: an older one is genuine as well.

    Args:
        settings: name the keys, and the repository if ``MODEL_REPO_ID`` is set.
        path: the file.

    Raises:
        StorageError: the file cannot be read.
        LedgerFormatError: it is no checkpoint.
        VerificationError: a signature is refused, or none is of a known key.
        RepositoryMismatchError: it is of another repository than ``MODEL_REPO_ID``.
    """
    data = read_capped(path, limits.MAX_CHECKPOINT_BYTES, "checkpoint")
    verified = open_checkpoint_of(settings.key_source().current(), data)
    require_expected(settings, verified.checkpoint.repository)
    return verified


def require_expected(settings: Settings, repository: str) -> None:
    """Return if a document is of the repository that ``MODEL_REPO_ID`` asks for, if it does.

    Raises:
        RepositoryMismatchError: it is of another one.
    """
    if settings.repository_id not in (None, repository):
        raise RepositoryMismatchError(
            f"This is about repository {repository}, and MODEL_REPO_ID asks for another.",
            hint="give what is of the repository that is meant.",
        )


@dataclass(frozen=True, slots=True)
class Consistency:
    """The proof that one state of a chain is a later one of another.

    Attributes:
        older, newer: the states.
        proof: hashes as RFC 9162 orders them, 32 bytes each.
    """

    older: Checkpoint
    newer: Checkpoint
    proof: tuple[bytes, ...]

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "consistent": True,
            "old": head_json(self.older),
            "new": head_json(self.newer),
            "proof": [digest.hex() for digest in self.proof],
        }


def consistency(ledger: Ledger, older: Checkpoint, newer: Checkpoint | None) -> Consistency:
    """The verified proof that everything of the older state is in the newer one, unchanged.

    Args:
        ledger: of the repository, whose stored hashes the proof is made of.
        older: a verified checkpoint.
        newer: another one; None for what is there now.

    Raises:
        RepositoryExchangedError: they are states of two chains, or of another repository.
        RollbackError: the newer one is older.
        LedgerTamperedError: the newer one never followed the older, or the stored hashes that
            would prove it are not there.
    """
    [source] = ledger.chosen(chain_of(older))
    with source.open() as chain:
        present = chain.checkpoint
        reached, nodes = present if newer is None else newer, CachedNodes(chain.reader)
        # What is proven of two other states must be of this chain as well.
        require_later(older, present, proof_between(nodes, older, present))
        proof: Sequence[bytes] = proof_between(nodes, older, reached)
    require_later(older, reached, proof)
    return Consistency(older, reached, tuple(proof))
