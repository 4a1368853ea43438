"""Nested loads: the stream names a loader only, and what it loads does the rest."""

from __future__ import annotations

import marshal
import zipfile
import zlib
from io import BytesIO
from typing import Final

from tests.attacks.corpus.case import PYTHON, SHELL, Collection, from_python
from tests.attacks.corpus.opcodes import Code, build, call, name, new, partial, stack_name, stream

_BAD: Final = stream(call("os:system", SHELL))
_PICKLE: Final = "neighbour.pkl"
_ARRAY: Final = "neighbour.npy"
_MODULE: Final = "neighbour.py"
_OPEN: Final = call("builtins:open", _PICKLE, "rb")
_OPEN_ARRAY: Final = call("builtins:open", _ARRAY, "rb")


def _pickle() -> dict[str, bytes]:
    return {_PICKLE: _BAD}


def _array() -> dict[str, bytes]:
    """An array of objects, as ``numpy.save`` writes it: a header, then a pickle."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    length = len(header).to_bytes(2, "little")
    return {_ARRAY: b"\x93NUMPY\x01\x00" + length + header + _BAD}


def _python() -> dict[str, bytes]:
    return {_MODULE: PYTHON.encode()}


nested = Collection("nested-loads")
_FROM_BYTES: Final[dict[str, tuple[str, Code]]] = {
    "pickle.loads": ("the pickle is an argument", call("pickle:loads", _BAD)),
    "_pickle.loads": ("the pickle is an argument of the C module", call("_pickle:loads", _BAD)),
    "pickle._loads": ("the pickle is an argument of the Python code", call("pickle:_loads", _BAD)),
    "pickle.Unpickler": (
        "an unpickler over a buffer",
        call(
            stack_name("pickle:Unpickler.load"),
            call("pickle:Unpickler", call("_io:BytesIO", _BAD)),
        ),
    ),
    "re-exported-pickle": (
        "the loader by another module's name",
        call(stack_name("joblib.numpy_pickle:pickle.loads"), _BAD),
    ),
    "joblib-load-of-a-buffer": (
        "joblib over a buffer",
        call("joblib:load", call("_io:BytesIO", _BAD)),
    ),
    "forking-pickler": (
        "what multiprocessing reads its messages with",
        call(stack_name("multiprocessing.reduction:ForkingPickler.loads"), _BAD),
    ),
    "shelf-over-a-dict": (
        "a shelf unpickles what is asked for",
        call(stack_name("shelve:Shelf.get"), call("shelve:Shelf", {b"x": _BAD}), "x"),
    ),
    "pandas-read-pickle-of-a-buffer": (
        "pandas over a buffer",
        call(
            partial("pandas:read_pickle", compression=None),
            call("_io:BytesIO", _BAD),
        ),
    ),
    "array-of-objects-in-a-buffer": (
        "numpy over a buffer",
        call("numpy:load", call("_io:BytesIO", _array()[_ARRAY]), None, True),
    ),
}
for _name, (_how, _code) in _FROM_BYTES.items():
    nested.add(_name, _how, stream(_code))
_FROM_FILE: Final[dict[str, tuple[str, Code]]] = {
    "pickle.load": ("a file that is opened", call("pickle:load", _OPEN)),
    "joblib.load": ("joblib, by the file's name", call("joblib:load", _PICKLE)),
    "joblib.numpy_pickle.load": (
        "joblib, by its module",
        call("joblib.numpy_pickle:load", _PICKLE),
    ),
    "sklearn-joblib-load": (
        "joblib, as scikit-learn names it",
        call(stack_name("sklearn.utils.validation:joblib.load"), _PICKLE),
    ),
    "pandas.read_pickle": ("pandas, by the file's name", call("pandas:read_pickle", _PICKLE)),
    "pandas.io.pickle.read_pickle": (
        "pandas, by its module",
        call("pandas.io.pickle:read_pickle", _PICKLE),
    ),
    "partial-of-joblib-load": (
        "the loader inside a partial that is called",
        call(partial("joblib:load", _PICKLE)),
    ),
    "map-of-joblib-load": (
        "the loader inside an iterator",
        call("builtins:list", call("builtins:map", name("joblib:load"), [_PICKLE])),
    ),
}
for _name, (_how, _code) in _FROM_FILE.items():
    nested.add(_name, _how, stream(_code), neighbours=_pickle)
_FROM_ARRAY: Final[dict[str, tuple[str, Code]]] = {
    "numpy.load": ("numpy, allowing pickles by position", call("numpy:load", _ARRAY, None, True)),
    "partial-of-numpy-load": (
        "numpy, allowing pickles inside a partial",
        call(partial("numpy:load", allow_pickle=True), _ARRAY),
    ),
    "numpy.lib.format.read_array": (
        "the reader below numpy.load",
        call("numpy.lib.format:read_array", _OPEN_ARRAY, True),
    ),
    "pandas-frame-np-load": (
        "numpy.load, by a name inside pandas",
        call(stack_name("pandas.core.frame:np.load"), _ARRAY, None, True),
    ),
}
for _name, (_how, _code) in _FROM_ARRAY.items():
    nested.add(_name, _how, stream(_code), neighbours=_array)
nested.add(
    "lib2to3-grammar",
    "a grammar's tables are a pickle",
    stream(
        call(
            stack_name("lib2to3.pgen2.grammar:Grammar.load"),
            call("lib2to3.pgen2.grammar:Grammar"),
            _PICKLE,
        )
    ),
    neighbours=_pickle,
    dormant=from_python(3, 13),
)
nested.add(
    "shelve.open",
    "a shelf of files",
    stream(call(stack_name("shelve:Shelf.get"), call("shelve:open", "neighbour", "r"), "x")),
    neighbours=lambda: {
        "neighbour.dir": b"'x', (0, %d)\n" % len(_BAD),
        "neighbour.dat": _BAD,
    },
)

legacy = Collection("joblib-before-0.10")


def _wrapper(target: str) -> bytes:
    state = {"filename": _ARRAY, "subclass": name("numpy:ndarray"), "allow_mmap": False}
    return stream(build(new(target), state), protocol=2)


for _module in ("joblib.numpy_pickle", "joblib.numpy_pickle_compat"):
    legacy.add(
        f"array-wrapper-of-{_module}",
        "the wrapper that joblib reads by numpy.load, pickles allowed, from a neighbouring file",
        _wrapper(f"{_module}:NDArrayWrapper"),
        neighbours=_array,
    )
legacy.add(
    "zfile",
    "joblib's own compressed form, which it reads by another unpickler",
    b"ZF" + f"{len(_BAD):#x}".ljust(19).encode() + zlib.compress(_BAD),
)
legacy.add(
    "zfile-with-a-wrapper",
    "the compressed form around the wrapper",
    lambda: _zfile(_wrapper("joblib.numpy_pickle:NDArrayWrapper")),
    neighbours=_array,
)


def _zfile(data: bytes) -> bytes:
    return b"ZF" + f"{len(data):#x}".ljust(19).encode() + zlib.compress(data)


code = Collection("neighbouring-code")


def _archive() -> dict[str, bytes]:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("neighbour.py"), PYTHON)
    return {"neighbour.zip": buffer.getvalue()}


def _compiled() -> dict[str, bytes]:
    import importlib.util

    code = marshal.dumps(compile(PYTHON, _MODULE, "exec"))
    return {"neighbour.pyc": importlib.util.MAGIC_NUMBER + bytes(12) + code}


code.add(
    "runpy.run_path", "runs a file", stream(call("runpy:run_path", _MODULE)), neighbours=_python
)
code.add(
    "runpy-of-an-archive",
    "runs an archive",
    stream(call("runpy:run_path", "neighbour.zip")),
    neighbours=lambda: {"neighbour.zip": _archive_with_main()},
)
code.add(
    "source-loader",
    "the loader of modules, with a path",
    stream(
        call(
            stack_name("importlib.machinery:SourceFileLoader.load_module"),
            call("importlib.machinery:SourceFileLoader", "neighbour", _MODULE),
        )
    ),
    neighbours=_python,
)
code.add(
    "sourceless-loader",
    "the loader of compiled modules, with a path",
    stream(
        call(
            stack_name("importlib.machinery:SourcelessFileLoader.load_module"),
            call("importlib.machinery:SourcelessFileLoader", "neighbour", "neighbour.pyc"),
        )
    ),
    neighbours=_compiled,
)
code.add(
    "zipimporter",
    "the loader of archives",
    stream(
        call(
            stack_name("zipimport:zipimporter.load_module"),
            call("zipimport:zipimporter", "neighbour.zip"),
            "neighbour",
        )
    ),
    neighbours=_archive,
)
code.add(
    "sys-path-append",
    "a folder on the path of modules, then a name from it",
    stream(
        name("sys:path") + b"(" + Code(b"X\x01\x00\x00\x00.") + b"e0",
        name("neighbour:x"),
    ),
    neighbours=_python,
)
code.add(
    "site-addsitedir",
    "a path file runs lines that begin with import",
    stream(call("site:addsitedir", ".")),
    neighbours=lambda: {"neighbour.pth": f"import os; {PYTHON}\n".encode()},
)


def _archive_with_main() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), PYTHON)
    return buffer.getvalue()
