"""Joblib files in memory, and what stock joblib makes of them: for the tests of the writer."""

from __future__ import annotations

import importlib.util
import io
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from joblib.numpy_pickle import NumpyPickler

from sealstore.formats.pickling.writer import DumpReport, dump_object

LARGE = 64 * 1024
"""Bytes from which on an array does not travel inside the pickle stream."""

METHODS = ["zlib", "gzip", "bz2", "lzma", "xz"]
if importlib.util.find_spec("lz4") is not None:
    METHODS.append("lz4")


class MemorySink:
    """A sink that holds what it got, and insists on what the contract promises it.

    Attributes:
        restarts: how often it began again.
        sizes: the bytes of each call of ``write``.
    """

    def __init__(self) -> None:
        self.restarts = 0
        self.sizes: list[int] = []
        self._content = bytearray()

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        assert isinstance(data, bytes | bytearray | memoryview)
        with memoryview(data) as view:
            assert (view.ndim, view.format, view.contiguous) == (1, "B", True)
            self._content += view
            self.sizes.append(len(view))
            return len(view)

    def tell(self) -> int:
        return len(self._content)

    def flush(self) -> None:
        pass

    def restart(self) -> None:
        self.restarts += 1
        self.sizes.clear()
        self._content.clear()

    def getvalue(self) -> bytes:
        return bytes(self._content)


class FullSink(MemorySink):
    """A sink that fails as a full disk does, after ``room`` bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        if self.tell() + len(data) > self._room:
            raise OSError(28, "No space left on device")
        return super().write(data)


def dumped(obj: object, compress: Any = 0) -> tuple[bytes, DumpReport]:
    """The file that the writer makes of ``obj``, and its report."""
    sink = MemorySink()
    report = dump_object(obj, sink, compress=compress)
    assert sink.restarts == (report.engine == "joblib")
    return sink.getvalue(), report


def c_dumped(obj: object, compress: Any = 0) -> bytes:
    """The file that the writer makes of ``obj``, by the C pickler and no other."""
    content, report = dumped(obj, compress)
    assert report == DumpReport("c", None)
    return content


def joblib_dumped(obj: object, compress: Any = 0, protocol: int | None = None) -> bytes:
    """The file that stock joblib makes of ``obj``."""
    file = io.BytesIO()
    joblib.dump(obj, file, compress=compress, protocol=protocol)
    return file.getvalue()


def reference_dumped(obj: object, protocol: int | None = None) -> bytes:
    """The file that joblib would make of ``obj`` if its pickler kept arrays in its memo.

    The same as ``joblib_dumped`` for an object in which no array occurs twice.
    """
    file = io.BytesIO()
    _Remembering(file, protocol).dump(obj)
    return file.getvalue()


class _Remembering(NumpyPickler):
    """joblib's pickler; an array that occurs again is the same one."""

    def save(self, obj: Any) -> None:
        if type(obj) not in (np.ndarray, np.memmap, np.matrix):
            super().save(obj)
        elif id(obj) in self.memo:
            self.write(self.get(self.memo[id(obj)][0]))
        else:
            super().save(obj)
            self.memoize(obj)


def stock_loaded(content: bytes) -> Any:
    """What stock joblib loads from a file with this content."""
    return joblib.load(io.BytesIO(content))


def stock_mapped(content: bytes, path: Path, mmap_mode: str = "r") -> Any:
    """What stock joblib loads from a file with this content, its arrays memory-mapped."""
    path.write_bytes(content)
    return joblib.load(path, mmap_mode=mmap_mode)


def array_of_objects(*objects: object) -> np.ndarray[Any, Any]:
    """An array that holds these objects, whatever they are."""
    array = np.empty(len(objects), dtype=object)
    array[:] = objects
    return array


def fingerprint(obj: object, *, is_mapped: bool = False) -> bytes:
    """Equal for equal objects only: types, values, dtypes, order, writability, what is shared.

    The pickle of the object. It holds NaNs bit by bit, and each reference to what occurred before.

    Args:
        obj: the object.
        is_mapped: whether it was loaded with ``mmap_mode``. Then it is left out whether a small
            array is mapped and writable: that is for the writer to choose.
    """
    content = io.BytesIO()
    pickler = _Fingerprint(content, 5)
    pickler.is_mapped = is_mapped
    pickler.dump(obj)
    return content.getvalue()


class _Fingerprint(pickle.Pickler):
    """Leaves out the bytes between the fields of records: ``joblib.load`` does not set them."""

    is_mapped = False

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) not in (np.ndarray, np.memmap):
            return NotImplemented
        is_small = obj.nbytes < LARGE and not obj.dtype.hasobject
        array = np.array(obj, order="K") if self.is_mapped and is_small else obj
        if not _has_gaps(obj.dtype):
            return NotImplemented if array is obj else array.__reduce_ex__(5)
        values = np.zeros(array.shape, array.dtype)
        values[...] = array
        flags = array.flags.fnc, array.flags.writeable
        return tuple, ((str(type(array)), array.dtype, array.shape, flags, values.tobytes()),)


def _has_gaps(dtype: np.dtype[Any]) -> bool:
    if dtype.fields is None:
        return dtype.subdtype is not None and _has_gaps(dtype.base)
    # By name: a field with a title stands twice among the fields.
    parts = [dtype.fields[name][0] for name in dtype.names or ()]
    return sum(part.itemsize for part in parts) < dtype.itemsize or any(map(_has_gaps, parts))
