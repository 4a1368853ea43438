"""Where a payload may stand in a file that joblib wrote: before, behind and inside arrays."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, Final

from tests.attacks.corpus.arrays import dtype, wrapper
from tests.attacks.corpus.case import PYTHON, SHELL, Collection, When
from tests.attacks.corpus.opcodes import POP, STOP, call, framed, stream, value

_BAD: Final = call("os:system", SHELL)
_ARRAY: Final = wrapper() + bytes(16)

# ── where a payload may stand in a real file ─────────────────────────────────

positions = Collection("positions")


class Bad:
    """Pickles itself as a call."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (SHELL,)


def dumped(make: Callable[[], Any], **options: Any) -> Callable[[], bytes]:
    """What joblib writes of an object."""

    def payload() -> bytes:
        import joblib

        buffer = io.BytesIO()
        joblib.dump(make(), buffer, **options)
        return buffer.getvalue()

    return payload


def _numbers(count: int = 1000) -> Any:
    import numpy as np

    return np.arange(float(count))


def _objects(*items: Any) -> Any:
    import numpy as np

    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def _records() -> Any:
    import numpy as np

    records = np.zeros(2, dtype=[("x", "f8"), ("y", object)])
    records[1]["y"] = Bad()
    return records


def _frame() -> Any:
    import pandas as pd

    return pd.DataFrame({"x": [1.0, 2.0], "y": pd.Series([Bad(), None], dtype=object)})


def _categories() -> Any:
    import pandas as pd

    return pd.Categorical.from_codes([0, 0], categories=pd.Index([Bad()], dtype=object))


def _model() -> Any:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(np.arange(4.0).reshape(4, 1), [0, 0, 1, 1])
    model.feature_names_in_ = Bad()
    return model


def _pipeline() -> Any:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline([("scale", StandardScaler()), ("bad", Bad())])


def _sparse() -> Any:
    import numpy as np
    from scipy import sparse

    matrix = sparse.csr_matrix(np.eye(2))
    matrix.note = Bad()
    return matrix


def _deep(item: Any, levels: int) -> Any:
    for _ in range(levels):
        item = [item]
    return item


def _error() -> Any:
    return ValueError("x", Bad())


_POSITIONS: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "before-an-array": ("first of a list", dumped(lambda: [Bad(), _numbers()])),
    "behind-an-array": ("behind a large array", dumped(lambda: [_numbers(), Bad()])),
    "behind-many-arrays": (
        "behind a hundred arrays",
        dumped(lambda: [[_numbers(i) for i in range(100)], Bad()]),
    ),
    "between-arrays": ("between two arrays", dumped(lambda: [_numbers(), Bad(), _numbers()])),
    "in-an-object-array": (
        "in the nested stream of an array of objects",
        dumped(lambda: _objects(1, Bad())),
    ),
    "in-an-object-array-in-another": (
        "two nested streams deep",
        dumped(lambda: _objects(1, _objects(Bad()))),
    ),
    "in-an-object-array-behind-an-array": (
        "in the nested stream, behind another array",
        dumped(lambda: [_numbers(), _objects(Bad()), _numbers()]),
    ),
    "in-a-record": ("in a field of a structured array", dumped(_records)),
    "in-a-frame": ("in an object column of a frame", dumped(_frame)),
    "in-categories": ("among the categories of a categorical", dumped(_categories)),
    "in-a-model": ("in an attribute of a fitted model", dumped(_model)),
    "in-a-pipeline": ("as a step of a pipeline", dumped(_pipeline)),
    "in-a-sparse-matrix": ("in an attribute of a sparse matrix", dumped(_sparse)),
    "as-a-key": ("as a key of a dict", dumped(lambda: {Bad(): 1})),
    "in-a-set": ("in a set", dumped(lambda: {Bad()})),
    "deep-in-lists": ("under a hundred lists", dumped(lambda: _deep(Bad(), 100))),
    "in-an-exception": ("in the arguments of an exception", dumped(_error)),
    "among-many-objects": (
        "behind 100,000 harmless objects",
        dumped(lambda: [list(range(100_000)), Bad()]),
    ),
    "protocol-0": (
        "behind an array, in protocol 0",
        dumped(lambda: [_numbers(), Bad()], protocol=0),
    ),
    "protocol-2": (
        "behind an array, in protocol 2",
        dumped(lambda: [_numbers(), Bad()], protocol=2),
    ),
    "protocol-5": (
        "behind an array, in protocol 5",
        dumped(lambda: [_numbers(), Bad()], protocol=5),
    ),
}
for _name, (_how, _payload) in _POSITIONS.items():
    positions.add(_name, _how, _payload)


_OBJECT_WRAPPER: Final = wrapper(dtype=dtype("O8", "|", flags=63), shape=(1,), allow_mmap=False)
positions.add(
    "nested-stream-of-no-array",
    "the nested stream need not hold an array",
    stream(_OBJECT_WRAPPER, stream(_BAD, protocol=5)),
)
positions.add(
    "nested-stream-by-its-own-names",
    "joblib before 1.6 reads the nested stream by an unpickler that nobody can restrict",
    stream(_OBJECT_WRAPPER, stream(call("builtins:eval", PYTHON), protocol=2)),
)
positions.add(
    "behind-a-nested-stream",
    "the outer stream goes on where the nested one ended",
    stream(_OBJECT_WRAPPER, stream(call("numpy:ndarray", (0,)), protocol=5), POP, _BAD),
)
positions.add(
    "nested-stream-in-a-frame",
    "the nested stream's frame goes on behind its STOP",
    stream(_OBJECT_WRAPPER, b"\x80\x05", framed(_BAD + STOP)),
)
positions.add(
    "behind-stop",
    "a second stream, for whoever loads twice from one file",
    stream(value({"harmless": 1})) + stream(_BAD),
    when=When.SECOND_LOAD,
)
positions.add(
    "behind-stop-and-an-array",
    "a second stream behind one that ends in an array",
    stream(_ARRAY) + stream(_BAD),
    when=When.SECOND_LOAD,
)
