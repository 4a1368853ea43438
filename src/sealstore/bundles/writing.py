"""Writing a bundle: a new file beside its place, synced; there when it is whole, or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sealstore.bundles.format import Evidence, sealed_index
from sealstore.errors import BundleRefusedError, StorageError

Write = Callable[[bytes | memoryview], object]
CopyPayload = Callable[[str, Write], object]
"""Writes the payload with this SHA-256, or raises."""

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})
"""What file systems such as FAT, which memory sticks have, answer to a hard link."""


def write_bundle(path: Path, evidence: Evidence, copy: CopyPayload, *, replace: bool) -> int:
    """Write a bundle, mode 0600.

    Args:
        path: the file.
        evidence: all of it but the payloads.
        copy: writes one payload; asked for each in the order of the file.
        replace: whether a file that is there gives way.

    Returns:
        Bytes of the file.

    Raises:
        BundleFormatError: nobody would read such a bundle; nothing was written.
        BundleRefusedError: there is a file, and it is not to be replaced.
        StorageError: the file system refused; what was there is there still.
    """
    lead, parts = sealed_index(evidence)
    if not replace and os.path.lexists(path):
        raise _exists(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=".sealstore-", dir=path.parent)
        staged = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                for part in (lead, *parts):
                    stream.write(part)
                for sha256 in sorted(evidence.payloads):
                    copy(sha256, stream.write)
                stream.flush()
                os.fsync(descriptor)
                size = stream.tell()
            _place(staged, path, replace=replace)
            _sync_folder(path.parent)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"The bundle cannot be written ({error.strerror}).", path=path, hint="check {path}."
        ) from error
    return size


def _place(staged: Path, path: Path, *, replace: bool) -> None:
    if not replace:
        try:
            # A link, unlike a renaming, never replaces what appeared there meanwhile.
            path.hardlink_to(staged)
        except FileExistsError:
            raise _exists(path) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return
        if os.path.lexists(path):
            raise _exists(path)
    staged.replace(path)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _exists(path: Path) -> BundleRefusedError:
    return BundleRefusedError(
        "The file exists already.", path=path, hint="choose another, or replace it with --force."
    )
