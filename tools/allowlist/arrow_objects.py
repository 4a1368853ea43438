"""Objects of pandas that keep their data in pyarrow."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa


def objects() -> Iterator[tuple[str, object]]:
    """Each object with a label."""
    yield "texts", pd.Series(["a", None], dtype="string[pyarrow]")
    yield "index of texts", pd.Index(["a", "b"], dtype="string[pyarrow]")
    yield "frame of texts", pd.DataFrame({"a": ["x", "y"]}, dtype="string[pyarrow]")
    yield "plain texts", pd.Series(["a", "b"])
    for kind in (pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.timestamp("ns", "UTC")):
        dtype = pd.ArrowDtype(kind)
        yield f"dtype {kind}", dtype
        yield f"series of {kind}", pd.Series([None], dtype=dtype)
    for kind in (pa.date32(), pa.decimal128(9, 2), pa.list_(pa.int64()), pa.binary()):
        yield f"series of {kind}", pd.Series([None], dtype=pd.ArrowDtype(kind))
    yield "chunked", pd.concat([pd.Series(["a"], dtype="string[pyarrow]")] * 2)
