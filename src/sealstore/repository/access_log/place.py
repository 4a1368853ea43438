"""Where the access log is: a SQLite file of its own in the repository, or what is configured.

It is no part of the catalogue's file, so that loads never wait for stores, and a store never syncs
what loads wrote. A database of its own elsewhere lets loaders mount the repository read-only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from sealstore.errors import ConfigurationError
from sealstore.keys.keyring import Keyring
from sealstore.ledger.points import AccessCheckpoint
from sealstore.repository.access_log.log import AccessLog
from sealstore.repository.settings import Settings
from sealstore.storage.catalogue import AccessRows, catalogue_engine
from sealstore.trust.record import Prove
from sealstore.trust.store import TrustStore

ACCESS_FILE: Final = "access.sqlite3"
_SQLITE: Final = "sqlite:///"


def open_access_log(
    settings: Settings,
    root: Path,
    repository: str,
    keys: Callable[[], Keyring],
    trust: TrustStore,
    *,
    create: bool = False,
) -> AccessLog:
    """The access log of the repository in ``root``; nothing is opened yet.

    Args:
        settings, root, create: as for ``access_rows``.
        repository: the repository's id.
        keys: gives the keys as they are now.
        trust: what this client remembers of the repository, and with it of the log.

    Raises:
        SealstoreError: as ``access_rows``.
    """
    rows = access_rows(settings, root, create=create)
    location = rows.location

    def remembered() -> AccessCheckpoint | None:
        record = trust.read()
        return None if record is None else record.access.get(location)

    def remember(point: AccessCheckpoint, prove: Prove) -> None:
        trust.advance_access(location, point, prove=prove)

    return AccessLog(rows, repository, keys, remembered=remembered, remember=remember)


def access_rows(settings: Settings, root: Path, *, create: bool = False) -> AccessRows:
    """The rows of the access log of the repository in ``root``; nothing is opened yet.

    Args:
        settings: names the database.
        root: the repository's folder.
        create: whether a missing SQLite file is made.

    Raises:
        ConfigurationError: ``MODEL_REPO_ACCESS_LOG_URL`` names no database that can be one.
        MissingExtraError: the driver for PostgreSQL is not installed.
        CatalogueError: SQLite's write-ahead log on a network file system.
    """
    url = settings.access_log_url
    file: Path | None = None
    if url is None:
        url = settings.database_url
        file = root.absolute() / ACCESS_FILE if url is None else None
    elif not url.startswith("postgresql"):
        file, url = _sqlite_file(url), None
    engine = catalogue_engine(
        root if file is None else file.parent,
        url,
        journal=settings.journal,
        create=create,
        file_name=ACCESS_FILE if file is None else file.name,
        relaxed=True,
    )
    # Where a rollback journal is not synced, a power loss can damage SQLite's file itself
    # (sqlite.org/pragma.html, synchronous).
    durable = settings.access_sync == "full" or (file is not None and settings.journal == "delete")
    return AccessRows(engine, file=file, durable=durable)


def _sqlite_file(url: str) -> Path:
    path = unquote(url.removeprefix(_SQLITE))
    # Options would turn off what keeps the log whole, and a relative path means another file in
    # each working folder.
    if not url.startswith(_SQLITE) or not path.startswith("/") or path.endswith("/") or "?" in url:
        raise ConfigurationError(
            "MODEL_REPO_ACCESS_LOG_URL is not the URL of a database that can hold the access log.",
            hint="set it to sqlite:////absolute/path.sqlite3 or postgresql://…, or unset it.",
        )
    return Path(path)
