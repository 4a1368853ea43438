"""The reader: what joblib and pickle write comes back as stock joblib would load it."""

from __future__ import annotations

import datetime
import gc
import io
import pickle
import subprocess
import sys
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from sealstore import limits
from sealstore.errors import PayloadFormatError, UnsupportedPayloadError
from sealstore.formats.pickling.reader import load_object
from tests.engine import PROTOCOLS, frame, loaded, proto, resolve, values, wrapper
from tests.joblib_files import METHODS, fingerprint, joblib_dumped, stock_loaded, stock_mapped
from tests.matrix import each_row

LARGE = limits.ARRAY_VIEW_BYTES
FOREIGN = ">" if sys.byteorder == "little" else "<"


class Nested:
    """A class that holds another."""

    class Inner:
        """Its name has a dot."""

        def __init__(self, value: object) -> None:
            self.value = value


class Keyword:
    """Is made with an argument by name."""

    def __new__(cls, *, size: int) -> Keyword:
        made = super().__new__(cls)
        made.__dict__["size"] = size
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"size": self.__dict__["size"]}


class Refusing:
    """Cannot be built."""

    def __setstate__(self, state: object) -> None:
        raise LookupError("not today")

    def __getstate__(self) -> object:
        return {"some": "state"}


def cyclic() -> list[object]:
    """A list that holds itself, and twice the same dict."""
    shared: dict[str, object] = {}
    found: list[object] = [shared, shared]
    found.append(found)
    shared["list"] = found
    return found


def objects() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # numpy.matrix
        return {
            "nothing": None,
            "numbers": [0, -1, 255, 2**70, 1.5, float("nan"), 1j, True],
            "texts": ["", "é\ud800", "x" * 70_000, b"", b"\x00" * 70_000, bytearray(b"ab")],
            "containers": {"a": (1, [2], {3}, frozenset([4])), "b": {}},
            "many": list(range(3000)),
            "times": [datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), datetime.timedelta(3)],
            "classes": [Nested.Inner, np.ndarray, int, type(None), Ellipsis],
            "instances": [Nested.Inner([1]), Keyword(size=3)],
            "cyclic": cyclic(),
            "scalars": [np.float64(1.5), np.int8(3), np.datetime64("2026-01-02"), np.str_("x")],
            "dtypes": [np.dtype("f8"), np.dtype(f"{FOREIGN}i4"), np.dtype([("a", "O")])],
            "empty": [np.zeros(0), np.zeros((3, 0, 2)), np.zeros((0, 3), order="F")],
            "no dimension": [np.array(3.5), np.array("text"), np.array(None)],
            "orders": [np.arange(12).reshape(3, 4), np.asfortranarray(np.arange(12).reshape(3, 4))],
            "strides": [np.arange(20)[::3], np.arange(20).reshape(4, 5).T, np.arange(3)[::-1]],
            "foreign": [np.arange(3, dtype=f"{FOREIGN}i4"), np.array([(1, 2)], f"{FOREIGN}i4,u1")],
            "all foreign": np.array([(1, 2)], [("a", f"{FOREIGN}i4"), ("b", f"{FOREIGN}f8")]),
            "times in arrays": np.array(["2026-01-02", "NaT"], "M8[D]"),
            "structures": np.array([(1, "x", (2, 3))], [("a", "i2"), ("b", "U3"), ("c", "u1", 2)]),
            "records": np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
            "matrix": np.asmatrix([[1.0, 2.0]]),
            "masked": np.ma.masked_array([1, 2, 3], mask=[False, True, False]),
            "objects": np.array([1, "x", None, [2]], dtype=object),
            "objects in objects": np.array([np.arange(3), np.array([None])], dtype=object),
            "objects in structures": np.array([(1, [2])], [("a", "i4"), ("b", "O")]),
            "object matrix": np.asmatrix(np.array([[1, "x"]], dtype=object)),
            "large": [np.arange(LARGE), b"x" * 100_000, np.arange(LARGE, dtype="u1")],
            "the same array": [np.arange(4)] * 2,
        }


OBJECTS = objects()
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@each_row("protocol", PROTOCOLS)
@each_row("key", OBJECTS)
def test_what_joblib_writes_comes_back_as_joblib_would_load_it(key: str, protocol: int) -> None:
    """For every protocol and kind of object, types, values, orders and sharing are joblib's."""
    content = joblib_dumped(OBJECTS[key], protocol=protocol)
    assert fingerprint(loaded(content)) == fingerprint(stock_loaded(content))


@each_row("protocol", PROTOCOLS)
@each_row("key", OBJECTS)
def test_what_plain_pickle_writes_comes_back(key: str, protocol: int) -> None:
    """A file that plain pickle wrote loads as stock joblib would load it."""
    content = pickle.dumps(OBJECTS[key], protocol)
    assert fingerprint(loaded(content)) == fingerprint(stock_loaded(content))


@each_row("method", METHODS)
@each_row("level", [1, 9])
def test_every_compression_of_joblib_is_read(method: str, level: int) -> None:
    """A compressed file loads as stock joblib would load it."""
    content = joblib_dumped(OBJECTS, compress=(method, level))
    assert fingerprint(loaded(content)) == fingerprint(stock_loaded(content))


def test_an_array_of_strings_of_any_length_comes_back() -> None:
    """StringDType arrays, where numpy has them, load as stock joblib would load them."""
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("numpy has StringDType from 2 on")
    for kind in (np.dtypes.StringDType(), np.dtypes.StringDType(na_object=None)):
        content = joblib_dumped(np.array(["a", "longer than any buffer" * 9], kind))
        assert loaded(content).tolist() == stock_loaded(content).tolist()
        assert loaded(content).dtype == kind


# ── files of older releases ──────────────────────────────────────────────────

DATA = Path(joblib.__file__).parent / "test" / "data"


def legacy(pattern: str) -> Iterator[Path]:
    found = sorted(DATA.glob(pattern))
    assert found
    return iter(found)


@each_row("path", [*legacy("joblib_0.1*py3*")], ids=lambda path: path.name)
def test_files_of_joblib_since_0_10_load(path: Path) -> None:
    """Files that joblib wrote in 2016 load as the joblib of today would load them."""
    assert fingerprint(loaded(path.read_bytes())) == fingerprint(joblib.load(path))


@each_row(
    ("path", "form"),
    [
        *((path, "Python 2") for path in legacy("joblib_0.1*py27*")),
        *((path, "NDArrayWrapper") for path in legacy("joblib_0.9*_pickle_*np1?.pkl")),
        *((path, "ZF file") for path in legacy("joblib_0.9*.gz")),
        *((path, "ZF file") for path in legacy("joblib_0.8*.gz")),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_older_forms_are_refused_by_name(path: Path, form: str) -> None:
    """What only joblib before 0.10 or Python 2 wrote is refused, and the error says what it is."""
    with pytest.raises(UnsupportedPayloadError, match=form):
        loaded(path.read_bytes())


# ── memory ───────────────────────────────────────────────────────────────────


def test_large_arrays_are_views_of_the_memory_and_small_ones_are_not() -> None:
    """A large array costs no second copy, and a small one does not hold the whole payload."""
    memory = bytearray(joblib_dumped([np.zeros(LARGE // 8), np.zeros(LARGE // 8 - 1)]))
    large, small = load_object(memoryview(memory), find_class=resolve)
    whole = np.frombuffer(memory, "u1")
    assert np.shares_memory(large, whole)
    assert not np.shares_memory(small, whole)
    assert large.flags.writeable
    assert small.flags.writeable
    with pytest.raises(BufferError):
        memory.append(0)  # nobody takes the memory away from under the view


@each_row("mode", [None, "r", "c"])
@each_row("shift", range(8))
def test_an_array_that_lies_askew_is_copied(shift: int, mode: Any) -> None:
    """Where joblib before 1.2 wrote an array without padding, it comes back well aligned."""
    elements = np.arange(LARGE / 8)
    shape = values((len(elements),))
    made = wrapper(shape=shape, numpy_array_alignment_bytes=None)
    content = proto(4) + b"N0" * shift + frame(made) + elements.tobytes() + b"."
    array = loaded(content, mmap_mode=mode)
    assert array.flags.aligned
    assert array.flags.writeable == (mode != "r")
    assert array.tobytes() == elements.tobytes()


def test_nothing_keeps_the_memory_when_no_array_is_a_view() -> None:
    """What was read is free as soon as the object is there, without waiting for the collector."""
    memory = bytearray(joblib_dumped({"a": np.arange(3), "b": np.array([None]), "c": "text"}))
    gc.disable()
    try:
        found = load_object(memoryview(memory), find_class=resolve)
        memory.append(0)  # refused with a BufferError while anybody holds a view
    finally:
        gc.enable()
    assert found["c"] == "text"


def test_the_object_is_freed_with_its_last_reference() -> None:
    """Nothing of the reader keeps a loaded object alive."""
    gc.disable()
    try:
        found = loaded(joblib_dumped([Nested.Inner(np.arange(3))]))
        watched = weakref.ref(found[0])
        del found
        assert watched() is None
    finally:
        gc.enable()


def test_numpy_is_imported_for_arrays_only() -> None:
    """A payload without arrays loads, and is inspected, in a process without numpy and joblib."""
    code = """
import sys
from sealstore.formats.pickling.inspection import inspect_memory
from sealstore.formats.pickling.reader import load_object
memory = memoryview(bytearray(sys.stdin.buffer.read()))
assert load_object(memory, find_class=None) == {"a": [1, 2.5]}
assert not inspect_memory(memory).findings
print({"numpy", "joblib"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=joblib_dumped({"a": [1, 2.5]}),
        capture_output=True,
        check=True,
    )
    assert done.stdout.strip() == b"set()"


# ── memory-mapped ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["r", "c"])
@pytest.mark.parametrize("key", OBJECTS)
def test_mapped_loads_are_those_of_joblib(key: str, mode: Any, tmp_path: Path) -> None:
    """With mmap_mode, arrays have stock joblib's types, byte orders and writability."""
    content = joblib_dumped(OBJECTS[key])
    stock = stock_mapped(content, tmp_path / "stock.joblib", mode)
    assert fingerprint(loaded(content, mmap_mode=mode)) == fingerprint(stock)


def test_mapped_arrays_are_views_and_those_for_reading_stay_so() -> None:
    """A mapped array costs no copy whatever its size, and one for reading cannot be written to."""
    memory = bytearray(joblib_dumped(np.arange(4.0)))
    array = load_object(memoryview(memory), find_class=resolve, mmap_mode="r")
    assert np.shares_memory(array, np.frombuffer(memory, "u1"))
    assert array.filename is None
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_nothing_of_a_compressed_file_is_mapped(tmp_path: Path) -> None:
    """As in joblib, mmap_mode of a compressed file gives plain arrays that can be written to."""
    path = tmp_path / "stock.joblib"
    joblib.dump(np.arange(5), path, compress=3)
    for mode in ("r", "c"):
        array = loaded(path.read_bytes(), mmap_mode=mode)
        assert type(array) is np.ndarray
        assert array.flags.writeable


def test_the_byte_order_of_a_compressed_file_is_that_of_a_mapped_one() -> None:
    """Whether joblib keeps a byte order where it is asked to map does not hang on compression."""
    array = np.arange(5, dtype=f"{FOREIGN}i4")
    mapped = loaded(joblib_dumped(array), mmap_mode="r")
    compressed = loaded(joblib_dumped(array, compress=3), mmap_mode="r")
    assert mapped.dtype == compressed.dtype
    assert loaded(joblib_dumped(array, compress=3)).dtype == np.dtype("i4")


# ── what fails ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_that_ends_early_is_refused_wherever_it_ends(protocol: int) -> None:
    """Every truncation of a file is an error that says so, and never an object."""
    content = joblib_dumped(
        {"a": np.arange(3), "b": [b"xy", "z", 2**70, np.array([None])]}, protocol=protocol
    )
    for end in range(len(content)):
        with pytest.raises(PayloadFormatError):
            loaded(content[:end])


@pytest.mark.parametrize("method", METHODS)
def test_a_compressed_file_that_ends_early_is_refused(method: str) -> None:
    """Every truncation of a compressed file is an error."""
    content = joblib_dumped(list(range(50)), compress=(method, 1))
    for end in range(len(content) - (4 if method == "lz4" else 0)):
        with pytest.raises(PayloadFormatError):
            loaded(content[:end])


@each_row("protocol", PROTOCOLS)
@each_row("obj", [[1, 2], np.arange(3), "x" * 70_000], ids=["list", "array", "text"])
def test_bytes_behind_the_end_are_refused(obj: object, protocol: int) -> None:
    """A file goes on for no byte behind its STOP opcode."""
    content = joblib_dumped(obj, protocol=protocol)
    for more in (b"\x00", b".", b"N.", content):
        with pytest.raises(PayloadFormatError, match="STOP"):
            loaded(content + more)


def test_what_a_class_raises_is_not_wrapped() -> None:
    """An exception of the object's own class arrives as it was raised."""
    with pytest.raises(LookupError, match="not today") as caught:
        loaded(joblib_dumped([Refusing(), np.arange(3)]))
    assert caught.type is LookupError


def test_what_a_built_in_class_raises_is_not_wrapped() -> None:
    """A ValueError of a class written in C is told from one of the stream itself."""
    content = pickle.dumps(complex)[:-1] + b"\x8c\x02xyz\x85R.".replace(b"xyz", b"xy")
    with pytest.raises(ValueError, match="complex"):
        loaded(content)


def test_what_find_class_raises_is_not_wrapped() -> None:
    """The caller's own refusal of a name arrives as it was raised."""

    def refusing(module: str, qualname: str) -> object:
        raise PermissionError(f"{module}:{qualname}")

    with pytest.raises(PermissionError, match=r"^tests\.unit\.test_reader:Nested\.Inner$"):
        loaded(pickle.dumps(Nested.Inner(1)), refusing)


def test_malformed_streams_are_one_kind_of_error() -> None:
    """Whatever the C unpickler raises for such a stream, the error is PayloadFormatError."""
    for content in (
        b"",
        b"no pickle",
        b"\x80\x09.",
        proto(4) + b"K",
        proto(4) + b".",
        proto(2) + b"h\x07.",
        proto(2) + b"]]s.",
        proto(2) + b"]K\x01b.",
        proto(2) + b"KaR.",
        proto(4) + b"\x8c\x01\xff.",
        b"Inot a number\n.",
        b"Fnot a number\n.",
    ):
        with pytest.raises(PayloadFormatError):
            loaded(content)


# ── names ────────────────────────────────────────────────────────────────────


def test_names_of_python_2_are_mapped_before_they_are_resolved() -> None:
    """Up to protocol 2, find_class is asked in Python 3's words; from 3 on, in the stream's."""
    asked: list[tuple[str, str]] = []

    def asking(module: str, qualname: str) -> object:
        asked.append((module, qualname))
        return None

    stream = b"c__builtin__\nxrange\nccopy_reg\n_reconstructor\ncmine\nOwn\n\x87."
    loaded(proto(2) + stream, asking)
    loaded(stream, asking)
    loaded(proto(3) + stream, asking)
    python_3 = [("builtins", "range"), ("copyreg", "_reconstructor"), ("mine", "Own")]
    python_2 = [("__builtin__", "xrange"), ("copy_reg", "_reconstructor"), ("mine", "Own")]
    assert asked == [*python_3, *python_3, *python_2]


def test_the_file_is_read_from_any_memory() -> None:
    """A read-only memory is enough for an object without large arrays."""
    content = joblib_dumped({"a": np.arange(3)})
    found = load_object(memoryview(content), find_class=resolve)
    assert found["a"].flags.writeable


def test_a_file_written_to_the_middle_of_another_is_read() -> None:
    """The padding before an array is what the file says, not what its position would make it."""
    file = io.BytesIO()
    file.write(b"12345")
    joblib.dump(np.arange(3), file)
    assert loaded(file.getvalue()[5:]).tolist() == [0, 1, 2]
