"""Stops a child at its system calls, as a debugger does: inside SQLite's commit, too.

``man 2 ptrace``: the child asks to be traced, and stops at each system call before it is executed.
The kernel tells its number and arguments with PTRACE_GET_SYSCALL_INFO, alike on all machines.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Callable
from typing import Any

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_TRACE_SYSCALLS_GOOD, _EXIT_KILL = 1, 1 << 20
_STOPPED_AT_SYSCALL = signal.SIGTRAP | 0x80
_ENTRY = 1

# By machine: system calls that change files or make them durable; then those that open, with the
# place of the argument that says whether they may make a file.
_X86_64 = (
    {1, 18, 20, 26, 40, 74, 75, 77, 82, 83, 84, 86, 87, 91, 258, 263, 264, 265, 268, 285, 296, 316}
    | {326},
    {2: 1, 257: 2},
)  # fmt: skip
_AARCH64 = (
    {34, 35, 37, 38, 46, 47, 52, 53, 64, 66, 68, 70, 71, 82, 83, 227, 276, 285},
    {56: 2},
)
_CALLS = {"x86_64": _X86_64, "aarch64": _AARCH64}.get(platform.machine())


class Info(ctypes.Structure):
    """struct ptrace_syscall_info, as far as it is used here.

    ``number`` and ``arguments`` are those of a call that is about to begin; ``result`` is in the
    place of ``number`` once it has returned, negative for an error.
    """

    _fields_ = [
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    ]

    @property
    def begins(self) -> bool:
        return bool(self.op == _ENTRY)

    @property
    def result(self) -> int:
        return ctypes.c_int64(self.number).value


def is_known() -> bool:
    """Whether this machine's system calls are known here."""
    return _CALLS is not None


def die_at(step: int, operation: Callable[..., None], arguments: tuple[object, ...]) -> None:
    """Run ``operation`` in a fork of this process, killed right before its ``step``th such call.

    Ends this process: by SIGKILL too if the fork was killed, with its exit code otherwise.
    """
    counted = 0

    def is_last(_process: int, info: Info) -> bool:
        nonlocal counted
        counted += _changes_something(info)
        return counted == step

    status = follow(operation, arguments, is_last)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def stop_before_each(
    operation: Callable[..., None], arguments: tuple[object, ...], connection: Any
) -> None:
    """Run ``operation`` in a fork of this process, which waits before each such call.

    Each time ``connection`` is sent None, and awaited; in the end it is sent the exit code.
    """

    def wait(_process: int, info: Info) -> bool:
        if _changes_something(info):
            connection.send(None)
            connection.recv()
        return False

    connection.send(os.waitstatus_to_exitcode(follow(operation, arguments, wait)))


def follow(
    operation: Callable[..., None],
    arguments: tuple[object, ...],
    at_each_stop: Callable[[int, Info], bool],
) -> int:
    """Run ``operation`` in a fork of this process, which stops before and after each system call.

    Args:
        operation: what to do.
        arguments: its arguments.
        at_each_stop: called with the fork's process id; whether to kill it there.

    Returns:
        The status with which the fork ended.
    """
    child = os.fork()
    if not child:
        status = 1
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            operation(*arguments)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        return status
    _ptrace(_SETOPTIONS, child, data=_TRACE_SYSCALLS_GOOD | _EXIT_KILL)
    deliver = 0
    while True:
        _ptrace(_SYSCALL, child, data=deliver)
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            return status
        deliver = os.WSTOPSIG(status)
        if deliver == _STOPPED_AT_SYSCALL:
            deliver = 0
            info = Info()
            size, place = ctypes.sizeof(info), ctypes.addressof(info)
            _ptrace(_GET_SYSCALL_INFO, child, address=size, data=place)
            if at_each_stop(child, info):
                os.kill(child, signal.SIGKILL)
                return os.waitpid(child, 0)[1]


def _changes_something(info: Info) -> bool:
    if not info.begins or _CALLS is None:
        return False
    calls, opening = _CALLS
    if info.number in opening:
        return bool(info.arguments[opening[info.number]] & os.O_CREAT)
    return info.number in calls


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, process: int, *, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, process, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
