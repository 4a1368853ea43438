"""What this client brings: its configuration, its keys, and what it remembers of the repository."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from sealstore.errors import (
    ConfigurationError,
    FirstUseError,
    KeyringError,
    KeyringNotFoundError,
    NoSigningKeyError,
    SealstoreError,
    TrustStateError,
)
from sealstore.keys.changing import merged
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.keys.mounted import read_hmac_key_file
from sealstore.keys.sources import read_keyring_file
from sealstore.repository.access_log.place import access_rows
from sealstore.repository.settings import PREFIX, Settings, Variable
from sealstore.signed.settings import RepositorySettings
from sealstore.storage.catalogue import catalogue_engine
from sealstore.upkeep.doctor.check import Check, quoted

# ── configuration ─────────────────────────────────────────────────────────────


_CONFIGURATION: Final = "configuration"
_ATTRIBUTES: Final = {
    "MODEL_REPO_KEYRING": "keyring_path",
    "MODEL_REPO_HMAC_KEY_FILE": "hmac_key_path",
    "MODEL_REPO_ID": "repository_id",
    "MODEL_REPO_POLICY": "policy_path",
    "MODEL_REPO_TRUST_STATE": "trust_folder",
}
"""Where a variable's value is found in the settings, if it is not under the variable's own name."""


def check_configuration(
    environment: Mapping[str, str], options: Mapping[Variable, str]
) -> tuple[Settings, list[Check]]:
    """Every variable with its value and source.

    Args:
        environment: the variables, options of the command line already among them.
        options: the option that set a variable, where one did.

    Returns:
        The settings without the variables that are impossible, and the checks.
    """
    checks = []
    usable = dict(environment)
    for variable in Variable:
        try:
            Settings.from_environment({variable: environment.get(variable, "")})
        except ConfigurationError as error:
            checks.append(Check.failed(_CONFIGURATION, error))
            del usable[variable]
    settings = Settings.from_environment(usable)
    for variable in Variable:
        if variable in usable or variable not in environment:
            source = options.get(variable) or (variable if usable.get(variable) else "default")
            checks.append(_value(variable, source, settings))
    checks += [_unknown(name) for name in unknown_variables(environment)]
    return settings, checks


def _value(variable: Variable, source: str, settings: Settings) -> Check:
    if variable in _URLS:
        try:
            value = _URLS[variable](settings)
        except SealstoreError as error:
            return Check.failed(_CONFIGURATION, error)
    else:
        attribute = _ATTRIBUTES.get(variable, variable.removeprefix(PREFIX).lower())
        value = getattr(settings, attribute)
    shown = "not set" if value is None else str(value)
    return Check.ok(
        _CONFIGURATION,
        f"{variable}: {shown} ({source})",
        variable=variable,
        value=shown,
        source=source,
    )


def _database(settings: Settings) -> str | None:
    if settings.database_url is None:
        return None
    engine = catalogue_engine(settings.path, settings.database_url)
    engine.dispose()
    return engine.place


def _access_log(settings: Settings) -> str | None:
    if settings.access_log_url is None:
        return None
    rows = access_rows(settings, settings.path)
    rows.engine.dispose()
    return rows.location


_URLS: Final[Mapping[Variable, Callable[[Settings], str | None]]] = {
    Variable.DATABASE_URL: _database,
    Variable.ACCESS_LOG_URL: _access_log,
}
"""What may hold a password, and how it is shown without."""


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Variables that look like sealstore's and are none: misspelled, most likely."""
    given = os.environ if environment is None else environment
    known = set(Variable)
    return sorted(name for name in given if name.startswith(PREFIX) and name not in known)


def _unknown(name: str) -> Check:
    close = difflib.get_close_matches(name, list(Variable), n=1)
    meant = f" {close[0]} may be meant." if close else ""
    return Check.wrong(
        _CONFIGURATION,
        f"{name} is set, and sealstore reads no such variable.{meant}",
        f"unset {name}",
        variable=name,
    )


# ── keys ──────────────────────────────────────────────────────────────────────


_KEYRING: Final = "keyring"


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
            checks.append(Check.failed(_KEYRING, error))
        else:
            checks.append(Check.ok(_KEYRING, "no keyring file; the mounted secret is the key"))
    except KeyringError as error:
        checks.append(Check.failed(_KEYRING, error))
    else:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = f"{path}, {len(keyring)} in it, mode {mode:04o}, outside the repository"
        checks.append(Check.ok(_KEYRING, text))
        if _is_shared(path.absolute().parent):
            text = "others can write to the keyring's folder, and so replace the keyring"
            fix = f"chmod go-w {quoted(path.absolute().parent)}; it must belong to you"
            checks.append(Check.wrong(_KEYRING, text, fix))
    if settings.hmac_key_path is not None:
        try:
            mounted = read_hmac_key_file(settings.hmac_key_path, outside=settings.path)
        except KeyringError as error:
            checks.append(Check.failed(_KEYRING, error))
        else:
            keyring = merged(keyring, [mounted])
            checks.append(Check.ok(_KEYRING, f"key {mounted.key_id} is the mounted secret"))
    checks += [_describe(key) for key in keyring]
    return keyring, checks


def _is_shared(folder: Path) -> bool:
    status = folder.stat()
    # Whoever may write to the folder may put another keyring there. In a sticky one, such as /tmp,
    # only the owner may.
    others_write = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    return bool(others_write) or status.st_uid not in (0, os.geteuid())


def _describe(key: Key) -> Check:
    repositories = key.scope.repositories
    return Check.ok(
        _KEYRING,
        f"key {key.key_id}: {key.algorithm}, {key.state}, {', '.join(sorted(key.roles))}, for"
        f" {'every repository' if repositories is None else ', '.join(sorted(repositories))}",
        keyId=key.key_id,
        algorithm=key.algorithm,
        state=str(key.state),
        roles=sorted(key.roles),
        repositories="any" if repositories is None else sorted(repositories),
    )


def check_signing(keyring: Keyring, repository: str | None) -> Iterator[Check]:
    """Whether there are keys to sign with.

    Args:
        keyring: the keys.
        repository: id of the repository; None for one that is still to be made.
    """
    if not len(keyring):
        return
    if not any(key.material.can_sign for key in keyring):
        yield Check.ok("signing", "verify-only keyring: it loads, and stores nothing")
        return
    for role in (Role.STORE, Role.ADMIN):
        try:
            signer = keyring.signer(role, repository)
        except NoSigningKeyError as error:
            what_for = "any" if repository is None else repository
            fix = f"sealstore keys generate --role {role} --repository {what_for}"
            yield Check.wrong("signing", error.message, fix, role=str(role))
        else:
            text = f"{role}: key {signer.key_id}"
            yield Check.ok("signing", text, role=str(role), keyId=signer.key_id)


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


# ── what is remembered ────────────────────────────────────────────────────────


_TRUST: Final = "trust state"


def check_trust(settings: Settings, identity: RepositorySettings | None) -> Check:
    """Whether something is remembered, can be used, and is of the repository that is here now.

    Args:
        settings: name the repository and the trust state.
        identity: what its verified settings say; None where they could not be verified.
    """
    try:
        record = settings.trust_store().expected()
    except (FirstUseError, TrustStateError) as error:
        return Check.failed(_TRUST, error)
    if record is None:
        return Check.ok(_TRUST, "nothing is remembered of this repository yet")
    point = record.point
    if identity is not None and identity.repository != point.repository:
        return Check.wrong(
            _TRUST,
            f"this is repository {identity.repository}; {point.repository} was seen here before",
            "find out who exchanged it; if that was on purpose: sealstore trust accept",
            repository=point.repository,
        )
    return Check.ok(
        _TRUST,
        f"size {point.size} of repository {point.repository}, signed {point.time}, was seen here",
        repository=point.repository,
        size=point.size,
        time=point.time,
    )
