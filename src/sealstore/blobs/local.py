"""Payloads as files: ``objects/ab/ab12…``, mode 0440, never modified.

Written without a name (``O_TMPFILE``), synced, then linked, then the folder synced, so that a crash
leaves a whole payload or none. Read through folder handles with ``O_NOFOLLOW``, once, into memory.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from sealstore import limits
from sealstore.blobs.contract import CommitOutcome, StagedBlob, StoredFile, Write
from sealstore.blobs.folder_walk import OPEN_FOLDER, Removals, walk
from sealstore.blobs.local_names import SHA256_NAME, kind_of
from sealstore.blobs.memory import HAS_SEALED_MEMORY, PayloadMemory, VerifiedPayload
from sealstore.blobs.payload_hash import DigestName, PayloadHash, hashing_aside, threads_for
from sealstore.blobs.reading import hash_file, read_hashed, read_sealed
from sealstore.errors import (
    PayloadFileError,
    PayloadMissingError,
    PayloadSizeError,
    StorageError,
)
from sealstore.statement import Digests

PAYLOAD_MODE: Final = 0o440
_FOLDER_MODE: Final = 0o750
_WRITE_BUFFER_BYTES: Final = limits.MIB
_SYNC_EARLY_BYTES: Final = 64 * limits.MIB
# O_NONBLOCK: opening a planted FIFO must not wait for a writer.
_OPEN_PAYLOAD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SYSTEM_FOLDERS: Final = frozenset({"lost+found"})
"""What a file system puts into its root, where objects/ is a mount of its own."""
_NO_TMPFILE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
_ATTEMPTS: Final = 10
"""So often a payload is staged under a name, where a collection takes away what was."""


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
        with _storage_errors("The folder for payloads cannot be made"):
            (self._root / "objects").mkdir(mode=_FOLDER_MODE, exist_ok=True)

    def stage(self) -> AbstractContextManager[StagedBlob]:
        """See ``BlobStore.stage``."""
        return self._stage()

    @contextmanager
    def _stage(self) -> Iterator[StagedBlob]:
        with _storage_errors("The payload cannot be staged"):
            objects = self._open_objects()
        try:
            with _storage_errors("The payload cannot be staged"):
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
        with _storage_errors("The payloads cannot be listed"):
            for folder in sorted(os.listdir(self._root / "objects")):
                if len(folder) == 2:
                    for name in sorted(os.listdir(self._root / "objects" / folder)):
                        if SHA256_NAME.fullmatch(name) and name.startswith(folder):
                            yield name

    def files(self) -> Iterator[StoredFile]:
        """See ``BlobStore.files``."""
        with _storage_errors("The payloads cannot be listed"):
            objects = self._open_objects()
            try:
                for found in walk(objects, 1, skipped=_SYSTEM_FOLDERS):
                    yield StoredFile(kind_of(found), found)
            finally:
                os.close(objects)

    @contextmanager
    def removing(self) -> Iterator[Callable[[StoredFile], bool]]:
        """See ``BlobStore.removing``."""
        with _storage_errors("A payload cannot be removed"):
            objects = self._open_objects()
        try:
            removals = Removals(objects)

            def remove(file: StoredFile) -> bool:
                with _storage_errors("A payload cannot be removed"):
                    return removals.remove(file.found)

            try:
                yield remove
            finally:
                with _storage_errors("The removal of payloads cannot be made durable"):
                    removals.sync()
        finally:
            os.close(objects)

    def close(self) -> None:
        """See ``BlobStore.close``: no handle is held between calls."""

    def _open_objects(self) -> int:
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return os.open("objects", OPEN_FOLDER, dir_fd=root)
        finally:
            os.close(root)

    @contextmanager
    def _open_payload(self, digests: Digests, size: int) -> Iterator[int]:
        """A descriptor of the payload's file, a regular one of the right size."""
        name = digests.sha256
        folders: list[int] = []
        with _storage_errors("The payload cannot be read"):
            try:
                folders.append(self._open_objects())
                folders.append(os.open(name[:2], OPEN_FOLDER, dir_fd=folders[0]))
                descriptor = _open_regular(name, folders[1])
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


class LocalStagedBlob:
    """A payload in a file without a name, or under a temporary one. See ``StagedBlob``.

    Args:
        objects: descriptor of the folder ``objects``; stays the caller's.
    """

    def __init__(self, objects: int) -> None:
        self._objects = objects
        self._hash = PayloadHash()
        self._size = 0
        self._buffer = bytearray()
        self._temporary_name: str | None = None
        self._descriptor = self._open()
        self._digests: Digests | None = None
        self._placed: tuple[int, int] | None = None
        self._was_linked = False

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """See ``StagedBlob.write``."""
        view = memoryview(data).cast("B")
        self._size += len(view)
        if len(view) < _WRITE_BUFFER_BYTES:
            self._buffer += view
            if len(self._buffer) >= _WRITE_BUFFER_BYTES:
                self._write_buffer()
        else:
            self._write_buffer()
            self._write_through(view)
        return len(view)

    def tell(self) -> int:
        """See ``StagedBlob.tell``."""
        return self._size

    def flush(self) -> None:
        """See ``StagedBlob.flush``."""

    def restart(self) -> None:
        """See ``StagedBlob.restart``."""
        with _storage_errors("The payload cannot be written"):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._hash = PayloadHash()
        self._size = 0
        self._buffer = bytearray()

    def view(self) -> memoryview:
        """See ``StagedBlob.view``."""
        self._write_buffer()
        if not self._size:
            return memoryview(b"")
        # A mapping of a file that has no name yet: nobody else can open it.
        return memoryview(mmap.mmap(self._descriptor, self._size, flags=mmap.MAP_PRIVATE))

    def finish(self) -> tuple[Digests, int]:
        """See ``StagedBlob.finish``."""
        self._write_buffer()
        self._digests = self._hash.digests()
        return self._digests, self._size

    def commit(self) -> CommitOutcome:
        """See ``StagedBlob.commit``."""
        digests, size = self.finish()
        name = digests.sha256
        with _storage_errors("The payload cannot be stored"):
            os.fchmod(self._descriptor, PAYLOAD_MODE)
            os.fsync(self._descriptor)
            folder = self._open_fan_out(name[:2])
            try:
                outcome = self._link(name, folder, size)
                os.fsync(folder)
            finally:
                os.close(folder)
        return outcome

    def secure(self) -> None:
        """See ``StagedBlob.secure``."""
        digests, size = self.finish()
        name = digests.sha256
        with _storage_errors("The payload cannot be stored"):
            folder = self._open_fan_out(name[:2])
            try:
                if self._is_in_place(name, folder):
                    return
                if self._was_linked and self._temporary_name is None:
                    self._copy_to_another()
                self._link(name, folder, size)
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Close the file, which then vanishes unless it was linked."""
        os.close(self._descriptor)
        if self._temporary_name is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary_name, dir_fd=self._objects)

    def _open(self) -> int:
        if hasattr(os, "O_TMPFILE"):
            try:
                flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
                return os.open(".", flags, 0o600, dir_fd=self._objects)
            except OSError as error:
                if error.errno not in _NO_TMPFILE:
                    raise
        self._temporary_name = f".staging-{secrets.token_hex(16)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._temporary_name, flags, 0o600, dir_fd=self._objects)

    def _write_buffer(self) -> None:
        if self._buffer:
            self._write_through(memoryview(self._buffer))
            self._buffer = bytearray()

    def _write_through(self, view: memoryview) -> None:
        if len(view) < limits.PARALLEL_HASH_BYTES:
            self._write_all(view)
            self._hash.update(view)
            return
        with hashing_aside(self._hash) as hash_next:
            for start in range(0, len(view), limits.READ_CHUNK_BYTES):
                chunk = view[start : start + limits.READ_CHUNK_BYTES]
                hash_next(chunk)
                self._write_all(chunk)
            if len(view) >= _SYNC_EARLY_BYTES:
                # What commit() would wait for, while the other threads still hash.
                with _storage_errors("The payload cannot be written"):
                    os.fdatasync(self._descriptor)

    def _write_all(self, view: memoryview) -> None:
        with _storage_errors("The payload cannot be written"):
            rest = view
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def _open_fan_out(self, folder: str) -> int:
        try:
            os.mkdir(folder, _FOLDER_MODE, dir_fd=self._objects)
        except FileExistsError:
            pass
        else:
            os.fsync(self._objects)
        return os.open(folder, OPEN_FOLDER, dir_fd=self._objects)

    def _link(self, name: str, folder: int, size: int) -> CommitOutcome:
        outcome = CommitOutcome.NEW
        attempts = _ATTEMPTS
        while True:
            try:
                if self._temporary_name is None:
                    # linkat(2) with AT_SYMLINK_FOLLOW: how a nameless file gets a name.
                    source = f"/proc/self/fd/{self._descriptor}"
                    os.link(source, name, dst_dir_fd=folder, follow_symlinks=True)
                else:
                    os.link(self._temporary_name, name, src_dir_fd=self._objects, dst_dir_fd=folder)
            except FileNotFoundError:
                # Taken for the rest of a store that died: gc without any grace cannot tell.
                attempts -= 1
                if self._temporary_name is None or not attempts:
                    raise
                self._copy_to_another()
            except FileExistsError:
                if self._is_same_payload(name, folder, size):
                    return CommitOutcome.ALREADY_THERE
                aside = f"{name}.set-aside-{secrets.token_hex(8)}"
                with suppress(FileNotFoundError):
                    os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
                outcome = CommitOutcome.MENDED
            else:
                self._was_linked = True
                self._placed = _inode(os.fstat(self._descriptor))
                return outcome

    def _is_in_place(self, name: str, folder: int) -> bool:
        """Whether the name is still that of the file that was linked, or found to be the same."""
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return self._placed is not None and _inode(status) == self._placed

    def _copy_to_another(self) -> None:
        """Go on with a copy: a nameless file gets a name once, and never again."""
        old, done = self._descriptor, 0
        self._descriptor = self._open()
        try:
            while count := os.sendfile(self._descriptor, old, done, self._size - done):
                done += count
            os.fchmod(self._descriptor, PAYLOAD_MODE)
            os.fsync(self._descriptor)
        finally:
            os.close(old)

    def _is_same_payload(self, name: str, folder: int, size: int) -> bool:
        try:
            descriptor = _open_regular(name, folder)
        except (PayloadFileError, OSError):
            return False
        try:
            if os.fstat(descriptor).st_size != size:
                return False
            if hash_file(descriptor, size).digests() != self._digests:
                return False
            # Whoever put it there (a copy, a restored backup) may not have synced it.
            os.fsync(descriptor)
            self._placed = _inode(os.fstat(descriptor))
            return True
        except PayloadSizeError:
            return False
        finally:
            os.close(descriptor)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _open_regular(name: str, folder: int) -> int:
    """A descriptor of a regular file; what is none is not even opened, since opening may act."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise PayloadFileError("What lies in the payload's place is not a regular file.")
    try:
        descriptor = os.open(name, _OPEN_PAYLOAD, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise PayloadFileError("What lies in the payload's place is a symbolic link.") from None
    # Again on what was opened: it may have been exchanged in between.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PayloadFileError("What lies in the payload's place is not a regular file.")
    return descriptor


@contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{what} ({error.strerror or type(error).__name__}).",
            hint="check free space, permissions and the mount of the repository.",
        ) from error
