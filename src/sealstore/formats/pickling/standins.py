"""Inert stand-ins for everything that a stream imports.

The C unpickler insists on types where it makes instances, and calls, builds, extends and indexes
whatever the stream says. So each name is a type of its own here, whose metaclass answers calls;
what a call returns is a type as well, since streams of protocols 2 and 3 make instances of nested
classes that a call of ``getattr`` returned. All calls of one name return the same type, and all its
instances are one. Nothing is imported, nothing of the payload runs, and each use is noted.

Where the unpickler calls a method for each object, it is one of a built-in container, so that it
runs at C speed: ``__setstate__`` is the ``append`` of a list of states that is looked through at
the end.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from operator import attrgetter
from typing import Any, Final, NoReturn

from sealstore import limits
from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.instance_states import InstanceStates
from sealstore.formats.pickling.refusals import Reason, refused
from sealstore.formats.pickling.uses import QUICK_TO_HASH, ArgumentBudget, UseKind, Uses

Arguments = tuple[object, ...]


def foreign_state() -> PayloadFormatError:
    """The error for a state, or items, for something that the stream did not make."""
    return refused(
        Reason.FOREIGN_STATE, "The payload changes something that it did not make itself."
    )


def _refuse(_self: object) -> NoReturn:
    raise foreign_state()


class Unchangeable:
    """Refuses BUILD, SETITEMS, APPENDS and ADDITEMS."""

    __slots__ = ()

    def __setitem__(self, _key: object, _value: object) -> None:
        raise foreign_state()

    # BUILD, APPENDS and ADDITEMS look these up.
    __setstate__ = extend = add = property(_refuse)


class NamedType(Unchangeable, type):
    """The metaclass of names: to change one would patch a real class for the whole process."""

    met: MetName

    # REDUCE, OBJ and INST call what this returns, without a call of Python code in between.
    __call__ = property(attrgetter("met.on_call"))

    @property
    def _sealstore_shown_as(cls) -> str:
        return f"global {cls.met.name}"


def _append_state(result: ResultType) -> Callable[[object], None]:
    return result.met.states.append


def _append_addition(result: ResultType) -> Callable[[object], None]:
    return result.met.additions.append


class ResultType(type):
    """The metaclass of what calls return."""

    met: MetName

    def __call__(cls, *arguments: object) -> Any:
        """Answer a call of what a call returned."""
        return cls.met.call_result(arguments)

    def __setitem__(cls, key: object, value: object) -> None:
        cls.met.additions.append((key, value))

    # BUILD, APPENDS and ADDITEMS look these up.
    __setstate__ = property(_append_state)
    extend = add = property(_append_addition)

    @property
    def _sealstore_shown_as(cls) -> str:
        return f"result {cls.met.name}"


QUICK_TO_HASH.update((NamedType, ResultType))


class MetName:
    """A name that a stream imports: its stand-ins, and what was done with them.

    To make its types takes longer than to inspect a small payload, so that names are used again.

    Args:
        budget: shared by all names of a payload.
    """

    def __init__(self, module: str, qualname: str, budget: ArgumentBudget) -> None:
        self.module = module
        self.qualname = qualname
        self.name = f"{module}:{qualname}"
        self.states: list[object] = InstanceStates()
        self.additions: list[object] = []
        self.uses: Uses
        self.on_call: Callable[..., object]
        self.on_make: Callable[[Arguments], object]
        self.begin(budget)
        self._items: dict[object, object] = {}
        self._result: ResultType | None = None
        self._instance: object = None
        self._stand_in: Any = None

    @property
    def stand_in(self) -> Any:
        """What stands for the name itself: a type, unless `stand_in_with` has set another."""
        if self._stand_in is None:
            self._stand_in = self._named_type()
            self._instance = object.__new__(self._stand_in)
        return self._stand_in

    def stand_in_with(self, stand_in: object) -> None:
        """Have ``stand_in``, which is no type, stand for the name."""
        self._stand_in = stand_in

    @property
    def result(self) -> ResultType:
        """What stands for everything that calls return."""
        if self._result is None:

            def __new__(_cls: type, *arguments: object, **keywords: object) -> object:  # noqa: N807 # it is one
                return self.call_result((*arguments, *chain(*keywords.items())))

            self._result = ResultType(
                "result", (), {"__slots__": (), "__new__": __new__, "met": self}
            )
        return self._result

    def called(self, *arguments: object) -> object:
        """Note a call, and return the stand-in for its result."""
        self.uses.note(UseKind.CALLED, arguments)
        return self.result

    def call(self, arguments: Arguments) -> object:
        """Note a call, and return the stand-in for its result."""
        self.uses.note(UseKind.CALLED, arguments)
        return self.result

    def call_result(self, arguments: Arguments) -> object:
        """Note a call of what a call returned."""
        self.uses.note(UseKind.RESULT_CALLED, arguments)
        return self.result

    def make(self, arguments: Arguments) -> object:
        """Answer that an instance is made."""
        return self.on_make(arguments)

    def note_made(self, arguments: Arguments) -> object:
        """Note that an instance is made, and return the stand-in for all of them."""
        self.uses.note(UseKind.MADE, arguments)
        return self._instance

    def note_changes(self) -> None:
        """Note, when the stream has ended, the states and items that its objects were given."""
        attributes: object = None
        for state in self.states:
            # Most objects have a dict of attributes for their state, and it says nothing here.
            if type(state) is dict:
                attributes = state
            else:
                self.uses.note(UseKind.BUILT, state if type(state) is tuple else (state,))
        if attributes is not None:
            self.uses.note(UseKind.BUILT, (attributes,))
        if self.additions or self._items:
            self.uses.note_plain(UseKind.EXTENDED)

    def begin(self, budget: ArgumentBudget) -> None:
        """Be as new, for another payload."""
        self.uses = Uses(budget)
        self.on_call = self.called
        self.on_make = self.note_made

    def end(self) -> None:
        """Forget the payload."""
        self.states.clear()
        self.additions.clear()
        self._items.clear()
        if not isinstance(self._stand_in, NamedType):
            self._stand_in = None

    def _named_type(self) -> NamedType:
        def __new__(_cls: type, *arguments: object, **keywords: object) -> object:  # noqa: N807 # it is one
            return self.make((*arguments, *chain(*keywords.items())))

        return NamedType(
            self.qualname,
            (),
            {
                "__slots__": (),
                "__new__": __new__,
                "__setstate__": self.states.append,
                "__setitem__": self._items.__setitem__,
                "extend": self.additions.append,
                "add": self.additions.append,
                "met": self,
                "_sealstore_shown_as": f"made {self.name}",
            },
        )


_IDLE: Final[dict[tuple[str, str], MetName]] = {}


def take_name(module: str, qualname: str, budget: ArgumentBudget) -> MetName:
    """The record of a name, for one payload alone.

    Raises:
        LimitExceededError: it is too long.
        PayloadFormatError: no text that could name anything.
    """
    met = _IDLE.pop((module, qualname), None)  # two threads never get the same one
    if met is None:
        _judge_text(module)
        _judge_text(qualname)
        return MetName(module, qualname, budget)
    met.begin(budget)
    return met


def put_back(met: MetName) -> None:
    """Take back a record that its payload no longer needs."""
    met.end()
    if len(_IDLE) < limits.MAX_IDLE_NAMES:
        _IDLE[met.module, met.qualname] = met


def _judge_text(text: str) -> None:
    if len(text) > limits.MAX_IMPORT_CHARACTERS:
        raise refused(Reason.LIMIT, "The payload imports a name that is too long to be one.")
    # Lone surrogates, which pickle lets through, fit no statement.
    if not text or not text.isprintable():
        raise refused(Reason.MALFORMED, "The payload imports something that can have no such name.")
