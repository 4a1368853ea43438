"""Everything that a trust folder remembers, for its operator."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealstore import limits
from sealstore.errors import TrustStateError, TrustStateFormatError
from sealstore.trust import files
from sealstore.trust.record import TrustRecord, decode_any_record
from sealstore.trust.store import file_name

_FILE_NAME: Final = re.compile(r"[0-9a-f]{64}\.json")


@dataclass(frozen=True, slots=True)
class KnownLocation:
    """A file of a trust folder.

    Attributes:
        path: of the file.
        found: what it remembers, or why it cannot be read.
    """

    path: Path
    found: TrustRecord | TrustStateError


def known_locations(folder: Path) -> list[KnownLocation]:
    """Everything that is remembered in a folder, by file name; nothing where there is none.

    Raises:
        TrustStateError: the folder cannot be read or trusted.
    """
    folder = folder.absolute()
    if not os.path.lexists(folder):
        return []
    with files.opened(folder, None) as opened:
        with files.refused("read", folder):
            names = sorted(filter(_FILE_NAME.fullmatch, os.listdir(opened.descriptor)))
        return [_known_location(opened, name) for name in names]


def _known_location(folder: files.Folder, name: str) -> KnownLocation:
    path = folder.path / name
    try:
        found = folder.read(name, limits.MAX_TRUST_STATE_BYTES)
        record = decode_any_record(b"" if found is None else found[0])
        if file_name(record.location) != name:
            raise TrustStateFormatError("The trust state is that of another location.")
    except TrustStateError as error:
        error.path = os.fspath(path)
        return KnownLocation(path, error)
    return KnownLocation(path, record)
