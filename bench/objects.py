"""The objects that are measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression

MIB = 1024 * 1024


def _training_data() -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = make_classification(n_samples=4_000, n_features=20, random_state=1)
    return inputs, labels


def linear_model() -> object:
    """A fitted logistic regression."""
    return LogisticRegression(max_iter=500).fit(*_training_data())


def boosting() -> object:
    """Histogram gradient boosting, 200 iterations."""
    return HistGradientBoostingClassifier(max_iter=200, early_stopping=False, random_state=1).fit(
        *_training_data()
    )


def forest() -> object:
    """A random forest of 100 trees."""
    return RandomForestClassifier(n_estimators=100, random_state=1, n_jobs=2).fit(*_training_data())


def frame() -> object:
    """A DataFrame of 100,000 rows, one of its columns of objects."""
    rows = 100_000
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "a": random.random(rows),
            "b": random.integers(0, 1000, rows),
            "c": random.random(rows),
            "text": pd.Series([f"row {i}" for i in range(rows)], dtype=object),
        }
    )


def floats() -> object:
    """A dict of 200,000 floats."""
    return {f"key {i}": i / 7 for i in range(200_000)}


def small_arrays() -> object:
    """20,000 arrays of 10 numbers each."""
    random = np.random.default_rng(1)
    return [random.random(10) for _ in range(20_000)]


def array(mebibytes: int) -> Callable[[], object]:
    """An array of so many MiB of random numbers."""

    def make() -> object:
        return np.random.default_rng(1).random(mebibytes * MIB // 8)

    return make
