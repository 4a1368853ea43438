"""The doctor: what is configured, from where, what is wrong, and the command that mends it.

It only looks. Nothing is written, but what SQLite itself needs for reading.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

import sealstore
from sealstore import limits
from sealstore.errors import SealstoreError
from sealstore.formats.pickling.writer import trial
from sealstore.hetida.legacy_folder import LATEST_SUFFIX, splits
from sealstore.keys.backend import openssl_version
from sealstore.ledger.history import decode_history_entry
from sealstore.repository import environment as running
from sealstore.repository.assembly import open_catalogue
from sealstore.repository.settings import Settings, Variable
from sealstore.repository.storing import FALLBACK
from sealstore.storage.catalogue.chain_rows import newest_rows
from sealstore.storage.catalogue.database_facts import sqlite_version
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


# ── hetida designer ───────────────────────────────────────────────────────────


_HETIDA: Final = "hetida"
_RUNTIME: Final = "hetdesrun"
_INSTALL: Final = (
    "add to the runtime's hetdesrun_config.py: import sealstore.hetida; sealstore.hetida.install()"
)
_SECONDS: Final = 120
_NOT_INSTALLED: Final = 3
_PROBE: Final = f"""
import sys
sys.path[:] = sys.argv[1:]
import {_RUNTIME}
from sealstore.hetida import is_installed
sys.exit(0 if is_installed() else {_NOT_INSTALLED})
"""


def check_hetida(root: Path, environment: Mapping[str, str]) -> list[Check]:
    """Whether anything still stores or loads with hetida designer's own functions.

    Args:
        root: the repository's folder, in which these write files called ``name_tag``.
        environment: of the runtime, if there is one here. It is imported in a child process, as
            its workers import it, so that the site's ``hetdesrun_config.py`` runs.
    """
    checks = []
    files = _stock_files(root)
    if files:
        checks.append(
            Check.wrong(
                _HETIDA,
                f"hetida designer's stock functions have written here: {len(files)} entries that"
                f" nobody signed, such as {files[0].name}",
                f"{_INSTALL}; then bring them in with 'sealstore adopt', and move them away",
                paths=[str(path) for path in files[:100]],
            )
        )
    if PathFinder.find_spec(_RUNTIME) is not None:
        checks.append(_check_runtime(environment))
    return checks


def _stock_files(root: Path) -> list[Path]:
    try:
        entries = sorted(root.iterdir())
    except OSError:
        # Told where the folders are looked at.
        return []
    return [
        entry
        for entry in entries
        if (entry.is_symlink() or entry.is_file())
        and (splits(entry.name) or entry.name.endswith(LATEST_SUFFIX))
    ]


def _check_runtime(environment: Mapping[str, str]) -> Check:
    try:
        done = subprocess.run(  # noqa: S603 (this interpreter, and a constant)
            [sys.executable, "-c", _PROBE, *sys.path],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        code = done.returncode
    except subprocess.TimeoutExpired:
        code = -1
    if code == 0:
        return Check.ok(_HETIDA, "its Store Object and Load Object use sealstore here")
    if code == _NOT_INSTALLED:
        text = "its runtime here would store and load with its stock functions, unsigned"
        return Check.wrong(_HETIDA, text, _INSTALL)
    text = "its runtime is here and cannot be imported: what its functions are is not known"
    fix = "run 'sealstore doctor' with the runtime's own environment and in its folder"
    return Check.wrong(_HETIDA, text, fix)


# ── the writer ────────────────────────────────────────────────────────────────


_WRITER: Final = "writer"
_WRITTEN: Final = "written"


def check_writer() -> Check:
    """Whether joblib has to write what is stored from here, and why.

    A process that stores counts its own fallbacks, and this is another process. So representative
    objects are written, by the interpreter and the packages that run here.
    """
    reasons = {kind: reason for kind, reason in trial().items() if reason is not None}
    if not reasons:
        return Check.ok(_WRITER, "the fast writer writes every kind of object", fallbacks=0)
    told = "; ".join(f"{kind} ({reason})" for kind, reason in reasons.items())
    return Check.note(
        _WRITER,
        f"joblib writes, as well and more slowly: {told}",
        "report it with the versions below; the logger 'sealstore.formats.pickling.writer' names"
        " each such store",
        fallbacks=len(reasons),
        reasons=reasons,
    )


def check_written(settings: Settings) -> Iterator[Check]:
    """How many of the newest stores joblib had to write, by the history's own words.

    They are not proven here, and decide nothing. A history that cannot be read is told elsewhere.
    """
    try:
        reasons, looked_at = _newest_fallbacks(settings)
    except SealstoreError:
        return
    count = reasons.total()
    text = f"joblib wrote {count} of the payloads of the newest {looked_at} changes"
    if not count:
        yield Check.ok(_WRITTEN, text, written=0, changes=looked_at)
        return
    told = "; ".join(f"{reason} ({times})" for reason, times in reasons.most_common())
    yield Check.note(
        _WRITTEN,
        f"{text}, as well and more slowly: {told}",
        "report the reasons with the versions below; loads of them are as fast as of others",
        written=count,
        changes=looked_at,
        reasons=dict(reasons),
    )


def _newest_fallbacks(settings: Settings) -> tuple[Counter[str], int]:
    catalogue = open_catalogue(settings.path.absolute(), settings)
    try:
        with catalogue.read() as rows:
            newest = newest_rows(rows.history, limit=limits.MAX_LIST_ROWS)
    finally:
        catalogue.engine.dispose()
    entries = [decode_history_entry(row.entry, row.sequence) for row in newest]
    reasons = (entry.details.get(FALLBACK) for entry in entries)
    return Counter(reason for reason in reasons if isinstance(reason, str)), len(newest)
