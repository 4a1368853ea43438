"""The doctor: what is configured, from where, what is wrong, and the command that mends it.

It only looks. Nothing is written, but what SQLite itself needs for reading.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Final

import sealstore
from sealstore.keys.backend import openssl_version
from sealstore.repository import environment as running
from sealstore.repository.settings import Variable
from sealstore.storage.catalogue.sqlite import sqlite_version
from sealstore.storage.layout import REPOSITORY_FILE
from sealstore.upkeep.doctor.check import Check, Level
from sealstore.upkeep.doctor.client import (
    can_store,
    check_configuration,
    check_keyring,
    check_signing,
    check_trust,
)
from sealstore.upkeep.doctor.repository import (
    check_backup,
    check_catalogue,
    check_folders,
    check_head,
    check_leftovers,
    check_settings,
    check_space,
)
from sealstore.upkeep.doctor.runtime import check_hetida, check_writer, check_written

__all__ = ["Check", "Level", "doctor"]

_DISTRIBUTIONS: Final = ("SQLAlchemy", "alembic", "cryptography", "joblib", "blake3", "msgspec")


def doctor(
    environment: Mapping[str, str], options: Mapping[Variable, str] | None = None
) -> list[Check]:
    """Look at everything that sealstore relies on here.

    Args:
        environment: the environment variables, as the options of the command line change them.
        options: for each variable that an option set, the option's name.
    """
    settings, checks = check_configuration(environment, options or {})
    keyring, key_checks = check_keyring(settings)
    checks += key_checks
    identity, settings_checks = check_settings(settings, keyring)
    checks += settings_checks
    checks.append(check_trust(settings, identity))
    checks += check_signing(keyring, None if identity is None else identity.repository)
    root = settings.path.absolute()
    if (root / REPOSITORY_FILE).exists():
        writing = can_store(keyring)
        checks += check_catalogue(settings, writing=writing)
        if all(check.level is not Level.WRONG for check in checks):
            checks += check_head(settings)
        checks += check_folders(root, writing=writing)
        checks += check_leftovers(root)
        checks.append(check_space(root))
        checks.append(check_backup(settings, keyring, writing=writing))
        checks += check_written(settings)
    checks += check_hetida(root, environment)
    checks.append(check_writer())
    checks.append(_versions())
    return checks


def _versions() -> Check:
    versions = {
        "sealstore": sealstore.__version__,
        "Python": platform.python_version(),
        "SQLite": sqlite_version(),
        "OpenSSL": openssl_version().removeprefix("OpenSSL ").split(" ")[0],
    }
    for distribution in _DISTRIBUTIONS:
        versions[distribution] = running.installed_version(distribution) or "not installed"
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Check.ok("versions", text, **versions)
