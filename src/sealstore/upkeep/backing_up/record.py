"""What this client remembers of its last backup, for ``doctor``; beside its trust state."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from sealstore.errors import TrustStateFormatError, storage_errors
from sealstore.repository.settings import Settings
from sealstore.signed.statement import UtcTime

_SUFFIX: Final = ".backup"
_MAX_BYTES: Final = 16 * 1024


class BackupRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The last backup that was made from here.

    Attributes:
        at: when, UTC.
        folder: where to.
        snapshot: its name there.
        epoch, size: of the head that it holds.
        key_id: the key that signed that head.
    """

    at: UtcTime
    folder: str
    snapshot: str
    epoch: int
    size: int
    key_id: str


_decoder: Final = msgspec.json.Decoder(BackupRecord)


def remember_backup(settings: Settings, record: BackupRecord) -> None:
    """Remember ``record`` in place of an earlier one.

    Raises:
        StorageError: the file system refused.
    """
    path = _path(settings)
    staged = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with storage_errors("The backup cannot be remembered"):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(record))
                file.flush()
                os.fsync(descriptor)
            os.replace(staged, path)
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(staged)
            raise


def last_backup(settings: Settings) -> BackupRecord | None:
    """The last backup that was made from here; None if there was none.

    Raises:
        StorageError: the file cannot be read.
        TrustStateFormatError: it is none of sealstore's.
    """
    with storage_errors("What is remembered of the last backup cannot be read"):
        try:
            descriptor = os.open(
                _path(settings), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(_MAX_BYTES)
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise TrustStateFormatError(
            "What is remembered of the last backup does not decode.",
            path=_path(settings),
            hint="remove {path}, and back up again.",
        ) from error


def _path(settings: Settings) -> Path:
    return settings.trust_store().path.with_suffix(_SUFFIX)
