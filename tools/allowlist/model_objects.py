"""What people build of estimators: pipelines, searches, scorers, kernels, callables."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn
from scipy import special, stats
from sklearn import (
    base,
    calibration,
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    linear_model,
    metrics,
    model_selection,
    neighbors,
    pipeline,
    preprocessing,
    svm,
    tree,
    utils,
)
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401

from tools.allowlist.estimator_objects import CLASSES, FEATURES, FRAME, NUMBERS, TEXTS

KERNELS = (
    *("RBF", "Matern", "RationalQuadratic", "ExpSineSquared", "DotProduct", "WhiteKernel"),
    *("ConstantKernel", "PairwiseKernel"),
)
SPLITTERS = (
    *("KFold", "StratifiedKFold", "GroupKFold", "StratifiedGroupKFold", "LeaveOneOut"),
    *("LeaveOneGroupOut", "RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit"),
    *("GroupShuffleSplit", "StratifiedShuffleSplit", "TimeSeriesSplit"),
)
COMPUTING = (
    *(
        "_at_thresholds",
        "_curve",
        "_deviance",
        "_distances",
        "_error",
        "_loss",
        "_matrix",
        "_ratios",
    ),
    *("_report", "_samples", "_score", "_similarity", "_support", "auc", "_measure"),
)
"""How the names of metrics end that do nothing but compute."""

LOSSES = (
    *("squared_error", "absolute_error", "gamma", "poisson", "quantile", "log_loss"),
    *("huber", "exponential", "deviance", "friedman_mse", "squared_epsilon_insensitive"),
)


def objects() -> Iterator[tuple[str, object]]:
    """Each object with a label."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from _pipelines()
        yield from _searches()
        yield from _metrics()
        yield from _callables()
        yield from _kernels()
        yield from _nested()
        yield from _neighbours()
        yield from _other()


def _pipelines() -> Iterator[tuple[str, object]]:
    numbers = pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler())
    table = FRAME.assign(kind=np.array(["x", "y", "z"])[CLASSES])
    columns = compose.ColumnTransformer(
        [
            ("numbers", numbers, ["a", "b"]),
            ("kinds", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["kind"]),
            ("ordinal", preprocessing.OrdinalEncoder(), ["kind"]),
            ("rest", "passthrough", compose.make_column_selector(dtype_include=np.number)),
        ],
        remainder="drop",
    )
    model = pipeline.Pipeline([("columns", columns), ("model", linear_model.LogisticRegression())])
    yield "pipeline over columns", model.fit(table, CLASSES)
    forest = ensemble.RandomForestClassifier(n_estimators=3)
    yield "pipeline of a forest", pipeline.make_pipeline(columns, forest).fit(table, CLASSES)
    union = pipeline.make_union(decomposition.PCA(2), feature_selection.SelectKBest(k=2))
    yield "union", pipeline.make_pipeline(union, svm.SVC()).fit(FEATURES, CLASSES)
    columns = compose.make_column_transformer((preprocessing.StandardScaler(), slice(0, 2)))
    yield "columns by slice", columns.fit(FEATURES)
    columns = compose.make_column_transformer(
        (preprocessing.StandardScaler(), ["a"]), remainder=preprocessing.MinMaxScaler()
    )
    yield "columns as frames", columns.set_output(transform="pandas").fit(FRAME)
    text = pipeline.make_pipeline(
        feature_extraction.text.TfidfVectorizer(), linear_model.SGDClassifier()
    )
    yield "text pipeline", text.fit(TEXTS, CLASSES)
    target = compose.TransformedTargetRegressor(
        linear_model.Ridge(), transformer=preprocessing.QuantileTransformer(n_quantiles=5)
    )
    yield "transformed target", target.fit(FEATURES, NUMBERS)
    logs = compose.TransformedTargetRegressor(
        linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1
    )
    yield "logarithmic target", logs.fit(FEATURES, NUMBERS)


def _searches() -> Iterator[tuple[str, object]]:
    model = linear_model.LogisticRegression()
    grid = {"C": [0.1, 1.0]}
    yield "grid search", model_selection.GridSearchCV(model, grid, cv=2).fit(FEATURES, CLASSES)
    yield (
        "grid search with several scores",
        model_selection.GridSearchCV(
            model, grid, cv=2, scoring=["accuracy", "f1_macro"], refit="accuracy"
        ).fit(FEATURES, CLASSES),
    )
    for label, distribution in (
        ("uniform", stats.uniform(0.1, 1)),
        ("log-uniform", stats.loguniform(0.1, 1)),
        ("normal", stats.norm(1, 0.01)),
        ("exponential", stats.expon(0.1)),
    ):
        search = model_selection.RandomizedSearchCV(model, {"C": distribution}, n_iter=2, cv=2)
        yield f"random search, {label}", search.fit(FEATURES, CLASSES)
    search = model_selection.RandomizedSearchCV(
        tree.DecisionTreeClassifier(), {"max_depth": stats.randint(1, 4)}, n_iter=2, cv=2
    )
    yield "random search over integers", search.fit(FEATURES, CLASSES)
    for halving in ("HalvingGridSearchCV", "HalvingRandomSearchCV"):
        yield halving, getattr(model_selection, halving)(model, grid, cv=2).fit(FEATURES, CLASSES)
    for name in SPLITTERS:
        yield f"splitter {name}", getattr(model_selection, name)()
    yield "PredefinedSplit", model_selection.PredefinedSplit(CLASSES)
    yield "ParameterGrid", model_selection.ParameterGrid(grid)
    yield "ParameterSampler", model_selection.ParameterSampler(grid, 2)
    yield "results", model_selection.cross_validate(model, FEATURES, CLASSES, return_estimator=True)


def _metrics() -> Iterator[tuple[str, object]]:
    for name in sorted(metrics.get_scorer_names()):
        yield f"scorer {name}", metrics.get_scorer(name)
    for name in sorted(metrics.__all__):
        if name.endswith(COMPUTING):
            yield f"metric {name}", getattr(metrics, name)
    yield "scorer of one's own", metrics.make_scorer(metrics.fbeta_score, beta=2)
    yield "scorer of probabilities", _scorer_of_probabilities()
    yield "distance metric", metrics.DistanceMetric.get_metric("minkowski", p=3)
    for name in ("euclidean", "manhattan", "haversine", "hamming", "jaccard", "chebyshev"):
        yield f"distance metric {name}", metrics.DistanceMetric.get_metric(name)
    for name, scale in (("mahalanobis", np.eye(4)), ("seuclidean", np.ones(4))):
        yield f"distance metric {name}", metrics.DistanceMetric.get_metric(name, V=scale)


def _scorer_of_probabilities() -> object:
    try:
        return metrics.make_scorer(metrics.log_loss, response_method="predict_proba")
    except TypeError:  # before scikit-learn 1.4
        return metrics.make_scorer(metrics.log_loss, needs_proba=True)


def _callables() -> Iterator[tuple[str, object]]:
    functions: tuple[Any, ...] = (np.log1p, np.sqrt, np.exp, special.expit, np.nan_to_num)
    for function in functions:
        transformer = preprocessing.FunctionTransformer(function, validate=True)
        yield f"transformer by {function.__name__}", transformer.fit(FEATURES)
    partial = functools.partial(np.clip, a_min=0, a_max=1)
    yield "transformer by a partial function", preprocessing.FunctionTransformer(partial)
    selector = feature_selection.SelectKBest(
        functools.partial(feature_selection.mutual_info_classif, random_state=0), k=2
    )
    yield "selection by a partial function", selector.fit(FEATURES, CLASSES)
    for name in ("f_classif", "f_regression", "chi2", "mutual_info_classif"):
        score = getattr(feature_selection, name)
        yield f"score {name}", feature_selection.SelectPercentile(score).fit(FEATURES, CLASSES)
    for name in ("mutual_info_regression", "r_regression"):
        yield f"score {name}", feature_selection.SelectKBest(getattr(feature_selection, name))
    for name in ("linear", "rbf", "polynomial", "sigmoid", "laplacian", "cosine", "chi2"):
        kernel = metrics.pairwise.PAIRWISE_KERNEL_FUNCTIONS[name]
        yield f"kernel function {name}", svm.SVC(kernel=kernel).fit(FEATURES, CLASSES)
    for name in ("euclidean", "manhattan", "cosine"):
        distance = metrics.pairwise.PAIRWISE_DISTANCE_FUNCTIONS[name]
        yield f"distance function {name}", distance
    for name in ("add_dummy_feature", "binarize", "maxabs_scale", "minmax_scale", "normalize"):
        yield f"function {name}", getattr(preprocessing, name)
    for name in ("power_transform", "quantile_transform", "robust_scale", "scale"):
        yield f"function {name}", getattr(preprocessing, name)


def _kernels() -> Iterator[tuple[str, object]]:
    kernels = gaussian_process.kernels
    for name in KERNELS:
        kernel = getattr(kernels, name)()
        yield f"kernel {name}", kernel
        yield f"process of {name}", gaussian_process.GaussianProcessRegressor(kernel)
    compound = kernels.ConstantKernel() * kernels.RBF() + kernels.WhiteKernel()
    process = gaussian_process.GaussianProcessRegressor(compound, n_restarts_optimizer=1)
    yield "process of a compound kernel", process.fit(FEATURES, NUMBERS)
    yield "power of a kernel", kernels.Exponentiation(kernels.RBF(), 2)
    yield "compound kernel", kernels.CompoundKernel([kernels.RBF(), kernels.DotProduct()])
    classifier = gaussian_process.GaussianProcessClassifier(kernels.RBF())
    yield "classifying process", classifier.fit(FEATURES, CLASSES)


def _nested() -> Iterator[tuple[str, object]]:
    trees = tree.DecisionTreeClassifier(max_depth=2)
    for kind in (ensemble.BaggingClassifier, ensemble.AdaBoostClassifier):
        yield kind.__name__, kind(trees, n_estimators=2).fit(FEATURES, CLASSES)
    models = [("tree", trees), ("nearest", neighbors.KNeighborsClassifier())]
    for kind in (ensemble.VotingClassifier, ensemble.StackingClassifier):
        yield kind.__name__, kind(models).fit(FEATURES, CLASSES)
    for method in ("sigmoid", "isotonic"):
        model = calibration.CalibratedClassifierCV(trees, method=method, cv=2)
        yield f"calibrated, {method}", model.fit(FEATURES, CLASSES)
    imputer = impute.IterativeImputer(linear_model.BayesianRidge(), max_iter=2)
    yield "iterative imputer", imputer.fit(np.where(FEATURES < 0.3, np.nan, FEATURES))
    yield "cloned", base.clone(trees)
    for loss in LOSSES:
        for kind in (
            ensemble.HistGradientBoostingRegressor,
            ensemble.HistGradientBoostingClassifier,
        ):
            try:
                model = kind(loss=loss, max_iter=2).fit(
                    FEATURES, NUMBERS if "R" in kind.__name__ else CLASSES
                )
            except (ValueError, TypeError):
                continue
            yield f"{kind.__name__} with {loss}", model
    categories = ensemble.HistGradientBoostingClassifier(categorical_features=[0], max_iter=2)
    yield "boosting over categories", categories.fit(np.c_[CLASSES, FEATURES], CLASSES)
    early = ensemble.HistGradientBoostingClassifier(early_stopping=True, max_iter=3, scoring="loss")
    yield "boosting that stops early", early.fit(np.tile(FEATURES, (5, 1)), np.tile(CLASSES, 5))
    yield "isotonic", isotonic.IsotonicRegression(out_of_bounds="clip").fit(FEATURES[:, 0], NUMBERS)


def _neighbours() -> Iterator[tuple[str, object]]:
    for kind in (neighbors.KDTree, neighbors.BallTree):
        for metric in ("euclidean", "manhattan", "chebyshev"):
            yield f"{kind.__name__} by {metric}", kind(FEATURES, metric=metric)
    for kind in (neighbors.KDTree, neighbors.BallTree):
        yield f"{kind.__name__} by minkowski", kind(FEATURES, metric="minkowski", p=3)
        yield f"{kind.__name__} of float32", kind(FEATURES.astype(np.float32))
    for name in ("KDTree32", "BallTree32"):
        tree_32 = getattr(neighbors._kd_tree, name, None) or getattr(
            neighbors._ball_tree, name, None
        )
        if tree_32 is not None:
            yield name, tree_32(FEATURES.astype(np.float32))
    for algorithm in ("ball_tree", "kd_tree", "brute"):
        nearest = neighbors.KNeighborsClassifier(algorithm=algorithm)
        yield f"nearest by {algorithm}", nearest.fit(FEATURES, CLASSES)
    yield (
        "nearest by weights",
        neighbors.KNeighborsRegressor(weights="distance").fit(FEATURES, NUMBERS),
    )


def _other() -> Iterator[tuple[str, object]]:
    yield "Bunch", utils.Bunch(data=FEATURES, target=CLASSES)
    yield "configuration", sklearn.get_config()
    yield "agglomeration", cluster.FeatureAgglomeration(n_clusters=2).fit(FEATURES)
    routed = linear_model.LogisticRegression()
    with sklearn.config_context(enable_metadata_routing=True):
        yield "routed", routed.set_fit_request(sample_weight=True)
    for name in ("inplace", "default", "pandas"):
        try:
            yield f"output as {name}", preprocessing.StandardScaler().set_output(transform=name)
        except ValueError:
            continue
    yield "tree", tree.DecisionTreeRegressor().fit(FEATURES, NUMBERS).tree_
