"""What the writer does here: representative objects are written, to nowhere.

The technique of the writer rests on how the running interpreter pickles, on numpy and on joblib.
Where one of them behaves differently, joblib writes instead, more slowly. Within a process
``writer.fallback_counts`` and the log tell of it; a trial tells of it beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sealstore.formats.pickling.writer import dump_object


class _Nowhere:
    """A sink that keeps nothing."""

    def __init__(self) -> None:
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        size = memoryview(data).nbytes
        self._size += size
        return size

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """See ``Sink.flush``: nothing is buffered."""

    def restart(self) -> None:
        self._size = 0


def trial() -> dict[str, str | None]:
    """For each kind of object why joblib has to write it here; None where it has not."""
    return {
        kind: dump_object(obj, _Nowhere(), compress=compress).fallback_reason
        for kind, obj, compress in _objects()
    }


def _objects() -> Iterator[tuple[str, object, int]]:
    plain = {"text": ["a", b"b", None, True], 1: (2.5, {3, 4}), "long": "x" * 100_000}
    yield "built-in objects", plain, 0
    yield "compressed objects", plain, 3
    try:
        import numpy
    except ImportError:
        return
    numbers: Any = numpy.arange(20_000.0).reshape(100, 200)
    small = [numpy.arange(length) for length in range(5)]
    yield "small arrays", {"first": small, "again": small, "text": "x"}, 0
    yield "large arrays", [numbers, numbers.T, numbers[::2, ::2]], 0
    yield "arrays of objects", [numpy.array(["a", None, numbers], dtype=object)], 0
    yield "structured arrays", numpy.zeros(3, dtype=[("a", "<i4"), ("b", ">f8", (2,))]), 0
    yield "compressed arrays", [numbers, small], 3
