"""A bundle's file: opened once and its evidence read into memory; or written whole, or not at all.

Nothing is verified here but digests, which find damage; see ``verification``.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
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
    sealed_index,
)
from sealstore.errors import (
    BundleFormatError,
    BundleRefusedError,
    PayloadDigestError,
    PayloadMissingError,
    PayloadSizeError,
    StorageError,
)
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.reading import hash_file

# ── reading ──────────────────────────────────────────────────────────────────


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


# ── writing ──────────────────────────────────────────────────────────────────


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
