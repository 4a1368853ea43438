"""Loading: the object of a payload, from verified memory.

Hazardous on purpose: `SignedImports` is the one place where what a payload names is really
imported, and `load_object` has it called.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from sealstore.errors import SealstoreError, UnsignedImportError
from sealstore.formats.pickling.refusals import refused
from sealstore.formats.pickling.unpickler import FindClass, Reader, open_stream, read_whole

if TYPE_CHECKING:
    from sealstore.formats.pickling.arrays import ArrayMaker

MmapMode = Literal["r", "c"]


class SignedImports:
    """The ``find_class`` of a load.

    Args:
        names: the ``module:qualname`` of every import that the statement lists.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def resolve(self, module: str, qualname: str) -> object:
        """What ``module`` and ``qualname`` stand for.

        Raises:
            UnsignedImportError: the statement does not list it.
            ObjectLoadError: it is not there: the module, or the name in it.
            Exception: whatever else importing it raises.
        """
        if f"{module}:{qualname}" not in self._names:
            raise UnsignedImportError(
                "The payload asked for an import that its signed statement does not list."
            )
        try:
            __import__(module)
            if "." not in qualname:
                return getattr(sys.modules[module], qualname)
            found: object = sys.modules[module]
            for part in qualname.split("."):
                found = getattr(found, part)
            return found
        except (ImportError, AttributeError) as error:
            from sealstore.formats.pickling.missing_names import missing

            raise missing(module, qualname, error) from error


def load_object(
    memory: memoryview, *, find_class: FindClass, mmap_mode: MmapMode | None = None
) -> Any:
    """The object that joblib, or plain pickle, wrote to a payload.

    Equal to what ``joblib.load`` of the installed joblib returns for the same file.

    Args:
        memory: the payload's verified bytes, private and writable. Large arrays are views of it,
            and keep it alive.
        find_class: resolves each name of the payload, by module and qualified name in Python 3's
            words. What it raises, and what the objects' own classes raise, is not wrapped.
        mmap_mode: ``r`` or ``c`` returns arrays as ``numpy.memmap`` views, as joblib does where the
            file allows it; read-only for ``r``.

    Raises:
        PayloadFormatError: malformed, truncated, or with bytes behind its end.
        UnsupportedPayloadError: a form that sealstore refuses by name.
        LimitExceededError: more than one of the caps in ``sealstore.limits``.
    """
    stream, compression = open_stream(memory)

    def make_arrays() -> ArrayMaker:
        from sealstore.formats.pickling.arrays import ArrayMaker

        mapped = mmap_mode if compression is None else None  # joblib maps no compressed file
        return ArrayMaker(stream.memory, mapped, asked_to_map=mmap_mode is not None)

    try:
        return read_whole(stream, Reader(stream, find_class, make_arrays))
    except SealstoreError:
        raise
    except Exception as error:
        # What the stream says, and what the objects' own classes say, fails in the same ways. An
        # inspection of the same bytes tells them apart.
        from sealstore.formats.pickling.inspection import inspect_memory

        for finding in inspect_memory(memory).findings:
            raise refused(finding.reason, finding.text) from error
        raise
