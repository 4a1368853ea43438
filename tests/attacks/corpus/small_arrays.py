"""Arrays that stand in the stream as calls of numpy's class: calls that are none of sealstore's."""

from __future__ import annotations

import struct
from typing import Any, Final

from tests.attacks.corpus.arrays import dtype
from tests.attacks.corpus.case import MARKER, PYTHON, SHELL, Collection, Effect, When, before_python
from tests.attacks.corpus.opcodes import (
    APPEND,
    BUILD,
    POP,
    SETITEM,
    TUPLE2,
    Code,
    call,
    framed,
    name,
    new,
    partial,
    stream,
    value,
)

_NDARRAY: Final = "numpy:ndarray"
_KEPT: Final = b"q\x01"
_AGAIN: Final = Code(b"h\x01")
_NO_HARM: Final = "two names for one memory are no harm by themselves"
_NUMPY_CHECKS: Final = "numpy holds it against the buffer"

small = Collection("small-arrays")


def _buffer(data: bytes) -> Code:
    """BYTEARRAY8."""
    return Code(b"\x96" + struct.pack("<Q", len(data)) + data)


def _instance(base: str, arguments: tuple[Any, ...] = (), **attributes: Any) -> Code:
    return call(call("builtins:type", "X", (name(base),), attributes), *arguments)


def _add(short: str, how: str, *codes: bytes, **known: Any) -> None:
    small.add(short, how, stream(*codes, protocol=5), **known)


def _dormant(short: str, how: str, *codes: bytes, why: str = _NUMPY_CHECKS) -> None:
    _add(short, how, *codes, dormant=lambda: why)


_ONE: Final = _buffer(struct.pack("<d", 1.0))
_ARRAY: Final = call(_NDARRAY, (1,), dtype(), _ONE)
_SHARED: Final = call(_NDARRAY, (1,), dtype(), Code(_ONE + _KEPT))

# ── arguments that call ──────────────────────────────────────────────────────

_CALLS: Final = _instance("builtins:object", __index__=partial("os:system", SHELL))
_add(
    "shape-that-calls",
    "numpy asks what stands in the shape for its number",
    call(_NDARRAY, (_CALLS,), dtype(), _ONE),
)
_add(
    "offset-that-calls",
    "numpy asks what stands for the offset for its number",
    call(_NDARRAY, (1,), dtype(), _ONE, _CALLS),
)
_add(
    "strides-that-call",
    "numpy asks what stands in the strides for its number",
    call(_NDARRAY, (1,), dtype(), _ONE, 0, (_CALLS,)),
)
_add(
    "dtype-that-calls",
    "numpy asks what stands for the dtype for one",
    call(
        _NDARRAY,
        (1,),
        _instance(
            "builtins:object", dtype=call("builtins:property", partial("cProfile:run", PYTHON))
        ),
        _ONE,
    ),
)
_add(
    "buffer-that-calls",
    "numpy asks what stands for the buffer for its memory",
    call(
        _NDARRAY,
        (1,),
        dtype(),
        _instance("builtins:object", __buffer__=partial("os:mkdir", MARKER)),
    ),
    dormant=before_python(3, 12),
)
_add(
    "subclass-that-calls",
    "numpy finishes an array of a class whose methods are the attacker's",
    call(
        call(
            "builtins:type",
            "X",
            (name(_NDARRAY),),
            {"__array_finalize__": partial("cProfile:run", PYTHON)},
        ),
        (1,),
        dtype(),
        _ONE,
    ),
)
_add(
    "behind-a-buffer",
    "a call stands in the frame of an array and its buffer, behind both",
    framed(_ARRAY + POP + call("os:system", SHELL)),
)
_add(
    "array-that-is-built",
    "the array's own __setstate__ takes objects, and their calls with them",
    _ARRAY
    + value((1, (1,), dtype("O8", "|", flags=63), False, [call("os:system", SHELL)]))
    + BUILD,
)

# ── memory ───────────────────────────────────────────────────────────────────

_add(
    "objects-without-their-flag",
    "the buffer's bytes are references to objects",
    call(_NDARRAY, (1,), dtype("O8", "|"), _buffer(b"A" * 8)),
    effect=Effect.CRASHES,
    when=When.USE,
    use=lambda array: repr(array[0]),
)
_add(
    "dtype-that-grows-behind-the-call",
    "the dtype gets its state, and another size, when the array is there",
    Code(call("numpy:dtype", "V8", False, True) + _KEPT + POP),
    call(_NDARRAY, (1,), _AGAIN, _buffer(bytes(8))),
    _AGAIN + value((3, "|", None, None, None, 1 << 28, 1, 0)) + BUILD + POP,
    effect=Effect.CRASHES,
    when=When.USE,
    use=lambda array: array.tobytes(),
)
_add(
    "shape-without-a-buffer",
    "without a buffer numpy takes the memory that the shape asks for, and fills it",
    call("numpy:ndarray.astype", call(_NDARRAY, (1 << 27,), dtype()), "f4"),
    effect=Effect.EXHAUSTS,
)
_add(
    "made-by-newobj",
    "another opcode makes it, of any size",
    new(_NDARRAY, (1 << 40,), dtype()),
    effect=Effect.EXHAUSTS,
)

# ── what numpy refuses, or what does no harm yet ─────────────────────────────

for _short, _shape in {
    "shape-that-lies": (2,),
    "shape-of-less": (1, 0),
    "negative-shape": (-1,),
    "twice-negative-shape": (-1, -1),
    "shape-that-overflows": (1 << 61, 1 << 61),
    "shape-that-wraps": (1 << 32, 1 << 32, 1),
    "huge-shape": (1 << 80,),
}.items():
    _dormant(
        _short, "the shape says otherwise than the buffer", call(_NDARRAY, _shape, dtype(), _ONE)
    )
_dormant(
    "strides-out-of-the-buffer",
    "the elements lie elsewhere",
    call(_NDARRAY, (1,), dtype(), _ONE, 0, (1 << 40,)),
)
_dormant(
    "dtype-with-objects",
    "the buffer's bytes are references to objects",
    call(_NDARRAY, (1,), dtype("O8", "|", flags=63), _ONE),
)
_dormant(
    "buffer-of-two-arrays",
    "whoever changes the one changes the other",
    _SHARED,
    call(_NDARRAY, (1,), dtype(), _AGAIN),
    TUPLE2,
    why=_NO_HARM,
)
_dormant(
    "buffer-in-the-object",
    "whoever has the buffer changes the array",
    _SHARED,
    _AGAIN,
    TUPLE2,
    why=_NO_HARM,
)
_dormant(
    "buffer-changed-behind-the-call",
    "an element is not what stands in the buffer",
    _SHARED,
    _AGAIN + value(7) + value(255) + SETITEM + POP,
    why=_NO_HARM,
)
_dormant(
    "buffer-that-grows-behind-the-call",
    "its memory would move",
    _SHARED,
    _AGAIN + value(255) + APPEND + POP,
    why="Python moves no memory that an array looks at",
)
