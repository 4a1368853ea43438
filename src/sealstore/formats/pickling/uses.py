"""What a stream does with a name that it imports, written down within caps."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from sealstore import limits


class UseKind(StrEnum):
    """How a stream can use a name."""

    __hash__ = str.__hash__  # Enum's own is Python code, and uses are looked up for each call

    CALLED = "called"
    """REDUCE, OBJ or INST: it is called, with arguments."""
    MADE = "made"
    """NEWOBJ: an instance is made by ``__new__``, with arguments."""
    BUILT = "built"
    """BUILD: an instance, or what a call returned, is given its state. A state that is a tuple is
    shown as arguments."""
    EXTENDED = "extended"
    """APPENDS, ADDITEMS or SETITEMS on an instance, or on what a call returned."""
    RESULT_CALLED = "result-called"
    """What a call of it returned is called in turn, or made an instance of."""


class Use(NamedTuple):
    """One use, and the arguments it was used with: None where none belong to it or too many differ.

    Arguments are shown as ``global module:qualname``, ``str 'text'``, ``int 3`` or ``bool True``,
    and everything else as what kind of thing it is.
    """

    use: UseKind
    arguments: tuple[str, ...] | None


class Import(NamedTuple):
    """A name that loading would import, with its uses. Without one, it is only referred to."""

    module: str
    qualname: str
    uses: tuple[Use, ...]

    @property
    def name(self) -> str:
        """``module:qualname``."""
        return f"{self.module}:{self.qualname}"


class ArgumentBudget:
    """How many argument lists may still be noted, over all names of one payload.

    Attributes:
        kept: what was handed to names and may hold a buffer of an array, until the stream has
            ended. A load, which makes real objects of it, keeps it too.
    """

    def __init__(self) -> None:
        self.left = limits.MAX_ARGUMENT_LISTS
        self.kept: list[object] = []


SHOWN_AS: Final = "_sealstore_shown_as"
"""The attribute that says how a stand-in is shown among arguments."""

_SHOWN_INT_BITS: Final = 64

_OPAQUE_KINDS: Final[dict[type, str]] = {
    type(None): "none",
    tuple: "tuple",
    list: "list",
    dict: "dict",
    set: "set",
    frozenset: "frozenset",
    bytes: "bytes",
    bytearray: "bytearray",
    float: "float",
}


_OPAQUE: Final = frozenset(_OPAQUE_KINDS)
_MAY_HOLD_BUFFERS: Final = frozenset((bytearray, tuple, list, dict))
QUICK_TO_HASH: Final = {str, int, bool, type(None), float}
"""Types of arguments that are hashed in no time, whatever a stream made of them."""


class Uses:
    """The uses of one name.

    Args:
        budget: shared by all names of a payload.
    """

    __slots__ = ("_budget", "_counts", "_kinds", "_lists", "_values")

    def __init__(self, budget: ArgumentBudget) -> None:
        self._budget = budget
        self._lists: dict[tuple[UseKind, tuple[str, ...] | None], None] = {}
        # Argument lists by use; _CLOSED where there are too many to tell apart.
        self._counts: dict[UseKind, int] = {}
        # Argument types that say everything there is to show.
        self._kinds: set[tuple[object, ...]] = set()
        # Arguments as they were, for those that come again and again. Their types stand with them:
        # 1, True and 1.0 are equal and not the same.
        self._values: set[tuple[object, ...]] = set()

    def note(self, use: UseKind, arguments: tuple[object, ...]) -> None:
        """Note ``use`` with ``arguments``, unless they look the same as some noted before."""
        kinds = (use, *map(type, arguments))
        if not _MAY_HOLD_BUFFERS.isdisjoint(kinds):
            self._budget.kept.append(arguments)
        if kinds in self._kinds or self._counts.get(use) == _CLOSED:
            return
        if len(arguments) > limits.MAX_SHOWN_ARGUMENTS:
            texts = (*map(shown, arguments[: limits.MAX_SHOWN_ARGUMENTS]), "and more")
        elif _OPAQUE.issuperset(kinds[1:]):
            self._kinds.add(kinds)
            texts = (*map(shown, arguments),)
        elif self._met_before(kinds, arguments):
            return
        else:
            texts = (*map(shown, arguments),)
        self.note_texts(use, texts)

    def note_texts(self, use: UseKind, texts: tuple[str, ...]) -> None:
        """Note ``use`` with arguments that are shown as ``texts``."""
        if (use, texts) in self._lists:
            return
        count = self._counts.get(use, 0)
        if count == _CLOSED:
            return
        if count >= limits.MAX_ARGUMENT_LISTS_A_NAME or self._budget.left < 1:
            self._counts[use] = _CLOSED
            self._lists = {known: None for known in self._lists if known[0] is not use}
            self._lists[use, None] = None
            return
        self._budget.left -= 1
        self._counts[use] = count + 1
        self._lists[use, texts] = None

    def note_plain(self, use: UseKind) -> None:
        """Note ``use``, which has no arguments."""
        self._lists[use, None] = None

    def keep(self, value: object) -> None:
        """Keep ``value``, which may hold a buffer, until the stream has ended."""
        self._budget.kept.append(value)

    def all(self) -> tuple[Use, ...]:
        """All uses, by kind and in the order in which they were met."""
        found = sorted(self._lists, key=_use_of) if len(self._lists) > 1 else self._lists
        return tuple([Use(use, arguments) for use, arguments in found])

    def _met_before(self, kinds: tuple[object, ...], arguments: tuple[object, ...]) -> bool:
        if not QUICK_TO_HASH.issuperset(kinds[1:]):
            return False
        key = kinds, arguments
        if key in self._values:
            return True
        if len(self._values) < limits.MAX_ARGUMENT_LISTS_A_NAME:
            self._values.add(key)
        return False


_CLOSED: Final = -1


def _use_of(noted: tuple[UseKind, tuple[str, ...] | None]) -> UseKind:
    return noted[0]


def shown(value: object) -> str:
    """``value`` as it is shown among arguments."""
    kind = type(value)
    opaque = _OPAQUE_KINDS.get(kind)
    if opaque is not None:
        return opaque
    if type(value) is str:
        return _shown_text(value)
    if type(value) is int:
        return f"int {value}" if value.bit_length() <= _SHOWN_INT_BITS else "int"
    if type(value) is bool:
        return f"bool {value}"
    stand_in: object = getattr(value, SHOWN_AS, None)
    return stand_in if type(stand_in) is str else "other"


def _shown_text(text: str) -> str:
    if len(text) <= limits.MAX_SHOWN_CHARACTERS:
        return f"str {text!r}"
    return f"str {text[: limits.MAX_SHOWN_CHARACTERS]!r} and more"
