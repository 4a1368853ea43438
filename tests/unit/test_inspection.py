"""Inspection: what a stream would import and do is written down, and nothing of it is done."""

from __future__ import annotations

import collections
import copyreg
import datetime
import decimal
import fractions
import functools
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sealstore import limits
from sealstore.formats.pickling.inspection import Inspection, inspect_memory
from sealstore.formats.pickling.standins import put_back, take_name
from sealstore.formats.pickling.uses import ArgumentBudget
from sealstore.formats.pickling.wrapper import WrapperClass
from tests.engine import (
    PROTOCOLS,
    array_file,
    frame,
    inspected,
    name,
    old_name,
    proto,
    reasons,
    text,
    uses,
    values,
)
from tests.joblib_files import joblib_dumped
from tests.matrix import each_row

PLAIN_STATE = ("built", ("dict",))


class Own:
    """A class with attributes."""

    class Inner:
        """A class within it."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class Listed(list[object]):
    """A list of another class."""


class Keyed(dict[object, object]):
    """A dict of another class."""


class Keyword:
    """Is made with an argument by name."""

    def __new__(cls, **_options: object) -> Keyword:
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"size": 3}


HERE = Own.__module__


# ── uses ─────────────────────────────────────────────────────────────────────


def test_a_payload_of_built_in_objects_imports_nothing() -> None:
    """An object of containers and numbers has no imports, no arrays and no findings."""
    for protocol in PROTOCOLS[3:]:
        found = inspected(pickle.dumps([1, "a", {2: (3, {4})}, b"x", bytearray(b"")], protocol))
        expected = set() if protocol > 4 else {"builtins:bytearray", "builtins:set"}
        assert {use.name for use in found.imports} <= expected
        assert (found.arrays, found.findings, found.protocol) == ((), (), protocol)


def test_an_instance_is_made_and_built() -> None:
    """NEWOBJ is a use of its own, and so is BUILD."""
    for protocol in PROTOCOLS[2:]:
        found = uses(pickle.dumps([Own(a=1), Own(b=2)], protocol))
        assert found == {f"{HERE}:Own": [PLAIN_STATE, ("made", ())]}


@pytest.mark.parametrize("protocol", [0, 1])
def test_old_protocols_make_instances_through_copyreg(protocol: int) -> None:
    """What copyreg._reconstructor makes is made, of the class that it names."""
    found = uses(pickle.dumps([Own(a=1)], protocol))
    assert found == {
        f"{HERE}:Own": [PLAIN_STATE, ("made", ())],
        "builtins:object": [],
        "copyreg:_reconstructor": [
            ("called", (f"global {HERE}:Own", "global builtins:object", "none"))
        ],
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_instances_of_built_in_containers_are_extended(protocol: int) -> None:
    """APPENDS and SETITEMS on an object of another class are a use of that class."""
    for obj in (Listed([1, 2]), Keyed({1: 2}), collections.OrderedDict({1: 2})):
        found = uses(pickle.dumps(obj, protocol))
        kinds = [use for use, _ in found[f"{type(obj).__module__}:{type(obj).__qualname__}"]]
        if protocol > 1 or isinstance(obj, collections.OrderedDict):
            assert "extended" in kinds
        else:
            assert "made" in kinds  # the items are an argument


def test_additems_is_an_extension() -> None:
    """ADDITEMS on what a call returned, or on an instance, is a use of the name."""
    for made in (b")R", b")\x81"):
        content = proto(4) + name("mine", "Own") + made + b"(K\x01K\x02\x90."
        assert ("extended", None) in uses(content)["mine:Own"]
    for made in (b")R", b")\x81"):
        content = proto(4) + name("mine", "Own") + made + b"K\x01K\x02s."
        assert ("extended", None) in uses(content)["mine:Own"]


def test_arguments_are_shown() -> None:
    """Names, texts and whole numbers are shown as they are, all else as what kind it is."""
    shown: list[str] = []
    for value in ["te\nxt", 3, -1, 2**64 - 1, 2**70, True, None, 1.5, b"x", [1], {2: 3}, (4,)]:
        content = proto(4) + name("mine", "call") + values(value) + b"\x85R."
        (called,) = uses(content)["mine:call"]
        assert called[1] is not None
        shown += called[1]
    assert shown == [
        *("str 'te\\nxt'", "int 3", "int -1", f"int {2**64 - 1}", "int", "bool True"),
        *("none", "float", "bytes", "list", "dict", "tuple"),
    ]


def test_names_and_their_products_are_shown_as_arguments() -> None:
    """A name, an instance and a result are told apart, and by whose they are."""
    other = name("their", "Own")
    for argument, shown in [
        (other, "global their:Own"),
        (other + b")\x81", "made their:Own"),
        (other + b")R", "result their:Own"),
        (name("numpy", "dtype"), "global numpy:dtype"),
    ]:
        content = proto(4) + name("mine", "call") + argument + b"\x85R."
        assert ("called", (shown,)) in uses(content)["mine:call"]


def test_a_function_of_a_partial_is_shown() -> None:
    """functools.partial shows what it will call, in its arguments and in its state."""
    for protocol in PROTOCOLS:
        found = uses(pickle.dumps(functools.partial(np.load, "file", mmap_mode="r"), protocol))
        assert "numpy:load" in found
        assert ("called", ("global numpy:load",)) in found["functools:partial"]
        built = [arguments for use, arguments in found["functools:partial"] if use == "built"]
        assert built == [("global numpy:load", "tuple", "dict", "none")]


def test_long_arguments_are_shortened() -> None:
    """A text of any length, and any number of arguments, take a bounded place."""
    content = proto(4) + name("mine", "call") + values("x" * 5000) + b"\x85R."
    ((_, arguments),) = uses(content)["mine:call"]
    assert arguments == (f"str '{'x' * limits.MAX_SHOWN_CHARACTERS}' and more",)
    content = proto(4) + name("mine", "call") + b"(" + values(*range(20)) + b"tR."
    ((_, arguments),) = uses(content)["mine:call"]
    assert arguments is not None
    assert arguments[-2:] == (f"int {limits.MAX_SHOWN_ARGUMENTS - 1}", "and more")


def calls(count: int, function: str = "call") -> bytes:
    """Opcodes of ``count`` calls with different arguments."""
    return b"".join(name("mine", function) + values(number) + b"\x85R0" for number in range(count))


def test_too_many_different_arguments_become_none() -> None:
    """A name that is called in too many ways is one whose arguments are not known."""
    most = limits.MAX_ARGUMENT_LISTS_A_NAME
    assert len(uses(proto(4) + calls(most) + b"N.")["mine:call"]) == most
    assert uses(proto(4) + calls(most + 1) + b"N.")["mine:call"] == [("called", None)]
    assert uses(proto(4) + calls(most + 5) + b"N.")["mine:call"] == [("called", None)]


def test_all_arguments_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names there are, their argument lists take a bounded place."""
    monkeypatch.setattr(limits, "MAX_ARGUMENT_LISTS", 3)
    found = uses(proto(4) + calls(2, "first") + calls(2, "second") + calls(1, "third") + b"N.")
    assert len(found["mine:first"]) == 2
    assert found["mine:second"] == [("called", None)]
    assert found["mine:third"] == [("called", None)]


def test_equal_arguments_of_other_types_are_other_arguments() -> None:
    """1, True and 1.0 are equal, and a policy that pins one of them does not mean the others."""
    made = b"".join(name("mine", "call") + values(value) + b"\x85R0" for value in (1, True, 1.0, 1))
    found = uses(proto(4) + made + b"N.")["mine:call"]
    assert found == [("called", (shown,)) for shown in ("int 1", "bool True", "float")]


def test_what_comes_again_and_again_is_noted_once() -> None:
    """Uses of the same look take one place, whatever their arguments hold."""
    repeated = b"".join(
        name("mine", "call") + values([number], "x" * (150 + number % 2)) + b"\x86R0"
        for number in range(100)
    )
    assert len(uses(proto(4) + repeated + b"N.")["mine:call"]) == 1


def test_a_result_that_is_used_again_is_told_apart() -> None:
    """Calling what a call returned, or making an instance of it, is a use of its own."""
    for again in (b")R", b")\x81", b"K\x01\x85R"):
        content = proto(4) + name("mine", "make") + b")R" + again + b"."
        kinds = {use for use, _ in uses(content)["mine:make"]}
        assert kinds == {"called", "result-called"}
    content = proto(4) + name("mine", "make") + b")R)}\x92."
    assert ("result-called", ()) in uses(content)["mine:make"]


def test_keywords_are_arguments() -> None:
    """What NEWOBJ_EX passes by name is shown along with its name."""
    assert uses(pickle.dumps(Keyword(), 4)) == {
        f"{HERE}:Keyword": [("made", ("str 'size'", "int 3"))]
    }


def test_a_name_that_is_only_referred_to_has_no_use() -> None:
    """A class or function that the object merely holds is listed, without a use."""
    assert uses(pickle.dumps([Own, len], 4)) == {f"{HERE}:Own": [], "builtins:len": []}


def test_inst_and_obj_are_calls() -> None:
    """The two oldest ways to make an object are noted like the newer ones."""
    assert uses(b"(I1\nimine\nOwn\n.")["mine:Own"] == [("called", ("int 1",))]
    assert uses(proto(1) + b"(cmine\nOwn\nK\x01o.")["mine:Own"] == [("called", ("int 1",))]
    assert uses(b"(imine\nOwn\n.")["mine:Own"] in ([("made", ())], [("called", ())])


def test_imports_come_in_the_order_of_their_names() -> None:
    """The list of imports does not depend on the order of the stream."""
    found = inspected(proto(4) + name("b", "c") + name("a", "d") + name("a", "b") + b"\x87.")
    assert [use.name for use in found.imports] == ["a:b", "a:d", "b:c"]


# ── names ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("protocol", [2, 3])
def test_nested_classes_of_old_protocols_are_names_of_their_own(protocol: int) -> None:
    """A class within a class, which getattr brings, is listed with what is done with it."""
    found = uses(pickle.dumps([Own.Inner(), Own.Inner()], protocol))
    assert found["builtins:getattr"] == [("called", (f"global {HERE}:Own", "str 'Inner'"))]
    assert found[f"{HERE}:Own.Inner"] == [("made", ())]
    assert found[f"{HERE}:Own"] == []


def test_getattr_of_anything_else_is_a_call_like_any_other() -> None:
    """Only a name and a text make another name."""
    getter = name("builtins", "getattr")
    for arguments in (
        values([1], "append") + b"\x86",
        name("mine", "Own") + values(1) + b"\x86",
        values("x") + b"\x85",
        name("mine", "Own") + b")R" + values("x") + b"\x86",
    ):
        found = uses(proto(4) + getter + arguments + b"R.")
        assert set(found) <= {"builtins:getattr", "mine:Own"}
        assert found["builtins:getattr"]


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_names_of_python_2_are_judged_in_python_3_words(protocol: int) -> None:
    """The mapping is applied before anything else sees the name."""
    head = proto(2) if protocol == 2 else b""
    names = old_name("__builtin__", "apply") + old_name("itertools", "imap")
    assert set(uses(head + names + b"\x86.")) == {"builtins:apply", "builtins:map"}


def test_a_name_of_python_2_in_a_later_protocol_is_what_it_says() -> None:
    """From protocol 3 on nothing is mapped, and no second PROTO opcode can have it mapped."""
    assert set(uses(proto(4) + name("__builtin__", "eval") + b".")) == {"__builtin__:eval"}
    hidden = proto(4) + frame(proto(2) + old_name("__builtin__", "eval") + b".")
    assert reasons(hidden) == ["ambiguous-name"]


def test_a_dotted_name_before_protocol_4_is_refused() -> None:
    """There joblib would look for an attribute with dots in its name; nothing has one."""
    assert reasons(proto(2) + old_name("os", "path.join") + b".") == ["malformed"]
    assert set(uses(proto(4) + name("os", "path.join") + b".")) == {"os:path.join"}


def test_a_name_that_no_module_can_have_is_refused() -> None:
    """Names with line feeds, lone surrogates, no or too many characters are refused."""
    for module, qualname in [("a\nb", "c"), ("a", ""), ("", "a"), ("a", "\udc80"), ("a", "\x1b[m")]:
        content = proto(4) + values(module, qualname) + b"\x93."
        assert reasons(content) == ["malformed"]
    long = proto(4) + values("m", "q" * (limits.MAX_IMPORT_CHARACTERS + 1)) + b"\x93."
    assert reasons(long) == ["limit"]


def test_too_many_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload imports no more names than a statement holds."""
    monkeypatch.setattr(limits, "MAX_IMPORTS", 3)
    three = b"".join(name("m", f"q{number}") for number in range(3))
    assert reasons(proto(4) + three + three + b"\x87.") == []
    assert reasons(proto(4) + three + name("m", "q4") + b"\x87.") == ["limit"]


# ── evaluated exactly ────────────────────────────────────────────────────────


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_bytes_of_old_protocols_are_bytes(protocol: int) -> None:
    """What protocol 2 writes for bytes becomes bytes, so that an array's data can be judged."""
    content = pickle.dumps([b"\x00\xff" * 9, b"", np.arange(3)], protocol)
    found = uses(content)
    assert found["_codecs:encode"] == [("called", ("str", "str 'latin1'"))]
    assert reasons(content) == []
    assert ("called", ()) in found["builtins:bytes"]


def test_only_latin1_of_a_text_is_evaluated() -> None:
    """Another codec, whatever it would do, is a call like any other."""
    encode = name("_codecs", "encode")
    for arguments in (
        values("a", "rot13") + b"\x86",
        values(b"a", "latin1") + b"\x86",
        values("a") + b"\x85",
        values("a") + name("m", "latin1") + b"\x86",
    ):
        found = uses(proto(4) + encode + arguments + b"R.")
        assert ("called", ("str", "str 'latin1'")) not in found["_codecs:encode"]
    assert reasons(proto(4) + encode + values("\u1234", "latin1") + b"\x86R.") == ["malformed"]


def test_slices_in_one_another_are_refused() -> None:
    """To free a million of them would overflow the stack; picklers of slices write none."""
    assert uses(pickle.dumps([slice(1, None), slice("a", "b", 2)])).keys() == {"builtins:slice"}
    inner = name("builtins", "slice") + b"\x94" + values(1) + b"\x85R"
    assert reasons(proto(4) + inner + b".") == []
    assert reasons(proto(4) + b"h\x000" + inner + b".") == ["malformed"]
    for arguments in (b"\x85", values(2) + b"\x86"):
        nested = inner + b"\x940h\x00h\x01" + arguments + b"R."
        assert reasons(proto(4) + nested) == ["limit"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fractions_and_patterns_are_told_from_expensive_ones(protocol: int) -> None:
    """What a pickler writes is shown as such; digits by exponent and endless patterns are not."""
    item = [
        fractions.Fraction(-3, 4),
        fractions.Fraction(5),
        re.compile("[a-z]+"),
        re.compile(b"x"),
    ]
    found = uses(pickle.dumps(item, protocol))
    assert found["re:_compile"] == [("called", ("pattern", "int"))]
    assert found["fractions:Fraction"] == [("called", ("fraction",))]
    older = uses(proto(4) + name("fractions", "Fraction") + values("-3/4") + b"\x85R.")
    assert older["fractions:Fraction"] == [("called", ("fraction",))]
    for wrong in (
        "1e9",
        "1e999999999",
        "1.5",
        "1/2/3",
        " 1",
        "1\n",
        "1_0",
        "\u0661",
        "1" * 4_001,
        "",
    ):
        shown = uses(proto(4) + name("fractions", "Fraction") + values(wrong) + b"\x85R.")
        assert ("called", ("fraction",)) not in shown["fractions:Fraction"], wrong
    for arguments in ((1,), ("1", "2"), (True, 2)):
        shown = uses(proto(4) + name("fractions", "Fraction") + b"(" + values(*arguments) + b"tR.")
        assert ("called", ("fraction",)) not in shown["fractions:Fraction"]


def test_patterns_that_take_long_to_compile_are_shown_as_texts() -> None:
    """So that no policy takes one for a pattern that it trusts."""
    compile_ = name("re", "_compile")
    longest = "x" * limits.MAX_PATTERN_CHARACTERS
    for pattern, flags, is_pattern in (
        (longest, 0, True),
        (longest.encode(), 0, True),
        (longest + "x", 0, False),
        (b"x" + longest.encode(), 0, False),
        (None, 0, False),
        ("x", "0", False),
        ("x", True, False),
    ):
        shown = uses(proto(4) + compile_ + values(pattern, flags) + b"\x86R.")["re:_compile"]
        assert (shown == [("called", ("pattern", "int"))]) is is_pattern
    assert uses(proto(4) + compile_ + values("x") + b"\x85R.")["re:_compile"] == [
        ("called", ("str 'x'",))
    ]


def test_reconstructor_and_newobj_in_other_forms_are_calls() -> None:
    """Calls of copyreg's functions that no pickler writes make no instance."""
    for function in ("_reconstructor", "__newobj__", "__newobj_ex__"):
        for arguments in (b")", values(1, 2, 3) + b"\x87"):
            content = proto(4) + name("copyreg", function) + arguments + b"R."
            assert uses(content) == {
                f"copyreg:{function}": [
                    ("called", () if arguments == b")" else ("int 1", "int 2", "int 3"))
                ]
            }


def test_newobj_as_a_function_makes_an_instance() -> None:
    """copyreg.__newobj__, by which protocols 0 and 1 call __new__, is a making."""
    content = name("mine", "Own") + values(7) + b"\x86R."
    found = uses(proto(4) + name("copyreg", "__newobj__") + content)
    assert found["mine:Own"] == [("made", ("int 7",))]


def test_reconstructor_with_a_base_makes_an_instance_with_its_content() -> None:
    """An instance of a built-in container's subclass is made with what it holds."""
    found = uses(pickle.dumps(Listed([1]), 0))
    assert ("made", ("list",)) in found[f"{HERE}:Listed"]


# ── what nothing may change ──────────────────────────────────────────────────

CHANGES = {
    "BUILD": values({"a": 1}) + b"b",
    "SETITEM": values("a", 1) + b"s",
    "SETITEMS": b"(" + values("a", 1) + b"u",
    "APPEND": values(1) + b"a",
    "APPENDS": b"(" + values(1, 2) + b"e",
    "ADDITEMS": b"(" + values(1, 2) + b"\x90",
}


@each_row("change", CHANGES)
@each_row(
    "target",
    [
        name("os", "environ"),
        name("numpy", "dtype"),
        name("builtins", "getattr") + name("mine", "Own") + values("Inner") + b"\x86R",
    ],
    ids=["name", "dtype", "getattr"],
)
def test_a_name_itself_is_never_changed(target: bytes, change: str) -> None:
    """BUILD and its kin on something that the stream did not make would patch the process."""
    assert reasons(proto(4) + target + CHANGES[change] + b".") == ["foreign-state"]


@pytest.mark.parametrize("change", CHANGES)
def test_instances_and_results_may_be_changed(change: str) -> None:
    """What the stream made itself, it may build and fill."""
    for target in (name("mine", "Own") + b")\x81", name("mine", "Own") + b")R"):
        content = proto(4) + target + CHANGES[change] + b"."
        assert reasons(content) == []
        expected = PLAIN_STATE if change == "BUILD" else ("extended", None)
        assert expected in uses(content)["mine:Own"]


@pytest.mark.parametrize("change", CHANGES)
def test_an_array_of_joblib_is_never_changed(change: str) -> None:
    """No pickler writes a BUILD, or items, for an array that a wrapper brought."""
    content = array_file()[:-1] + CHANGES[change] + b"."
    assert reasons(content) == ["foreign-state"]


# ── findings ─────────────────────────────────────────────────────────────────


def test_the_reason_for_a_refusal_is_one_stable_word() -> None:
    """Each class of malformed stream has its own reason."""
    for content, reason in [
        (b"", "truncated"),
        (proto(4) + b"K", "truncated"),
        (proto(4) + values([1, 2])[:-1], "truncated"),
        (proto(4) + b"N.N", "trailing-bytes"),
        (proto(4) + frame(b"N.N"), "trailing-bytes"),
        (proto(4) + b"\xff.", "malformed"),
        (proto(9) + b"N.", "malformed"),
        (proto(4) + b"h\x09.", "malformed"),
        (proto(4) + b"]K\x01b.", "malformed"),
        (proto(4) + b"NQ.", "persistent-id"),
        (b"Pid\n.", "persistent-id"),
        (proto(2) + b"\x82\x01.", "extension-registry"),
        (proto(2) + b"\x83\x01\x00.", "extension-registry"),
        (proto(2) + b"\x84\x01\x00\x00\x00.", "extension-registry"),
        (proto(4) + name("m", "call") + b")R" + text("name") + b"\x93.", "computed-name"),
        (proto(4) + text("m") + name("m", "call") + b")R\x93.", "computed-name"),
        (proto(2) + b"U\x01\xe9.", "python-2"),
        (proto(2) + b"U\x01a.", "python-2"),
        (b"S'a'\n.", "python-2"),
        (proto(2) + b"T\x01\x00\x00\x00a.", "python-2"),
        (b"ZF0x1                 x", "old-joblib"),
        (proto(4) + name("joblib.numpy_pickle", "NDArrayWrapper") + b".", "old-joblib"),
        (proto(4) + name("joblib.numpy_pickle", "ZNDArrayWrapper") + b".", "old-joblib"),
        (proto(4) + name("joblib.numpy_pickle_compat", "NDArrayWrapper") + b".", "old-joblib"),
        (b"\x78\x01 no zlib", "compression"),
        (proto(4) + b"\x8e" + (2**62).to_bytes(8, "little") + b".", "limit"),
        (proto(5) + b"\x97.", "malformed"),
    ]:
        assert reasons(content) == [reason], content


def test_other_names_of_joblib_are_names_like_any_other() -> None:
    """Only the wrappers of joblib's modules mean something of their own."""
    content = proto(4) + name("joblib.numpy_pickle", "load") + b"."
    assert uses(content) == {"joblib.numpy_pickle:load": []}


def test_what_was_met_before_a_finding_is_still_told() -> None:
    """A payload that breaks off behind its attack does not hide the attack."""
    content = proto(4) + name("os", "system") + text("true") + b"\x85R"
    found = inspected(content)
    assert [finding.reason.value for finding in found.findings] == ["truncated"]
    assert uses(content) == {"os:system": [("called", ("str 'true'",))]}


def test_a_registered_extension_is_refused_in_every_form() -> None:
    """A code of the registry, its name written out, and what its cache holds are all refused."""
    copyreg.add_extension("collections", "OrderedDict", 0x7777)
    try:
        coded = pickle.dumps(collections.OrderedDict, 4)
        assert b"OrderedDict" not in coded
        assert reasons(coded) == ["extension-registry"]
        assert pickle.loads(coded) is collections.OrderedDict  # now it is in the cache
        assert reasons(coded) == ["extension-registry"]
        written = proto(4) + name("collections", "OrderedDict") + b"."
        assert reasons(written) == ["extension-registry"]
    finally:
        copyreg.remove_extension("collections", "OrderedDict", 0x7777)


def test_a_cache_that_fills_during_the_inspection_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An extension that another thread brought into the cache meanwhile could have been used."""
    monkeypatch.setattr(copyreg, "clear_extension_cache", lambda: None)
    cache: dict[int, object] = copyreg._extension_cache  # type: ignore[attr-defined]
    cache[0x7778] = collections.OrderedDict
    try:
        assert reasons(pickle.dumps([1], 4)) == ["extension-registry"]
    finally:
        del cache[0x7778]


def test_every_truncation_is_refused() -> None:
    """However a file is cut, the inspection says so."""
    for protocol in PROTOCOLS:
        content = joblib_dumped([Own(a=np.arange(2)), np.array([None])], protocol=protocol)
        for end in range(len(content)):
            assert len(reasons(content[:end])) == 1


# ── inertness ────────────────────────────────────────────────────────────────


def test_nothing_is_imported_and_nothing_runs(tmp_path: Path) -> None:
    """No module is imported, no file opened and no process started, by audit hook and all."""
    content = b"".join(
        [
            proto(4),
            name("os", "system") + text(f"touch {tmp_path}/fired") + b"\x85R0",
            name("builtins", "exec") + text(f"open('{tmp_path}/run', 'w')") + b"\x85R0",
            name("antigravity", "fly") + b")\x810",
            name("sealstore_test_no_such_module", "f") + b")R}b0",
            name("numpy", "load") + text("file") + b"\x85R.",
        ]
    )
    code = """
import sys
from sealstore.formats.pickling.inspection import inspect_memory
content = sys.stdin.buffer.read()
inspect_memory(memoryview(b"N."))
events, modules = [], set(sys.modules)
sys.addaudithook(lambda event, arguments: events.append(event))
found = inspect_memory(memoryview(content))
events = [event for event in events if not event.startswith(("object.__", "builtins.id"))]
print(len(found.imports), found.findings, set(sys.modules) - modules, sorted(set(events)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=content, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "5 () set() []"
    assert list(tmp_path.iterdir()) == []


def test_real_objects_are_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes of the object are not touched, although they are imported already."""
    content = joblib_dumped([Own(a=1), decimal.Decimal(3), datetime.date(2026, 1, 2), np.arange(3)])

    def refuse(*_: Any) -> None:
        raise AssertionError("this was to be inspected, not made")

    monkeypatch.setattr(Own, "__setstate__", refuse, raising=False)
    monkeypatch.setattr(np, "dtype", refuse)
    monkeypatch.setattr(decimal, "Decimal", refuse)
    assert reasons(content) == []


def test_an_inspection_by_this_process_claims_no_confinement() -> None:
    """Only a process of its own can be confined."""
    found = inspect_memory(memoryview(b"N."))
    assert found == Inspection((), (), 0, None, 0, ())
    assert not found.is_confined_by_kernel


# ── stand-ins that are used again ────────────────────────────────────────────


def test_nothing_of_one_inspection_is_told_by_the_next() -> None:
    """Stand-ins serve one payload after the other, and remember none."""
    used = proto(4) + name("mine", "Own") + b")\x81}" + values("a", 1) + b"sb" + values(1) + b"a."
    named = proto(4) + name("mine", "Own") + b"."
    for _ in range(3):
        assert {use for use, _ in uses(used)["mine:Own"]} == {"made", "built", "extended"}
        assert uses(named) == {"mine:Own": []}
        assert reasons(proto(4) + name("mine", "Own") + values("a", 1) + b"s.") != []
        assert uses(named) == {"mine:Own": []}


def test_two_inspections_at_a_time_do_not_mix() -> None:
    """Each thread's inspection has stand-ins of its own, also for the same names."""
    contents = [
        proto(4) + (name("mine", "Own") + values(number) + b"\x85R0") * 500 + b"N."
        for number in range(4)
    ]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            for number, found in enumerate(threads.map(uses, contents)):
                assert found == {"mine:Own": [("called", (f"int {number}",))]}


def test_a_name_is_taken_by_one_inspection_at_a_time() -> None:
    """Two payloads that are inspected at once never share a stand-in."""
    budget = ArgumentBudget()
    first, second = take_name("mine", "Own", budget), take_name("mine", "Own", budget)
    assert first is not second
    put_back(first)
    assert take_name("mine", "Own", budget) is first


def test_only_so_many_stand_ins_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no payload uses any more does not pile up."""
    monkeypatch.setattr(limits, "MAX_IDLE_NAMES", 0)
    met = take_name("mine", "Rare", ArgumentBudget())
    put_back(met)
    assert take_name("mine", "Rare", ArgumentBudget()) is not met


def test_a_wrapper_class_serves_one_stream_at_a_time() -> None:
    """The class that stands for joblib's wrapper is taken, and holds nothing when put back."""
    taken = [WrapperClass.take(lambda _state: None) for _ in range(40)]
    assert len({id(one) for one in taken}) == 40
    for one in taken:
        one.put_back()
    called: list[object] = []
    again = WrapperClass.take(called.append)
    again.stand_in().__setstate__("state")
    again.put_back()
    again.stand_in().__setstate__("late")
    assert called == ["state"]


def test_a_name_whose_arguments_are_many_stays_so() -> None:
    """Once there are too many argument lists, no later one is told as if it were the only one."""
    encode = name("_codecs", "encode")
    odd = b"".join(encode + values("a", f"codec {number}") + b"\x86R0" for number in range(99))
    content = proto(4) + odd + encode + values("a", "latin1") + b"\x86R."
    assert uses(content) == {"_codecs:encode": [("called", None)]}
