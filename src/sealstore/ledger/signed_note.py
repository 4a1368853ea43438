"""Signed notes: text that people can read, keep and check (https://c2sp.org/signed-note).

The text, an empty line, and a line for each signature, which names its key and holds four bytes
that tell keys of one name apart, and the signature of the text itself. As everywhere, algorithm and
role belong to the key: what a line says only finds it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sealstore import limits
from sealstore.errors import LedgerFormatError

ED25519_TYPE: Final = b"\x01"
"""The type byte of Ed25519 signatures over a note's text."""

HMAC_SHA256_TYPE: Final = b"\xff" + b"sealstore-hmac-sha256-v1"
"""HMAC-SHA256 over a note's text: 0xff leaves types without an assigned byte to an identifier."""

KEY_HASH_BYTES: Final = 4
_ED25519_PUBLIC_BYTES: Final = 32

_SIGNATURE_LINE: Final = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class NoteKey:
    """The part of a key that everybody may know, as signed notes identify it.

    Attributes:
        key_id: the id by which a keyring knows the key.
        signature_type: type byte, with an identifier behind 0xff.
        public: what the four bytes are derived from besides: the public key, if there is one.
    """

    key_id: str
    signature_type: bytes
    public: bytes

    @classmethod
    def ed25519(cls, key_id: str, public: bytes) -> NoteKey:
        """An Ed25519 key.

        Args:
            key_id: the id by which a keyring knows it.
            public: the public key, 32 bytes (RFC 8032).

        Raises:
            LedgerFormatError: it has another length.
        """
        if len(public) != _ED25519_PUBLIC_BYTES:
            raise LedgerFormatError("An Ed25519 public key has 32 bytes.", hint="")
        return cls(key_id, ED25519_TYPE, public)

    @classmethod
    def hmac_sha256(cls, key_id: str) -> NoteKey:
        """An HMAC key: it has no public part, so its id, which tells nothing of it, stands for one.

        Args:
            key_id: the id by which a keyring knows it.
        """
        return cls(key_id, HMAC_SHA256_TYPE, bytes.fromhex(key_id))

    def key_hash(self, name: str) -> bytes:
        """The four bytes that say which of the keys called ``name`` this is."""
        seed = b"%b\n%b%b" % (name.encode(), self.signature_type, self.public)
        return sha256(seed).digest()[:KEY_HASH_BYTES]

    def verifier_key(self, name: str) -> str:
        """The key as other tools take it: ``name+hash+base64`` (a "vkey")."""
        encoded = base64.b64encode(self.signature_type + self.public).decode("ascii")
        return f"{name}+{self.key_hash(name).hex()}+{encoded}"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line, before anything was checked.

    Attributes:
        name: name of the key.
        key_hash: see ``NoteKey.key_hash``.
        signature: of the text.
    """

    name: str
    key_hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note, before any signature was checked: all of it is unauthenticated.

    Attributes:
        text: the signed bytes, with the line feed at their end.
        signatures: one or more.
    """

    text: bytes
    signatures: tuple[NoteSignature, ...]


def write_note(text: bytes, signatures: Iterable[NoteSignature]) -> bytes:
    """The bytes of a note, which ``read_note`` accepts.

    Raises:
        LedgerFormatError: they are none.
    """
    lines = [
        f"— {each.name} {base64.b64encode(each.key_hash + each.signature).decode('ascii')}\n"
        for each in signatures
    ]
    data = text + b"\n" + "".join(lines).encode()
    read_note(data)
    return data


def read_note(data: bytes) -> Note:
    """Take a note apart. Nothing in the result is authenticated.

    Raises:
        LedgerFormatError: ``data`` is no note, or has too many signatures.
    """
    if len(data) > limits.MAX_CHECKPOINT_BYTES:
        raise LedgerFormatError(
            f"The signed note has {len(data)} bytes; {limits.MAX_CHECKPOINT_BYTES} are allowed."
        )
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError:
        raise LedgerFormatError("The signed note is not UTF-8.") from None
    if _CONTROL_CHARACTERS.search(decoded):
        raise LedgerFormatError("The signed note has control characters.")
    # The text may have empty lines; the last one separates it from the signatures.
    text, _, lines = decoded.rpartition("\n\n")
    if not text or not lines.endswith("\n"):
        raise LedgerFormatError("The bytes are not a text with signatures below it.")
    signature_lines = lines[:-1].split("\n")
    if len(signature_lines) > limits.MAX_NOTE_SIGNATURES:
        raise LedgerFormatError("The signed note has too many signatures.")
    return Note(f"{text}\n".encode(), tuple(map(_read_signature, signature_lines)))


def _read_signature(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise LedgerFormatError("The signed note has a line that is no signature.")
    name, encoded = match.groups()
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise LedgerFormatError("The signed note's base64 is not valid.") from None
    # Unused bits at the end would give one signature several spellings.
    if base64.b64encode(decoded).decode("ascii") != encoded or len(decoded) <= KEY_HASH_BYTES:
        raise LedgerFormatError("The signed note has a signature that is not spelled as one.")
    return NoteSignature(name, decoded[:KEY_HASH_BYTES], decoded[KEY_HASH_BYTES:])
