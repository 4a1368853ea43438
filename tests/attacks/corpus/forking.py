"""Runs each case in a process of its own, forked from one that has imported everything already.

The cases do their worst: crash, exhaust, replace the process, leave children behind. Whatever they
do, the server reports it and goes on.

The protocol: one JSON request a line on standard input, one JSON answer a line on standard output.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

MIB: Final = 1024 * 1024
DEADLINE_SECONDS: Final = 60
"""Wall-clock seconds after which a case is killed. No case comes near."""

Report = Callable[[dict[str, Any]], None]
Work = Callable[[dict[str, Any], Report], None]


def serve(work: Work) -> None:
    """Answer requests until standard input ends.

    Args:
        work: called in a forked process with the request and a function that reports; what it
            reports is merged into the answer, even if it does not live to return.
    """
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    gc.freeze()
    for line in sys.stdin:
        answers.write(json.dumps(_run(work, json.loads(line))) + "\n")
        answers.flush()


def _run(work: Work, request: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_the_child(work, request, writing)
    os.close(writing)
    answer: dict[str, Any] = {"signal": None, "killed": False}
    descriptor = os.pidfd_open(pid)
    if not select.select([descriptor], [], [], DEADLINE_SECONDS)[0]:
        answer["killed"] = True
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(descriptor)
    # The child began a session of its own: this reaches what it left behind, and nothing else.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as reports, contextlib.suppress(BlockingIOError):
        for report in (reports.read() or b"").splitlines():
            answer |= json.loads(report)
    if os.WIFSIGNALED(status):
        answer["signal"] = signal.Signals(os.WTERMSIG(status)).name
    return answer


def _be_the_child(work: Work, request: dict[str, Any], writing: int) -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)

    def report(known: dict[str, Any]) -> None:
        os.write(writing, json.dumps(known).encode() + b"\n")

    try:
        work(request, report)
    finally:
        os._exit(0)


def limit(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Limit this process: memory on top of what it has, processor time, files, core dumps."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    address_space = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * MIB, 64 * MIB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class ForkServer:
    """The caller's side: a server in a process of its own.

    Args:
        module: the module to run, which calls `serve`.
        root: the folder that ``tests`` lies in.
        python: the interpreter, by default this one with all that it can import.
        arguments: for the module.
    """

    def __init__(
        self,
        module: str,
        root: Path,
        *,
        python: str = sys.executable,
        arguments: tuple[str, ...] = (),
    ) -> None:
        paths = [str(root), *(sys.path if python == sys.executable else ())]
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OPENBLAS_NUM_THREADS": "1"},
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to one request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server that runs the cases has died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the server: it ends where its requests do."""
        self._process.communicate()
