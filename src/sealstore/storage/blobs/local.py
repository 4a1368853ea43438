"""Payloads as files: ``objects/ab/ab12…``, mode 0440, never modified.

Written without a name (``O_TMPFILE``), synced, then linked, then the folder synced, so that a crash
leaves a whole payload or none. Read through folder handles with ``O_NOFOLLOW``, once, into memory.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sealstore import files
from sealstore.errors import (
    PayloadFileError,
    PayloadMissingError,
    PayloadSizeError,
    StorageError,
    storage_errors,
)
from sealstore.files import OPEN_FOLDER
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.memory import HAS_SEALED_MEMORY, PayloadMemory, VerifiedPayload
from sealstore.storage.blobs.payload_hash import DigestName, PayloadHash, threads_for
from sealstore.storage.blobs.reading import hash_file, open_regular, read_hashed, read_sealed

if TYPE_CHECKING:
    from sealstore.storage.blobs.contract import StagedBlob, StoredFile, Write

_SYSTEM_FOLDERS: Final = frozenset({"lost+found"})
"""What a file system puts into its root, where objects/ is a mount of its own."""


class LocalBlobStore:
    """Payloads in ``objects/`` of a repository's folder.

    Args:
        repository: the repository's folder. Only names relative to it are used, so it can move.
    """

    def __init__(self, repository: Path) -> None:
        self._root = repository

    def create(self) -> None:
        """Make the folder ``objects/``.

        Raises:
            StorageError: the file system refused.
        """
        from sealstore.storage.blobs.local_files import FOLDER_MODE

        with storage_errors("The folder for payloads cannot be made"):
            (self._root / "objects").mkdir(mode=FOLDER_MODE, exist_ok=True)

    def stage(self) -> AbstractContextManager[StagedBlob]:
        """See ``BlobStore.stage``."""
        return self._stage()

    @contextmanager
    def _stage(self) -> Iterator[StagedBlob]:
        from sealstore.storage.blobs.local_staging import LocalStagedBlob

        with storage_errors("The payload cannot be staged"):
            objects = self._open_objects()
        try:
            with storage_errors("The payload cannot be staged"):
                staged = LocalStagedBlob(objects)
            try:
                yield staged
            finally:
                staged.discard()
        finally:
            os.close(objects)

    def read(
        self, digests: Digests, size: int, *, check: DigestName, sealed: bool = False
    ) -> VerifiedPayload:
        """See ``BlobStore.read``."""
        with self._open_payload(digests, size) as descriptor:
            computed = PayloadHash(check, threads=threads_for(size))
            if sealed and size and HAS_SEALED_MEMORY:
                memory = read_sealed(descriptor, size, computed)
            else:
                memory = PayloadMemory.private(size)
                read_hashed(descriptor, memory.view, computed)
        return VerifiedPayload(memory, computed, digests)

    def check(self, digests: Digests, size: int) -> None:
        """See ``BlobStore.check``."""
        with self._open_payload(digests, size) as descriptor:
            hash_file(descriptor, size).require(digests)

    def copy(self, digests: Digests, size: int, write: Write) -> None:
        """See ``BlobStore.copy``."""
        with self._open_payload(digests, size) as descriptor:
            hash_file(descriptor, size, write).require(digests)

    def sha256s(self) -> Iterator[str]:
        """See ``BlobStore.sha256s``."""
        from sealstore.storage.blobs.local_files import SHA256_NAME

        with storage_errors("The payloads cannot be listed"):
            for folder in sorted(os.listdir(self._root / "objects")):
                if len(folder) == 2:
                    for name in sorted(os.listdir(self._root / "objects" / folder)):
                        if SHA256_NAME.fullmatch(name) and name.startswith(folder):
                            yield name

    def files(self) -> Iterator[StoredFile]:
        """See ``BlobStore.files``."""
        from sealstore.storage.blobs.contract import StoredFile
        from sealstore.storage.blobs.folder_walk import walk
        from sealstore.storage.blobs.local_files import kind_of

        with storage_errors("The payloads cannot be listed"):
            objects = self._open_objects()
            try:
                for found in walk(objects, 1, skipped=_SYSTEM_FOLDERS):
                    yield StoredFile(kind_of(found), found)
            finally:
                os.close(objects)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """See ``BlobStore.keeping``."""
        with ExitStack() as held:
            with storage_errors("The payloads cannot be kept"):
                objects = self._open_objects()
            held.callback(os.close, objects)
            # Not every file system has locks.
            with suppress(OSError):
                held.enter_context(files.holding(objects, shared=True))
            yield

    @contextmanager
    def removing(self) -> Iterator[Callable[[StoredFile], bool]]:
        """See ``BlobStore.removing``."""
        from sealstore.storage.blobs.folder_walk import Removals

        with ExitStack() as held:
            with storage_errors("A payload cannot be removed"):
                objects = self._open_objects()
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

    def close(self) -> None:
        """See ``BlobStore.close``: no handle is held between calls."""

    def _open_objects(self) -> int:
        with files.opened_folder(self._root) as root:
            return os.open("objects", OPEN_FOLDER, dir_fd=root)

    @contextmanager
    def _open_payload(self, digests: Digests, size: int) -> Iterator[int]:
        """A descriptor of the payload's file, a regular one of the right size."""
        name = digests.sha256
        folders: list[int] = []
        with storage_errors("The payload cannot be read"):
            try:
                folders.append(self._open_objects())
                folders.append(os.open(name[:2], OPEN_FOLDER, dir_fd=folders[0]))
                descriptor = open_regular(name, folders[1])
            except FileNotFoundError:
                raise PayloadMissingError("The payload is not in the repository.") from None
            except NotADirectoryError:
                raise PayloadFileError("The payload's folder is not a folder.") from None
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                raise PayloadFileError("The payload's folder is a symbolic link.") from None
            finally:
                for folder in folders:
                    os.close(folder)
            try:
                found = os.fstat(descriptor).st_size
                if found != size:
                    raise PayloadSizeError(
                        f"The payload has {found} bytes; {size} were signed.",
                        hint="restore the payload from a backup.",
                    )
                yield descriptor
            finally:
                os.close(descriptor)


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
