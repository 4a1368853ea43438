"""Files that are something else as well, or that are wrapped, or broken behind the payload."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Final

from tests.attacks.corpus.arrays import dtype, wrapper
from tests.attacks.corpus.case import PYTHON, SHELL, Collection, unless_installed
from tests.attacks.corpus.opcodes import MARK, POP, Code, call, framed, name, stream, value

_BAD: Final = call("os:system", SHELL)
_STREAM: Final = stream(_BAD)
_HEX: Final = b"cos\nsystem\n(V" + SHELL.encode() + b"\ntR."

# ── compression ──────────────────────────────────────────────────────────────

compressed = Collection("compressed")


def gzip_member(data: bytes, flags: int = 0, extra: bytes = b"", *, level: int = 9) -> bytes:
    """A gzip member (RFC 1952) with optional fields in its header."""
    body = zlib.compressobj(level, zlib.DEFLATED, -15)
    packed = body.compress(data) + body.flush()
    trailer = struct.pack("<II", zlib.crc32(data), len(data))
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + extra + packed + trailer


def lz4_frame(data: bytes) -> bytes:
    """An LZ4 frame, as the lz4 package writes it."""
    import lz4.frame

    packed: bytes = lz4.frame.compress(data)
    return packed


_COMPRESSED: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "zlib-1": ("zlib, level 1", lambda: zlib.compress(_STREAM, 1)),
    "zlib-9": ("zlib, level 9", lambda: zlib.compress(_STREAM, 9)),
    "zlib-stored": ("zlib, nothing compressed", lambda: zlib.compress(_STREAM, 0)),
    "gzip": ("gzip", lambda: gzip_member(_STREAM)),
    "gzip-with-a-name": ("gzip with a file name", lambda: gzip_member(_STREAM, 8, b"model.npy\0")),
    "gzip-with-extra-fields": (
        "gzip with extra fields and a comment",
        lambda: gzip_member(_STREAM, 4 | 16, b"\x04\x00abcd" + b"x\0"),
    ),
    "bz2": ("bz2", lambda: bz2.compress(_STREAM)),
    "lzma": ("lzma", lambda: lzma.compress(_STREAM, lzma.FORMAT_ALONE)),
    "xz": ("xz", lambda: lzma.compress(_STREAM, lzma.FORMAT_XZ)),
    "xz-with-a-filter": (
        "xz with a delta filter before",
        lambda: lzma.compress(
            _STREAM,
            lzma.FORMAT_XZ,
            filters=[{"id": lzma.FILTER_DELTA, "dist": 1}, {"id": lzma.FILTER_LZMA2}],
        ),
    ),
    "bz2-in-streams": (
        "two bz2 streams, cut inside the payload",
        lambda: bz2.compress(_STREAM[:20]) + bz2.compress(_STREAM[20:]),
    ),
    "xz-in-streams": (
        "two xz streams, cut inside the payload",
        lambda: lzma.compress(_STREAM[:20]) + lzma.compress(_STREAM[20:]),
    ),
}
for _name, (_how, _payload) in _COMPRESSED.items():
    compressed.add(_name, _how, _payload)
compressed.add("lz4", "lz4", lambda: lz4_frame(_STREAM), dormant=unless_installed("lz4"))
compressed.add(
    "behind-an-array-in-gzip",
    "behind an array, all of it compressed",
    lambda: gzip_member(stream(wrapper(), bytes(16), POP, _BAD)),
)

# ── polyglots ────────────────────────────────────────────────────────────────

polyglots = Collection("polyglots")


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name_, data in members.items():
            archive.writestr(zipfile.ZipInfo(name_), data)
    return buffer.getvalue()


def _tar(first_name: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(first_name.decode()))
    return buffer.getvalue()


def _shifted_zip(data: bytes) -> bytes:
    """A pickle, then a zip archive that counts its offsets from the file's beginning."""
    buffer = io.BytesIO()
    buffer.write(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo("data.pkl"), stream(value({"harmless": 1})))
    return buffer.getvalue()


def _npz(data: bytes) -> bytes:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)
    return data + _zip({"x.npy": array})


polyglots.add(
    "zip-tail",
    "a pickle, and a harmless zip archive by its end",
    lambda: _STREAM + _zip({"data.pkl": stream(value({"harmless": 1}))}),
)
polyglots.add(
    "zip-tail-counted-from-the-beginning",
    "the same, with offsets that zip tools find tidy",
    lambda: _shifted_zip(_STREAM),
)
polyglots.add("npz-tail", "a pickle, and numpy's archive of arrays", lambda: _npz(_STREAM))
polyglots.add(
    "zip-tail-with-a-broken-checksum",
    "a zip archive whose member cannot be read",
    lambda: _STREAM + _zip({"data.pkl": b"abcd"}).replace(b"abcd", b"abce", 1),
)
polyglots.add(
    "zip-tail-encrypted",
    "a zip archive whose member claims to be encrypted",
    lambda: (
        _STREAM
        + _zip({"data.pkl": b"abcd"})
        .replace(b"PK\x03\x04\x14\x00\x00\x00", b"PK\x03\x04\x14\x00\x01\x00")
        .replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
    ),
)
polyglots.add("tar", "a tar archive whose first member's name is a pickle", lambda: _tar(_HEX))
polyglots.add(
    "gif", "a GIF image: G begins a float", b"GIF89a\x01\x00\x01" + b"0" + _HEX + bytes(64)
)
polyglots.add(
    "dos-program", "a DOS program: M begins a number", b"MZ\x90" + b"0" + _HEX + bytes(64)
)
polyglots.add(
    "two-pickles-in-one",
    "a harmless pickle behind the other",
    _STREAM + stream(value({"harmless": 1})),
)
polyglots.add(
    "long-harmless-tail", "4 MiB of zeros behind the payload", lambda: _STREAM + bytes(4 << 20)
)
polyglots.add(
    "long-harmless-head",
    "4 MiB of zeros before the payload, as an argument",
    lambda: stream(value(bytes(4 << 20)) + POP, _BAD),
)

# ── broken behind the payload ────────────────────────────────────────────────

broken = Collection("broken-behind")
_BREAKS: Final[dict[str, tuple[str, bytes]]] = {
    "truncated": ("the stream ends without STOP", _STREAM[:-1]),
    "truncated-argument": ("the stream ends inside an argument", _STREAM[:-1] + b"X\xff\x00\x00"),
    "unknown-opcode": ("an opcode that there is not", stream(_BAD, b"\xff")),
    "stack-underflow": ("POP of nothing, and BUILD of nothing", stream(_BAD, b"00000b")),
    "no-mark": ("a tuple without a mark", stream(_BAD, b"t")),
    "memo-miss": ("an entry of the memo that is not there", stream(_BAD, b"hz")),
    "unresolvable-name": ("a name that there is not", stream(_BAD, name("nowhere:x"))),
    "bad-text": ("a text that is not UTF-8", stream(_BAD, b"X\x01\x00\x00\x00\xff")),
    "error-from-a-call": ("a call that fails", stream(_BAD, call("builtins:int", "x"))),
    "exit-from-a-call": ("a call that ends the process", stream(_BAD, call("sys:exit"))),
    "abrupt-end": ("a call that kills the process", stream(_BAD, call("os:abort"))),
    "persistent-id": ("a persistent id, which joblib has none of", stream(_BAD, value(1), b"Q")),
    "unregistered-extension": ("an extension that nobody registered", stream(_BAD, b"\x82\x77")),
    "array-cut-short": (
        "an array of fewer bytes than it claims",
        stream(_BAD, wrapper(shape=(9,))),
    ),
    "array-of-no-dtype": (
        "an array whose dtype is none",
        stream(_BAD, wrapper(dtype=dtype("V0", "|")), b""),
    ),
    "frame-in-a-frame": (
        "a frame begins inside another",
        stream(framed(_BAD + framed(b"N0") + b"N")),
    ),
    "huge-length": (
        "a text that claims 2**62 bytes",
        stream(_BAD, b"\x8d" + struct.pack("<Q", 1 << 62)),
    ),
    "unhashable-key": ("a list as a key", stream(_BAD, MARK, Code(b"]"), Code(b"N"), b"d")),
    "call-of-none": ("a call of what cannot be called", stream(_BAD, b"N)R")),
    "protocol-9": ("a protocol that there is not", stream(_BAD, b"\x80\x09")),
    "no-stack-global-texts": ("a name made of numbers", stream(_BAD, b"K\x01K\x02\x93")),
    "syntax-error": (
        "source that does not compile",
        stream(_BAD, call("builtins:eval", PYTHON + "(")),
    ),
}
for _name, (_how, _data) in _BREAKS.items():
    broken.add(_name, _how, _data)
broken.add(
    "zlib-cut-short",
    "compressed data that ends too early",
    zlib.compress(_STREAM + bytes(range(256)) * 512, 0)[:-1000],
)
broken.add(
    "gzip-with-a-wrong-checksum",
    "compressed data whose checksum is wrong",
    lambda: gzip_member(_STREAM + bytes(1 << 21), level=0)[:-8] + bytes(8),
)
