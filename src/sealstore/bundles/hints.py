"""The public keys that a bundle carries: hints for people, with which nothing is ever verified.

Whoever makes a bundle chooses the keys in it. A person compares what is shown here with what the
origin says by another way, and only then adds a key to the keyring.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sealstore.errors import BundleFormatError, KeyringFormatError
from sealstore.keys.algorithms import Ed25519Public
from sealstore.keys.keyring import Key, Keyring
from sealstore.keys.sources import decode_keyring
from sealstore.keys.writing import encode_keyring, public_keyring
from sealstore.signed.envelope import Scope


def encode_hints(keyring: Keyring, key_ids: Collection[str], repository: str) -> bytes:
    """The public parts of keys, for a bundle of a repository; none of an HMAC key, which has none.

    Args:
        keyring: the keys.
        key_ids: which ones.
        repository: the only one that whoever adds such a key will trust it for.
    """
    public = public_keyring(Keyring.of(key for key in keyring if key.key_id in key_ids))
    scope = Scope(frozenset([repository]))
    return encode_keyring(Keyring.of(replace(key, scope=scope) for key in public))


def read_hints(data: bytes) -> tuple[Key, ...]:
    """The public keys in a bundle.

    Raises:
        BundleFormatError: they do not decode strictly, or one is no public key.
    """
    try:
        keyring = decode_keyring(data)
    except KeyringFormatError as error:
        raise BundleFormatError(f"The keys in the bundle are refused: {error.message}") from error
    if any(key.algorithm != Ed25519Public.algorithm for key in keyring):
        raise BundleFormatError(
            "The bundle holds a secret key, which no bundle does.",
            hint="tell whoever made it, and have the key revoked: others may have it now.",
        )
    return tuple(keyring)
