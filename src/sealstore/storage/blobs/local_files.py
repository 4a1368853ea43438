"""Files among the payloads, ``objects/ab/ab12…``: what their names say, and how they are opened."""

from __future__ import annotations

import re
from typing import Final

from sealstore.storage.blobs.contract import FileKind
from sealstore.storage.blobs.folder_walk import FoundFile

PAYLOAD_MODE: Final = 0o440
FOLDER_MODE: Final = 0o750
SHA256_NAME: Final = re.compile(r"[0-9a-f]{64}")
_FAN_OUT_NAME: Final = re.compile(r"[0-9a-f]{2}")


def kind_of(found: FoundFile) -> FileKind:
    """What a file that was found below ``objects/`` is."""
    if not found.folders:
        if found.is_folder and _FAN_OUT_NAME.fullmatch(found.name):
            return FileKind.FOLDER
        return FileKind.STAGING if found.is_staging else FileKind.FOREIGN
    [folder] = found.folders
    payload = found.name.partition(".")[0]
    if SHA256_NAME.fullmatch(payload) and payload.startswith(folder):
        if found.name == payload and found.is_regular:
            return FileKind.PAYLOAD
        if found.is_set_aside:
            return FileKind.SET_ASIDE
    return FileKind.FOREIGN
