"""What comes out of a repository is what stock joblib makes of the same object."""

from __future__ import annotations

import datetime
import decimal
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.extra import pandas as hpd

from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository
from tests.matrix import each_row
from tests.object_graphs import same
from tests.sealstore_fixtures import fewer_examples, hmac_key

pytestmark = pytest.mark.invariant(1)


SHARED: list[Any] = []


@each_row(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (complex(0.0, -0.0), complex(0.0, 0.0)),
        ((1,), [1]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([SHARED, SHARED], [[], []]),
        ([[], []], [SHARED, SHARED]),
        (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
        (np.float32(1), np.float64(1)),
        (np.zeros(2, ">i4"), np.zeros(2, "<i4")),
        (np.zeros((2, 2)), np.zeros((2, 2), order="F")),
        (np.zeros(2), np.zeros(2) * -1),
        (np.array([1], object), np.array([1.0], object)),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(int), defaultdict(list)),
        (pd.Series([1]), pd.Series([1.0])),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}, index=[1])),
    ],
)
def test_the_comparison_sees_what_equality_does_not(one: Any, other: Any) -> None:
    """Each pair differs in something that the tests below would otherwise not notice."""
    assert not same(one, other)
    assert same(one, one)
    assert same(other, other)


# ── objects ──────────────────────────────────────────────────────────────────

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(1 << 2100), max_value=1 << 2100),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=40),
    st.binary(max_size=40),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.sampled_from([None, datetime.UTC])),
    st.timedeltas(),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9)),
    st.builds(slice, st.none() | st.integers(-9, 9), st.integers(-9, 9)),
    st.sampled_from([..., NotImplemented, int, dict, "", (), frozenset()]),
)
HASHABLE: st.SearchStrategy[Hashable] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.binary(max_size=9), st.uuids()
)
BYTEARRAYS = st.builds(bytearray, st.binary(max_size=99))


def containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(children, max_size=4)
    dicts = st.dictionaries(HASHABLE, children, max_size=4)
    return st.one_of(
        lists,
        dicts,
        st.builds(tuple, lists),
        st.builds(deque, lists, st.none() | st.integers(4, 9)),
        st.builds(OrderedDict, dicts),
        st.builds(defaultdict, st.sampled_from([None, list, int]), dicts),
        st.builds(Counter, st.lists(HASHABLE, max_size=4)),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
        # The same object twice, and one that contains itself.
        st.builds(lambda child: [child, child], lists | dicts | BYTEARRAYS),
        st.builds(circular, lists),
    )


def circular(items: list[Any]) -> list[Any]:
    items.append({"me": items})
    return items


BUILTINS = st.recursive(SCALARS | BYTEARRAYS, containers, max_leaves=12)

NUMBERS: st.SearchStrategy[Any] = st.one_of(
    hnp.scalar_dtypes(),
    hnp.byte_string_dtypes(min_len=1, max_len=9),
    hnp.unicode_string_dtypes(min_len=1, max_len=9),
    st.sampled_from([np.dtype("V7"), np.dtype(np.longdouble), np.dtype(np.clongdouble)]),
)
DTYPES = st.one_of(
    NUMBERS,
    hnp.array_dtypes(NUMBERS, max_size=3),
    hnp.nested_dtypes(NUMBERS, max_leaves=4),
    st.just(np.dtype(object)),
    st.just(np.dtype([("a", "<f8"), ("o", object)])),
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """An array of any dtype, shape, order and stride."""
    dtype = draw(DTYPES)
    shape = draw(SHAPES)
    array: Any
    if dtype.hasobject:
        array = np.zeros(shape, dtype)
        target = array["o"] if dtype.names else array
        for place in np.ndindex(target.shape):
            target[place] = draw(BUILTINS | st.just(np.arange(3)))
    else:
        size = int(np.prod(shape)) * dtype.itemsize
        data = draw(st.binary(min_size=size, max_size=size))
        array = (
            np.frombuffer(data, dtype, count=int(np.prod(shape))) if size else np.zeros(0, dtype)
        )
        array = array.reshape(shape) if size else np.zeros(shape, dtype)
        array = array.copy()
    layout = draw(st.sampled_from(["C", "F", "transposed", "stepped", "reversed", "read-only"]))
    if layout == "F":
        array = np.asfortranarray(array) if array.ndim else array
    elif layout == "transposed":
        array = array.T
    elif layout == "stepped" and array.ndim:
        array = np.repeat(array, 2, axis=0)[::2]
    elif layout == "reversed" and array.ndim:
        array = array[::-1]
    elif layout == "read-only":
        array.flags.writeable = False
    return array


NUMPY_SCALARS = NUMBERS.filter(lambda dtype: dtype.kind != "V").map(
    lambda dtype: np.zeros((), dtype)[()]
)

COLUMN_DTYPES = st.sampled_from(["int64", "float32", "bool", "datetime64[ns]", "uint8"])


@st.composite
def frames(draw: st.DrawFn) -> Any:
    """A frame or series with columns of several dtypes, object and categorical ones among them."""
    rows = draw(st.integers(0, 5))
    index = draw(
        st.sampled_from(
            [
                pd.RangeIndex(rows),
                pd.Index([f"row {number}" for number in range(rows)], name="rows"),
                pd.date_range("2026-01-01", periods=rows, freq="D"),
                pd.MultiIndex.from_product([range(rows), ["a"]], names=["number", None]),
            ]
        )
    )
    frame = draw(
        hpd.data_frames(
            [
                hpd.column("numbers", dtype=draw(COLUMN_DTYPES)),
                hpd.column("floats", elements=st.floats(width=32)),
                hpd.column("texts", elements=st.text(max_size=5), dtype=object),
            ],
            index=st.just(pd.RangeIndex(rows)),
        )
    )
    frame.index = index
    frame["objects"] = pd.Series(
        draw(
            st.lists(
                SCALARS.filter(lambda each: each is not NotImplemented),
                min_size=rows,
                max_size=rows,
            )
        ),
        dtype=object,
        index=index,
    )
    frame["categories"] = pd.Categorical(
        draw(st.lists(st.sampled_from(["a", "b"]), min_size=rows, max_size=rows)),
        categories=["b", "a"],
        ordered=draw(st.booleans()),
    )
    frame["nullable"] = pd.array([1] * rows, dtype="Int64")
    frame["strings"] = pd.array(["x"] * rows, dtype="string")
    part = draw(st.sampled_from(["frame", "series", "index", "column"]))
    return {
        "frame": frame,
        "series": frame["floats"],
        "index": frame.index,
        "column": frame["categories"],
    }[part]


OBJECTS = st.recursive(
    st.one_of(BUILTINS, arrays(), NUMPY_SCALARS),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=6,
)


# ── the property ─────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("round-trip") / "repository"
    with Repository.create(root, keyring=Keyring.of([hmac_key()])) as repository:
        yield repository


Mode = Literal["r", "c"] | None


def stock(obj: object, compress: Any, mode: Mode, path: Path) -> Any:
    """What joblib itself gives back."""
    joblib.dump(obj, path, compress=compress)
    with warnings.catch_warnings():
        # It tells that a compressed file is not mapped.
        warnings.simplefilter("ignore")
        return joblib.load(path, mmap_mode=mode)


def check(store: Repository, obj: object, compress: Any, mode: Mode = None) -> None:
    expected = stock(obj, compress, mode, store.root.parent / "stock.joblib")
    artifact = store.store(obj, "object", "v1", compress=compress)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        loaded = store.load("object", "v1", revision=artifact.revision, mmap_mode=mode)
    # A memmap of a file and one of sealed memory are equal as arrays.
    assert same(plain(loaded), plain(expected))
    # Small arrays travel inside the pickle stream, where nothing can be mapped.
    if isinstance(loaded, np.memmap) or loaded_bytes(loaded) >= 64 * 1024:
        assert isinstance(loaded, np.memmap) is isinstance(expected, np.memmap)


def loaded_bytes(obj: Any) -> int:
    """Bytes of an array; 0 for anything else."""
    return int(getattr(obj, "nbytes", 0))


def plain(obj: Any) -> Any:
    """A memmap as the array that it is."""
    return np.asarray(obj) if isinstance(obj, np.memmap) else obj


COMPRESSIONS = st.sampled_from([0, 0, 0, 1, ("gzip", 3), ("bz2", 1), ("xz", 1)])


@given(obj=BUILTINS, compress=COMPRESSIONS)
@fewer_examples(0.6)
def test_a_graph_of_builtins_comes_back_as_joblib_gives_it(
    store: Repository, obj: object, compress: Any
) -> None:
    """Types, values, order, sharing and circles are those of joblib.load(joblib.dump(x))."""
    check(store, obj, compress)


@given(obj=arrays(), compress=COMPRESSIONS, mode=st.sampled_from([None, "r", "c"]))
@fewer_examples(0.6)
def test_an_array_of_any_dtype_comes_back_as_joblib_gives_it(
    store: Repository, obj: object, compress: Any, mode: Mode
) -> None:
    """Dtype, byte order, shape, memory order and every bit; object arrays item by item."""
    check(store, obj, compress, mode)


@given(obj=OBJECTS, compress=COMPRESSIONS)
@fewer_examples(0.4)
def test_arrays_inside_of_containers_come_back_as_joblib_gives_them(
    store: Repository, obj: object, compress: Any
) -> None:
    """Wherever they stand in the graph."""
    check(store, obj, compress)


@given(obj=frames())
@fewer_examples(0.3)
def test_a_frame_comes_back_as_joblib_gives_it(store: Repository, obj: object) -> None:
    """Columns, dtypes, categories, missing values and indices."""
    check(store, obj, 0)
