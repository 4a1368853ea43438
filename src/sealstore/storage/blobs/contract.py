"""What a store of payloads does. One suite of tests runs against every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from sealstore.signed.statement import Digests
from sealstore.storage.blobs.memory import VerifiedPayload
from sealstore.storage.blobs.payload_hash import DigestName

if TYPE_CHECKING:
    from sealstore.storage.blobs.folder_walk import FoundFile

Write = Callable[[memoryview], object]
"""Takes the next bytes."""


class RunningHash(Protocol):
    """What ``hashlib`` and ``blake3`` hashes have in common."""

    def update(self, data: memoryview, /) -> object:
        """Take in the next bytes."""
        ...

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""
        ...


class CommitOutcome(Enum):
    """What committing a staged payload found."""

    NEW = "new"
    ALREADY_THERE = "already there"
    MENDED = "mended"
    """Wrong bytes lay under the payload's name; they were moved aside."""


class FileKind(Enum):
    """What a file among the payloads is."""

    PAYLOAD = "payload"
    """A regular file whose name is a SHA-256, in its place; its content may be anything."""
    FOLDER = "folder"
    """One of the store's own."""
    STAGING = "staging"
    """A payload that was being written."""
    SET_ASIDE = "set aside"
    """What lay in a payload's place, with wrong bytes."""
    FOREIGN = "foreign"
    """Nothing that the store made."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file among the payloads.

    Attributes:
        kind: what it is.
        found: as it was found.
    """

    kind: FileKind
    found: FoundFile


class StagedBlob(Protocol):
    """A payload that is being written. It has no name until ``commit``, and vanishes without it."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append ``data``; the number of its bytes."""
        ...

    def tell(self) -> int:
        """Bytes written so far."""
        ...

    def flush(self) -> None:
        """Nothing: ``commit`` flushes."""
        ...

    def restart(self) -> None:
        """Discard what was written and begin again."""
        ...

    def view(self) -> memoryview:
        """What was written, to be looked at before it is committed; ends writing."""
        ...

    def finish(self) -> tuple[Digests, int]:
        """End writing; both digests and the size in bytes."""
        ...

    def commit(self) -> CommitOutcome:
        """Make the payload durable under its SHA-256.

        Raises:
            StorageError: the storage refused; nothing that was there has changed.
        """
        ...

    def secure(self) -> None:
        """Return once the committed payload is under its SHA-256, whoever removed it since.

        For the transaction that puts the payload on record: payloads are collected in such a
        transaction only, so that from here on the record keeps it.

        Raises:
            StorageError: the storage refused.
        """
        ...


class BlobStore(Protocol):
    """Payloads by digest. What it returns is verified; what it holds is not trusted."""

    def stage(self) -> AbstractContextManager[StagedBlob]:
        """A new payload to write to; discarded on leaving unless committed.

        Raises:
            StorageError: the storage refused.
        """
        ...

    def read(
        self, digests: Digests, size: int, *, check: DigestName, sealed: bool = False
    ) -> VerifiedPayload:
        """A payload in memory that nobody else can change, its digest compared.

        Args:
            digests: the signed digests.
            size: the signed size in bytes; no memory is taken for any other.
            check: which digest to compute and compare.
            sealed: whether to return sealed memory, for memory-mapped loads, where the system
                has it.

        Raises:
            PayloadMissingError, PayloadFileError, PayloadSizeError, PayloadDigestError: refusals.
            StorageError: the storage failed.
        """
        ...

    def check(self, digests: Digests, size: int) -> None:
        """Return if both digests of a payload hold, reading it piece by piece.

        Raises:
            As ``read``.
        """
        ...

    def copy(self, digests: Digests, size: int, write: Write) -> None:
        """Hand a payload on piece by piece, and return if both digests hold.

        Args:
            digests: the signed digests.
            size: the signed size in bytes; nothing is handed on where the payload has another.
            write: gets each piece, which is valid until it returns. Nothing is verified before this
                method has returned: what was written then is the payload, else it is nothing.

        Raises:
            As ``read``; and what ``write`` raises.
        """
        ...

    def sha256s(self) -> Iterator[str]:
        """The names of all payloads, in no particular order."""
        ...

    def files(self) -> Iterator[StoredFile]:
        """Everything that the store holds, payloads or not, as it is."""
        ...

    def keeping(self) -> AbstractContextManager[None]:
        """Nothing is removed meanwhile: a removal that is under way is waited for.

        A file system without locks holds nothing off.

        Raises:
            StorageError: the storage refused.
        """
        ...

    def removing(self) -> AbstractContextManager[Callable[[StoredFile], bool]]:
        """A function that removes a file if it is still as it was found; says whether it was.

        On leaving, what was removed is removed durably.

        Raises:
            StorageError: the storage refused, or payloads are kept.
        """
        ...

    def close(self) -> None:
        """Give back what the store holds open."""
        ...
