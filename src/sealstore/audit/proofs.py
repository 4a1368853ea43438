"""The proof of one entry as a document, which whoever has the keys checks without the repository.

JSON of four parts: the chain and the entry's sequence; the entry's bytes in base64; the inclusion
proof of RFC 9162, hexadecimal; the head's envelope (DSSE), whose signature covers the root.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from sealstore import limits
from sealstore.audit.chains import (
    AuditedChain,
    ChainName,
    Entry,
    Ledger,
    checkpoint_of,
    decode_entry,
)
from sealstore.audit.checkpoints import require_expected
from sealstore.audit.files import read_capped
from sealstore.audit.verifying import head_json
from sealstore.errors import LedgerFormatError, LedgerTamperedError
from sealstore.keys.keyring import Keyring, State
from sealstore.ledger.head import AccessHead, Head, open_access_head, open_head
from sealstore.ledger.merkle import leaf_hash
from sealstore.ledger.proofs import inclusion_proof, verify_inclusion
from sealstore.repository.settings import Settings
from sealstore.signed.statement import Positive, Sha256Hex

MAX_PROOF_BYTES: Final = 256 * 1024
"""Bytes of a proof's document: the largest entry and head in base64, and 63 hashes."""


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
    rows = list(chain.reader.rows(sequence - 1, sequence))
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
    data = read_capped(path, MAX_PROOF_BYTES, "proof")
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
