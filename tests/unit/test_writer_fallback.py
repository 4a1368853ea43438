"""When joblib writes instead of the C pickler, what it writes, and that it is counted."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from typing import Any

import joblib.numpy_pickle
import numpy as np
import pytest

from sealstore.formats.pickling import framing, writer
from sealstore.formats.pickling.framing import FramedOutput
from sealstore.formats.pickling.writer import DumpReport, dump_object, fallback_counts
from sealstore.formats.pickling.writer_arrays import ArrayPickler
from sealstore.formats.pickling.writer import trial
from tests.joblib_files import (
    METHODS,
    MemorySink,
    array_of_objects,
    dumped,
    fingerprint,
    joblib_dumped,
    stock_loaded,
)

LARGE = 64 * 1024


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
    """The sink begins anew and gets joblib's own file, in the same protocol; counted and logged."""
    inner = array_of_objects(
        np.asfortranarray(np.zeros((200, 300))), np.zeros(20_000, "M8[s]"), np.zeros(9_000, "i4,f8")
    )
    obj = {"arrays": [np.arange(5.0), np.zeros(100_000)], "objects": inner}
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
    obj = [np.arange(3), array_of_objects(pickle.PickleBuffer(array.data), bytearray(LARGE))]
    content, report = dumped(obj)
    assert report.engine == "joblib"
    assert stock_loaded(content)[1].tolist() == [array.tobytes("A"), bytearray(LARGE)]


@pytest.mark.usefixtures("other_c_pickler")
def test_a_stream_that_ends_without_the_sentinel_is_written_by_joblib() -> None:
    """An array whose place was never found is noticed at the end at the latest."""
    content, report = dumped(np.arange(5.0))
    assert report.engine == "joblib"
    assert report.fallback_reason == "the stream ends too early"
    assert np.array_equal(stock_loaded(content), np.arange(5.0))


def test_an_array_inside_the_description_of_an_array_is_written_by_joblib() -> None:
    """A dtype may carry anything in its metadata."""
    dtype = np.dtype("f8", metadata={"calibration": np.arange(3)})
    content, report = dumped([np.zeros(2, dtype), np.ones(2, dtype)])
    assert report.engine == "joblib"
    loaded = stock_loaded(content)
    assert np.array_equal(loaded[1].dtype.metadata["calibration"], np.arange(3))


class FailsOnce:
    """An object that can be pickled from the second time on."""

    def __init__(self) -> None:
        self.attempts = 0

    def __reduce__(self) -> Any:
        self.attempts += 1
        if self.attempts == 1:
            raise ValueError("not yet")
        return str, ("pickled",)


def test_a_failure_while_an_array_is_described_is_left_to_joblib() -> None:
    """Whether it was the technique or the object: joblib's attempt tells."""
    once = FailsOnce()
    content, report = dumped(np.zeros(2, np.dtype("f8", metadata={"m": once})))
    assert report == DumpReport("joblib", "ValueError while an array was described")
    assert once.attempts == 2
    assert stock_loaded(content).dtype.metadata == {"m": "pickled"}

    never = np.zeros(2, np.dtype("f8", metadata={"m": lambda: 0}))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        dump_object(never, MemorySink())


def test_a_joblib_that_describes_arrays_otherwise_writes_them_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The attributes of a later joblib's wrapper are not guessed."""
    original = joblib.numpy_pickle.NumpyArrayWrapper.__init__

    def with_more(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.checksum = 0

    monkeypatch.setattr(joblib.numpy_pickle.NumpyArrayWrapper, "__init__", with_more)
    content, report = dumped([np.arange(3)])
    assert report == DumpReport("joblib", "this joblib describes arrays by other attributes")
    assert np.array_equal(stock_loaded(content)[0], np.arange(3))


def test_a_c_pickler_that_does_not_memoise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The opcodes behind an array are compared, not counted."""

    class Fast(ArrayPickler):
        def __init__(self, output: FramedOutput) -> None:
            super().__init__(output)
            self.fast = True

    monkeypatch.setattr(writer, "ArrayPickler", Fast)
    content, report = dumped([np.arange(3)] * 3)
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
            dump_object(np.arange(3), MemorySink())

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
    assert len(found) == 5
    assert None not in found.values()
    assert found["small arrays"] == other_c_pickler


def test_a_trial_where_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C pickler writes every kind; without numpy, what there is."""
    found = trial()
    assert len(found) == 7
    assert set(found.values()) == {None}
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert trial() == {"built-in objects": None, "compressed objects": None}
