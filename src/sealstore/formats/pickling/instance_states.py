"""The states that a stream gives to its instances, each looked at in the moment it is given.

Later would be too late: a stream can change a dict after BUILD has used it. Three things in a state
turn an instance against the loader, whatever its class is trusted for:

* attributes that the unpickler itself looks up on an instance (``__setstate__``, ``append`` …): the
  next opcode would call what was planted there, with any argument;
* ``__class__`` and ``__dict__``: the instance becomes one of another class, or gets attributes that
  nobody has looked at;
* the template of scipy's distributions, whose ``__setstate__`` executes the text of three functions
  that stand in it (``_parse_arg_template``).
"""

from __future__ import annotations

import keyword
import re
from typing import Final

from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.refusals import Reason, refused

WITH_SCIPYS_TEMPLATE: Final = "dict with scipy's template"
WITH_ANOTHER_TEMPLATE: Final = "dict with another template"
"""How an inspection shows such states."""

TEMPLATE_KEY: Final = "_parse_arg_template"
_NEVER_ATTRIBUTES: Final = frozenset(("__class__", "__dict__", "__setstate__"))
_NOT_CALLABLE_ATTRIBUTES: Final = frozenset(("add", "append", "extend"))
_SPECIAL: Final = _NEVER_ATTRIBUTES | _NOT_CALLABLE_ATTRIBUTES | {TEMPLATE_KEY}
_ONLY_TEXT: Final = {str}
_PLAIN: Final = frozenset(
    (bool, bytearray, bytes, dict, float, frozenset, int, list, set, str, tuple, type(None))
)
_SLOTS_PAIR: Final = 2


class _ShownState:
    """Stands for a state whose content says something, and keeps it."""

    def __init__(self, text: str, state: object) -> None:
        self._sealstore_shown_as = text
        self._state = state


class InstanceStates(list[object]):
    """The states that the instances of one class were given."""

    def append(self, state: object) -> None:
        """Keep ``state``, or what is to be said of it.

        Raises:
            PayloadFormatError: it would turn the instance against the loader.
        """
        kind = type(state)
        if kind is dict:
            state = _judged(state)  # type: ignore[arg-type] # it is a dict
        elif kind is tuple and len(state) == _SLOTS_PAIR:  # type: ignore[arg-type] # it is a tuple
            # Without a __setstate__: the dict of the attributes, and that of the slots.
            for part in state:  # type: ignore[attr-defined] # the same
                if type(part) is dict and _is_shown(_judged(part), WITH_ANOTHER_TEMPLATE):
                    state = _ShownState(WITH_ANOTHER_TEMPLATE, state)
        super().append(state)


def _judged(state: dict[object, object]) -> object:
    if not _ONLY_TEXT.issuperset(map(type, state)):
        _refuse_made_keys(state)
    if _SPECIAL.isdisjoint(state):
        return state
    if not _NEVER_ATTRIBUTES.isdisjoint(state):
        raise _refused_attributes()
    for attribute in _NOT_CALLABLE_ATTRIBUTES.intersection(state):
        if type(state[attribute]) not in _PLAIN:
            raise _refused_attributes()
    if TEMPLATE_KEY in state:
        is_scipys = is_scipys_template(state[TEMPLATE_KEY])
        return _ShownState(WITH_SCIPYS_TEMPLATE if is_scipys else WITH_ANOTHER_TEMPLATE, state)
    return state


def _is_shown(state: object, text: str) -> bool:
    return type(state) is _ShownState and state._sealstore_shown_as == text


def _refuse_made_keys(state: dict[object, object]) -> None:
    # A key that a call or a class of the payload makes may equal any text, once it is really made.
    if not all(type(key) in _PLAIN for key in state):
        raise refused(
            Reason.FOREIGN_STATE, "The payload computes the name of an attribute that it sets."
        )


def _refused_attributes() -> PayloadFormatError:
    return refused(
        Reason.FOREIGN_STATE,
        "The payload sets attributes of an object that decide what the unpickler does with it.",
    )


# ── scipy's templates ─────────────────────────────────────────────────────────


_TEMPLATE: Final = """
def _parse_args(self, {shapes} {given}):
    return ({shapes}), {returned}

def _parse_args_rvs(self, {shapes} {given}, size=None):
    return self._argcheck_rvs({shapes} {returned}, size=size)

def _parse_args_stats(self, {shapes} {given}, moments='mv'):
    return ({shapes}), {returned}, moments
"""
_SHAPES: Final = re.compile(
    r"\ndef _parse_args\(self, ((?:[A-Za-z_][A-Za-z0-9_]*, )*) loc=0", re.ASCII
)
_CONTINUOUS: Final = ("loc=0, scale=1", "loc, scale")
_DISCRETE: Final = ("loc=0", "loc, 1")


def is_scipys_template(text: object) -> bool:
    """Whether ``text`` is what scipy itself would have written for some list of shapes."""
    if type(text) is not str:
        return False
    found = _SHAPES.match(text)
    if found is None:
        return False
    shapes = found.group(1)
    if any(keyword.iskeyword(shape) for shape in shapes.split(", ")):
        return False
    return any(
        text == _TEMPLATE.format(shapes=shapes, given=given, returned=returned)
        for given, returned in (_CONTINUOUS, _DISCRETE)
    )
