"""Repositories that faults are done to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealstore.repository import Repository
from tests.faults import operations

pytest.register_assert_rewrite("tests.faults.soundness", "tests.faults.traffic")


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with everything that ``operations.fill`` puts in; copied, never changed."""
    root = tmp_path_factory.mktemp("filled") / "repository"
    operations.fill(root)
    return root


@pytest.fixture
def root(filled: Path, tmp_path: Path) -> Path:
    """The folder of a repository of one's own."""
    copy = tmp_path / "repository"
    shutil.copytree(filled, copy)
    return copy


@pytest.fixture
def repository(root: Path) -> Iterator[Repository]:
    """That repository, open."""
    with Repository.open(root, keyring=operations.KEYRING) as opened:
        yield opened
