"""The ``find_class`` of an inspection: hands out stand-ins, and remembers what became of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sealstore import limits
from sealstore.formats.pickling.refusals import Reason, refused
from sealstore.formats.pickling.standins import Arguments, MetName, NamedType, put_back, take_name
from sealstore.formats.pickling.uses import ArgumentBudget, Import, UseKind

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
