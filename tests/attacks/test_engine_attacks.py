"""Attacks on the pickle engine, each shown to work on stock joblib or numpy first.

Each of them stands for a way in which a payload made joblib, or a scanner, do what it should not.
The file of an attack is loaded with stock joblib in a process of its own, under limits; there it
leaves its mark. Then the engine refuses it, or tells of it, and nothing of it runs.
"""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import pytest

from sealstore.errors import PayloadFormatError
from tests.engine import (
    ONE_F8,
    array_file,
    dtype,
    frame,
    loaded,
    name,
    old_name,
    proto,
    reasons,
    resolve,
    text,
    uses,
    values,
    wrapper,
)

MIB = 2**20
VICTIM = """
import resource, sys
import joblib
import numpy
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
loaded = joblib.load(sys.argv[1])
{then}
"""
MARK = "print('fired', flush=True)"
FIRE = name("builtins", "exec") + text(MARK) + b"\x85R"
"""Opcodes that run code, and leave None on the stack."""

JOBLIB = tuple(map(int, joblib.__version__.split(".")[:2]))


def stock(path: Path, then: str = "") -> subprocess.CompletedProcess[str]:
    """What becomes of a process that loads a file with stock joblib."""
    return subprocess.run(
        [sys.executable, "-c", VICTIM.format(then=then), str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=path.parent,
        timeout=120,
    )


def fires(content: bytes, folder: Path, then: str = "") -> bool:
    """Whether a file with this content runs its code in a process that uses stock joblib."""
    path = folder / "attack.joblib"
    path.write_bytes(content)
    return "fired" in stock(path, then).stdout


class Refusing:
    """A ``find_class`` that hands out the harmless names of a list, and refuses all others."""

    def __init__(self, *allowed: str) -> None:
        self._allowed = allowed
        self.refused: list[str] = []

    def __call__(self, module: str, qualname: str) -> object:
        asked = f"{module}:{qualname}"
        if asked in self._allowed:
            return resolve(module, qualname)
        self.refused.append(asked)
        raise PermissionError(asked)


NUMPYS = ("numpy:ndarray", "numpy:dtype", "numpy._core.multiarray:_reconstruct",
          "numpy.core.multiarray:_reconstruct")  # fmt: skip


# ── code where nobody looks ──────────────────────────────────────────────────


def nested_attack() -> bytes:
    array = dtype("O8", 3, "|", None, None, None, -1, -1, 63)
    return proto(4) + frame(wrapper(dtype=array)) + proto(4) + FIRE + b"." + b"."


@dataclass(frozen=True)
class Hidden:
    """An attack that runs code, which an inspection must list or refuse.

    Attributes:
        content: the file.
        reasons: why an inspection refuses it; none where it lists ``builtins:exec``.
    """

    content: Callable[[], bytes]
    reasons: list[str] = field(default_factory=list)


HIDDEN = {
    "plainly": Hidden(lambda: proto(4) + FIRE + b"."),
    "behind an array": Hidden(lambda: array_file()[:-1] + b"0" + FIRE + b"."),
    "in the nested stream of an array": Hidden(nested_attack, ["array"]),
    "in a compressed file": Hidden(lambda: zlib.compress(proto(4) + FIRE + b".")),
    "in an array's frame, behind its wrapper": Hidden(
        lambda: proto(4) + frame(wrapper() + b"0" + FIRE) + ONE_F8 + b".", ["frame"]
    ),
    "as the wrapper's own method": Hidden(
        lambda: proto(4)
        + frame(wrapper(read=name("functools", "partial") + name("builtins", "print")
                        + text("fired") + b"\x86R"))
        + ONE_F8
        + b".",
        ["array"],
    ),
    "in Python 2's words": Hidden(
        lambda: proto(2) + old_name("__builtin__", "eval") + values(MARK) + b"\x85R."
    ),
    "in Python 2's words, behind a second PROTO": Hidden(
        lambda: proto(4)
        + frame(proto(2) + old_name("__builtin__", "eval") + values(MARK) + b"\x85R."),
        ["ambiguous-name"],
    ),
    "by a computed name": Hidden(
        lambda: proto(4)
        + text("builtins")
        + name("builtins", "str") + text("exec") + b"\x85R"
        + b"\x93"
        + text(MARK)
        + b"\x85R.",
        ["computed-name"],
    ),
    "by INST": Hidden(lambda: b"(V" + MARK.encode() + b"\nibuiltins\nexec\n."),
    "by OBJ": Hidden(lambda: proto(2) + b"(" + old_name("builtins", "exec") + values(MARK) + b"o."),
    "by the memo": Hidden(
        lambda: proto(4) + name("builtins", "exec") + b"\x940" + b"h\x00" + text(MARK) + b"\x85R."
    ),
    "behind a hexadecimal number": Hidden(
        lambda: b"I0x10\n0" + old_name("builtins", "exec") + b"(V" + MARK.encode() + b"\ntR."
    ),
    "by BUILD": Hidden(
        lambda: proto(4) + name("functools", "partial") + name("builtins", "print")
        + b"\x85R(" + name("builtins", "exec") + text(MARK) + b"\x85}Nt" + b"b)R."
    ),
    "before the file breaks off": Hidden(lambda: proto(4) + FIRE, ["truncated"]),
}  # fmt: skip


@pytest.mark.parametrize("key", HIDDEN)
def test_code_that_hides_is_listed_or_refused(
    key: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wherever in a file its code hides, an inspection tells of it, and neither pass runs it."""
    attack = HIDDEN[key]
    content = attack.content()
    assert fires(content, tmp_path)
    assert reasons(content) == attack.reasons
    if not attack.reasons:
        assert {"builtins:exec", "builtins:eval"} & set(uses(content))
    find_class = Refusing(*NUMPYS, "functools:partial", "builtins:str", "builtins:print")
    with pytest.raises((PermissionError, PayloadFormatError)):
        loaded(content, find_class)
    assert "fired" not in capfd.readouterr().out


def test_a_find_class_of_ones_own_is_asked_in_nested_streams_too(tmp_path: Path) -> None:
    """What an array of objects imports goes through the same find_class as all else."""
    content = nested_attack()
    if JOBLIB < (1, 6):
        # joblib itself read nested streams with plain pickle, past the find_class of a subclass.
        class Strict(joblib.numpy_pickle.NumpyUnpickler):
            def find_class(self, module: str, qualname: str) -> Any:
                if module == "builtins":
                    raise PermissionError(qualname)
                return super().find_class(module, qualname)

        with pytest.raises(AttributeError):  # it got as far as to the array, which is None
            Strict("", io.BytesIO(content)).load()
    assert fires(content, tmp_path)
    find_class = Refusing(*NUMPYS)
    with pytest.raises(PayloadFormatError):
        loaded(content, find_class)
    assert find_class.refused == ["builtins:exec"]


# ── neighbouring files ───────────────────────────────────────────────────────


def old_wrapper() -> bytes:
    state = b"}(" + text("filename") + text("neighbour.npy") + text("subclass")
    state += name("numpy", "ndarray") + text("allow_mmap") + values(False) + b"u"
    made = name("joblib.numpy_pickle", "NDArrayWrapper") + b")\x81"
    return proto(4) + made + state + b"b."


@pytest.mark.parametrize("form", ["NDArrayWrapper", "ZF"])
def test_a_neighbouring_file_is_never_read(form: str, tmp_path: Path) -> None:
    """The forms before 0.10, by which joblib loads a file beside the payload, are refused."""
    header = b"\x93NUMPY\x01\x00v\x00"
    described = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    (tmp_path / "neighbour.npy").write_bytes(header + described + proto(4) + FIRE + b".")
    content = old_wrapper()
    if form == "ZF":
        content = b"ZF" + hex(len(content)).encode().ljust(19) + zlib.compress(content)
    assert fires(content, tmp_path)
    assert reasons(content) == ["old-joblib"]
    with pytest.raises(PayloadFormatError):
        loaded(content)


# ── patches of the process ───────────────────────────────────────────────────

PATCHES = {
    "BUILD of a class": (
        name("json", "JSONEncoder") + b"N}" + text("item_separator") + text("fired") + b"s\x86b",
        "import json; print(json.JSONEncoder.item_separator)",
    ),
    "BUILD of a module": (
        name("json", "encoder") + b"}" + text("FLAGS") + text("fired") + b"sb",
        "import json.encoder; print(json.encoder.FLAGS)",
    ),
    "SETITEM of the environment": (
        name("os", "environ") + text("PATH") + text("fired") + b"s",
        "import os; print(os.environ['PATH'])",
    ),
    "APPEND to the path": (
        name("sys", "path") + text("fired") + b"a",
        "import sys; print(sys.path[-1])",
    ),
    "BUILD of a nested class": (
        name("builtins", "getattr") + name("json", "JSONEncoder") + text("__init__") + b"\x86R"
        + b"}" + text("mark") + text("fired") + b"sb",
        "import json; print(json.JSONEncoder.__init__.mark)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", PATCHES)
def test_what_the_stream_did_not_make_is_not_changed(key: str, tmp_path: Path) -> None:
    """A state or an item for something that exists already would change the whole process."""
    opcodes, then = PATCHES[key]
    content = proto(4) + opcodes + b"."
    assert fires(content, tmp_path, then)
    assert reasons(content) == ["foreign-state"]


# ── lies that numpy believes ─────────────────────────────────────────────────

WILD = struct.pack("<Q", 0x4141_4141_4141)
LYING = dtype("O8", 3, "|", None, None, None, -1, -1, 0)
TRUTHFUL = dtype("O8", 3, "|", None, None, None, -1, -1, 63)
CORE = resolve("numpy", "zeros")(0).__reduce__()[0].__module__
LIES = {
    "joblib's wrapper": proto(4) + frame(wrapper(dtype=LYING)) + b"\x01\xff" + WILD + b".",
    "a structure": proto(4)
    + frame(wrapper(dtype=dtype("V8", 3, "|", None, ("a",), b"}" + text("a") + TRUTHFUL + values(0)
                                + b"\x86s", 8, 1, 16)))
    + b"\x01\xff" + WILD + b".",
    "_reconstruct": proto(4)
    + name(CORE, "_reconstruct") + name("numpy", "ndarray") + values((0,), b"b") + b"\x87R"
    + b"(" + values(1, (1,)) + LYING + values(False, WILD) + b"tb.",
    "scalar": proto(4) + name(CORE, "scalar") + LYING + values(WILD) + b"\x86R.",
    "_frombuffer": proto(4)
    + name(CORE.replace("multiarray", "numeric"), "_frombuffer")
    + b"(" + values(WILD) + LYING + values((1,), "C") + b"tR.",
}  # fmt: skip


@pytest.mark.parametrize("key", LIES)
def test_a_dtype_that_hides_its_objects_makes_no_pointers(key: str, tmp_path: Path) -> None:
    """An array's bytes never become references to objects, in whatever way the dtype comes."""
    path = tmp_path / "attack.joblib"
    path.write_bytes(LIES[key])
    ended = stock(path, "print(repr(loaded), numpy.asarray(loaded).tolist())")
    assert ended.returncode < 0, ended.stderr  # killed by a signal
    assert reasons(LIES[key]) == ["dtype"]


def test_a_lying_dtype_of_a_wrapper_is_refused_by_the_load_as_well() -> None:
    """The check of an array's own dtype does not rely on an inspection that came before it."""
    for key in ("joblib's wrapper", "a structure"):
        with pytest.raises(PayloadFormatError, match="contradicts itself"):
            loaded(LIES[key])


CLAIMS = {
    "joblib's wrapper": array_file(shape=values((2**38,))),
    "_reconstruct": proto(4)
    + name(CORE, "_reconstruct") + name("numpy", "ndarray") + values((2**38,), b"d") + b"\x87R.",
    "the state of an array": proto(4)
    + name(CORE, "_reconstruct") + name("numpy", "ndarray") + values((0,), b"b") + b"\x87R"
    + b"(" + values(1, (2**38,)) + TRUTHFUL + values(False, []) + b"tb.",
}  # fmt: skip


@pytest.mark.parametrize("key", CLAIMS)
def test_a_size_that_is_only_claimed_takes_no_memory(key: str, tmp_path: Path) -> None:
    """What an array claims to hold is compared with the bytes that are there, first of all."""
    path = tmp_path / "attack.joblib"
    path.write_bytes(CLAIMS[key])
    assert "Memory" in stock(path).stderr
    assert reasons(CLAIMS[key]) == ["array"]


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": name("builtins", "int") + text("1") + b"\x85R\x85"},
        {"shape": name("builtins", "tuple") + values([1]) + b"\x85R"},
        {"order": name("builtins", "str") + text("C") + b"\x85R"},
        {"numpy_array_alignment_bytes": name("builtins", "int") + text("16") + b"\x85R"},
    ],
    ids=["length", "shape", "order", "alignment"],
)
def test_the_places_of_arrays_are_not_computed(changes: dict[str, bytes], tmp_path: Path) -> None:
    """What moves the reader stands literally in the stream, or load and inspection would differ."""
    content = array_file(**changes)
    path = tmp_path / "attack.joblib"
    path.write_bytes(content)
    assert "[1.5]" in stock(path, "print(loaded.tolist())").stdout
    assert reasons(content) == ["array"]


# ── exhaustion ───────────────────────────────────────────────────────────────


def test_bytes_behind_compressed_data_are_not_read_for_ever(tmp_path: Path) -> None:
    """There joblib reads them again and again until memory is gone; here they are refused."""
    content = zlib.compress(pickle.dumps([1, 2])) + b"more"
    path = tmp_path / "attack.joblib"
    path.write_bytes(content)
    assert "MemoryError" in stock(path).stderr
    assert reasons(content) == ["trailing-bytes"]
    with pytest.raises(PayloadFormatError):
        loaded(content)


# ── second streams ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "more",
    [proto(4) + FIRE + b".", b"PK\x03\x04" + bytes(26), bytes(512)],
    ids=["pickle", "zip", "tar"],
)
def test_a_file_that_is_something_else_as_well_is_refused(more: bytes, tmp_path: Path) -> None:
    """Bytes behind the stream, which joblib ignores, are another file for another reader."""
    for content in (pickle.dumps([1], 4), array_file()):
        path = tmp_path / "attack.joblib"
        path.write_bytes(content + more)
        assert stock(path).returncode == 0
        assert reasons(content + more) == ["trailing-bytes"]
        with pytest.raises(PayloadFormatError):
            loaded(content + more)


def test_bytes_behind_stop_in_the_last_frame_are_refused(tmp_path: Path) -> None:
    """What follows STOP within its frame is read by no unpickler, and refused all the same."""
    content = proto(4) + frame(values([1]) + b"." + FIRE + b".")
    path = tmp_path / "attack.joblib"
    path.write_bytes(content)
    assert stock(path).returncode == 0
    assert reasons(content) == ["trailing-bytes"]


def test_an_extension_in_the_cache_is_not_handed_out() -> None:
    """What another part of the process unpickled by its code does not become ours by that code."""
    code = """
import copyreg, os, pickle, sys
copyreg.add_extension("os", "system", 200)
assert pickle.loads(b"\\x80\\x02\\x82\\xc8.") is os.system
attack = b"\\x80\\x04\\x82\\xc8\\x8c\\x0aecho fired\\x85R."
if sys.argv[1] == "pickle":
    class Strict(pickle.Unpickler):
        def find_class(self, module, name):
            raise PermissionError(name)
    import io
    Strict(io.BytesIO(attack)).load()
else:
    from sealstore.formats.pickling.reader import load_object
    load_object(memoryview(attack), find_class=None)
"""
    for reader, expected in (("pickle", "fired"), ("sealstore", "")):
        done = subprocess.run(
            [sys.executable, "-c", code, reader], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == expected
        if reader == "sealstore":
            assert "UnsupportedPayloadError" in done.stderr
