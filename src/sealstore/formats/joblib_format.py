"""joblib's format, by the pickle engine: what ``joblib.dump`` writes and ``joblib.load`` reads.

What writes and what inspects is imported where an object is stored: a load needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sealstore.errors import ObjectLoadError, SealstoreError
from sealstore.formats.pickling.reader import SignedImports, load_object
from sealstore.signed.statement import Import
from sealstore.storage.blobs.memory import VerifiedPayload

if TYPE_CHECKING:
    from sealstore.formats.pickling.writer import Sink


class JoblibFormat:
    """See ``Format``."""

    name = "joblib"

    def dump(self, obj: object, sink: Sink, *, compress: Any = 0) -> str | None:
        """See ``Format.dump``."""
        from sealstore.formats.pickling.writer import dump_or_refuse

        return dump_or_refuse(obj, sink, compress=compress).fallback_reason

    def imports(self, view: memoryview) -> tuple[Import, ...]:
        """See ``Format.imports``."""
        from sealstore.formats.pickling.inspection import imports_to_sign, inspect_memory

        return imports_to_sign(inspect_memory(view))

    def load(
        self,
        payload: VerifiedPayload,
        *,
        imports: tuple[Import, ...],
        mmap_mode: Literal["r", "c"] | None = None,
    ) -> object:
        """See ``Format.load``."""
        signed = SignedImports(entry.name for entry in imports)
        try:
            return load_object(payload.view, find_class=signed.resolve, mmap_mode=mmap_mode)
        except SealstoreError:
            raise
        except Exception as error:
            # Constructors are the object's own code: they may raise anything.
            raise ObjectLoadError(
                f"The payload is genuine, but does not become an object here"
                f" ({type(error).__name__})."
            ) from error
