"""Arrays as views of verified memory, equal to those that joblib would have read.

numpy is imported when the first array is met, never before.
"""

from __future__ import annotations

import inspect
import math
import sys
from typing import Any, Final

from sealstore import limits
from sealstore.formats.pickling.reader import MmapMode
from sealstore.formats.pickling.refusals import Reason, refused
from sealstore.formats.pickling.wrapper import WrapperState

_FOREIGN_ORDER: Final = ">" if sys.byteorder == "little" else "<"
_LAST_BUILT_IN_DTYPE: Final = 23  # NPY_HALF; other packages' dtypes are numbered behind it


class ArrayMaker:
    """Makes the arrays of one payload.

    Args:
        memory: the verified memory, writable. Large arrays are views of it.
        mmap_mode: arrays that joblib could map become ``numpy.memmap`` views: read-only for ``r``.
        asked_to_map: whether the caller gave a mmap_mode, even if nothing of this file is mapped.
    """

    def __init__(
        self, memory: memoryview, mmap_mode: MmapMode | None, *, asked_to_map: bool
    ) -> None:
        import numpy

        # Typed as Any: what reaches them was judged, and is exactly what numpy takes.
        self._ndarray: Any = numpy.ndarray
        self._frombuffer: Any = numpy.frombuffer
        self._memmap: Any = numpy.memmap
        self._dtype: Any = numpy.dtype
        self._memory = memory
        self._mapped_memory = memory.toreadonly() if mmap_mode == "r" else memory
        self._mmap_mode = mmap_mode
        self._asked_to_map = asked_to_map
        self._plain_classes: tuple[object, ...] = (numpy.ndarray, numpy.memmap)
        self._classes: tuple[object, ...] = (*self._plain_classes, numpy.matrix)
        # Before numpy 2. With it, joblib returns a matrix as a plain array.
        self._restores_matrix = hasattr(numpy.ndarray, "__array_prepare__")
        self._may_differ = self._restores_matrix
        # (dtype, bytes an element) by the dtype's id, which stays its own while it is kept.
        self._judged: dict[int, tuple[object, int | None]] = {}

    def item_size(self, state: WrapperState) -> int | None:
        """Bytes of one element, or None where the array's elements are objects.

        Raises:
            PayloadFormatError: a class or a dtype that joblib does not write.
            UnsupportedPayloadError: a dtype of another package.
        """
        if state.subclass not in self._classes:
            raise refused(
                Reason.ARRAY, "An array of the payload is of a class that joblib never writes."
            )
        dtype = state.dtype
        judged = self._judged.get(id(dtype))
        if judged is None:
            judged = dtype, self._judge(dtype)
            self._judged[id(dtype)] = judged
        return judged[1]

    def from_memory(self, state: WrapperState, offset: int, size: int) -> Any:
        """The array whose ``size`` bytes lie at ``offset``."""
        _, shape, order, dtype, allow_mmap, _, elements = state
        mapped = allow_mmap and self._mmap_mode is not None
        if size == 0:
            array = self._ndarray(shape, dtype, order=order)
        elif size < limits.ARRAY_VIEW_BYTES and not mapped:
            array = self._ndarray(shape, dtype, self._memory, offset, None, order).copy("K")
        else:
            # numpy.ndarray would not hold the buffer: its memory could be closed under the array.
            memory = self._mapped_memory if mapped else self._memory
            array = self._frombuffer(memory, dtype, elements, offset)
            if len(shape) != 1:
                array = array.reshape(shape, order=order)
            if not array.flags.aligned:
                array = array.copy("K")
        if mapped:
            array = array.view(self._memmap)
            array.flags.writeable = self._mmap_mode == "c"
        return self._as_joblib(state, array) if self._may_differ else array

    def finished(self, state: WrapperState, array: Any) -> Any:
        """``array``, made by a nested stream, as joblib would return it.

        Raises:
            PayloadFormatError: not an array at all.
        """
        if not isinstance(array, self._ndarray):
            raise refused(
                Reason.ARRAY, "Where an array of objects was announced stands something else."
            )
        return self._as_joblib(state, array)

    def _as_joblib(self, state: WrapperState, array: Any) -> Any:
        if _is_foreign(array.dtype) and not (self._asked_to_map and _joblib_keeps_byte_order()):
            array = array.byteswap().view(array.dtype.newbyteorder("="))
        if self._restores_matrix and state.subclass not in self._plain_classes:
            array = self._ndarray.__new__(state.subclass, (0,), "b").__array_prepare__(array)
        return array

    def _judge(self, dtype: Any) -> int | None:
        if not isinstance(dtype, self._dtype):
            raise refused(Reason.DTYPE, "An array of the payload has no dtype.")
        if dtype.hasobject:
            return None
        if dtype.num > _LAST_BUILT_IN_DTYPE:
            raise refused(
                Reason.DTYPE, "An array of the payload has a dtype that is not numpy's own."
            )
        if dtype.subdtype is not None or not self._is_sound(dtype):
            raise refused(
                Reason.DTYPE, "An array of the payload has a dtype that contradicts itself."
            )
        item_size: int = dtype.itemsize
        if item_size < 1:
            raise refused(Reason.DTYPE, "An array of the payload has elements without a size.")
        self._may_differ = self._may_differ or _is_foreign(dtype)
        return item_size

    def _is_sound(self, dtype: Any) -> bool:
        """Whether ``dtype`` is what numpy makes of its public description.

        ``dtype.__setstate__`` believes what it is told; an ``O8`` that was told to hold no objects
        would turn array bytes into pointers.
        """
        if dtype.hasobject or dtype.num > _LAST_BUILT_IN_DTYPE:
            return False
        if dtype.subdtype is not None:
            item, shape = dtype.subdtype
            return self._is_sound(item) and dtype.itemsize == item.itemsize * math.prod(shape)
        if dtype.fields is not None:
            return dtype.kind == "V" and all(
                self._is_sound(field[0]) and 0 <= field[1] <= dtype.itemsize - field[0].itemsize
                for field in dtype.fields.values()
            )
        made = self._dtype(dtype.str)
        return (made.num, made.itemsize, made.flags) == (dtype.num, dtype.itemsize, dtype.flags)


def _joblib_keeps_byte_order() -> bool:
    # joblib converts arrays to this machine's byte order; since 1.5 not where it was asked to map.
    import joblib

    return "ensure_native_byte_order" in inspect.signature(joblib.load).parameters


def _is_foreign(dtype: Any) -> bool:
    return bool(
        dtype.byteorder == _FOREIGN_ORDER
        or (
            dtype.byteorder == "|"
            and dtype.fields
            and all(field[0].byteorder == _FOREIGN_ORDER for field in dtype.fields.values())
        )
    )
