"""The compressions of ``joblib.dump``: the same arguments, files that joblib recognises."""

from __future__ import annotations

import sys
from typing import Any

import joblib
import numpy as np
import pytest

from sealstore.errors import MissingExtraError, UsageError
from sealstore.formats.pickling.writer import dump_object
from sealstore.formats.pickling.writer_compression import Compression
from tests.joblib_files import METHODS, MemorySink, c_dumped, joblib_dumped, stock_loaded
from tests.matrix import each_row

NONE = [0, False, *((method, 0) for method in METHODS), ("zlib", False)]
SOME = [
    *range(1, 10),
    True,
    *METHODS,
    *((method, None) for method in METHODS),
    *((method, level) for method in METHODS for level in (1, 6)),
    ("gzip", True),
]


def prefix(content: bytes) -> bytes:
    return content[:2]


@pytest.mark.parametrize("compress", NONE, ids=repr)
def test_no_compression_is_none_as_in_joblib(compress: Any) -> None:
    """Level 0 is the plain file, whatever the method."""
    assert c_dumped({"a": 1}, compress) == c_dumped({"a": 1})
    assert prefix(joblib_dumped({"a": 1}, compress)) == b"\x80\x04"


@each_row("compress", SOME, ids=repr)
def test_each_compression_is_one_that_stock_joblib_recognises_and_reads(compress: Any) -> None:
    """The same container as joblib's, about the same size, and an equal object."""
    arrays = [np.arange(9_000.0), np.arange(9_000).astype("M8[s]")]
    obj = ["text" * 1000, *arrays]
    content = c_dumped(obj, compress)
    reference = joblib_dumped(obj, compress)
    assert prefix(content) == prefix(reference)
    assert len(content) == pytest.approx(len(reference), rel=0.05)
    loaded = stock_loaded(content)
    assert loaded[0] == "text" * 1000
    assert all(map(np.array_equal, loaded[1:], arrays))


@each_row(
    "compress",
    [
        -1,
        10,
        3.0,
        "zip",
        "",
        "ZLIB",
        b"zlib",
        None,
        [],
        ["zlib", 3],
        (),
        ("zlib",),
        ("zlib", 3, 3),
        ("zlib", 10),
        ("zlib", -1),
        ("zlib", "3"),
        ("zlib", 3.0),
        ("zip", 3),
        (None, 3),
        (["zlib"], 3),
        (3, "zlib"),
    ],
    ids=repr,
)
def test_any_other_compression_is_refused_before_anything_is_written(compress: Any) -> None:
    """What joblib does not know, or takes by accident, is an error of the caller."""
    sink = MemorySink()
    with pytest.raises(UsageError, match="compression cannot be used") as refusal:
        dump_object({"a": 1}, sink, compress=compress)
    assert "('gzip', 3)" in str(refusal.value)
    assert sink.tell() == 0


@pytest.mark.parametrize(
    ("method", "module", "package"),
    [
        ("lz4", "lz4.frame", "lz4"),
        ("bz2", "bz2", "bz2"),
        ("xz", "lzma", "lzma"),
        ("lzma", "lzma", "lzma"),
    ],
)
def test_a_method_whose_package_is_absent_says_what_to_install(
    method: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes at the moment of use, before anything is written."""
    monkeypatch.setitem(sys.modules, module, None)
    sink = MemorySink()
    with pytest.raises(MissingExtraError, match=f"install the package {package},"):
        dump_object({"a": 1}, sink, compress=method)
    assert sink.tell() == 0


def test_a_compressor_that_is_registered_with_joblib_only_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What sealstore could not read back within limits is not written."""
    from joblib.compressor import _COMPRESSORS

    monkeypatch.setitem(_COMPRESSORS, "own", _COMPRESSORS["zlib"])
    joblib_dumped({"a": 1}, ("own", 3))
    with pytest.raises(UsageError):
        dump_object({"a": 1}, MemorySink(), compress=("own", 3))


def test_the_same_methods_as_joblib_are_known() -> None:
    """A method that a later joblib adds is noticed here."""
    from joblib.compressor import _COMPRESSORS

    assert {"lz4", *METHODS} == set(_COMPRESSORS)


@pytest.mark.parametrize("method", METHODS)
def test_a_large_array_is_compressed_piece_by_piece(method: str) -> None:
    """No piece that the compressor or the sink gets is larger than some MiB."""
    array = np.random.default_rng(0).random(400_000)
    sink = MemorySink()
    dump_object(array, sink, compress=(method, 1))
    assert max(sink.sizes) < 2 * 1024**2
    assert np.array_equal(stock_loaded(sink.getvalue()), array)


def test_a_compression_is_what_joblib_takes() -> None:
    """The fallback hands joblib the same method and level."""
    assert Compression.of(("gzip", 5)) == Compression("gzip", 5)
    for compress in SOME:
        compression = Compression.of(compress)
        assert compression is not None
        joblib.dump({"a": 1}, MemorySink(), compress=compression.for_joblib())
