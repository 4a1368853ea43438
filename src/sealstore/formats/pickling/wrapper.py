"""joblib's stand-in for an array: the state of ``NumpyArrayWrapper``, decoded strictly.

joblib (since 0.10) pickles this wrapper in an array's place and writes the array's bytes right
behind the BUILD opcode that gives the wrapper its state. Everything in that state moves the
reader's position, so the reader that loads and the one that inspects decode it here, by the same
rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sealstore import limits
from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.refusals import Reason, refused, truncated
from sealstore.formats.pickling.stream import ArrayStream

WRAPPER_MODULE: Final = "joblib.numpy_pickle"
WRAPPER_NAME: Final = "NumpyArrayWrapper"

_KEYS_BEFORE_1_2: Final = 5
_KEYS: Final = 6


class WrapperState(NamedTuple):
    """What a wrapper says of its array.

    Args:
        subclass: the array's class, as the stream's names were resolved.
        shape: elements by dimension.
        order: ``C`` or ``F``.
        dtype: the array's dtype, as the stream's names were resolved.
        allow_mmap: whether joblib lets the array be mapped.
        padded: whether a length byte and so many bytes of padding stand before the array's.
        elements: the number of elements.
    """

    subclass: object
    shape: tuple[int, ...]
    order: str
    dtype: object
    allow_mmap: bool
    padded: bool
    elements: int


# The tuple's own constructor: arrays come by the ten thousand, and the named one is Python code.
_new_state: Final = tuple.__new__


def decode_wrapper_state(state: object) -> WrapperState:
    """The wrapper's state, if it is exactly one that joblib writes.

    Raises:
        PayloadFormatError: a key too many or too few (joblib would call a planted ``read``), or a
            value that is not of exactly the built-in type that joblib writes.
        LimitExceededError: more dimensions than numpy knows.
    """
    if type(state) is not dict:
        raise _malformed("has no attributes")
    try:
        subclass = state["subclass"]
        shape = state["shape"]
        order = state["order"]
        dtype = state["dtype"]
        allow_mmap = state["allow_mmap"]
        # All five, or all six, and no other.
        padded = len(state) != _KEYS_BEFORE_1_2 and _is_padded(state["numpy_array_alignment_bytes"])
    except KeyError:
        raise _malformed("lacks an attribute that joblib gives it") from None
    if len(state) > _KEYS:
        raise _malformed("has attributes that joblib does not give it")
    if type(order) is not str or (order != "C" and order != "F"):
        raise _malformed("has an order that is neither C nor F")
    if type(allow_mmap) is not bool:
        raise _malformed("does not say whether it may be mapped")
    if type(shape) is not tuple:
        raise _malformed("has a shape that is not a tuple")
    if len(shape) > limits.MAX_ARRAY_DIMENSIONS:
        raise refused(Reason.LIMIT, f"An array of the payload has {len(shape)} dimensions.")
    count = 1
    for length in shape:
        if type(length) is not int or not 0 <= length <= limits.MAX_ARRAY_LENGTH:
            raise _malformed("has a shape that is not made of whole numbers")
        count *= length
    return _new_state(WrapperState, (subclass, shape, order, dtype, allow_mmap, padded, count))


def _is_padded(alignment: object) -> bool:
    if alignment is None:
        return False
    if type(alignment) is not int or not 0 < alignment < 256:
        raise _malformed("has an alignment that is no number of bytes")
    return True


def place_array(stream: ArrayStream, state: WrapperState, item_size: int) -> tuple[int, int]:
    """Where the array's bytes lie: their offset in the memory and their number.

    Args:
        item_size: bytes of one element, at least one.

    Raises:
        PayloadFormatError: more bytes than are left.
    """
    offset = stream.position
    end = len(stream.memory)
    if state.padded:
        if offset == end:
            raise truncated()
        offset += 1 + stream.memory[offset]
    size = item_size * state.elements
    if offset + size > end:
        raise refused(Reason.ARRAY, "An array of the payload claims more bytes than there are.")
    return offset, size


class WrapperClass:
    """A class that stands for joblib's wrapper, in one stream at a time.

    Classes take longer to make than small payloads to load, and only the collector frees them, with
    all that they hold. So they are used again, and hold nothing in between.
    """

    def __init__(self) -> None:
        self._on_built: list[Callable[[object], None]] = []
        hooks = self._on_built

        class NumpyArrayWrapper:
            __slots__ = ()

            def __setstate__(self, state: object) -> None:
                for hook in hooks:
                    hook(state)

        self.stand_in: type = NumpyArrayWrapper

    @classmethod
    def take(cls, on_built: Callable[[object], None]) -> WrapperClass:
        """One for a stream: ``on_built`` is called with the state of each wrapper that is built."""
        try:
            taken = _IDLE.pop()  # two threads never get the same one
        except IndexError:
            taken = cls()
        taken._on_built.append(on_built)
        return taken

    def put_back(self) -> None:
        """Take it back from its stream."""
        self._on_built.clear()
        if len(_IDLE) < _MAX_IDLE:
            _IDLE.append(self)


class MappedArrayClass:
    """Stands for ``numpy.memmap``, which a wrapper names where an array lay in a mapped file.

    joblib returns such an array as a plain one. To be called the class opens files, so no stream
    ever gets it.
    """

    __slots__ = ("__weakref__",)
    _sealstore_shown_as = "global numpy:memmap"

    def __call__(self, *_arguments: object) -> object:
        """Refuse, as it is no array's class that is wanted here.

        Raises:
            PayloadFormatError: always.
        """
        raise refused(Reason.ARRAY, "The payload maps a file into memory.")


_IDLE: Final[list[WrapperClass]] = []
_MAX_IDLE: Final = 16  # streams that are read at the same time


def _malformed(what: str) -> PayloadFormatError:
    return refused(Reason.ARRAY, f"An array's wrapper in the payload {what}.")
