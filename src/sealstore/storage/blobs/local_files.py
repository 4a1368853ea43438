"""Files among the payloads, ``objects/ab/ab12…``: what their names say, and how they are opened."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import Final

from sealstore.errors import PayloadFileError
from sealstore.storage.blobs.contract import FileKind
from sealstore.storage.blobs.folder_walk import FoundFile

PAYLOAD_MODE: Final = 0o440
FOLDER_MODE: Final = 0o750
SHA256_NAME: Final = re.compile(r"[0-9a-f]{64}")
_FAN_OUT_NAME: Final = re.compile(r"[0-9a-f]{2}")
# O_NONBLOCK: opening a planted FIFO must not wait for a writer.
_OPEN_PAYLOAD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


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


def open_regular(name: str, folder: int) -> int:
    """A descriptor of a regular file; what is none is not even opened, since opening may act."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise PayloadFileError("What lies in the payload's place is not a regular file.")
    try:
        descriptor = os.open(name, _OPEN_PAYLOAD, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise PayloadFileError("What lies in the payload's place is a symbolic link.") from None
    # Again on what was opened: it may have been exchanged in between.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PayloadFileError("What lies in the payload's place is not a regular file.")
    return descriptor
