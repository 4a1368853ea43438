"""Repositories that faults are done to."""

from __future__ import annotations

import shutil
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

SAMPLES = 25
"""Of the many thousand calls between two steps that reach the system, as many are tried."""

LONG = 4
"""Of an operation of hundreds of steps every fourth is tried: each is a process of its own."""

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


@pytest.fixture(params=["each step", "samples in between"])
def deaths(request: pytest.FixtureRequest, tmp_path: Path, finest_steps: Steps) -> Deaths:
    """What an operation leaves that died: for each step at which it can, a fresh copy."""

    def die_everywhere(
        operation: Callable[[Path, Done], None], original: Path, every: int = 1
    ) -> Iterator[tuple[Path, Done]]:
        scene = tmp_path / "scene"
        steps, stride = finest_steps, every
        if request.param == "samples in between":
            _set_up(original, scene)
            steps = Steps.ALL
            stride = max(1, count_steps(steps, operation, *_places(original, scene)) // SAMPLES)
        place, done = _places(original, scene)
        step = 0
        survived = False
        while not survived:
            step += stride
            _set_up(original, scene)
            survived = survives(step, steps, operation, place, done)
            yield place, done
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
