"""joblib's own form: frames that lie, wrappers that carry code, arrays that end elsewhere."""

from __future__ import annotations

import struct
from typing import Any, Final

from tests.attacks.corpus.case import MARKER, PYTHON, SHELL, Collection, from_version
from tests.attacks.corpus.opcodes import (
    BUILD,
    DUP,
    EMPTY_DICT,
    FRAME,
    MARK,
    POP,
    STOP,
    Code,
    build,
    call,
    dropped,
    framed,
    name,
    new,
    partial,
    stream,
    text,
    value,
)

_BAD: Final = call("os:system", SHELL)
_WRAPPER: Final = "joblib.numpy_pickle:NumpyArrayWrapper"
_HIDDEN: Final = _BAD + POP


def dtype(code: str = "f8", order: str = "<", *, size: int = -1, flags: int = 0) -> Code:
    """A dtype as numpy pickles one of its own."""
    state = (3, order, None, None, None, size, size, flags)
    return build(call("numpy:dtype", code, False, True), state)


def wrapper_state(**changes: Any) -> dict[str, Any]:
    """The state of a wrapper of two floats, as joblib before 1.2 wrote it: without padding."""
    state = {
        "subclass": name("numpy:ndarray"),
        "shape": (2,),
        "order": "C",
        "dtype": dtype(),
        "allow_mmap": True,
    }
    return state | changes


def wrapper(**changes: Any) -> Code:
    """A wrapper up to its BUILD. The array's bytes follow."""
    return build(new(_WRAPPER), wrapper_state(**changes))


_BYTES: Final = struct.pack("<2d", 1.0, 2.0)
_ARRAY: Final = wrapper() + _BYTES

# ── frames ───────────────────────────────────────────────────────────────────

frames = Collection("frames")
frames.add(
    "hidden-behind-an-array",
    "the opcodes stand in the wrapper's frame, the array behind it",
    stream(framed(wrapper() + POP + _BAD), _BYTES),
)
frames.add(
    "hidden-behind-two-arrays",
    "the same, with two frames",
    stream(framed(wrapper() + POP), _BYTES, framed(wrapper() + POP + _BAD), _BYTES),
)
frames.add(
    "array-that-looks-like-the-end",
    "the array's bytes begin with STOP for whoever reads on",
    stream(wrapper(), b".".ljust(16, b"\0"), POP, _BAD),
)
frames.add(
    "array-that-looks-like-a-text",
    "the array's bytes begin a long text for whoever reads on",
    stream(
        wrapper(), (b"X" + struct.pack("<I", 11 + len(_BAD))).ljust(16, b"\0"), POP, _BAD, b"N0"
    ),
)
frames.add(
    "array-that-looks-like-a-frame",
    "the array's bytes begin a frame for whoever reads on",
    stream(
        wrapper(), (FRAME + struct.pack("<Q", 7 + len(_HIDDEN) + 200)).ljust(16, b"\0"), POP, _BAD
    ),
)
frames.add(
    "frame-too-short",
    "the frame claims less than it holds",
    stream(framed(Code(b"N0") + _BAD, claimed=2)),
)
frames.add(
    "frame-too-long",
    "the frame claims more than there is",
    stream(framed(_BAD + STOP, claimed=100_000)),
)
frames.add(
    "frame-that-holds-a-header",
    "a frame ends with the header of the next",
    stream(framed(b"N0" + FRAME + struct.pack("<Q", len(_BAD))), _BAD),
)
frames.add("frame-in-protocol-2", "a frame where there are none", stream(framed(_BAD), protocol=2))
frames.add(
    "frame-over-stop", "a frame that goes on behind STOP", stream(framed(_BAD + STOP + b"\0" * 100))
)
frames.add(
    "frame-that-eats-an-array",
    "a frame that holds the array's bytes as well: joblib looks behind it",
    stream(framed(wrapper() + POP + _BAD + POP + b"N"), _BYTES),
)

# ── wrappers ─────────────────────────────────────────────────────────────────

wrappers = Collection("wrapper-attributes")


def _instance(base: str, arguments: tuple[Any, ...] = (), **attributes: Any) -> Code:
    return call(call("builtins:type", "X", (name(base),), attributes), *arguments)


wrappers.add(
    "read",
    "a planted read, which joblib calls",
    stream(wrapper(read=partial("cProfile:run", PYTHON))),
)
wrappers.add(
    "read-array",
    "a planted read_array, which joblib calls",
    stream(wrapper(read_array=partial("cProfile:run", PYTHON))),
)
wrappers.add(
    "alignment-method",
    "a planted safe_get_numpy_array_alignment_bytes, which joblib calls",
    stream(wrapper(safe_get_numpy_array_alignment_bytes=partial("os:mkdir", MARKER)), _BYTES),
)
wrappers.add(
    "dtype-with-a-property",
    "what stands for the dtype has a property that calls",
    stream(
        wrapper(
            dtype=_instance(
                "builtins:str", (SHELL,), hasobject=call("builtins:property", name("os:system"))
            )
        )
    ),
)
wrappers.add(
    "shape-with-a-length",
    "what stands for the shape has a length that calls",
    stream(
        wrapper(shape=_instance("builtins:tuple", __len__=partial("os:system", SHELL))), _BYTES[:8]
    ),
)
wrappers.add(
    "shape-that-iterates",
    "what stands for the shape is exhausted by joblib",
    stream(
        wrapper(
            shape=_instance(
                "builtins:tuple",
                __len__=partial("builtins:int", 1),
                __iter__=partial("builtins:map", name("os:system"), [SHELL]),
            )
        )
    ),
)
wrappers.add(
    "state-by-the-constructor",
    "the wrapper is called, then built with a planted read",
    stream(
        build(
            call(_WRAPPER, name("numpy:ndarray"), (2,), "C", dtype()),
            {"read": partial("cProfile:run", PYTHON)},
        )
    ),
)
wrappers.add(
    "class-by-slots",
    "BUILD sets the wrapper's attributes by setattr",
    stream(build(new(_WRAPPER), (wrapper_state(), {"read": partial("cProfile:run", PYTHON)}))),
)
wrappers.add(
    "subclass-of-the-wrapper",
    "a class made of the wrapper's, with a read of its own",
    stream(
        new(
            call(
                "builtins:type", "W", (name(_WRAPPER),), {"read": partial("cProfile:run", PYTHON)}
            ),
        )
        + value(wrapper_state())
        + BUILD
    ),
)
wrappers.add(
    "subclass-restored",
    "joblib restores the array's class, whose methods are the attacker's",
    stream(
        wrapper(
            subclass=call(
                "builtins:type",
                "X",
                (name("numpy:ndarray"),),
                {"__array_finalize__": partial("cProfile:run", PYTHON)},
            )
        ),
        _BYTES,
    ),
    dormant=from_version("numpy", 2),
)

# ── disagreement about where an array ends ───────────────────────────────────

desync = Collection("array-desync")


desync.add(
    "computed-shape",
    "the shape is computed by a call that looks harmless",
    stream(wrapper(shape=(call("builtins:int", "2"),)), _BYTES, POP, _BAD),
)
desync.add(
    "computed-shape-tuple",
    "the tuple of the shape is computed",
    stream(wrapper(shape=call("builtins:tuple", [2])), _BYTES, POP, _BAD),
)
desync.add(
    "shape-as-a-list",
    "the shape is a list, changed after the wrapper was built once",
    stream(wrapper(shape=[2]), _BYTES, POP, _BAD),
)
desync.add(
    "shape-of-floats",
    "the shape is made of floats, which joblib truncates",
    stream(wrapper(shape=(2.5,)), _BYTES, POP, _BAD),
    dormant=lambda: "numpy does not reshape to a float",
)
desync.add(
    "computed-dtype",
    "the dtype's code is computed by a call that looks harmless",
    stream(
        wrapper(dtype=call("numpy:dtype", call("builtins:str", b"f8", "ascii"))),
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "dtype-by-setstate",
    "a dtype of eight bytes is told that it has one",
    stream(
        wrapper(
            dtype=build(
                call("numpy:dtype", "V8", False, True), (3, "|", None, None, None, 1, 1, 0)
            ),
            shape=(16,),
        ),
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "dtype-changed-after-use",
    "a dtype is built again between two arrays that share it",
    stream(
        dropped(
            build(call("numpy:dtype", "V8", False, True), (3, "|", None, None, None, 8, 1, 0))
            + b"q\x01"
        ),
        wrapper(dtype=Code(b"h\x01"), shape=(1,)),
        bytes(8),
        POP,
        dropped(build(Code(b"h\x01"), (3, "|", None, None, None, 16, 1, 0))),
        wrapper(dtype=Code(b"h\x01"), shape=(1,)),
        bytes(16),
        POP,
        _BAD,
    ),
)
desync.add(
    "wrapper-built-twice",
    "a wrapper from the memo is built again, and reads another array",
    stream(
        new(_WRAPPER) + b"q\x01" + value(wrapper_state()) + BUILD,
        _BYTES,
        POP,
        b"h\x01",
        EMPTY_DICT,
        BUILD,
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "wrapper-changed-through-the-memo",
    "the wrapper's shape is replaced before it is built again",
    stream(
        new(_WRAPPER) + b"q\x01" + value(wrapper_state()) + BUILD,
        _BYTES,
        POP,
        b"h\x01",
        value({"shape": (1,)}),
        BUILD,
        _BYTES[:8],
        POP,
        _BAD,
    ),
)
desync.add(
    "wrapper-by-reduce",
    "the wrapper is called, not made",
    stream(
        build(call(_WRAPPER, name("numpy:ndarray"), (2,), "C", dtype(), True, None), {}),
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "wrapper-by-reconstructor",
    "the wrapper is made by protocol 0's constructor, in protocol 4",
    stream(
        build(
            call("copyreg:_reconstructor", name(_WRAPPER), name("builtins:object"), None),
            wrapper_state(),
        ),
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "wrapper-by-inst",
    "the wrapper is made by INST",
    stream(
        MARK,
        name("numpy:ndarray"),
        value((2,)),
        text("C"),
        dtype(),
        b"ijoblib.numpy_pickle\nNumpyArrayWrapper\n",
        value({"numpy_array_alignment_bytes": None}),
        BUILD,
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "subclass-of-the-wrapper",
    "a class made of the wrapper's: joblib reads an array for it too",
    stream(
        new(call("builtins:type", "W", (name(_WRAPPER),), {})) + value(wrapper_state()) + BUILD,
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "class-changed-to-the-wrapper",
    "an instance of another class becomes a wrapper by BUILD",
    stream(
        build(
            call(call("builtins:type", "X", (name("builtins:object"),), {})),
            (wrapper_state(), {"__class__": name(_WRAPPER)}),
        ),
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "padding-of-255",
    "the padding before the array is long enough to hold a pickle for others",
    stream(
        wrapper(numpy_array_alignment_bytes=16),
        b"\xff" + STOP.ljust(255, b"\0"),
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "padding-for-any-alignment",
    "the alignment is no number, and joblib asks only whether it is None",
    stream(wrapper(numpy_array_alignment_bytes="x"), b"\x10" + bytes(16), _BYTES, POP, _BAD),
)
desync.add(
    "state-in-two-builds",
    "the wrapper gets its attributes before it exists as one",
    stream(
        dropped(new(_WRAPPER) + b"q\x01"),
        value(wrapper_state()) + b"q\x02" + POP,
        b"h\x01",
        b"h\x02",
        BUILD,
        _BYTES,
        POP,
        _BAD,
    ),
)
desync.add(
    "dup-before-build",
    "the wrapper stands on the stack twice",
    stream(new(_WRAPPER), DUP, value(wrapper_state()), BUILD, _BYTES, POP, POP, _BAD),
)
