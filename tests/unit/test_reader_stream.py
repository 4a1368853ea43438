"""The file objects of the reader: frames and the places at which the unpickler stands."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.stream import ArrayStream, PlainStream, holds
from tests.engine import frame, loaded, proto, text, values
from tests.matrix import each_row

ENDS = [b".", b"b"]
"""Last bytes of a frame that might be the opcodes STOP and BUILD."""


@each_row("end", ENDS)
@each_row(
    ("opcodes", "expected"),
    [
        (lambda end: b"K" + end, ord),
        (lambda end: b"M\x00" + end, lambda end: ord(end) << 8),
        (lambda end: b"J\x00\x00\x00" + end, lambda end: ord(end) << 24),
        (lambda end: b"\x8a\x03\x00\x00" + end, lambda end: ord(end) << 16),
        (lambda end: b"\x8c\x05abcd" + end, lambda end: "abcd" + end.decode()),
        (lambda end: b"X\x05\x00\x00\x00abcd" + end, lambda end: "abcd" + end.decode()),
        (lambda end: b"C\x01" + end, bytes),
        (lambda end: b"C\x05abcd" + end, lambda end: b"abcd" + end),
        (lambda end: b"B\x05\x00\x00\x00abcd" + end, lambda end: b"abcd" + end),
    ],
    ids=["K", "M", "J", "LONG1", "SHORT_BINUNICODE", "X", "C of one", "C", "B"],
)
def test_a_frame_may_end_in_an_argument_that_looks_like_an_opcode(
    opcodes: Callable[[bytes], bytes], expected: Callable[[bytes], object], end: bytes
) -> None:
    """The last byte of a frame is an opcode where it is one, and an argument where it is one."""
    body = opcodes(end)
    assert loaded(proto(4) + frame(body) + b".") == expected(end)
    assert loaded(proto(4) + frame(body) + frame(b"\x85.")) == (expected(end),)


@pytest.mark.parametrize("end", ENDS)
def test_a_bytearray_may_end_its_frame(end: bytes) -> None:
    """A bytearray at the end of a frame, which is read straight into its memory, is whole."""
    body = b"\x96" + (5).to_bytes(8, "little") + b"abcd" + end
    assert loaded(proto(5) + frame(body) + b".") == bytearray(b"abcd" + end)


def test_frames_of_every_size_are_read() -> None:
    """Frames of no, one, two and many bytes follow each other."""
    content = (
        proto(4) + frame(b"](") + frame(b"") + frame(b"K\x01K\x02") + frame(b"e") + frame(b".")
    )
    assert loaded(content) == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        frame(b"\x8c\x05ab.") + b"cd.",
        frame(b"J\x00b") + b"\x00\x00.",
        frame(b"C\x05ab.") + b"cd.",
        frame(b"\x96" + (5).to_bytes(8, "little") + b"ab.") + b"cd.",
        frame(b"I12b") + b"3\n.",
        frame(b"cbuiltins\nin.") + b"t\n.",
    ],
)
def test_an_opcode_that_leaves_its_frame_is_refused(content: bytes) -> None:
    """Nothing begins in one frame and ends behind it, where the frame's end can be seen."""
    with pytest.raises(PayloadFormatError):
        loaded(proto(4) + content)


@pytest.mark.parametrize("left", [b"N", b".", b"N.", b"Nb", b"K."])
def test_bytes_left_in_the_frame_behind_stop_are_refused(left: bytes) -> None:
    """What hides in the last frame, behind STOP, is found although nothing reads it."""
    with pytest.raises(PayloadFormatError):
        loaded(proto(4) + frame(values([1]) + b"." + left))


def test_a_frame_longer_than_the_file_is_refused() -> None:
    """A frame's claim is held against the bytes that are there, before any memory is taken."""
    for length in (10, 2**31, 2**62):
        content = proto(4) + b"\x95" + length.to_bytes(8, "little") + b"K\x01."
        with pytest.raises(PayloadFormatError):
            loaded(content)


def test_a_long_line_is_found() -> None:
    """An argument of the text protocols may be as long as it likes."""
    digits = "9" * 1000
    content = proto(4) + b"L" + digits.encode() + b"L\n."
    assert loaded(content) == int(digits)
    assert loaded(proto(4) + frame(b"L") + digits.encode() + b"L\n.") == int(digits)
    with pytest.raises(PayloadFormatError):
        loaded(proto(4) + b"L" + digits.encode())


def test_a_plain_stream_has_nothing_behind_what_was_peeked_at() -> None:
    """The unpickler has seen all there is; when it asks for more, the stream is truncated."""
    stream = PlainStream(memoryview(b"ab"))
    assert bytes(stream.peek(1)) == b"ab"
    for ask in (lambda: stream.read(3), lambda: stream.readinto(memoryview(b"")), stream.readline):
        with pytest.raises(PayloadFormatError):
            ask()
    assert bytes(stream.read(1)) == b"a"
    assert stream.position == 1


def test_a_plain_stream_ends_where_the_unpickler_ended() -> None:
    """After a load, the position is that behind STOP, whatever was looked at ahead."""
    for protocol in range(6):
        content = pickle.dumps([1, b"x" * 70_000, "text"], protocol)
        stream = PlainStream(memoryview(content + b"more"))
        assert pickle.Unpickler(stream).load() == [1, b"x" * 70_000, "text"]  # type: ignore[arg-type] # it reads memoryviews too
        assert stream.position == len(content)
        assert stream.stopped_exactly


def test_large_bytes_are_read_into_their_own_memory() -> None:
    """A large object outside frames is filled by readinto, and one beyond the end is refused."""
    stream = ArrayStream(memoryview(proto(4) + b"abcd"), 2)
    target = bytearray(3)
    assert stream.readinto(memoryview(target)) == 3
    assert target == b"abc"
    with pytest.raises(PayloadFormatError):
        stream.readinto(memoryview(bytearray(2)))


def test_a_search_finds_what_lies_across_its_windows() -> None:
    """A name is found wherever it stands in a large memory, and only where it stands."""
    wanted = b"NumpyArrayWrapper"
    for start in range(256 * 1024 - 20, 256 * 1024 + 3):
        content = bytes(start) + wanted + bytes(9)
        assert holds(memoryview(content), wanted)
        assert not holds(memoryview(content[: start + len(wanted) - 1]), wanted)


def test_text_of_a_name_is_no_frame() -> None:
    """The byte that begins a frame, as an argument, begins none."""
    assert loaded(proto(4) + b"K\x95.") == 0x95
    assert loaded(proto(4) + b"(K\x95" + text("12345678") + b"t.") == (0x95, "12345678")
