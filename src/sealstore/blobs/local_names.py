"""What the names of files among the payloads say: ``objects/ab/ab12…``."""

from __future__ import annotations

import re
from typing import Final

from sealstore.blobs.contract import FileKind
from sealstore.blobs.folder_walk import FoundFile

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
