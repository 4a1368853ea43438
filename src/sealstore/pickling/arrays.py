"""Arrays as views of verified memory, equal to those that joblib would have read.

numpy is imported when the first array is met, never before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from sealstore import limits
from sealstore.errors import PayloadFormatError, UnsupportedPayloadError
from sealstore.pickling.wrapper import WrapperState

if TYPE_CHECKING:
    import numpy

MmapMode = Literal["r", "c"]

_FOREIGN_ORDER: Final = ">" if sys.byteorder == "little" else "<"
_LAST_BUILT_IN_DTYPE: Final = 23  # NPY_HALF; other packages' dtypes are numbered behind it


class ArrayMaker:
    """Makes the arrays of one payload.

    Args:
        memory: the verified memory, writable. Large arrays are views of it.
        mmap_mode: arrays that joblib could map become ``numpy.memmap`` views: read-only for ``r``.
        native: whether arrays of the other byte order are converted, as joblib does unless it maps.
    """

    def __init__(self, memory: memoryview, mmap_mode: MmapMode | None, *, native: bool) -> None:
        import numpy

        self._numpy = numpy
        self._memory = memory
        self._mapped_memory = memory.toreadonly() if mmap_mode == "r" else memory
        self._mmap_mode = mmap_mode
        self._native = native
        self._plain_classes: tuple[object, ...] = (numpy.ndarray, numpy.memmap)
        self._classes: tuple[object, ...] = (*self._plain_classes, numpy.matrix)
        # dtypes already judged, kept so that their ids stay theirs: (dtype, bytes an element).
        self._judged: dict[int, tuple[object, int]] = {}

    def item_size(self, state: WrapperState) -> int | None:
        """Bytes of one element, or None where the array's elements are objects.

        Raises:
            PayloadFormatError: a class or a dtype that joblib does not write.
        """
        if not any(state.subclass is known for known in self._classes):
            raise PayloadFormatError(
                "An array of the payload is of a class that joblib never writes."
            )
        dtype = state.dtype
        judged = self._judged.get(id(dtype))
        if judged is not None:
            return judged[1] or None
        item_size = self._judge(dtype)
        self._judged[id(dtype)] = (dtype, item_size)
        return item_size or None

    def from_memory(self, state: WrapperState, offset: int, size: int) -> Any:
        """The array whose ``size`` bytes lie at ``offset``."""
        numpy = self._numpy
        dtype: Any = state.dtype
        order: Any = state.order
        mapped = self._mmap_mode is not None and state.allow_mmap
        if size == 0:
            array = numpy.empty(state.shape, dtype, order=order)
        else:
            memory = self._mapped_memory if mapped else self._memory
            array = numpy.ndarray(state.shape, dtype, memory, offset, order=order)
            if not array.flags.aligned or (size < limits.ARRAY_VIEW_BYTES and not mapped):
                array = array.copy(order="K")
        if mapped:
            array = array.view(numpy.memmap)
            if self._mmap_mode == "r":
                array.flags.writeable = False
        return self.finished(state, array)

    def finished(self, state: WrapperState, array: Any) -> Any:
        """``array`` in this machine's byte order and in the class that joblib would give it.

        Raises:
            PayloadFormatError: not an array at all.
        """
        if not isinstance(array, self._numpy.ndarray):
            raise PayloadFormatError(
                "Where an array of objects was announced stands something else."
            )
        if self._native:
            array = _in_native_order(array)
        # numpy 2 has no __array_prepare__: there joblib returns a matrix as a plain array.
        if hasattr(array, "__array_prepare__") and state.subclass not in self._plain_classes:
            reconstruct: Callable[..., Any] = _reconstruct()
            array = reconstruct(state.subclass, (0,), "b").__array_prepare__(array)
        return array

    def _judge(self, dtype: object) -> int:
        if not isinstance(dtype, self._numpy.dtype):
            raise PayloadFormatError("An array of the payload has no dtype.")
        if dtype.hasobject:
            return 0
        if dtype.num > _LAST_BUILT_IN_DTYPE:
            raise UnsupportedPayloadError(
                "An array of the payload has a dtype that is not numpy's own."
            )
        if dtype.subdtype is not None or not self._is_sound(dtype):
            raise PayloadFormatError("An array of the payload has a dtype that contradicts itself.")
        if dtype.itemsize < 1:
            raise PayloadFormatError("An array of the payload has elements without a size.")
        return dtype.itemsize

    def _is_sound(self, dtype: numpy.dtype[Any]) -> bool:
        """Whether ``dtype`` is what numpy makes of its public description.

        ``dtype.__setstate__`` believes what it is told; an ``O8`` that was told to hold no objects
        would turn array bytes into pointers.
        """
        if dtype.hasobject or dtype.num > _LAST_BUILT_IN_DTYPE:
            return False
        if dtype.subdtype is not None:
            item, shape = dtype.subdtype
            count = 1
            for length in shape:
                count *= length
            return self._is_sound(item) and dtype.itemsize == item.itemsize * count
        if dtype.fields is None:
            made = self._numpy.dtype(dtype.str)
            return (made.num, made.itemsize, made.flags) == (dtype.num, dtype.itemsize, dtype.flags)
        return dtype.kind == "V" and all(
            self._is_sound(field[0]) and 0 <= field[1] <= dtype.itemsize - field[0].itemsize
            for field in dtype.fields.values()
        )


def _in_native_order(array: Any) -> Any:
    dtype = array.dtype
    foreign = dtype.byteorder == _FOREIGN_ORDER or (
        dtype.byteorder == "|"
        and dtype.fields
        and all(field[0].byteorder == _FOREIGN_ORDER for field in dtype.fields.values())
    )
    return array.byteswap().view(dtype.newbyteorder("=")) if foreign else array


def _reconstruct() -> Any:
    from numpy.core.multiarray import _reconstruct  # only before numpy 2 is it there

    return _reconstruct
