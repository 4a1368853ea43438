"""A child process that is killed with SIGKILL at a chosen step of what it does, or stands still.

Steps are counted by the interpreter's profiling hook: the calls of C functions that reach the
system (``os.open``, ``fsync``, ``link``, a statement of SQL, a commit …), or every single call and
return. Or by the kernel, which also knows the steps within a commit of SQLite. Each child imports
this module again: no pytest.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from types import FrameType
from typing import Any

from tests.faults import tracing
from tests.faults.children import SECONDS_FOR_A_CHILD, fork_server

# What only reads or closes leaves nothing behind that the call before did not leave.
_SYSTEM_CALLS = frozenset(
    {
        "copy_file_range", "fchmod", "fdatasync", "flock", "fsync", "ftruncate", "link", "mkdir",
        "open", "pwrite", "rename", "replace", "rmdir", "sendfile", "unlink", "write",
    }
)  # fmt: skip
_METHODS = {
    "sqlite3": frozenset({"commit", "execute", "executemany", "executescript", "rollback"}),
    "_io": frozenset({"flush", "write"}),
    "mmap": frozenset({"flush"}),
}


class Steps(Enum):
    """What counts as a step."""

    KERNEL = "system calls that change something, whoever makes them"
    PYTHON = "calls of Python that change something in the file system or the database"
    ALL = "every call and return, of Python's functions too"


class DiedTooLateError(Exception):
    """The child was to be killed at a step, and ended by itself in another way than succeeding."""


def survives(step: int, steps: Steps, operation: Callable[..., None], *arguments: object) -> bool:
    """Run ``operation`` in a child that is killed right before its ``step``th step, from 1.

    Returns:
        Whether the operation was done before it came so far.
    """
    if steps is Steps.KERNEL:
        child = fork_server().Process(target=tracing.die_at, args=(step, operation, arguments))
    else:
        child = fork_server().Process(target=_run, args=(step, steps, None, operation, arguments))
    child.start()
    child.join(SECONDS_FOR_A_CHILD)
    if child.exitcode not in (0, -signal.SIGKILL):
        if child.exitcode is None:
            child.kill()
        raise DiedTooLateError(f"{operation.__name__}, step {step}: exit code {child.exitcode}")
    survived: bool = child.exitcode == 0
    child.close()
    return survived


def count_steps(steps: Steps, operation: Callable[..., None], *arguments: object) -> int:
    """How many steps ``operation`` has when nothing stops it."""
    context = fork_server()
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(0, steps, sender, operation, arguments))
    child.start()
    sender.close()
    with receiver:
        total = int(receiver.recv())
    child.join(SECONDS_FOR_A_CHILD)
    assert child.exitcode == 0
    child.close()
    return total


def stops(operation: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Run ``operation`` in a child that stands still while the caller looks, once for each step.

    A step is a system call that changes something: it is about to be made. What others then find
    is what they would find if the child were killed there, since files do not change at a death.
    The child is killed if the caller does not come to its end.
    """
    context = fork_server()
    ours, theirs = context.Pipe()
    child = context.Process(target=tracing.stop_before_each, args=(operation, arguments, theirs))
    child.start()
    theirs.close()
    try:
        while ours.poll(SECONDS_FOR_A_CHILD):
            exit_code = ours.recv()
            if exit_code is not None:
                assert exit_code == 0, f"{operation.__name__}: exit code {exit_code}"
                return
            yield
            ours.send(None)
        raise TimeoutError(f"{operation.__name__} hangs")
    finally:
        ours.close()
        child.kill()
        child.join()
        child.close()


def _run(
    step: int,
    steps: Steps,
    total: Any,
    operation: Callable[..., None],
    arguments: tuple[object, ...],
) -> None:
    counted = 0

    def at_each_event(_frame: FrameType, event: str, called: object) -> None:
        nonlocal counted
        if steps is Steps.PYTHON and not (event == "c_call" and _reaches_the_system(called)):
            return
        counted += 1
        if counted == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(at_each_event)
    try:
        operation(*arguments)
    finally:
        sys.setprofile(None)
    if total is not None:
        total.send(counted)


def _reaches_the_system(called: Any) -> bool:
    name = called.__name__
    if called.__module__ in ("posix", "fcntl"):
        return name in _SYSTEM_CALLS
    owner = type(getattr(called, "__self__", None))
    return owner is not io.BytesIO and name in _METHODS.get(owner.__module__, ())
