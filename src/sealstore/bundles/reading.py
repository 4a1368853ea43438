"""Reading a bundle: the file is opened once, and its evidence read once, into memory.

Nothing is verified here but digests, which find damage; see ``verification``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sealstore.bundles.format import (
    HEADER_BYTES,
    MAGIC,
    Evidence,
    read_evidence,
    read_header,
    read_index,
)
from sealstore.errors import (
    BundleFormatError,
    PayloadDigestError,
    PayloadMissingError,
    PayloadSizeError,
    StorageError,
)
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.reading import hash_file

# O_NONBLOCK: opening a FIFO must not wait for a writer.
_OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class BundleFile:
    """An open bundle.

    Args:
        descriptor: of the file; stays the caller's.
        size: bytes of it.
        path: its name, for messages.

    Attributes:
        evidence: all that it holds but the payloads.
        payload_bytes: bytes of all payloads.

    Raises:
        BundleFormatError: it is no bundle, or a damaged one.
        OSError: reading failed.
    """

    def __init__(self, descriptor: int, size: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        # Each size is known to fit into the file before memory is taken for it.
        index_size, digest = read_header(self._read(0, min(HEADER_BYTES, size)), size)
        index = read_index(self._read(HEADER_BYTES, index_size), digest, size)
        offset = HEADER_BYTES + index_size
        parts = []
        for part in index.evidence():
            parts.append(self._read(offset, part.size))
            offset += part.size
        self.evidence: Evidence = read_evidence(index, parts)
        self.payload_bytes = index.payload_bytes
        self._payloads: dict[str, tuple[int, int]] = {}
        for part in index.payloads:
            self._payloads[part.sha256] = (offset, part.size)
            offset += part.size

    def copy_payload(
        self, digests: Digests, size: int, write: Callable[[memoryview], object] | None = None
    ) -> None:
        """Hand a payload on piece by piece, and return if both digests hold.

        Args:
            digests: the signed digests.
            size: the signed size in bytes.
            write: gets each piece, which is valid until it returns. Nothing is verified before this
                method has returned.

        Raises:
            PayloadMissingError, PayloadSizeError, PayloadDigestError: it is not the signed one.
            StorageError: reading failed.
        """
        found = self._payloads.get(digests.sha256)
        if found is None:
            raise PayloadMissingError("The payload is not in the bundle.", hint=_HINT)
        offset, stored = found
        if stored != size:
            raise PayloadSizeError(
                f"The payload has {stored} bytes in the bundle; {size} were signed.", hint=_HINT
            )
        try:
            hash_file(self._descriptor, size, write, offset=offset).require(digests)
        except OSError as error:
            raise _unreadable(self._path, error) from error
        except (PayloadSizeError, PayloadDigestError) as error:
            error.hint = _HINT
            raise

    def _read(self, offset: int, size: int) -> bytes:
        pieces = []
        while size:
            piece = os.pread(self._descriptor, size, offset)
            if not piece:
                raise BundleFormatError("The bundle was cut while it was read.")
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)


_HINT: Final = BundleFormatError.default_hint


@contextmanager
def open_bundle(path: Path) -> Iterator[BundleFile]:
    """A bundle's file, open to read.

    Args:
        path: of a regular file. A link of whoever names it is followed.

    Raises:
        BundleFormatError: it is no bundle, or a damaged one.
        StorageError: it cannot be read.
    """
    with _reading_errors(path):
        descriptor = os.open(path, _OPEN)
    try:
        with _reading_errors(path):
            bundle = BundleFile(descriptor, _size_of_regular(descriptor, path), path)
        yield bundle
    finally:
        os.close(descriptor)


def is_bundle(path: Path) -> bool:
    """Whether a file begins as a bundle does.

    Raises:
        BundleFormatError: it is no regular file.
        StorageError: it cannot be read.
    """
    with _reading_errors(path):
        descriptor = os.open(path, _OPEN)
        try:
            _size_of_regular(descriptor, path)
            return os.pread(descriptor, len(MAGIC), 0) == MAGIC
        finally:
            os.close(descriptor)


@contextmanager
def _reading_errors(path: Path) -> Iterator[None]:
    """Tell what the file system refuses as an error about the bundle, and name the file."""
    try:
        yield
    except OSError as error:
        raise _unreadable(path, error) from error
    except BundleFormatError as error:
        error.path = os.fspath(path)
        raise


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"The file cannot be read ({error.strerror}).", path=path, hint="check the file {path}."
    )


def _size_of_regular(descriptor: int, path: Path) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise BundleFormatError("This is not a regular file.", path=path, hint="check {path}.")
    return status.st_size
