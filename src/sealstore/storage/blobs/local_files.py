"""The files among the payloads: what their names say, and how they are hashed, listed and removed.

A load needs none of this.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from sealstore import files, limits
from sealstore.errors import StorageError, storage_errors
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.contract import FileKind, StoredFile, Write
from sealstore.storage.blobs.folder_walk import FoundFile, Removals, walk
from sealstore.storage.blobs.local import open_objects
from sealstore.storage.blobs.payload_hash import DigestName, PayloadHash
from sealstore.storage.blobs.reading import fill

PAYLOAD_MODE: Final = 0o440
FOLDER_MODE: Final = 0o750
SHA256_NAME: Final = re.compile(r"[0-9a-f]{64}")
_FAN_OUT_NAME: Final = re.compile(r"[0-9a-f]{2}")
_SYSTEM_FOLDERS: Final = frozenset({"lost+found"})
"""What a file system puts into its root, where objects/ is a mount of its own."""


def create(root: Path) -> None:
    """Make the folder for payloads. See ``LocalBlobStore.create``."""
    with storage_errors("The folder for payloads cannot be made"):
        (root / "objects").mkdir(mode=FOLDER_MODE, exist_ok=True)


def hash_file(
    descriptor: int, size: int, write: Write | None = None, *, offset: int = 0
) -> PayloadHash:
    """Both digests of ``size`` bytes of a file, in constant memory.

    Args:
        descriptor: of the file.
        size: bytes to hash.
        write: gets the very bytes that are hashed, piece by piece; each until it returns.
        offset: where in the file they begin.

    Raises:
        PayloadSizeError: the file has fewer.
        OSError: reading failed.
    """
    computed = PayloadHash()
    # No larger than the file: many are small, and fresh memory costs as much as hashing it.
    buffer = memoryview(bytearray(min(limits.HASH_CHUNK_BYTES, size)))
    for start in range(0, size, limits.HASH_CHUNK_BYTES):
        chunk = buffer[: min(limits.HASH_CHUNK_BYTES, size - start)]
        fill(descriptor, chunk, offset + start)
        computed.update(chunk)
        if write is not None:
            write(chunk)
    return computed


def both_digests(computed: PayloadHash) -> Digests:
    """What was computed; only for a hash that computes both."""
    return Digests(
        sha256=computed.hexdigest(DigestName.SHA256), blake3=computed.hexdigest(DigestName.BLAKE3)
    )


def sha256s(root: Path) -> Iterator[str]:
    """See ``BlobStore.sha256s``."""
    with storage_errors("The payloads cannot be listed"):
        for folder in sorted(os.listdir(root / "objects")):
            if len(folder) == 2:
                for name in sorted(os.listdir(root / "objects" / folder)):
                    if SHA256_NAME.fullmatch(name) and name.startswith(folder):
                        yield name


def stored_files(root: Path) -> Iterator[StoredFile]:
    """See ``BlobStore.files``."""
    with storage_errors("The payloads cannot be listed"):
        objects = open_objects(root)
        try:
            for found in walk(objects, 1, skipped=_SYSTEM_FOLDERS):
                yield StoredFile(kind_of(found), found)
        finally:
            os.close(objects)


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


@contextmanager
def keeping(root: Path) -> Iterator[None]:
    """See ``BlobStore.keeping``."""
    with ExitStack() as held:
        with storage_errors("The payloads cannot be kept"):
            objects = open_objects(root)
        held.callback(os.close, objects)
        # Not every file system has locks.
        with suppress(OSError):
            held.enter_context(files.holding(objects, shared=True))
        yield


@contextmanager
def removing(root: Path) -> Iterator[Callable[[StoredFile], bool]]:
    """See ``BlobStore.removing``."""
    with ExitStack() as held:
        with storage_errors("A payload cannot be removed"):
            objects = open_objects(root)
        held.callback(os.close, objects)
        _hold_unkept(objects, held)
        removals = Removals(objects)

        def remove(file: StoredFile) -> bool:
            with storage_errors("A payload cannot be removed"):
                return removals.remove(file.found)

        try:
            yield remove
        finally:
            with storage_errors("The removal of payloads cannot be made durable"):
                removals.sync()


def _hold_unkept(objects: int, held: ExitStack) -> None:
    try:
        held.enter_context(files.holding(objects, waiting=False))
    except BlockingIOError:
        raise StorageError(
            "A backup is being made, for which the payloads have to stay.",
            hint="collect again when it has ended.",
        ) from None
    except OSError:
        # A file system without locks: a backup begins again where it misses a payload.
        return
