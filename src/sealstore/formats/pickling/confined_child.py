"""The process that inspects bytes which nobody vouches for.

It is started by `confinement` with the standard library alone, and takes the payload by a
descriptor that it inherits. Before it looks at the first byte of it, it gives up everything but the
memory, the CPU time and the one descriptor for its report. The report is two lines: what confines
it, written before the payload is read; and the inspection, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import resource
import struct
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Final

from sealstore.formats.pickling.inspection import inspect_memory

_DECOMPRESSORS: Final = ("zlib", "bz2", "lzma", "lz4.frame")


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What the process may spend.

    Args:
        memory: bytes of address space beyond what it has when it begins.
        cpu_seconds: seconds of CPU, from its start.
    """

    memory: int
    cpu_seconds: int


def import_decompressors() -> None:
    """Import what decompression may need, while files can still be opened."""
    import_module("sealstore.formats.pickling.compression")
    for name in _DECOMPRESSORS:
        try:
            import_module(name)
        except ImportError:
            # How Python is told not to look for it again.
            sys.modules[name.partition(".")[0]] = None  # type: ignore[assignment] # it may be None


def map_payload(descriptor: int) -> memoryview:
    """The payload behind ``descriptor``: read-only, and not read yet."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return memoryview(b"")
    return memoryview(mmap.mmap(descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ))


def limit_resources(limits: ChildLimits) -> tuple[str, ...]:
    """Put this process under limits that it cannot lift again.

    Returns:
        their names.
    """
    mapped = _mapped_bytes() + limits.memory
    named = {
        "address-space": (resource.RLIMIT_AS, mapped),
        "cpu-time": (resource.RLIMIT_CPU, limits.cpu_seconds),
        "core-files": (resource.RLIMIT_CORE, 0),
        "file-size": (resource.RLIMIT_FSIZE, 0),
        "open-files": (resource.RLIMIT_NOFILE, 0),
        "processes": (resource.RLIMIT_NPROC, 0),
    }
    for kind, value in named.values():
        _, hard = resource.getrlimit(kind)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (least, least))
    return tuple(named)


def confine_by_kernel(report_descriptor: int) -> tuple[str, ...]:
    """Give up files, processes and network for good.

    Returns:
        what the kernel had for it.
    """
    give_up_privileges()
    in_force = []
    if enter_landlock():
        in_force.append("landlock")
    calls = machine_calls()
    if calls is not None and enter_seccomp(seccomp_program(calls, report_descriptor)):
        in_force.append("seccomp")
    return tuple(in_force)


def write_line(descriptor: int, content: object) -> None:
    """Write ``content`` as one line of JSON."""
    line = memoryview(json.dumps(content).encode() + b"\n")
    while line:
        line = line[os.write(descriptor, line) :]


def report(payload: memoryview, descriptor: int) -> None:
    """Inspect ``payload``, and write what was found."""
    write_line(descriptor, asdict(inspect_memory(payload)))


def _mapped_bytes() -> int:
    with open("/proc/self/statm", "rb") as status:
        return int(status.read().split()[0]) * resource.getpagesize()


def main(payload_descriptor: int, report_descriptor: int, limits: ChildLimits) -> None:
    """Confine this process, inspect, report, and end it.

    Args:
        payload_descriptor: a sealed memory file with the payload's bytes.
        report_descriptor: a pipe.
    """
    import_decompressors()
    payload = map_payload(payload_descriptor)
    in_force = (*limit_resources(limits), *confine_by_kernel(report_descriptor))
    write_line(report_descriptor, in_force)
    report(payload, report_descriptor)
    os._exit(0)  # the interpreter's own way out needs system calls that are gone


# ── what the kernel takes away ────────────────────────────────────────────────


_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2
_SIGKILL: Final = 9

# linux/seccomp.h and linux/bpf_common.h
_KILL_PROCESS: Final = 0x8000_0000
_ALLOW: Final = 0x7FFF_0000
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_ABOVE: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06
_NUMBER_OFFSET: Final = 0  # of struct seccomp_data
_ARCHITECTURE_OFFSET: Final = 4
_ARGUMENTS_OFFSET: Final = 16
_PROT_EXEC: Final = 4
_X32_NUMBERS: Final = 0x4000_0000

# landlock(7): access rights by version of the interface, all that a version knows.
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_RESTRICT_SELF: Final = 446
_LANDLOCK_ASK_VERSION: Final = 1
_LANDLOCK_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_LANDLOCK_NET_SINCE: Final = 4
_LANDLOCK_SCOPE_SINCE: Final = 6


@dataclass(frozen=True, slots=True)
class SystemCalls:
    """A machine's system calls that stay allowed.

    Args:
        architecture: its AUDIT_ARCH number.
        free: allowed whatever their arguments.
        write: allowed to one descriptor.
        mapping: mmap and mprotect, allowed unless they make memory executable.
    """

    architecture: int
    free: tuple[int, ...]
    write: int
    mapping: tuple[int, ...]


# free: munmap, brk, rt_sigreturn, mremap, madvise, sched_yield, futex, restart_syscall,
# clock_gettime, exit, exit_group
_MACHINES: Final = {
    "x86_64": SystemCalls(
        0xC000_003E, (11, 12, 15, 25, 28, 24, 202, 219, 228, 60, 231), write=1, mapping=(9, 10)
    ),
    "aarch64": SystemCalls(
        0xC000_00B7,
        (215, 214, 139, 216, 233, 124, 98, 128, 113, 93, 94),
        write=64,
        mapping=(222, 226),
    ),
}


def seccomp_program(calls: SystemCalls, writable_descriptor: int) -> bytes:
    """The filter, as an array of ``struct sock_filter``.

    Args:
        writable_descriptor: the one that ``write`` may go to.
    """
    allow, kill = _instruction(_RETURN, _ALLOW), _instruction(_RETURN, _KILL_PROCESS)
    argument = _ARGUMENTS_OFFSET
    write = [
        _instruction(_LOAD, argument),
        _instruction(_JUMP_EQUAL, writable_descriptor, otherwise=3),
        _instruction(_LOAD, argument + 4),
        _instruction(_JUMP_EQUAL, 0, otherwise=1),
        allow,
        kill,
    ]
    mapping = [
        _instruction(_LOAD, argument + 2 * 8),
        _instruction(_JUMP_ANY_BIT, _PROT_EXEC, then=1),
        allow,
        kill,
    ]
    program = [
        _instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _instruction(_JUMP_EQUAL, calls.architecture, then=1),
        kill,
        _instruction(_LOAD, _NUMBER_OFFSET),
        # On x86 the same numbers with this bit are another interface to the same kernel.
        _instruction(_JUMP_ABOVE, _X32_NUMBERS, otherwise=1),
        kill,
    ]
    for number in calls.free:
        program += [_instruction(_JUMP_EQUAL, number, otherwise=1), allow]
    for number, judged in [(calls.write, write), *((call, mapping) for call in calls.mapping)]:
        program += [_instruction(_JUMP_EQUAL, number, otherwise=len(judged)), *judged]
    return b"".join([*program, kill])


def machine_calls(machine: str | None = None) -> SystemCalls | None:
    """The system calls of ``machine``, by default this one; None where they are not known."""
    return _MACHINES.get(platform.machine() if machine is None else machine)


def give_up_privileges() -> None:
    """Gain no privilege by executing anything, and die with the process that started this one."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def enter_seccomp(program: bytes) -> bool:
    """Put the calling thread under ``program``, after `give_up_privileges`.

    Returns:
        whether the kernel did so; one without seccomp does not.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a 16-bit length, padded, and a pointer.
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    try:
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header))
    except OSError:
        return False
    return True


def enter_landlock() -> bool:
    """Take away from the calling thread all that Landlock knows, after `give_up_privileges`.

    Returns:
        whether the kernel did so; one without Landlock does not.
    """
    version = _system_call(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_ASK_VERSION)
    if version < 1:
        return False
    rights = (1 << _LANDLOCK_FILE_RIGHTS[min(version, max(_LANDLOCK_FILE_RIGHTS))]) - 1
    net = 3 if version >= _LANDLOCK_NET_SINCE else 0
    scope = 3 if version >= _LANDLOCK_SCOPE_SINCE else 0
    attributes = struct.pack("=QQQ", rights, net, scope)
    size = 24 if scope else 16 if net else 8  # older kernels take the shorter struct
    ruleset = _system_call(_LANDLOCK_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return False
    try:
        return _system_call(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _instruction(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *arguments: object) -> None:
    if _libc().prctl(option, *map(_word, arguments), *map(_word, (0,) * (4 - len(arguments)))) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _system_call(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(_word(number), *map(_word, arguments))
    return result


def _word(argument: object) -> object:
    # Both functions are variadic: an int would be passed as 32 bits where they read 64.
    return ctypes.c_long(argument) if isinstance(argument, int) else argument
