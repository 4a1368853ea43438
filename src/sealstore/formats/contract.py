"""What a format does. One suite of tests runs against every implementation."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from sealstore.formats.pickling.writer import Sink
from sealstore.signed.statement import Import
from sealstore.storage.blobs.memory import VerifiedPayload

__all__ = ["Format", "Sink"]


class Format(Protocol):
    """One way to serialise objects."""

    name: str

    def dump(self, obj: object, sink: Sink, *, compress: Any = 0) -> str | None:
        """Write ``obj`` to ``sink``.

        Args:
            obj: the object.
            sink: takes the bytes.
            compress: as ``joblib.dump`` takes it.

        Returns:
            Why not sealstore's own writer wrote it, but the library whose format it is; None where
            it did.

        Raises:
            NotSerialisableError: the object has no serialised form.
            UsageError: an impossible ``compress``.
        """
        ...

    def imports(self, view: memoryview) -> tuple[Import, ...]:
        """What loading the payload in ``view`` would import, without importing it.

        Raises:
            PayloadFormatError: the payload is not of this format.
        """
        ...

    def load(
        self,
        payload: VerifiedPayload,
        *,
        imports: tuple[Import, ...],
        mmap_mode: Literal["r", "c"] | None = None,
    ) -> object:
        """The object that ``payload`` is. Only verified memory is accepted.

        Args:
            payload: the memory that was hashed.
            imports: the signed ones; nothing else is resolved.
            mmap_mode: whether arrays are views of that memory, read-only (``r``) or
                copy-on-write (``c``).

        Raises:
            PayloadFormatError: the payload is not of this format.
            UnsignedImportError: it imports what its statement does not list.
            ObjectLoadError: making the object of it failed.
        """
        ...
