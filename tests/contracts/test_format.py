"""What every format does. A new one joins by a place in FORMATS."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import pandas as pd
import pytest

from sealstore.errors import (
    NotSerialisableError,
    ObjectLoadError,
    PayloadFormatError,
    SealstoreError,
    UnknownFormatError,
    UnsignedImportError,
    UsageError,
)
from sealstore.formats.registry import Format, format_named
from sealstore.signed.statement import Digests, Import
from sealstore.storage.blobs.contract import BlobStore
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.blobs.memory import VerifiedPayload
from sealstore.storage.blobs.payload_hash import DigestName

FORMATS = ["joblib"]

OBJECTS: dict[str, Any] = {
    "nothing": None,
    "numbers": [0, -1, 2**200, 0.1, float("inf"), 1 + 2j, True],
    "texts": ["", "ä", "a\0b", "\U0001f600", b"", b"\xff" * 1000],
    "containers": {"a": (1, [2, {3}]), ("k", 1): frozenset({4}), None: {}},
    "order": OrderedDict(b=1, a=2),
    "times": [datetime(2026, 11, 23, tzinfo=UTC), Decimal("1.10")],
    "array": np.arange(12, dtype=np.float32).reshape(3, 4),
    "large array": np.arange(20_000, dtype=np.int64),
    # Not np.empty, whose strides of nothing are zeros here: joblib does not keep them either.
    "empty array": np.ndarray((0, 3), dtype=np.float64, buffer=b""),
    "array by columns": np.asfortranarray(np.arange(20).reshape(4, 5)),
    "records": np.array([(1, "a"), (2, "b")], dtype=[("n", "<i4"), ("t", "U1")]),
    "array of objects": np.array([1, "a", None, [2]], dtype=object),
    "arrays among others": {"x": [np.zeros(3), {"y": np.ones((2, 2), dtype=bool)}], "z": "end"},
    "frame": pd.DataFrame({"n": [1, 2, 3], "t": ["a", "b", None], "f": [0.5, None, 1.5]}),
}


@pytest.fixture(params=FORMATS)
def format_(request: pytest.FixtureRequest) -> Format:
    return format_named(request.param)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    made = LocalBlobStore(tmp_path)
    made.create()
    return made


class Stored:
    """An object as a payload: what was signed about it, and its verified memory."""

    def __init__(self, store: BlobStore, format_: Format, obj: object, **options: Any) -> None:
        with store.stage() as staged:
            format_.dump(obj, staged, **options)
            self.imports: tuple[Import, ...] = format_.imports(staged.view())
            self.digests, self.size = staged.finish()
            staged.commit()
        self._store = store
        self._format = format_

    def payload(self, *, sealed: bool = False) -> VerifiedPayload:
        return self._store.read(self.digests, self.size, check=DigestName.BLAKE3, sealed=sealed)

    def load(self, mmap_mode: Literal["r", "c"] | None = None) -> Any:
        payload = self.payload(sealed=mmap_mode is not None)
        return self._format.load(payload, imports=self.imports, mmap_mode=mmap_mode)


def payload_of(store: BlobStore, data: bytes) -> VerifiedPayload:
    """Bytes as a load would get them, whatever they are."""
    with store.stage() as staged:
        staged.write(data)
        digests, size = staged.finish()
        staged.commit()
    return store.read(digests, size, check=DigestName.BLAKE3)


def require_equal(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    # A hash of everything in it, types, order and dtypes included.
    assert joblib.hash(found) == joblib.hash(expected)


def test_a_format_is_found_by_the_name_in_a_statement(format_: Format) -> None:
    """Its name is what it says of itself, and no other name is taken for it."""
    assert format_named(format_.name) is format_
    for name in ("", format_.name.upper(), f"{format_.name} ", "pickle"):
        with pytest.raises(UnknownFormatError) as raised:
            format_named(name)
        assert raised.value.hint


@pytest.mark.parametrize("what", OBJECTS)
def test_an_object_comes_back_as_it_was(format_: Format, store: BlobStore, what: str) -> None:
    """Equal in values, types, dtypes and order."""
    found = Stored(store, format_, OBJECTS[what]).load()
    require_equal(found, OBJECTS[what])


@pytest.mark.parametrize("compress", [0, 1, 9, True, "zlib", "gzip", "bz2", "lzma", ("xz", 1)])
@pytest.mark.parametrize("what", ["containers", "large array", "arrays among others"])
def test_an_object_comes_back_from_every_compression(
    format_: Format, store: BlobStore, compress: Any, what: str
) -> None:
    """As ``joblib.dump`` names compressions."""
    found = Stored(store, format_, OBJECTS[what], compress=compress).load()
    require_equal(found, OBJECTS[what])


@pytest.mark.parametrize("compress", ["nonsense", -1, 10, ("zlib", 10), object()])
def test_an_impossible_compression_is_refused(
    format_: Format, store: BlobStore, compress: Any
) -> None:
    """A mistake of the caller, told as one; nothing is kept."""
    with pytest.raises(UsageError):
        Stored(store, format_, 1, compress=compress)
    assert list(store.sha256s()) == []


@pytest.mark.invariant(3)
@pytest.mark.parametrize(
    "make",
    [threading.Lock, lambda: (n for n in [1]), lambda: lambda: 1, lambda: [sys, open]],
)
def test_what_has_no_serialised_form_is_refused(
    format_: Format, store: BlobStore, make: Callable[[], object]
) -> None:
    """Locks, generators, lambdas, modules: an error, whatever was written before."""
    with pytest.raises(NotSerialisableError):
        Stored(store, format_, [OBJECTS["large array"], make()])
    assert list(store.sha256s()) == []


def nested(depth: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def test_an_object_that_is_too_deep_is_refused(format_: Format, store: BlobStore) -> None:
    """No crash of the interpreter, and the way out is told."""
    with pytest.raises(NotSerialisableError) as raised:
        Stored(store, format_, nested(100_000))
    assert raised.value.hint
    assert list(store.sha256s()) == []


def test_an_object_loads_again_and_again_as_another_one(format_: Format, store: BlobStore) -> None:
    """What one load returned can be changed; the next returns what was stored."""
    stored = Stored(store, format_, {"list": [1], "array": np.zeros(50_000)})
    payload = stored.payload()
    for _ in range(3):
        found: Any = format_.load(payload, imports=stored.imports)
        assert found["list"] == [1]
        found["list"].append(2)
    first, second = stored.load(), stored.load()
    first["array"][:] = 1
    assert not second["array"].any()
    assert not stored.load()["array"].any()


@pytest.mark.invariant(4)
def test_only_signed_imports_are_resolved(format_: Format, store: BlobStore) -> None:
    """A payload whose statement lists fewer names than it uses is refused."""
    stored = Stored(store, format_, OBJECTS["times"])
    names = {entry.name for entry in stored.imports}
    assert {"datetime:datetime", "decimal:Decimal"} <= names
    for left_out in names:
        fewer = tuple(entry for entry in stored.imports if entry.name != left_out)
        with pytest.raises(UnsignedImportError):
            format_.load(stored.payload(), imports=fewer)


def test_what_needs_no_import_signs_none(format_: Format, store: BlobStore) -> None:
    """Plain values of Python import nothing."""
    assert Stored(store, format_, OBJECTS["containers"]).imports == ()


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A class of a module that is importable now, and is taken away by the test."""
    module = tmp_path / "module_of_a_site.py"
    module.write_text("class Model:\n    def __init__(self):\n        self.weight = 1\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        imported = __import__(module.stem)
        yield imported.Model
    sys.modules.pop(module.stem, None)


def test_looking_at_a_payload_imports_nothing(
    format_: Format, store: BlobStore, importable: Any
) -> None:
    """Inspection names the class; its module stays where it is."""
    with store.stage() as staged:
        format_.dump(importable(), staged)
        del sys.modules[importable.__module__]
        found = format_.imports(staged.view())
    assert "module_of_a_site:Model" in {entry.name for entry in found}
    assert importable.__module__ not in sys.modules


def test_a_class_that_is_gone_is_named(
    format_: Format, store: BlobStore, importable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The payload is genuine, and cannot become an object here: an error that says so."""
    stored = Stored(store, format_, importable())
    monkeypatch.setitem(sys.modules, importable.__module__, None)
    with pytest.raises(ObjectLoadError) as raised:
        stored.load()
    assert raised.value.hint


@pytest.mark.invariant(4)
def test_a_payload_that_is_cut_anywhere_is_refused(format_: Format, store: BlobStore) -> None:
    """Whatever is missing at the end: an error of the family, never another object."""
    stored = Stored(store, format_, OBJECTS["arrays among others"])
    whole = bytes(stored.payload().view)
    for length in range(len(whole)):
        with pytest.raises(SealstoreError):
            format_.load(payload_of(store, whole[:length]), imports=stored.imports)


@pytest.mark.invariant(4)
@pytest.mark.parametrize(
    "data", [b"", b"\0", b"nonsense", b"\x80\x05", b"\x80\xff.", b"PK\x03\x04"]
)
def test_what_is_not_of_the_format_is_refused(
    format_: Format, store: BlobStore, data: bytes
) -> None:
    """For inspection as for loading."""
    with pytest.raises(PayloadFormatError):
        format_.imports(memoryview(data))
    with pytest.raises(PayloadFormatError):
        format_.load(payload_of(store, data), imports=())


@pytest.mark.invariant(4)
def test_what_follows_the_object_is_refused(format_: Format, store: BlobStore) -> None:
    """Bytes after the end belong to nothing that was inspected."""
    stored = Stored(store, format_, OBJECTS["containers"])
    longer = payload_of(store, bytes(stored.payload().view) + b"\0")
    with pytest.raises(PayloadFormatError):
        format_.load(longer, imports=stored.imports)
    with pytest.raises(PayloadFormatError):
        format_.imports(longer.view)


@pytest.mark.invariant(1)
def test_mapped_arrays_are_views_of_verified_memory(format_: Format, store: BlobStore) -> None:
    """``r`` cannot be written, ``c`` changes only its own copy; no file is behind either."""
    large = OBJECTS["large array"]
    stored = Stored(store, format_, {"array": large, "rest": [1]})
    read_only, own_copy = stored.load("r"), stored.load("c")
    for found in (read_only, own_copy):
        assert isinstance(found["array"], np.memmap)
        assert found["array"].filename is None
        assert found["array"].dtype == large.dtype
        np.testing.assert_array_equal(found["array"], large)
        assert found["rest"] == [1]
    assert not read_only["array"].flags.writeable
    own_copy["array"][:] = -1
    np.testing.assert_array_equal(read_only["array"], large)
    np.testing.assert_array_equal(stored.load("r")["array"], large)


def test_digests_say_the_same_of_the_same_object(format_: Format, store: BlobStore) -> None:
    """An object gives the same bytes each time, so that storing it again takes no room."""
    digests: set[Digests] = {Stored(store, format_, OBJECTS["array"]).digests for _ in range(3)}
    assert len(digests) == 1
