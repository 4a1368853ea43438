"""Writing the keyring file, and what of a keyring may leave this machine."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC
from hashlib import sha256
from pathlib import Path

import msgspec

from sealstore import files
from sealstore.errors import StorageError
from sealstore.keys.keyring import Key, Keyring
from sealstore.keys.sources import _TIME_FORMAT, _KeyEntry, _KeyringDocument


def encode_keyring(keyring: Keyring) -> bytes:
    """The bytes of a keyring file, secrets included."""
    document = _KeyringDocument(version=1, keys=tuple(map(_entry_of, keyring)))
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def write_keyring_file(path: Path, keyring: Keyring) -> None:
    """Replace the keyring file: new file beside it, mode 0600, fsync, rename, fsync of the folder.

    Raises:
        StorageError: the file system refused.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with files.opened_folder(path.parent) as folder:
            files.replace(path.name, encode_keyring(keyring), folder=folder, mode=0o600)
    except OSError as error:
        raise StorageError(
            f"The keyring cannot be written ({error.strerror}).", path=path, hint="check {path}."
        ) from error


@contextmanager
def locked_keyring_file(path: Path) -> Iterator[None]:
    """Hold the lock under which the keyring file is read, changed and replaced.

    Raises:
        StorageError: the file system refused.
    """
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            held.enter_context(files.locked(f"{path}.lock"))
        except OSError as error:
            raise StorageError(
                f"The keyring cannot be locked ({error.strerror}).",
                path=path,
                hint="check {path}.",
            ) from error
        yield


def public_keyring(keyring: Keyring) -> Keyring:
    """The verify-only keyring of all keys that have a public part (not HMAC)."""
    from dataclasses import replace

    public_keys = []
    for key in keyring:
        public = key.material.public()
        if public is not None:
            public_keys.append(replace(key, material=public))
    return Keyring.of(public_keys)


def fingerprint(key: Key) -> str | None:
    """SHA-256 of the public part's bytes, hexadecimal; None where there is no public part."""
    public = key.material.public()
    return None if public is None else sha256(public.to_bytes()).hexdigest()


def _entry_of(key: Key) -> _KeyEntry:
    repositories = key.scope.repositories
    return _KeyEntry(
        id=key.key_id,
        algorithm=key.algorithm,
        state=key.state,
        created=key.created.astimezone(UTC).strftime(_TIME_FORMAT),
        roles=tuple(sorted(key.roles)),
        repositories="any" if repositories is None else tuple(sorted(repositories)),
        material=base64.b64encode(key.material.to_bytes()).decode("ascii"),
    )
