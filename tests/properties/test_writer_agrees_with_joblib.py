"""Whatever is written: stock joblib loads the same from it as from its own file."""

from __future__ import annotations

import datetime
import decimal
import operator
import warnings
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.joblib_files import (
    METHODS,
    c_dumped,
    fingerprint,
    reference_dumped,
    stock_loaded,
    stock_mapped,
)
from tests.sealstore_fixtures import fewer_examples

Array = np.ndarray[Any, Any]

COMPRESSIONS: list[Any] = [1, 3, 9, True, *METHODS, *((method, 1) for method in METHODS)]


class Node:
    """An object with attributes."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class Slotted:
    """An object with slots."""

    __slots__ = ("left", "right")

    def __init__(self, left: object, right: object) -> None:
        self.left = left
        self.right = right


class Rebuilt:
    """An object whose reducer gives arguments, state, items and pairs, all made on the way."""

    def __init__(self, size: int, *parts: object) -> None:
        self.size = size
        self.parts = parts
        self.items: list[object] = []
        self.pairs: dict[object, object] = {}

    def __reduce_ex__(self, protocol: Any) -> Any:
        large = b"\x94ubQ" * self.size
        state = {"large": large, "array": np.arange(self.size), "writable": bytearray(large)}
        return Rebuilt, (self.size, *self.parts), state, iter([large]), iter({"key": large}.items())

    def append(self, item: object) -> None:
        self.items.append(item)

    def __setitem__(self, key: object, value: object) -> None:
        self.pairs[key] = value


# ── arrays ───────────────────────────────────────────────────────────────────

LAYOUTS: list[Callable[[Array], Array]] = [
    lambda array: array,
    lambda array: array.copy(order="F"),
    lambda array: array.T,
    lambda array: array[::-1] if array.ndim else array,
    lambda array: array[..., ::2] if array.ndim else array,
    lambda array: np.broadcast_to(array, (2, *array.shape)),
    lambda array: array.repeat(3000, axis=0) if array.ndim and array.size else array,
]


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Arrays of any dtype without objects or gaps, of any layout, some of them large."""
    dtypes = st.one_of(hnp.scalar_dtypes(), hnp.nested_dtypes(max_leaves=4, max_itemsize=200))
    dtype = draw(dtypes.filter(lambda dtype: dtype.itemsize > 0 and not dtype.hasobject))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    array = draw(LAYOUT)(draw(hnp.arrays(dtype, shape, fill=st.nothing())))
    if draw(st.booleans()):
        array = array.view()
        array.flags.writeable = False
    return array


LAYOUT = st.sampled_from(LAYOUTS)


def matrix(array: Array) -> Array:
    """``array`` as a matrix, as far as it can be one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.asmatrix(array) if array.ndim <= 2 and array.dtype.names is None else array


def masked(array: Array) -> Array:
    """``array`` with a mask: a subclass that pickles itself."""
    return np.ma.masked_array(array, mask=False) if array.dtype.names is None else array


ARRAYS = arrays() | arrays().map(matrix) | arrays().map(masked)

# ── graphs ───────────────────────────────────────────────────────────────────

HASHABLE: st.SearchStrategy[Hashable] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9)),
    st.sampled_from(
        [
            Ellipsis,
            int,
            np.float64,
            Node,
            len,
            operator.attrgetter,
            datetime.UTC,
            decimal.ROUND_UP,
            np.ndarray,
            np.dtype("f8"),
            "subclass",
            "dtype",
            "C",
        ]
    ),
)


def is_no_single_byte(leaf: object) -> bool:
    """Whether the interpreter has no such object of its own, which some readers hand out."""
    return not (isinstance(leaf, bytes) and len(leaf) == 1)


LEAVES: st.SearchStrategy[object] = st.one_of(
    HASHABLE.filter(is_no_single_byte),
    ARRAYS,
    ARRAYS,
    st.binary(max_size=300).map(bytearray),
    hnp.scalar_dtypes().flatmap(hnp.from_dtype).filter(is_no_single_byte),
    st.sampled_from([65_535, 65_536, 65_537, 200_000]).map(bytes),
    st.sampled_from([65_535, 65_536, 65_537, 200_000]).map(bytearray),
    st.sampled_from([65_530, 65_536, 65_540]).map(lambda size: "t" * size),
    st.builds(Rebuilt, st.sampled_from([0, 3, 16_384, 30_000]), ARRAYS),
)


def array_of_objects(parts: list[object]) -> Array:
    array = np.empty((len(parts), 2), dtype=object)
    for row, part in zip(array, parts, strict=True):
        row[:] = [part, None]
    return array.T


CONTAINERS: list[Callable[[list[object]], object]] = [
    list,
    tuple,
    lambda parts: dict(enumerate(parts)),
    lambda parts: {f"key {number}": part for number, part in enumerate(parts)},
    lambda parts: OrderedDict(enumerate(parts)),
    lambda parts: defaultdict(list, enumerate(parts)),
    lambda parts: deque(parts, maxlen=9),
    lambda parts: frozenset(map(id, parts)),
    lambda parts: {type(part).__name__ for part in parts},
    lambda parts: Node(parts=parts, **{f"attribute_{n}": part for n, part in enumerate(parts)}),
    lambda parts: Slotted(parts[:1], parts[1:]),
    lambda parts: partial(max, *parts, default=parts),
    array_of_objects,
]


@st.composite
def graphs(draw: st.DrawFn) -> object:
    """Objects whose parts are shared, and in part contain themselves."""
    nodes: list[object] = draw(st.lists(LEAVES, min_size=1, max_size=4))
    lists: list[list[object]] = []
    for _ in range(draw(st.integers(0, 5))):
        parts = draw(st.lists(st.sampled_from(nodes), max_size=5))
        node = draw(st.sampled_from(CONTAINERS))(parts)
        if type(node) is list:
            lists.append(node)
        nodes.append(node)
    for inner in draw(st.lists(st.sampled_from(lists), max_size=2)) if lists else []:
        inner.append(draw(st.sampled_from(nodes)))
    return draw(st.sampled_from([nodes, nodes[-1]]))


# ── pandas and scikit-learn ──────────────────────────────────────────────────


@cache
def models_and_frames() -> list[object]:
    """What is mostly stored: fitted models, and data."""
    import pandas as pd
    from scipy import sparse
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    random = np.random.default_rng(0)
    features = random.random((80, 3))
    labels = features[:, 0] > 0.5
    frame = pd.DataFrame(
        {
            "number": features[:, 0],
            "count": np.arange(80),
            "text": pd.Series([f"text {n % 7}" for n in range(80)], dtype=object),
            "string": pd.array(["a", None] * 40, dtype="string"),
            "category": pd.Categorical(["a", "b"] * 40),
            "date": pd.date_range("2026-01-01", periods=80, tz="Europe/Berlin"),
            "missing": pd.array([1, None] * 40, dtype="Int64"),
        }
    )
    columns = make_column_transformer(
        (StandardScaler(), ["number", "count"]), (OneHotEncoder(), ["text"])
    )
    return [
        frame,
        frame.set_index(["category", "date"]),
        frame["number"],
        frame.head(0),
        sparse.csr_matrix(labels.reshape(8, 10)),
        make_pipeline(columns, LogisticRegression()).fit(frame, labels),
        HistGradientBoostingClassifier(max_iter=5).fit(features, labels),
        RandomForestRegressor(5, random_state=0).fit(features, labels),
        KNeighborsClassifier(algorithm="kd_tree").fit(features, labels),
        TfidfVectorizer().fit(frame["text"]),
    ]


# ── the guarantees ───────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def agree(obj: object, compress: Any, mmap_mode: str, folder: Path) -> None:
    """Stock joblib makes the same of both files, plain, compressed and mapped."""
    content, reference = c_dumped(obj), reference_dumped(obj)
    expected = fingerprint(stock_loaded(reference))
    assert fingerprint(stock_loaded(content)) == expected
    assert fingerprint(stock_loaded(c_dumped(obj, compress))) == expected
    try:
        mapped = stock_mapped(reference, folder / "reference", mmap_mode)
    except ValueError:  # numpy cannot map every empty array
        return
    ours = stock_mapped(content, folder / "content", mmap_mode)
    assert fingerprint(ours, is_mapped=True) == fingerprint(mapped, is_mapped=True)


MMAP_MODES = st.sampled_from(["r", "c", "r+"])


@given(obj=graphs(), compress=st.sampled_from(COMPRESSIONS), mmap_mode=MMAP_MODES)
def test_any_graph_loads_as_from_a_file_by_joblib(
    obj: object, compress: Any, mmap_mode: str, folder: Path
) -> None:
    """Values, types, dtypes, order, writability, and what is shared with what."""
    agree(obj, compress, mmap_mode, folder)


@given(
    obj=st.lists(ARRAYS, min_size=1, max_size=3).flatmap(
        lambda some: st.lists(st.sampled_from(some), max_size=30)
    ),
    compress=st.sampled_from(COMPRESSIONS),
    mmap_mode=MMAP_MODES,
)
def test_many_arrays_load_as_from_a_file_by_joblib(
    obj: list[Array], compress: Any, mmap_mode: str, folder: Path
) -> None:
    """The same arrays again and again, in any order."""
    agree(obj, compress, mmap_mode, folder)


@fewer_examples(0.3)
@given(data=st.data(), compress=st.sampled_from(COMPRESSIONS), mmap_mode=MMAP_MODES)
def test_models_and_frames_load_as_from_a_file_by_joblib(
    data: st.DataObject, compress: Any, mmap_mode: str, folder: Path
) -> None:
    """Fitted estimators, frames, series and sparse matrices, alone and together."""
    obj = data.draw(st.sampled_from(models_and_frames()))
    other = data.draw(graphs() | st.sampled_from(models_and_frames()))
    agree([obj, other, obj], compress, mmap_mode, folder)


@given(
    sizes=st.lists(
        st.sampled_from([0, 1, 3, 255, 256, 65_535, 65_536, 65_537, 100_000]), max_size=6
    ),
    writable=st.lists(st.booleans(), min_size=6, max_size=6),
    array=ARRAYS,
    compress=st.sampled_from(COMPRESSIONS),
)
def test_users_buffers_of_any_size_stand_between_arrays(
    sizes: list[int], writable: list[bool], array: Array, compress: Any
) -> None:
    """Read-only ones come back as bytes, writable ones as bytearrays, the arrays as they are."""
    from pickle import PickleBuffer

    contents = [
        bytearray(size) if changing else bytes(size)
        for size, changing in zip(sizes, writable, strict=False)
    ]
    obj: list[object] = [array]
    plain: list[object] = [array]
    for content in contents:
        obj += [PickleBuffer(content), array]
        plain += [content, array]
    loaded, expected = stock_loaded(c_dumped(obj, compress)), stock_loaded(reference_dumped(plain))
    assert len(loaded) == len(expected)
    for one, other in zip(loaded, expected, strict=True):
        assert fingerprint(one) == fingerprint(other)
