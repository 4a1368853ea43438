"""The compressions of ``joblib.dump``: their names, their levels, and files that joblib recognises.

The compressors are the standard library's own (lz4: its package's), with joblib's settings.
Compressors that a program registered with joblib are not known here: what they write could not be
read back within limits.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Protocol

from sealstore import limits
from sealstore.errors import MissingExtraError, UsageError
from sealstore.formats.pickling.framing import ByteSink

_PORTION_BYTES: Final = limits.MIB
"""Bytes that a compressor gets at a time; what it returns for them has to fit into memory."""

_LEVELS: Final = range(10)


class Compressor(Protocol):
    """What the standard library's compressors have in common."""

    def compress(self, data: memoryview, /) -> bytes:
        """The compressed bytes that are ready once ``data`` is in."""
        ...

    def flush(self) -> bytes:
        """The rest of them."""
        ...


@dataclass(frozen=True, slots=True)
class Compression:
    """A method and its level; None is the method's default level in joblib."""

    method: str
    level: int | None

    @classmethod
    def of(cls, compress: object) -> Compression | None:
        """What ``compress``, as for ``joblib.dump``, asks for; None for no compression.

        Args:
            compress: False or 0 for none; True, or a level from 1 to 9, for zlib; the name of a
                method; or a method and a level from 0 (none) to 9, or None.

        Raises:
            UsageError: anything else.
        """
        method: object = "zlib"
        level: object
        if isinstance(compress, str):
            method, level = compress, None
        elif isinstance(compress, tuple) and len(compress) == 2:
            method, level = compress
        elif compress is True:
            level = None
        elif isinstance(compress, int):
            level = compress
        else:
            raise _unusable(f"'compress' cannot be of the type {type(compress).__name__}")
        if not isinstance(method, str) or method not in _COMPRESSORS:
            raise _unusable("there is no such compression method")
        if level is not None and not (isinstance(level, int) and level in _LEVELS):
            raise _unusable("there is no such compression level")
        return None if level is not None and level == 0 else cls(method, level)

    def for_joblib(self) -> tuple[str, int | None]:
        """The same as an argument of ``joblib.dump``."""
        return self.method, self.level

    def compressor(self) -> Compressor:
        """A fresh compressor.

        Raises:
            MissingExtraError: the package for this method is not installed.
        """
        return _COMPRESSORS[self.method](self.level)


class CompressedSink:
    """A sink in front of a sink, with a compressor in between.

    Args:
        sink: what gets the compressed bytes.
        compressor: a fresh one.
    """

    def __init__(self, sink: ByteSink, compressor: Compressor) -> None:
        self._sink = sink
        self._compressor = compressor

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Compress and append ``data``; the number of its bytes."""
        view = memoryview(data)
        for start in range(0, len(view), _PORTION_BYTES):
            self._write(self._compressor.compress(view[start : start + _PORTION_BYTES]))
        return len(view)

    def finish(self) -> None:
        """Write the end of the compressed stream."""
        self._write(self._compressor.flush())

    def _write(self, compressed: bytes) -> None:
        if compressed:
            self._sink.write(compressed)


class _Lz4:
    """An lz4 frame, whose header comes first."""

    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor
        self._header: bytes = compressor.begin()

    def compress(self, data: memoryview, /) -> bytes:
        compressed: bytes = self._header + self._compressor.compress(data)
        self._header = b""
        return compressed

    def flush(self) -> bytes:
        compressed: bytes = self._header + self._compressor.flush()
        return compressed


def _module(name: str, method: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"The compression {method} needs the module {name}, which is not installed.",
            hint=f"install the package {name.partition('.')[0]}, or choose another compression.",
        ) from error


def _zlib(level: int | None, wbits: int) -> Compressor:
    # 3 is joblib's default. Its own way to say "deflate, with gzip's header" is the same wbits.
    return zlib.compressobj(3 if level is None else int(level), zlib.DEFLATED, wbits)


def _bz2(level: int | None) -> Compressor:
    compressor: Compressor = _module("bz2", "bz2").BZ2Compressor(9 if level is None else level)
    return compressor


def _lzma(level: int | None, container: str) -> Compressor:
    lzma = _module("lzma", "lzma")
    compressor: Compressor = lzma.LZMACompressor(getattr(lzma, container), preset=level)
    return compressor


def _lz4(level: int | None) -> Compressor:
    frame = _module("lz4.frame", "lz4")
    return _Lz4(frame.LZ4FrameCompressor(compression_level=0 if level is None else level))


_COMPRESSORS: Final[dict[str, Callable[[int | None], Compressor]]] = {
    "zlib": lambda level: _zlib(level, zlib.MAX_WBITS),
    "gzip": lambda level: _zlib(level, 16 + zlib.MAX_WBITS),
    "bz2": _bz2,
    "lzma": lambda level: _lzma(level, "FORMAT_ALONE"),
    "xz": lambda level: _lzma(level, "FORMAT_XZ"),
    "lz4": _lz4,
}


def _unusable(why: str) -> UsageError:
    return UsageError(
        f"The compression cannot be used: {why}.",
        hint=(
            "give a level from 0 to 9, True, a method (" + ", ".join(_COMPRESSORS) + "), or a"
            " method with a level, such as ('gzip', 3)."
        ),
    )
