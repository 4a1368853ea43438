"""Reading a payload's file once, and hashing the very memory that was read into."""

from __future__ import annotations

import os

from sealstore import files, limits
from sealstore.errors import PayloadFileError, PayloadSizeError
from sealstore.storage.blobs.memory import PayloadMemory
from sealstore.storage.blobs.payload_hash import PayloadHash, hashing_aside


def read_hashed(descriptor: int, view: memoryview, computed: PayloadHash) -> None:
    """Fill ``view`` from the file's beginning and feed it to ``computed``.

    Large payloads are read by this thread and hashed by another, side by side: each takes about as
    long as the other, and both release the interpreter lock.

    Raises:
        PayloadSizeError: the file ends before the view does.
        OSError: reading failed.
    """
    if len(view) < limits.PARALLEL_HASH_BYTES:
        fill(descriptor, view, 0)
        computed.update(view)
        return
    with hashing_aside(computed) as hash_next:
        for start in range(0, len(view), limits.READ_CHUNK_BYTES):
            chunk = view[start : start + limits.READ_CHUNK_BYTES]
            fill(descriptor, chunk, start)
            hash_next(chunk)


def read_sealed(descriptor: int, size: int, computed: PayloadHash) -> PayloadMemory:
    """Copy the file into a memfd, seal it, map it, and only then hash what is mapped.

    Raises:
        PayloadSizeError: the file has fewer than ``size`` bytes.
        OSError: copying failed.
    """
    sealed, memory = copy_sealed(descriptor, size)
    os.close(sealed)
    computed.update(memory.view)
    return memory


def copy_sealed(descriptor: int, size: int) -> tuple[int, PayloadMemory]:
    """A sealed memory file with the first ``size`` bytes of a file, and its mapping.

    Returns:
        The descriptor of the sealed memory file, which is the caller's to close, and the mapping.

    Raises:
        PayloadSizeError: the file has fewer bytes.
        OSError: copying failed.
    """
    sealed = os.memfd_create("sealstore", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        copied = 0
        while copied < size:
            count = os.sendfile(sealed, descriptor, copied, size - copied)
            if count == 0:
                raise _truncated(size)
            copied += count
        return sealed, PayloadMemory.sealed(sealed, size)
    except BaseException:
        os.close(sealed)
        raise


def fill(descriptor: int, view: memoryview, offset: int) -> None:
    """Read as many bytes as ``view`` has from a file, beginning at ``offset``.

    Raises:
        PayloadSizeError: the file ends before.
        OSError: reading failed.
    """
    filled = 0
    while filled < len(view):
        count = os.preadv(descriptor, [view[filled:]], offset + filled)
        if count == 0:
            raise _truncated(offset + len(view))
        filled += count


def _truncated(expected: int) -> PayloadSizeError:
    return PayloadSizeError(
        f"The payload's file ended before byte {expected}: it was cut while it was read.",
        hint="restore the payload from a backup.",
    )


def open_regular(name: str, folder: int) -> int:
    """A descriptor of a regular file; what is none is not even opened, since opening may act."""
    try:
        return files.open_regular(name, folder=folder)
    except files.NotRegularFileError as error:
        raise PayloadFileError(
            f"What lies in the payload's place is no payload: {error.strerror}."
        ) from error
