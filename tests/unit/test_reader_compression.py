"""Compressed payloads: every form of joblib's, within limits, and nothing behind them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zlib
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest

from sealstore import limits
from sealstore.errors import (
    LimitExceededError,
    MissingExtraError,
    PayloadFormatError,
    UnsupportedPayloadError,
)
from sealstore.formats.pickling import compression
from sealstore.formats.pickling.compression import compression_of, decompress
from tests.engine import inspected, loaded, reasons
from tests.joblib_files import METHODS, joblib_dumped
from tests.matrix import each_row

PLAIN = pickle.dumps(list(range(100)), 4)


def compressed(method: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with joblib.numpy_pickle_utils._write_fileobject(file, compress=(method, 3)) as target:
        target.write(content)
    return file.getvalue()


@each_row("method", METHODS)
@each_row("size", [0, 1, 2**18, 2**20 - 1, 2**20, 2**20 + 1, 5 * 2**20])
def test_decompression_is_exact_at_every_boundary(method: str, size: int) -> None:
    """What was compressed comes back whole, also where pieces of it are just full."""
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    found = decompress(memoryview(compressed(method, content)), method)
    assert found == content
    assert not found.readonly


@pytest.mark.parametrize("method", METHODS)
def test_a_compression_is_recognised_as_joblib_does(method: str) -> None:
    """The first bytes tell the compression, and a plain pickle has none."""
    assert compression_of(memoryview(joblib_dumped([1], compress=(method, 1)))) == method
    assert compression_of(memoryview(joblib_dumped([1]))) is None
    assert inspected(joblib_dumped([1], compress=(method, 1))).compression == method


@each_row("method", METHODS)
@each_row("more", [b"\x00", b"more", None], ids=["zero", "more", "twice"])
def test_bytes_behind_the_compressed_data_are_refused(method: str, more: bytes | None) -> None:
    """Bytes that joblib would read on into, for further streams or for ever, are refused."""
    content = compressed(method, PLAIN)
    assert loaded(content) == list(range(100))
    assert reasons(content + (content if more is None else more)) == ["trailing-bytes"]


@pytest.mark.parametrize("method", METHODS)
def test_bytes_behind_the_compressed_data_are_refused_also_when_it_is_long(method: str) -> None:
    """The end of the compressed data is found in whichever chunk of the file it lies."""
    content = compressed(method, pickle.dumps(noise(2**19)))
    assert reasons(content + b"more" * 2**17) == ["trailing-bytes"]


def noise(size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        found += zlib.compress(len(found).to_bytes(8, "big") * 3)[2:]
    return bytes(found[:size])


@pytest.mark.parametrize("method", METHODS)
def test_bytes_behind_the_pickle_within_the_compressed_data_are_refused(method: str) -> None:
    """Nothing hides behind the stream in a compressed file either."""
    assert reasons(compressed(method, PLAIN + b"more")) == ["trailing-bytes"]


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "lzma", "xz"])  # joblib's lz4 has no sum
def test_damaged_data_is_refused(method: str) -> None:
    """Compressed data that does not fit its own format or checksum is an error, not an object."""
    content = bytearray(compressed(method, PLAIN))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(PayloadFormatError):
        loaded(bytes(content))


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": lambda zeros: zlib.compress(zeros, 9),
    "gzip": lambda zeros: gzip.compress(zeros, 9),
    "bz2": lambda zeros: bz2.compress(zeros, 9),
    "lzma": lambda zeros: lzma.compress(zeros, lzma.FORMAT_ALONE),
    "xz": lambda zeros: lzma.compress(zeros, lzma.FORMAT_XZ),
}


@pytest.mark.parametrize("method", BOMBS)
def test_a_decompression_bomb_ends_at_the_cap(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes more than the cap is given up at the cap, whatever it would become."""
    bomb = BOMBS[method](bytes(16 * limits.MIB))
    monkeypatch.setattr(limits, "MAX_DECOMPRESSED_BYTES", 2 * limits.MIB)
    with pytest.raises(LimitExceededError, match=str(2 * limits.MIB)):
        decompress(memoryview(bomb), method)
    assert reasons(bomb) == ["limit"]


@pytest.mark.parametrize("method", ["bz2", "lzma", "xz"])
def test_a_decompression_bomb_ends_at_the_ratio(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file becomes no more than its size allows, though the absolute cap is far."""
    monkeypatch.setattr(limits, "ANY_RATIO_BYTES", limits.MIB)
    bomb = BOMBS[method](bytes(64 * limits.MIB))
    allowed = limits.MIB + limits.MAX_DECOMPRESSION_RATIO * len(bomb)
    assert allowed < 64 * limits.MIB
    with pytest.raises(LimitExceededError, match=str(allowed)):
        decompress(memoryview(bomb), method)


@pytest.mark.parametrize("method", METHODS)
def test_an_array_of_zeros_is_no_bomb(method: str) -> None:
    """What becomes no more than a process can hold loads, however well it was compressed."""
    content = joblib_dumped(np.zeros(limits.MIB), compress=(method, 9))
    assert np.array_equal(loaded(content), np.zeros(limits.MIB))


def test_an_lzma_dictionary_beyond_the_cap_is_refused() -> None:
    """A header of thirteen bytes cannot make the decoder take gigabytes."""
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 2**30}]
    content = bytearray(lzma.compress(PLAIN, lzma.FORMAT_ALONE, filters=filters))
    assert content[:2] == b"\x5d\x00"
    assert reasons(bytes(content)) == ["limit"]
    for preset in range(10):
        largest: Any = lzma.compress(PLAIN, lzma.FORMAT_ALONE, preset=preset)
        assert loaded(largest) == list(range(100))


def test_a_compression_whose_package_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a decompressor is not installed, the error names what to install."""

    def missing(name: str) -> object:
        raise ImportError(name)

    content = b"\x04\x22\x4d\x18" + bytes(20)
    monkeypatch.setattr(compression, "import_module", missing)
    with pytest.raises(MissingExtraError, match="install lz4"):
        loaded(content)
    assert reasons(content) == ["compression"]


def test_zf_files_are_refused_by_name() -> None:
    """What joblib before 0.10 compressed is refused: it goes through its oldest code."""
    with pytest.raises(UnsupportedPayloadError, match="ZF"):
        loaded(b"ZF0x1                " + zlib.compress(PLAIN))
