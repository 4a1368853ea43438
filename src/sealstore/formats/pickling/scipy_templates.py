"""The code that scipy's distributions carry in their state, recognised exactly.

A distribution of ``scipy.stats`` is pickled with the text of three functions
(``_parse_arg_template``), and its ``__setstate__`` executes that text.
"""

from __future__ import annotations

import keyword
import re
from typing import Final

WITH_SCIPYS_TEMPLATE: Final = "dict with scipy's template"
WITH_ANOTHER_TEMPLATE: Final = "dict with another template"
"""How an inspection shows such states."""

TEMPLATE_KEY: Final = "_parse_arg_template"
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
