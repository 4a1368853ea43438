"""Keys: what this process may sign and verify with."""

from sealstore.keys.algorithms import ALGORITHMS, Ed25519Private, Ed25519Public, HmacSha256
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.keys.sources import (
    KeyringSource,
    default_keyring_path,
    read_hmac_key_file,
    read_keyring_file,
    write_keyring_file,
)

__all__ = [
    "ALGORITHMS",
    "Ed25519Private",
    "Ed25519Public",
    "HmacSha256",
    "Key",
    "Keyring",
    "KeyringSource",
    "Role",
    "State",
    "default_keyring_path",
    "read_hmac_key_file",
    "read_keyring_file",
    "write_keyring_file",
]
