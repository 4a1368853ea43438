"""Repositories that faults are done to."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealstore.repository.facade import Repository
from tests.faults import operations, tracing
from tests.faults.dying import DiedTooLateError, Steps, count_steps, stops, survives
from tests.faults.operations import Done
from tests.sealstore_fixtures import snapshot

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

SAMPLES = 8
"""Of the many thousand calls between two steps that reach the system, as many are tried."""

STOPS = 32
"""Of the states between the system calls of a long operation, about as many are tried."""

_EVERY_STEP = "SEALSTORE_EVERY_STEP"
"""Set, all of them are."""

_MEMORY = Path("/dev/shm")  # noqa: S108 (a folder with a random name is made there)
_ENOUGH_BYTES = 32 << 20

Left = dict[str, tuple[int, bytes | str]]
"""Mode and content of each file, by its path."""

Deaths = Callable[[Callable[[Path, Done], None], Path], Iterator[tuple[Path, Done]]]
"""Given an operation and a place."""


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
    """What an operation leaves that died: for the steps at which it can, a fresh copy each.

    At system calls, the process that does it stands still while what is there is looked at. Between
    them, a process is killed each time.
    """

    def die_everywhere(
        operation: Callable[[Path, Done], None], original: Path
    ) -> Iterator[tuple[Path, Done]]:
        scene = Scene(original, memory / "scene")
        begin = zlib.crc32(request.node.nodeid.encode())
        if request.param == "samples in between":
            return _killed(scene, operation, Steps.ALL, begin, SAMPLES)
        if finest_steps is not Steps.KERNEL:
            return _killed(scene, operation, finest_steps, begin, 4 * SAMPLES)
        return _standing_still(scene, operation, begin)

    return die_everywhere


@dataclass(frozen=True)
class Scene:
    """A folder with what an operation is done to, and nothing else.

    Attributes:
        original: what is copied into it; it may not exist.
        folder: the folder.
    """

    original: Path
    folder: Path

    @property
    def place(self) -> Path:
        return self.folder / self.original.name

    @property
    def done(self) -> Done:
        return Done(self.folder / "done")

    def set_up(self) -> None:
        """Make it again."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        if self.original.is_dir():
            copy_folder(self.original, self.place)
        elif self.original.exists():
            shutil.copy(self.original, self.folder)

    @contextmanager
    def copied(self) -> Iterator[None]:
        """Let a copy be in its place, for the block."""
        aside = self.folder.with_name("aside")
        self.folder.rename(aside)
        try:
            copy_folder(aside, self.folder)
            yield
        finally:
            shutil.rmtree(self.folder)
            aside.rename(self.folder)


def copy_folder(folder: Path, to: Path) -> None:
    """Copy all that is in it; what is one file under two names stays one."""
    copies: dict[int, str] = {}

    def copy(source: str, target: str) -> None:
        first = copies.setdefault(os.lstat(source).st_ino, target)
        if first == target:
            shutil.copy2(source, target, follow_symlinks=False)
        else:
            os.link(first, target, follow_symlinks=False)

    shutil.copytree(folder, to, symlinks=True, copy_function=copy)


def left_at_each_stop(scene: Scene, operation: Callable[[Path, Done], None]) -> Iterator[Left]:
    """What a process leaves that is killed at a system call: each time that it is not as before."""
    scene.set_up()
    last = None
    for _ in stops(operation, scene.place, scene.done):
        left = snapshot(scene.folder)
        if left != last:
            last = left
            yield left


def _standing_still(
    scene: Scene, operation: Callable[[Path, Done], None], begin: int
) -> Iterator[tuple[Path, Done]]:
    """What is left at so many of its system calls, or at each; and by the whole of it."""
    stride, total = 1, sum(1 for _ in left_at_each_stop(scene, operation))
    if _EVERY_STEP not in os.environ:
        stride = max(1, total // STOPS)
    assert total > 3, "the operation has fewer steps than it can have"
    for number, _ in enumerate(left_at_each_stop(scene, operation)):
        if number % stride == begin % stride:
            with scene.copied():
                yield scene.place, scene.done
    yield scene.place, scene.done


def _killed(
    scene: Scene,
    operation: Callable[[Path, Done], None],
    steps: Steps,
    begin: int,
    samples: int,
) -> Iterator[tuple[Path, Done]]:
    """What is left by processes that are killed at so many of their steps."""
    scene.set_up()
    stride = max(1, count_steps(steps, operation, scene.place, scene.done) // samples)
    step, survived = 1 + begin % stride, False
    while not survived:
        scene.set_up()
        survived = survives(step, steps, operation, scene.place, scene.done)
        yield scene.place, scene.done
        step += stride
    assert step > (samples - 2) * stride, "the operation has fewer steps than it can have"
