"""A pytest plugin: joblib's own tests load through a sealstore repository.

Wherever one of them calls ``numpy_pickle.load`` with a file's name, the file's bytes are stored in
a repository as they are, verified, and loaded with the pickle engine. The outcomes are written as
JSON to the file that the option ``--outcomes`` names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from joblib import numpy_pickle

from sealstore.formats.policies import Policies
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository

outcomes = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", required=True)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[outcomes] = {}
    config.pluginmanager.register(_Recorder(config.stash[outcomes]))


def pytest_unconfigure(config: pytest.Config) -> None:
    Path(config.getoption("--outcomes")).write_text(json.dumps(config.stash[outcomes]))


class _Recorder:
    def __init__(self, seen: dict[str, str]) -> None:
        self._seen = seen

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("::")[2]
        if report.when == "call" or report.outcome != "passed":
            self._seen[name] = report.outcome


@pytest.fixture(autouse=True)
def through_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stock_load = numpy_pickle.load
    keyring = Keyring.of([new_key(HmacSha256.generate())])
    # joblib's tests define classes of their own; what the policy thinks of them is not asked here.
    monkeypatch.setattr(Policies, "check", lambda _policies, _imports: None)
    with Repository.create(tmp_path / "repository", keyring=keyring) as repository:

        def load(filename: Any, mmap_mode: Any = None, **options: Any) -> Any:
            if hasattr(filename, "read"):
                # An open handle is no payload; the tests that are about handles are excluded.
                return stock_load(filename, mmap_mode=mmap_mode, **options)
            payload = memoryview(bytearray(Path(os.fspath(filename)).read_bytes()))
            artifact = repository.store_payload(payload, "object", "1")
            return repository.load(artifact.name, artifact.tag, mmap_mode=mmap_mode)

        monkeypatch.setattr(numpy_pickle, "load", load)
        monkeypatch.setattr(joblib, "load", load)
        yield
