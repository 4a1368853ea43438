"""What a format does, and which formats this release knows.

One suite of tests runs against every implementation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from sealstore.errors import UnknownFormatError
from sealstore.formats.joblib_format import JoblibFormat
from sealstore.signed.statement import Import
from sealstore.storage.blobs.memory import VerifiedPayload

if TYPE_CHECKING:
    from sealstore.formats.pickling.writer import Sink


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


_FORMATS: dict[str, Format] = {JoblibFormat.name: JoblibFormat()}


def format_named(name: str) -> Format:
    """The format that a statement names.

    Raises:
        UnknownFormatError: there is none of that name.
    """
    try:
        return _FORMATS[name]
    except KeyError:
        raise UnknownFormatError(
            f"No format {name!r} is known to this release.", hint="install a newer release."
        ) from None
