"""Every estimator of scikit-learn, fitted, with each option that its own constraints list.

An estimator says which values its parameters may have (``_parameter_constraints``). Each of its
named options and flags is tried once on small data; what does not fit together is passed over, but
an estimator that cannot be fitted at all is an error, so that none is forgotten.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import decomposition, linear_model, neighbors, preprocessing, svm
from sklearn.base import BaseEstimator
from sklearn.utils import all_estimators
from sklearn.utils._param_validation import Options, StrOptions

Data = tuple[Any, ...]

_random = np.random.RandomState(0)
FEATURES = np.abs(_random.rand(30, 4)) + 0.1
CLASSES = np.arange(30) % 3
NAMES = np.array(["a", "b", "c"])[CLASSES]
NUMBERS = FEATURES @ [1.0, 2.0, 3.0, 4.0] + 0.1
TWO_NUMBERS = np.c_[NUMBERS, NUMBERS**2]
TWO_CLASSES = np.c_[CLASSES % 2, (CLASSES + 1) % 2]
TEXTS = ["the first text", "and a second text", "another text"] * 10
MAPPINGS = [{"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"}] * 15
FRAME = pd.DataFrame(FEATURES, columns=list("abcd"))

DATA: tuple[Data, ...] = (
    (FEATURES, CLASSES),
    (FEATURES, NUMBERS),
    (FEATURES, CLASSES % 2),
    (FEATURES, TWO_NUMBERS),
    (FEATURES, TWO_CLASSES),
    (FEATURES[:, 0], NUMBERS),
    (TEXTS, CLASSES),
    (MAPPINGS,),
    (CLASSES,),
    ([("a", "b"), ("b",)] * 15,),
    (FEATURES @ FEATURES.T,),
)
"""What estimators of all kinds are fitted on: each takes the first that it accepts."""

VARIANTS: tuple[Data, ...] = (
    (FRAME, CLASSES),
    (FRAME, NUMBERS),
    (FEATURES, NAMES),
    (FEATURES, CLASSES % 2 == 0),
    (FEATURES.astype(np.float32), NUMBERS.astype(np.float32)),
    (sparse.csr_matrix(FEATURES), CLASSES),
    (sparse.csr_matrix(FEATURES), NUMBERS),
    (FEATURES, TWO_NUMBERS),
    (FEATURES, TWO_CLASSES),
    (pd.DataFrame({"a": list("abc") * 10, "b": CLASSES}), CLASSES),
)
"""Other forms of data, tried on every estimator."""

SMALL = {"n_estimators": 2, "n_iter": 3, "max_iter": 20, "n_init": 1, "n_components": 2, "cv": 2}
"""Parameters that make fitting quick, where an estimator has them."""


def _models() -> list[Any]:
    logistic = linear_model.LogisticRegression(max_iter=20)
    fitted = linear_model.LogisticRegression(max_iter=20).fit(FEATURES, CLASSES)
    return [logistic, linear_model.Ridge(), neighbors.KNeighborsClassifier(), fitted]


REQUIRED: dict[str, Callable[[], list[Any]]] = {
    "estimator": _models,
    "base_estimator": _models,
    "estimators": lambda: [
        [("a", linear_model.LogisticRegression()), ("b", svm.SVC())],
        [("a", linear_model.Ridge()), ("b", svm.LinearSVR())],
    ],
    "param_grid": lambda: [{"C": [0.1, 1.0]}],
    "param_distributions": lambda: [{"C": [0.1, 1.0]}],
    "transformers": lambda: [[("a", "passthrough", [0]), ("b", "drop", [1])]],
    "transformer_list": lambda: [[("a", "passthrough"), ("b", decomposition.PCA(2))]],
    "steps": lambda: [[("a", preprocessing.StandardScaler()), ("b", linear_model.Ridge())]],
    "dictionary": lambda: [np.eye(4)],
}
"""Values for each parameter that an estimator may require."""


ALSO: dict[str, dict[str, Any]] = {
    "ClassifierChain": {"estimator": linear_model.LogisticRegression(max_iter=20)},
    "RegressorChain": {"estimator": linear_model.Ridge()},
    "SelfTrainingClassifier": {"estimator": neighbors.KNeighborsClassifier()},
    "TSNE": {"perplexity": 5},
}
"""Parameters that have defaults, with which the estimator cannot be fitted here."""


def objects() -> Iterator[tuple[str, object]]:
    """Each object with a label.

    Raises:
        RuntimeError: an estimator could not be fitted on any of the data.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, kind in all_estimators():
            yield name, kind
            yield from _fitted(name, kind)


def _fitted(name: str, kind: type[BaseEstimator]) -> Iterator[tuple[str, object]]:
    parameters, data = _first_that_fits(name, kind)
    yield f"unfitted {name}", kind(**parameters)
    yield f"fitted {name}", kind(**parameters).fit(*copy.deepcopy(data))
    for variant in VARIANTS:
        estimator = _try(kind, parameters, variant)
        if estimator is not None:
            yield f"{name} of {type(variant[0]).__name__}", estimator
    for option, value in _options(kind):
        for chosen in (data, *DATA[:3]):
            estimator = _try(kind, parameters | {option: value}, chosen)
            if estimator is not None:
                yield f"{name} with {option}={value!r}", estimator
                break


def _first_that_fits(name: str, kind: type[BaseEstimator]) -> tuple[dict[str, Any], Data]:
    signature = inspect.signature(kind.__init__).parameters
    small = {key: value for key, value in SMALL.items() if key in signature}
    also = {key: value for key, value in ALSO.get(name, {}).items() if key in signature}
    required = [
        [(parameter, value) for value in make()]
        for parameter, make in REQUIRED.items()
        if parameter in signature and signature[parameter].default is inspect.Parameter.empty
    ]
    for optional in (small, {}):
        for chosen in itertools.product(*required):
            for data in DATA:
                parameters = dict(chosen) | optional | also
                if _try(kind, parameters, data) is not None:
                    return parameters, data
    raise RuntimeError(f"{name} could not be fitted: add the data or the parameters that it needs")


def _try(kind: type[BaseEstimator], parameters: dict[str, Any], data: Data) -> object | None:
    try:
        # Copies: some estimators may be told to overwrite what they are fitted on.
        fitted: object = kind(**parameters).fit(*copy.deepcopy(data))
    except Exception:  # noqa: BLE001 # which combinations an estimator refuses is its own affair
        return None
    return fitted


def _options(kind: type[BaseEstimator]) -> Iterator[tuple[str, Any]]:
    constraints = getattr(kind, "_parameter_constraints", {})
    for parameter, allowed in sorted(constraints.items()):
        for constraint in allowed if isinstance(allowed, list) else ():
            if isinstance(constraint, StrOptions | Options):
                for value in sorted(constraint.options, key=repr):
                    yield parameter, value
            elif constraint == "boolean":
                yield parameter, True
                yield parameter, False
            elif constraint == "random_state":
                yield parameter, np.random.RandomState(0)
