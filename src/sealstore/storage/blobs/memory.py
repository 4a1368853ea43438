"""Verified memory: the one place where a payload's bytes lie between its hash and its unpickling.

Two kinds. Private memory is anonymous and read into, never a file mapping: whoever rewrites the
file afterwards changes nothing in it. Sealed memory is a memfd that the kernel forbids everybody to
write, shrink or grow from the moment before it is hashed (``man 2 memfd_create``, file sealing); it
is what memory-mapped loads get.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sealstore import limits
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.payload_hash import PayloadHash

HAS_SEALED_MEMORY: Final = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")


@dataclass(frozen=True, slots=True)
class PayloadMemory:
    """Memory for one payload.

    Attributes:
        view: its bytes; writable, but no write leaves this process.
    """

    view: memoryview

    @classmethod
    def private(cls, size: int) -> PayloadMemory:
        """``size`` bytes of anonymous memory, page-aligned from ANONYMOUS_MAP_BYTES on."""
        if size < limits.ANONYMOUS_MAP_BYTES:
            return cls(memoryview(bytearray(size)))
        if not hasattr(mmap, "MAP_ANONYMOUS"):
            return cls(memoryview(mmap.mmap(-1, size)))
        region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            # Kernels without transparent huge pages answer EINVAL; it was only advice.
            with suppress(OSError):
                region.madvise(mmap.MADV_HUGEPAGE)
        return cls(memoryview(region))

    @classmethod
    def sealed(cls, descriptor: int, size: int) -> PayloadMemory:
        """A private mapping of a memfd that holds ``size`` bytes, sealed before it is mapped.

        Args:
            descriptor: of the memfd; stays the caller's to close.
            size: bytes in it.
        """
        fcntl.fcntl(
            descriptor,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE,
        )
        if not size:
            return cls(memoryview(b""))
        # MAP_PRIVATE: kernels before 6.7 refuse a shared mapping of a file sealed against writing.
        region = mmap.mmap(
            descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
        return cls(memoryview(region))


class VerifiedPayload:
    """A payload whose digest was compared: making one *is* the comparison.

    Args:
        memory: the memory that was hashed.
        computed: the hash of all of it.
        expected: the signed digests.

    Attributes:
        view: the bytes.

    Raises:
        PayloadDigestError: they differ.
    """

    __slots__ = ("view",)

    def __init__(self, memory: PayloadMemory, computed: PayloadHash, expected: Digests) -> None:
        computed.require(expected)
        self.view = memory.view

    def __len__(self) -> int:
        return len(self.view)
