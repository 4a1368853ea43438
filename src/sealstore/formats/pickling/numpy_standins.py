"""numpy's objects in an inspection: dtypes, arrays and scalars, judged without numpy.

What a stream says of them is held against what numpy itself would have pickled, because numpy
believes some of it: a dtype's state, the shape that ``_reconstruct`` allocates. See `dtype_states`.

Small arrays stand in the stream, as calls of ``numpy.ndarray`` over a buffer. Such a buffer belongs
to one array, and nothing else may have it or change it. A stream can refer to it by the memo at any
time, before the call and behind it, so that this is judged at the stream's end: by then whatever
was handed to anybody has been kept, and each buffer must have no reference left but the record of
its call. One way to hand it on remains unseen: as the value of a dict under two keys that only real
objects tell apart.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, NoReturn

from sealstore import limits
from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.dtype_states import (
    HOLDS_OBJECTS,
    DtypeFacts,
    PickledDtype,
    element_count,
    pickled_dtype,
)
from sealstore.formats.pickling.refusals import Reason, refused
from sealstore.formats.pickling.standins import (
    Arguments,
    MetName,
    NamedType,
    Prepare,
    Recorder,
    ResultType,
    Unchangeable,
    answering,
    foreign_state,
)
from sealstore.formats.pickling.uses import UseKind, shown
from sealstore.formats.pickling.wrapper import WrapperState

_PLAIN_CLASSES: Final = frozenset(
    (
        "numpy:ndarray",
        "numpy:matrix",
        "numpy.matrixlib.defmatrix:matrix",
        "numpy:memmap",
        "numpy.core.memmap:memmap",
    )
)
_RECORDS: Final = frozenset(("numpy:record", "numpy.rec:record", "numpy.core.records:record"))
_STRING_DTYPE: Final = "numpy._core._internal:_convert_to_stringdtype_kwargs"
# Its elements are pickled as a list of strings, as an array of objects is.
_STRING_FACTS: Final = DtypeFacts("StringDType", size=16, alignment=8, flags=1)
_ARRAY_STATE_FIELDS: Final = 5
_ARRAY_STATE_VERSION: Final = 1

Shape = tuple[int, ...]
Kind = tuple[str, Shape]
"""An array's dtype, as a text, and its shape."""


@dataclass(frozen=True, slots=True)
class ArrayKind:
    """Arrays of one dtype and shape, and how many there are."""

    dtype: str
    shape: tuple[int, ...]
    count: int


class InertArray(Unchangeable):
    """Stands for an array that joblib's wrapper announced. Nothing ever changes such an array."""

    __slots__ = ()
    _sealstore_shown_as = "array"


class ReconstructedArray(Unchangeable):
    """Stands for what ``_reconstruct`` made: an array that waits for its state, once."""

    __slots__ = ("_has_state", "_subclass")
    _sealstore_shown_as = "array"

    def __init__(self, subclass: MetName) -> None:
        self._subclass = subclass
        self._has_state = False

    def __setstate__(self, state: object) -> None:  # a BUILD that is right
        if self._has_state:
            raise foreign_state()
        self._has_state = True
        self._subclass.uses.keep(state)
        plain = self._subclass.name in _PLAIN_CLASSES
        if type(state) is tuple and len(state) == _ARRAY_STATE_FIELDS and _facts(state[2]):
            _judge_array_state(state)
        elif plain:
            raise _malformed_array("has a state of another form")
        if not plain:
            self._subclass.states.append(state)


class DtypeName(Unchangeable):
    """Stands for ``numpy.dtype`` itself, of which no stream makes instances but by calling it."""

    __slots__ = ("_met",)

    def __init__(self, met: MetName) -> None:
        self._met = met

    def __call__(self, *arguments: object) -> PickledDtype:
        """Answer REDUCE."""
        uses = self._met.uses
        uses.note(UseKind.CALLED, arguments)
        first = arguments[0] if arguments else None
        is_record = isinstance(first, NamedType) and first.met.name in _RECORDS
        return pickled_dtype(arguments, is_record=is_record, keep=uses.keep)

    @property
    def _sealstore_shown_as(self) -> str:
        return f"global {self._met.name}"


class ArrayRecorder:
    """The arrays of one payload: what makes none, and writes down their dtypes and shapes."""

    def __init__(self) -> None:
        self._counts: dict[Kind, list[int]] = {}
        self._left_out = [0]
        # Dtypes already judged, by their ids, which stay theirs while they are kept.
        self._judged: dict[int, tuple[object, DtypeFacts]] = {}
        # Dtypes and shapes of calls that were judged: the buffer's size, and what counts them.
        self._called: dict[tuple[int, Shape], tuple[int, list[int], object]] = {}
        self._buffers: list[bytearray] = []

    @property
    def left_out(self) -> int:
        """How many arrays there are of kinds for which there was no room."""
        return self._left_out[0]

    def special_names(self) -> dict[tuple[str, str], Prepare]:
        """For a `Recorder`: the names by which numpy pickles its own objects."""
        return {
            **_NUMPY_NAMES,
            ("numpy", "ndarray"): self._be_class,
            ("numpy.core.numeric", "_frombuffer"): answering(self._from_buffer),  # before numpy 2
            ("numpy._core.numeric", "_frombuffer"): answering(self._from_buffer),
        }

    def refuse_shared_buffers(self) -> None:
        """Return if each buffer that an array was made of belongs to it alone.

        To be called when a stream has ended, while its object and all that was noted are kept, and
        its memo is not.

        Raises:
            PayloadFormatError: one is referenced by something else, or was changed.
        """
        alone = set(map(sys.getrefcount, [bytearray()]))
        if any(self._buffers) or not alone.issuperset(map(sys.getrefcount, self._buffers)):
            raise _malformed_array("shares its buffer, which something else could change")

    def item_size(self, state: WrapperState) -> int | None:
        """Bytes of one element, or None where the array's elements are objects.

        Raises:
            PayloadFormatError: a class or a dtype that joblib does not write.
        """
        subclass = state.subclass
        if not isinstance(subclass, NamedType) or subclass.met.name not in _PLAIN_CLASSES:
            raise _malformed_array("is of a class that joblib never writes")
        judged = self._judged.get(id(state.dtype))
        facts = self._judge(state.dtype) if judged is None else judged[1]
        return None if facts.flags & HOLDS_OBJECTS else facts.size

    def from_memory(self, state: WrapperState, _offset: int, _size: int) -> InertArray:
        """Write down an array, and return what stands for it."""
        self._counter(self._judged[id(state.dtype)][1].text, state.shape)[0] += 1
        return _INERT_ARRAY

    def finished(self, state: WrapperState, array: object) -> InertArray:
        """Write down an array of objects, and return what stands for it.

        Raises:
            PayloadFormatError: its nested stream did not make an array.
        """
        if type(array) is not ReconstructedArray:
            raise _malformed_array("of objects is announced where something else stands")
        self._counter(self._judged[id(state.dtype)][1].text, state.shape)[0] += 1
        return _INERT_ARRAY

    def kinds(self) -> tuple[ArrayKind, ...]:
        """The arrays' dtypes and shapes, in the order in which they were met."""
        return tuple(ArrayKind(*kind, count) for kind, (count,) in self._counts.items())

    def _judge(self, dtype: object) -> DtypeFacts:
        facts = _facts(dtype)
        if facts is None:
            raise refused(Reason.DTYPE, "An array of the payload has no dtype.")
        if facts.size < 1:
            raise refused(Reason.DTYPE, "An array of the payload has elements without a size.")
        self._judged[id(dtype)] = dtype, facts
        return facts

    def _be_class(self, _recorder: Recorder, met: MetName) -> None:
        known, buffers = self._called, self._buffers
        forms: set[int] = set()

        def call(*arguments: object) -> InertArray:
            """Answer a call of ``numpy.ndarray``: ``(shape, dtype, buffer)``.

            Behind these may stand ``0, None, "F"``, for Fortran order. One function does it all,
            since arrays come by the ten thousand.
            """
            form = len(arguments)
            if form == _PLAIN_FORM:
                shape, dtype, buffer = arguments
            else:
                shape, dtype, buffer = _without_order(arguments)
            if type(buffer) is not bytearray or type(shape) is not tuple:
                raise _malformed_call()
            for length in shape:
                if type(length) is not int:
                    raise _malformed_call()
            key = id(dtype), shape
            size, counter, _ = known.get(key) or self._judged_call(key, dtype)
            if size != len(buffer):
                raise _malformed_array("has a buffer of another size than its shape announces")
            # Emptied, it has no element to set, fits no other array, and shows what is added to it.
            buffer.clear()
            buffers.append(buffer)
            counter[0] += 1
            if form not in forms:
                forms.add(form)
                met.uses.note_texts(
                    UseKind.CALLED, _CALLED if form == _PLAIN_FORM else _CALLED_FOR_FORTRAN
                )
            return _INERT_ARRAY

        met.on_call = call
        met.on_make = _refuse_instance

    def _judged_call(self, key: tuple[int, Shape], dtype: object) -> tuple[int, list[int], object]:
        facts = dtype.facts if type(dtype) is PickledDtype else None
        if facts is None or facts.holds_objects or facts.is_subarray or facts.size < 1:
            raise _malformed_array("is made of a buffer with a dtype that fits none")
        shape = key[1]
        judged = element_count(shape) * facts.size, self._counter(facts.text, shape), dtype
        if len(self._called) < limits.MAX_ARRAY_KINDS:
            self._called[key] = judged
        return judged

    def _from_buffer(self, _recorder: Recorder, met: MetName, arguments: Arguments) -> object:
        facts = _facts(arguments[1]) if len(arguments) in (4, 5) else None
        if facts is None or facts.holds_objects:
            raise _malformed_array("is made of a buffer with other arguments than numpy writes")
        buffer = arguments[0]
        _expect_data(buffer, arguments[1], arguments[2])
        if type(buffer) is bytearray:
            buffer.clear()
            self._buffers.append(buffer)
        met.uses.note_texts(UseKind.CALLED, (*map(shown, arguments),))
        return met.result

    def _counter(self, dtype: str, shape: Shape) -> list[int]:
        """What counts the arrays of one kind."""
        kind = dtype, shape
        if kind not in self._counts and len(self._counts) >= limits.MAX_ARRAY_KINDS:
            return self._left_out
        return self._counts.setdefault(kind, [0])


_INERT_ARRAY: Final = InertArray()
_PLAIN_FORM: Final = 3
_FORTRAN_FORM: Final = 6
_CALLED: Final = ("tuple", "dtype", "bytearray")
_CALLED_FOR_FORTRAN: Final = (*_CALLED, "int 0", "none", "str 'F'")
"""How the two forms of a call are noted, which the policy knows."""


def _refuse_instance(_arguments: Arguments) -> NoReturn:
    raise _malformed_call()


def _without_order(arguments: Arguments) -> Arguments:
    if len(arguments) != _FORTRAN_FORM:
        raise _malformed_call()
    offset, strides, order = arguments[_PLAIN_FORM:]
    if type(offset) is not int or offset != 0 or strides is not None:
        raise _malformed_call()
    if type(order) is not str or order != "F":
        raise _malformed_call()
    return arguments[:_PLAIN_FORM]


def _malformed_call() -> PayloadFormatError:
    return _malformed_array("is made with other arguments than sealstore writes")


def _facts(dtype: object) -> DtypeFacts | None:
    if type(dtype) is PickledDtype:
        return dtype.facts
    if isinstance(dtype, ResultType) and dtype.met.name == _STRING_DTYPE:
        return _STRING_FACTS
    return None


def _judge_array_state(state: tuple[object, ...]) -> None:
    version, shape, dtype, fortran, data = state
    if type(version) is not int or version != _ARRAY_STATE_VERSION:
        raise _malformed_array("has a state of another version")
    if type(fortran) not in (bool, int):
        raise _malformed_array("does not say in which order its elements stand")
    _expect_data(data, dtype, shape)


def _expect_data(data: object, dtype: object, shape: object) -> None:
    facts = _facts(dtype)
    count = element_count(shape)
    if facts is not None:
        if facts.holds_objects:
            if type(data) is list and len(data) == count:
                return
        elif type(data) in (bytes, bytearray) and len(data) == count * facts.size:  # type: ignore[arg-type] # it has a length
            return
    raise _malformed_array("has other data than its dtype and shape announce")


def _reconstruct(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    met.uses.note(UseKind.CALLED, arguments)
    if len(arguments) == 3 and isinstance(arguments[0], NamedType) and _is_empty(arguments[1]):
        subclass = arguments[0].met
        if subclass.name not in _PLAIN_CLASSES:
            subclass.make(())
        return ReconstructedArray(subclass)
    raise _malformed_array("is made with other arguments than numpy writes")


def _masked_reconstruct(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    if len(arguments) != 4 or not _is_empty(arguments[2]):
        raise _malformed_array("with a mask is made with other arguments than numpy writes")
    return met.call(arguments)


def _scalar(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    if len(arguments) != 2:
        raise _malformed_array("scalar is made with other arguments than numpy writes")
    dtype, data = arguments
    facts = _facts(dtype)
    # Of a structure with objects numpy takes an array, and checks that it is one.
    if facts is None or not facts.holds_objects or type(data) is bytes:
        _expect_data(data, dtype, ())
    met.uses.keep(arguments)
    met.uses.note_texts(UseKind.CALLED, ("dtype", "bytes" if type(data) is bytes else "other"))
    return met.result


def _is_empty(shape: object) -> bool:
    return type(shape) is tuple and len(shape) == 1 and type(shape[0]) is int and shape[0] == 0


def _malformed_array(what: str) -> PayloadFormatError:
    return refused(Reason.ARRAY, f"An array of the payload {what}.")


def _be_dtype(_recorder: Recorder, met: MetName) -> None:
    met.stand_in_with(DtypeName(met))


def _special_names() -> dict[tuple[str, str], Prepare]:
    names: dict[tuple[str, str], Prepare] = {
        ("numpy", "dtype"): _be_dtype,
        ("numpy.ma.core", "_mareconstruct"): answering(_masked_reconstruct),
    }
    for core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
        names[f"{core}.multiarray", "_reconstruct"] = answering(_reconstruct)
        names[f"{core}.multiarray", "scalar"] = answering(_scalar)
    return names


_NUMPY_NAMES: Final = _special_names()
