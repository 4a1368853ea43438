"""joblib files read with the C unpickler.

``joblib.load`` runs Python's pure Python unpickler, because it swaps each `NumpyArrayWrapper` for
its array on the unpickler's own stack. This reader does the same with ``pickle.Unpickler``: the
wrapper's class is a stand-in whose ``__setstate__`` makes the array and has the stream serve three
opcodes next: ``POP`` drops the stand-in, ``NONE BINPERSID`` calls ``persistent_load``, which
returns the array.

The same reader inspects: only what it is given to resolve names and to make arrays differs. So no
second parser can disagree with the first.
"""

from __future__ import annotations

import _compat_pickle
import codecs
import copyreg
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.refusals import Reason, extension, old_joblib, refused
from sealstore.formats.pickling.stream import (
    FIRST_FRAMED_PROTOCOL,
    ArrayStream,
    PickleStream,
    PlainStream,
    holds,
    stream_protocol,
)
from sealstore.formats.pickling.wrapper import (
    WRAPPER_MODULE,
    WRAPPER_NAME,
    MappedArrayClass,
    WrapperClass,
    WrapperState,
    decode_wrapper_state,
    place_array,
)

FindClass = Callable[[str, str], object]

_POP_NONE_BINPERSID: Final = b"0NQ"
FIRST_PROTOCOL_OF_PYTHON_3: Final = 3

# Protocols 0 to 2 name modules as Python 2 did (PEP 3108): ``__builtin__``, ``copy_reg``. Names are
# mapped before anything judges them, by the standard library's own table.
_RENAMED: Final[dict[tuple[str, str], tuple[str, str]]] = _compat_pickle.NAME_MAPPING
_RENAMED_MODULES: Final[dict[str, str]] = _compat_pickle.IMPORT_MAPPING
_PROTO: Final = b"\x80"
_NO_ARRAY: Final = object()
_MAPPED_ARRAYS: Final = frozenset(
    (f"numpy{inner}", "memmap") for inner in ("", ".core.memmap", "._core.memmap")
)
_OLD_WRAPPERS: Final = frozenset(("NDArrayWrapper", "ZNDArrayWrapper"))
_WRAPPER_MODULES: Final = frozenset((WRAPPER_MODULE, "joblib.numpy_pickle_compat"))
# Only Python 2 wrote the opcodes STRING, BINSTRING and SHORT_BINSTRING. This standard codec refuses
# whatever they hold; it is looked up here so that no stream makes Python import it.
_NO_PYTHON_2_STRINGS: Final = codecs.lookup("undefined").name


class ArraySource(Protocol):
    """Makes the arrays that a reader meets: real ones, or a record of them."""

    def item_size(self, state: WrapperState, /) -> int | None:
        """Bytes of one element, or None where the elements are objects."""

    def from_memory(self, state: WrapperState, offset: int, size: int, /) -> object:
        """The array whose ``size`` bytes lie at ``offset``."""

    def finished(self, state: WrapperState, array: object, /) -> object:
        """``array``, which a nested stream made, as joblib would return it."""


class Reader(pickle.Unpickler):
    """Reads one stream. For the nested stream of an array of objects it starts another of its kind.

    Args:
        stream: where to read. Arrays are expected only in an `ArrayStream`.
        find_class: resolves a name, by module and qualified name.
        make_arrays: called at the first array, for what makes them.
    """

    def __init__(
        self, stream: PickleStream, find_class: FindClass, make_arrays: Callable[[], ArraySource]
    ) -> None:
        super().__init__(cast(Any, stream), encoding=_NO_PYTHON_2_STRINGS)
        self._stream = stream
        self._resolve = find_class
        self._make_arrays = make_arrays
        self._arrays: ArraySource | None = None
        self._wrapper_class: WrapperClass | None = None
        self._mapped_class: MappedArrayClass | None = None
        self._array: object = _NO_ARRAY

    def read_object(self) -> Any:
        """The stream's object.

        Raises:
            PayloadFormatError: a stream that no pickler writes, or not one that ends at its STOP.
            Exception: whatever the C unpickler, or a class of the stream, raises.
        """
        copyreg.clear_extension_cache()  # what is in it would be handed out without find_class
        try:
            result = self.load()
        finally:
            if self._wrapper_class is not None:
                self._wrapper_class.put_back()
        if copyreg._extension_cache:  # type: ignore[attr-defined] # private, and what the C code reads
            raise extension()
        if not self._stream.stopped_exactly:
            raise _goes_on()
        if self._mapped_class is not None:
            self._refuse_mapped_class_elsewhere()
        return result

    def find_class(self, module: str, name: str, /) -> Any:
        """What ``module`` and ``name`` stand for; called by the C unpickler."""
        key = module, name
        if key in copyreg._extension_registry:  # type: ignore[attr-defined] # no public view
            raise extension()
        protocol = self._stream.protocol
        if module in _RENAMED_MODULES or key in _RENAMED:
            if protocol < FIRST_PROTOCOL_OF_PYTHON_3:
                module, name = key = canonical_name(module, name)
            else:
                _refuse_ambiguous_protocol(self._stream)
        if "." in name and protocol < FIRST_FRAMED_PROTOCOL:
            raise refused(
                Reason.MALFORMED, "A name in the payload has dots before protocol 4 allowed them."
            )
        if module in _WRAPPER_MODULES:
            if module == WRAPPER_MODULE and name == WRAPPER_NAME:
                return self._wrapper()
            if name in _OLD_WRAPPERS:
                raise old_joblib(f"uses {name}")
        if key in _MAPPED_ARRAYS:
            self._mapped_class = self._mapped_class or MappedArrayClass()
            return self._mapped_class
        return self._resolve(module, name)

    def persistent_load(self, _identifier: object, /) -> Any:
        """The array that was just made; called by the injected BINPERSID."""
        array, self._array = self._array, _NO_ARRAY
        if array is _NO_ARRAY:
            raise refused(Reason.PERSISTENT_ID, "The payload uses persistent ids.")
        return array

    def forget_memo(self) -> None:
        """Drop the references that the stream put down for itself."""
        cast(Any, self).memo.clear()

    def _wrapper(self) -> type:
        if self._wrapper_class is None:
            if not isinstance(self._stream, ArrayStream):
                raise refused(
                    Reason.ARRAY, "The payload has an array's wrapper where joblib writes none."
                )
            self._wrapper_class = WrapperClass.take(self._on_wrapper_built)
        return self._wrapper_class.stand_in

    def _on_wrapper_built(self, raw_state: object) -> None:
        stream = self._stream
        assert isinstance(stream, ArrayStream)  # noqa: S101 # _wrapper has seen to it
        # Built by the stream's own BUILD, and not by the __setstate__ of an object that was given
        # the wrapper for its state: an inspection, which makes no such object, would not see it.
        by_stream = sys._getframe(2).f_code is Reader.read_object.__code__
        if not (by_stream and stream.stands_behind_build):
            raise refused(
                Reason.FRAME, "Something stands between an array's wrapper and the array."
            )
        if self._arrays is None:
            self._arrays = self._make_arrays()
        state = decode_wrapper_state(raw_state)
        if state.subclass is self._mapped_class and self._mapped_class is not None:
            state = state._replace(subclass=self._resolve("numpy", "ndarray"))
        item_size = self._arrays.item_size(state)
        if item_size is None:
            self._array = self._arrays.finished(state, self._nested_object(stream))
            end = stream.position
        else:
            offset, size = place_array(stream, state, item_size)
            self._array = self._arrays.from_memory(state, offset, size)
            end = offset + size
        stream.inject(_POP_NONE_BINPERSID, end)

    def _refuse_mapped_class_elsewhere(self) -> None:
        # Wrappers are gone by now, so that what still holds the stand-in is part of the object.
        held = weakref.ref(self._mapped_class)
        self._mapped_class = None
        self.forget_memo()
        if held() is not None:
            raise refused(
                Reason.ARRAY, "The payload uses numpy.memmap, which opens files, but for an array."
            )

    def _nested_object(self, stream: ArrayStream) -> Any:
        nested = PlainStream(stream.memory, stream.position)
        array = Reader(nested, self._resolve, self._make_arrays).read_object()
        stream.position = nested.position
        return array


def open_stream(memory: memoryview) -> tuple[PickleStream, str | None]:
    """The pickle stream that a payload holds, and the name of its compression.

    Raises:
        PayloadFormatError: the compressed data is damaged, or more follows it.
        UnsupportedPayloadError: a form that joblib wrote before 0.10.
        LimitExceededError: it becomes too large when it is decompressed.
    """
    compression = None
    # Every stream since protocol 2 begins with PROTO, and no compressed file does.
    if bytes(memory[:1]) != _PROTO:
        from sealstore.formats.pickling.compression import compression_of, decompress

        compression = compression_of(memory)
        if compression is not None:
            memory = decompress(memory, compression)
    if stream_protocol(memory) < FIRST_FRAMED_PROTOCOL and not holds(memory, WRAPPER_NAME.encode()):
        # Without frames each opcode would be a read of its own, for the sake of arrays not there.
        return PlainStream(memory), compression
    return ArrayStream(memory), compression


def read_whole(stream: PickleStream, reader: Reader) -> Any:
    """The object of a stream that must fill its memory to the last byte."""
    result = reader.read_object()
    if stream.position != len(stream.memory):
        raise _goes_on()
    return result


def _refuse_ambiguous_protocol(stream: PickleStream) -> None:
    # A second PROTO opcode would have joblib read this name in Python 2's words. Its bytes are
    # looked for, not the opcode: names like these are too rare for the difference to matter.
    if any(holds(stream.memory, b"\x80" + bytes((older,))) for older in range(3)):
        raise refused(
            Reason.AMBIGUOUS_NAME,
            "A name in the payload has one meaning in Python 2, another in 3.",
        )


def canonical_name(module: str, qualname: str) -> tuple[str, str]:
    """The name that Python 3 imports where a stream of protocol 0, 1 or 2 says this one."""
    mapped = _RENAMED.get((module, qualname))
    if mapped is not None:
        return mapped
    return _RENAMED_MODULES.get(module, module), qualname


def _goes_on() -> PayloadFormatError:
    return refused(Reason.TRAILING_BYTES, "The payload has bytes behind its STOP opcode.")
