"""joblib's format: what ``joblib.dump`` writes, arrays and compression included."""

from __future__ import annotations

import importlib
import io
import pickle
from typing import Any, Literal

from sealstore.blobs import VerifiedPayload
from sealstore.errors import NotSerialisableError, ObjectLoadError, SealstoreError
from sealstore.formats.contract import Sink
from sealstore.statement import Import


class JoblibFormat:
    """See ``Format``."""

    name = "joblib"

    def dump(self, obj: object, sink: Sink, *, compress: Any = 0) -> None:
        """See ``Format.dump``."""
        import joblib

        try:
            joblib.dump(obj, sink, compress=compress)
        except SealstoreError:
            raise
        except Exception as error:
            raise NotSerialisableError(f"{type(obj)}: {error}") from error

    def imports(self, view: memoryview) -> tuple[Import, ...]:
        """See ``Format.imports``."""
        return ()

    def load(
        self, payload: VerifiedPayload, *, mmap_mode: Literal["r", "c"] | None = None
    ) -> object:
        """See ``Format.load``."""
        import joblib

        try:
            return joblib.load(io.BytesIO(payload.view))
        except Exception as error:
            raise ObjectLoadError(f"{error}") from error
