"""Documents that are kept elsewhere: checkpoints of a chain, and proofs of single entries.

A checkpoint is a C2SP signed note. A proof is JSON of four parts: the chain and the entry's
sequence; the entry's bytes in base64; the inclusion proof of RFC 9162, hexadecimal; the head's
envelope (DSSE), whose signature covers the root.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from sealstore import files, limits, named_files
from sealstore.audit.chains import (
    AuditedChain,
    ChainName,
    Checkpoint,
    Entry,
    Ledger,
    chain_of,
    checkpoint_of,
    decode_entry,
    proof_between,
    require_later,
)
from sealstore.audit.verifying import head_json
from sealstore.errors import (
    LedgerFormatError,
    LedgerTamperedError,
    RepositoryMismatchError,
    UnknownKeyError,
)
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.ledger.checkpoint import VerifiedCheckpoint, open_checkpoint, seal_checkpoint
from sealstore.ledger.head import AccessHead, Head, open_access_head, open_head
from sealstore.ledger.inclusion import inclusion_proof, verify_inclusion
from sealstore.ledger.merkle import leaf_hash
from sealstore.ledger.signed_note import NoteKey
from sealstore.repository.history_entries import CachedNodes
from sealstore.repository.settings import Settings
from sealstore.signed.statement import Positive, Sha256Hex
from sealstore.storage.catalogue.chain_rows import entry_rows

# ── keys in signed notes ─────────────────────────────────────────────────────


def note_key(key: Key) -> NoteKey:
    """How notes identify a key."""
    public = key.material.public()
    if public is None:
        return NoteKey.hmac_sha256(key.key_id)
    return NoteKey.ed25519(key.key_id, public.to_bytes())


def open_checkpoint_of(keyring: Keyring, data: bytes) -> VerifiedCheckpoint:
    """The verified checkpoint in a signed note, by the keys of ``keyring``.

    A revoked key's signature says nothing; where others signed as well, they count.

    Raises:
        LedgerFormatError: the bytes are no checkpoint.
        VerificationError: a signature is refused, or none is of a key that still counts.
    """
    trusted = [note_key(key) for key in keyring if key.state is not State.REVOKED]
    try:
        return open_checkpoint(data, trusted, keyring)
    except UnknownKeyError:
        # If a revoked key is the only one that signed, that is what to say.
        return open_checkpoint(data, map(note_key, keyring), keyring)


# ── checkpoints ──────────────────────────────────────────────────────────────


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
    with named_files.reading("checkpoint", path):
        data = files.read(path, limits.MAX_CHECKPOINT_BYTES, follow_links=True)
    verified = open_checkpoint_of(settings.key_source().current(), data)
    require_expected(settings, verified.checkpoint.repository)
    return verified


def require_expected(settings: Settings, repository: str) -> None:
    """Return if a document is of the repository that ``MODEL_REPO_ID`` asks for, if it does.

    Raises:
        RepositoryMismatchError: it is of a different one.
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


# ── proofs of entries ────────────────────────────────────────────────────────


class ProofDocument(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="camel",
    kw_only=True,
    tag_field="kind",
    tag="sealstore-proof-v1",
):
    """An entry with everything that proves it; see the module.

    Attributes:
        chain: which chain.
        sequence: of the entry, counted from 1.
        entry: its bytes, base64.
        proof: from the entry to the head's root.
        head: the envelope, base64.
    """

    chain: Literal["history", "access"]
    sequence: Positive
    entry: str
    proof: Annotated[tuple[Sha256Hex, ...], msgspec.Meta(max_length=64)]
    head: str


_decoder: Final = msgspec.json.Decoder(ProofDocument)


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """An entry that a document proves.

    Attributes:
        chain: which chain.
        entry: the entry.
        head: the head that has it.
        key_id: the key that signed the head.
    """

    chain: ChainName
    entry: Entry
    head: Head | AccessHead
    key_id: str

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "chain": self.chain.value,
            "sequence": self.entry.sequence,
            "proven": True,
            "repository": self.head.repository,
            "head": head_json(checkpoint_of(self.head)),
            "keyId": self.key_id,
            "entry": msgspec.to_builtins(self.entry),
        }


def prove_entry(ledger: Ledger, chain: ChainName, sequence: int) -> ProofDocument:
    """The document that proves an entry, checked as its reader will.

    Raises:
        LedgerTamperedError: there is no such entry, or it is not the one that the head sums up.
        VerificationError: the head is refused.
    """
    [source] = ledger.chosen(chain)
    with source.open() as audited:
        document = _document(audited, sequence)
        check_document(document, audited.keyring)
    return document


def _document(chain: AuditedChain, sequence: int) -> ProofDocument:
    rows = list(entry_rows(chain.reader, sequence - 1, sequence))
    if sequence > chain.head.size or not rows:
        is_missing = sequence <= chain.head.size
        raise LedgerTamperedError(
            f"The chain has no entry {sequence}; its signed head says that there are"
            f" {chain.head.size}.",
            hint=None if is_missing else "'sealstore audit log' shows the entries.",
        )
    proof = inclusion_proof(chain.reader, sequence - 1, chain.head.size)
    return ProofDocument(
        chain=chain.name.value,
        sequence=sequence,
        entry=base64.b64encode(rows[0].entry).decode("ascii"),
        proof=tuple(digest.hex() for digest in proof),
        head=base64.b64encode(chain.envelope).decode("ascii"),
    )


def check_proof(settings: Settings, path: Path) -> ProvenEntry:
    """The entry that the document in a file proves; nothing is asked of any repository.

    Args:
        settings: name the keys, and the repository if ``MODEL_REPO_ID`` is set.
        path: the file.

    Raises:
        StorageError: the file cannot be read.
        LedgerFormatError: it is no proof.
        VerificationError: it proves nothing.
        RepositoryMismatchError: it is of another repository than ``MODEL_REPO_ID``.
    """
    with named_files.reading("proof", path):
        data = files.read(path, limits.MAX_PROOF_BYTES, follow_links=True)
    try:
        document = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LedgerFormatError(
            "The file is not a proof that 'sealstore audit prove' made."
        ) from error
    proven = check_document(document, settings.key_source().current())
    require_expected(settings, proven.head.repository)
    return proven


def check_document(document: ProofDocument, keyring: Keyring) -> ProvenEntry:
    """The entry that a document proves.

    A retired key's head counts: it says what was. A revoked key's does not; but whether a key was
    revoked is known from the keyring only, since a repository's settings are not asked.

    Raises:
        LedgerFormatError: head or entry do not decode strictly.
        VerificationError: head, proof or entry are refused.
    """
    chain = ChainName(document.chain)
    head, key_id = open_any_head(chain, _decoded(document.head), keyring)
    entry = _decoded(document.entry)
    verify_inclusion(
        leaf_hash(entry),
        document.sequence - 1,
        head.size,
        bytes.fromhex(head.root),
        [bytes.fromhex(digest) for digest in document.proof],
    )
    return ProvenEntry(chain, decode_entry(chain, entry, document.sequence), head, key_id)


def open_any_head(
    chain: ChainName, envelope: bytes, keyring: Keyring
) -> tuple[Head | AccessHead, str]:
    """The verified head of a chain in a document that was kept, and the key that signed it.

    Raises:
        VerificationError: it is refused.
    """
    known = keyring.ids(State.ACTIVE, State.RETIRED)
    if chain is ChainName.HISTORY:
        history = open_head(envelope, keyring, known)
        return history.head, history.key_id
    access = open_access_head(envelope, keyring, known)
    return access.head, access.key_id


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise LedgerFormatError("The proof's base64 is not valid.") from None
    if len(data) > limits.MAX_ENTRY_BYTES:
        raise LedgerFormatError("The proof has an entry or a head that is too large.")
    return data
