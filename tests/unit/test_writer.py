"""Writing an object with the C pickler: what survives, and what cannot be written."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from sealstore.formats.pickling import framing
from sealstore.formats.pickling.writer import dump_object, fallback_counts
from tests.joblib_files import (
    LARGE,
    FullSink,
    MemorySink,
    array_of_objects,
    c_dumped,
    fingerprint,
    joblib_dumped,
    reference_dumped,
    stock_loaded,
)
from tests.matrix import each_row

WRAPPED: Any = ">f8"
"""A dtype whose arrays are not written inside the stream, however small they are."""

SIZES = [0, 1, 255, 256, LARGE - 1, LARGE, LARGE + 1, 300_000]


class OnlyOnce(MemorySink):
    """A sink that cannot begin again: nothing that it gets may need that."""

    def restart(self) -> None:
        pytest.fail("the dump began again")


# ── what comes with the object ───────────────────────────────────────────────


def around(thing: object) -> list[object]:
    """``thing`` in every place that the framing knows."""
    small, array, other = np.arange(7.0), np.arange(7, dtype=WRAPPED), np.arange(6, dtype=WRAPPED)
    return [
        thing,
        [array, thing],
        [thing, array],
        [array, other, array, thing, other.copy(), thing, small, thing, small],
    ]


@each_row("size", SIZES)
@each_row("kind", [bytes, bytearray])
def test_a_users_own_buffer_survives_wherever_it_stands(
    kind: Callable[[bytes], bytes | bytearray], size: int
) -> None:
    """Buffers in the stream, read-only or writable, come back as bytes or bytearray."""
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    for obj in around(pickle.PickleBuffer(kind(content))):
        written = c_dumped(obj)
        assert fingerprint(stock_loaded(written)) == fingerprint(
            stock_loaded(c_dumped(_with_bytes(obj)))
        )
        assert stock_loaded(c_dumped(pickle.PickleBuffer(kind(content)))) == content


def _with_bytes(obj: object) -> object:
    """``obj`` with the content of its buffers in their place; one object where it was one."""
    replaced: dict[int, object] = {}

    def replace(value: object) -> object:
        if isinstance(value, list):
            return [replace(item) for item in value]
        if isinstance(value, pickle.PickleBuffer):
            view = value.raw()
            plain = bytes(view) if view.readonly else bytearray(view)
            return replaced.setdefault(id(value), plain)
        return value

    return replace(obj)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_users_buffer_with_the_sentinels_content_is_no_sentinel(
    kind: Callable[[bytes], bytes | bytearray],
) -> None:
    """A sentinel is known by its identity, not by its size or its content."""
    zeros = kind(bytes(LARGE))
    for obj in around(pickle.PickleBuffer(zeros)):
        assert fingerprint(stock_loaded(c_dumped(obj))) == fingerprint(
            stock_loaded(c_dumped(_with_bytes(obj)))
        )


def test_a_users_buffer_over_the_sentinels_very_bytes_is_no_sentinel() -> None:
    """Not even whoever gets hold of the memory can put an array in a wrong place."""
    stolen = pickle.PickleBuffer(framing.new_sentinel().raw().obj)
    array, other = np.arange(3, dtype=WRAPPED), np.arange(4, dtype=WRAPPED)
    loaded = stock_loaded(c_dumped([array, stolen, other]))
    assert loaded[1] == bytes(LARGE)
    assert np.array_equal(loaded[2], other)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", [3, 300])
def test_a_buffer_of_two_dimensions_is_written_as_it_lies_in_memory(
    order: Literal["C", "F"], rows: int
) -> None:
    """In either order; joblib itself cannot write the one that is large and in Fortran's."""
    array = np.asarray(np.arange(rows * 50.0).reshape(rows, 50), order=order)
    loaded = stock_loaded(c_dumped([array, pickle.PickleBuffer(array.data), array]))
    assert loaded[1] == array.tobytes("A")


def test_a_buffer_with_gaps_is_refused_as_pickle_refuses_it() -> None:
    """The error is pickle's own."""
    buffer = pickle.PickleBuffer(memoryview(bytes(10))[::2])
    with pytest.raises(pickle.PicklingError, match="non-contiguous"):
        pickle.dumps(buffer, 5)
    with pytest.raises(pickle.PicklingError, match="non-contiguous"):
        dump_object([np.arange(3), buffer], OnlyOnce())


@each_row("size", SIZES)
@each_row("make", [bytes, bytearray, lambda size: "é" * size, lambda size: b"\x94ubQ" * size])
def test_long_strings_and_bytes_stand_beside_arrays(
    make: Callable[[int], object], size: int
) -> None:
    """Where the pickler ends a frame of its own accord, arrays keep their place."""
    for obj in around(make(size)):
        assert fingerprint(stock_loaded(c_dumped(obj))) == fingerprint(
            stock_loaded(reference_dumped(obj))
        )


class Reduced:
    """An object whose reducer gives what it was made with."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return Reduced, self.parts


class ReducedToBuffers(Reduced):
    """An object whose reducer gives new buffers each time, half of them writable."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        buffers = [b"".join((part,)) for part in self.parts if isinstance(part, bytes)]
        kinds = [bytes, bytearray] * len(buffers)
        return Reduced, tuple(
            pickle.PickleBuffer(kind(part)) for kind, part in zip(kinds, buffers, strict=False)
        )


def test_reducers_may_write_large_bytes_and_arrays() -> None:
    """What reducers make on the way is written like what was there before."""
    arrays = [np.arange(n * 1000.0) for n in (1, 10, 100)]
    obj = [
        Reduced(b"b" * 100_000, arrays[0], "t" * 100_000, *arrays, bytearray(70_000)),
        ReducedToBuffers(b"small", b"small", bytes(LARGE), bytes(LARGE), b"x" * 200_000),
        arrays,
    ]
    loaded = stock_loaded(c_dumped(obj))
    first = loaded[0].parts
    assert (first[0], first[2], first[6]) == (b"b" * 100_000, "t" * 100_000, bytearray(70_000))
    assert all(map(np.array_equal, first[3:6], arrays))
    assert loaded[1].parts == (b"small", b"small", bytes(LARGE), bytes(LARGE), b"x" * 200_000)
    assert [type(part) for part in loaded[1].parts] == [bytes, bytearray, bytes, bytearray, bytes]
    assert all(map(np.array_equal, loaded[2], arrays))


def test_a_bytearray_is_written_as_it_was_when_its_turn_came() -> None:
    """A later reducer that changes it does not change the file."""
    content = bytearray(b"before" * 20_000)

    class Change:
        def __reduce__(self) -> Any:
            content[:] = b"after!" * 20_000
            return list, ()

    loaded = stock_loaded(c_dumped([content, Change(), np.arange(3)]))
    assert loaded[0] == b"before" * 20_000


def test_a_reducer_may_itself_dump_an_object() -> None:
    """Dumps do not disturb each other."""
    array = np.arange(3.0)

    class Dumping:
        def __reduce__(self) -> Any:
            return bytes, (c_dumped([array, array, array]),)

    inner, outer = stock_loaded(c_dumped([array, [Dumping()], array]))[1:]
    assert np.array_equal(outer, array)
    assert all(np.array_equal(loaded, array) for loaded in stock_loaded(inner[0]))


class Pretending(type):
    """A class whose classes say that they are numpy's arrays."""

    def __hash__(cls) -> int:
        return hash(np.ndarray)

    def __eq__(cls, other: object) -> bool:
        return True


class Pretender(metaclass=Pretending):
    pass


def test_a_class_that_claims_to_be_an_arrays_is_pickled_as_what_it_is() -> None:
    """What a metaclass says to a comparison is not asked."""
    loaded = stock_loaded(c_dumped([Pretender(), np.arange(3)]))
    assert type(loaded[0]) is Pretender


# ── what cannot be written ───────────────────────────────────────────────────


@pytest.mark.parametrize(
    "make",
    [
        lambda: lambda: 0,
        threading.Lock,
        lambda: (number for number in range(3)),
        lambda: sys.modules[__name__],
    ],
    ids=["a lambda", "a lock", "a generator", "a module"],
)
@pytest.mark.parametrize("with_array", [False, True])
def test_an_object_that_cannot_be_pickled_raises_what_pickle_raises(
    make: Callable[[], object], with_array: bool
) -> None:
    """It is not tried again in another way."""
    obj = [np.arange(3), make()] if with_array else make()
    with pytest.raises((pickle.PicklingError, TypeError, AttributeError)) as expected:
        pickle.dumps(obj, 5)
    with pytest.raises(type(expected.value)) as raised:
        dump_object(obj, OnlyOnce())
    assert str(raised.value) == str(expected.value)


def test_an_error_of_the_objects_own_reducer_is_passed_on() -> None:
    """The very exception, so that its cause and its text are there."""
    error = KeyError("of the object")

    class Failing:
        def __reduce__(self) -> Any:
            raise error

    before = fallback_counts()
    for obj in ([np.arange(3), Failing()], array_of_objects(Failing())):
        with pytest.raises(KeyError) as raised:
            dump_object(obj, OnlyOnce())
        assert raised.value is error
    assert fallback_counts() == before


def nested(depth: int, innermost: object) -> list[object]:
    obj = [innermost]
    for _ in range(depth):
        obj = [obj]
    return obj


@pytest.mark.parametrize(
    "make",
    [
        lambda: nested(100_000, np.arange(3)),
        lambda: [np.arange(3), array_of_objects(nested(100_000, 1))],
    ],
    ids=["lists", "in an array of objects"],
)
def test_an_object_that_is_nested_too_deeply_is_reported_and_not_tried_again(
    make: Callable[[], object],
) -> None:
    """The pickler of joblib would give up earlier still."""
    obj = make()
    with pytest.raises(RecursionError):
        dump_object(obj, OnlyOnce())


def test_an_object_that_is_nested_deeper_than_joblib_can_write_is_written() -> None:
    """The C pickler needs less of the stack."""
    obj = nested(400, np.arange(3))
    with pytest.raises(RecursionError):
        joblib_dumped(obj)
    assert c_dumped(obj)


@pytest.mark.parametrize("room", [0, 100_000, 300_000, 1_000_000])
def test_a_full_disk_is_reported_and_not_tried_again(room: int) -> None:
    """The sink's error is passed on as it is."""

    class Full(FullSink, OnlyOnce):
        pass

    obj = [{"text": "x" * 1000, "n": n, "array": np.arange(100.0)} for n in range(3000)]
    with pytest.raises(OSError, match="No space left"):
        dump_object(obj, Full(room))


def test_a_full_disk_in_the_midst_of_an_arrays_description_is_reported() -> None:
    """Only there could it be taken for a failure of the technique."""

    class Full(FullSink, OnlyOnce):
        pass

    # Its description alone fills more than one frame.
    array = np.zeros(5, [(f"a field with a long name, number {n}", "f4") for n in range(5000)])
    assert len(c_dumped(array)) > 3 * LARGE
    with pytest.raises(OSError, match="No space left"):
        dump_object([array], Full(1000))
