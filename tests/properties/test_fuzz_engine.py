"""Mutated and random streams: an error or a result, and nothing beside it."""

from __future__ import annotations

import bz2
import functools
import io
import lzma
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.attacks.corpus.attacks import ATTACKS
from tests.attacks.corpus.case import Effect
from tests.attacks.corpus.opcodes import EMPTY_DICT, TUPLE1, name, stream
from tests.attacks.corpus.watching import UNHEARD_OF, Watched, Watcher

ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def watcher() -> Iterator[Watcher]:
    real_streams()  # joblib uses the random module, which is not for strategies
    watcher = Watcher(ROOT)
    yield watcher
    watcher.close()


def assert_inert(watched: Watched) -> None:
    """It lived, within its limits, and touched nothing."""
    assert watched.died is None
    assert watched.events == ()


# ── real streams ─────────────────────────────────────────────────────────────


def _objects() -> list[Any]:
    array = np.arange(6.0).reshape(2, 3)
    records = np.zeros(2, dtype=[("a", "<i4"), ("b", ">f8", (2,)), ("c", "S3")])
    return [
        {"weights": array, "labels": ["a", "b"], "shape": (2, 3), 1: {2.5, None, True}},
        [array, np.array(["x", None, [1]], dtype=object), array.T, records],
        [np.float32(1), np.datetime64("2026-11-23"), np.zeros(0), np.array("text")],
        [b"raw", bytearray(b"raw"), 1 << 70, 2j, slice(1, 2), frozenset("ab"), "ä\u2028"],
    ]


@functools.cache
def real_streams() -> list[bytes]:
    """What joblib and pickle write, of every protocol and compression, and the attacks."""
    found = []
    for item in _objects():
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            buffer = io.BytesIO()
            joblib.dump(item, buffer, protocol=protocol)
            found += [buffer.getvalue(), pickle.dumps(item, protocol)]
    for compress in (zlib.compress, bz2.compress, lzma.compress):
        found.append(compress(found[8]))
    attacks = [attack.payload() for attack in ATTACKS.values() if attack.effect is Effect.MARKER]
    return found + [payload for payload in attacks if len(payload) < 2000]


@st.composite
def mutated_streams(draw: st.DrawFn) -> bytes:
    """A real stream with some of its bytes changed, moved, doubled, taken out or put in."""
    content = bytearray(draw(st.sampled_from(real_streams())))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 24)))
        match draw(st.sampled_from(["flip", "set", "insert", "cut", "double", "splice", "end"])):
            case "flip" if start < len(content):
                content[start] ^= 1 << draw(st.integers(0, 7))
            case "set":
                content[start:end] = draw(st.sampled_from((b"\xff", b"\0", b"\x7f"))) * (
                    end - start
                )
            case "insert":
                content[start:start] = draw(st.binary(max_size=12) | st.sampled_from(FRAGMENTS))
            case "cut":
                del content[start:end]
            case "double":
                content[start:start] = content[start:end]
            case "splice":
                other = draw(st.sampled_from(real_streams()))
                content[start:] = other[draw(st.integers(0, len(other))) :]
            case "end":
                del content[start:]
    return bytes(content)


# ── streams made of opcodes ──────────────────────────────────────────────────

_TEXTS: Final = [b"os", b"system", b"numpy", b"ndarray", b"dtype", b"f8", b"O8", b"C", b"shape"]
_NAMES: Final = [
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"cnumpy._core.multiarray\n_reconstruct\n",
    b"cnumpy._core.multiarray\nscalar\n",
    b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n",
    b"c_codecs\nencode\n",
    b"cbuiltins\nset\n",
    b"cbuiltins\ngetattr\n",
    b"ccollections\nOrderedDict\n",
    b"ccopyreg\n_reconstructor\n",
    b"cos\nsystem\n",
]
_CLAIMS: Final = [
    opcode + size
    for opcode in (b"\x8d", b"\x8e", b"\x95", b"\x96")
    for size in (bytes(8), b"\x05" + bytes(7), b"\0\0\0\0\1\0\0\0", b"\xff" * 7 + b"\x7f")
]
_SINGLE: Final = [bytes([opcode]) for opcode in b"()]}NFIKMJ0122RabdelostuQcighpqrjLPSTUVX.\\"]
_SINGLE_NEW: Final = [bytes([opcode]) for opcode in range(0x80, 0x99)]
FRAGMENTS: Final = [
    *_NAMES,
    *_CLAIMS,
    *_SINGLE,
    *_SINGLE_NEW,
    *(b"X" + len(each).to_bytes(4, "little") + each for each in _TEXTS),
    *(b"q" + bytes([index]) for index in range(4)),
    *(b"h" + bytes([index]) for index in range(4)),
    b"r\xff\xff\xff\xff",
    b"j\xff\xff\xff\x7f",
    b"\x80\x02",
    b"\x80\x04",
    b")\x81",
    b")R",
    b"}b",
    b"\x85R",
    b"X\x02\0\0\0f8\x89\x88\x87R",
    b"(K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb",
    b"}(X\x08\0\0\0subclassX\x05\0\0\0shapeX\x05\0\0\0orderX\x05\0\0\0dtypeu",
]
OPCODES = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=60)


@given(mutated_streams())
def test_a_mutated_stream_is_read_inertly(watcher: Watcher, content: bytes) -> None:
    """Whatever a stream becomes, reading it is an error or a result: no import, file or process."""
    assert_inert(watcher.inspect_and_load(content))


@given(OPCODES, st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"\x80\x05"]))
def test_a_stream_of_random_opcodes_is_read_inertly(
    watcher: Watcher, opcodes: list[bytes], head: bytes
) -> None:
    """Whatever opcodes follow one another, reading them is an error or a result."""
    assert_inert(watcher.inspect_and_load(head + b"".join(opcodes) + b"."))


@given(st.binary(max_size=200))
def test_random_bytes_are_read_inertly(watcher: Watcher, content: bytes) -> None:
    """Whatever bytes a file holds, reading them is an error or a result."""
    assert_inert(watcher.inspect_and_load(content))


def test_what_a_stream_does_would_be_noticed(watcher: Watcher) -> None:
    """An import, a crash and a result are told from one another."""
    assert watcher.inspect_and_load(real_streams()[0]).loaded == "result"
    assert "import" in watcher.inspect_and_load(stream(name(UNHEARD_OF))).events
    deep = stream(EMPTY_DICT, b"N" + TUPLE1 * 1_000_000, b"Ns")
    assert watcher.inspect_and_load(deep).died == "SIGSEGV"
