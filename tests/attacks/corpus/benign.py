"""Real objects, written by joblib as its users do. Whoever flags one of them cries wolf."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import fractions
import functools
import importlib.util
import operator
import pathlib
import random
import uuid
from collections.abc import Callable
from typing import Any, Final

from tests.attacks.corpus.case import Harmless

HARMLESS: Final[dict[str, Harmless]] = {}


def _add(name: str, make: Callable[[], Any], **options: Any) -> None:
    harmless = Harmless(name=name, make=make, options=options)
    if harmless.id in HARMLESS:
        raise ValueError(f"two objects are called {name}")
    HARMLESS[harmless.id] = harmless


def _numpy() -> Any:
    import numpy as np

    return np


def _pandas() -> Any:
    import pandas as pd

    return pd


def _random(*shape: int) -> Any:
    return _numpy().random.default_rng(1).random(shape)


def _recursive() -> Any:
    shared: list[Any] = [1, 2]
    whole: dict[str, Any] = {"one": shared, "two": shared}
    whole["self"] = whole
    shared.append(whole)
    return whole


# ── the language's own ───────────────────────────────────────────────────────

_add("none", lambda: None)
_add("numbers", lambda: [0, 1, -1, True, False, 1.5, float("inf"), 2j, 1 << 70, -(1 << 4000)])
_add(
    "texts", lambda: ["", "os.system", "naïve", "\u2028", "\U0001d518", "cos\nsystem\n(S'ls'\ntR."]
)
_add("bytes", lambda: [b"", b"cos\nsystem\n(S'ls'\ntR.", bytes(range(256)), bytearray(b"abc")])
_add("bytes-in-protocol-2", lambda: [b"", b"abc\xff", bytearray(b"abc")], protocol=2)
_add(
    "containers",
    lambda: {"list": [1, [2, [3]]], "tuple": (1, (2,)), "set": {1, 2}, "frozen": frozenset("a")},
)
_add("shared-and-recursive", _recursive)
_add(
    "collections",
    lambda: [
        collections.OrderedDict(a=1),
        collections.defaultdict(list, {"a": [1]}),
        collections.Counter("abca"),
        collections.deque([1, 2], maxlen=3),
    ],
)
_add(
    "dates",
    lambda: [
        datetime.date(2026, 11, 23),
        datetime.datetime(2026, 11, 23, 12, 30, tzinfo=datetime.UTC),
        datetime.time(12, 30),
        datetime.timedelta(days=1),
        datetime.timezone(datetime.timedelta(hours=2)),
    ],
)
_add("decimals-and-fractions", lambda: [decimal.Decimal("1.10"), fractions.Fraction(1, 3)])
_add("uuid-and-path", lambda: [uuid.UUID(int=1), pathlib.PurePosixPath("models/churn")])
_add("slices-and-ranges", lambda: [slice(1, 2), range(10), Ellipsis, NotImplemented, complex(1, 2)])
_add("types-as-values", lambda: [int, str, dict, float, type(None)])


@dataclasses.dataclass(frozen=True)
class Customer:
    """A class of the site's own, which no list knows."""

    name: str
    since: datetime.date


_add("dataclass", lambda: Customer("Ada", datetime.date(2026, 11, 23)))
_add("exceptions", lambda: ValueError("too small", 3))
_add("large-dict", lambda: {f"key {i}": i / 7 for i in range(20_000)})
_add("random-state", lambda: random.Random(1))
_add("deep-lists", lambda: _nested(50))
for _protocol in range(6):
    _add(
        f"protocol-{_protocol}",
        lambda: {"weights": _random(5), "name": "churn", "flags": (True, None), "raw": b"\x00\xff"},
        protocol=_protocol,
    )
_COMPRESSIONS = ["zlib", "gzip", "bz2", "lzma", "xz"]
if importlib.util.find_spec("lz4") is not None:
    _COMPRESSIONS.append("lz4")
for _compression in _COMPRESSIONS:
    _add(
        f"compressed-{_compression}",
        lambda: {"weights": _random(50, 3), "labels": ["a", "b"]},
        compress=(_compression, 3),
    )


def _nested(levels: int) -> Any:
    item: list[Any] = []
    for _ in range(levels):
        item = [item]
    return item


def _zeros(code: str) -> Any:
    return _numpy().zeros((2, 3), dtype=code)


def _arrays() -> Any:
    outer = _numpy().empty(2, dtype=object)
    outer[:] = [_random(3), _numpy().array(["x"], dtype=object)]
    return outer


def _read_only() -> Any:
    array = _random(4)
    array.flags.writeable = False
    return array


# ── arrays ───────────────────────────────────────────────────────────────────

for _code in (
    "?",
    "i1",
    "u1",
    "i2",
    "u2",
    "i4",
    "u4",
    "i8",
    "u8",
    "f2",
    "f4",
    "f8",
    "g",
    "F",
    "D",
    "G",
    ">f8",
    ">i4",
    "S5",
    "U5",
    "V5",
    "M8[ns]",
    "M8[25s]",
    "m8[D]",
    ">M8[us]",
):
    _add(f"array-{_code}", functools.partial(_zeros, _code))
_add("array-c-order", lambda: _random(200, 100))
_add("array-fortran-order", lambda: _numpy().asfortranarray(_random(30, 20)))
_add("array-strided", lambda: _random(30, 20)[::2, ::3])
_add("array-empty", lambda: _numpy().zeros((0, 4)))
_add("array-zero-dimensional", lambda: _numpy().array(1.5))
_add("array-of-objects", lambda: _numpy().array([1, "two", None, [3]], dtype=object))
_add("array-of-arrays", _arrays)
_add("array-read-only", _read_only)
_add("array-records", lambda: _numpy().zeros(3, dtype=[("a", "i4"), ("b", "f8", (2,)), ("c", "O")]))
_add("array-aligned-records", lambda: _numpy().zeros(3, dtype=_numpy().dtype("i1,f8", align=True)))
_add("array-recarray", lambda: _numpy().rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]))
_add("array-masked", lambda: _numpy().ma.masked_array([1.0, 2.0], [True, False]))
_add("array-matrix", lambda: _numpy().asmatrix(_random(2, 2)))
_add(
    "array-scalars",
    lambda: [
        _numpy().float32(1),
        _numpy().int64(2),
        _numpy().bool_(True),
        _numpy().datetime64("2026-11-23"),
    ],
)
_add("arrays-many", lambda: [_random(7) for _ in range(200)])
_add("arrays-shared", lambda: [_random(9)] * 2)
_add("dtypes", lambda: [_numpy().dtype("f8"), _numpy().dtype([("a", "i4")]), _numpy().float64])
_add("generator", lambda: _numpy().random.default_rng(1))
_add("random-state-legacy", lambda: _numpy().random.RandomState(1))
_add("generator-philox", lambda: _numpy().random.Generator(_numpy().random.Philox(1)))
_add("polynomial", lambda: _numpy().polynomial.Polynomial([1, 2, 3]))
_add("ufunc", lambda: _numpy().log1p)


# ── sparse matrices and scipy ────────────────────────────────────────────────


def _sparse(kind: str) -> Any:
    from scipy import sparse

    return getattr(sparse, kind)(_numpy().eye(4))


for _kind in ("csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "dok_matrix", "lil_matrix"):
    _add(f"sparse-{_kind}", functools.partial(_sparse, _kind))


def _spline() -> Any:
    from scipy.interpolate import CubicSpline

    return CubicSpline([0.0, 1.0, 2.0], [0.0, 1.0, 0.0])


def _tree() -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(_random(20, 2))


_add("scipy-spline", _spline)
_add("scipy-kd-tree", _tree)

# ── pandas ───────────────────────────────────────────────────────────────────


def _frame() -> Any:
    pd = _pandas()
    return pd.DataFrame(
        {
            "number": [1.5, 2.5],
            "count": pd.array([1, None], dtype="Int64"),
            "text": ["a", "b"],
            "object": pd.Series([{"a": 1}, None], dtype=object),
            "category": pd.Categorical(["x", "y"]),
            "when": pd.to_datetime(["2026-11-23", "2026-11-24"]),
            "zoned": pd.to_datetime(["2026-11-23", "2026-11-24"], utc=True),
            "long": pd.to_timedelta([1, 2], unit="h"),
        }
    )


_add("frame", _frame)
_add("frame-compressed", _frame, compress=("gzip", 6))
_add("series", lambda: _pandas().Series([1, 2], index=["a", "b"], name="x"))
_add("multi-index", lambda: _pandas().MultiIndex.from_product([["a", "b"], [1, 2]]))
_add("range-index", lambda: _pandas().RangeIndex(5))
_add("period-index", lambda: _pandas().period_range("2026-01", periods=3, freq="M"))
_add("interval-index", lambda: _pandas().interval_range(0, 3))
_add("categorical", lambda: _pandas().Categorical(["a", "b", "a"], ordered=True))
_add(
    "timestamps",
    lambda: [
        _pandas().Timestamp("2026-11-23", tz="UTC"),
        _pandas().Timedelta("1h"),
        _pandas().NaT,
        _pandas().NA,
    ],
)
_add("offsets", lambda: [_pandas().offsets.MonthEnd(), _pandas().offsets.Hour(2)])

# ── models ───────────────────────────────────────────────────────────────────


def _data() -> tuple[Any, Any]:
    inputs = _random(60, 4)
    return inputs, (inputs[:, 0] > 0.5).astype(int)


def _fitted(path: str, **options: Any) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"sklearn.{module}"), name)(**options).fit(*_data())


_MODELS: Final[dict[str, dict[str, Any]]] = {
    "linear_model.LinearRegression": {},
    "linear_model.LogisticRegression": {},
    "linear_model.SGDClassifier": {"random_state": 1},
    "tree.DecisionTreeClassifier": {"random_state": 1},
    "ensemble.RandomForestClassifier": {"n_estimators": 5, "random_state": 1},
    "ensemble.GradientBoostingClassifier": {"n_estimators": 5, "random_state": 1},
    "ensemble.HistGradientBoostingClassifier": {"max_iter": 5, "random_state": 1},
    "ensemble.IsolationForest": {"n_estimators": 5, "random_state": 1},
    "svm.SVC": {},
    "neighbors.KNeighborsClassifier": {},
    "neighbors.KernelDensity": {},
    "naive_bayes.GaussianNB": {},
    "neural_network.MLPClassifier": {"max_iter": 5, "random_state": 1},
    "gaussian_process.GaussianProcessClassifier": {"random_state": 1},
    "decomposition.PCA": {"n_components": 2},
    "cluster.KMeans": {"n_clusters": 2, "n_init": 1, "random_state": 1},
    "preprocessing.StandardScaler": {},
    "preprocessing.KBinsDiscretizer": {"n_bins": 3},
    "impute.SimpleImputer": {},
}
for _path, _options in _MODELS.items():
    _add(f"model-{_path}", functools.partial(_fitted, _path, **_options))


def _pipeline() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    pd = _pandas()
    table = pd.DataFrame({"age": [20, 30, 40, 50], "city": ["a", "b", "a", "b"]})
    columns = ColumnTransformer(
        [("number", StandardScaler(), ["age"]), ("category", OneHotEncoder(), ["city"])]
    )
    return Pipeline([("columns", columns), ("model", LogisticRegression())]).fit(
        table, [0, 1, 0, 1]
    )


def _search() -> Any:
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV

    return GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2).fit(*_data())


def _text() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer().fit(["to be or not", "not to be"])


def _logarithm() -> Any:
    from sklearn.preprocessing import FunctionTransformer

    np = _numpy()
    return FunctionTransformer(np.log1p, inverse_func=np.expm1).fit(_random(4, 2))


def _voting() -> Any:
    from sklearn.ensemble import VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB

    return VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())]).fit(*_data())


def _calibrated() -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import LinearSVC

    return CalibratedClassifierCV(LinearSVC(), cv=2).fit(*_data())


_add("pipeline", _pipeline)
_add("pipeline-compressed", _pipeline, compress=("xz", 3))
_add("grid-search", _search)
_add("text-vectorizer", _text)
_add("function-transformer", _logarithm)
_add("voting", _voting)
_add("calibrated", _calibrated)
_add(
    "model-and-its-description",
    lambda: {
        "model": _pipeline(),
        "trained": datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC),
        "columns": ["age", "city"],
        "scores": _random(3),
    },
)
_add("partial-of-a-ufunc", lambda: functools.partial(_numpy().clip, a_min=0, a_max=1))
_add("itemgetter", lambda: operator.itemgetter("age"))
