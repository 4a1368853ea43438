"""A payload that is being written: a file without a name until it is whole and synced."""

from __future__ import annotations

import errno
import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sealstore import limits
from sealstore.errors import PayloadFileError, PayloadSizeError, storage_errors
from sealstore.files import OPEN_FOLDER
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.contract import CommitOutcome
from sealstore.storage.blobs.local import open_objects
from sealstore.storage.blobs.local_files import FOLDER_MODE, PAYLOAD_MODE, both_digests, hash_file
from sealstore.storage.blobs.payload_hash import PayloadHash, hashing_aside
from sealstore.storage.blobs.reading import open_regular

_WRITE_BUFFER_BYTES: Final = limits.MIB
_SYNC_EARLY_BYTES: Final = 64 * limits.MIB
_NO_TMPFILE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
_ATTEMPTS: Final = 10
"""So often a payload is staged under a name, where a collection takes away what was."""


@contextmanager
def staged(root: Path) -> Iterator[LocalStagedBlob]:
    """See ``BlobStore.stage``."""
    with storage_errors("The payload cannot be staged"):
        objects = open_objects(root)
    try:
        with storage_errors("The payload cannot be staged"):
            blob = LocalStagedBlob(objects)
        try:
            yield blob
        finally:
            blob.discard()
    finally:
        os.close(objects)


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
        with storage_errors("The payload cannot be written"):
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
        self._digests = both_digests(self._hash)
        return self._digests, self._size

    def commit(self) -> CommitOutcome:
        """See ``StagedBlob.commit``."""
        digests, size = self.finish()
        name = digests.sha256
        with storage_errors("The payload cannot be stored"):
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
        with storage_errors("The payload cannot be stored"):
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
                with storage_errors("The payload cannot be written"):
                    os.fdatasync(self._descriptor)

    def _write_all(self, view: memoryview) -> None:
        with storage_errors("The payload cannot be written"):
            rest = view
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def _open_fan_out(self, folder: str) -> int:
        try:
            os.mkdir(folder, FOLDER_MODE, dir_fd=self._objects)
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
            descriptor = open_regular(name, folder)
        except (PayloadFileError, OSError):
            return False
        try:
            if os.fstat(descriptor).st_size != size:
                return False
            if both_digests(hash_file(descriptor, size)) != self._digests:
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
