"""Arrays in the files that the C pickler writes: every dtype and layout, as joblib has them."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from sealstore.formats.pickling import writer_arrays
from sealstore.formats.pickling.framing import LARGE_BYTES
from sealstore.formats.pickling.writer import dump_object
from tests.joblib_files import (
    LARGE,
    MemorySink,
    c_dumped,
    fingerprint,
    joblib_dumped,
    reference_dumped,
    stock_loaded,
    stock_mapped,
)
from tests.matrix import each_row

Array = np.ndarray[Any, Any]

SCALARS = [
    *list("?bBhHiIqQefdgFDGO"),
    *("S5", "U5", "V7", "M8[ns]", "M8[D]", "M8", "m8[s]"),
    *(">i2", ">f8", ">c16", ">U3", ">M8[s]"),
]
DTYPES: dict[str, Any] = {code: code for code in SCALARS} | {
    "record": [("a", "i4"), ("b", "f8", (2, 2)), ("c", "S3")],
    "aligned record": np.dtype([("a", "i1"), ("b", "f8")], align=True),
    "big-endian record": [("a", ">i4"), ("b", ">f8")],
    "record of records": [("a", [("b", "i4"), ("c", "M8[s]")]), ("d", "?")],
    "record with gaps": np.dtype(
        {"names": ["a"], "formats": ["i2"], "offsets": [5], "itemsize": 9}
    ),
    "record with objects": [("a", "i4"), ("b", "O")],
    "with metadata": np.dtype("f8", metadata={"unit": "K"}),
}

LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": lambda array: array,
    "F": np.asfortranarray,
    "transposed": lambda array: array.reshape(2, -1, array.shape[1]).transpose(2, 0, 1),
    "every second": lambda array: array[::2],
    "backwards": lambda array: array[::-1, ::-1],
    "one column": lambda array: array[:, 1],
    "repeated": lambda array: np.broadcast_to(array[:1], array.shape),
    "no dimensions": lambda array: array[0, 0, ...].copy(),
    "nothing in one dimension": lambda array: array[:0, 0],
    "nothing in three dimensions": lambda array: array[:, :0, None],
    "nothing, F": lambda array: np.asfortranarray(array[:, :0, None].repeat(2, axis=2)),
}


def filled(dtype: Any, shape: tuple[int, ...]) -> Array:
    """An array of ``dtype`` with different bytes everywhere."""
    array = np.empty(shape, dtype)
    if array.dtype.hasobject:
        values = [f"text {n % 7}" for n in range(array.size)]
        flat = array.reshape(-1)
        if array.dtype.names:
            flat["b"] = values
        else:
            flat[:] = values
    else:
        octets = np.random.default_rng(1).integers(32, 127, array.nbytes, dtype=np.uint8)
        # Booleans of other values, and characters outside of Unicode, are none.
        array = (octets % 2 if array.dtype == bool else octets).view(array.dtype).reshape(shape)
        if array.dtype.kind == "U":
            array = np.resize(np.array(["a", "bcd", "é"], array.dtype), shape)
    return array


@each_row("shape", [(4, 6), (200, 330)], ids=["small", "large"])
@each_row("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_of_any_dtype_and_layout_loads_as_from_a_file_by_joblib(
    dtype: str, layout: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """Values, dtype, order and writability, loaded and mapped, however often it occurs."""
    if "O" in str(DTYPES[dtype]):
        # Objects are pickled one by one, whatever the array's size.
        shape = (4, 10 * shape[0])
    array = LAYOUTS[layout](filled(DTYPES[dtype], shape))
    obj = [array, array, array, array]
    content, reference = c_dumped(obj), reference_dumped(obj)
    assert fingerprint(stock_loaded(content)) == fingerprint(stock_loaded(reference))
    if array.size:
        # Files of its own: those of a row that failed are mapped still.
        own = f"{layout} {len(content)}"
        mapped = stock_mapped(content, tmp_path / own)
        expected = stock_mapped(reference, tmp_path / f"{own} by joblib")
        assert fingerprint(mapped, is_mapped=True) == fingerprint(expected, is_mapped=True)
        # The older joblib swaps the bytes of what is mapped, which then has no place in a file.
        if array.nbytes >= LARGE and not array.dtype.hasobject and array.dtype.isnative:
            assert type(mapped[0]) is np.memmap
            assert mapped[0].offset % 16 == 0


def frame(opcodes: bytes) -> bytes:
    return b"\x95" + len(opcodes).to_bytes(8, "little") + opcodes


def test_the_bytes_of_small_arrays_are_these() -> None:
    """A call of numpy's constructor, in either order, as a golden vector."""
    rows = np.arange(4, dtype="<i2").reshape(2, 2)
    buffer = b"\x96\x08" + bytes(7)
    assert c_dumped([rows, rows.T, rows]) == b"\x80\x05" + frame(
        b"]\x94(\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x02K\x02\x86\x94"
        b"h\x01\x8c\x05dtype\x94\x93\x94\x8c\x02i2\x94\x89\x88\x87\x94R\x94"
        b"(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b"
        + buffer
        + b"\x00\x00\x01\x00\x02\x00\x03\x00\x94\x87\x94R\x94"
        + b"h\x03(K\x02K\x02\x86\x94h\x09"
        + buffer
        + b"\x00\x00\x01\x00\x02\x00\x03\x00\x94K\x00N\x8c\x01F\x94t\x94R\x94"
        b"h\x0ee."
    )


def test_the_bytes_of_other_arrays_are_these() -> None:
    """A wrapper of joblib with the array behind it, which takes its place in the memo."""
    array = np.arange(3, dtype=">i2")
    described = (
        b"]\x94("
        b"\x8c\x07copyreg\x94\x8c\x0e_reconstructor\x94\x93\x94"
        b"\x8c\x13joblib.numpy_pickle\x94\x8c\x11NumpyArrayWrapper\x94\x93\x94"
        b"\x8c\x08builtins\x94\x8c\x06object\x94\x93\x94N\x87\x94R\x94}\x94("
        b"\x8c\x08subclass\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94"
        b"\x8c\x05shape\x94K\x03\x85\x94\x8c\x05order\x94\x8c\x01C\x94"
        b"\x8c\x05dtype\x94h\x0e\x8c\x05dtype\x94\x93\x94\x8c\x02i2\x94\x89\x88\x87\x94R\x94"
        b"(K\x03\x8c\x01>\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b"
        b"\x8c\nallow_mmap\x94\x88\x8c\x1bnumpy_array_alignment_bytes\x94"
        b"K\x10\x94\x94ub"
    )
    behind = frame(b"r\x0b\x00\x00\x00h\x0be.")
    padding = b"\x09" + 9 * b"\xff"
    content = c_dumped([array, array])
    assert content == b"\x80\x05" + frame(described) + padding + array.tobytes() + behind


@pytest.mark.parametrize("size", [0, 256, 257, LARGE - 1, LARGE, 200_000])
def test_only_small_arrays_stand_in_the_stream(size: int) -> None:
    """Those whose bytes the C pickler keeps inside its frames, but for empty ones: no wrapper."""
    content = c_dumped(np.zeros(size, "u1"))
    # Without items, numpy's constructor gives it another stride than joblib does.
    assert (b"NumpyArrayWrapper" not in content) == (0 < size < LARGE)


@pytest.mark.parametrize(
    "shape", [(0,), (0, 8), (3, 0), (2, 0, 3), (0, 8, 1), (1, 0), ()], ids=repr
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_without_items_has_the_strides_that_joblib_gives_it(
    shape: tuple[int, ...], order: Literal["C", "F"]
) -> None:
    """They tell nothing, but a program can see them. Only one dimension needs the wrapper."""
    array = np.zeros(shape, "u4", order=order)
    content = c_dumped(array)
    assert stock_loaded(content).strides == stock_loaded(joblib_dumped(array)).strides
    assert (b"NumpyArrayWrapper" in content) == (shape == (0,))


@pytest.mark.parametrize("dtype", ["f8", ">f8", "O", "M8[s]", "i4,f4"])
@pytest.mark.parametrize("size", [3, 30_000])
def test_an_array_that_occurs_twice_is_one_array(dtype: str, size: int) -> None:
    """As it was when it was stored; joblib's own files make it two."""
    array = np.zeros(size, dtype)
    inner = [array]
    first, second, third, fourth = stock_loaded(c_dumped([array, array, inner, inner]))
    assert first is second
    assert first is third[0]
    assert third is fourth


@each_row("order", ["C", "F"])
@each_row("rows", [2, 20, 200])
@each_row("dtype", ["f8", "M8[s]", "i4,f4"])
def test_an_array_that_may_not_be_written_to_comes_back_writable(
    dtype: str, rows: int, order: str
) -> None:
    """As joblib loads it, whatever the memory of the stored one allowed."""
    array = np.zeros((rows, 30), dtype, order=order)  # type: ignore[call-overload] # a variable
    array.flags.writeable = False
    warned, _ = np.broadcast_arrays(np.zeros(rows * 30), np.zeros(rows * 30))
    for loaded in stock_loaded(c_dumped([array, warned, array[::2]])):
        assert loaded.flags.writeable
        assert loaded.flags.aligned


def test_a_class_of_records_is_written_as_joblib_writes_it() -> None:
    """Its name would be one more to import for a small array in the stream."""
    array = np.zeros(3, np.dtype((np.record, [("a", "i4")])))
    content = c_dumped([array, array.copy()])
    assert b"NumpyArrayWrapper" in content
    assert fingerprint(stock_loaded(content)) == fingerprint(
        stock_loaded(joblib_dumped([array, array.copy()]))
    )


def test_arrays_that_had_to_be_copied_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickler keeps the copies: beyond the limit, arrays are written by their wrappers."""
    monkeypatch.setattr(writer_arrays, "_MAX_COPIED_BYTES", 100_000)
    arrays = [np.arange(n, n + 20_000.0)[::5] for n in range(9)]
    content = c_dumped(arrays)
    assert content.count(b"ndarray") == 1
    assert content.count(b"\x96\x00\x7d" + bytes(6)) == 3
    assert fingerprint(stock_loaded(content)) == fingerprint(stock_loaded(joblib_dumped(arrays)))


class Discarding(MemorySink):
    """A sink that keeps nothing."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        return len(data)

    def tell(self) -> int:
        return 0


@pytest.mark.parametrize("size", [60_000, 120_000])
@pytest.mark.parametrize("is_writable", [True, False])
def test_a_dump_needs_little_memory_beside_the_object(size: int, is_writable: bool) -> None:
    """Not one that grows with the bytes of the arrays, whether in the stream or not."""
    arrays = [np.zeros(size, "u1") for _ in range(1000)]
    for array in arrays:
        array.flags.writeable = is_writable
    dump_object(arrays[:1], Discarding())
    tracemalloc.start()
    try:
        dump_object(arrays, Discarding())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (3 if is_writable or size > LARGE else 20) * 1024**2


def test_equal_dtypes_that_are_not_the_same_object_are_kept_apart() -> None:
    """Equality of dtypes overlooks metadata."""
    plain = np.zeros(2)
    marked = plain.astype(np.dtype("f8", metadata={"unit": "K"}))
    loaded = stock_loaded(c_dumped([plain, plain, plain, marked, marked, marked]))
    assert [array.dtype.metadata for array in loaded] == 3 * [None] + 3 * [{"unit": "K"}]


@pytest.mark.parametrize(
    "shape",
    [
        (),
        (0,),
        (255, 0),
        (256, 0, 65535),
        (65536, 0, 2**31 - 1),
        (2**31, 0),
        (2**62, 0, 1, 1, 1),
        (1,) * 32,
        (2, 1, 3),
    ],
    ids=repr,
)
def test_any_shape_is_written(shape: tuple[int, ...]) -> None:
    """Dimensions of any number and any size."""
    array = np.zeros(shape, "i1")
    assert [loaded.shape for loaded in stock_loaded(c_dumped([array] * 4))] == [shape] * 4


def test_arrays_are_found_when_the_memo_has_grown() -> None:
    """References of one byte and of four, in front of and behind bytes that look like them."""
    arrays: list[object] = []
    for number in range(40):
        dtype = np.dtype([(f"field {number}", ">f4")])
        arrays += [[f"text {number}.{i}", "h" * (i % 5), 104, 106] for i in range(10)]
        arrays += [(104, 106, b"hhhh", np.zeros(2, dtype), 106) for _ in range(5)]
    arrays += arrays[::7]
    assert fingerprint(stock_loaded(c_dumped(arrays))) == fingerprint(
        stock_loaded(reference_dumped(arrays))
    )


def test_arrays_are_placed_wherever_the_picklers_frames_end() -> None:
    """The frame of 64 KiB may end anywhere in the description of an array, or just behind it."""
    arrays = [np.arange(n % 5, dtype=code) for n in range(8) for code in (">f4", "i2")]
    for size in range(65536 - 900, 65536 + 30, 3):
        texts = ["x" * (size // 2), "y" * (size - size // 2)]
        loaded = stock_loaded(c_dumped([texts, arrays]))
        assert loaded[0] == texts
        assert all(map(np.array_equal, loaded[1], arrays))


def test_a_memmap_is_written_as_an_array(tmp_path: Path) -> None:
    """As joblib does: what it was mapped from is not in the file."""
    source: Array = np.memmap(tmp_path / "source", "f8", "w+", shape=(100, 200))
    source[:] = np.random.default_rng(0).random((100, 200))
    for obj in ([source, source, source], [source[::2, 3], source.T], source[:3, :3]):
        content = c_dumped(obj)
        assert b"source" not in content
        assert fingerprint(stock_loaded(content)) == fingerprint(
            stock_loaded(reference_dumped(obj))
        )


@pytest.mark.parametrize("shape", [(2, 3), (200, 300)])
def test_a_matrix_is_written_as_joblib_writes_it(shape: tuple[int, int]) -> None:
    """Which class comes back is for the joblib and the numpy that load it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.asmatrix(np.random.default_rng(0).random(shape))
        obj = [matrix, matrix, matrix, matrix.T, np.asmatrix(np.array([["a", 1]], dtype=object))]
        loaded, reference = stock_loaded(c_dumped(obj)), stock_loaded(reference_dumped(obj))
    assert fingerprint(loaded) == fingerprint(reference)


class Labelled(np.ndarray):
    """A subclass with an attribute of its own, pickled by its own methods."""

    label = ""

    def __reduce__(self) -> Any:
        reduced: Any = super().__reduce__()
        make, arguments, state = reduced
        return make, arguments, (state, self.label)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state[0])
        self.label = state[1]


def test_an_array_of_a_subclass_is_pickled_as_it_pickles_itself() -> None:
    """Only exact arrays get joblib's wrapper; subclasses keep their class and attributes."""
    labelled = np.arange(3.0).view(Labelled)
    labelled.label = "temperature"
    masked = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    record = np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    obj = [labelled, masked, record, labelled]
    loaded = stock_loaded(c_dumped(obj))
    assert type(loaded[0]) is Labelled
    assert loaded[0].label == "temperature"
    assert loaded[0] is loaded[3]
    assert fingerprint(loaded) == fingerprint(stock_loaded(reference_dumped(obj)))


def test_an_array_of_objects_is_a_pickle_of_its_own() -> None:
    """Large arrays, bytes and buffers inside of it, and what it shares, are as in joblib's file."""
    shared = ["shared"]
    inner = np.asfortranarray(np.arange(20_000.0).reshape(100, 200))
    dated = np.arange(20_000).astype("M8[s]")
    array = np.empty((2, 4), dtype=object)
    array[0] = [shared, shared, inner, b"b" * 70_000]
    array[1] = [bytearray(70_000), "t" * 70_000, dated, np.arange(3)]
    obj = [array, shared, array.T, array[:, 1]]
    content, reference = c_dumped(obj), reference_dumped(obj)
    assert fingerprint(stock_loaded(content)) == fingerprint(stock_loaded(reference))


@pytest.mark.skipif(not hasattr(np, "dtypes"), reason="numpy 1.24 has no dtype classes")
def test_an_array_of_variable_strings_is_written_where_numpy_has_them() -> None:
    """StringDType, of numpy 2, is pickled as an array of objects is."""
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("this numpy has no StringDType")
    array = np.array(["a", "long " * 100, ""], dtype=np.dtypes.StringDType())
    obj = [array, array, array]
    assert fingerprint(stock_loaded(c_dumped(obj))) == fingerprint(
        stock_loaded(reference_dumped(obj))
    )


@pytest.mark.parametrize("dtype", ["V0", []], ids=["V0", "record"])
def test_an_array_whose_items_have_no_bytes_is_refused(dtype: Any) -> None:
    """The format of joblib cannot hold it: joblib divides by zero, writing and reading."""
    array = np.zeros(3, dtype)
    with pytest.raises(ZeroDivisionError):
        joblib_dumped(array)
    with pytest.raises(pickle.PicklingError, match="no bytes"):
        dump_object([array], MemorySink())


class RememberingSink(MemorySink):
    """A sink that remembers the large pieces themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.large: list[Array] = []

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        if len(data) >= LARGE_BYTES:
            self.large.append(np.frombuffer(data, np.uint8))
        return super().write(data)


@pytest.mark.parametrize("dtype", ["f8", "M8[s]", "i4,f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_contiguous_array_is_not_copied(dtype: str, order: str) -> None:
    """The sink reads the array's own memory."""
    array = np.zeros((300, 400), dtype, order=order)  # type: ignore[call-overload] # a variable
    sink = RememberingSink()
    other = array[::-1].copy(order)
    dump_object([array, "text", other, array], sink)
    assert [np.shares_memory(piece, array) for piece in sink.large] == [True, False]
    assert np.shares_memory(sink.large[1], other)


def test_a_large_scattered_array_is_gathered_in_parts() -> None:
    """It is never copied as a whole."""
    array = np.arange(6_000_000.0)[::2]
    sink = MemorySink()
    dump_object(array, sink)
    assert max(sink.sizes) <= 16 * 1024**2
    assert np.array_equal(stock_loaded(sink.getvalue()), array)


def test_scattered_items_larger_than_a_part_are_written() -> None:
    """A record may have more bytes than are gathered at a time."""
    octets = np.arange(17_000_000 * 4, dtype=np.uint32).astype(np.uint8)
    array = octets.view("V17000000").reshape(2, 2)[:, 0]
    sink = MemorySink()
    dump_object(array, sink)
    assert stock_loaded(sink.getvalue()).tobytes() == array.tobytes()
    assert max(sink.sizes) == 17_000_000
