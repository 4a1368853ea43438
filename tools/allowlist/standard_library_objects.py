"""Objects of the standard library that people store beside their models."""

from __future__ import annotations

import argparse
import array
import builtins
import collections
import datetime
import decimal
import fractions
import functools
import ipaddress
import logging
import pathlib
import random
import re
import types
import uuid
import zoneinfo
from collections.abc import Iterator

NAMED_TYPES = (
    *(bool, bytearray, bytes, complex, dict, float, frozenset, int, list, object),
    *(range, set, slice, str, tuple),
)
"""Types that objects refer to: a converter, a dtype, the factory of a defaultdict."""

NAMED_FUNCTIONS = (abs, all, any, len, max, min, round, sorted, sum)
"""Built-in functions that do nothing but compute, as people pass them to transformers."""


def objects() -> Iterator[tuple[str, object]]:
    """Each object with a label."""
    yield from _named()
    yield from _containers()
    yield from _numbers()
    yield from _times()
    yield from _errors()
    yield from _others()


def _named() -> Iterator[tuple[str, object]]:
    for kind in NAMED_TYPES:
        yield f"the type {kind.__name__}", kind
    for function in NAMED_FUNCTIONS:
        yield f"the function {function.__name__}", function
    for singleton in (None, Ellipsis, NotImplemented):
        yield f"{singleton!r}", singleton
        yield f"the type of {singleton!r}", type(singleton)


def _containers() -> Iterator[tuple[str, object]]:
    yield "set", {1, "a"}
    yield "empty set", set()
    yield "frozenset", frozenset((1, "a"))
    yield "bytes", b"\x00\xff text"
    yield "empty bytes", b""
    yield "bytearray", bytearray(b"\x00\xff text")
    yield "empty bytearray", bytearray()
    yield "range", range(1, 9, 2)
    yield "slice", slice(1, None, 2)
    yield "object", object()
    yield "array", array.array("d", [1.0, 2.0])
    yield "array of ints", array.array("i", [1, 2])
    yield "OrderedDict", collections.OrderedDict(a=1, b=2)
    yield "Counter", collections.Counter("abca")
    yield "deque", collections.deque([1, 2], maxlen=3)
    yield "unbounded deque", collections.deque([1, 2])
    yield "ChainMap", collections.ChainMap({"a": 1}, {"b": 2})
    yield "UserDict", collections.UserDict(a=1)
    yield "UserList", collections.UserList([1])
    yield "UserString", collections.UserString("a")
    for factory in (int, float, str, list, dict, set, tuple, bool):
        yield f"defaultdict of {factory.__name__}", collections.defaultdict(factory, a=factory())
    yield "defaultdict of OrderedDict", collections.defaultdict(collections.OrderedDict)
    yield "defaultdict of defaultdict", collections.defaultdict(collections.defaultdict)
    yield "defaultdict of Counter", collections.defaultdict(collections.Counter)
    yield "defaultdict of deque", collections.defaultdict(collections.deque)
    yield "SimpleNamespace", types.SimpleNamespace(a=1)
    yield "argparse.Namespace", argparse.Namespace(a=1)


def _numbers() -> Iterator[tuple[str, object]]:
    yield "complex", 1 + 2j
    yield "large int", 1 << 4_000
    yield "Fraction", fractions.Fraction(1, 3)
    yield "Decimal", decimal.Decimal("1.5")
    yield "decimal.Context", decimal.Context()
    yield "Random", random.Random(1)  # noqa: S311 # nothing is encrypted with it


def _times() -> Iterator[tuple[str, object]]:
    utc = datetime.timezone.utc  # noqa: UP017 # the object's own name is meant
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    yield "date", datetime.date(2026, 11, 1)
    yield "time", datetime.time(12, 30)
    yield "aware time", datetime.time(12, 30, tzinfo=utc)
    yield "datetime", datetime.datetime(2026, 11, 1, 12, 30)  # noqa: DTZ001 # naive on purpose
    yield "aware datetime", datetime.datetime(2026, 11, 1, 12, 30, tzinfo=utc)
    yield "zoned datetime", datetime.datetime(2026, 11, 1, 12, 30, tzinfo=zone)
    yield "timedelta", datetime.timedelta(days=1, seconds=2)
    yield "timezone", datetime.timezone(datetime.timedelta(hours=1), "one hour")
    yield "ZoneInfo", zone


def _errors() -> Iterator[tuple[str, object]]:
    for name, kind in sorted(vars(builtins).items()):
        if isinstance(kind, type) and issubclass(kind, Exception):
            yield f"the error {name}", kind
            if "Unicode" not in name and "Group" not in name:
                yield f"an error {name}", kind("what went wrong")


def _others() -> Iterator[tuple[str, object]]:
    yield "UUID", uuid.UUID(int=1)
    yield "safe UUID", uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe)
    yield "PurePosixPath", pathlib.PurePosixPath("a/b")
    yield "PureWindowsPath", pathlib.PureWindowsPath("a/b")
    yield "PosixPath", pathlib.Path("a/b")
    yield "pattern", re.compile("(?i)[a-z]+")
    yield "pattern of bytes", re.compile(b"[a-z]+", re.MULTILINE)
    yield "flag", re.IGNORECASE
    yield "flags", re.IGNORECASE | re.MULTILINE
    yield "partial", functools.partial(max, 1)
    yield "logger", logging.getLogger("a.b")
    for address in ("127.0.0.1", "::1"):
        yield f"address {address}", ipaddress.ip_address(address)
        yield f"network of {address}", ipaddress.ip_network(address)
        yield f"interface {address}", ipaddress.ip_interface(address)
