"""Where arrays go into the stream of the C pickler: joblib's wrappers, with bytes behind them.

joblib writes an array as a pickled ``NumpyArrayWrapper`` with the array's bytes behind it: in the
middle of the pickle, outside of any frame. Its own pickler can do that because it is written in
Python. The C pickler hands out finished chunks only, so the place has to be found in them.

How the C pickler writes (CPython 3.11 to 3.13, protocol 5): it fills a buffer and gives it to
``write()`` when 64 KiB of opcodes are together. Bytes, strings and buffers of 64 KiB and more end
the buffer, and are then given to ``write()`` as they are. So a chunk is one of::

    [PROTO 5]  FRAME <length>  opcodes                       (the buffer was full, or the end)
    [PROTO 5]  FRAME <length>  opcodes  <head of a payload>  (the payload is the next chunk)
    [PROTO 5]  0 to 3 opcode bytes      <head of a payload>  (too few for a frame)
    <payload>

A place is marked by a *sentinel*: a ``PickleBuffer`` over 64 KiB of zeros. It is pickled where the
last attribute of a wrapper belongs, the alignment, in a tuple with the array itself, which the
pickler has in its memo by then. When ``write()`` gets that very object, what was pickled in front
of it is the chunk before, and what follows is the next chunk. Three replacements give joblib's
form; by the last, the array takes its wrapper's place in the memo, so that an array that occurs
again is the same one::

    … BINBYTES 00 00 01 00                  becomes   … BININT1 16  MEMOIZE × 2  SETITEMS  BUILD
    <64 KiB of zeros>                       becomes   <the padding and the array's bytes>
    MEMOIZE  GET <number>  TUPLE2  MEMOIZE
    SETITEMS  BUILD …                       becomes   LONG_BINPUT <number> …

Each expectation is checked when the chunk is there. The first that does not hold raises
``UnexpectedStream``, and the caller writes the object in another way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pickle import PickleBuffer
from struct import Struct
from typing import Final, Protocol, TypeAlias

from sealstore import limits

PROTOCOL: Final = 5
"""The pickle protocol, the first that knows ``PickleBuffer``. Every supported Python reads it."""

ALIGNMENT: Final = 16
"""Arrays begin at multiples of this, counted from the beginning of the file, as joblib has it."""

LARGE_BYTES: Final = 64 * limits.KIB
"""The C pickler keeps what is smaller inside its frames. Pieces from this size on go to the sink as
they are: a call costs less than a copy."""

_COLLECT_BYTES: Final = 256 * limits.KIB
"""Smaller pieces are collected up to this size: few calls, and still in a core's cache when the
sink hashes them."""

# As large as the C pickler needs to end its frame and hand the buffer itself to write().
_SENTINEL_BYTES: Final = bytes(64 * limits.KIB)
_SENTINEL_HEAD: Final = b"B" + len(_SENTINEL_BYTES).to_bytes(4, "little")
_END_OF_WRAPPER: Final = bytes((ord("K"), ALIGNMENT)) + b"\x94\x94ub"
_BEHIND_SENTINEL: Final = re.compile(rb"\x94(?:h(.)|j(....))\x86\x94ub", re.DOTALL)

_PROTO: Final = bytes((0x80, PROTOCOL))
_FRAME: Final = b"\x95"
_FRAME_HEAD: Final = Struct("<cQ")
_SMALLEST_FRAME_BYTES: Final = 4
# joblib's rule as it is, by the position of the byte behind the length: 1 to 16 bytes of padding,
# 16 of them where none would do.
_PADDINGS: Final = tuple(
    bytes((ALIGNMENT - past,)) + b"\xff" * (ALIGNMENT - past) for past in range(ALIGNMENT)
)

Piece: TypeAlias = bytes | bytearray | memoryview | PickleBuffer
Content: TypeAlias = "bytes | Callable[[FramedOutput], None]"


class UnexpectedStream(Exception):
    """The C pickler did not do what the technique rests on; the text says what."""


class ByteSink(Protocol):
    """What takes the finished bytes. It keeps no reference to them."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append ``data``; the number of its bytes."""
        ...


def new_sentinel() -> PickleBuffer:
    """A sentinel, to be put into what is pickled. Each marks one place."""
    return PickleBuffer(_SENTINEL_BYTES)


class FramedOutput:
    """What a C pickler writes to; puts arrays where sentinels are.

    Args:
        sink: what gets the finished bytes.
        position: where in the (uncompressed) file the stream begins.

    Attributes:
        sentinel: the one that is awaited, None if none is.
        sink_failed: whether an exception came from the sink.
    """

    def __init__(self, sink: ByteSink, position: int = 0) -> None:
        self.sentinel: PickleBuffer | None = None
        self.sink_failed = False
        self._sink = sink
        self._position = position
        self._collected: list[bytes] = []
        self._collected_bytes = 0
        # The last chunk: what it was is known when the next one is there.
        self._held: bytes | None = None
        self._at_start = True
        self._content: Content = b""
        self._is_behind_array = False

    def expect(self, content: Content) -> PickleBuffer:
        """Await a sentinel, which will be pickled next, in a tuple with its array.

        Args:
            content: the bytes of the array, which get their padding here; or what writes anything,
                by ``align`` and ``append``.

        Raises:
            UnexpectedStream: another one is awaited.
        """
        if self.sentinel is not None:
            raise UnexpectedStream("an array inside the description of another one")
        self._content = content
        self.sentinel = new_sentinel()
        return self.sentinel

    def write(self, data: bytes | bytearray | PickleBuffer, /) -> None:
        """Take the pickler's next chunk.

        Raises:
            UnexpectedStream: it is not what has to follow here.
        """
        # By identity: a user's own buffer may have any size and content, and passes through.
        if data is self.sentinel:
            self._place()
            return
        self._release()
        if type(data) is bytes:
            self._held = data
        elif self._is_behind_array:
            raise UnexpectedStream("a payload right behind a sentinel")
        else:
            # Not held: whoever owns it may change it as soon as this returns.
            self.append(data)

    def finish(self) -> None:
        """Write out what is left of a finished pickle.

        Raises:
            UnexpectedStream: something is missing.
        """
        self._release()
        if self.sentinel is not None or self._is_behind_array:
            raise UnexpectedStream("the stream ends too early")
        self._write_collected()

    def append(self, piece: Piece) -> None:
        """Write ``piece`` as it stands."""
        if type(piece) is not bytes:
            # raw(): the bytes as they lie in memory, for any number of dimensions and any format.
            with PickleBuffer(piece).raw() as view:
                self._append_view(view)
        elif len(piece) < LARGE_BYTES:
            self._collect(piece)
        else:
            self._append_view(memoryview(piece))

    def align(self) -> None:
        """Write the padding in front of an array's bytes."""
        self._collect(_PADDINGS[(self._position + 1) % ALIGNMENT])

    def _place(self) -> None:
        proto, opcodes = self._in_front_of_sentinel()
        content, self._content = self._content, b""
        self._held = self.sentinel = None
        self._at_start = False
        self._is_behind_array = True
        self._collect(proto + _frame(opcodes + _END_OF_WRAPPER))
        if isinstance(content, bytes):
            self.align()
            self._collect(content)
        else:
            content(self)

    def _in_front_of_sentinel(self) -> tuple[bytes, bytes]:
        """What goes in front of the frame (PROTO or nothing), and the opcodes."""
        held = self._held
        proto = _PROTO if self._at_start else b""
        if held is None or not (held.startswith(proto) and held.endswith(_SENTINEL_HEAD)):
            raise UnexpectedStream("no head in front of a sentinel")
        opcodes = self._with_number(held[len(proto) : -len(_SENTINEL_HEAD)])
        if len(opcodes) >= _SMALLEST_FRAME_BYTES:
            length = len(opcodes) - _FRAME_HEAD.size
            if length < 0 or not opcodes.startswith(_FRAME_HEAD.pack(_FRAME, length)):
                raise UnexpectedStream("no frame in front of a sentinel")
            opcodes = opcodes[_FRAME_HEAD.size :]
        return proto, opcodes

    def _with_number(self, chunk: bytes) -> bytes:
        """``chunk``; behind an array, with its number for what the pickler wrote there."""
        if not self._is_behind_array:
            return chunk
        self._is_behind_array = False
        found = _BEHIND_SENTINEL.match(chunk, _FRAME_HEAD.size)
        if found is None or not chunk.startswith(_FRAME):
            raise UnexpectedStream("other opcodes behind a sentinel")
        end = _FRAME_HEAD.size + _FRAME_HEAD.unpack_from(chunk)[1]
        if not found.end() <= end <= len(chunk):
            raise UnexpectedStream("a frame of another length behind a sentinel")
        put = b"r" + (found[1] or found[2]).ljust(4, b"\0")
        return _frame(put + chunk[found.end() : end]) + chunk[end:]

    def _release(self) -> None:
        """Write out the held chunk, which no sentinel follows."""
        held = self._held
        if held is None:
            return
        self._held = None
        self._at_start = False
        self.append(self._with_number(held))

    def _collect(self, piece: bytes) -> None:
        self._collected.append(piece)
        self._position += len(piece)
        self._collected_bytes += len(piece)
        if self._collected_bytes >= _COLLECT_BYTES:
            self._write_collected()

    def _append_view(self, view: memoryview) -> None:
        if view.nbytes < LARGE_BYTES:
            self._collect(bytes(view))
        else:
            self._write_collected()
            self._write_to_sink(view)
            self._position += view.nbytes

    def _write_collected(self) -> None:
        if self._collected:
            collected = b"".join(self._collected)
            self._collected.clear()
            self._collected_bytes = 0
            self._write_to_sink(collected)

    def _write_to_sink(self, data: bytes | memoryview) -> None:
        try:
            self._sink.write(data)
        except BaseException:
            self.sink_failed = True
            raise


def _frame(opcodes: bytes) -> bytes:
    return _FRAME_HEAD.pack(_FRAME, len(opcodes)) + opcodes
