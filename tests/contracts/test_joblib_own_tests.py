"""joblib's own tests of persistence, with their loads going through a sealstore repository."""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
import joblib.test
import pytest
from joblib import numpy_pickle

from sealstore.errors import PayloadFormatError, UnsupportedPayloadError
from sealstore.formats.policies import Policies
from sealstore.formats.registry import format_named
from sealstore.repository.facade import Repository

EXCLUDED = {
    "test_value_error": "passes an object where a file's name belongs; tests joblib.dump alone",
    "test_invalid_parameters_raise": "tests the arguments of joblib.dump",
    "test_compress_mmap_mode_warning": "counts joblib's own warnings",
    "test_memory_usage*": "needs memory_profiler; bench/ measures memory",
    "test_memmap_persistence": "asserts numpy.memmap.filename, which is None here (README)",
    "test_load_memmap_with_big_offset": "asserts numpy.memmap.offset, which is None here (README)",
    "test_memmap_load": "asks for ensure_native_byte_order=False; a load is always 'auto'",
    "test_file_handle_persistence*": "open file handles: a repository has no use for them",
    "test_in_memory_persistence": "open file handles",
    "test_pickle_in_socket": "a socket",
    "test_register_compressor*": "registers compressors of its own",
    "test_lz4_compression_without_lz4": "runs only where lz4 is not installed",
    "test_joblib_pickle_across_python_versions*": "forms from before 0.10 and of Python 2 among"
    " them: test_a_file_of_joblib_itself below has every one of these files",
    "test_object_array_inner_stream_uses_caller_find_class": "drives joblib's unpickler itself",
}
"""Tests that do not apply, by id (with * for any ending), each with its reason."""

NOT_IN_OLD_RELEASES = {
    "test_invalid_parameters_raise",
    "test_memmap_load",
    "test_object_array_inner_stream_uses_caller_find_class",
}
"""Those of them that releases of joblib before 1.6 do not have."""

DATA = Path(joblib.test.__file__).parent / "data"
FILES = sorted(
    path.name
    for path in DATA.iterdir()
    if path.name.startswith("joblib_") and ".npy" not in path.name
)


def _is_excluded(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name.partition("[")[0], pattern) for pattern in EXCLUDED)


def test_joblibs_own_tests_pass_through_a_repository(tmp_path: Path) -> None:
    """Every test of joblib's persistence that applies passes; none is skipped without a reason."""
    written = tmp_path / "outcomes.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path.cwd())])}
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *("-p", "tests.contracts.joblib_through_sealstore", "--outcomes", str(written)),
            *("--rootdir", str(tmp_path), "-c", os.devnull, "--basetemp", str(tmp_path / "inner")),
            *("--pyargs", "joblib.test.test_numpy_pickle", "-W", "ignore"),
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes: dict[str, str] = json.loads(written.read_text())
    failed = {name for name, outcome in outcomes.items() if outcome != "passed"}
    assert {name for name in failed if not _is_excluded(name)} == set(), run.stdout[-6000:]
    passed = {name for name in outcomes if name not in failed and not _is_excluded(name)}
    assert len(passed) > 60, run.stdout[-3000:]


def test_each_exclusion_names_a_test() -> None:
    """An exclusion that matches nothing would hide a test of the same name later."""
    source = Path(joblib.test.__file__).with_name("test_numpy_pickle.py").read_text()
    functions = [
        line.partition("(")[0].removeprefix("def ")
        for line in source.splitlines()
        if line.startswith("def test_")
    ]
    unmatched = {pattern for pattern in EXCLUDED if not fnmatch.filter(functions, pattern)}
    assert unmatched <= NOT_IN_OLD_RELEASES
    if tuple(map(int, joblib.__version__.split(".")[:2])) >= (1, 6):
        assert unmatched == set()


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_joblib_itself(
    name: str, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that joblib ships loads as joblib loads it, or its form is refused by name."""
    # Old files hold numpy.matrix under a name that today's objects do not use.
    monkeypatch.setattr(Policies, "check", lambda _policies, _imports: None)
    payload = memoryview(bytearray((DATA / name).read_bytes()))
    if "_py27_" in name or "0.8" in name or "0.9" in name:
        with pytest.raises(UnsupportedPayloadError):
            format_named("joblib").imports(payload)
        with pytest.raises(PayloadFormatError):
            repository.store_payload(payload, "legacy", "1")
        return
    artifact = repository.store_payload(payload, "legacy", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected: Any = numpy_pickle.load(DATA / name)
        loaded: Any = repository.load(artifact.name, artifact.tag)
    assert len(loaded) == len(expected)
    for ours, theirs in zip(loaded, expected, strict=True):
        assert type(ours) is type(theirs)
        if hasattr(theirs, "dtype"):
            assert ours.dtype == theirs.dtype
            assert (ours == theirs).all()
        else:
            assert ours == theirs
