"""Repositories that faults are done to."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sealstore.repository import Repository
from tests.faults import operations, tracing
from tests.faults.dying import DiedTooLateError, Steps, count_steps, survives
from tests.faults.operations import Done

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


# ── death at every step ──────────────────────────────────────────────────────

SAMPLES = 12
"""Of the many thousand calls between two steps that reach the system, as many are tried."""

LONG = 4
"""Of an operation of hundreds of steps every fourth is tried: each is a process of its own.

With which of the four it begins differs from test to test. ``SEALSTORE_EVERY_STEP=1`` tries all.
"""

MIDDLING = 2
"""Of one of a hundred steps, every second."""

_MEMORY = Path("/dev/shm")  # noqa: S108 (a folder with a random name is made there)
_ENOUGH_BYTES = 32 << 20

Deaths = Callable[..., Iterator[tuple[Path, Done]]]
"""Given an operation and a place, and how many steps lie between two deaths (1 by default)."""


@pytest.fixture(scope="session")
def finest_steps() -> Steps:
    """System calls, where this process may stop its children at them; or else those of Python."""
    if tracing.is_known():
        with suppress(DiedTooLateError):
            survives(1, Steps.KERNEL, print)
            return Steps.KERNEL
    return Steps.PYTHON


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: what a killed process wrote is there all the same."""
    folder = _MEMORY if os.access(_MEMORY, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=folder, prefix="sealstore-") as made:
        free = shutil.disk_usage(made).free
        yield Path(made) if free >= _ENOUGH_BYTES else tmp_path


@pytest.fixture(params=["system calls", "samples in between"])
def deaths(request: pytest.FixtureRequest, memory: Path, finest_steps: Steps) -> Deaths:
    """What an operation leaves that died: for the steps at which it can, a fresh copy each."""

    def die_everywhere(
        operation: Callable[[Path, Done], None], original: Path, every: int = 1
    ) -> Iterator[tuple[Path, Done]]:
        scene = memory / "scene"
        steps, stride = finest_steps, 1 if "SEALSTORE_EVERY_STEP" in os.environ else every
        if request.param == "samples in between":
            _set_up(original, scene)
            steps = Steps.ALL
            stride = max(1, count_steps(steps, operation, *_places(original, scene)) // SAMPLES)
        place, done = _places(original, scene)
        step = 1 + zlib.crc32(request.node.nodeid.encode()) % stride
        survived = False
        while not survived:
            _set_up(original, scene)
            survived = survives(step, steps, operation, place, done)
            yield place, done
            step += stride
        assert step > 10 * stride, "the operation has fewer steps than it can have"

    return die_everywhere


def _set_up(original: Path, scene: Path) -> None:
    shutil.rmtree(scene, ignore_errors=True)
    scene.mkdir()
    if original.is_dir():
        shutil.copytree(original, scene / original.name)
    elif original.exists():
        shutil.copy(original, scene)


def _places(original: Path, scene: Path) -> tuple[Path, Done]:
    return scene / original.name, Done(scene / "done")
