"""The keyring: whether it can be trusted, and what it can sign."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from sealstore.errors import KeyringError, KeyringNotFoundError, NoSigningKeyError
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.keys.sources import read_hmac_key_file, read_keyring_file
from sealstore.repository.settings import Settings
from sealstore.upkeep.doctor.check import Check, quoted

_TOPIC: Final = "keyring"


def check_keyring(settings: Settings) -> tuple[Keyring, list[Check]]:
    """The key files: there, private, outside the repository, and readable.

    Returns:
        The keys of the files that can be used, and the checks.
    """
    checks: list[Check] = []
    keyring = Keyring.of([])
    path = settings.keyring_path
    try:
        keyring = read_keyring_file(path, outside=settings.path)
    except KeyringNotFoundError as error:
        if settings.hmac_key_path is None:
            checks.append(Check.failed(_TOPIC, error))
        else:
            checks.append(Check.ok(_TOPIC, "no keyring file; the mounted secret is the key"))
    except KeyringError as error:
        checks.append(Check.failed(_TOPIC, error))
    else:
        mode = stat.S_IMODE(path.stat().st_mode)
        checks.append(
            Check.ok(
                _TOPIC,
                f"{path}, {len(keyring)} in it, mode {mode:04o}, outside the repository",
            )
        )
        checks += _check_folder(path.absolute().parent)
    if settings.hmac_key_path is not None:
        try:
            mounted = read_hmac_key_file(settings.hmac_key_path, outside=settings.path)
        except KeyringError as error:
            checks.append(Check.failed(_TOPIC, error))
        else:
            keyring = keyring.merged_with([mounted])
            checks.append(Check.ok(_TOPIC, f"key {mounted.key_id} is the mounted secret"))
    checks += [_describe(key) for key in keyring]
    return keyring, checks


def _check_folder(folder: Path) -> list[Check]:
    status = folder.stat()
    # Whoever may write to the folder may put another keyring there. In a sticky one, such as /tmp,
    # only the owner may.
    shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    if shared or status.st_uid not in (0, os.geteuid()):
        return [
            Check.wrong(
                _TOPIC,
                "others can write to the keyring's folder, and so replace the keyring",
                f"chmod go-w {quoted(folder)}; it must belong to you",
            )
        ]
    return []


def _describe(key: Key) -> Check:
    repositories = key.scope.repositories
    return Check.ok(
        _TOPIC,
        f"key {key.key_id}: {key.algorithm}, {key.state}, {', '.join(sorted(key.roles))}, for"
        f" {'every repository' if repositories is None else ', '.join(sorted(repositories))}",
        keyId=key.key_id,
        algorithm=key.algorithm,
        state=str(key.state),
        roles=sorted(key.roles),
        repositories="any" if repositories is None else sorted(repositories),
    )


def check_signing(keyring: Keyring, repository: str | None) -> list[Check]:
    """Whether there are keys to sign with.

    Args:
        keyring: the keys.
        repository: id of the repository; None for one that is still to be made.
    """
    if not len(keyring):
        return []
    if not any(key.material.can_sign for key in keyring):
        return [Check.ok("signing", "verify-only keyring: it loads, and stores nothing")]
    checks = []
    for role in (Role.STORE, Role.ADMIN):
        try:
            signer = keyring.signer(role, repository)
        except NoSigningKeyError as error:
            what_for = "any" if repository is None else repository
            checks.append(
                Check.wrong(
                    "signing",
                    error.message,
                    f"sealstore keys generate --role {role} --repository {what_for}",
                    role=str(role),
                )
            )
        else:
            checks.append(
                Check.ok(
                    "signing", f"{role}: key {signer.key_id}", role=str(role), keyId=signer.key_id
                )
            )
    return checks


def check_settings_key(keyring: Keyring, key_id: str) -> Check:
    """The key whose good signature ``repository.json`` has."""
    if keyring.get(key_id).state is State.RETIRED:
        return Check.note(
            "settings",
            f"repository.json is signed by the retired key {key_id}",
            "sealstore resign --settings",
            keyId=key_id,
        )
    return Check.ok("settings", f"repository.json is signed by key {key_id}", keyId=key_id)


def can_store(keyring: Keyring) -> bool:
    """Whether any key could sign, so that folders have to be writable."""
    return any(key.can_sign for key in keyring)
