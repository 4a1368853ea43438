"""Objects of numpy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

FUNCTIONS = (
    *("abs", "absolute", "all", "amax", "amin", "any", "argmax", "argmin", "around", "asarray"),
    *("atleast_1d", "atleast_2d", "average", "bincount", "clip", "concatenate", "corrcoef", "cos"),
    *("count_nonzero", "cumprod", "cumsum", "diff", "digitize", "dot", "fix", "hstack", "isfinite"),
    *("isinf", "isnan", "isin", "max", "mean", "median", "min", "nan_to_num", "nanmax", "nanmean"),
    *("nanmedian", "nanmin", "nanpercentile", "nanquantile", "nanstd", "nansum", "nanvar", "ndim"),
    *("percentile", "prod", "ptp", "quantile", "ravel", "round", "shape", "sort", "squeeze", "std"),
    *("sum", "transpose", "unique", "var", "vstack", "where"),
)
"""Functions that only compute, as people pass them to transformers, scorers and aggregations."""


def objects() -> Iterator[tuple[str, object]]:
    """Each object with a label."""
    yield from _types()
    yield from _functions()
    yield from _arrays()
    yield from _masked_arrays()
    yield from _generators()


def _types() -> Iterator[tuple[str, object]]:
    for scalar in sorted(set(np.sctypeDict.values()), key=lambda kind: kind.__name__):
        yield f"the type {scalar.__name__}", scalar
        yield f"dtype of {scalar.__name__}", np.dtype(scalar)
        if scalar not in (np.void, np.object_):
            yield f"scalar of {scalar.__name__}", scalar()
    for name in ("generic", "number", "integer", "signedinteger", "unsignedinteger", "inexact"):
        yield f"the type {name}", getattr(np, name)
    for name in ("floating", "complexfloating", "flexible", "character"):
        yield f"the type {name}", getattr(np, name)
    yield "the type ndarray", np.ndarray
    yield "the type dtype", np.dtype
    for code in ("M8[D]", "m8[s]", "S3", "U3", "V3", ">i4", "f4,i2", "(2,3)f8", "O"):
        yield f"dtype {code}", np.dtype(code)
    yield "dtype of a class of its own", type(np.dtype("f8"))
    yield "nested dtype", np.dtype([("a", [("b", "f8", (2,))]), ("c", "O")], align=True)
    yield "record scalar", np.array([(1, 2.0)], dtype="i4,f8")[0]
    yield "finfo", np.finfo(np.float64)
    yield "poly1d", np.poly1d([1.0, 2.0])
    for name in ("Polynomial", "Chebyshev", "Legendre", "Hermite", "HermiteE", "Laguerre"):
        yield name, getattr(np.polynomial, name)([1.0, 2.0])


def _functions() -> Iterator[tuple[str, object]]:
    for name in sorted(vars(np)):
        if isinstance(getattr(np, name), np.ufunc):
            yield f"the function {name}", getattr(np, name)
    for name in FUNCTIONS:
        yield f"the function {name}", getattr(np, name)
    for name in ("norm", "inv", "pinv", "det", "svd", "solve"):
        yield f"the function linalg.{name}", getattr(np.linalg, name)


def _arrays() -> Iterator[tuple[str, object]]:
    yield "array", np.arange(3.0)
    yield "matrix of doubles", np.ones((2, 3))
    yield "in Fortran's order", np.asfortranarray(np.ones((2, 3)))
    yield "not contiguous", np.ones((4, 4))[::2, ::2]
    yield "without dimensions", np.array(1.0)
    yield "empty", np.empty((0, 3))
    yield "read-only", _read_only(np.arange(3))
    yield "of objects", np.array([1, "a", None], dtype=object)
    yield "of strings", np.array(["a", "bc"])
    yield "of bytes", np.array([b"a", b"bc"])
    yield "of dates", np.array(["2026-11-01"], dtype="M8[D]")
    yield "of time differences", np.array([1], dtype="m8[s]")
    yield "of booleans", np.array([True])
    yield "of complex numbers", np.array([1j])
    yield "of the other byte order", np.arange(3, dtype=">i4")
    yield "of records", np.array([(1, 2.0)], dtype="i4,f8")
    yield "recarray", np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield "numpy.matrix", np.matrix([[1.0]])
    yield "chararray", np.char.array(["a", "b"])


def _masked_arrays() -> Iterator[tuple[str, object]]:
    yield "the masked constant", np.ma.masked
    yield "masked array", np.ma.masked_array([1.0, 2.0], mask=[False, True])
    yield "masked array without a mask", np.ma.masked_array([1.0, 2.0])
    yield "masked array of objects", np.ma.masked_array([1, "a"], mask=[False, True], dtype="O")
    yield "masked records", np.ma.masked_array([(1, 2.0)], mask=[(False, True)], dtype="i4,f8")


def _generators() -> Iterator[tuple[str, object]]:
    yield "the global RandomState", np.random.mtrand._rand
    yield "RandomState", np.random.RandomState(1)
    for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
        bits = getattr(np.random, name)(1)
        yield name, bits
        yield f"Generator over {name}", np.random.Generator(bits)
        yield f"RandomState over {name}", np.random.RandomState(bits)
    yield "SeedSequence", np.random.SeedSequence(1)


def _read_only(array: np.ndarray[tuple[int], np.dtype[np.int_]]) -> object:
    array.flags.writeable = False
    return array
