"""Opcodes and the memo: the same call, written so that a second parser reads something else."""

from __future__ import annotations

import struct
from typing import Final

from tests.attacks.corpus.case import MARKER, PYTHON, SHELL, Collection
from tests.attacks.corpus.opcodes import (
    DUP,
    MARK,
    MEMOIZE,
    POP,
    POP_MARK,
    REDUCE,
    SETITEM,
    STACK_GLOBAL,
    Code,
    build,
    call,
    dropped,
    name,
    new,
    stack_name,
    stream,
    text,
    value,
)

_BAD: Final = call("os:system", SHELL)
_ARGUMENT: Final = value((SHELL,))

opcodes = Collection("opcodes")
opcodes.add(
    "inst",
    "INST names and calls at once",
    stream(MARK, text(SHELL), b"ios\nsystem\n", protocol=0),
)
opcodes.add(
    "inst-of-a-class",
    "INST of a class",
    stream(MARK, value(["touch", MARKER]), b"isubprocess\nPopen\n"),
)
opcodes.add(
    "obj", "OBJ calls what lies above the mark", stream(MARK, name("os:system"), text(SHELL), b"o")
)
opcodes.add(
    "obj-of-a-class",
    "OBJ of a class",
    stream(MARK, stack_name("logging:FileHandler"), text(MARKER), b"o"),
)
opcodes.add(
    "newobj",
    "NEWOBJ calls __new__, which makes a file",
    stream(new("numpy:memmap", MARKER, "u1", "w+", 0, (1,)), protocol=2),
)
opcodes.add(
    "newobj-ex",
    "NEWOBJ_EX calls __new__ with named arguments",
    stream(new("numpy:memmap", MARKER, mode="w+", shape=(1,))),
)
opcodes.add(
    "reduce-with-a-list",
    "the Python unpickler calls with any iterable",
    stream(name("os:system"), value([SHELL]), REDUCE),
)
opcodes.add(
    "proto-0-text",
    "protocol 0 throughout",
    b"cos\nsystem\n(V" + SHELL.encode() + b"\ntR.",
)
opcodes.add(
    "proto-1-binary",
    "protocol 1 throughout",
    b"cos\nsystem\nq\x00(X\x0b\x00\x00\x00" + SHELL.encode() + b"q\x01tq\x02Rq\x03.",
)
for _number, _opcode in (
    (99, b"\x82" + bytes([99])),
    (300, b"\x83" + struct.pack("<H", 300)),
    (70000, b"\x84" + struct.pack("<i", 70000)),
):
    opcodes.add(
        f"extension-{_number}",
        "a name is registered as an extension, then used by its number",
        stream(
            dropped(call("copyreg:add_extension", "os", "system", _number)),
            _opcode,
            _ARGUMENT,
            REDUCE,
        ),
    )
opcodes.add(
    "extension-registry-written",
    "the registry is written as the dict that it is",
    stream(
        name("copyreg:_inverted_registry") + value(5) + value(("os", "system")) + SETITEM + POP,
        b"\x82\x05",
        _ARGUMENT,
        REDUCE,
    ),
)
opcodes.add(
    "extension-cache-written",
    "what a number stands for is put into the cache, already resolved",
    stream(
        name("copyreg:_extension_cache") + value(5) + name("os:system") + SETITEM + POP,
        b"\x82\x05",
        _ARGUMENT,
        REDUCE,
    ),
)

# ── numbers and lines ────────────────────────────────────────────────────────

_ODD: Final[dict[str, tuple[str, bytes]]] = {
    "hex-int": ("INT takes hexadecimal", b"I0x10\n"),
    "octal-int": ("INT takes octal", b"I0o10\n"),
    "binary-int": ("INT takes binary", b"I0b10\n"),
    "underscored-int": ("INT takes underscores", b"I1_0\n"),
    "spaced-int": ("INT takes spaces", b"I 1 \n"),
    "carriage-return-int": ("INT takes a carriage return", b"I1\r\n"),
    "hex-long": ("LONG takes hexadecimal", b"L0x10L\n"),
    "long-without-l": ("LONG needs no L", b"L1\n"),
    "long4-of-nothing": ("LONG4 of no bytes", b"\x8b\x00\x00\x00\x00"),
    "long4-huge": ("LONG4 of many bytes", b"\x8b" + struct.pack("<i", 5000) + b"\x11" * 5000),
    "infinite-float": ("FLOAT takes what float takes", b"F-Infinity\n"),
    "underscored-float": ("FLOAT takes underscores", b"F1_0.0\n"),
    "unicode-escapes": ("UNICODE takes escapes", b"V\\u006fs\\u000a.\n"),
    "string-escapes": ("STRING takes escapes", b"S'\\x6f\\163\\n.'\n"),
    "unicode8": ("BINUNICODE8", b"\x8d" + struct.pack("<Q", 2) + b"os"),
    "bytes8": ("BINBYTES8", b"\x8e" + struct.pack("<Q", 2) + b"os"),
    "bytearray8": ("BYTEARRAY8", b"\x96" + struct.pack("<Q", 2) + b"os"),
    "surrogates": ("texts may hold lone surrogates", text("\ud800")),
    "put-with-spaces": ("PUT and GET take spaces and underscores", b"I1\np 1_0 \n0g10\n"),
    "put-with-carriage-return": ("PUT and GET take carriage returns", b"I1\np7\r\n0g7\n"),
    "put-far-out": ("PUT takes any number", b"I1\np99999999999999999999\n0g99999999999999999999\n"),
    "long-binput-far-out": ("LONG_BINPUT up to 2**32", b"I1\nr\xff\xff\xff\xff0j\xff\xff\xff\xff"),
    "mark-popped": ("POP takes a mark away", b"N(0"),
    "empty-pop-mark": ("POP_MARK of nothing", b"N(1"),
    "proto-again": ("PROTO may stand anywhere", b"\x80\x03N\x80\x04"),
    "frame-of-nothing": ("a frame may be empty", b"N\x95" + bytes(8)),
}
for _name, (_how, _code) in _ODD.items():
    opcodes.add(_name, _how, stream(Code(_code) + POP, _BAD))


def _with_odd_name(odd: str) -> bytes:
    """A name that no text tool expects: it is made an attribute of a module first."""
    module = name("sklearn.utils._testing:os")
    return stream(
        dropped(build(module, {odd: name("os:system")})), name(f"os:{odd}"), _ARGUMENT, REDUCE
    )


opcodes.add("name-not-ascii", "GLOBAL takes any text", lambda: _with_odd_name("ä"))
opcodes.add("name-with-bad-escape", "GLOBAL takes backslashes", lambda: _with_odd_name("\\x"))
opcodes.add("name-with-escape", "an escape in GLOBAL is none", lambda: _with_odd_name("\\x67etpid"))
opcodes.add("name-with-carriage-return", "a line ends at \\n only", lambda: _with_odd_name("a\r"))
opcodes.add("name-with-space", "a name may hold a space", lambda: _with_odd_name("path join"))
opcodes.add(
    "python-2-name-behind-a-second-proto",
    "PROTO in the middle changes what names mean",
    stream(Code(b"N") + POP, b"\x80\x02", name("__builtin__:eval"), value((PYTHON,)), REDUCE),
)

# ── the memo ─────────────────────────────────────────────────────────────────

memo = Collection("memo")


def _put(code: bytes, index: int) -> bytes:
    return code + b"q" + bytes([index]) + POP


def _get(index: int) -> bytes:
    return b"h" + bytes([index])


memo.add(
    "names-from-the-memo",
    "STACK_GLOBAL takes its texts from the memo",
    stream(
        _put(text("os"), 0),
        _put(text("system"), 1),
        _get(0),
        _get(1),
        STACK_GLOBAL,
        _ARGUMENT,
        REDUCE,
    ),
)
memo.add(
    "names-from-the-memo-as-lines",
    "GET and PUT as text",
    stream(
        text("os"), b"p5\n0", text("system"), b"p6\n0", b"g5\ng6\n", STACK_GLOBAL, _ARGUMENT, REDUCE
    ),
)
memo.add(
    "names-from-a-far-memo",
    "GET and PUT with four bytes",
    stream(
        text("os"),
        b"r" + struct.pack("<I", 7000) + POP,
        text("system"),
        b"r" + struct.pack("<I", 7001) + POP,
        b"j" + struct.pack("<I", 7000),
        b"j" + struct.pack("<I", 7001),
        STACK_GLOBAL,
        _ARGUMENT,
        REDUCE,
    ),
)
memo.add(
    "memoize-over-put",
    "MEMOIZE takes the number of entries, which PUT has used already",
    stream(
        _put(text("json"), 1),
        text("os") + MEMOIZE + POP,
        _put(text("loads"), 2),
        _put(text("system"), 2),
        _get(1),
        _get(2),
        STACK_GLOBAL,
        _ARGUMENT,
        REDUCE,
    ),
)
memo.add(
    "put-twice",
    "an entry is written twice",
    stream(
        _put(text("json"), 0),
        _put(text("loads"), 1),
        _put(text("os"), 0),
        _put(text("system"), 1),
        _get(0),
        _get(1),
        STACK_GLOBAL,
        _ARGUMENT,
        REDUCE,
    ),
)
memo.add(
    "function-from-the-memo",
    "the callable comes from the memo, long after it was named",
    stream(
        _put(name("os:system"), 0),
        dropped(*[value(i) for i in range(200)]),
        _get(0),
        _ARGUMENT,
        REDUCE,
    ),
)
memo.add(
    "arguments-from-the-memo",
    "the arguments come from the memo",
    stream(_put(_ARGUMENT, 0), name("os:system"), _get(0), REDUCE),
)
memo.add(
    "dup-as-both-texts",
    "DUP makes module and name of one text",
    stream(
        text("timeit"), DUP, STACK_GLOBAL, value((PYTHON, "pass", name("time:time"), 1)), REDUCE
    ),
)
memo.add(
    "pop-between-the-texts",
    "a text between module and name is popped",
    stream(text("os"), text("path") + POP, text("system"), STACK_GLOBAL, _ARGUMENT, REDUCE),
)
memo.add(
    "pop-mark-between-the-texts",
    "texts between module and name are popped to a mark",
    stream(
        text("os"),
        MARK,
        text("json"),
        text("loads"),
        POP_MARK,
        text("system"),
        STACK_GLOBAL,
        _ARGUMENT,
        REDUCE,
    ),
)
memo.add(
    "texts-in-reverse",
    "the name is pushed before the module",
    stream(_put(text("system"), 3), text("os"), _get(3), STACK_GLOBAL, _ARGUMENT, REDUCE),
)
memo.add(
    "decoy-behind-the-texts",
    "harmless texts stand nearest to STACK_GLOBAL, and are popped",
    stream(
        text("os"),
        text("system"),
        text("json") + POP,
        text("loads") + POP,
        STACK_GLOBAL,
        _ARGUMENT,
        REDUCE,
    ),
)
memo.add(
    "python-2-texts",
    "the texts are Python 2's",
    stream(b"U\x02os", b"S'system'\n", STACK_GLOBAL, _ARGUMENT, REDUCE),
)
memo.add(
    "computed-text",
    "the name is computed by a call",
    stream(text("os"), call("_codecs:decode", b"system", "ascii"), STACK_GLOBAL, _ARGUMENT, REDUCE),
)
memo.add(
    "computed-by-str",
    "the name is computed by str",
    stream(text("os"), call("builtins:str", b"system", "ascii"), STACK_GLOBAL, _ARGUMENT, REDUCE),
)
memo.add(
    "reversed-by-join",
    "the name is put together by methods of str",
    stream(
        text("os"),
        call(stack_name("builtins:str.join"), "", ["sys", "tem"]),
        STACK_GLOBAL,
        _ARGUMENT,
        REDUCE,
    ),
)
