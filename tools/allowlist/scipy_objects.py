"""Objects of scipy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import interpolate, optimize, signal, sparse, spatial, special, stats

FUNCTIONS_OF_SPATIAL_DISTANCE = (
    *("braycurtis", "canberra", "chebyshev", "cityblock", "correlation", "cosine", "dice"),
    *("euclidean", "hamming", "jaccard", "mahalanobis", "minkowski", "rogerstanimoto"),
    *("russellrao", "seuclidean", "sokalsneath", "sqeuclidean", "yule"),
)
FUNCTIONS_OF_STATS = (
    *("gmean", "hmean", "iqr", "kurtosis", "median_abs_deviation", "mode", "moment", "pearsonr"),
    *("sem", "skew", "spearmanr", "trim_mean", "variation", "zscore"),
)

SHAPES = {"levy_stable": (1.5, 0.5), "vonmises_line": (1.0,), "studentized_range": (3.0, 10.0)}
"""Shape parameters of distributions for which scipy's own list of examples has none."""


def objects() -> Iterator[tuple[str, object]]:
    """Each object with a label."""
    yield from _sparse()
    yield from _functions()
    yield from _interpolators()
    yield from _spatial()
    yield from _distributions()
    yield from _results()


def _sparse() -> Iterator[tuple[str, object]]:
    dense = np.array([[1.0, 0.0], [0.0, 2.0]])
    for layout in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil"):
        for kind in ("matrix", "array"):
            yield f"sparse {layout}_{kind}", getattr(sparse, f"{layout}_{kind}")(dense)
    yield "integers", sparse.csr_matrix(dense.astype(int))


def _functions() -> Iterator[tuple[str, object]]:
    for name in sorted(vars(special)):
        function = getattr(special, name)
        # scipy 1.14 has one that goes by the name of another, and so cannot be pickled.
        if isinstance(function, np.ufunc) and function.__name__ == name:
            yield f"the function special.{name}", function
    for name in ("logsumexp", "softmax", "log_softmax"):
        yield f"the function special.{name}", getattr(special, name)
    for name in FUNCTIONS_OF_SPATIAL_DISTANCE:
        if hasattr(spatial.distance, name):
            yield f"the function distance.{name}", getattr(spatial.distance, name)
    for name in FUNCTIONS_OF_STATS:
        yield f"the function stats.{name}", getattr(stats, name)


def _interpolators() -> Iterator[tuple[str, object]]:
    x = np.arange(8.0)
    y = np.sin(x)
    for kind in ("linear", "nearest", "previous", "zero", "slinear", "quadratic", "cubic"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield f"interp1d, {kind}", interpolate.interp1d(x, y, kind=kind)
    for name in ("CubicSpline", "PchipInterpolator", "Akima1DInterpolator"):
        yield name, getattr(interpolate, name)(x, y)
    for name in ("BarycentricInterpolator", "KroghInterpolator"):
        yield name, getattr(interpolate, name)(x, y)
    yield "CubicHermiteSpline", interpolate.CubicHermiteSpline(x, y, np.cos(x))
    yield "PPoly", interpolate.PPoly(np.ones((2, 3)), np.arange(4.0))
    yield "BPoly", interpolate.BPoly(np.ones((2, 3)), np.arange(4.0))
    yield "NdPPoly", interpolate.NdPPoly(np.ones((2, 3)), (np.arange(4.0),))
    yield "BSpline", interpolate.make_interp_spline(x, y)
    yield "smoothing BSpline", interpolate.make_smoothing_spline(x, y)
    for name in ("UnivariateSpline", "InterpolatedUnivariateSpline"):
        yield name, getattr(interpolate, name)(x, y)
    yield "LSQUnivariateSpline", interpolate.LSQUnivariateSpline(x, y, [3.5])
    grid = np.outer(y, y)
    yield "RectBivariateSpline", interpolate.RectBivariateSpline(x, x, grid)
    yield "RegularGridInterpolator", interpolate.RegularGridInterpolator((x, x), grid)
    yield "NdBSpline", interpolate.NdBSpline((x, x), grid[:4, :4], 3)
    points = np.random.default_rng(0).random((20, 2))
    yield "RBFInterpolator", interpolate.RBFInterpolator(points, points[:, 0])
    yield "NearestNDInterpolator", interpolate.NearestNDInterpolator(points, points[:, 0])
    yield "LinearNDInterpolator", interpolate.LinearNDInterpolator(points, points[:, 0])
    yield "CloughTocher", interpolate.CloughTocher2DInterpolator(points, points[:, 0])


def _spatial() -> Iterator[tuple[str, object]]:
    points = np.random.default_rng(0).random((20, 2))
    yield "KDTree", spatial.KDTree(points)
    yield "cKDTree", spatial.cKDTree(points)
    yield "Rotation", spatial.transform.Rotation.from_euler("z", 90, degrees=True)


def _distributions() -> Iterator[tuple[str, object]]:
    from scipy.stats import _distr_params as params

    shapes = dict(params.distcont) | dict(params.distdiscrete)
    for family in (stats.rv_continuous, stats.rv_discrete):
        for name in sorted(vars(stats)):
            distribution = getattr(stats, name)
            if isinstance(distribution, family):
                yield f"the distribution {name}", distribution
                yield f"frozen {name}", _frozen(name, distribution, shapes)
    yield "a histogram's distribution", stats.rv_histogram(np.histogram([1.0, 2.0, 2.0], bins=3))
    yield "gaussian_kde", stats.gaussian_kde([1.0, 2.0, 2.5])
    yield "multivariate_normal", stats.multivariate_normal([0.0, 1.0])
    yield "multivariate_t", stats.multivariate_t([0.0, 1.0])
    yield "dirichlet", stats.dirichlet([1.0, 2.0])


def _frozen(name: str, distribution: Any, shapes: dict[Any, Any]) -> object:
    return distribution(*SHAPES.get(name, shapes.get(name, (0.5,) * distribution.numargs)))


def _results() -> Iterator[tuple[str, object]]:
    x = np.arange(8.0)
    yield "linregress", stats.linregress(x, 2 * x)
    yield "pearsonr", stats.pearsonr(x, x**2)
    yield "spearmanr", stats.spearmanr(x, x**2)
    yield "describe", stats.describe(x)
    yield "kstest", stats.kstest(x, "norm")
    yield "minimize", optimize.minimize(lambda v: float(v[0] ** 2), [1.0], method="Nelder-Mead")
    yield "curve_fit", optimize.curve_fit(lambda v, a: a * v, x, 2 * x)
    yield "bounds", optimize.Bounds([0.0], [1.0])
    yield "linear constraint", optimize.LinearConstraint([[1.0]], [0.0], [1.0])
    yield "lti", signal.lti([1.0], [1.0, 2.0])
    yield "state space", signal.StateSpace([[1.0]], [[1.0]], [[1.0]], [[0.0]])
    yield "zeros, poles, gain", signal.ZerosPolesGain([1.0], [2.0], 3.0)
    yield "discrete transfer function", signal.dlti([1.0], [1.0, 2.0])
