"""joblib's compressed files, decompressed within a limit.

The compression is recognised by its first bytes, in joblib's order. The loop over the standard
library's decompressors is sealstore's own: joblib's re-feeds bytes behind the compressed stream
until memory is gone. Each file is one compressed stream, and nothing may follow it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final, Protocol

from sealstore import limits
from sealstore.errors import MissingExtraError, PayloadFormatError
from sealstore.formats.pickling.refusals import Reason, old_joblib, refused

# Input and output of one step: small enough for the cap to hold closely, large enough to be quick.
_CHUNK_BYTES: Final = 256 * limits.KIB
_PIECE_BYTES: Final = 1 * limits.MIB
_GZIP_WINDOW: Final = 16  # zlib's wbits, RFC 1952 instead of RFC 1950
_PREFIXES: Final = (
    ("zlib", b"\x78"),
    ("gzip", b"\x1f\x8b"),
    ("bz2", b"BZ"),
    ("lzma", b"\x5d\x00"),
    ("xz", b"\xfd7zXZ"),
    ("lz4", b"\x04\x22\x4d\x18"),
)
_ZFILE_PREFIX: Final = b"ZF"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...


def compression_of(memory: memoryview) -> str | None:
    """The compression of a payload by joblib's name, or None where there is none.

    Raises:
        UnsupportedPayloadError: a ``ZF`` file, which only joblib before 0.10 wrote.
    """
    head = bytes(memory[:8])
    if head.startswith(_ZFILE_PREFIX):
        raise old_joblib("is a ZF file")
    return next((name for name, prefix in _PREFIXES if head.startswith(prefix)), None)


def decompress(memory: memoryview, compression: str) -> memoryview:
    """The bytes that ``memory`` holds under ``compression``, in new writable memory.

    Raises:
        LimitExceededError: more bytes than ``limits`` allow for a payload of this size.
        PayloadFormatError: malformed or truncated, or bytes behind the compressed stream.
        MissingExtraError: the package for this compression is not installed.
    """
    decompressor, error_types = _open_decompressor(compression)
    pieces = _zlib_pieces if compression in ("zlib", "gzip") else _pieces
    allowed = min(
        limits.MAX_DECOMPRESSED_BYTES,
        limits.ANY_RATIO_BYTES + limits.MAX_DECOMPRESSION_RATIO * len(memory),
    )
    plain = bytearray()
    position = 0
    try:
        while not decompressor.eof:
            chunk = memory[position : position + _CHUNK_BYTES]
            if not len(chunk):
                raise refused(
                    Reason.TRUNCATED, "The payload ends in the middle of its compressed data."
                )
            position += len(chunk)
            for piece in pieces(decompressor, chunk):
                plain += piece
                if len(plain) > allowed:
                    raise refused(
                        Reason.LIMIT,
                        f"The payload becomes more than {allowed} bytes when it is decompressed.",
                    )
    except error_types as error:
        raise _damaged(error) from error
    if decompressor.unused_data or position < len(memory):
        raise refused(Reason.TRAILING_BYTES, "The payload goes on behind its compressed data.")
    return memoryview(plain)


def _damaged(error: Exception) -> PayloadFormatError:
    if "Memory usage limit" in str(error):  # lzma has no type of its own for it
        return refused(
            Reason.LIMIT,
            f"The payload's lzma data asks for more than {limits.MAX_LZMA_MEMORY_BYTES} bytes.",
        )
    return refused(Reason.COMPRESSION, "The payload's compressed data is damaged.")


def _zlib_pieces(decompressor: Any, chunk: memoryview) -> Iterator[bytes]:
    piece = decompressor.decompress(chunk, _PIECE_BYTES)
    yield piece
    # A full piece may be all of the input and not yet all of the output.
    while not decompressor.eof and len(piece) == _PIECE_BYTES:
        piece = decompressor.decompress(decompressor.unconsumed_tail, _PIECE_BYTES)
        yield piece


def _pieces(decompressor: Any, chunk: memoryview) -> Iterator[bytes]:
    yield decompressor.decompress(chunk, _PIECE_BYTES)
    while not (decompressor.eof or decompressor.needs_input):
        yield decompressor.decompress(b"", _PIECE_BYTES)


def _open_decompressor(
    compression: str,
) -> tuple[_Decompressor, tuple[type[Exception], ...]]:
    if compression in ("zlib", "gzip"):
        zlib = _module("zlib")
        window = zlib.MAX_WBITS + (_GZIP_WINDOW if compression == "gzip" else 0)
        return zlib.decompressobj(window), (zlib.error,)
    if compression == "bz2":
        return _module("bz2").BZ2Decompressor(), (OSError, ValueError)
    if compression == "lz4":
        return _module("lz4.frame").LZ4FrameDecompressor(), (RuntimeError,)
    lzma = _module("lzma")
    form = lzma.FORMAT_XZ if compression == "xz" else lzma.FORMAT_ALONE
    return (
        lzma.LZMADecompressor(format=form, memlimit=limits.MAX_LZMA_MEMORY_BYTES),
        (lzma.LZMAError,),
    )


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingExtraError(
            f"The payload is compressed with {package}, and the package for it is not installed.",
            hint=f"install {package}.",
        ) from error
