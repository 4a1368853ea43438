"""The keyring's keys as signed notes identify them, to open and to sign checkpoints."""

from __future__ import annotations

from sealstore.errors import UnknownKeyError
from sealstore.keys.keyring import Key, Keyring, State
from sealstore.ledger.checkpoint import VerifiedCheckpoint, open_checkpoint
from sealstore.ledger.signed_note import NoteKey


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
