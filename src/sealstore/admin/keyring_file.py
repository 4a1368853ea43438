"""The keyring file: keys made, given away and taken in, each change under its lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sealstore import named_files
from sealstore.bundles.checking import bundle_keys
from sealstore.bundles.file import is_bundle
from sealstore.errors import (
    ConfigurationError,
    KeyringError,
    KeyringNotFoundError,
    KeyringPermissionsError,
    RepositoryNotFoundError,
    SealstoreError,
)
from sealstore.keys.algorithms import Ed25519Private, HmacSha256
from sealstore.keys.changing import DEFAULT_ROLES, new_key, with_key
from sealstore.keys.keyring import Key, Keyring, Role
from sealstore.keys.sources import read_keyring_file
from sealstore.keys.writing import locked_keyring_file, public_keyring, write_keyring_file
from sealstore.repository.settings import Settings
from sealstore.signed.settings import open_settings
from sealstore.storage import layout

# ── the file ─────────────────────────────────────────────────────────────────


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


# ── making keys ──────────────────────────────────────────────────────────────


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
        change.write(with_key(change.keyring, key))
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
        # Never over a secret that is there, and through no link.
        with named_files.new_file(path, replacing=False, mode=0o600) as file:
            file.write(material.to_bytes().hex().encode("ascii") + b"\n")
    except OSError as error:
        raise KeyringError(
            f"The key file cannot be written ({error.strerror}).",
            path=path,
            hint="choose a file that does not exist yet, in a folder that you can write: {path}",
        ) from error
    return material


# ── keyrings for others ──────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class KeyExport:
    """A keyring that is given away.

    Attributes:
        keyring: what is in it.
        left_out: ids of the keys that have no public part.
        loader_key: the loader's own key, whose public part is in the keyring here; or None.
    """

    keyring: Keyring
    left_out: tuple[str, ...]
    loader_key: Key | None = None


def export_public(settings: Settings) -> KeyExport:
    """The public parts of all configured keys.

    Raises:
        ConfigurationError: no key has one.
        KeyringError: the keys cannot be used.
    """
    keyring = settings.key_source().current()
    exported = public_keyring(keyring)
    if not len(exported):
        raise ConfigurationError(
            "No key of the keyring has a public part: HMAC keys verify with the secret that signs.",
            hint="'sealstore keys generate --algorithm ed25519' makes one that has.",
        )
    left_out = tuple(key.key_id for key in keyring if key.material.public() is None)
    return KeyExport(exported, left_out)


def export_for_loader(settings: Settings) -> KeyExport:
    """The public parts, and a new key with the role access only, for one loader.

    Its public part is added to the keyring here, which has to know who records accesses.

    Raises:
        ConfigurationError: no key that signs what is stored has a public part.
        KeyringError, StorageError: the keyring cannot be used, or written.
    """
    exported = export_public(settings)
    if not any(Role.STORE in key.roles for key in exported.keyring):
        raise ConfigurationError(
            "No key that signs what is stored has a public part: a loader could verify nothing.",
            hint="'sealstore keys generate --algorithm ed25519' makes one that has; then 'sealstore"
            " heartbeat' and 'sealstore resign' let it sign what is there.",
        )
    scopes = [key.scope.repositories for key in exported.keyring]
    # For no more repositories than the keys that it can verify.
    known = {each for scope in scopes if scope is not None for each in scope}
    repositories = None if None in scopes else sorted(known)
    made = new_key(Ed25519Private.generate(), roles=[Role.ACCESS], repositories=repositories)
    with keyring_change(settings) as change:
        public = made.material.public()
        change.write(with_key(change.keyring, replace(made, material=public or made.material)))
    return KeyExport(with_key(exported.keyring, made), exported.left_out, made)


# ── other people's public keys ───────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class KeyImport:
    """What of an exported keyring comes into this one.

    Attributes:
        added: public keys, with the roles that they are trusted with.
        left_out: ids of those that stay out: they are here already, have no public part, or have
            none of these roles.
    """

    added: tuple[Key, ...]
    left_out: tuple[str, ...]


def plan_import(settings: Settings, path: Path, roles: Iterable[Role]) -> KeyImport:
    """What ``import_keys`` would add; nothing is changed.

    Args:
        settings: names the keyring.
        path: a keyring that somebody has exported, or a bundle.
        roles: what its keys are trusted with here. A key gets those of them that it has there.

    Raises:
        KeyringError: one of the keyrings cannot be used.
        BundleFormatError: the bundle is damaged.
    """
    exported = _keys_of_others(settings, path)
    return _planned(keys_in_file(settings), exported, frozenset(roles))


def import_keys(settings: Settings, path: Path, roles: Iterable[Role]) -> KeyImport:
    """Add the public keys of an exported keyring or a bundle; what is here already stays as it is.

    Raises:
        KeyringError, StorageError: as ``plan_import``; or the keyring cannot be written.
    """
    exported = _keys_of_others(settings, path)
    with keyring_change(settings) as change:
        planned = _planned(change.keyring, exported, frozenset(roles))
        if planned.added:
            change.write(Keyring.of([*change.keyring, *planned.added]))
    return planned


def _keys_of_others(settings: Settings, path: Path) -> Keyring:
    if path.is_file() and is_bundle(path):
        # Anybody may have made the file: its keys are for a person to compare.
        return Keyring.of(bundle_keys(path))
    return read_keyring_file(path, outside=settings.path)


def _planned(present: Keyring, exported: Keyring, roles: frozenset[Role]) -> KeyImport:
    known = {key.key_id for key in present}
    added = tuple(
        replace(key, roles=key.roles & roles)
        for key in public_keyring(exported)
        if key.key_id not in known and key.roles & roles
    )
    ids = {key.key_id for key in added}
    return KeyImport(added, tuple(key.key_id for key in exported if key.key_id not in ids))
