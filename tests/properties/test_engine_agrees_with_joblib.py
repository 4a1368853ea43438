"""Whatever joblib writes: the engine makes of it what stock joblib makes of it, and inspects it."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.engine import PROTOCOLS, inspected, loaded, resolve
from tests.joblib_files import METHODS, fingerprint, joblib_dumped, stock_loaded, stock_mapped
from tests.properties.test_writer_agrees_with_joblib import ARRAYS, graphs, models_and_frames
from tests.sealstore_fixtures import fewer_examples

ANY_PROTOCOL = st.sampled_from(PROTOCOLS)
ANY_COMPRESSION = st.sampled_from([0, *((method, level) for method in METHODS for level in (1, 9))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


class Listed:
    """A ``find_class`` that resolves what an inspection has listed, and nothing else."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def __call__(self, module: str, qualname: str) -> object:
        assert f"{module}:{qualname}" in self._names
        return resolve(module, qualname)


def written(obj: object, protocol: int, compress: Any = 0) -> bytes:
    """Joblib's file of ``obj``, if the protocol can tell of it at all."""
    try:
        return joblib_dumped(obj, compress, protocol)
    except TypeError:
        assert protocol < 2  # slots came with protocol 2
        reject()


def agree(content: bytes) -> None:
    """Load, stock load and inspection of the same file fit each other."""
    found = inspected(content)
    assert found.findings == ()
    only_listed = Listed({use.name for use in found.imports})
    assert fingerprint(loaded(content, only_listed)) == fingerprint(stock_loaded(content))


@given(obj=graphs(), protocol=ANY_PROTOCOL, compress=ANY_COMPRESSION)
def test_any_graph_loads_as_joblib_loads_it(obj: object, protocol: int, compress: Any) -> None:
    """Values, types, dtypes, order, writability and sharing, with nothing but listed imports."""
    agree(written(obj, protocol, compress))


@given(obj=graphs(), protocol=ANY_PROTOCOL)
def test_any_plain_pickle_loads_as_joblib_loads_it(obj: object, protocol: int) -> None:
    """What plain pickle wrote, with arrays that pickle themselves, is read like joblib's files."""
    written(obj, protocol)
    agree(pickle.dumps(obj, protocol))


@given(obj=graphs(), mode=st.sampled_from(["r", "c"]))
def test_any_graph_is_mapped_as_joblib_maps_it(obj: object, mode: Any, folder: Path) -> None:
    """Wherever stock joblib can map a file, the arrays are the same, and as writable."""
    content = joblib_dumped(obj)
    path = folder / "mapped.joblib"
    path.unlink(missing_ok=True)
    found = loaded(content, mmap_mode=mode)
    try:
        expected = stock_mapped(content, path, mode)
    except ValueError:  # numpy cannot map an empty array everywhere
        return
    assert fingerprint(found) == fingerprint(expected)


@fewer_examples(0.3)
@given(data=st.data(), protocol=ANY_PROTOCOL, compress=ANY_COMPRESSION)
def test_models_and_frames_load_as_joblib_loads_them(
    data: st.DataObject, protocol: int, compress: Any
) -> None:
    """Fitted estimators, frames, series and sparse matrices, in every protocol."""
    obj = data.draw(st.sampled_from(models_and_frames()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree(joblib_dumped([obj, data.draw(ARRAYS), obj], compress, protocol))


@given(
    dtype=hnp.nested_dtypes(max_leaves=6, max_itemsize=300) | hnp.scalar_dtypes(),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    align=st.booleans(),
    protocol=ANY_PROTOCOL,
)
def test_every_dtype_is_inspected_and_loaded(
    dtype: np.dtype[Any], shape: tuple[int, ...], align: bool, protocol: int
) -> None:
    """The sizes that the inspection knows of dtypes are those that numpy reads by."""
    if align and dtype.names:
        dtype = np.dtype(dtype.descr, align=True) if dtype.isnative else dtype
    array = np.zeros(shape, dtype)
    if array.dtype.itemsize:
        agree(joblib_dumped([array, array.T], protocol=protocol))
    agree(pickle.dumps([array, dtype], protocol))


@given(obj=graphs(), protocol=ANY_PROTOCOL, data=st.data())
def test_what_is_cut_short_never_loads(obj: object, protocol: int, data: st.DataObject) -> None:
    """A file that lacks its end is refused by inspection and load, wherever it was cut."""
    content = written(obj, protocol)
    end = data.draw(st.integers(0, len(content) - 1))
    assert len(inspected(content[:end]).findings) == 1
    with pytest.raises(Exception):  # noqa: B017, PT011 # a class may be the first to notice
        loaded(content[:end])
