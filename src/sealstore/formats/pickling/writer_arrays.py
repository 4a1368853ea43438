"""Arrays as joblib writes them: a wrapper that describes the array, and its bytes behind it.

What is wrapped is decided as joblib decides it: objects whose type is exactly ``ndarray``,
``matrix`` or ``memmap``. Arrays of other subclasses are pickled as they pickle themselves. An array
that occurs twice is written twice, since joblib does not keep arrays in the pickle's memo.

The pickler asks for each object's persistent id, and for an array it gets one with a sentinel in it
(see ``framing``). Arrays of the same type, order and dtype (the same object) make a *kind*.

The first array of a kind: the id is joblib's own wrapper, whose last attribute is the sentinel. The
pickler describes it in full, and what is left is what joblib writes, but for one ``MEMOIZE`` that
the pickler has counted::

    ... "numpy_array_alignment_bytes" MEMOIZE
    [BINBYTES 00 00 01 00]<BININT1 16, MEMOIZE, SETITEMS, BUILD>
    [sentinel]<padding and bytes>
    [MEMOIZE, SETITEMS, BUILD, BINPERSID] ...

The second one: the id is ``(sentinel, (the class, "subclass", the type, "shape", …), sentinel)``.
The pickler has all of these in its memo by now and writes the numbers under which it has them.
They are read off, and the wrapper is written with them from here; the ``MEMOIZE`` of the two
sentinels and the two tuples are counted::

    ... [BINBYTES 00 00 01 00]
    [sentinel]
    [MEMOIZE, MARK, GET × 10, TUPLE, MEMOIZE, BINBYTES 00 00 01 00]<the wrapper, with 4 MEMOIZE>
    [sentinel]<padding and bytes>
    [MEMOIZE, TUPLE3, MEMOIZE, BINPERSID] ...

All others: the id is the sentinel, and the wrapper is the second's with another shape::

    ... [BINBYTES 00 00 01 00]<the wrapper, with 1 MEMOIZE>
    [sentinel]<padding and bytes>
    [MEMOIZE, BINPERSID] ...

That wrapper is ``GET class, EMPTY_TUPLE, NEWOBJ, MEMOIZE…, EMPTY_DICT, MARK, GET "subclass", GET
type, GET "shape", the shape, GET "order", …, BININT1 16, SETITEMS, BUILD``: the opcodes of a
described one, without the ``MEMOIZE`` of what nothing refers to.
"""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sealstore import limits
from sealstore.formats.pickling.framing import (
    ALIGNMENT,
    LARGE_BYTES,
    PROTOCOL,
    Content,
    FramedOutput,
    UnexpectedStream,
    new_sentinel,
)

if TYPE_CHECKING:
    import numpy

_SCATTERED_CHUNK_BYTES: Final = 16 * limits.MIB
"""Bytes of a large non-contiguous array that are gathered at a time."""

_CACHED_SHAPES: Final = 1024
"""Shapes whose opcodes are remembered: many small arrays have few shapes."""

_BEHIND_WRAPPER: Final = b"\x94ubQ"
_BEHIND_FIRST_OF_TWO: Final = b"\x94"
_BEHIND_SECOND_OF_TWO: Final = b"\x94\x87\x94Q"
_BEHIND_BARE_SENTINEL: Final = b"\x94Q"

_ALIGNMENT_OPCODES: Final = bytes((ord("K"), ALIGNMENT))
_END_OF_DESCRIBED: Final = _ALIGNMENT_OPCODES + b"\x94ub"

_ATTRIBUTES: Final = (
    "subclass",
    "shape",
    "order",
    "dtype",
    "allow_mmap",
    "numpy_array_alignment_bytes",
)
_GET: Final = rb"(h.|j....)"
_GETS: Final = re.compile(rb"\(" + 10 * _GET + rb"t\x94", re.DOTALL)

_Order: TypeAlias = Literal["C", "F"]


def is_numpy_loaded() -> bool:
    """Whether this process has numpy; an object cannot hold arrays otherwise."""
    return sys.modules.get("numpy") is not None


class _Kind:
    """What is known of the arrays of one type, order and dtype.

    Attributes:
        dtype: the dtype; held, since kinds are found by its id.
        template: their wrapper in opcodes; None until its memo numbers are known.
    """

    __slots__ = ("dtype", "template")

    def __init__(self, dtype: numpy.dtype[Any]) -> None:
        self.dtype = dtype
        self.template: _Template | None = None


@dataclass(frozen=True, slots=True)
class _Template:
    """The opcodes of a wrapper: making it, then, around the shape, setting its attributes."""

    make: bytes
    front: bytes
    back: bytes

    @classmethod
    def of(cls, opcodes: bytes, dtype: numpy.dtype[Any]) -> _Template:
        """The template that a described tuple of the attributes gives.

        Raises:
            UnexpectedStream: it does not consist of references to the memo.
        """
        found = _GETS.fullmatch(opcodes)
        if found is None:
            raise UnexpectedStream("an array's attributes are not in the memo")
        wrapper, subclass_key, subclass, shape_key, *rest, alignment_key = found.groups()
        allow_mmap = b"\x89" if dtype.hasobject else b"\x88"
        return cls(
            wrapper + b")\x81",
            b"}(" + subclass_key + subclass + shape_key,
            b"".join((*rest, allow_mmap, alignment_key, _ALIGNMENT_OPCODES, b"ub")),
        )

    def opcodes(self, shape: tuple[int, ...], memoizes: int) -> bytes:
        """A wrapper for an array of this shape, memoised this often."""
        return b"".join(
            (self.make, b"\x94" * memoizes, self.front, _shape_opcodes(shape), self.back)
        )


class ArrayPickler(pickle.Pickler):
    """The C pickler, with arrays written as joblib does.

    Args:
        output: what it writes to.

    Only where numpy is loaded; the plain C pickler is faster, and does the same without arrays.
    """

    # Slots for speed: persistent_id reads them for each object that is pickled.
    __slots__ = ("_kinds", "_matrix", "_memmap", "_ndarray", "_numpy", "_output", "_wrapper_class")

    def __init__(self, output: FramedOutput) -> None:
        import numpy
        from joblib.numpy_pickle import NumpyArrayWrapper

        super().__init__(output, PROTOCOL)
        self._output = output
        self._numpy = numpy
        self._ndarray = numpy.ndarray
        self._matrix = numpy.matrix
        self._memmap = numpy.memmap
        self._wrapper_class: Callable[..., object] = NumpyArrayWrapper
        self._kinds: dict[tuple[type, str, int], _Kind] = {}

    def persistent_id(self, obj: object) -> object:
        """What stands for an array, None for anything else. Called for each object."""
        # By identity: a metaclass may say anything when it is compared or hashed.
        kind = type(obj)
        if kind is self._ndarray or kind is self._matrix or kind is self._memmap:
            return self._id_of_array(obj)
        return None

    def _id_of_array(self, array: Any) -> object:
        dtype = array.dtype
        # fnc: F-contiguous and not C-contiguous.
        order: _Order = "F" if array.flags.fnc else "C"
        content = self._content(array, order)
        key = type(array), order, id(dtype)
        kind = self._kinds.get(key)
        if kind is None:
            self._kinds[key] = _Kind(dtype)
            return self._described(array, order, content)
        if kind.template is None:
            return self._numbered(array, order, content, kind)
        sentinel = new_sentinel()
        opcodes = kind.template.opcodes(array.shape, 1)
        self._output.expect(sentinel, opcodes, content, _BEHIND_BARE_SENTINEL)
        return sentinel

    def _described(self, array: Any, order: _Order, content: Content) -> object:
        sentinel = new_sentinel()
        # First of all: what fails from here on is the technique.
        self._output.expect(sentinel, _END_OF_DESCRIBED, content, _BEHIND_WRAPPER)
        wrapper = self._wrapper_class(
            type(array),
            array.shape,
            order,
            array.dtype,
            allow_mmap=not array.dtype.hasobject,
            numpy_array_alignment_bytes=sentinel,
        )
        if tuple(vars(wrapper)) != _ATTRIBUTES:
            raise UnexpectedStream("this joblib describes arrays by other attributes")
        return wrapper

    def _numbered(self, array: Any, order: _Order, content: Content, kind: _Kind) -> object:
        shape = array.shape
        first, second = new_sentinel(), new_sentinel()

        def wrapper_opcodes(opcodes: bytes) -> bytes:
            kind.template = _Template.of(opcodes, kind.dtype)
            return kind.template.opcodes(shape, 4)

        def expect_second(output: FramedOutput) -> None:
            output.expect(second, wrapper_opcodes, content, _BEHIND_SECOND_OF_TWO)

        self._output.expect(first, b"", expect_second, _BEHIND_FIRST_OF_TWO)
        subclass_key, shape_key, order_key, dtype_key, *keys = _ATTRIBUTES
        attributes = subclass_key, type(array), shape_key, order_key, order, dtype_key, kind.dtype
        return first, (self._wrapper_class, *attributes, *keys), second

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


@lru_cache(maxsize=_CACHED_SHAPES)
def _shape_opcodes(shape: tuple[int, ...]) -> bytes:
    # In protocol 2 an integer is its opcode between PROTO and STOP, without a frame.
    numbers = b"".join(pickle.dumps(number, 2)[2:-1] for number in shape)
    if len(shape) > 3:
        return b"(" + numbers + b"t"
    return numbers + (b")", b"\x85", b"\x86", b"\x87")[len(shape)]
