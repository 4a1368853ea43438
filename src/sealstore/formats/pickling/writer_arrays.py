"""How arrays are pickled: small ones inside the stream, all others as joblib writes them.

*Small arrays*, of up to 65,535 bytes and of a plain dtype, are a call of the public constructor:
``numpy.ndarray(shape, dtype, bytearray)``, or ``numpy.ndarray(shape, dtype, bytearray, 0, None,
"F")`` for Fortran's order. Their bytes stay inside the pickler's frames, so that nobody who reads
them has to leave C.

*All others* get joblib's wrapper, and behind it their bytes, or, where they hold objects, a pickle
of their own: what is larger, so that it can be mapped; what ``joblib.load`` changes, such as bytes
in the other order; and what has one dimension and no items. ``framing`` says how these get into the
stream.

An array that occurs twice is one array again, of either kind. ``joblib.dump`` makes it two.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Callable
from functools import partial
from pickle import PickleBuffer
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sealstore import limits
from sealstore.formats.pickling.framing import (
    LARGE_BYTES,
    PROTOCOL,
    Content,
    FramedOutput,
    UnexpectedStream,
)

if TYPE_CHECKING:
    import numpy

_COPIED_AT_ONCE_BYTES: Final = 256
"""Up to this size, a copy of an array takes less time and memory than a view of it."""

_MAX_COPIED_BYTES: Final = 16 * limits.MIB
"""Bytes of larger arrays that a dump may copy: the pickler's memo keeps each copy until the end."""

_SCATTERED_CHUNK_BYTES: Final = 16 * limits.MIB
"""Bytes of a large non-contiguous array that are gathered at a time."""

_ATTRIBUTES: Final = (
    "subclass",
    "shape",
    "order",
    "dtype",
    "allow_mmap",
    "numpy_array_alignment_bytes",
)
_LAST_BUILT_IN_DTYPE: Final = 23  # NPY_HALF; other packages' dtypes are numbered behind it
_METADATA_TYPES: Final = (type(None), bool, int, float, str, bytes, type)

_Order: TypeAlias = Literal["C", "F"]
_Reduced: TypeAlias = tuple[Any, ...] | str


class ArrayReducers:
    """How a pickler that writes to ``output`` reduces the arrays that it meets.

    As in joblib, these are the objects whose type is exactly ``ndarray``, ``matrix`` or ``memmap``.
    Arrays of other subclasses are pickled as they pickle themselves.
    """

    def __init__(self, output: FramedOutput) -> None:
        import numpy

        self._output = output
        self._numpy = numpy
        self._ndarray = numpy.ndarray
        # By their ids, which stay theirs while they are kept: equality overlooks metadata.
        self._dtypes: dict[int, tuple[numpy.dtype[Any], bool]] = {}
        self._copied_bytes = 0
        self._registered = copyreg.dispatch_table.copy()

    def dispatch_table(self) -> dict[type, Callable[[Any], _Reduced]]:
        """The table for a pickler: what the program has registered, and arrays."""
        numpy = self._numpy
        arrays = dict.fromkeys((numpy.ndarray, numpy.memmap, numpy.matrix), self._reduce)
        return {**self._registered, **arrays}

    def check_table(self) -> None:
        """Check that a finished pickle was written with all that the program has registered.

        Raises:
            UnexpectedStream: the object's own code registered a reducer on the way.
        """
        if copyreg.dispatch_table != self._registered:
            raise UnexpectedStream("a reducer was registered while the object was pickled")

    def _reduce(self, array: Any) -> _Reduced:
        # By identity: a metaclass may say anything when it is compared or hashed.
        kind = type(array)
        if kind is self._ndarray or kind is self._numpy.memmap:
            return self._small(array) or self._wrapped(array, self._ndarray)
        if kind is self._numpy.matrix:
            return self._wrapped(array, kind)
        reduced: _Reduced = array.__reduce_ex__(PROTOCOL)
        return reduced

    def _small(self, array: numpy.ndarray[Any, Any]) -> _Reduced | None:
        """A call of numpy's constructor; None for an array that needs the wrapper."""
        size = array.nbytes
        # numpy's constructor gives another stride than joblib where nothing is in one dimension.
        if size >= LARGE_BYTES or (not size and array.ndim == 1):
            return None
        dtype = array.dtype
        known = self._dtypes.get(id(dtype))
        if known is None:
            known = self._dtypes[id(dtype)] = dtype, _is_plain(dtype)
        if not known[1]:
            return None
        shape = array.shape
        # fnc: F-contiguous and not C-contiguous.
        order: _Order = "F" if len(shape) > 1 and array.flags.fnc else "C"
        if size <= _COPIED_AT_ONCE_BYTES:
            buffer: object = bytearray(array.tobytes(order))
        else:
            buffer = _own_memory(array) or self._copy(array, order)
            if buffer is None:
                return None
        if order == "F":
            return self._ndarray, (shape, dtype, buffer, 0, None, "F")
        return self._ndarray, (shape, dtype, buffer)

    def _copy(self, array: numpy.ndarray[Any, Any], order: _Order) -> bytearray | None:
        if self._copied_bytes + array.nbytes > _MAX_COPIED_BYTES:
            return None
        self._copied_bytes += array.nbytes
        return bytearray(array.tobytes(order))

    def _wrapped(self, array: numpy.ndarray[Any, Any], subclass: type) -> _Reduced:
        """Joblib's wrapper, taken apart, with a sentinel and the array for its alignment."""
        from joblib.numpy_pickle import NumpyArrayWrapper

        dtype = array.dtype
        if not _is_self_contained(dtype):
            raise UnexpectedStream("a dtype's metadata could lead back to the array")
        order: _Order = "F" if array.flags.fnc else "C"
        # From here on, what fails before the sentinel is met is the technique.
        sentinel = self._output.expect(self._content(array, order))
        wrapper = NumpyArrayWrapper(
            subclass,
            array.shape,
            order,
            dtype,
            allow_mmap=not dtype.hasobject,
            numpy_array_alignment_bytes=(sentinel, array),
        )
        if tuple(vars(wrapper)) != _ATTRIBUTES:
            raise UnexpectedStream("this joblib describes arrays by other attributes")
        make = copyreg._reconstructor  # type: ignore[attr-defined] # as pickles of protocol 0 do
        return make, (NumpyArrayWrapper, object, None), vars(wrapper)

    def _content(self, array: numpy.ndarray[Any, Any], order: _Order) -> Content:
        if array.dtype.hasobject:
            return partial(_append_nested_pickle, array)
        if array.itemsize == 0:
            # joblib divides by the item size, when it writes and when it reads.
            raise pickle.PicklingError(
                f"joblib's format cannot hold arrays whose items have no bytes ({array.dtype!r})."
            )
        if array.nbytes < LARGE_BYTES:
            return array.tobytes(order)
        if order == "F":
            array = array.T
        if array.flags.c_contiguous:
            # As bytes: datetimes and records do not offer themselves as buffers.
            return partial(_append_contiguous, array.reshape(-1).view(self._numpy.uint8))
        return partial(_append_scattered, array, self._numpy)


def _is_plain(dtype: numpy.dtype[Any]) -> bool:
    """Whether numpy's constructor makes of an array's bytes what ``joblib.load`` makes of them."""
    if dtype.num > _LAST_BUILT_IN_DTYPE or dtype.metadata is not None or not dtype.itemsize:
        return False
    if dtype.hasobject or not dtype.isnative:
        return False
    if dtype.subdtype is not None:
        return _is_plain(dtype.base)
    if dtype.names is None:
        return True
    # A class of records beside numpy.void is one more name to import, and rare.
    return dtype.type.__name__ == "void" and all(_is_plain(dtype[name]) for name in dtype.names)


def _is_self_contained(dtype: numpy.dtype[Any]) -> bool:
    """Whether no array can be reached from what a dtype is pickled with.

    Where the array itself occurs within its own description, its number stands for the wrapper.
    """
    held = [*(dtype.metadata or {}).values(), getattr(dtype, "na_object", None)]
    if not all(type(value) in _METADATA_TYPES for value in held):
        return False
    parts = [dtype.base] if dtype.subdtype else [dtype[name] for name in dtype.names or ()]
    return all(map(_is_self_contained, parts))


def _own_memory(array: Any) -> PickleBuffer | None:
    """The array's memory as it is; None if it has gaps, or would not come back writable."""
    try:
        buffer = PickleBuffer(array)
        view = buffer.raw()
    except (BufferError, ValueError):  # gaps; or a dtype that buffers do not know, such as dates
        return None
    return None if view.readonly else buffer


class _Appending:
    """A file for the C pickler whose chunks are written as they come."""

    def __init__(self, output: FramedOutput) -> None:
        self.write = output.append


def _append_nested_pickle(array: numpy.ndarray[Any, Any], output: FramedOutput) -> None:
    pickle.dump(array, _Appending(output), protocol=PROTOCOL)


def _append_contiguous(octets: numpy.ndarray[Any, Any], output: FramedOutput) -> None:
    output.align()
    output.append(octets.data)


def _append_scattered(
    array: numpy.ndarray[Any, Any], numpy: ModuleType, output: FramedOutput
) -> None:
    output.align()
    for chunk in numpy.nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        buffersize=max(_SCATTERED_CHUNK_BYTES // array.itemsize, 1),
        order="C",
    ):
        output.append(chunk.tobytes())
