"""Small file systems and read-only ones; where mounting is not permitted, the test is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(*arguments: str, at: Path) -> Iterator[None]:
    """A mount for the time of the block."""
    program = shutil.which("mount")
    if program is None or os.geteuid() != 0:
        pytest.skip("only root can mount")
    done = subprocess.run([program, *arguments, str(at)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)  # noqa: S607 (beside mount)


@contextmanager
def small_file_system(at: Path, size: int) -> Iterator[None]:
    """A file system of ``size`` bytes in memory."""
    at.mkdir()
    with mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", at=at):
        yield


@contextmanager
def read_only_view(path: Path, at: Path) -> Iterator[None]:
    """A second, read-only view of ``path``; below ``path`` itself everything goes on as it did."""
    with mounted("--bind", str(path), at=at):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(at)], check=True)  # noqa: S607
        yield


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Nobody can write to ``path`` or below: a read-only mount, or for a user no permission."""
    with ExitStack() as stack:
        if os.geteuid() == 0:
            stack.enter_context(read_only_view(path, at=path))
        else:
            for each in [path, *path.rglob("*")]:
                mode = each.stat().st_mode
                stack.callback(each.chmod, mode)
                each.chmod(mode & ~0o222)
        yield


def free_blocks(path: Path) -> int:
    """How many blocks the file system of ``path`` has left."""
    return os.statvfs(path).f_bfree


def fill_up(ballast: Path, leaving: int) -> None:
    """Write ``ballast`` so that its file system has ``leaving`` blocks left."""
    block = os.statvfs(ballast.parent).f_bsize
    with ballast.open("wb") as file:
        for _ in range(free_blocks(ballast.parent) - leaving):
            file.write(bytes(block))
            file.flush()
