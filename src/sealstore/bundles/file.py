"""A bundle's file: opened once and its evidence read into memory; or written whole, or not at all.

Nothing is verified here but digests, which find damage; see ``verification``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sealstore import files, named_files
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
    PayloadDigestError,
    PayloadMissingError,
    PayloadSizeError,
)
from sealstore.hints import HINTS
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.local_files import hash_file

# ── reading ──────────────────────────────────────────────────────────────────


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
            with named_files.reading("bundle", self._path):
                hash_file(self._descriptor, size, write, offset=offset).require(digests)
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


_HINT: Final = HINTS[BundleFormatError.code]


@contextmanager
def open_bundle(path: Path) -> Iterator[BundleFile]:
    """A bundle's file, open to read.

    Args:
        path: of a regular file. A link of whoever names it is followed.

    Raises:
        BundleFormatError: it is no bundle, or a damaged one.
        StorageError: it cannot be read.
    """
    with ExitStack() as stack:
        with _reading(path):
            file = stack.enter_context(files.opened(path, follow_links=True)).fileno()
            bundle = BundleFile(file, os.fstat(file).st_size, path)
        yield bundle


def is_bundle(path: Path) -> bool:
    """Whether a file begins as a bundle does.

    Raises:
        StorageError: it cannot be read.
    """
    with _reading(path), files.opened(path, follow_links=True) as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file in errors about a bundle, those of the file system among them."""
    try:
        with named_files.reading("bundle", path):
            yield
    except BundleFormatError as error:
        error.path = os.fspath(path)
        raise


# ── writing ──────────────────────────────────────────────────────────────────


Write = Callable[[bytes | memoryview], object]
CopyPayload = Callable[[str, Write], object]
"""Writes the payload with this SHA-256, or raises."""


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
        StorageError: there is a file, and it is not to be replaced; or the file system refused.
            What was there is there still.
    """
    lead, parts = sealed_index(evidence)
    with (
        named_files.writing("bundle", path),
        named_files.new_file(path, replacing=replace, mode=0o600) as file,
    ):
        for part in (lead, *parts):
            file.write(part)
        for sha256 in sorted(evidence.payloads):
            copy(sha256, file.write)
        return file.tell()
