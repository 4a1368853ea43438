"""The configured keyring file, read and changed by the commands that manage keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sealstore.errors import KeyringNotFoundError
from sealstore.keys.keyring import Keyring
from sealstore.keys.sources import read_keyring_file
from sealstore.keys.writing import locked_keyring_file, write_keyring_file
from sealstore.repository.settings import Settings


@dataclass(slots=True)
class KeyringChange:
    """A change of the keyring file, while nobody else changes it.

    Attributes:
        keyring: the keys in the file; none where there is no file yet.
    """

    settings: Settings
    keyring: Keyring

    def write(self, keyring: Keyring) -> None:
        """Replace the file.

        Raises:
            StorageError: the file system refused.
        """
        write_keyring_file(self.settings.keyring_path, keyring)
        self.keyring = keyring


@contextmanager
def keyring_change(settings: Settings) -> Iterator[KeyringChange]:
    """Hold the keyring file to change it.

    Raises:
        KeyringError: the file is there and cannot be used, or would lie inside the repository.
        StorageError: the file system refused.
    """
    # Before the lock: not even a lock file is made in a place where no keyring may lie.
    keys_in_file(settings)
    with locked_keyring_file(settings.keyring_path):
        yield KeyringChange(settings, keys_in_file(settings))


def keys_in_file(settings: Settings) -> Keyring:
    """The keys in the keyring file, without a mounted secret; none where there is no file.

    Raises:
        KeyringError: the file is there and cannot be used, or would lie inside the repository.
    """
    try:
        return read_keyring_file(settings.keyring_path, outside=settings.path)
    except KeyringNotFoundError:
        return Keyring.of([])


def configured_keyring(settings: Settings) -> Keyring:
    """All configured keys, a mounted secret among them; none where nothing is there yet.

    Raises:
        KeyringError: what is configured cannot be used. A mounted secret that is configured and
            absent is such a case.
    """
    if settings.hmac_key_path is None:
        return keys_in_file(settings)
    return settings.key_source().current()
