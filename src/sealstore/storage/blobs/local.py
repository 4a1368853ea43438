"""Payloads as files: ``objects/ab/ab12…``, mode 0440, never modified.

Written without a name (``O_TMPFILE``), synced, then linked, then the folder synced, so that a crash
leaves a whole payload or none. Read through folder handles with ``O_NOFOLLOW``, once, into memory.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sealstore import files
from sealstore.errors import PayloadFileError, PayloadMissingError, PayloadSizeError, storage_errors
from sealstore.files import OPEN_FOLDER
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.memory import HAS_SEALED_MEMORY, PayloadMemory, VerifiedPayload
from sealstore.storage.blobs.payload_hash import DigestName, PayloadHash, threads_for
from sealstore.storage.blobs.reading import open_regular, read_hashed, read_sealed

if TYPE_CHECKING:
    from sealstore.storage.blobs.contract import StagedBlob, StoredFile, Write


class LocalBlobStore:
    """Payloads in ``objects/`` of a repository's folder.

    Args:
        repository: the repository's folder. Only names relative to it are used, so it can move.
    """

    def __init__(self, repository: Path) -> None:
        self._root = repository

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
        self.copy(digests, size)

    def copy(self, digests: Digests, size: int, write: Write | None = None) -> None:
        """See ``BlobStore.copy``."""
        from sealstore.storage.blobs.local_files import hash_file

        with self._open_payload(digests, size) as descriptor:
            hash_file(descriptor, size, write).require(digests)

    def create(self) -> None:
        """Make the folder ``objects/``.

        Raises:
            StorageError: the file system refused.
        """
        from sealstore.storage.blobs import local_files

        local_files.create(self._root)

    def stage(self) -> AbstractContextManager[StagedBlob]:
        """See ``BlobStore.stage``."""
        from sealstore.storage.blobs import local_staging

        return local_staging.staged(self._root)

    def sha256s(self) -> Iterator[str]:
        """See ``BlobStore.sha256s``."""
        from sealstore.storage.blobs import local_files

        return local_files.sha256s(self._root)

    def files(self) -> Iterator[StoredFile]:
        """See ``BlobStore.files``."""
        from sealstore.storage.blobs import local_files

        return local_files.stored_files(self._root)

    def keeping(self) -> AbstractContextManager[None]:
        """See ``BlobStore.keeping``."""
        from sealstore.storage.blobs import local_files

        return local_files.keeping(self._root)

    def removing(self) -> AbstractContextManager[Callable[[StoredFile], bool]]:
        """See ``BlobStore.removing``."""
        from sealstore.storage.blobs import local_files

        return local_files.removing(self._root)

    def close(self) -> None:
        """See ``BlobStore.close``: no handle is held between calls."""

    @contextmanager
    def _open_payload(self, digests: Digests, size: int) -> Iterator[int]:
        """A descriptor of the payload's file, a regular one of the right size."""
        name = digests.sha256
        folders: list[int] = []
        with storage_errors("The payload cannot be read"):
            try:
                folders.append(open_objects(self._root))
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


def open_objects(root: Path) -> int:
    """A descriptor of the folder ``objects/`` of a repository."""
    with files.opened_folder(root) as opened:
        return os.open("objects", OPEN_FOLDER, dir_fd=opened)
