"""Writing an object as a joblib file with the C pickler.

What is written is a pickle of protocol 5 that plain ``joblib.load`` reads, memory-mapping included,
with a result equal to that of a file by ``joblib.dump``. ``writer_arrays`` says how arrays are
written.

Protocol 5 rather than joblib's default (the interpreter's: 4 on Python 3.11 to 3.13): the technique
needs its buffers, objects that bring buffers of their own cannot be pickled with less, every Python
that sealstore supports reads it, and current joblib itself writes arrays of objects with it (1.3.2
with 2). The fallback writes the same protocol, so that what is stored does not depend on the
pickler.

The technique rests on how CPython's pickler behaves. Where it behaves differently, the sink begins
again and ``joblib.dump`` writes the object. The reducers of the object's parts then run a second
time. Such fallbacks are counted (``fallback_counts``) and logged; ``trial`` foretells them.
"""

from __future__ import annotations

import logging
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from sealstore.errors import NotSerialisableError, SealstoreError
from sealstore.formats.pickling.framing import PROTOCOL, FramedOutput, UnexpectedStream
from sealstore.formats.pickling.writer_arrays import ArrayReducers
from sealstore.formats.pickling.writer_compression import CompressedSink, Compression


class Sink(Protocol):
    """What a payload is written to."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append ``data`` (contiguous bytes), keep no reference to it; the number of its bytes."""
        ...

    def tell(self) -> int:
        """Bytes written so far."""
        ...

    def flush(self) -> None:
        """Hand on what is buffered, if anything is."""
        ...

    def restart(self) -> None:
        """Discard all that was written, and begin again."""
        ...


@dataclass(frozen=True, slots=True)
class DumpReport:
    """How an object was written.

    Attributes:
        engine: which pickler wrote the file: C's, or joblib's.
        fallback_reason: why it was joblib's; None for the C pickler.
    """

    engine: Literal["c", "joblib"]
    fallback_reason: str | None


def dump_object(
    obj: object, sink: Sink, *, compress: int | bool | str | tuple[str, int] = 0
) -> DumpReport:
    """Write ``obj`` to ``sink`` as a joblib file.

    Args:
        obj: what to write. Numpy arrays in it can be memory-mapped by a later load.
        sink: where to; nothing has been written to it yet. After an exception it holds a part.
        compress: as for ``joblib.dump``: a level from 0 (none) to 9, a bool, the name of a method,
            or a method and a level.

    Raises:
        UsageError: ``compress`` is not among these.
        MissingExtraError: the package for that compression is not installed.
        RecursionError: the object is nested too deeply for the interpreter's recursion limit.
        Exception: whatever pickling the object raises, ``pickle.PicklingError``, ``TypeError`` and
            ``AttributeError`` above all, and whatever ``sink`` raises.
    """
    compression = Compression.of(compress)
    try:
        _dump_with_c_pickler(obj, sink, compression)
    except _CPicklerUnusable as unusable:
        # Outside of the handler: an error of the second attempt has nothing to do with the first.
        reason = str(unusable)
    else:
        return DumpReport("c", None)
    _fallbacks.add(reason)
    _log.warning("joblib writes an object of type %s: %s", type(obj).__qualname__, reason)
    sink.restart()
    _dump_with_joblib(obj, sink, compression)
    return DumpReport("joblib", reason)


def dump_or_refuse(obj: object, sink: Sink, *, compress: Any = 0) -> DumpReport:
    """As ``dump_object``; an object that cannot be pickled is refused in sealstore's own words.

    Raises:
        UsageError, MissingExtraError: as ``dump_object``.
        NotSerialisableError: the object has no serialised form.
    """
    try:
        return dump_object(obj, sink, compress=compress)
    except SealstoreError:
        raise
    except RecursionError as error:
        raise NotSerialisableError(
            "The object is nested too deeply to be pickled.",
            hint="store it in a flatter form, or raise sys.setrecursionlimit.",
        ) from error
    except Exception as error:
        # Reducers are the object's own code: they may raise anything.
        raise NotSerialisableError(
            f"The object cannot be pickled ({type(error).__name__}: {error}).",
            hint="nothing was stored; remove what has no serialised form (locks, files, lambdas,"
            " local classes).",
        ) from error


def fallback_counts() -> dict[str, int]:
    """How often this process let joblib write, by reason."""
    return _fallbacks.counts()


class _FallbackCounter:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        with self._lock:
            self._counts[reason] += 1

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


_fallbacks: Final = _FallbackCounter()
_log: Final = logging.getLogger(__name__)


class _CPicklerUnusable(Exception):
    """Why the object has to be written by joblib."""


def _dump_with_c_pickler(obj: object, sink: Sink, compression: Compression | None) -> None:
    compressed = None if compression is None else CompressedSink(sink, compression.compressor())
    # Compressed, positions count from the beginning of what is compressed.
    output = FramedOutput(sink, sink.tell()) if compressed is None else FramedOutput(compressed)
    pickler = pickle.Pickler(output, PROTOCOL)
    # Without numpy, the object holds no arrays.
    reducers = ArrayReducers(output) if _is_numpy_loaded() else None
    if reducers is not None:
        pickler.dispatch_table = reducers.dispatch_table()
    try:
        pickler.dump(obj)
        output.finish()
        if reducers is not None:
            reducers.check_table()
    except UnexpectedStream as unexpected:
        raise _CPicklerUnusable(str(unexpected)) from None
    except (RecursionError, MemoryError):
        raise
    except Exception as error:
        # While a sentinel is awaited, only what describes an array is pickled: what fails then is
        # the technique. If it is the object after all, joblib says so again.
        if output.sink_failed or output.sentinel is None:
            raise
        raise _CPicklerUnusable(f"{type(error).__name__} while an array was described") from None
    if reducers is None and _is_numpy_loaded():
        # Arrays may have been pickled as numpy does, whole and not mappable.
        raise _CPicklerUnusable("numpy was first imported by the object's own reducers")
    if compressed is not None:
        compressed.finish()


def _is_numpy_loaded() -> bool:
    return sys.modules.get("numpy") is not None


def _dump_with_joblib(obj: object, sink: Sink, compression: Compression | None) -> None:
    import joblib

    compress = 0 if compression is None else compression.for_joblib()
    joblib.dump(obj, _PlainBytes(sink), compress=compress, protocol=PROTOCOL)


class _PlainBytes:
    """A sink as joblib's file. Arrays inside of object arrays reach a file as ``PickleBuffer``."""

    def __init__(self, sink: Sink) -> None:
        self.tell = sink.tell
        self.flush = sink.flush
        self._sink = sink

    def write(self, data: bytes | bytearray | memoryview | pickle.PickleBuffer, /) -> int:
        with pickle.PickleBuffer(data).raw() as view:
            return self._sink.write(view)


# ── what the writer does here ──────────────────────────────────────────────────


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
    small = [numpy.arange(length) for length in range(1, 6)]
    yield "small arrays", {"first": small, "again": small, "text": "x"}, 0
    yield "large arrays", [numbers, numbers.T, numbers[::2, ::2]], 0
    yield "arrays of objects", [numpy.array(["a", None, numbers], dtype=object)], 0
    yield "structured arrays", numpy.zeros(3, dtype=[("a", "<i4"), ("b", ">f8", (2,))]), 0
    yield "compressed arrays", [numbers, small], 3
