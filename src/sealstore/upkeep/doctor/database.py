"""The catalogue's database: schema, journal, file system."""

from __future__ import annotations

import os
from typing import Final

from sealstore import limits
from sealstore.errors import CatalogueError, SealstoreError
from sealstore.repository.assembly import open_catalogue
from sealstore.repository.settings import Settings
from sealstore.storage.catalogue import ListFilter, require_current_schema, schema_revision
from sealstore.storage.catalogue.engine import SQLITE_FILE, filesystem_type
from sealstore.storage.catalogue.inspection import journal_mode
from sealstore.upkeep.doctor.check import Check, quoted

_TOPIC: Final = "catalogue"
_LOST: Final = (
    "check permissions and free space; if the file is lost or damaged: 'sealstore restore' from a"
    " backup, or 'sealstore rebuild' from what is signed"
)
_LARGE_WAL_BYTES: Final = 64 * limits.MIB


def check_catalogue(settings: Settings, *, writing: bool) -> list[Check]:
    """Whether the catalogue can be used, and how.

    Args:
        settings: names it.
        writing: whether anything is to be stored from here.
    """
    root = settings.path.absolute()
    try:
        catalogue = open_catalogue(root, settings)
        try:
            require_current_schema(catalogue.engine)
            revision = schema_revision(catalogue.engine)
            count = catalogue.count(ListFilter())
            mode = journal_mode(catalogue.engine)
        finally:
            catalogue.engine.dispose()
    except CatalogueError as error:
        if settings.database_url is None and "'sealstore doctor'" in error.hint:
            return [Check.wrong(_TOPIC, error.message, _LOST, code=error.code)]
        return [Check.failed(_TOPIC, error)]
    except SealstoreError as error:
        return [Check.failed(_TOPIC, error)]
    checks = [
        Check.ok(
            _TOPIC, f"{count} artifact{'s' * (count != 1)}, schema {revision}", artifacts=count
        )
    ]
    if mode is not None:
        checks += _check_sqlite(settings, mode, writing=writing)
    return checks


def _check_sqlite(settings: Settings, mode: str, *, writing: bool) -> list[Check]:
    root = settings.path.absolute()
    file = root / SQLITE_FILE
    kind = filesystem_type(root) or "unknown"
    text = f"SQLite, journal {mode}, on file system {kind}"
    checks = [Check.ok(_TOPIC, text, journal=mode, fileSystem=kind)]
    if mode != settings.journal:
        checks.append(
            Check.note(
                _TOPIC,
                f"its journal is '{mode}', and '{settings.journal}' is configured",
                f"while nothing uses it: sqlite3 {quoted(file)} 'PRAGMA journal_mode=wal'",
            )
        )
    if writing and not os.access(file, os.W_OK):
        text = f"{file} cannot be written by this user"
        checks.append(Check.wrong(_TOPIC, text, f"chmod u+w {quoted(file)}"))
    wal = file.with_name(f"{SQLITE_FILE}-wal")
    size = wal.stat().st_size if wal.is_file() else 0
    if size > _LARGE_WAL_BYTES:
        checks.append(
            Check.note(
                _TOPIC,
                f"its write-ahead log has grown to {size / 1e6:.0f} MB: some reader never ends",
                f"end it, then: sqlite3 {quoted(file)} 'PRAGMA wal_checkpoint(TRUNCATE)'",
                walBytes=size,
            )
        )
    return checks
