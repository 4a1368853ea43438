"""When joblib writes instead of the C pickler, what it writes, and that it is counted."""

from __future__ import annotations

import copyreg
import pickle
import subprocess
import sys
import threading
from typing import Any

import joblib.numpy_pickle
import numpy as np
import pytest

from sealstore.formats.pickling import framing
from sealstore.formats.pickling.writer import DumpReport, dump_object, fallback_counts, trial
from tests.joblib_files import (
    LARGE,
    METHODS,
    MemorySink,
    array_of_objects,
    dumped,
    fingerprint,
    joblib_dumped,
    stock_loaded,
)

WRAPPED: Any = ">f8"
"""A dtype whose arrays are not written inside the stream, however small they are."""


class Reduced:
    """An object whose reducer gives what it was made with."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts


@pytest.fixture
def other_c_pickler(monkeypatch: pytest.MonkeyPatch) -> str:
    """Sentinels that the C pickler puts into its frame, as one that buffers more would do."""
    monkeypatch.setattr(framing, "_SENTINEL_BYTES", bytes(100))
    return "an array inside the description of another one"


@pytest.mark.parametrize("compress", [0, 3, *METHODS])
def test_joblib_writes_what_the_c_pickler_cannot(
    compress: Any, other_c_pickler: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The sink begins again and gets joblib's own file, in that protocol; counted and logged."""
    inner = array_of_objects(
        np.asfortranarray(np.zeros((200, 300))), np.zeros(20_000, "M8[s]"), np.zeros(9_000, "i4,f8")
    )
    obj = {"arrays": [np.arange(5.0), np.zeros(10_000), np.zeros(100_000)], "objects": inner}
    before = fallback_counts().get(other_c_pickler, 0)
    caplog.clear()
    content, report = dumped(obj, compress)
    assert report == DumpReport("joblib", other_c_pickler)
    assert fallback_counts()[other_c_pickler] == before + 1
    assert caplog.messages == [f"joblib writes an object of type dict: {other_c_pickler}"]
    assert content == joblib_dumped(obj, compress, protocol=5)
    assert fingerprint(stock_loaded(content)) == fingerprint(
        stock_loaded(joblib_dumped(obj, compress))
    )


@pytest.mark.usefixtures("other_c_pickler")
def test_a_users_buffer_in_any_order_survives_the_fallback_too() -> None:
    """Inside an array of objects it reaches joblib's file as it is."""
    try:
        joblib_dumped(array_of_objects(pickle.PickleBuffer(b"")), protocol=5)
    except pickle.PicklingError:
        pytest.skip("this joblib writes arrays of objects in protocol 2, which has no buffers")
    array = np.asfortranarray(np.arange(60_000.0).reshape(200, 300))
    obj = [np.zeros(9_000), array_of_objects(pickle.PickleBuffer(array.data), bytearray(LARGE))]
    content, report = dumped(obj)
    assert report.engine == "joblib"
    assert stock_loaded(content)[1].tolist() == [array.tobytes("A"), bytearray(LARGE)]


@pytest.mark.usefixtures("other_c_pickler")
def test_a_stream_that_ends_without_the_sentinel_is_written_by_joblib() -> None:
    """An array whose place was never found is noticed at the end at the latest."""
    content, report = dumped(np.zeros(9_000))
    assert report.engine == "joblib"
    assert report.fallback_reason == "the stream ends too early"
    assert np.array_equal(stock_loaded(content), np.zeros(9_000))


@pytest.mark.parametrize(
    "value",
    [np.arange(3), [], ("unit",), {1: 2}, np.float64(2)],
    ids=lambda value: str(type(value)),
)
@pytest.mark.parametrize("in_field", [False, True])
def test_a_dtype_with_metadata_of_any_kind_is_left_to_joblib(value: object, in_field: bool) -> None:
    """It could lead back to the array, whose number stands for its wrapper at that moment."""
    dtype: Any = np.dtype("f8", metadata={"calibration": value})
    if in_field:
        dtype = np.dtype([("a", dtype, (2,))])
    content, report = dumped([np.zeros(2, dtype), np.ones(2, dtype)])
    assert report == DumpReport("joblib", "a dtype's metadata could lead back to the array")
    loaded = stock_loaded(content)[1].dtype
    metadata = (loaded["a"].base if in_field else loaded).metadata
    assert fingerprint(metadata["calibration"]) == fingerprint(value)


class FailsOnce:
    """What can be pickled from the second time on."""

    attempts = 0

    def __call__(self, dtype: Any) -> Any:
        self.attempts += 1
        if self.attempts == 1:
            raise ValueError("not yet")
        return dtype.__reduce__()


def test_a_failure_while_an_array_is_described_is_left_to_joblib(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether it was the technique or the object: joblib's attempt tells."""
    once = FailsOnce()
    array = np.arange(3, dtype=WRAPPED)
    monkeypatch.setitem(copyreg.dispatch_table, type(array.dtype), once)
    content, report = dumped(array)
    assert report == DumpReport("joblib", "ValueError while an array was described")
    assert once.attempts == 2
    assert np.array_equal(stock_loaded(content), array)

    def never(_dtype: Any) -> Any:
        raise ValueError("never")

    monkeypatch.setitem(copyreg.dispatch_table, type(array.dtype), never)
    with pytest.raises(ValueError, match="never"):
        dump_object(array, MemorySink())


def test_a_reducer_that_is_registered_on_the_way_is_used() -> None:
    """As the pickler of joblib does, which looks into the registered ones each time."""

    def registered(_: Any) -> tuple[Any, ...]:
        return str, ("registered",)

    class Registering:
        def __reduce__(self) -> Any:
            copyreg.pickle(Reduced, registered)
            return list, ()

    try:
        content, report = dumped([Registering(), Reduced()])
    finally:
        del copyreg.dispatch_table[Reduced]
    assert report == DumpReport("joblib", "a reducer was registered while the object was pickled")
    assert stock_loaded(content) == [[], "registered"]


def test_a_joblib_that_describes_arrays_otherwise_writes_them_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The attributes of a later joblib's wrapper are not guessed."""
    original = joblib.numpy_pickle.NumpyArrayWrapper.__init__

    def with_more(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.checksum = 0

    monkeypatch.setattr(joblib.numpy_pickle.NumpyArrayWrapper, "__init__", with_more)
    content, report = dumped([np.arange(3, dtype=WRAPPED)])
    assert report == DumpReport("joblib", "this joblib describes arrays by other attributes")
    assert np.array_equal(stock_loaded(content)[0], np.arange(3))


def test_a_c_pickler_that_does_not_memoise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of an array is read off, never guessed."""

    class Fast(pickle.Pickler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.fast = True

    monkeypatch.setattr(pickle, "Pickler", Fast)
    content, report = dumped([np.arange(3, dtype=WRAPPED)] * 3)
    assert report == DumpReport("joblib", "other opcodes behind a sentinel")
    assert np.array_equal(stock_loaded(content)[2], np.arange(3))


@pytest.mark.usefixtures("other_c_pickler")
def test_fallbacks_of_many_threads_are_all_counted() -> None:
    """The counter that the doctor shows is exact."""
    reason = "the stream ends too early"
    before = fallback_counts().get(reason, 0)
    barrier = threading.Barrier(8)

    def dump_often() -> None:
        barrier.wait()
        for _ in range(50):
            dump_object(np.arange(3, dtype=WRAPPED), MemorySink())

    threads = [threading.Thread(target=dump_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fallback_counts()[reason] == before + 8 * 50


# ── without numpy ────────────────────────────────────────────────────────────


def test_numpy_and_joblib_are_not_imported_for_an_object_without_arrays() -> None:
    """A site that stores dictionaries needs neither at that moment."""
    program = """
import io, pickle, sys
from sealstore.formats.pickling.writer import DumpReport, dump_object

class Sink(io.BytesIO):
    def restart(self):
        raise AssertionError

sink = Sink()
assert dump_object({"a": [1, "b" * 100000]}, sink) == DumpReport("c", None)
assert pickle.loads(sink.getvalue()) == {"a": [1, "b" * 100000]}
assert not {"numpy", "joblib"} & set(sys.modules), sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_numpy_that_arrives_with_the_object_leaves_the_arrays_to_joblib(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reducer that imports numpy must not bring arrays that cannot be mapped."""
    monkeypatch.delitem(sys.modules, "numpy")

    class Importing:
        def __reduce__(self) -> Any:
            sys.modules["numpy"] = np
            return Reduced, (np.arange(3),)

    assert dumped({"a": 1})[1] == DumpReport("c", None)
    content, report = dumped(Importing())
    reason = "numpy was first imported by the object's own reducers"
    assert report == DumpReport("joblib", reason)
    assert b"NumpyArrayWrapper" in content
    assert np.array_equal(stock_loaded(content).parts[0], np.arange(3))


def test_a_trial_tells_what_joblib_has_to_write_here(other_c_pickler: str) -> None:
    """Whoever runs it knows before the first store, and why: arrays, and nothing else."""
    found = trial()
    assert found.pop("built-in objects") is None
    assert found.pop("compressed objects") is None
    assert found.pop("small arrays") is None
    assert len(found) == 4
    assert None not in found.values()
    assert found["large arrays"] == other_c_pickler


def test_a_trial_where_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C pickler writes every kind; without numpy, what there is."""
    found = trial()
    assert len(found) == 7
    assert set(found.values()) == {None}
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert trial() == {"built-in objects": None, "compressed objects": None}
