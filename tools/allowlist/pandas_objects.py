"""Objects of pandas."""

from __future__ import annotations

import datetime
import decimal
import importlib.util
import warnings
from collections.abc import Iterator

import dateutil.tz
import numpy as np
import pandas as pd

MASKED = (
    *("boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float32", "Float64"),
)
OFFSETS = (
    *("BDay", "BMonthBegin", "BMonthEnd", "BQuarterBegin", "BQuarterEnd", "BYearBegin", "BYearEnd"),
    *("BusinessDay", "BusinessHour", "CBMonthBegin", "CBMonthEnd", "CDay", "CustomBusinessDay"),
    *("CustomBusinessHour", "CustomBusinessMonthBegin", "CustomBusinessMonthEnd", "DateOffset"),
    *("Day", "Easter", "FY5253", "FY5253Quarter", "HalfYearBegin", "HalfYearEnd", "Hour"),
    *("LastWeekOfMonth", "Micro", "Milli", "Minute", "MonthBegin", "MonthEnd", "Nano"),
    *("BHalfYearBegin", "BHalfYearEnd", "QuarterBegin", "QuarterEnd", "Second", "SemiMonthBegin"),
    *("SemiMonthEnd", "Week", "WeekOfMonth", "YearBegin", "YearEnd"),
)
NEED_ARGUMENTS = {
    "FY5253": {"startingMonth": 12, "weekday": 4},
    "FY5253Quarter": {"qtr_with_extra_week": 4, "startingMonth": 12, "weekday": 4},
    "LastWeekOfMonth": {"weekday": 1},
    "WeekOfMonth": {"week": 1, "weekday": 1},
}


def objects() -> Iterator[tuple[str, object]]:
    """Each object with a label."""
    yield from _scalars()
    yield from _dtypes()
    yield from _offsets()
    for label, values in _indexes():
        yield f"index {label}", values
        if not isinstance(values, pd.MultiIndex):
            yield f"series of {label}", pd.Series(values)
            yield f"array of {label}", values.array
        yield f"series indexed by {label}", pd.Series(range(len(values)), index=values)
        yield f"frame indexed by {label}", pd.DataFrame({"a": range(len(values))}, index=values)
    for label, series in _series():
        yield f"series of {label}", series
        yield f"array of {label}", series.array
        yield f"frame of {label}", series.to_frame()
    yield from _frames()
    yield from _types_and_functions()


def _scalars() -> Iterator[tuple[str, object]]:
    yield "Timestamp", pd.Timestamp("2026-11-01")
    yield "aware Timestamp", pd.Timestamp("2026-11-01", tz="UTC")
    yield "zoned Timestamp", pd.Timestamp("2026-11-01", tz="Europe/Berlin")
    yield "Timedelta", pd.Timedelta(days=1)
    for frequency in ("D", "M", "W", "Y", "Q", "h"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield f"Period {frequency}", pd.Period("2026-11-01", frequency)
    yield "Interval", pd.Interval(0, 1)
    yield "Interval of times", pd.Interval(pd.Timestamp("2026-11-01"), pd.Timestamp("2026-11-02"))
    for zone in (dateutil.tz.tzutc(), dateutil.tz.tzoffset("one hour", 3600), *_pytz_zones()):
        yield f"zone {zone!r}", zone
        yield f"Timestamp in {zone!r}", pd.Timestamp("2026-11-01", tz=zone)
    yield "NA", pd.NA
    yield "NaT", pd.NaT


def _dtypes() -> Iterator[tuple[str, object]]:
    for name in (*MASKED, "string", "category", "interval", "period[D]", "Sparse[float]"):
        yield f"dtype {name}", pd.api.types.pandas_dtype(name)
    yield "categorical dtype", pd.CategoricalDtype(["a", "b"], ordered=True)
    yield "zoned dtype", pd.DatetimeTZDtype(tz="UTC")
    yield "interval dtype", pd.IntervalDtype("float64")
    yield "numpy dtype", pd.array([1], dtype=np.dtype("int64")).dtype


def _offsets() -> Iterator[tuple[str, object]]:
    for name in OFFSETS:
        if hasattr(pd.offsets, name):
            yield f"offset {name}", getattr(pd.offsets, name)(**NEED_ARGUMENTS.get(name, {}))
    yield "relative offset", pd.DateOffset(months=1, days=2)
    yield "offset of holidays", pd.offsets.CustomBusinessDay(holidays=["2026-12-25"])


def _indexes() -> Iterator[tuple[str, pd.Index]]:
    day = "2026-11-01"
    yield "range", pd.RangeIndex(3)
    yield "integers", pd.Index([1, 2, 4])
    yield "floats", pd.Index([1.0, 2.0])
    yield "unsigned", pd.Index([1, 2], dtype="uint8")
    yield "booleans", pd.Index([True, False])
    yield "strings", pd.Index(["a", "b"])
    yield "objects", pd.Index(["a", 1], dtype=object)
    yield "named", pd.Index([1, 2], name="named")
    yield "categories", pd.CategoricalIndex(["a", "b", "a"])
    yield "times", pd.DatetimeIndex([day])
    yield "zoned times", pd.date_range(day, periods=3, tz="Europe/Berlin")
    yield "times in UTC", pd.date_range(day, periods=3, tz="UTC")
    yield "fixed times", pd.DatetimeIndex([f"{day}T00:00:00+01:00"])
    for frequency in ("D", "h", "min", "s", "W", "MS", "B", "QS", "YS", "7D"):
        yield f"times every {frequency}", pd.date_range(day, periods=3, freq=frequency)
    yield "time differences", pd.timedelta_range("1 day", periods=3)
    yield "periods", pd.period_range(day, periods=3, freq="D")
    yield "intervals", pd.interval_range(0, 3)
    yield "several levels", pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", "y"])
    yield "masked", pd.Index([1, 2], dtype="Int64")


def _series() -> Iterator[tuple[str, pd.Series]]:
    for dtype in MASKED:
        values = [True, None] if dtype == "boolean" else [1, None]
        yield dtype, pd.Series(values, dtype=dtype)
    yield "texts", pd.Series(["a", None], dtype="string")
    yield "Python texts", pd.Series(["a", None], dtype="string[python]")
    yield "plain texts", pd.Series(["a", "b"])
    yield "ordered categories", pd.Series(pd.Categorical(["a", "b"], ["b", "a"], ordered=True))
    yield "numeric categories", pd.Series([1, 2], dtype="category")
    yield "sparse", pd.Series([0.0, 1.0], dtype="Sparse[float]")
    yield "sparse integers", pd.Series([0, 1], dtype="Sparse[int]")
    yield "complex", pd.Series([1j])
    yield "decimals", pd.Series([decimal.Decimal("1.5")])
    yield "dates", pd.Series([datetime.date(2026, 11, 1)])
    yield "mixed", pd.Series([1, "a", None, 1.5, [1]])
    yield "times in seconds", pd.Series(np.array(["2026-11-01"], dtype="M8[s]"))
    yield "empty", pd.Series([], dtype=float)
    yield "periods", pd.Series(pd.period_range("2026-11", periods=2, freq="M"))
    yield "intervals", pd.Series(pd.cut([1, 2, 3], 2))


def _frames() -> Iterator[tuple[str, object]]:
    mixed = pd.DataFrame(
        {
            "number": [1, 2],
            "float": [0.5, np.nan],
            "text": ["a", "b"],
            "category": pd.Categorical(["x", "y"]),
            "time": pd.to_datetime(["2026-11-01", "2026-11-02"]),
            "zoned": pd.to_datetime(["2026-11-01", "2026-11-02"]).tz_localize("Europe/Berlin"),
            "masked": pd.array([1, None], dtype="Int64"),
            "flag": [True, False],
        }
    )
    yield "mixed frame", mixed
    yield "frame with attributes", _with_attributes(mixed.copy())
    yield "frame without duplicates", mixed.set_flags(allows_duplicate_labels=False)
    yield "a view of a frame", mixed[["number", "float"]].iloc[1:]
    yield "frame with levels", mixed.set_index(["text", "category"])
    yield "frame with levels of columns", mixed[["number", "float"]].describe().unstack()
    yield "empty frame", pd.DataFrame()
    yield "pivot", mixed.pivot_table(index="text", columns="flag", values="number")
    yield "dtypes", mixed.dtypes
    yield "grouping", mixed.groupby("text").agg({"number": "mean"})
    yield "dictionary of frames", {"a": mixed, "b": mixed["number"]}


def _types_and_functions() -> Iterator[tuple[str, object]]:
    for name in ("DataFrame", "Series", "Index", "Timestamp", "Timedelta", "Categorical"):
        yield f"the type {name}", getattr(pd, name)
    for name in ("isna", "notna", "to_numeric", "to_datetime", "get_dummies", "concat", "cut"):
        yield f"the function {name}", getattr(pd, name)


def _pytz_zones() -> list[datetime.tzinfo]:
    # Before version 3, pandas depended on pytz.
    if importlib.util.find_spec("pytz") is None:
        return []
    pytz = importlib.import_module("pytz")
    return [pytz.UTC, pytz.timezone("Europe/Berlin"), pytz.FixedOffset(60)]


def _with_attributes(frame: pd.DataFrame) -> pd.DataFrame:
    frame.attrs["unit"] = "bar"
    return frame
