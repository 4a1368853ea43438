"""joblib's stand-in for an array: the state of ``NumpyArrayWrapper``, decoded strictly.

joblib (since 0.10) pickles this wrapper in an array's place and writes the array's bytes right
behind the BUILD opcode that gives the wrapper its state. Everything in that state moves the
reader's position, so the reader that loads and the one that inspects decode it here, by the same
rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sealstore import limits
from sealstore.errors import LimitExceededError, PayloadFormatError
from sealstore.pickling.stream import ArrayStream, truncated

WRAPPER_MODULE: Final = "joblib.numpy_pickle"
WRAPPER_NAME: Final = "NumpyArrayWrapper"

_KEYS_BEFORE_1_2: Final = frozenset(("subclass", "shape", "order", "dtype", "allow_mmap"))
_KEYS: Final = _KEYS_BEFORE_1_2 | {"numpy_array_alignment_bytes"}


@dataclass(slots=True)
class WrapperState:
    """What a wrapper says of its array.

    Args:
        subclass: the array's class, as the stream's names were resolved.
        shape: elements by dimension.
        order: ``C`` or ``F``.
        dtype: the array's dtype, as the stream's names were resolved.
        allow_mmap: whether joblib lets the array be mapped.
        padded: whether a length byte and so many bytes of padding stand before the array's.
    """

    subclass: object
    shape: tuple[int, ...]
    order: str
    dtype: object
    allow_mmap: bool
    padded: bool


def decode_wrapper_state(state: object) -> WrapperState:
    """The wrapper's state, if it is exactly one that joblib writes.

    Raises:
        PayloadFormatError: a key too many or too few (joblib would call a planted ``read``), or a
            value that is not of exactly the built-in type that joblib writes.
        LimitExceededError: more dimensions than numpy knows.
    """
    if type(state) is not dict or not (state.keys() == _KEYS or state.keys() == _KEYS_BEFORE_1_2):
        raise _malformed("does not have exactly the attributes that joblib gives it")
    shape = state["shape"]
    if type(shape) is not tuple:
        raise _malformed("has a shape that is not a tuple")
    if len(shape) > limits.MAX_ARRAY_DIMENSIONS:
        raise LimitExceededError(f"An array has {len(shape)} dimensions.")
    for length in shape:
        if type(length) is not int or length < 0:
            raise _malformed("has a shape that is not made of whole numbers")
    order = state["order"]
    if type(order) is not str or order not in ("C", "F"):
        raise _malformed("has an order that is neither C nor F")
    allow_mmap = state["allow_mmap"]
    if type(allow_mmap) is not bool:
        raise _malformed("does not say whether it may be mapped")
    alignment = state.get("numpy_array_alignment_bytes")
    if alignment is not None and (type(alignment) is not int or not 0 < alignment < 256):
        raise _malformed("has an alignment that is no number of bytes")
    return WrapperState(
        state["subclass"], shape, order, state["dtype"], allow_mmap, alignment is not None
    )


def place_array(stream: ArrayStream, state: WrapperState, item_size: int) -> tuple[int, int]:
    """Where the array's bytes lie: their offset in the memory and their number.

    Args:
        item_size: bytes of one element.

    Raises:
        PayloadFormatError: more bytes than are left, or elements of no size.
    """
    if item_size < 1:
        raise _malformed("has elements without a size")
    offset = stream.position
    left = stream.bytes_left
    if state.padded:
        if left < 1:
            raise truncated()
        padding = 1 + stream.memory[offset]
        offset += padding
        left -= padding
    size = item_size
    for length in state.shape:
        size *= length
    if size > left:
        raise PayloadFormatError("An array of the payload claims more bytes than there are.")
    return offset, size


def wrapper_class(on_built: Callable[[object], None]) -> tuple[type, Callable[[], None]]:
    """A class that stands for joblib's wrapper in one stream, and what ends it.

    A class is garbage that only the collector frees; ended, it keeps nothing of the stream alive.

    Args:
        on_built: called with the state when a wrapper of that class is built.
    """
    built: list[Callable[[object], None]] = [on_built]

    class NumpyArrayWrapper:
        __slots__ = ("_built",)

        def __setstate__(self, state: object) -> None:
            if not built or hasattr(self, "_built"):
                raise _malformed("is built twice")
            self._built = True
            built[0](state)

    return NumpyArrayWrapper, built.clear


def _malformed(what: str) -> PayloadFormatError:
    return PayloadFormatError(f"An array's wrapper in the payload {what}.")
