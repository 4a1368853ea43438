"""The algorithms: HMAC-SHA256 and Ed25519, both through ``cryptography``.

A key's material decides its algorithm; nothing in a message does. A key service (KMS, PKCS#11,
Vault) implements ``KeyMaterial`` the same way, and nothing above it changes.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar, Final, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ed25519

from sealstore import limits
from sealstore.errors import KeyringFormatError, NoSigningKeyError
from sealstore.process_bound import ProcessBound

_KEY_ID_CONTEXT: Final = b"sealstore key id v1"
_KEY_ID_DIGITS: Final = 32


class KeyMaterial(Protocol):
    """What a key of any kind can do. ``secret`` and ``public`` are what a file may hold of it."""

    algorithm: ClassVar[str]

    @property
    def key_id(self) -> str:
        """32 hexadecimal digits, derived from algorithm and material."""
        ...

    @property
    def can_sign(self) -> bool:
        """Whether ``sign`` can succeed."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message``."""
        ...

    def is_signature(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's for ``message``, in time that tells nothing."""
        ...

    def to_bytes(self) -> bytes:
        """The material as a keyring file keeps it."""
        ...

    def public(self) -> KeyMaterial | None:
        """The part that only verifies; None where the algorithm has no such part."""
        ...


class HmacSha256(ProcessBound):
    """HMAC with SHA-256 (RFC 2104, FIPS 198-1). Symmetric: who can verify can forge.

    Args:
        material: the secret, 32 bytes or more.

    Raises:
        KeyringFormatError: fewer, or more than ``limits.MAX_HMAC_KEY_BYTES``.
    """

    algorithm: ClassVar[str] = "hmac-sha256"
    can_sign = True

    def __init__(self, material: bytes) -> None:
        if not limits.MIN_HMAC_KEY_BYTES <= len(material) <= limits.MAX_HMAC_KEY_BYTES:
            raise KeyringFormatError(
                f"An HMAC-SHA256 key has {limits.MIN_HMAC_KEY_BYTES} to {limits.MAX_HMAC_KEY_BYTES}"
                f" bytes; this one has {len(material)}.",
                hint="make a new one with 'sealstore keys generate'.",
            )
        self._material = material
        # The id is a MAC, so that it says nothing about the key.
        self.key_id = self._mac(_KEY_ID_CONTEXT).finalize().hex()[:_KEY_ID_DIGITS]

    @classmethod
    def generate(cls) -> Self:
        """A new key of 256 random bits."""
        import secrets

        return cls(secrets.token_bytes(limits.MIN_HMAC_KEY_BYTES))

    def sign(self, message: bytes) -> bytes:
        return self._mac(message).finalize()

    def is_signature(self, message: bytes, signature: bytes) -> bool:
        try:
            self._mac(message).verify(signature)
        except InvalidSignature:
            return False
        return True

    def to_bytes(self) -> bytes:
        return self._material

    def public(self) -> None:
        return None

    def _mac(self, message: bytes) -> hmac.HMAC:
        mac = hmac.HMAC(self._material, hashes.SHA256())
        mac.update(message)
        return mac


class Ed25519Public:
    """The public part of an Ed25519 key (RFC 8032): verifies, cannot sign.

    Args:
        material: the 32 bytes of the public key.

    Raises:
        KeyringFormatError: not 32 bytes, or a point of small order.
    """

    algorithm: ClassVar[str] = "ed25519-public"
    can_sign = False

    def __init__(self, material: bytes) -> None:
        try:
            self._public = ed25519.Ed25519PublicKey.from_public_bytes(material)
        except ValueError:
            raise KeyringFormatError("An Ed25519 public key has 32 bytes.") from None
        if int.from_bytes(material, "little") & _Y_BITS in _SMALL_ORDER_Y:
            raise KeyringFormatError(
                "This Ed25519 public key is one for which everybody can make signatures."
            )
        self._material = material
        digest = hashlib.sha256(_KEY_ID_CONTEXT + b" ed25519 " + material).hexdigest()
        self.key_id = digest[:_KEY_ID_DIGITS]

    def sign(self, message: bytes) -> bytes:
        raise NoSigningKeyError("A public key cannot sign.")

    def is_signature(self, message: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def to_bytes(self) -> bytes:
        return self._material

    def public(self) -> Ed25519Public:
        return self


class Ed25519Private(ProcessBound):
    """An Ed25519 key pair (RFC 8032).

    Args:
        material: the 32 bytes of the private key (the seed).

    Raises:
        KeyringFormatError: not 32 bytes.
    """

    algorithm: ClassVar[str] = "ed25519"
    can_sign = True

    def __init__(self, material: bytes) -> None:
        try:
            self._private = ed25519.Ed25519PrivateKey.from_private_bytes(material)
        except ValueError:
            raise KeyringFormatError("An Ed25519 private key has 32 bytes.") from None
        self._public = Ed25519Public(self._private.public_key().public_bytes_raw())
        # A pair and its public part are one key: they share the id.
        self.key_id = self._public.key_id

    @classmethod
    def generate(cls) -> Self:
        """A new key pair."""
        private = ed25519.Ed25519PrivateKey.generate()
        return cls(private.private_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def is_signature(self, message: bytes, signature: bytes) -> bool:
        return self._public.is_signature(message, signature)

    def to_bytes(self) -> bytes:
        return self._private.private_bytes_raw()

    def public(self) -> Ed25519Public:
        return self._public


ALGORITHMS: Final[dict[str, type[HmacSha256] | type[Ed25519Public] | type[Ed25519Private]]] = {
    algorithm.algorithm: algorithm for algorithm in (HmacSha256, Ed25519Private, Ed25519Public)
}
"""The algorithms by the name that a keyring file gives them. There is no 'none'."""


# The points whose order divides 8, by their y coordinate (the top bit is x's sign); values from the
# prime on are second spellings of small ones. For such a key a signature needs no private part: the
# verification equation of RFC 8032, section 5.1.7, holds for all, or for one in a few, messages.
_PRIME: Final = 2**255 - 19
_Y_BITS: Final = 2**255 - 1
_ORDER_8_Y: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y: Final = {0, 1, _PRIME - 1, _PRIME, _PRIME + 1, _ORDER_8_Y, _PRIME - _ORDER_8_Y}
