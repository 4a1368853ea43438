"""Inspecting bytes that nobody vouches for: in a process of its own that can do nothing else.

A stream can be made to exhaust whoever reads it, by an index of its memo, by nesting, by what it
decompresses to; and a fault in the C unpickler would be a fault in the process that runs it. So
these bytes are inspected in a fresh child process under limits, and nothing is taken from it but
its report. If it dies, the payload is refused for that, and the caller goes on.
"""

from __future__ import annotations

import dataclasses
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from sealstore import limits
from sealstore.errors import ConfigurationError
from sealstore.formats.pickling.inspection import Finding, Inspection
from sealstore.formats.pickling.refusals import Reason

_CHILD: Final = """\
import sys
payload, memory, cpu_seconds, *path = sys.argv[1:]
sys.path += path
from sealstore.formats.pickling.confined_child import ChildLimits, main
main(int(payload), 1, ChildLimits(memory=int(memory), cpu_seconds=int(cpu_seconds)))
"""
_READ_BYTES: Final = 1 * limits.MIB
_LIBRARY_PATH: Final = "LD_LIBRARY_PATH"


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """What the inspection of one payload may spend.

    Args:
        memory: bytes of address space, beyond the payload itself.
        cpu_seconds: seconds of CPU.
        seconds: seconds by the clock.
    """

    memory: int = limits.INSPECTION_MEMORY_BYTES
    cpu_seconds: int = limits.INSPECTION_CPU_SECONDS
    seconds: float = limits.INSPECTION_SECONDS


def inspect_confined(
    payload: int | bytes | memoryview, allowance: Allowance | None = None
) -> Inspection:
    """What loading a payload would do, found out by a process that can do nothing else.

    Args:
        payload: its bytes, or the descriptor of a sealed memory file that holds them.
        allowance: by default that of ``sealstore.limits``.

    Raises:
        ConfigurationError: the process could not be started, or not be confined.
    """
    spent = Allowance() if allowance is None else allowance
    if isinstance(payload, int):
        return _inspect_file(payload, spent)
    with _memory_file(payload) as descriptor:
        return _inspect_file(descriptor, spent)


@contextmanager
def _memory_file(payload: bytes | memoryview) -> Iterator[int]:
    descriptor = os.memfd_create("payload", os.MFD_CLOEXEC)
    try:
        rest = memoryview(payload)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        yield descriptor
    finally:
        os.close(descriptor)


def _inspect_file(descriptor: int, allowance: Allowance) -> Inspection:
    child = subprocess.Popen(  # noqa: S603 # this very Python, and arguments that are numbers and paths
        _command(descriptor, allowance),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        cwd="/",
        # Where Python's own shared library lies, and nothing else of this process's environment.
        env={_LIBRARY_PATH: os.environ[_LIBRARY_PATH]} if _LIBRARY_PATH in os.environ else {},
        start_new_session=True,  # a terminal's Ctrl-C is for the caller, which ends the child
    )
    assert child.stdout is not None  # noqa: S101 # it was asked for
    with child.stdout:
        try:
            output, end = _read_report(child.stdout.fileno(), allowance.seconds)
        finally:
            child.kill()
            child.wait()
    header, _, report = output.partition(b"\n")
    try:
        confinement = msgspec.json.decode(header, type=tuple[str, ...])
    except msgspec.MsgspecError as error:
        raise ConfigurationError(
            "The process that inspects payloads could not be started.",
            hint="see whether this machine lets a process set limits for itself.",
        ) from error
    if end:
        inspection = _exhausted(end)
    else:
        try:
            inspection = msgspec.json.decode(report, type=Inspection)
        except msgspec.MsgspecError:
            inspection = _exhausted(_death(child.returncode))
    return dataclasses.replace(inspection, confinement=confinement)


def _command(descriptor: int, allowance: Allowance) -> list[str]:
    path = [str(Path(__file__).parents[3])]
    # A compression of joblib's that is not in the standard library.
    lz4 = find_spec("lz4")
    if lz4 is not None and lz4.origin is not None:
        path.append(str(Path(lz4.origin).parents[1]))
    size = os.fstat(descriptor).st_size
    numbers = (descriptor, allowance.memory + size, allowance.cpu_seconds)
    # -I and -S: no environment, no user's files, no .pth file and no sitecustomize has a say.
    return [sys.executable, "-I", "-S", "-c", _CHILD, *map(str, numbers), *path]


def _read_report(descriptor: int, seconds: float) -> tuple[bytes, str]:
    """What the child wrote, and why no more of it was read: an empty text where it ended itself."""
    deadline = time.monotonic() + seconds
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(descriptor, _READ_BYTES)
            if not piece:
                return bytes(output), ""
            output += piece
            if len(output) > limits.MAX_INSPECTION_REPORT_BYTES:
                return bytes(output), "its report grew beyond every bound"
    return bytes(output), f"it took more than {seconds:g} seconds"


def _death(status: int) -> str:
    try:
        return f"it was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"it ended with status {status}"


def _exhausted(how: str) -> Inspection:
    text = f"Inspecting the payload exhausted the process that did it: {how}."
    return Inspection(
        imports=(),
        arrays=(),
        arrays_left_out=0,
        compression=None,
        protocol=None,
        findings=(Finding(Reason.EXHAUSTION, text),),
    )
