"""Making keys: in the keyring, or as a secret to be mounted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sealstore.admin.keyring_file import configured_keyring, keyring_change
from sealstore.errors import (
    ConfigurationError,
    KeyringError,
    KeyringPermissionsError,
    RepositoryNotFoundError,
    SealstoreError,
)
from sealstore.keys.algorithms import Ed25519Private, HmacSha256
from sealstore.keys.keyring import DEFAULT_ROLES, Key, Role, new_key
from sealstore.repository.settings import Settings
from sealstore.signed.settings import open_settings
from sealstore.storage import layout

DEFAULT_ALGORITHM: Final = HmacSha256.algorithm
NEW_KEY_ALGORITHMS: Final = (HmacSha256.algorithm, Ed25519Private.algorithm)


def new_material(algorithm: str) -> HmacSha256 | Ed25519Private:
    """New key material.

    Raises:
        ConfigurationError: there is no such algorithm to make keys of.
    """
    if algorithm == HmacSha256.algorithm:
        return HmacSha256.generate()
    if algorithm == Ed25519Private.algorithm:
        return Ed25519Private.generate()
    raise ConfigurationError(
        "There is no such algorithm.", hint=f"choose one of: {', '.join(NEW_KEY_ALGORITHMS)}."
    )


def generate_key(
    settings: Settings,
    algorithm: str = DEFAULT_ALGORITHM,
    *,
    roles: Iterable[Role] = DEFAULT_ROLES,
    repositories: Iterable[str] | None = None,
) -> Key:
    """Add a new active key to the keyring, which is made if it is absent.

    Args:
        settings: names the keyring.
        algorithm: ``hmac-sha256`` or ``ed25519``.
        roles: what it may sign.
        repositories: ids of the repositories it is for; None for every repository.

    Raises:
        ConfigurationError: no such algorithm, or one that cannot have these roles.
        KeyringError, StorageError: the keyring cannot be used or written.
    """
    roles = frozenset(roles)
    if Role.APPROVE in roles and algorithm != Ed25519Private.algorithm:
        raise ConfigurationError(
            "Approvals need an Ed25519 key: who verifies an HMAC could have made it.",
            hint="use --algorithm ed25519 for the role approve.",
        )
    key = new_key(new_material(algorithm), roles=roles, repositories=repositories)
    with keyring_change(settings) as change:
        change.write(change.keyring.with_key(key))
    return key


def default_repositories(settings: Settings) -> list[str] | None:
    """What a new key is for if nobody says: the repository that is there, or else every one.

    Raises:
        SealstoreError: there is a repository, and these keys do not say which one it is.
    """
    try:
        data = layout.read_settings_file(settings.path.absolute())
    except RepositoryNotFoundError:
        return None
    try:
        return [open_settings(data, configured_keyring(settings)).document.repository]
    except SealstoreError as error:
        error.hint = "say which repository the key is for: --repository ID, or 'any'."
        raise


def write_hmac_key_file(path: Path, *, outside: Path) -> HmacSha256:
    """Write a new HMAC secret in hexadecimal, mode 0600, to be mounted as MODEL_REPO_HMAC_KEY_FILE.

    Args:
        path: the file; it must not exist.
        outside: the repository's folder, which must not contain it.

    Raises:
        KeyringPermissionsError: it would lie inside the repository.
        KeyringError: it is there already, or cannot be written.
    """
    if path.resolve().is_relative_to(outside.resolve()):
        raise KeyringPermissionsError(
            "A key file must not lie inside the repository.", hint="choose another place."
        )
    material = HmacSha256.generate()
    try:
        # O_EXCL: never over a secret that is there, and through no link.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(material.to_bytes().hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise KeyringError(
            f"The key file cannot be written ({error.strerror}).",
            path=path,
            hint="choose a file that does not exist yet, in a folder that you can write: {path}",
        ) from error
    return material
