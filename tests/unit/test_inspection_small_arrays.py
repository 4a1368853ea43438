"""Small arrays in the stream: ``numpy.ndarray(shape, dtype, buffer)``, and nothing else of it."""

from __future__ import annotations

import copyreg
import io
import pickle
import struct
from typing import Any

import numpy as np
import pytest

from sealstore import limits
from sealstore.formats.pickling.numpy_standins import ArrayKind
from tests.engine import F8, dtype, inspected, name, proto, reasons, text, uses, values, wrapper
from tests.matrix import each_row

NDARRAY = name("numpy", "ndarray")
CALLED = ("called", ("tuple", "dtype", "bytearray"))
CALLED_FORTRAN = ("called", ("tuple", "dtype", "bytearray", "int 0", "none", "str 'F'"))
MEMOIZE = b"\x94"
KEPT = b"q\x63"
"""Puts the top of the stack into the memo, at 99."""
AGAIN = b"h\x63"
"""Gets it from there."""
FRACTION = name("fractions", "Fraction")
O8 = dtype("O8", 3, "|", None, None, None, -1, -1, 63)
V8 = dtype("V8", 3, "|", None, None, None, 8, 1, 0)


def reduced(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    """How sealstore's writer pickles a small array."""
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        flat = bytearray(array.tobytes("F"))
        return np.ndarray, (array.shape, array.dtype, flat, 0, None, "F")
    return np.ndarray, (array.shape, array.dtype, bytearray(array.tobytes()))


def written(obj: object) -> bytes:
    """What the C pickler writes of it."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5)
    pickler.dispatch_table = {**copyreg.dispatch_table, np.ndarray: reduced}
    pickler.dump(obj)
    return file.getvalue()


def buffer(data: bytes) -> bytes:
    """BYTEARRAY8."""
    return b"\x96" + struct.pack("<Q", len(data)) + data


ONE = buffer(struct.pack("<d", 1.5))
SHAPE = values((1,))


def array(*parts: bytes, function: bytes = NDARRAY) -> bytes:
    """A call of the array's class with ``parts`` for arguments."""
    return function + b"(" + b"".join(parts) + b"tR"


def stream(*codes: bytes) -> bytes:
    return proto(5) + b"".join(codes) + b"."


GOOD = array(SHAPE, F8, ONE)
KNOWN = array(SHAPE, F8, ONE + KEPT)


# ── what is written is known ─────────────────────────────────────────────────


@pytest.mark.parametrize(
    "made",
    [
        np.arange(5.0),
        np.zeros((0, 3), "i2"),
        np.array(1.5),
        np.ones((2, 3, 4), "?"),
        np.zeros(3, "M8[ns]"),
        np.zeros(2, "U3"),
        np.zeros(2, [("a", "i1"), ("b", "f8")]),
        np.arange(4, dtype=">i4"),
    ],
    ids=lambda made: f"{made.dtype}",
)
def test_an_array_of_numbers_is_listed_and_its_call_is_noted(made: np.ndarray[Any, Any]) -> None:
    """Shape, dtype and form of an array in the stream are in the report, and nothing is found."""
    content = written([made, made.copy()])
    found = inspected(content)
    assert found.findings == ()
    assert [(kind.shape, kind.count) for kind in found.arrays] == [(made.shape, 2)]
    assert uses(content)["numpy:ndarray"] == [CALLED]


def test_an_array_in_fortran_order_is_known() -> None:
    """The one other form that is written is the one for arrays in Fortran order."""
    content = written([np.asfortranarray(np.ones((2, 3))), np.ones((2, 3))])
    assert inspected(content).arrays == (ArrayKind("<f8", (2, 3), 2),)
    assert sorted(uses(content)["numpy:ndarray"]) == [CALLED, CALLED_FORTRAN]


def test_an_array_that_is_referenced_twice_is_one() -> None:
    """What may be shared is the array, and never its buffer."""
    one = np.arange(3)
    found = inspected(
        written({"a": one, "b": [one, one], "c": bytearray(b"another"), "d": one[:2]})
    )
    assert found.findings == ()
    assert sum(kind.count for kind in found.arrays) == 2


def test_bytearrays_that_are_no_buffers_may_be_used_at_will() -> None:
    """Only what an array was made of belongs to it."""
    assert reasons(stream(KNOWN, b"0", buffer(b"x") + KEPT, AGAIN, AGAIN, b"\x87")) == []
    assert reasons(stream(b"]", KNOWN, b"a", buffer(b"x"), b"a")) == []


def test_small_arrays_stand_beside_joblibs(tmp_path: Any) -> None:
    """Both forms of arrays may be in one file, and count together."""
    body = wrapper() + b"\x01\xff" + bytes(8)
    found = inspected(proto(4) + body + GOOD + b"\x86.")
    assert (found.findings, found.arrays) == ((), (ArrayKind("<f8", (1,), 2),))


def test_arrays_of_too_many_kinds_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the list of arrays has no room for is at least counted."""
    monkeypatch.setattr(limits, "MAX_ARRAY_KINDS", 2)
    found = inspected(written([np.arange(size) for size in range(5)]))
    assert (found.findings, len(found.arrays), found.arrays_left_out) == ((), 2, 3)


# ── what is not ──────────────────────────────────────────────────────────────

HUGE = 2**63 - 1
SHAPES: dict[str, bytes] = {
    "more than there is": values((2,)),
    "less than there is": values((0,)),
    "negative": values((-1,)),
    "twice negative": values((-1, -1)),
    "huge": values((2**63,)),
    "huge and nothing": values((2**64, 0)),
    "a product that wraps to the right size": values((2**32, 2**32, 1)),
    "another that does": values((2**61 + 1,)),
    "too many dimensions": values((1,) * (limits.MAX_ARRAY_DIMENSIONS + 1)),
    "a truth": values((True,)),
    "a float": values((1.0,)),
    "a text": values(("1",)),
    "a number by itself": values(1),
    "a list": values([1]),
    "none": values(None),
    "computed": b"(" + name("builtins", "int") + values("1") + b"\x85R" + b"t",
    "a computed tuple": name("builtins", "tuple") + values([1]) + b"\x85R",
    "of an instance": b"(" + name("a", "Int") + values(1) + b"\x85\x81" + b"t",
    "an instance": name("a", "Shape") + values(1) + b"\x85\x81",
}


@each_row("lie", SHAPES)
def test_a_shape_that_lies_is_refused(lie: str) -> None:
    """The shape is a literal tuple of whole numbers, which make exactly the buffer's bytes."""
    assert reasons(stream(GOOD)) == []
    assert reasons(stream(array(SHAPES[lie], F8, ONE))) == ["array"]
    assert reasons(stream(array(SHAPES[lie], F8, ONE, values(0), values(None), values("F")))) == [
        "array"
    ]


BUFFERS: dict[str, bytes] = {
    "too short": buffer(bytes(7)),
    "too long": buffer(bytes(9)),
    "empty": buffer(b""),
    "bytes": values(bytes(8)),
    "a text": values("12345678"),
    "a list": values([0] * 8),
    "none": values(None),
    "computed": name("builtins", "bytearray") + values(bytes(8)) + b"\x85R",
    "an instance": name("a", "Buffer") + b")\x81",
    "an array": GOOD,
    "grown by one": buffer(bytes(8)) + values(1) + b"a",
}


@pytest.mark.parametrize("lie", BUFFERS)
def test_a_buffer_that_is_no_literal_of_the_right_size_is_refused(lie: str) -> None:
    """The buffer is a bytearray that stands in the stream."""
    assert reasons(stream(array(SHAPE, F8, BUFFERS[lie]))) == ["array"]


SUBARRAY = dtype("V8", 3, "|", F8 + values((1,)) + b"\x86", None, None, 8, 8, 0)
NO_SIZE = dtype("V0", 3, "|", None, None, None, 0, 1, 0)
WITH_OBJECTS = dtype(
    "V8", 3, "|", None, values(("a",)), b"}" + text("a") + O8 + values(0) + b"\x86s", 8, 1, 27
)
DTYPES: dict[str, bytes] = {
    "objects": O8,
    "a structure with objects": WITH_OBJECTS,
    "a shape of its own": SUBARRAY,
    "without a size": NO_SIZE,
    "a text": values("f8"),
    "none": values(None),
    "a class": name("builtins", "float"),
    "numpy's class": name("numpy", "float64"),
    "the class of dtypes": name("numpy", "dtype"),
    "of another package": name("a", "Dtype") + b")\x81",
    "of strings": name("numpy._core._internal", "_convert_to_stringdtype_kwargs") + b")R",
}


@pytest.mark.parametrize("lie", DTYPES)
def test_a_dtype_with_objects_or_no_dtype_is_refused(lie: str) -> None:
    """A buffer holds numbers and texts of a fixed size, as numpy's own dtypes say."""
    assert reasons(stream(array(SHAPE, V8, ONE))) == []
    data = buffer(b"") if lie == "without a size" else ONE
    assert reasons(stream(array(SHAPE, DTYPES[lie], data))) == ["array"]


def test_a_dtype_that_waits_for_its_state_is_refused() -> None:
    """A dtype that is changed behind the array's call would lay other elements over the buffer."""
    begun = name("numpy", "dtype") + values("V8", False, True) + b"\x87R" + KEPT
    state = values((3, "|", None, None, None, 8, 1, 0))
    assert reasons(stream(array(SHAPE, begun, ONE), AGAIN, state, b"b0")) == ["dtype"]
    # And one that has it is never given it again.
    assert reasons(stream(array(SHAPE, V8 + KEPT, ONE), AGAIN, state, b"b0")) == ["dtype"]


CALLS: dict[str, tuple[bytes, ...]] = {
    "without arguments": (),
    "a shape alone": (SHAPE,),
    "no buffer": (SHAPE, F8),
    "an offset": (SHAPE, F8, ONE, values(0)),
    "strides": (SHAPE, F8, ONE, values(0), values((8,))),
    "strides in Fortran order": (SHAPE, F8, ONE, values(0), values((8,)), values("F")),
    "an offset in Fortran order": (SHAPE, F8, ONE, values(8), values(None), values("F")),
    "a truth for the offset": (SHAPE, F8, ONE, values(False), values(None), values("F")),
    "a float for the offset": (SHAPE, F8, ONE, values(0.0), values(None), values("F")),
    "the order C": (SHAPE, F8, ONE, values(0), values(None), values("C")),
    "an order that is no text": (SHAPE, F8, ONE, values(0), values(None), values(b"F")),
    "more than there are": (SHAPE, F8, ONE, values(0), values(None), values("F"), values(None)),
}


@pytest.mark.parametrize("form", CALLS)
def test_another_call_of_the_class_is_refused(form: str) -> None:
    """The class of arrays is called in the two forms that are written, and in no other."""
    good = array(SHAPE, F8, ONE, values(0), values(None), values("F"))
    assert reasons(stream(good)) == []
    assert reasons(stream(array(*CALLS[form]))) == ["array"]


MAKERS: dict[str, bytes] = {
    "NEWOBJ": NDARRAY + values(((1,),)) + b"\x81",
    "NEWOBJ with the arguments of a call": NDARRAY + b"(" + SHAPE + F8 + ONE + b"t\x81",
    "NEWOBJ_EX": NDARRAY + b")" + b"}" + text("shape") + SHAPE + b"s\x92",
    "OBJ without arguments": b"(" + NDARRAY + b"o",
    "OBJ": b"(" + NDARRAY + SHAPE + b"o",
    "INST": b"(" + SHAPE + b"inumpy\nndarray\n",
    "INST without arguments": b"(inumpy\nndarray\n",
    "copyreg's constructor": name("copyreg", "_reconstructor")
    + NDARRAY
    + name("builtins", "object")
    + values(None)
    + b"\x87R",
    "copyreg's other constructor": name("copyreg", "__newobj__") + NDARRAY + SHAPE + b"\x86R",
}


@pytest.mark.parametrize("maker", MAKERS)
def test_the_class_is_made_an_instance_of_by_a_call_alone(maker: str) -> None:
    """No other opcode, and nothing that an opcode calls, makes an array of the class."""
    assert reasons(stream(MAKERS[maker])) == ["array"]


def test_a_class_by_another_name_is_none() -> None:
    """The form belongs to one name; its other ones, and its subclasses, stand for what they are."""
    for module, qualname in (("numpy", "matrix"), ("numpy", "recarray"), ("numpy.ma", "ndarray")):
        content = stream(array(SHAPE, F8, ONE, function=name(module, qualname)))
        assert uses(content)[f"{module}:{qualname}"] == [CALLED]
        assert inspected(content).arrays == ()


# ── an array belongs to itself ───────────────────────────────────────────────

CHANGES: dict[str, bytes] = {
    "BUILD": values((1, (1,))) + b"b",
    "BUILD with attributes": b"}" + text("shape") + values((9,)) + b"sb",
    "SETITEM": values(0, 1.0) + b"s",
    "SETITEMS": b"(" + values(0, 1.0) + b"u",
    "APPEND": values(1) + b"a",
    "APPENDS": b"(" + values(1, 2) + b"e",
    "ADDITEMS": b"(" + values(1) + b"\x90",
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_array_is_never_changed(change: str) -> None:
    """What a call made is what is loaded."""
    assert reasons(stream(GOOD, CHANGES[change])) == ["foreign-state"]


BUFFER_CHANGES: dict[str, bytes] = {
    "SETITEM": values(0, 255) + b"s",
    "SETITEM from the end": values(-1, 255) + b"s",
    "SETITEM of a slice": name("builtins", "slice")
    + values(None, None, None)
    + b"\x87R"
    + buffer(bytes(8))
    + b"s",
    "SETITEMS": b"(" + values(0, 255, 1, 255) + b"u",
    "APPEND": values(255) + b"a",
    "APPENDS": b"(" + values(1, 2) + b"e",
    "BUILD": b"}" + text("x") + values(9) + b"sb",
}


@pytest.mark.parametrize("change", BUFFER_CHANGES)
def test_a_buffer_is_not_changed_behind_its_call(change: str) -> None:
    """What is written over a buffer that the memo still has would stand in the array."""
    assert reasons(stream(KNOWN)) == []
    for content in (
        stream(KNOWN, AGAIN, BUFFER_CHANGES[change], b"0"),
        stream(b"]", AGAIN_AS_ARGUMENT, b"a", AGAIN, BUFFER_CHANGES[change], b"0"),
    ):
        assert len(reasons(content)) == 1
        assert reasons(content)[0] in ("array", "malformed")


AGAIN_AS_ARGUMENT = NDARRAY + SHAPE + F8 + ONE + KEPT + b"\x87R"


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(lambda two: [two, two], id="once"),
        pytest.param(lambda two: [two, two, two], id="twice"),
    ],
)
def test_a_buffer_belongs_to_one_array(again: Any) -> None:
    """Two arrays over one buffer would change each other."""
    second = array(SHAPE, F8, AGAIN)
    codes = again(second)
    assert reasons(stream(KNOWN, *codes)) == ["array"]
    # Even one of no bytes.
    empty = array(values((0,)), F8, buffer(b"") + KEPT)
    assert reasons(stream(empty)) == []
    assert reasons(stream(empty, array(values((0,)), F8, AGAIN), b"\x86")) == ["array"]
    # Nor to one that is made of it by numpy's function for buffers out of a stream.
    from_buffer = array(AGAIN, F8, SHAPE, values("C"), function=FROM_BUFFER)
    assert reasons(stream(KNOWN, from_buffer, b"\x86")) == ["array"]
    first = array(ONE + KEPT, F8, SHAPE, values("C"), function=FROM_BUFFER)
    assert reasons(stream(first)) == []
    assert reasons(stream(first, second, b"\x86")) == ["array"]
    assert reasons(stream(first, AGAIN, values(0, 255), b"s0")) == ["malformed"]


FROM_BUFFER = name("numpy._core.numeric", "_frombuffer")
CLASS = name("a", "Class")

REFERENCES: dict[str, bytes] = {
    "beside it": AGAIN + b"\x86",
    "in a list": b"]" + AGAIN + b"a\x86",
    "deep in a list": b"]" * 20 + AGAIN + b"a" * 20 + b"\x86",
    "in a dict": b"}" + text("a") + AGAIN + b"s\x86",
    "with the arguments of the call": b"h\x62" + b"\x86",
    "in a call": CLASS + AGAIN + b"\x85R\x86",
    "in a call whose result is dropped": CLASS + AGAIN + b"\x85R0",
    "in a list in a call": CLASS + b"]" + AGAIN + b"a\x85R0",
    "in a list in a call, after another": CLASS + b"]\x85R0" + CLASS + b"]" + AGAIN + b"a\x85R0",
    "in a dict in a call": CLASS + b"}" + text("a") + AGAIN + b"s\x85R0",
    "by its arguments in a call": CLASS + b"h\x62R0",
    "in a call of a result": CLASS + b")R" + AGAIN + b"\x85R0",
    "in a new instance": CLASS + AGAIN + b"\x85\x810",
    "in a state": CLASS + b")\x81" + b"}" + text("a") + AGAIN + b"sb0",
    "in a state with slots": CLASS
    + b")\x81"
    + values(None)
    + b"}"
    + text("a")
    + AGAIN
    + b"s\x86b0",
    "in a state with a template": CLASS
    + b")\x81}("
    + text("_parse_arg_template")
    + values("x")
    + text("a")
    + AGAIN
    + b"ub0",
    "in the state of a result": CLASS + b")R" + AGAIN + b"b0",
    "among items": CLASS + b")\x81" + values(1) + AGAIN + b"s0",
    "among the items of a result": CLASS + b")R" + values(1) + AGAIN + b"s0",
    "appended": CLASS + b")\x81" + AGAIN + b"a0",
    "appended, before others": CLASS + b")\x81" + AGAIN + b"a" + values(1) + b"a0",
    "appended to a result": CLASS + b")R" + AGAIN + b"a" + values(1) + b"a0",
    "in an array of objects": name("numpy._core.multiarray", "_reconstruct")
    + NDARRAY
    + values((0,), b"b")
    + b"\x87R("
    + values(1, (1,))
    + O8
    + values(False)
    + b"]"
    + AGAIN
    + b"atb\x85"
    + b"0",
    "in a scalar": name("numpy._core.multiarray", "scalar") + F8 + AGAIN + b"\x86R0",
    "in a scalar of objects": name("numpy._core.multiarray", "scalar") + O8 + AGAIN + b"\x86R0",
    "in the metadata of a dtype": dtype(
        "O8", 4, "|", None, None, None, -1, -1, 63, b"}" + text("a") + AGAIN + b"s"
    )
    + b"0",
    "in the metadata of a time": dtype(
        "M8",
        4,
        "<",
        None,
        None,
        None,
        -1,
        -1,
        0,
        b"}" + text("a") + AGAIN + b"s" + values((b"s", 1, 1, 1)) + b"\x86",
    )
    + b"0",
}


@each_row("reference", REFERENCES)
def test_a_buffer_is_referenced_by_its_array_alone(reference: str) -> None:
    """Whoever else has the buffer could change the array, so that it is handed to nobody."""
    if "scalar" in reference and "objects" not in reference:
        # Of the emptied buffer, which has no element; and of a full one before the call.
        assert reasons(stream(KNOWN_TWICE, REFERENCES[reference])) == ["array"]
        return
    assert reasons(stream(KNOWN_TWICE)) == []
    assert reasons(stream(KNOWN_TWICE, REFERENCES[reference])) == ["array"]


KNOWN_TWICE = NDARRAY + b"(" + SHAPE + F8 + ONE + KEPT + b"tq\x62R"
"""One array whose buffer the memo has at 99, and whose arguments at 98."""


@each_row("reference", [key for key in REFERENCES if "arguments" not in key and key != "beside it"])
def test_a_buffer_is_referenced_by_nobody_before(reference: str) -> None:
    """A reference from before the call is one as well."""
    before = ONE + KEPT + REFERENCES[reference].removesuffix(b"0")
    assert reasons(stream(b"(", before, array(SHAPE, F8, AGAIN), b"t")) == ["array"]


def test_a_buffer_in_a_nested_stream_belongs_to_its_array() -> None:
    """What an array of objects holds is judged as everything else is."""
    made = name("numpy._core.multiarray", "_reconstruct") + NDARRAY + values((0,), b"b") + b"\x87R"
    wrapped = wrapper(dtype=O8, shape=values((2,)), allow_mmap=values(False))

    def nested(second: bytes) -> bytes:
        state = b"(" + values(1, (2,)) + O8 + values(False) + b"](" + KNOWN + second + b"etb"
        return stream(wrapped, stream(made, state))

    assert reasons(nested(values(None))) == []
    assert reasons(nested(AGAIN)) == ["array"]


# ── what holds besides ───────────────────────────────────────────────────────


def test_the_class_may_be_named_where_numpy_names_it() -> None:
    """Joblib's and numpy's own forms, which name the class and do not call it, are as they were."""
    reconstructed = (
        name("numpy._core.multiarray", "_reconstruct") + NDARRAY + values((0,), b"b") + b"\x87R"
    )
    state = b"(" + values(1, (1,)) + F8 + values(False, bytes(8)) + b"tb"
    assert reasons(stream(reconstructed, state)) == []
    assert uses(stream(NDARRAY))["numpy:ndarray"] == []
