"""Arrays in the stream of the C pickler: each chunk that is not as expected is noticed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from struct import pack

import pytest

from sealstore.formats.pickling import framing
from sealstore.formats.pickling.framing import FramedOutput, UnexpectedStream
from tests.joblib_files import MemorySink
from tests.matrix import each_row

HEAD = b"B\x00\x00\x01\x00"
PROTO = b"\x80\x05"
END = b"K\x10\x94\x94ub"
BEHIND = b"\x94h\x07\x86\x94ub"
PUT = b"r\x07\x00\x00\x00"

Chunk = bytes | bytearray | pickle.PickleBuffer | None


def frame(opcodes: bytes, length: int | None = None) -> bytes:
    return b"\x95" + pack("<Q", len(opcodes) if length is None else length) + opcodes


def written(*chunks: Chunk, position: int = 0) -> bytes:
    """What is written for the chunks; each None is a sentinel, for the bytes ``array``."""
    sink = MemorySink()
    output = FramedOutput(sink, position)
    left = chunks.count(None)
    for chunk in chunks:
        if left and output.sentinel is None:
            output.expect(b"array")
            left -= 1
        data = output.sentinel if chunk is None else chunk
        assert data is not None
        output.write(data)
    output.finish()
    return sink.getvalue()


def array_behind(before: bytes, position: int = 0) -> bytes:
    """``before``, with the padded array."""
    size = 16 - (position + len(before) + 1) % 16
    return before + bytes([size]) + b"\xff" * size + b"array"


def test_an_array_stands_between_the_frames_around_its_sentinel() -> None:
    """The frame before it gets another end, the frame behind it another beginning."""
    content = written(PROTO + frame(b"before") + HEAD, None, frame(BEHIND + b"after"))
    assert content == array_behind(PROTO + frame(b"before" + END)) + frame(PUT + b"after")


def test_a_number_of_four_bytes_is_found_behind_a_sentinel() -> None:
    """The memo has more than 256 entries by then."""
    content = written(PROTO + HEAD, None, frame(b"\x94j\x01\n\x03\x00\x86\x94ub."))
    assert content == array_behind(PROTO + frame(END)) + frame(b"r\x01\n\x03\x00.")


@pytest.mark.parametrize("few", [b"", b"]", b"]\x94", b"]\x94("])
def test_opcodes_too_few_for_a_frame_are_found_in_front_of_a_sentinel(few: bytes) -> None:
    """The C pickler writes up to three bytes without a frame."""
    content = written(PROTO + few + HEAD, None, frame(BEHIND + b"."))
    assert content == array_behind(PROTO + frame(few + END)) + frame(PUT + b".")


def test_a_payload_may_follow_in_the_chunk_behind_a_sentinel() -> None:
    """Its head is outside of the frame."""
    payload = b"p" * 65536
    content = written(PROTO + HEAD, None, frame(BEHIND) + HEAD, payload, frame(b"\x94end."))
    behind = frame(PUT) + HEAD + payload + frame(b"\x94end.")
    assert content == array_behind(PROTO + frame(END)) + behind


def test_two_sentinels_follow_each_other() -> None:
    """What lies between them loses its beginning and gets its end."""
    between = frame(BEHIND + b"....")
    content = written(PROTO + HEAD, None, between + HEAD, None, frame(BEHIND + b"."))
    first = array_behind(PROTO + frame(END))
    assert content == array_behind(first + frame(PUT + b"...." + END)) + frame(PUT + b".")


@each_row("position", range(16))
def test_an_array_is_aligned_from_the_beginning_of_the_file(position: int) -> None:
    """One byte with the padding's length, 1 to 16, then the padding, then a multiple of 16."""
    content = written(PROTO + HEAD, None, frame(BEHIND + b"."), position=position)
    assert content == array_behind(PROTO + frame(END), position) + frame(PUT + b".")
    assert (position + content.index(b"array")) % 16 == 0


@each_row(
    ("chunks", "reason"),
    [
        ([None], "no head"),
        ([PROTO + frame(b"before"), None], "no head"),
        ([PROTO + frame(b"before") + b"B\x00\x00\x02\x00", None], "no head"),
        ([frame(b"before") + HEAD, None], "no head"),
        ([PROTO + b"four" + HEAD, None], "no frame"),
        ([PROTO + b"more than a frame's head" + HEAD, None], "no frame"),
        ([PROTO + frame(b"before") + b"x" + HEAD, None], "no frame"),
        ([PROTO + frame(b"before", length=7) + HEAD, None], "no frame"),
        ([PROTO + frame(b"before") + frame(b"too") + HEAD, None], "no frame"),
        ([PROTO + HEAD, None], "ends too early"),
        ([PROTO + HEAD, None, bytearray(65536)], "right behind"),
        ([PROTO + HEAD, None, pickle.PickleBuffer(bytes(65536))], "right behind"),
        ([PROTO + HEAD, None, bytes(65536)], "other opcodes"),
        ([PROTO + HEAD, None, frame(b"after")], "other opcodes"),
        ([PROTO + HEAD, None, b"after"], "other opcodes"),
        ([PROTO + HEAD, None, b""], "other opcodes"),
        ([PROTO + HEAD, None, 9 * b"x" + BEHIND], "other opcodes"),
        ([PROTO + HEAD, None, frame(b"\x94" + BEHIND)], "other opcodes"),
        ([PROTO + HEAD, None, frame(b"\x94i\x07\x86\x94ub")], "other opcodes"),
        ([PROTO + HEAD, None, frame(BEHIND + b"after", length=13)], "another length"),
        ([PROTO + HEAD, None, frame(BEHIND, length=6)], "another length"),
        ([PROTO + HEAD, None, frame(b"after") + HEAD, None], "other opcodes"),
        ([PROTO + HEAD, None, b"]" + HEAD, None], "other opcodes"),
        ([PROTO + frame(b"end."), frame(b"end."), None], "no head"),
    ],
)
def test_a_chunk_that_is_not_as_expected_is_noticed(chunks: list[Chunk], reason: str) -> None:
    """Nothing is guessed: whatever the C pickler should not write ends the attempt."""
    with pytest.raises(UnexpectedStream, match=reason):
        written(*chunks)


def test_a_stream_that_ends_without_the_sentinel_is_noticed() -> None:
    """An array whose place was never found would be lost."""
    output = FramedOutput(MemorySink())
    output.expect(b"array")
    output.write(PROTO + frame(b"end."))
    with pytest.raises(UnexpectedStream, match="ends too early"):
        output.finish()


def test_only_one_sentinel_is_awaited() -> None:
    """An array inside the description of another one is not for this technique."""
    output = FramedOutput(MemorySink())
    output.expect(b"")
    with pytest.raises(UnexpectedStream, match="inside the description"):
        output.expect(b"")


@each_row("convert", [bytes, bytearray, memoryview, pickle.PickleBuffer])
@each_row("size", [0, 1, framing.LARGE_BYTES - 1, framing.LARGE_BYTES, 10**6])
def test_pieces_are_written_as_they_stand(
    convert: Callable[[bytes], bytes | bytearray | memoryview | pickle.PickleBuffer], size: int
) -> None:
    """Large and small pieces, in any kind of buffer, stay in their order."""
    sink = MemorySink()
    output = FramedOutput(sink)
    piece = bytes(range(256)) * (size // 256 + 1)
    for _ in range(3):
        output.append(b"[")
        output.append(convert(piece[:size]))
        output.append(b"]")
    output.finish()
    assert sink.getvalue() == (b"[" + piece[:size] + b"]") * 3


def test_small_pieces_reach_the_sink_together() -> None:
    """The sink gets a call for some hundred KiB, not one for each piece."""
    sink = MemorySink()
    output = FramedOutput(sink)
    for _ in range(100_000):
        output.append(b"ten bytes.")
    output.finish()
    assert sink.getvalue() == b"ten bytes." * 100_000
    assert len(sink.sizes) < 10
