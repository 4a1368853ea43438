"""numpy's objects in an inspection: whatever numpy pickles passes, and nothing that lies to it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sealstore import limits
from sealstore.formats.pickling import dtype_states
from sealstore.formats.pickling.dtype_states import PickledDtype
from sealstore.formats.pickling.inspection import inspect_memory
from sealstore.formats.pickling.numpy_standins import ArrayKind, ArrayRecorder
from sealstore.formats.pickling.standins import Recorder
from sealstore.formats.pickling.stream import PlainStream
from sealstore.formats.pickling.unpickler import Reader
from tests.engine import (
    F8,
    ONE_F8,
    PROTOCOLS,
    array_file,
    dtype,
    frame,
    inspected,
    name,
    proto,
    reasons,
    uses,
    values,
    wrapper,
)
from tests.joblib_files import joblib_dumped
from tests.matrix import each_row

FOREIGN = ">" if sys.byteorder == "little" else "<"
NDARRAY = name("numpy", "ndarray")
CORE = np.zeros(0).__reduce__()[0].__module__


def kinds_of_dtypes() -> list[np.dtype[Any]]:
    numbers = ["b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))]
    numbers += ["f2", "f4", "f8", "c8", "c16"]
    times = [f"{kind}8{unit}" for kind in "Mm" for unit in ("", "[ns]", "[25s]", "[D]", "[3M]")]
    flexible = [f"{kind}{size}" for kind in "SUV" for size in (0, 1, 7)]
    simple = [np.dtype(code) for code in (*numbers, *times, *flexible, "O", "g", "G")]
    simple += [np.dtype(FOREIGN + code) for code in ("i2", "f8", "c16", "U3", "M8[s]")]
    structured: list[Any] = [
        [("a", "i4")],
        [("a", "i1"), ("b", "f8"), ("c", "U3"), ("d", "O")],
        [("a", "i1"), ("b", [("c", "O"), ("d", "M8[s]")])],
        [("a", "i4", (2, 3)), ("b", "S3", 2), ("c", "O", 2)],
        [(("a title", "a"), f"{FOREIGN}i4"), (("b title", "b"), "O")],
        {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]},
        {"names": ["a", "b"], "formats": ["i4", "O"], "offsets": [16, 0], "itemsize": 40},
        {"names": ["a"], "formats": [("i4", (0,))]},
    ]
    made = [np.dtype(fields, align=align) for fields in structured for align in (False, True)
            if not (align and isinstance(fields, dict))]  # fmt: skip
    made += [np.dtype(([("a", "i4"), ("b", "O")], (2,))), np.dtype(("f8", (2, 2)))]
    made += [np.dtype((np.record, [("a", "i4"), ("b", "O")])), np.dtype([])]
    made += [np.dtype("O", metadata={"a": 1}), np.dtype("M8[s]", metadata={"a": 1})]
    return simple + made


def judged(content: bytes) -> Any:
    """What the reader makes of a stream with the stand-ins of an inspection."""
    stream = PlainStream(memoryview(content))
    arrays = ArrayRecorder()
    recorder = Recorder(arrays.special_names())
    return Reader(stream, recorder.find_class, lambda: arrays).read_object()


# ── dtypes ───────────────────────────────────────────────────────────────────


@each_row("protocol", PROTOCOLS)
@each_row("made", kinds_of_dtypes(), ids=str)
def test_every_dtype_of_numpy_is_known_as_numpy_knows_it(
    made: np.dtype[Any], protocol: int
) -> None:
    """Sizes, alignments and flags that the inspection relies on are numpy's own."""
    facts = judged(pickle.dumps(made, protocol)).facts
    assert (facts.size, facts.alignment) == (made.itemsize, made.alignment)
    assert facts.flags == made.flags & 0xFF
    assert facts.holds_objects == made.hasobject


@each_row(
    "made",
    # Elements without a size joblib cannot write, and no array has a dtype with a shape.
    [made for made in kinds_of_dtypes() if made.itemsize and made.subdtype is None],
    ids=str,
)
def test_arrays_of_every_dtype_are_listed(made: np.dtype[Any]) -> None:
    """An array of any dtype that joblib can write is inspected without a finding."""
    found = inspected(joblib_dumped([np.zeros((2, 3), made), np.zeros((2, 3), made)]))
    assert found.findings == ()
    ((kind),) = found.arrays
    assert (kind.shape, kind.count) == ((2, 3), 2)


def test_dtypes_are_shown_in_few_words() -> None:
    """Byte order, kind, size and fields can be read from a listed dtype."""
    for made, shown in [
        ("<f8", "<f8"),
        ("O", "|O"),
        ("<U5", "<U5"),
        ("<M8[25s]", "<M8[25s]"),
        ("<m8[ns]", "<m8[ns]"),
        ([("a", "<i4"), ("b", "O", 2)], "['a' <i4, 'b' |O[2]]"),
    ]:
        (kind,) = inspected(joblib_dumped(np.zeros(2, made))).arrays  # type: ignore[call-overload] # any of them
        assert kind == ArrayKind(shown, (2,), 1)
    long = [(f"a field with a name {number}", "f8") for number in range(50)]
    (kind,) = inspected(joblib_dumped(np.zeros(2, long))).arrays
    assert kind.dtype.endswith("…")
    assert len(kind.dtype) < 250


def test_dtypes_are_judged_alike_when_they_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of common dtypes is bounded, and changes no judgement."""
    for room in (0, 1, 256):
        monkeypatch.setattr(dtype_states, "_MAX_COMMON", room)
        monkeypatch.setattr(dtype_states, "_COMMON", {})
        for _ in range(2):
            for code, state in (("f8", STATE), ("U3", TEXT), ("O8", OBJECT)):
                assert reasons(proto(4) + dtype(code, *state) + b".") == []
                lie = (3.0, *state[1:])
                assert reasons(proto(4) + dtype(code, *lie) + b".") == ["dtype"]
        assert len(dtype_states._COMMON) <= room


STATE = (3, "<", None, None, None, -1, -1, 0)


FIELDS = ("version", "order", "subarray", "names", "fields", "size", "alignment", "flags")


def changed(state: tuple[object, ...], **changes: object) -> tuple[object, ...]:
    known = dict(zip((*FIELDS, "metadata"), state, strict=False))
    return tuple({**known, **changes}.values())


OBJECT = (3, "|", None, None, None, -1, -1, 63)
TEXT = (3, "<", None, None, None, 12, 4, 8)
VOID = (3, "|", None, None, None, 8, 1, 0)
TIME = (4, "<", None, None, None, -1, -1, 0, (None, (b"s", 1, 1, 1)))

LIES: dict[str, tuple[str, tuple[object, ...]]] = {
    "objects without their flag": ("O8", changed(OBJECT, flags=0)),
    "numbers with the flag of objects": ("f8", changed(STATE, flags=63)),
    "a size of its own": ("f8", changed(STATE, size=16)),
    "a size that its code gives": ("f8", changed(STATE, size=8, alignment=8)),
    "an alignment of its own": ("f8", changed(STATE, alignment=1)),
    "no order": ("f8", changed(STATE, order="|")),
    "an unknown order": ("f8", changed(STATE, order="=")),
    "an order that is no text": ("f8", changed(STATE, order=values(b"<"))),
    "an order for one byte": ("i1", STATE),
    "an older version": ("f8", changed(STATE, version=2)),
    "a version without its fields": ("f8", changed(STATE, version=4)),
    "a version with more fields": ("f8", (*STATE, None)),
    "a version that is no number": ("f8", changed(STATE, version=3.0)),
    "a truth for a version": ("f8", changed(STATE, version=True)),
    "too few fields": ("f8", STATE[:-1]),
    "too many fields": ("f8", (*TIME, None)),
    "flags that are no number": ("f8", changed(STATE, flags=False)),
    "a size that is no number": ("f8", changed(STATE, size=-1.0)),
    "metadata that is none": ("f8", (4, *STATE[1:], [1])),
    "fields of a number": ("f8", changed(STATE, names=(), fields={})),
    "names without fields": ("V8", changed(VOID, names=())),
    "fields without names": ("V8", changed(VOID, fields={})),
    "a text that is longer": ("U3", changed(TEXT, size=16)),
    "a text without its flag": ("U3", changed(TEXT, flags=0)),
    "a text with another alignment": ("U3", changed(TEXT, alignment=1)),
    "bytes that are longer": ("V8", changed(VOID, size=9)),
    "bytes with objects": ("V8", changed(VOID, flags=63)),
    "a subarray that is none": ("V8", changed(VOID, subarray=())),
    "a subarray of a text": ("V8", changed(VOID, subarray=("f8", (1,)))),
    "no unit": ("M8", (3, "<", None, None, None, -1, -1, 0)),
    "a unit that is none": ("M8", changed(TIME, metadata=(None, b"s"))),
    "metadata of a time that is none": ("M8", changed(TIME, metadata=([], (b"s", 1, 1, 1)))),
    "a pair for metadata": ("M8", changed(TIME, metadata=(None, (b"s", 1, 1, 1), None))),
    "an unknown unit": ("M8", changed(TIME, metadata=(None, (b"x", 1, 1, 1)))),
    "a unit as text": ("M8", changed(TIME, metadata=(None, ("s", 1, 1, 1)))),
    "a unit with few numbers": ("M8", changed(TIME, metadata=(None, (b"s", 1, 1)))),
    "a unit without a multiple": ("M8", changed(TIME, metadata=(None, (b"s", 0, 1, 1)))),
    "a unit with a large multiple": ("M8", changed(TIME, metadata=(None, (b"s", 2**31, 1, 1)))),
    "a divided unit": ("M8", changed(TIME, metadata=(None, (b"s", 1, 2, 1)))),
    "a unit of no number": ("M8", changed(TIME, metadata=(None, (b"s", 1.0, 1, 1)))),
    "a time with fields": ("M8", changed(TIME, names=(), fields={})),
}  # fmt: skip


@each_row("lie", LIES)
def test_a_state_that_numpy_would_not_write_is_refused(lie: str) -> None:
    """No dtype is accepted whose state says anything but what its code says."""
    code, state = LIES[lie]
    assert reasons(proto(4) + dtype(code, *state) + b".") == ["dtype"]


def test_a_state_of_another_type_is_refused() -> None:
    """A state that is no tuple is none of numpy's."""
    for state in (values({}), values([3]), b"N"):
        content = name("numpy", "dtype") + values("f8", False, True) + b"\x87R" + state + b"b."
        assert reasons(proto(4) + content) == ["dtype"]


@each_row(
    "arguments",
    [
        (),
        ("f8",),
        ("f8", False),
        ("f8", False, True, None),
        ("f8", True, True),
        ("f8", False, False),
        ("f8", False, 1.0),
        ("f8", 0.0, True),
        ("f8", None, True),
        ("<f8", False, True),
        ("f3", False, True),
        ("f16,f8", False, True),
        ("O4", False, True),
        ("O", False, True),
        ("U03", False, True),
        ("U-1", False, True),
        ("U9999999999", False, True),
        ("3f8", False, True),
        ("q", False, True),
        (b"f8", False, True),
        (["f8"], False, True),
        ([("a", "O")], False, True),
        ({"names": []}, False, True),
        (8, False, True),
    ],
    ids=repr,
)
def test_a_dtype_that_numpy_would_not_pickle_is_refused(arguments: tuple[object, ...]) -> None:
    """numpy.dtype is called with exactly the arguments with which numpy pickles it."""
    content = name("numpy", "dtype") + b"(" + values(*arguments) + b"tR."
    assert reasons(proto(4) + content) == ["dtype"]


def test_a_dtype_of_another_package_is_refused() -> None:
    """A dtype that a class stands for is numpy's record, or none that numpy itself has."""
    state = values((3, "|", None, None, None, 8, 1, 0))
    for module, kind in [("ml_dtypes", "bfloat16"), ("numpy", "void"), ("builtins", "object")]:
        arguments = name(module, kind) + values(False, True) + b"\x87R"
        assert reasons(proto(4) + name("numpy", "dtype") + arguments + state + b"b.") == ["dtype"]
    arguments = name("numpy", "record") + values(False, True) + b"\x87R"
    assert reasons(proto(4) + name("numpy", "dtype") + arguments + state + b"b.") == ["dtype"]


def test_old_numpys_numbers_for_truths_are_known() -> None:
    """Long ago numpy wrote 0 and 1 for False and True."""
    content = name("numpy", "dtype") + values("f8", 0, 1) + b"\x87R" + values(STATE) + b"b."
    assert reasons(proto(4) + content) == []


def test_a_dtype_has_its_state_once_and_before_it_is_used() -> None:
    """A dtype that is used before BUILD, or built twice, could become another one in between."""
    unfinished = name("numpy", "dtype") + values("f8", False, True) + b"\x87R"
    assert reasons(proto(4) + F8 + values(STATE) + b"b.") == ["dtype"]
    assert reasons(array_file(dtype=unfinished)) == ["dtype"]
    for use in (
        dtype("V8", 3, "|", b"(" + unfinished + values((1,)) + b"t", None, None, 8, 8, 0),
        name(CORE, "scalar") + unfinished + values(bytes(8)) + b"\x86R",
    ):
        assert reasons(proto(4) + frame(use) + b".") == ["dtype"]
        assert reasons(proto(4) + use + b".") == ["dtype"]


def fields(**changes: bytes) -> bytes:
    """A structured dtype of a number and an object, made of opcodes."""
    parts = {
        "names": values(("a", "b")),
        "a": F8 + values(0) + b"\x86",
        "b": dtype("O8", *OBJECT) + values(8) + b"\x86",
        "size": values(16),
        "flags": values(27),
        "more": b"",
        "code": values("V16"),
        "subarray": b"N",
        "alignment": values(1),
        **changes,
    }
    content = values("a") + parts["a"] + values("b") + parts["b"] + parts["more"]
    state = values(3, "|") + parts["subarray"] + parts["names"] + b"}(" + content + b"u"
    state += parts["size"] + parts["alignment"] + parts["flags"]
    call = name("numpy", "dtype") + parts["code"] + values(False, True) + b"\x87R"
    return call + b"(" + state + b"tb"


O8 = dtype("O8", *OBJECT)
FIELD_LIES = {
    "objects without their flag": {"flags": values(16)},
    "without the interpreter": {"flags": values(11)},
    "aligned where it is not": {
        "flags": values(27 | 128),
        "alignment": values(8),
        "b": O8 + values(9) + b"\x86",
        "size": values(17),
        "code": values("V17"),
    },
    "an alignment of its own": {"alignment": values(8)},
    "a field beyond its end": {"a": F8 + values(9) + b"\x86"},
    "a field before its begin": {"a": F8 + values(-1) + b"\x86"},
    "a number over an object": {"a": F8 + values(4) + b"\x86"},
    "an object over a number": {"b": O8 + values(4) + b"\x86"},
    "an object over an object": {"a": O8 + values(8) + b"\x86"},
    "a field without a dtype": {"a": values("f8", 0) + b"\x86"},
    "a field without an offset": {"a": F8 + b"\x85"},
    "an offset that is no number": {"a": F8 + values(0.0) + b"\x86"},
    "a field of a list": {"a": b"](" + F8 + values(0) + b"e"},
    "a field with too much": {"a": b"(" + F8 + values(0, "a", 1) + b"t"},
    "a title that is no text": {"a": F8 + values(0, 1) + b"\x87"},
    "a title without its field": {"a": F8 + values(0, "title") + b"\x87"},
    "a title that is a name": {"a": F8 + values(0, "b") + b"\x87"},
    "a field without a name": {"more": values("c") + F8 + values(0) + b"\x86"},
    "a name without a field": {"names": values(("a", "b", "c"))},
    "a name twice": {"names": values(("a", "b", "a"))},
    "a name that is no text": {"names": values(("a", 1))},
    "names in a list": {"names": values(["a", "b"])},
    "another size than its code": {"code": values("V17")},
    "a size that is no number": {"size": values(16.0)},
    "a negative size": {"size": values(-1), "code": values("V1")},
    "flags that are no number": {"flags": values(27.0)},
    "a shape as well": {"subarray": b"(" + F8 + values((2,)) + b"t"},
}  # fmt: skip


def test_the_fields_that_the_lies_are_told_of_are_right() -> None:
    """Without a lie, the structured dtype of these tests is one that numpy itself would write."""
    assert reasons(proto(4) + fields() + b".") == []
    assert reasons(proto(4) + fields(code=name("numpy", "record")) + b".") == []


@each_row("lie", FIELD_LIES)
def test_a_structure_that_contradicts_itself_is_refused(lie: str) -> None:
    """No structure hides objects, lies over them, or says anything else but its fields say."""
    assert reasons(proto(4) + fields(**FIELD_LIES[lie]) + b".") == ["dtype"]


def test_a_subarray_that_contradicts_itself_is_refused() -> None:
    """A dtype with a shape has the size, alignment and flags of its elements."""

    def subarray(shape: object, code: str = "V16", **changes: object) -> bytes:
        known: dict[str, object] = {"size": 16, "alignment": 8, "flags": 0, **changes}
        item = b"(" + F8 + values(shape) + b"t"
        return proto(4) + dtype(code, 3, "|", item, None, None, *known.values()) + b"."

    assert reasons(subarray((2,))) == []
    for content in (
        subarray((3,)),
        subarray((2,), size=24),
        subarray((2,), alignment=1),
        subarray((2,), flags=63),
        subarray((2,), code="V17"),
        subarray((2,), code="f8"),
    ):
        assert reasons(content) == ["dtype"]
    for shape in (2, [2], (2.0,), (-1, -2), (2**63, 0), (1,) * 65):
        assert reasons(subarray(shape)) == ["array"]


def test_nothing_else_is_a_dtype() -> None:
    """NEWOBJ makes no dtype, and a dtype takes no items."""
    assert reasons(proto(4) + name("numpy", "dtype") + b")\x81.") == ["malformed"]
    assert reasons(proto(4) + F8 + values("a", 1) + b"s.") == ["malformed"]
    assert uses(proto(4) + F8 + b".")["numpy:dtype"] == [
        ("called", ("str 'f8'", "bool False", "bool True"))
    ]
    assert ("called", ("dtype",)) in uses(proto(4) + name("m", "q") + F8 + b"\x85R.")["m:q"]


# ── joblib's wrapper ─────────────────────────────────────────────────────────


def lies_of_wrappers() -> Iterator[tuple[str, dict[str, bytes | None]]]:
    for key in ("subclass", "shape", "order", "dtype", "allow_mmap"):
        yield f"without {key}", {key: None}
    yield "with read", {"read": name("os", "system")}
    yield (
        "with read in the place of the alignment",
        {
            "read": name("os", "system"),
            "numpy_array_alignment_bytes": None,
        },
    )
    for key, wrong in {
        "subclass": [b"N", values("ndarray"), name("numpy", "recarray"), name("m", "Own")],
        "shape": [values([1]), values(1), values((1.0,)), values((True,)), values((-1,)),
                  values((2**63, 0)), b"N", name("builtins", "int") + values("9") + b"\x85R\x85",
                  name("builtins", "tuple") + values([1]) + b"\x85R"],
        "order": [values("K"), values(b"C"), b"N", name("m", "call") + b")R"],
        "allow_mmap": [values(1), b"N"],
        "numpy_array_alignment_bytes": [values(0), values(256), values(-1), values(True),
                                        values("16"), name("m", "call") + b")R"],
    }.items():  # fmt: skip
        for number, value in enumerate(wrong):
            yield f"{key} {number}", {key: value}


@each_row("changes", [pytest.param(it, id=lie) for lie, it in lies_of_wrappers()])
def test_a_wrapper_that_joblib_would_not_write_is_refused(changes: dict[str, Any]) -> None:
    """A wrapper has exactly joblib's attributes, of exactly the types that joblib writes."""
    assert reasons(array_file()) == []
    assert reasons(array_file(**changes)) == ["array"]


def test_a_wrapper_of_too_many_dimensions_is_refused() -> None:
    """No array has more dimensions than numpy knows."""
    most = limits.MAX_ARRAY_DIMENSIONS
    assert reasons(array_file(shape=values((1,) * most))) == []
    assert reasons(array_file(shape=values((1,) * (most + 1)))) == ["limit"]


def test_a_wrapper_without_a_dtype_is_refused() -> None:
    """An array's dtype is one that the stream made of numpy's own."""
    for wrong in (b"N", values("f8"), name("m", "call") + b")R", name("numpy", "dtype")):
        assert reasons(array_file(dtype=wrong)) == ["dtype"]
    for size in ("S0", "V0"):
        empty = dtype(size, 3, "|", None, None, None, 0, 1, 0)
        assert reasons(array_file(dtype=empty)) == ["dtype"]


def test_a_wrapper_is_built_of_a_dict() -> None:
    """A wrapper whose state is anything else is none of joblib's."""
    made = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81"
    for state in (b"N", values([1]), values(({}, {}))):
        assert reasons(proto(4) + frame(made + state + b"b") + ONE_F8 + b".") == ["array"]


def test_an_array_claims_no_more_bytes_than_there_are() -> None:
    """A size is held against the bytes that are left, before anything is taken."""
    for shape in ((2,), (2**40,), (2**62, 2**62), (2**63 - 1,) * 64):
        assert reasons(array_file(shape=values(shape))) == ["array"]
    for content in (wrapper(), wrapper() + b"\x10", wrapper() + b"\x01\xff" + bytes(7)):
        (reason,) = reasons(proto(4) + frame(content[: len(wrapper())]) + content[len(wrapper()) :])
        assert reason in ("array", "truncated")


def test_the_old_form_of_the_wrapper_has_no_padding() -> None:
    """Without an alignment, the array begins right behind the wrapper."""
    for missing in (None, b"N"):
        made = wrapper(numpy_array_alignment_bytes=missing)
        assert reasons(proto(4) + frame(made) + bytes(8) + b".") == []
        assert reasons(proto(4) + frame(made) + bytes(7) + b".") != []


def test_arrays_of_too_many_kinds_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of arrays is bounded, and says how many it leaves out."""
    monkeypatch.setattr(limits, "MAX_ARRAY_KINDS", 2)
    found = inspected(joblib_dumped([np.zeros(number % 4 + 1) for number in range(8)]))
    assert [(kind.shape, kind.count) for kind in found.arrays] == [((1,), 2), ((2,), 2)]
    assert found.arrays_left_out == 4


# ── nested streams ───────────────────────────────────────────────────────────


def nested(content: bytes, **changes: bytes) -> bytes:
    """A file with an array of objects whose nested stream is ``content``."""
    return proto(4) + frame(wrapper(dtype=O8, **changes)) + content + b"."


def test_a_nested_stream_is_inspected_like_its_file() -> None:
    """What the objects of an array import is listed with all else."""
    attack = proto(4) + name("os", "system") + values("true") + b"\x85R."
    assert reasons(nested(attack)) == ["array"]
    assert uses(nested(attack))["os:system"] == [("called", ("str 'true'",))]


def test_an_array_of_objects_is_an_array() -> None:
    """A nested stream holds an array, whose state has been judged."""
    good = pickle.dumps(np.array([1, None], dtype=object), 5)
    assert reasons(nested(good)) == []
    for content in (pickle.dumps([1]), pickle.dumps(np.zeros), b"N."):
        assert reasons(nested(content)) == ["array"]


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_nested_stream_ends_at_its_stop(protocol: int) -> None:
    """What follows a nested stream is the file's next opcode, and never skipped."""
    good = pickle.dumps(np.array([1, None], dtype=object), protocol)
    assert reasons(nested(good + b"0N")) == []
    assert reasons(nested(good + b"Q")) == ["persistent-id"]
    assert reasons(nested(good + good)) != []
    for end in range(len(good)):
        assert len(reasons(nested(good)[: -len(good) - 1 + end])) == 1


def test_a_wrapper_in_a_nested_stream_is_refused() -> None:
    """There joblib writes no wrapper, and reads none."""
    assert reasons(nested(proto(4) + frame(wrapper()) + ONE_F8 + b".")) == ["array"]


def test_a_wrapper_that_is_not_named_in_full_is_refused() -> None:
    """In protocols without frames, a wrapper's name stands literally where there are arrays."""
    hidden = rb"Vjoblib.numpy_pickle" + b"\n" + rb"V\u004eumpyArrayWrapper" + b"\n\x93."
    assert reasons(proto(2) + hidden) == ["array"]


# ── what numpy's own functions are called with ───────────────────────────────


def reconstructed(state: bytes, subclass: bytes = NDARRAY, shape: object = (0,)) -> bytes:
    call = name(CORE, "_reconstruct") + subclass + values(shape, b"b") + b"\x87R"
    return proto(4) + call + state + b"b."


def array_state(**changes: bytes) -> bytes:
    parts = {
        "version": values(1),
        "shape": values((2,)),
        "dtype": F8,
        "fortran": values(False),
        "data": values(bytes(16)),
        **changes,
    }
    return b"(" + b"".join(parts.values()) + b"t"


def test_arrays_that_pickle_themselves_are_judged() -> None:
    """A state's data has the length that its shape and dtype announce."""
    objects = {"dtype": O8, "data": values([1, None])}
    assert reasons(reconstructed(array_state())) == []
    assert reasons(reconstructed(array_state(**objects))) == []
    for state in (
        array_state(shape=values((3,))),
        array_state(shape=values((2**40,))),
        array_state(data=values(bytes(17))),
        array_state(data=values([1.0, 2.0])),
        array_state(data=values("x" * 16)),
        array_state(data=name("m", "call") + b")R"),
        array_state(dtype=O8),
        array_state(**{**objects, "shape": values((2**40,))}),
        array_state(**{**objects, "data": values((1, None))}),
        array_state(version=values(2)),
        array_state(version=values(1.0)),
        array_state(fortran=b"N"),
        array_state(shape=values([2])),
        array_state(shape=values((-2, -1))),
        array_state(dtype=values("f8")),
        array_state(more=values(1)),
        values({}),
    ):
        assert reasons(reconstructed(state)) == ["array"], state


def test_reconstruct_makes_nothing_of_a_size() -> None:
    """_reconstruct allocates what its shape says, so the shape is that of an empty array."""
    for shape in ((1,), (2**40,), (0, 0), (), [0], 0, (False,), (0.0,)):
        assert reasons(reconstructed(array_state(), shape=shape)) == ["array"]
    for arguments in (b")", NDARRAY + values((0,)) + b"\x86", values("x", (0,), b"b") + b"\x87"):
        assert reasons(proto(4) + name(CORE, "_reconstruct") + arguments + b"R.") == ["array"]


def test_a_reconstructed_array_has_its_state_once() -> None:
    """A second state, or items, for an array are what no pickler writes."""
    once = reconstructed(array_state())[:-1]
    assert reasons(once + array_state() + b"b.") == ["foreign-state"]
    assert reasons(once + values(0, 1) + b"s.") == ["foreign-state"]
    assert reasons(once + values(1) + b"a.") == ["foreign-state"]


def test_a_subclass_of_an_array_is_made_and_built() -> None:
    """An array of another class is a use of that class, whose own __setstate__ will run."""
    found = uses(reconstructed(values({}), subclass=name("m", "Own")))
    assert found["m:Own"] == [("built", ("dict",)), ("made", ())]
    found = uses(reconstructed(array_state(), subclass=name("m", "Own")))
    assert [use for use, _ in found["m:Own"]] == ["built", "made"]
    assert reasons(reconstructed(array_state(shape=values((3,))), name("m", "Own"))) == ["array"]


def test_masked_arrays_begin_empty() -> None:
    """What _mareconstruct allocates is what its shape says, too."""
    assert reasons(pickle.dumps(np.ma.masked_array([1, 2], mask=[True, False]))) == []
    call = name("numpy.ma.core", "_mareconstruct")
    masked = name("numpy.ma", "MaskedArray")
    for arguments in (
        b"(" + masked + NDARRAY + values((2**40,), b"b") + b"t",
        b"(" + masked + NDARRAY + values((0,)) + b"t",
    ):
        assert reasons(proto(4) + call + arguments + b"R.") == ["array"]


def test_scalars_are_judged() -> None:
    """A scalar's bytes are as many as its dtype has, and none of them is a reference."""
    scalar = name(CORE, "scalar")
    assert reasons(pickle.dumps([np.float64(1), np.datetime64("2026-01-02"), np.str_("x")])) == []
    assert reasons(pickle.dumps(np.zeros((), [("a", "i4")])[()])) == []
    if int(np.__version__.split(".")[0]) > 1:
        assert reasons(pickle.dumps(np.zeros((), [("a", "O")])[()])) == []
    for arguments in (
        b")",
        F8 + b"\x85",
        F8 + values(bytes(7)) + b"\x86",
        F8 + values(bytes(9)) + b"\x86",
        F8 + values("x" * 8) + b"\x86",
        F8 + values(1.5) + b"\x86",
        O8 + values(bytes(8)) + b"\x86",
        values("f8", bytes(8)) + b"\x86",
    ):
        assert reasons(proto(4) + scalar + arguments + b"R.") == ["array"]


def test_arrays_of_buffers_are_judged() -> None:
    """What protocol 5 makes of a buffer has its size, and holds no objects."""
    call = name(CORE.replace("multiarray", "numeric"), "_frombuffer")

    def buffer(data: bytes, kind: bytes = F8, shape: object = (2,)) -> list[str]:
        arguments = b"(" + data + kind + values(shape, "C") + b"t"
        return reasons(proto(5) + call + arguments + b"R.")

    assert reasons(pickle.dumps([np.arange(3), np.zeros((2, 2), order="F")], 5)) == []
    assert buffer(values(bytes(16))) == []
    for found in (
        buffer(values(bytes(15))),
        buffer(values(bytes(16)), O8),
        buffer(values(bytes(16)), values("f8")),
        buffer(values([0.0, 0.0])),
        buffer(values(bytes(16)), shape=(2**40,)),
        buffer(values(bytes(16)), shape=[2]),
        reasons(proto(5) + call + b")R."),
    ):
        assert found == ["array"]


def test_arrays_of_strings_are_known() -> None:
    """StringDType, whose elements are pickled as objects are, is inspected like them."""
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("numpy has StringDType from 2 on")
    found = inspected(joblib_dumped(np.array(["a", "b"], np.dtypes.StringDType())))
    assert found.findings == ()
    assert found.arrays == (ArrayKind("StringDType", (2,), 1),)


def test_numpy_is_not_imported_to_judge_it() -> None:
    """The stand-ins know numpy's dtypes by themselves: none of numpy's objects is among them."""
    content = joblib_dumped([np.arange(3), np.float64(1), np.array([None])])
    assert isinstance(judged(pickle.dumps(np.dtype("f8"))), PickledDtype)
    assert inspect_memory(memoryview(content)).findings == ()


def test_a_length_that_numpy_cannot_count_is_refused() -> None:
    """An array without elements may be as long as 64 bits count, and no longer."""
    for length, expected in (
        (limits.MAX_ARRAY_LENGTH, []),
        (limits.MAX_ARRAY_LENGTH + 1, ["array"]),
    ):
        made = frame(wrapper(shape=values((length, 0)))) + b"\x01\xff."
        assert reasons(proto(4) + made) == expected
