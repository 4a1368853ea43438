"""Comparing object graphs in every respect that a program can see."""

from __future__ import annotations

import decimal
import math
from collections import defaultdict, deque
from typing import Any

import numpy as np
import pandas as pd


def same(one: Any, other: Any) -> bool:
    """Whether two graphs agree in types, values to the bit, order, and what is shared."""
    return _Comparison().same(one, other)


class _Comparison:
    def __init__(self) -> None:
        self._counterparts: dict[int, int] = {}
        self._taken: set[int] = set()

    def same(self, one: Any, other: Any) -> bool:
        if type(one) is not type(other):
            return False
        if isinstance(one, list | dict | set | deque | bytearray):
            # A container that was met before is the same one in both graphs; that ends circles too.
            if id(one) in self._counterparts or id(other) in self._taken:
                return self._counterparts.get(id(one)) == id(other)
            self._counterparts[id(one)] = id(other)
            self._taken.add(id(other))
        return self._same_value(one, other)

    def _same_value(self, one: Any, other: Any) -> bool:
        if isinstance(one, float):
            return _same_float(one, other)
        if isinstance(one, complex):
            return _same_float(one.real, other.real) and _same_float(one.imag, other.imag)
        if isinstance(one, np.ndarray):
            return self._same_array(one, other)
        if isinstance(one, np.generic):
            return bool(one.dtype == other.dtype) and one.tobytes() == other.tobytes()
        if isinstance(one, pd.DataFrame | pd.Series | pd.Index):
            return _same_pandas(one, other)
        if isinstance(one, dict):
            return self._same_dict(one, other)
        if isinstance(one, list | tuple | deque):
            return len(one) == len(other) and all(map(self.same, one, other))
        if isinstance(one, decimal.Decimal):
            return bool(one.as_tuple() == other.as_tuple())
        return bool(one == other) and repr(one) == repr(other)

    def _same_dict(self, one: dict[Any, Any], other: dict[Any, Any]) -> bool:
        factories = [each.default_factory for each in (one, other) if isinstance(each, defaultdict)]
        return (
            len(set(factories)) < 2
            and len(one) == len(other)
            and all(map(self.same, one, other))
            and all(map(self.same, one.values(), other.values()))
        )

    def _same_array(self, one: Any, other: Any) -> bool:
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        if one.dtype.byteorder != other.dtype.byteorder or one.flags.fnc != other.flags.fnc:
            return False
        if not one.dtype.hasobject:
            return bool(one.tobytes() == other.tobytes())
        if one.dtype.names:
            return all(self._same_array(one[name], other[name]) for name in one.dtype.names)
        return all(map(self.same, one.ravel().tolist(), other.ravel().tolist()))


def _same_float(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other and math.copysign(1, one) == math.copysign(1, other)


def _same_pandas(one: Any, other: Any) -> bool:
    try:
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        elif isinstance(one, pd.Series):
            pd.testing.assert_series_equal(one, other, check_exact=True)
        else:
            pd.testing.assert_index_equal(one, other, check_exact=True)
    except AssertionError:
        return False
    return True
