"""Pickle streams as an attacker writes them: opcode by opcode, as no pickler would.

Names are those of PEP 307, PEP 3154 and the ``pickle`` module.
"""

from __future__ import annotations

import struct
from typing import Any, Final

MARK: Final = b"("
STOP: Final = b"."
POP: Final = b"0"
POP_MARK: Final = b"1"
DUP: Final = b"2"
NONE: Final = b"N"
BUILD: Final = b"b"
REDUCE: Final = b"R"
NEWOBJ: Final = b"\x81"
NEWOBJ_EX: Final = b"\x92"
STACK_GLOBAL: Final = b"\x93"
MEMOIZE: Final = b"\x94"
FRAME: Final = b"\x95"
EMPTY_DICT: Final = b"}"
EMPTY_SET: Final = b"\x8f"
APPEND: Final = b"a"
APPENDS: Final = b"e"
ADDITEMS: Final = b"\x90"
SETITEM: Final = b"s"
SETITEMS: Final = b"u"
LIST: Final = b"l"
DICT: Final = b"d"
TUPLE: Final = b"t"
TUPLE1: Final = b"\x85"
TUPLE2: Final = b"\x86"


class Code(bytes):
    """Opcodes that leave one object on the stack."""


def value(item: Any) -> Code:
    """The opcodes of a literal; what is `Code` stays as it is."""
    if isinstance(item, Code):
        return item
    if item is None:
        return Code(NONE)
    if isinstance(item, bool):
        return Code(b"\x88" if item else b"\x89")
    if isinstance(item, int):
        encoded = item.to_bytes(item.bit_length() // 8 + 1, "little", signed=True)
        return Code(b"\x8a" + bytes([len(encoded)]) + encoded)
    if isinstance(item, float):
        return Code(b"G" + struct.pack(">d", item))
    if isinstance(item, str):
        return text(item)
    if isinstance(item, bytes):
        return Code(b"B" + struct.pack("<I", len(item)) + item)
    if isinstance(item, tuple):
        return Code(MARK + b"".join(map(value, item)) + TUPLE)
    if isinstance(item, list):
        return Code(MARK + b"".join(map(value, item)) + LIST)
    if isinstance(item, set):
        return Code(EMPTY_SET + MARK + b"".join(map(value, sorted(item))) + ADDITEMS)
    if isinstance(item, dict):
        pairs = b"".join(value(key) + value(each) for key, each in item.items())
        return Code(MARK + pairs + DICT)
    raise TypeError(type(item))


def text(item: str) -> Code:
    """BINUNICODE."""
    encoded = item.encode("utf-8", "surrogatepass")
    return Code(b"X" + struct.pack("<I", len(encoded)) + encoded)


def name(target: str) -> Code:
    """GLOBAL of ``module:qualname``."""
    module, _, qualname = target.partition(":")
    return Code(f"c{module}\n{qualname}\n".encode())


def stack_name(target: str) -> Code:
    """STACK_GLOBAL of ``module:qualname``."""
    module, _, qualname = target.partition(":")
    return Code(text(module) + text(qualname) + STACK_GLOBAL)


def called(target: str | Code) -> Code:
    """The name of a ``module:qualname``; opcodes stay as they are."""
    return target if isinstance(target, Code) else name(target)


def call(target: str | Code, *arguments: Any) -> Code:
    """REDUCE: ``target(*arguments)``."""
    return Code(called(target) + value(arguments) + REDUCE)


def new(target: str | Code, *arguments: Any, **named: Any) -> Code:
    """NEWOBJ, or NEWOBJ_EX where there are named arguments: ``target.__new__(target, …)``."""
    if named:
        return Code(called(target) + value(arguments) + value(named) + NEWOBJ_EX)
    return Code(called(target) + value(arguments) + NEWOBJ)


def build(instance: Code, state: Any) -> Code:
    """BUILD: ``instance`` with ``state``."""
    return Code(instance + value(state) + BUILD)


def partial(target: str | Code, *arguments: Any, **named: Any) -> Code:
    """``functools.partial`` as it pickles itself, by a call and BUILD."""
    function = called(target)
    return build(call("functools:partial", function), (function, arguments, named or {}, None))


def dropped(*codes: bytes) -> bytes:
    """Opcodes that are run for their effect: what they leave on the stack is popped."""
    return b"".join(code + POP for code in codes)


def stream(*codes: bytes, protocol: int = 4) -> bytes:
    """A stream that declares ``protocol`` (none below 2) and ends with STOP."""
    head = b"\x80" + bytes([protocol]) if protocol >= 2 else b""
    return head + b"".join(codes) + STOP


def framed(codes: bytes, *, claimed: int | None = None) -> bytes:
    """``codes`` in a frame that claims to be of ``claimed`` bytes, by default the true number."""
    return FRAME + struct.pack("<Q", len(codes) if claimed is None else claimed) + codes
