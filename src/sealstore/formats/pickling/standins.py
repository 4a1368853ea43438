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

import re
from collections.abc import Callable
from itertools import chain
from operator import attrgetter
from typing import Any, Final, NoReturn

from sealstore import limits
from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.instance_states import InstanceStates
from sealstore.formats.pickling.refusals import Reason, refused
from sealstore.formats.pickling.uses import QUICK_TO_HASH, ArgumentBudget, Import, UseKind, Uses

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


# ── the find_class of an inspection ───────────────────────────────────────────


OnCall = Callable[["Recorder", MetName, Arguments], object]
Prepare = Callable[["Recorder", MetName], None]


class Recorder:
    """The names of one payload.

    Args:
        special: by module and qualified name, what makes the stand-in of a name a special one.
    """

    def __init__(self, special: dict[tuple[str, str], Prepare]) -> None:
        self._special = {**_SPECIAL, **special}
        self._names: dict[tuple[str, str], MetName] = {}
        self._budget = ArgumentBudget()

    def find_class(self, module: str, qualname: str) -> object:
        """What stands for a name."""
        return self.met(module, qualname).stand_in

    def met(self, module: str, qualname: str) -> MetName:
        """The record of a name, a new one if it was not met before.

        Raises:
            LimitExceededError: too many names, or one too long.
            PayloadFormatError: no text that could name anything.
        """
        key = module, qualname
        met = self._names.get(key)
        if met is None:
            if len(self._names) >= limits.MAX_IMPORTS:
                raise refused(
                    Reason.LIMIT, f"The payload imports more than {limits.MAX_IMPORTS} names."
                )
            met = self._names[key] = take_name(module, qualname, self._budget)
            prepare = self._special.get(key)
            if prepare is not None:
                prepare(self, met)
        return met

    def imports(self) -> tuple[Import, ...]:
        """All names with their uses, in the order of their names, once: the stream has ended."""
        found = []
        for _, met in sorted(self._names.items()):
            met.note_changes()
            found.append(Import(met.module, met.qualname, met.uses.all()))
            put_back(met)
        self._names.clear()
        return tuple(found)


def answering(on_call: OnCall) -> Prepare:
    """What has a name answer calls by ``on_call``, which also notes them."""

    def prepare(recorder: Recorder, met: MetName) -> None:
        met.on_call = lambda *arguments: on_call(recorder, met, arguments)

    return prepare


def _getattr(recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    # How protocols 2 and 3 write a class within a class. It is a name like any other.
    met.uses.note(UseKind.CALLED, arguments)
    if len(arguments) == 2:
        holder, attribute = arguments
        if isinstance(holder, NamedType) and type(attribute) is str:
            outer = holder.met
            return recorder.find_class(outer.module, f"{outer.qualname}.{attribute}")
    return met.result


def _reconstructor(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    # How protocols 0 and 1 make an instance.
    met.uses.note(UseKind.CALLED, arguments)
    if len(arguments) == 3:
        made, base, state = arguments
        plain = isinstance(base, NamedType) and base.met.name == "builtins:object" and state is None
        if isinstance(made, NamedType):
            return made.met.make(() if plain else (state,))
        if type(made) is type and plain:  # joblib's wrapper, the one real type there is
            return object.__new__(made)
    return met.result


def _newobj(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    met.uses.note(UseKind.CALLED, arguments)
    if arguments and isinstance(arguments[0], NamedType):
        return arguments[0].met.make(arguments[1:])
    return met.result


def _encode(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    # How protocols 0 to 2 write bytes. What it returns may be an array's data, so it is evaluated.
    if len(arguments) == 2 and arguments[1] == "latin1" and type(arguments[1]) is str:
        text = arguments[0]
        if type(text) is str:
            met.uses.note_texts(UseKind.CALLED, ("str", "str 'latin1'"))
            return text.encode("latin1")
    return met.call(arguments)


def _bytes(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    # How protocols 0 to 2 write bytes of no length.
    result = met.call(arguments)
    return result if arguments else b""


def _slice(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    # The interpreter frees a slice within a slice by a call within a call, until the stack is full.
    if any(argument is met.result for argument in arguments):
        raise refused(Reason.LIMIT, "The payload puts slices into one another.")
    return met.call(arguments)


def _fraction(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    # Before Python 3.11 it was a text. Another one, "1e999999999", is a number of a billion digits.
    kinds = (*map(type, arguments),)
    if kinds == (int, int) or (kinds == (str,) and _FRACTION.fullmatch(str(arguments[0]))):
        met.uses.note_texts(UseKind.CALLED, ("fraction",))
        return met.result
    return met.call(arguments)


def _compile(_recorder: Recorder, met: MetName, arguments: Arguments) -> object:
    if len(arguments) == 2:
        pattern, flags = arguments
        is_short = (
            isinstance(pattern, str | bytes) and len(pattern) <= limits.MAX_PATTERN_CHARACTERS
        )
        if is_short and type(flags) is int:
            met.uses.note_texts(UseKind.CALLED, ("pattern", "int"))
            return met.result
    return met.call(arguments)


_FRACTION: Final = re.compile(r"-?[0-9]{1,4000}(/[0-9]{1,4000})?")

_SPECIAL: Final[dict[tuple[str, str], Prepare]] = {
    ("builtins", "getattr"): answering(_getattr),
    ("builtins", "bytes"): answering(_bytes),
    ("copyreg", "_reconstructor"): answering(_reconstructor),
    ("copyreg", "__newobj__"): answering(_newobj),
    ("copyreg", "__newobj_ex__"): answering(_newobj),
    ("_codecs", "encode"): answering(_encode),
    ("builtins", "slice"): answering(_slice),
    ("fractions", "Fraction"): answering(_fraction),
    ("re", "_compile"): answering(_compile),
}
