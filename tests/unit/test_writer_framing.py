"""Content in the stream of the C pickler: each chunk that is not as expected is noticed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from struct import pack

import pytest

from sealstore.formats.pickling import framing
from sealstore.formats.pickling.framing import FramedOutput, UnexpectedStream, new_sentinel
from tests.joblib_files import MemorySink

HEAD = b"B\x00\x00\x01\x00"
PROTO = b"\x80\x05"


def frame(opcodes: bytes, length: int | None = None) -> bytes:
    return b"\x95" + pack("<Q", len(opcodes) if length is None else length) + opcodes


def with_content(*chunks: bytes, behind: bytes = b"\x94") -> tuple[bytes, FramedOutput]:
    """What is written for chunks around a sentinel, which is the empty one among them."""
    sink = MemorySink()
    output = FramedOutput(sink)
    sentinel = new_sentinel()
    output.expect(sentinel, b"<instead>", lambda output: output.append(b"<content>"), behind)
    for chunk in chunks:
        output.write(chunk or sentinel)
    output.finish()
    return sink.getvalue(), output


def test_content_stands_between_the_frames_around_its_sentinel() -> None:
    """The frame before it gets another end, the frame behind it another beginning."""
    content, _ = with_content(
        PROTO + frame(b"before") + HEAD, b"", frame(b"\x94after"), behind=b"\x94"
    )
    assert content == PROTO + frame(b"before<instead>") + b"<content>" + frame(b"after")


@pytest.mark.parametrize("few", [b"", b"]", b"]\x94", b"]\x94("])
def test_opcodes_too_few_for_a_frame_are_found_in_front_of_a_sentinel(few: bytes) -> None:
    """The C pickler writes up to three bytes without a frame."""
    content, _ = with_content(PROTO + few + HEAD, b"", frame(b"\x94after"))
    assert content == PROTO + frame(few + b"<instead>") + b"<content>" + frame(b"after")


def test_opcodes_too_few_for_a_frame_are_found_behind_a_sentinel() -> None:
    """The end of a pickle may be two bytes without a frame."""
    content, _ = with_content(PROTO + HEAD, b"", b"\x94Q.", behind=b"\x94Q")
    assert content == PROTO + frame(b"<instead>") + b"<content>."


@pytest.mark.parametrize("few", [b"", b"a", b"ab", b"abc"])
def test_what_is_left_of_a_frame_has_none_if_it_is_too_short_for_one(few: bytes) -> None:
    """As in what the C pickler writes: a frame has four bytes at least."""
    payload = b"p" * 65536
    content, _ = with_content(
        PROTO + HEAD,
        b"",
        frame(b"\x94ubQ" + few) + HEAD,
        payload,
        frame(b"\x94end."),
        behind=b"\x94ubQ",
    )
    expected = frame(b"<instead>") + b"<content>" + few + HEAD + payload + frame(b"\x94end.")
    assert content == PROTO + expected


def test_two_sentinels_follow_each_other() -> None:
    """What lies between them loses its beginning and gets its end."""
    sink = MemorySink()
    output = FramedOutput(sink)
    for chunk in (PROTO + HEAD, b"\x94Q" + HEAD, frame(b"\x94Q....") + HEAD):
        sentinel = new_sentinel()
        output.expect(sentinel, b"<instead>", lambda output: output.append(b"!"), b"\x94Q")
        output.write(chunk)
        output.write(sentinel)
    output.write(b"\x94Q.")
    output.finish()
    instead = frame(b"<instead>") + b"!"
    assert sink.getvalue() == PROTO + instead + instead + frame(b"....<instead>") + b"!."


def test_a_function_may_rewrite_the_opcodes_since_the_last_sentinel() -> None:
    """What it returns is all that is written for them."""
    sink = MemorySink()
    output = FramedOutput(sink)
    sentinel = new_sentinel()
    output.expect(sentinel, lambda opcodes: opcodes[::-1], lambda _: None, b"\x94")
    output.write(PROTO + frame(b"abcd") + HEAD)
    output.write(sentinel)
    output.write(b"\x94.")
    output.finish()
    assert sink.getvalue() == PROTO + frame(b"dcba") + b"."


@pytest.mark.parametrize("start", range(16))
def test_an_array_of_bytes_is_aligned_from_the_beginning_of_the_file(start: int) -> None:
    """One byte with the padding's length, 1 to 16, then the padding, then a multiple of 16."""
    sink = MemorySink()
    output = FramedOutput(sink, position=start)
    sentinel = new_sentinel()
    output.expect(sentinel, b"|", b"array", b"\x94")
    output.write(PROTO + HEAD)
    output.write(sentinel)
    output.write(b"\x94.")
    output.finish()
    before, behind = sink.getvalue().split(b"|")
    padding, array = behind[: -len(b"array.")], behind[-len(b"array.") :]
    assert array == b"array."
    assert 1 <= padding[0] <= 16
    assert padding[1:] == b"\xff" * padding[0]
    assert (start + len(before) + 1 + len(padding)) % 16 == 0


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        (["sentinel"], "no head"),
        ([PROTO + frame(b"before"), "sentinel"], "no head"),
        ([PROTO + frame(b"before") + b"B\x00\x00\x02\x00", "sentinel"], "no head"),
        ([frame(b"before") + HEAD, "sentinel"], "no head"),
        ([PROTO + b"four" + HEAD, "sentinel"], "no frame"),
        ([PROTO + b"more than a frame's head" + HEAD, "sentinel"], "no frame"),
        ([PROTO + frame(b"before") + b"x" + HEAD, "sentinel"], "no frame"),
        ([PROTO + frame(b"before", length=7) + HEAD, "sentinel"], "no frame"),
        ([PROTO + frame(b"before") + frame(b"too") + HEAD, "sentinel"], "no frame"),
        ([PROTO + HEAD, "sentinel"], "ends too early"),
        ([PROTO + HEAD, "sentinel", bytearray(65536)], "right behind"),
        ([PROTO + HEAD, "sentinel", pickle.PickleBuffer(bytes(65536))], "right behind"),
        ([PROTO + HEAD, "sentinel", bytes(65536)], "other opcodes"),
        ([PROTO + HEAD, "sentinel", frame(b"after")], "other opcodes"),
        ([PROTO + HEAD, "sentinel", b"after"], "other opcodes"),
        ([PROTO + HEAD, "sentinel", b""], "other opcodes"),
        ([PROTO + HEAD, "sentinel", frame(b"\x94after", length=7)], "another length"),
        ([PROTO + HEAD, "sentinel", frame(b"\x94", length=0) + b"after"], "another length"),
        ([PROTO + HEAD, "sentinel", frame(b"after") + HEAD, "another"], "other opcodes"),
        ([PROTO + frame(b"end.")], "ends too early"),
    ],
)
def test_a_chunk_that_is_not_as_expected_is_noticed(
    chunks: list[bytes | bytearray | pickle.PickleBuffer | str], reason: str
) -> None:
    """Nothing is guessed: whatever the C pickler should not write ends the attempt."""
    with pytest.raises(UnexpectedStream, match=reason):
        write_all(chunks)


def write_all(chunks: list[bytes | bytearray | pickle.PickleBuffer | str]) -> None:
    """Write chunks, with a sentinel where one is named."""
    output = FramedOutput(MemorySink())
    sentinel = new_sentinel()
    output.expect(sentinel, b"", b"", b"\x94")
    for chunk in chunks:
        if chunk == "another":
            sentinel = new_sentinel()
            output.expect(sentinel, b"", b"", b"\x94")
        output.write(sentinel if isinstance(chunk, str) else chunk)
    output.finish()


def test_only_one_sentinel_is_awaited() -> None:
    """An array inside the description of another one is not for this technique."""
    output = FramedOutput(MemorySink())
    output.expect(new_sentinel(), b"", b"", b"\x94")
    with pytest.raises(UnexpectedStream, match="inside the description"):
        output.expect(new_sentinel(), b"", b"", b"\x94")


@pytest.mark.parametrize("convert", [bytes, bytearray, memoryview, pickle.PickleBuffer])
@pytest.mark.parametrize("size", [0, 1, framing.LARGE_BYTES - 1, framing.LARGE_BYTES, 10**6])
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
