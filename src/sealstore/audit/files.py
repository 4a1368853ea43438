"""Files that an auditor reads and writes: capped, and whole or not there at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sealstore.errors import LedgerFormatError, StorageError


def read_capped(path: Path, cap: int, what: str) -> bytes:
    """The content of a file of at most ``cap`` bytes.

    Raises:
        StorageError: it cannot be read.
        LedgerFormatError: it is larger.
    """
    with opened(path, what) as file:
        data = file.read(cap + 1)
    if len(data) > cap:
        raise LedgerFormatError(f"The {what} has more than {cap} bytes.")
    return data


@contextmanager
def opened(path: Path, what: str) -> Iterator[BinaryIO]:
    """A file to read.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise StorageError(
            f"The {what} cannot be read ({error.strerror}).", path=path, hint="check {path}."
        ) from error


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file that appears under its name when the block ends without an error, synced.

    Args:
        path: its name.
        force: whether it may replace one that is there.

    Raises:
        StorageError: it is there, or the file system refused.
    """
    target = path.absolute()
    if not force and os.path.lexists(target):
        raise StorageError("The file exists.", path=target, hint="--force replaces {path}.")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:64]}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise StorageError(
            f"The file cannot be written ({error.strerror}).", path=target, hint="check {path}."
        ) from error


def _umask() -> int:
    # There is no way to read it but to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
