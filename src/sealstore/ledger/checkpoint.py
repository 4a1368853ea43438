"""Checkpoints: a head as a text that is kept elsewhere (https://c2sp.org/tlog-checkpoint).

Whoever keeps one can later prove that everything before it was rewritten or cut off, if it was. The
lines are the origin, the number of entries, the root, and as extensions what else the head says::

    sealstore/00112233445566778899aabbccddeeff/history/1
    42
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
    map PlRCgxc9yWrd5ugyt0NRGGhlsd3DmVr3TQPGlDgk/fM=
    settings 3 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
    time 2026-11-23T12:00:00.000000Z

The origin names the repository, the chain and its epoch (for an access log: its id). It is also
the name of the key in a signature's line; lines of other names, such as a witness's, are passed
over. An envelope's signature covers text that begins with ``DSSEv1``: neither passes for the other.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Final

from sealstore import limits
from sealstore.errors import LedgerFormatError, UnknownKeyError, UsageError
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from sealstore.ledger.signed_note import NoteKey, NoteSignature, read_note, write_note
from sealstore.signed.envelope import Signer, Verifier
from sealstore.signed.verified import Verified, make_verified

_HASH: Final = "([A-Za-z0-9+/]{43}=)"
_COUNT: Final = "(0|[1-9][0-9]{0,18})"
_ID: Final = "([0-9a-f]{32})"
_TIME: Final = r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)"
_HISTORY_TEXT: Final = re.compile(
    f"sealstore/{_ID}/history/{_COUNT}\n{_COUNT}\n{_HASH}\n"
    f"map {_HASH}\nsettings {_COUNT} {_HASH}\ntime {_TIME}\n"
)
_ACCESS_TEXT: Final = re.compile(f"sealstore/{_ID}/access/{_ID}\n{_COUNT}\n{_HASH}\ntime {_TIME}\n")


class VerifiedCheckpoint(Verified, comes_from="ledger.open_checkpoint"):
    """A checkpoint whose signature holds; only ``open_checkpoint`` can make one.

    Attributes:
        checkpoint: what it says.
        key_ids: the keys that signed it, one or more.
    """

    __slots__ = ("checkpoint", "key_ids")

    checkpoint: HistoryCheckpoint | AccessCheckpoint
    key_ids: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<VerifiedCheckpoint {self.checkpoint.origin} {self.checkpoint.size}>"


def seal_checkpoint(
    checkpoint: HistoryCheckpoint | AccessCheckpoint, signers: Sequence[tuple[NoteKey, Signer]]
) -> bytes:
    """The signed note of a checkpoint.

    Args:
        checkpoint: what to sign.
        signers: one or more keys with the role of the checkpoint, and how notes identify each.

    Raises:
        UsageError: there is none, or one of them is another key than its note key.
    """
    if not signers or any(key.key_id != signer.key_id for key, signer in signers):
        raise UsageError("A checkpoint is signed with at least one key, which is named by its id.")
    text = checkpoint_text(checkpoint).encode()
    name = checkpoint.origin
    return write_note(
        text,
        [NoteSignature(name, key.key_hash(name), signer.sign(text)) for key, signer in signers],
    )


def open_checkpoint(data: bytes, keys: Iterable[NoteKey], verifier: Verifier) -> VerifiedCheckpoint:
    """The verified checkpoint in a signed note.

    1. The bytes are one note, and its text one checkpoint.
    2. Signatures of unknown keys say nothing. Each of a known one must hold, and one must be there.
    3. The key has the role that the checkpoint's chain needs, and is for this repository.

    A retired key's checkpoint is accepted: it says what was, and was kept where nobody could change
    it. A revoked key's is not; leave the key out of ``keys`` to go by the other signatures.

    Args:
        data: the note.
        keys: the known keys, as notes identify them.
        verifier: the same keys, to check signatures with.

    Raises:
        LedgerFormatError: the bytes are no checkpoint.
        VerificationError: a signature is refused, or none is of a known key.
    """
    # step 1: one note, with the text of one checkpoint
    note = read_note(data)
    checkpoint = read_checkpoint_text(note.text.decode())
    # step 2: signatures of known keys
    known = {key.key_hash(checkpoint.origin): key.key_id for key in keys}
    key_ids = []
    for each in note.signatures:
        key_id = known.get(each.key_hash)
        if each.name == checkpoint.origin and key_id is not None:
            # step 3: the role and the repository of each
            scope = verifier.verify(key_id, checkpoint.role, note.text, each.signature)
            scope.require(checkpoint.repository)
            key_ids.append(key_id)
    if not key_ids:
        raise UnknownKeyError("No signature of the checkpoint is of a key that is known here.")
    return make_verified(VerifiedCheckpoint, checkpoint=checkpoint, key_ids=tuple(key_ids))


def read_checkpoint_text(text: str) -> HistoryCheckpoint | AccessCheckpoint:
    """The checkpoint that a note's text is. Nothing in it is authenticated.

    Raises:
        LedgerFormatError: it is none of sealstore's, or not spelled as one.
    """
    checkpoint: HistoryCheckpoint | AccessCheckpoint
    if match := _HISTORY_TEXT.fullmatch(text):
        repository, epoch, size, root, map_root, version, digest, time = match.groups()
        checkpoint = HistoryCheckpoint(
            repository=repository,
            epoch=_number(epoch, 1),
            size=_number(size, 0),
            root=_hexadecimal(root),
            map_root=_hexadecimal(map_root),
            settings_version=_number(version, 1),
            settings_digest=_hexadecimal(digest),
            time=time,
        )
    elif match := _ACCESS_TEXT.fullmatch(text):
        repository, log, size, root, time = match.groups()
        checkpoint = AccessCheckpoint(
            repository=repository,
            log=log,
            size=_number(size, 0),
            root=_hexadecimal(root),
            time=time,
        )
    else:
        raise LedgerFormatError("The text is not a checkpoint of a sealstore repository.")
    # Unused bits at the end of a hash's base64 would give one checkpoint several spellings.
    if checkpoint_text(checkpoint) != text:
        raise LedgerFormatError("The checkpoint is not spelled in its one way.")
    return checkpoint


def checkpoint_text(checkpoint: HistoryCheckpoint | AccessCheckpoint) -> str:
    """The text of a checkpoint that is signed."""
    start = f"{checkpoint.origin}\n{checkpoint.size}\n{_base64(checkpoint.root)}\n"
    if isinstance(checkpoint, HistoryCheckpoint):
        start += (
            f"map {_base64(checkpoint.map_root)}\n"
            f"settings {checkpoint.settings_version} {_base64(checkpoint.settings_digest)}\n"
        )
    return f"{start}time {checkpoint.time}\n"


def _number(digits: str, least: int) -> int:
    number = int(digits)
    if not least <= number <= limits.MAX_SEQUENCE:
        raise LedgerFormatError("The checkpoint has a number that no head has.")
    return number


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode("ascii")


def _hexadecimal(encoded: str) -> str:
    return base64.b64decode(encoded).hex()
