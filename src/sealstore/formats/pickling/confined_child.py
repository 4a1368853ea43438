"""The process that inspects bytes which nobody vouches for.

It is started by `confinement` with the standard library alone, and takes the payload by a
descriptor that it inherits. Before it looks at the first byte of it, it gives up everything but the
memory, the CPU time and the one descriptor for its report. The report is two lines: what confines
it, written before the payload is read; and the inspection, as JSON.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Final

from sealstore.formats.pickling.inspection import inspect_memory
from sealstore.formats.pickling.kernel_confinement import (
    enter_landlock,
    enter_seccomp,
    give_up_privileges,
    machine_calls,
    seccomp_program,
)

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
