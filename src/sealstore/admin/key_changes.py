"""Rotating, retiring and revoking keys, without a repository losing its signature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sealstore.admin.keyring_file import (
    configured_keyring,
    keyring_change,
    keys_in_file,
    new_material,
)
from sealstore.admin.signatures import settings_key_id
from sealstore.errors import (
    KeyringError,
    NoSigningKeyError,
    RepositoryNotFoundError,
    SealstoreError,
    UnknownKeyError,
)
from sealstore.keys.changing import new_key, with_key, with_state, withholding
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.repository.assembly import open_catalogue
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import read_unverified
from sealstore.storage.catalogue.listing import ListFilter, count_artifacts

_MIN_PREFIX_DIGITS: Final = 8


def key_named(keyring: Keyring, text: str) -> Key:
    """The key with this id, or with an id that begins so (8 digits or more) where only one does.

    Raises:
        UnknownKeyError: there is none, or more than one.
    """
    wanted = text.lower()
    found = [
        key
        for key in keyring
        if key.key_id == wanted
        or (len(wanted) >= _MIN_PREFIX_DIGITS and key.key_id.startswith(wanted))
    ]
    if len(found) != 1:
        raise UnknownKeyError(
            "More than one key's id begins so." if found else "The keyring has no such key.",
            hint="'sealstore keys list' shows the ids; eight digits of one are enough.",
        )
    return found[0]


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new key in an old one's place.

    Attributes:
        old: the key that was retired; still active where the repository could not be signed with
            a different one, since it would be refused then.
        new: the key that signs now.
        settings_signed: whether ``repository.json`` got a signature of an active key.
        settings_error: why it could not get one; None where it did, or needs none.
    """

    old: Key
    new: Key
    settings_signed: bool = False
    settings_error: SealstoreError | None = None


def rotate_key(settings: Settings, key_id: str | None = None) -> Rotation:
    """Add a key like an active one, and retire that one.

    Args:
        settings: names the keyring and the repository.
        key_id: the active key, or the beginning of its id; the newest one by default.

    Raises:
        NoSigningKeyError: there is no active key in the keyring file to be rotated.
        KeyringError, StorageError: the keyring, or ``repository.json``, cannot be used or written.
    """
    with keyring_change(settings) as change:
        old = _active_key(change.keyring, key_id)
        roles, scope = old.roles, old.scope.repositories
        new = new_key(new_material(old.algorithm), roles=roles, repositories=scope)
        # Until the repository has the new key's signatures, the old one's must hold, or nothing
        # could be loaded. From now on the new one signs, since it is the newest.
        change.write(with_key(change.keyring, new))
    rotation = Rotation(old, new)
    try:
        signed = _move_signatures(settings, old.key_id, "rotated")
        rotation = replace(rotation, settings_signed=signed)
    except SealstoreError as error:
        rotation = replace(rotation, settings_error=error)
        if _depends_on(settings, old.key_id):
            return rotation
    retired = _set_state(settings, old, State.RETIRED)
    return replace(rotation, old=retired)


def _move_signatures(settings: Settings, key_id: str, action: str) -> bool:
    """Let other keys sign head and settings of the configured repository, if there is one.

    Returns:
        Whether ``repository.json`` was signed by the key, and is now by a different key.

    Raises:
        SealstoreError: there is a repository, and it cannot be opened, or signed by other keys.
    """
    root = settings.path.absolute()
    keyring = withholding(configured_keyring(settings), key_id)
    try:
        with Repository.open(root, keyring=keyring, settings=settings) as repository:
            signs_settings = repository.state.settings.key_id == key_id
            repository.record_key_change(action, key_id, sign_settings=signs_settings)
            return signs_settings
    except (RepositoryNotFoundError, UnknownKeyError):
        # None is there, or one that others sign for.
        return False


def _depends_on(settings: Settings, key_id: str) -> bool:
    """Whether head or settings of the configured repository are signed with a key, or may be.

    What they say themselves is enough here: if that is not true, they are refused in any case.
    """
    root = settings.path.absolute()
    try:
        catalogue = open_catalogue(root, settings)
        try:
            with catalogue.read() as rows:
                head = rows.history.head() or b""
        finally:
            catalogue.engine.dispose()
        return key_id in (settings_key_id(root), read_unverified(head).key_id)
    except SealstoreError:
        return True


def _active_key(keyring: Keyring, key_id: str | None) -> Key:
    if key_id is not None:
        key = key_named(keyring, key_id)
        if key.can_sign:
            return key
    for key in reversed(list(keyring)):
        if key_id is None and key.can_sign:
            return key
    raise NoSigningKeyError(
        "The keyring file has no such active key to be rotated.",
        hint="a mounted secret (MODEL_REPO_HMAC_KEY_FILE) is replaced where it is mounted from;"
        " 'sealstore keys retire' its id first, so that what it signed still loads.",
    )


@dataclass(frozen=True, slots=True)
class Consequences:
    """What depends on a key.

    Attributes:
        key: which key.
        artifacts: how many artifacts of the configured repository its rows say it signed; None
            where no repository could be opened.
        signs_settings: whether ``repository.json`` is signed by it.
        next_settings_key_id: the active key that can sign ``repository.json`` instead, if any.
        roles_lost: roles for which no active key is left without it.
    """

    key: Key
    artifacts: int | None
    signs_settings: bool
    next_settings_key_id: str | None
    roles_lost: tuple[Role, ...]


def consequences(settings: Settings, key_id: str) -> Consequences:
    """What depends on a key, to be said before it is retired or revoked.

    Raises:
        UnknownKeyError: there is no such key.
        KeyringError: the keyring cannot be used.
    """
    keyring, key = _keyring_with(settings, key_id)
    rest = Keyring.of(other for other in keyring if other.key_id != key.key_id)
    root = settings.path.absolute()
    artifacts: int | None = None
    next_key: str | None = None
    signs_settings = False
    try:
        signs_settings = settings_key_id(root) == key.key_id
        with Repository.open(root, settings=settings) as opened:
            artifacts = count_artifacts(opened.catalogue, ListFilter(key_id=key.key_id))
            next_key = rest.signer(Role.ADMIN, opened.id).key_id
    except SealstoreError:
        # No repository, or a damaged one: the key can be revoked all the same.
        pass
    lost = (role for role in sorted(key.roles) if key.can_sign and not _can_sign(rest, role, key))
    return Consequences(key, artifacts, signs_settings, next_key, tuple(lost))


def _can_sign(keyring: Keyring, role: Role, like: Key) -> bool:
    """Whether an active key has ``role`` for all the repositories that ``like`` is for."""
    try:
        for repository in like.scope.repositories or (None,):
            keyring.signer(role, repository)
    except NoSigningKeyError:
        return False
    return True


def retire_key(settings: Settings, key_id: str) -> Key:
    """Let a key sign no more; what it signed still loads.

    A mounted secret's key is written to the keyring file as retired, which wins over its mount.

    Raises:
        UnknownKeyError: there is no such key.
        KeyringError, StorageError: the keyring cannot be used or written; a revoked key stays so;
            or the repository is signed with it and cannot be signed with another key, though one is
            there: nothing changed, since the repository would be refused from then on.
    """
    _, key = _keyring_with(settings, key_id)
    try:
        # While it is active still: a retired key's head is accepted by those that know it only.
        if key.state is State.ACTIVE:
            _move_signatures(settings, key.key_id, "retired")
    except NoSigningKeyError:
        # No other key could sign: that is told before.
        pass
    except SealstoreError as error:
        if _depends_on(settings, key.key_id):
            raise KeyringError(
                f"The repository is signed with this key, and cannot be signed with another:"
                f" {error.message}",
                hint=f"mend that first: {error.hint} Or 'sealstore keys revoke' it, if somebody"
                " else may have it.",
            ) from error
    return _set_state(settings, key, State.RETIRED)


@dataclass(frozen=True, slots=True)
class Revocation:
    """A key that was revoked.

    Attributes:
        key: the key.
        settings_signed_by: the key that took over ``repository.json``; None where none had to, or
            none could.
        settings_refused: whether ``repository.json`` is signed by the revoked key still, so that
            the repository cannot be opened.
        reaches_clients: whether the repository's settings tell every client of it.
    """

    key: Key
    settings_signed_by: str | None
    settings_refused: bool
    reaches_clients: bool


def revoke_key(settings: Settings, key_id: str) -> Revocation:
    """Refuse from now on whatever a key signed. There is no way back.

    Where other keys are active with the roles admin and store, these sign the revocation into the
    repository's settings first: it then holds for every client, and the repository stays open.

    Raises:
        UnknownKeyError: there is no such key.
        KeyringError, StorageError: the keyring cannot be used or written.
    """
    keyring, key = _keyring_with(settings, key_id)
    signed_by, signs_settings = None, False
    root = settings.path.absolute()
    try:
        signs_settings = settings_key_id(root) == key.key_id
        withheld = withholding(keyring, key.key_id)
        with Repository.open(root, keyring=withheld, settings=settings) as repository:
            revoked = repository.state.document.revoked_keys
            if key.key_id not in revoked:
                # First the signatures move, those of both heads: afterwards its own are refused.
                repository.record_key_change("revoked", key.key_id, sign_settings=signs_settings)
                repository.change_settings(revoked_keys=(*revoked, key.key_id))
            signed_by = repository.state.settings.key_id
    except SealstoreError:
        # Revoking does not wait for a repository that is damaged, or that no other key can sign.
        pass
    refused = _set_state(settings, key, State.REVOKED)
    moved = signed_by if signs_settings and signed_by != key.key_id else None
    return Revocation(refused, moved, signs_settings and moved is None, signed_by is not None)


def _keyring_with(settings: Settings, key_id: str) -> tuple[Keyring, Key]:
    """The keyring, and the key with this id in it."""
    in_file = keys_in_file(settings)
    try:
        keyring = configured_keyring(settings)
    except KeyringError:
        # A mounted secret that is gone must not keep another key from being revoked.
        keyring = in_file
    return keyring, key_named(keyring, key_id)


def _set_state(settings: Settings, key: Key, state: State) -> Key:
    with keyring_change(settings) as change:
        keyring = change.keyring
        if all(known.key_id != key.key_id for known in keyring):
            keyring = with_key(keyring, replace(key, state=State.ACTIVE))
        keyring = with_state(keyring, key.key_id, state)
        change.write(keyring)
        return keyring.get(key.key_id)
