"""The file objects that the C unpickler reads verified memory through.

Both know, once the unpickler stops, exactly where it stopped, and neither copies what it serves.

`PlainStream` is for streams in which joblib's arrays cannot stand. It has ``peek``: the C unpickler
then looks ahead as it likes and, at its end, says by a last ``read`` how much it has used.

`ArrayStream` is for streams with array bytes between the opcodes. It has no ``peek``, so the C
unpickler takes what it needs and nothing beyond: a frame (PEP 3154) as a whole, or, outside frames,
one opcode at a time. A frame whose last byte may be STOP or BUILD is served in two pieces, the last
byte by itself. When the unpickler then stops, or builds an array's wrapper, right after that one
byte, it has used the whole frame; when it does so earlier, bytes are left in the frame, and the
stream is refused. ``inject`` puts opcodes in front of what the memory holds: the way an array takes
its wrapper's place.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.refusals import Reason, refused, truncated

FIRST_FRAMED_PROTOCOL: Final = 4
_PROTO: Final = 0x80
_FRAME: Final = 0x95
_FRAME_HEADER_BYTES: Final = 8
# From a memoryview, int.from_bytes takes three times as long.
_frame_length: Final = struct.Struct("<Q").unpack_from
_STOP: Final = ord(".")
_BUILD: Final = ord("b")
_STOP_AND_BUILD: Final = (_STOP, _BUILD)
# Frames are 64 KiB, or little more: picklers end them at the first opcode behind that.
_SERVED_ALONG_BYTES: Final = 128 * 1024
_LINE_WINDOW_BYTES: Final = 64
_SEARCH_WINDOW_BYTES: Final = 256 * 1024
_SINGLE_BYTES: Final = tuple(bytes((value,)) for value in range(256))


class PickleStream(Protocol):
    """What the reader needs of a stream, beyond being a file object for the C unpickler."""

    memory: memoryview
    position: int
    protocol: int

    def read(self, size: int, /) -> bytes | memoryview:
        """At least ``size`` bytes."""

    def readinto(self, target: memoryview, /) -> int:
        """Fill ``target``."""

    def readline(self) -> bytes:
        """Bytes up to a line feed."""

    @property
    def stopped_exactly(self) -> bool:
        """Whether the STOP opcode was the last byte that the unpickler used or could have used."""


def stream_protocol(memory: memoryview, position: int = 0) -> int:
    """The pickle protocol that the stream at ``position`` declares; 0 where it declares none."""
    head = memory[position : position + 2]
    return head[1] if len(head) == 2 and head[0] == _PROTO else 0


def holds(memory: memoryview, wanted: bytes) -> bool:
    """Whether ``wanted`` occurs in ``memory``."""
    step = _SEARCH_WINDOW_BYTES
    overlap = len(wanted) - 1
    # bytes.find is many times faster than anything that searches a memoryview, the copy included.
    return any(
        wanted in bytes(memory[start : start + step + overlap])
        for start in range(0, len(memory), step)
    )


class PlainStream:
    """Serves the stream at ``position`` to an unpickler that looks ahead.

    Args:
        memory: bytes of format ``B``. The slices that are served share it.
        position: byte offset of the stream's first opcode; behind its STOP, once it was read.
    """

    def __init__(self, memory: memoryview, position: int = 0) -> None:
        self.memory = memory
        self.position = position
        self.protocol = stream_protocol(memory, position)

    def peek(self, _size: int, /) -> memoryview:
        """Everything that is left."""
        return self.memory[self.position :]

    def read(self, size: int, /) -> memoryview:
        """The next ``size`` bytes: what the unpickler has used of those that it peeked at."""
        start = self.position
        end = start + size
        if end > len(self.memory):
            raise truncated()
        self.position = end
        return self.memory[start:end]

    def readinto(self, target: memoryview, /) -> int:
        """Never fills: what was not to be had by ``peek`` is not there."""
        raise truncated()

    def readline(self) -> bytes:
        """Never finds one: what was not to be had by ``peek`` is not there."""
        raise truncated()

    @property
    def stopped_exactly(self) -> bool:
        """Always so: the unpickler itself has said how much it used."""
        return True


class ArrayStream:
    """Serves the stream at ``position`` to an unpickler that takes what it needs and no more.

    Args:
        memory: bytes of format ``B``. The slices that are served share it.
        position: byte offset of the stream's first opcode.
    """

    def __init__(self, memory: memoryview, position: int = 0) -> None:
        self.memory = memory
        self.position = position
        self.protocol = stream_protocol(memory, position)
        self._end = len(memory)
        # Reads up to here need no thought. Whatever does need some lowers it.
        self._plain_until = self._end
        self._injected = b""
        self._frame_start = -1
        self._split_at = -1
        # Where the last read ended, if it was one byte: one opcode, or an argument of one byte.
        self._single_end = -1

    def read(self, size: int, /) -> bytes | memoryview:
        """The next ``size`` bytes, or more where the unpickler may keep the rest."""
        start = self.position
        end = start + size
        if end > self._plain_until:
            return self._read_with_thought(start, size)
        self.position = end
        if size == 1:
            self._single_end = end
            return _SINGLE_BYTES[self.memory[start]]
        # No other opcode byte 0x95 is ever followed by a read of eight bytes.
        if size == _FRAME_HEADER_BYTES and self.memory[start - 1] == _FRAME:
            return self._frame_header(start, end)
        return self.memory[start:end]

    def readinto(self, target: memoryview, /) -> int:
        """Fill ``target``, the memory of a ``bytes`` or ``bytearray`` object."""
        start = self.position
        end = start + len(target)
        if end > self._end:
            raise truncated()
        if start == self._split_at:
            if end != start + 1:
                raise _leaves_its_frame()
            self._split_at = -1
            self._plain_until = self._end
        target[:] = self.memory[start:end]
        self.position = end
        return end - start

    def readline(self) -> bytes:
        """The argument of an opcode of protocols 0 and 1, up to its line feed."""
        start = self.position
        if start == self._split_at:
            raise _leaves_its_frame()  # its last byte is no line feed
        self.position = _line_end(self.memory, start)
        return bytes(self.memory[start : self.position])

    @property
    def stopped_exactly(self) -> bool:
        """Whether the last thing read was a STOP opcode by itself, with nothing read ahead."""
        return self._single_end == self.position and self.memory[self.position - 1] == _STOP

    @property
    def stands_behind_build(self) -> bool:
        """Whether the last thing read was a BUILD opcode by itself, with nothing read ahead."""
        return self._single_end == self.position and self.memory[self.position - 1] == _BUILD

    def inject(self, opcodes: bytes, position: int) -> None:
        """Serve ``opcodes`` in answer to the next read, and go on at ``position`` after that.

        At ``position`` stands an opcode. If it is a frame's, the frame's body is served along with
        ``opcodes``: without its header, which says nothing that the unpickler needs.
        """
        memory = self.memory
        self.position = position
        self._plain_until = -1
        body = position + 1 + _FRAME_HEADER_BYTES
        if body < self._end and memory[position] == _FRAME:
            frame_end = body + _frame_length(memory, position + 1)[0]
            if (
                body < frame_end <= self._end
                and frame_end - body <= _SERVED_ALONG_BYTES
                and memory[frame_end - 1] in _STOP_AND_BUILD
            ):
                self._frame_start = body
                self.position = self._split_at = frame_end - 1
                opcodes += memory[body : frame_end - 1]
        self._injected = opcodes

    def _read_with_thought(self, start: int, size: int) -> bytes | memoryview:
        if self._injected:
            opcodes, self._injected = self._injected, b""
            if self._split_at < 0:
                self._plain_until = self._end
            return opcodes
        split_at = self._split_at
        if start < split_at:
            # The body of a frame that is served in two pieces.
            self.position = split_at
            return self.memory[start:split_at]
        if split_at < 0:
            raise truncated()
        self._split_at = -1
        self._plain_until = self._end
        self.position = split_at + 1
        if size == 1:
            self._single_end = split_at + 1
            return _SINGLE_BYTES[self.memory[split_at]]
        # The frame ends in an argument whose last byte only looks like an opcode: the unpickler
        # holds it but for that byte, and asks for all of it once more.
        if split_at + 1 - size < self._frame_start:
            raise _leaves_its_frame()
        return self.memory[split_at + 1 - size : split_at + 1]

    def _frame_header(self, start: int, end: int) -> bytes | memoryview:
        length: int = _frame_length(self.memory, start)[0]
        frame_end = end + length
        if frame_end > self._end:
            raise truncated()
        if length == 0 or self.memory[frame_end - 1] not in _STOP_AND_BUILD:
            return self.memory[start:end]
        self._frame_start = end
        self._split_at = frame_end - 1
        self._plain_until = -1
        return (length - 1).to_bytes(_FRAME_HEADER_BYTES, "little")


def _line_end(memory: memoryview, start: int) -> int:
    window = _LINE_WINDOW_BYTES
    while start < len(memory):
        found = bytes(memory[start : start + window]).find(b"\n")
        if found >= 0:
            return start + found + 1
        start += window
        window *= 2
    raise truncated()


def _leaves_its_frame() -> PayloadFormatError:
    return refused(Reason.FRAME, "An opcode of the payload reaches beyond its frame.")
