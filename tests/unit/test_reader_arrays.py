"""Arrays of a load: judged once more, without relying on an inspection that came before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sealstore.errors import PayloadFormatError
from sealstore.formats.pickling.arrays import ArrayMaker
from sealstore.formats.pickling.wrapper import WrapperState
from tests.engine import (
    F8,
    ONE_F8,
    array_file,
    dtype,
    frame,
    loaded,
    name,
    proto,
    reasons,
    resolve,
    uses,
    values,
    wrapper,
    wrapper_state,
)

O8 = dtype("O8", 3, "|", None, None, None, -1, -1, 63)


def refused(content: bytes, match: str) -> None:
    with pytest.raises(PayloadFormatError, match=match):
        loaded(content)


def test_the_array_of_these_tests_is_right() -> None:
    """Without a lie, the file of these tests loads."""
    assert loaded(array_file()).tolist() == [1.5]
    assert loaded(array_file(order=values("F"))).tolist() == [1.5]


def test_a_class_that_joblib_never_writes_is_refused() -> None:
    """Only the three classes whose arrays joblib writes itself are taken for one."""
    for module, kind in [("numpy", "recarray"), ("numpy", "float64"), ("builtins", "list")]:
        refused(array_file(subclass=name(module, kind)), "class")


MAPPED = [("numpy", "memmap"), ("numpy.core.memmap", "memmap"), ("numpy._core.memmap", "memmap")]


@pytest.mark.parametrize(("module", "kind"), MAPPED)
def test_an_array_of_a_mapped_file_becomes_a_plain_one(module: str, kind: str) -> None:
    """As with joblib; the class, which opens files, is not even looked up."""
    content = array_file(subclass=name(module, kind))
    looked_up: list[str] = []

    def find_class(module: str, kind: str) -> Any:
        looked_up.append(f"{module}:{kind}")
        return resolve(module, kind)

    array = loaded(content, find_class)
    assert (type(array), array.tolist()) == (np.ndarray, [1.5])
    assert set(looked_up) == {"numpy:dtype", "numpy:ndarray"}
    assert reasons(content) == []
    assert uses(content).keys() == {"numpy:dtype", "numpy:ndarray"}


@pytest.mark.parametrize(("module", "kind"), MAPPED)
def test_the_class_of_mapped_files_is_for_nothing_else(module: str, kind: str) -> None:
    """Neither called nor made nor kept nor changed: it would open whatever file it is told."""
    mapped = name(module, kind)
    array = frame(b"]\x94(" + wrapper(subclass=mapped + b"\x94")) + ONE_F8
    for content in (
        proto(4) + mapped + b".",
        proto(4) + mapped + values("x") + b"\x85R.",
        proto(4) + mapped + values("x") + b"\x85\x81.",
        proto(4) + mapped + values({"x": 1}) + b"b.",
        proto(4) + mapped + b"N" + values({"x": 1}) + b"\x86b.",
        proto(4) + array + mapped + b"e.",
        proto(4) + array + b"]" + mapped + b"ae.",
    ):
        with pytest.raises(PayloadFormatError):
            loaded(content)
        assert reasons(content) != []


def test_something_that_is_no_dtype_is_refused() -> None:
    """Nothing that numpy might take for a dtype passes for one."""
    for wrong in (b"N", values("f8"), name("numpy", "float64")):
        refused(array_file(dtype=wrong), "no dtype")


def test_a_dtype_that_contradicts_itself_is_refused() -> None:
    """A dtype is what numpy would make of its public description, at every depth."""
    item = dtype("O8", 3, "|", None, None, None, -1, -1, 0)
    number = dtype("f8", 3, "<", None, None, None, -1, -1, 0)
    for wrong in (
        item,
        dtype("V8", 3, "|", b"(" + number + values((1,)) + b"t", None, None, 8, 8, 0),
        dtype(
            "V8", 3, "|", None, ("a",), b"}" + values("a") + item + values(0) + b"\x86s", 8, 1, 16
        ),
        dtype("V8", 3, "|", None, ("a",), b"}" + values("a") + O8 + values(0) + b"\x86s", 8, 1, 16),
        dtype(
            "V8", 3, "|", None, ("a",), b"}" + values("a") + number + values(4) + b"\x86s", 8, 1, 16
        ),
        dtype(
            "V8",
            3,
            "|",
            None,
            ("a",),
            b"}" + values("a") + number + values(-4) + b"\x86s",
            8,
            1,
            16,
        ),
    ):
        refused(array_file(dtype=wrong), "contradicts itself|not make")


def test_a_structure_of_subarrays_is_sound() -> None:
    """Fields with a shape are as many elements as their size says."""
    item = dtype("V8", 3, "|", b"(" + F8 + values((1,)) + b"t", None, None, 8, 8, 0)
    fields = b"}" + values("a") + item + values(0) + b"\x86s"
    made = dtype("V8", 3, "|", None, ("a",), fields, 8, 1, 16)
    assert loaded(array_file(dtype=made))["a"].tolist() == [[1.5]]


def test_elements_without_a_size_are_refused() -> None:
    """An array of empty elements, which joblib cannot write, cannot be read either."""
    refused(array_file(dtype=dtype("S0", 3, "|", None, None, None, 0, 1, 0)), "without a size")


def test_a_dtype_of_another_package_is_refused() -> None:
    """A dtype that is not numpy's own has bytes that nobody here can judge."""
    core = np.zeros(0).__reduce__()[0].__module__.rpartition(".")[0]
    rational = name(f"{core}._rational_tests", "rational")
    made = name("numpy", "dtype") + rational + values(False, True) + b"\x87R"
    refused(array_file(dtype=made), "not numpy's own")


def test_a_nested_stream_that_holds_no_array_is_refused() -> None:
    """Where an array of objects is announced, an array stands, or nothing is loaded."""
    content = proto(4) + frame(wrapper(dtype=O8)) + proto(4) + values([1]) + b"." + b"."
    refused(content, "something else|else stands")


def test_a_wrapper_may_be_named_more_than_once() -> None:
    """Each array of a file may name joblib's wrapper again, as when two files' parts are joined."""
    two = frame(b"(" + wrapper()) + ONE_F8 + frame(wrapper()) + ONE_F8 + b"t."
    assert [array.tolist() for array in loaded(proto(4) + two)] == [[1.5], [1.5]]


def test_nothing_stands_between_a_wrapper_and_its_array() -> None:
    """A frame that goes on behind a wrapper's BUILD lies about where the array is."""
    for more in (b"0N", b"N", wrapper(), b"Q", name("os", "system")):
        refused(proto(4) + frame(wrapper() + more) + ONE_F8 + b".", "between|ids|STOP|named")


class Meddling:
    """Builds what it is given for its state."""

    def __setstate__(self, state: Any) -> None:
        wrapper, wrapper_state = state
        wrapper.__setstate__(wrapper_state)


def test_a_wrapper_is_built_by_the_stream_and_by_nobody_else() -> None:
    """An object that builds a wrapper itself would move the load to where no inspection was."""
    made = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81"
    meddling = name(__name__, "Meddling") + b")\x81" + made + wrapper_state() + b"\x86b"
    content = proto(4) + frame(meddling) + ONE_F8 + b"."
    with pytest.raises(PayloadFormatError, match="between"):
        loaded(content)


def test_a_matrix_is_restored_where_numpy_can_do_so() -> None:
    """Before numpy 2 joblib returns a matrix as a matrix, by the means that numpy then had."""

    class Matrix(np.matrix):
        def __array_prepare__(self, array: Any) -> Any:
            return array.view(Matrix)

    maker = ArrayMaker(memoryview(bytearray(8)), None, asked_to_map=False)
    maker._restores_matrix = True
    state = WrapperState(Matrix, (1, 1), "C", np.dtype("f8"), False, False, 1)
    assert type(maker.finished(state, np.zeros((1, 1)))) is Matrix
    plain = state._replace(subclass=np.ndarray)
    assert type(maker.finished(plain, np.zeros((1, 1)))) is np.ndarray
