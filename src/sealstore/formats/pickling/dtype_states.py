"""What numpy's own dtypes pickle, written down: sizes, flags and states, without numpy.

``numpy.dtype.__setstate__`` believes what it is told, and is memory-unsafe for it: an ``O8`` that
is told to hold no objects turns array bytes into pointers. So an inspection accepts exactly states
that a dtype made by numpy's public constructor pickles itself (numpy 1 and 2 agree on them), and
nothing else. Keeping them here rather than asking numpy lets an inspection run where nothing may be
imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Final, NamedTuple

from sealstore import limits
from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.refusals import Reason, refused

Keep = Callable[[object], None]

_SHOWN_CHARACTERS: Final = 200

# Flags of numpy's dtypes: NPY_ITEM_REFCOUNT and its neighbours.
HOLDS_OBJECTS: Final = 1
"""Set where elements are, or contain, references to Python objects."""
_NEEDS_INIT: Final = 8
_NEEDS_PYTHON: Final = 16
_ALIGNED_STRUCTURE: Final = 128
_OBJECT_FLAGS: Final = 63
_FROM_FIELDS: Final = 27

_FLAG_VALUES: Final = 256
# No dtype of numpy's has more bytes than a C int counts.
_FLEXIBLE_CODE: Final = re.compile(r"[SUV](0|[1-9][0-9]{0,8})")
_MULTI_BYTE: Final[tuple[str, ...]] = ("<", ">")
_ONE_BYTE: Final[tuple[str, ...]] = ("|",)
# Bytes and alignment, by code.
_NUMBERS: Final = {
    **{f"{kind}{size}": (size, size) for kind in "iu" for size in (1, 2, 4, 8)},
    **{f"f{size}": (size, size) for size in (2, 4, 8, 16)},
    **{f"c{size}": (size, size // 2) for size in (8, 16, 32)},
    "b1": (1, 1),
    "M8": (8, 8),
    "m8": (8, 8),
}
# Bytes a character, alignment, flags and byte orders, by kind.
_FLEXIBLE: Final[dict[str, tuple[int, int, int, tuple[str, ...]]]] = {
    "S": (1, 1, 0, _ONE_BYTE),
    "V": (1, 1, 0, _ONE_BYTE),
    "U": (4, 4, _NEEDS_INIT, _MULTI_BYTE),
}
_TIME_UNITS: Final = frozenset(
    (b"Y", b"M", b"W", b"D", b"h", b"m", b"s", b"ms", b"us", b"ns", b"ps", b"fs", b"as", b"generic")
)
_MAX_TIME_MULTIPLE: Final = 2**31 - 1
_UNSET: Final = -1  # how the state of a dtype of fixed size gives its size and alignment
_STATE_FIELDS: Final = 8


@dataclass(frozen=True, slots=True)
class DtypeFacts:
    """What a reader must know of a dtype.

    Args:
        text: for people, such as ``<f8`` or ``['a' <i4, 'b' |O]``, shortened.
        size: bytes of an element.
        alignment: bytes.
        flags: numpy's.
        is_subarray: whether each element is an array itself. No array has such a dtype.
    """

    text: str
    size: int
    alignment: int
    flags: int
    is_subarray: bool = False

    @property
    def holds_objects(self) -> bool:
        """Whether elements are, or contain, references to Python objects."""
        return bool(self.flags & HOLDS_OBJECTS)


class PickledDtype:
    """A dtype in the making: the arguments of its constructor, then its state, once.

    Args:
        code: the constructor's first argument, such as ``f8`` or ``V16``; None for numpy.record,
            whose size stands in the state alone.
        keep: takes a state that may hold more than numbers and texts.
    """

    __slots__ = ("_code", "_facts", "_keep")
    _sealstore_shown_as = "dtype"

    def __init__(self, code: str | None, keep: Keep) -> None:
        self._code = code
        self._keep = keep
        self._facts: DtypeFacts | None = None

    @property
    def facts(self) -> DtypeFacts:
        """What the state said.

        Raises:
            PayloadFormatError: it has no state yet.
        """
        if self._facts is None:
            raise _contradiction("is used before it has its state")
        return self._facts

    def __setstate__(self, state: object) -> None:
        if self._facts is not None:
            raise _contradiction("is given a state twice")
        self._facts = _common_facts(self._code, state) or self._uncommon_facts(state)

    def _uncommon_facts(self, state: object) -> DtypeFacts:
        self._keep(state)
        return _facts(self._code, state)


def _common_facts(code: str | None, state: object) -> DtypeFacts | None:
    # Most dtypes are those that every payload has: numbers and texts, whose states are flat.
    if type(state) is not tuple or len(state) != _STATE_FIELDS:
        return None
    types = (*map(type, state),)
    if not _FLAT.issuperset(types):
        return None
    key = code, state, types
    facts = _COMMON.get(key)
    if facts is None:
        facts = _facts(code, state)
        if len(_COMMON) < _MAX_COMMON:
            _COMMON[key] = facts
    return facts


_FLAT: Final = frozenset((int, str, type(None)))
_COMMON: Final[dict[object, DtypeFacts]] = {}
"""What was found of states before. Their types stand with them: 1, True and 1.0 are equal."""
_MAX_COMMON: Final = 256


def pickled_dtype(arguments: tuple[object, ...], *, is_record: bool, keep: Keep) -> PickledDtype:
    """The dtype that a call of ``numpy.dtype`` with ``arguments`` begins.

    Args:
        is_record: whether the first argument is the class ``numpy.record``.
        keep: see `PickledDtype`.

    Raises:
        PayloadFormatError: other arguments than numpy pickles.
    """
    if len(arguments) == 3:
        code, align, copy = arguments
        # Old numpy wrote 0 and 1 for False and True.
        if type(align) in (bool, int) and align == 0 and type(copy) in (bool, int) and copy == 1:
            if is_record:
                return PickledDtype(None, keep)
            if type(code) is str and (
                code == "O8" or code in _NUMBERS or _FLEXIBLE_CODE.fullmatch(code)
            ):
                return PickledDtype(code, keep)
    raise refused(Reason.DTYPE, "A dtype in the payload is not one of numpy's own.")


def element_count(shape: object) -> int:
    """The number of elements of ``shape``, which must be exactly a tuple of whole numbers."""
    if (
        type(shape) is not tuple
        or len(shape) > limits.MAX_ARRAY_DIMENSIONS
        or not all(map(_is_length, shape))
    ):
        raise refused(Reason.ARRAY, "A shape in the payload is none that numpy would write.")
    return prod(shape)


def _is_length(length: object) -> bool:
    return type(length) is int and 0 <= length <= limits.MAX_ARRAY_LENGTH


class _State(NamedTuple):
    """The state of a pickled dtype (versions 3 and 4), but for the version."""

    order: object
    subarray: object
    names: object
    fields: object
    size: object
    alignment: object
    flags: object
    metadata: object


def _facts(code: str | None, raw: object) -> DtypeFacts:
    if type(raw) is not tuple or len(raw) not in (_STATE_FIELDS, _STATE_FIELDS + 1):
        raise _contradiction("has a state of another form")
    version, *values = raw if len(raw) > _STATE_FIELDS else (*raw, None)
    if type(version) is not int or version != (3 if len(raw) == _STATE_FIELDS else 4):
        raise _contradiction("has a state of another version")
    state = _State(*values)
    if code in ("M8", "m8"):
        return _time(code, state)
    if state.metadata is not None and type(state.metadata) is not dict:
        raise _contradiction("has metadata of another form")
    if state.names is not None or state.fields is not None:
        return _structure(code, state)
    if state.subarray is not None:
        return _subarray(code, state)
    if code is None:
        raise _contradiction("is a record without fields")
    return _simple(code, state)


def _expect(
    state: _State, facts: DtypeFacts, orders: tuple[str, ...], *, by_code: bool
) -> DtypeFacts:
    """``facts``, if they are what ``state`` says. A state may leave sizes to the code."""
    sizes = (_UNSET, _UNSET) if by_code else (facts.size, facts.alignment)
    stated = (state.size, state.alignment, state.flags)
    if type(state.order) is not str or state.order not in orders:
        raise _contradiction("has a byte order that numpy would not give it")
    # numpy 1 wrote the flags as a signed byte.
    if not all(type(value) is int for value in stated) or stated not in (
        (*sizes, facts.flags),
        (*sizes, facts.flags - _FLAG_VALUES),
    ):
        raise _contradiction("has a size, alignment or flags that numpy would not give it")
    return facts


def _simple(code: str, state: _State) -> DtypeFacts:
    text = f"{state.order}{code}"
    if code == "O8":
        return _expect(state, DtypeFacts("|O", 8, 8, _OBJECT_FLAGS), _ONE_BYTE, by_code=True)
    if code in _NUMBERS:
        size, alignment = _NUMBERS[code]
        orders = _ONE_BYTE if size == 1 else _MULTI_BYTE
        return _expect(state, DtypeFacts(text, size, alignment, 0), orders, by_code=True)
    width, alignment, flags, orders = _FLEXIBLE[code[0]]
    facts = DtypeFacts(text, int(code[1:]) * width, alignment, flags)
    return _expect(state, facts, orders, by_code=False)


def _time(code: str, state: _State) -> DtypeFacts:
    metadata = state.metadata
    if type(metadata) is not tuple or len(metadata) != 2:
        raise _contradiction("has no unit of time")
    extra, unit = metadata
    if (extra is not None and type(extra) is not dict) or type(unit) is not tuple or len(unit) != 4:
        raise _contradiction("has a unit of time of another form")
    name, multiple, divisor, events = unit
    if type(name) is not bytes or name not in _TIME_UNITS:
        raise _contradiction("has a unit of time that numpy does not know")
    numbers = (multiple, divisor, events)
    if not all(type(number) is int for number in numbers) or (divisor, events) != (1, 1):
        raise _contradiction("has a unit of time of another form")
    if not 0 < multiple <= _MAX_TIME_MULTIPLE:
        raise _contradiction("has a multiple of a unit of time that numpy does not know")
    if (state.subarray, state.names, state.fields) != (None, None, None):
        raise _contradiction("has both a unit of time and fields")
    text = f"{state.order}{code}[{'' if multiple == 1 else multiple}{name.decode()}]"
    return _expect(state, DtypeFacts(text, 8, 8, 0), _MULTI_BYTE, by_code=True)


def _subarray(code: str | None, state: _State) -> DtypeFacts:
    if type(state.subarray) is not tuple or len(state.subarray) != 2:
        raise _contradiction("has a shape of another form")
    item, shape = state.subarray
    if type(item) is not PickledDtype:
        raise _contradiction("has elements that are no dtype")
    size = item.facts.size * element_count(shape)
    if code != f"V{size}":
        raise _contradiction("has a shape, and a code that says otherwise")
    text = _shortened(f"{item.facts.text}{list(shape)}")
    facts = DtypeFacts(text, size, item.facts.alignment, item.facts.flags, is_subarray=True)
    return _expect(state, facts, _ONE_BYTE, by_code=False)


def _structure(code: str | None, state: _State) -> DtypeFacts:
    if (
        type(state.names) is not tuple
        or type(state.fields) is not dict
        or state.subarray is not None
    ):
        raise _contradiction("has fields of another form")
    size = state.size
    if type(size) is not int or size < 0 or code not in (None, f"V{size}"):
        raise _contradiction("has fields, and a code that says otherwise")
    fields = _fields(state.names, state.fields)
    aligned = type(state.flags) is int and bool(state.flags & _ALIGNED_STRUCTURE)
    alignment = max((facts.alignment for _, _, facts in fields), default=1) if aligned else 1
    flags = _NEEDS_PYTHON | (_ALIGNED_STRUCTURE if aligned else 0)
    for _, offset, facts in fields:
        flags |= facts.flags & _FROM_FIELDS
        if not 0 <= offset <= size - facts.size or (aligned and offset % facts.alignment):
            raise _contradiction("has a field that does not lie within it")
    _refuse_overlaid_objects([(offset, facts) for _, offset, facts in fields])
    text = _shortened(f"[{', '.join(f'{name!r} {facts.text}' for name, _, facts in fields)}]")
    return _expect(state, DtypeFacts(text, size, alignment, flags), _ONE_BYTE, by_code=False)


def _fields(
    names: tuple[object, ...], fields: dict[object, object]
) -> list[tuple[str, int, DtypeFacts]]:
    found: list[tuple[str, int, DtypeFacts]] = []
    known: set[str] = set()
    for name in names:
        if type(name) is not str or name in known:
            raise _contradiction("has a field without a name of its own")
        field = fields.get(name)
        if type(field) is not tuple or len(field) not in (2, 3):
            raise _contradiction("has a field of another form")
        item, offset, *title = field
        if type(item) is not PickledDtype or type(offset) is not int:
            raise _contradiction("has a field of another form")
        known.add(name)
        if title:
            # A title is a second key for the very same field.
            if type(title[0]) is not str or title[0] in known or fields.get(title[0]) != field:
                raise _contradiction("has a field with a title of another form")
            known.add(title[0])
        found.append((name, offset, item.facts))
    if len(known) != len(fields):
        raise _contradiction("has fields that its names do not list")
    return found


def _refuse_overlaid_objects(fields: list[tuple[int, DtypeFacts]]) -> None:
    end = 0
    holder_end = 0
    for offset, facts in sorted(fields, key=lambda field: field[0]):
        # Bytes that are a number in one field and a reference to an object in another.
        if offset < holder_end or (facts.holds_objects and offset < end):
            raise _contradiction("has a field that lies over one with objects")
        end = max(end, offset + facts.size)
        if facts.holds_objects:
            holder_end = offset + facts.size


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _contradiction(what: str) -> PayloadFormatError:
    return refused(Reason.DTYPE, f"A dtype in the payload {what}.")
