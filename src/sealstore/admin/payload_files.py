"""Files from outside as payloads: copied once into memory that nobody can change any more."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealstore import limits
from sealstore.errors import LimitExceededError, PayloadFileError, StorageError
from sealstore.formats.pickling.confinement import inspect_confined
from sealstore.formats.pickling.inspection import Inspection
from sealstore.storage.blobs.reading import copy_sealed

_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A file's bytes, sealed: what is inspected, hashed and stored is this memory.

    Attributes:
        descriptor: of the sealed memory file.
        view: the same memory.
    """

    descriptor: int
    view: memoryview

    def inspect(self) -> Inspection:
        """What loading these bytes would do, found out by a confined process.

        Raises:
            ConfigurationError: the process could not be started.
        """
        return inspect_confined(self.descriptor)


@contextmanager
def payload_file(path: Path) -> Iterator[PayloadFile]:
    """A file's bytes, read once.

    Args:
        path: a regular file; its last part must not be a link.

    Raises:
        PayloadFileError: not a regular file.
        LimitExceededError: larger than any payload may be.
        StorageError: it cannot be read.
    """
    try:
        source = os.open(path, _OPEN)
    except OSError as error:
        raise StorageError(
            f"The file cannot be read ({error.strerror}).", path=path, hint="check {path}."
        ) from error
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise PayloadFileError("This is not a regular file.", path=path, hint="check {path}.")
        if status.st_size > limits.MAX_PAYLOAD_BYTES:
            raise LimitExceededError("The file is larger than any payload may be.", path=path)
        sealed, memory = copy_sealed(source, status.st_size)
    finally:
        os.close(source)
    try:
        yield PayloadFile(sealed, memory.view)
    finally:
        os.close(sealed)
