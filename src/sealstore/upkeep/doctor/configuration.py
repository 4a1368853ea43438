"""What is configured, and where each value comes from."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Final

from sealstore.errors import ConfigurationError, SealstoreError
from sealstore.repository.access_log import access_rows
from sealstore.repository.settings import PREFIX, Settings, Variable, unknown_variables
from sealstore.storage.catalogue import catalogue_engine
from sealstore.storage.catalogue.inspection import database_place
from sealstore.upkeep.doctor.check import Check

_TOPIC: Final = "configuration"
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
            checks.append(Check.failed(_TOPIC, error))
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
            return Check.failed(_TOPIC, error)
    else:
        attribute = _ATTRIBUTES.get(variable, variable.removeprefix(PREFIX).lower())
        value = getattr(settings, attribute)
    shown = "not set" if value is None else str(value)
    return Check.ok(
        _TOPIC, f"{variable}: {shown} ({source})", variable=variable, value=shown, source=source
    )


def _database(settings: Settings) -> str | None:
    if settings.database_url is None:
        return None
    engine = catalogue_engine(settings.path, settings.database_url)
    engine.dispose()
    return database_place(engine)


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


def _unknown(name: str) -> Check:
    close = difflib.get_close_matches(name, list(Variable), n=1)
    meant = f" {close[0]} may be meant." if close else ""
    return Check.wrong(
        _TOPIC,
        f"{name} is set, and sealstore reads no such variable.{meant}",
        f"unset {name}",
        variable=name,
    )
