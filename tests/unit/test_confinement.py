"""Confined inspection: whatever a payload does to its inspection, the caller goes on."""

from __future__ import annotations

import errno
import json
import os
import pickle
import platform
import resource
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sealstore import limits
from sealstore.errors import ConfigurationError
from sealstore.formats.pickling import confined_child, confinement
from sealstore.formats.pickling.confined_child import (
    ChildLimits,
    SystemCalls,
    confine_by_kernel,
    enter_landlock,
    enter_seccomp,
    give_up_privileges,
    limit_resources,
    machine_calls,
    map_payload,
    report,
    seccomp_program,
)
from sealstore.formats.pickling.confinement import Allowance, inspect_confined
from sealstore.formats.pickling.inspection import Inspection, inspect_memory
from tests.engine import name, proto, values
from tests.joblib_files import METHODS, joblib_dumped
from tests.sealstore_fixtures import open_descriptors

ROOT = Path(confinement.__file__).parents[3]
RESOURCES = ("address-space", "cpu-time", "core-files", "file-size", "open-files", "processes")


def reasons(content: bytes, allowance: Allowance | None = None) -> list[str]:
    found = inspect_confined(content, allowance)
    return [finding.reason.value for finding in found.findings]


# ── the report ───────────────────────────────────────────────────────────────


def same_but_for_confinement(found: Inspection, content: bytes) -> bool:
    here = inspect_memory(memoryview(content))
    return (found.imports, found.arrays, found.findings, found.compression, found.protocol) == (
        here.imports,
        here.arrays,
        here.findings,
        here.compression,
        here.protocol,
    )


@pytest.mark.parametrize("method", [None, *METHODS])
def test_the_report_is_that_of_an_inspection_in_this_process(method: str | None) -> None:
    """What the child reports is what the same inspection finds here, for every compression."""
    obj = {"a": np.arange(3), "b": np.array([None]), "c": np.float64(1), "d": [Path, 1j]}
    content = joblib_dumped(obj, compress=(method, 3) if method else 0)
    assert same_but_for_confinement(inspect_confined(content), content)


def test_findings_and_odd_texts_are_reported() -> None:
    """A refused payload's report holds what was met before the finding, whatever its texts are."""
    content = proto(4) + name("m", "q") + values("\udc80é\n" * 60) + b"\x85R"
    found = inspect_confined(memoryview(content))
    assert same_but_for_confinement(found, content)
    assert [finding.reason.value for finding in found.findings] == ["truncated"]


def test_a_payload_without_bytes_is_reported() -> None:
    """No bytes at all are a truncated payload."""
    assert reasons(b"") == ["truncated"]


def test_a_memory_file_is_inspected_as_it_is() -> None:
    """The descriptor of a sealed memory file is taken as it is, and stays the caller's."""
    descriptor = os.memfd_create("test")
    try:
        os.write(descriptor, pickle.dumps([Decimal], 4))
        found = inspect_confined(descriptor)
        assert [use.name for use in found.imports] == ["decimal:Decimal"]
        os.fstat(descriptor)
    finally:
        os.close(descriptor)


def test_what_confines_is_reported() -> None:
    """The report says which limits and which of the kernel's means were in force."""
    found = inspect_confined(b"N.")
    assert found.confinement[: len(RESOURCES)] == RESOURCES
    kernel = set(found.confinement) - set(RESOURCES)
    assert kernel <= {"seccomp", "landlock"}
    assert found.is_confined_by_kernel == bool(kernel)
    if platform.system() == "Linux" and machine_calls() is not None:
        assert "seccomp" in kernel


# ── exhaustion ───────────────────────────────────────────────────────────────

LITTLE = Allowance(memory=256 * limits.MIB, cpu_seconds=60, seconds=300)
DEEP = b")" + b"\x85" * 3_000_000


def test_an_inspection_is_bounded_unless_told_otherwise() -> None:
    """Memory, processor time and time: what is not given is that of ``sealstore.limits``."""
    assert Allowance() == Allowance(
        memory=limits.INSPECTION_MEMORY_BYTES,
        cpu_seconds=limits.INSPECTION_CPU_SECONDS,
        seconds=limits.INSPECTION_SECONDS,
    )
    assert limits.INSPECTION_MEMORY_BYTES <= 4 * limits.GIB
    assert limits.INSPECTION_CPU_SECONDS <= limits.INSPECTION_SECONDS <= 900


@pytest.mark.parametrize(
    ("make", "allowed"),
    [
        (lambda: proto(2) + b"K\x01r\xff\xff\xff\x7f.", {"limit"}),
        (lambda: proto(2) + b"}" + DEEP + b"Ns.", {"exhaustion", "limit"}),
        (lambda: proto(4) + b"\x8e" + (2**45).to_bytes(8, "little") + b".", {"limit", "truncated"}),
        (lambda: zlib.compress(bytes(300 * limits.MIB), 1), {"limit"}),
    ],
    ids=["memo index", "nesting", "length claim", "decompression"],
)  # fmt: skip
def test_a_payload_that_exhausts_its_inspection_is_refused(
    make: Callable[[], bytes], allowed: set[str]
) -> None:
    """A bomb of memo, nesting, length or compression ends the child at most, and is a finding."""
    (reason,) = reasons(make(), LITTLE)
    assert reason in allowed
    assert reasons(b"N.", LITTLE) == []


def test_an_inspection_that_takes_too_long_is_ended() -> None:
    """The time by the clock is bounded, and the finding says so."""
    found = inspect_confined(slow(), Allowance(seconds=1))
    (finding,) = found.findings
    assert finding.reason.value == "exhaustion"
    assert "more than 1 seconds" in finding.text
    assert found.confinement


def test_an_inspection_that_takes_too_much_cpu_is_ended() -> None:
    """The CPU time is bounded by the kernel, which ends the child."""
    (finding,) = inspect_confined(slow(), Allowance(cpu_seconds=1)).findings
    assert finding.reason.value == "exhaustion"
    assert "SIGXCPU" in finding.text or "SIGKILL" in finding.text


def slow() -> bytes:
    """A payload of few bytes whose inspection takes minutes."""
    # Each element of the list is the one before, twice: as a key it is hashed all the way down.
    doubled = b")" + b"2\x86" * 40
    return proto(2) + b"}" + doubled + b"Ns."


def test_a_report_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but a bounded report is taken from the child."""
    monkeypatch.setattr(limits, "MAX_INSPECTION_REPORT_BYTES", 100)
    content = proto(4) + b"".join(name("m", f"q{number}") + b"0" for number in range(99)) + b"N."
    (finding,) = inspect_confined(content).findings
    assert "grew beyond every bound" in finding.text


def test_a_child_that_ends_without_a_report_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child that ends by itself before it reported is no reason to take its payload."""
    ending = confinement._CHILD.replace(
        "main(int", "import os; os.write(1, b'[]\\n'); os._exit(7)#"
    )
    monkeypatch.setattr(confinement, "_CHILD", ending)
    (finding,) = inspect_confined(b"N.").findings
    assert "status 7" in finding.text


def test_a_child_that_cannot_be_confined_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the child cannot even begin, nothing is said of the payload."""
    monkeypatch.setattr(confinement, "_CHILD", "raise SystemExit(1)")
    with pytest.raises(ConfigurationError, match="could not be started"):
        inspect_confined(b"N.")


def children_of_this_process() -> list[str]:
    """Other tests of the same process may have left some of theirs."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_no_child_and_no_descriptor_is_left() -> None:
    """However an inspection ends, it leaves no process and no open file."""
    before, children = open_descriptors(), children_of_this_process()
    for content, allowance in [(b"N.", None), (b"", None), (slow(), Allowance(seconds=0.5))]:
        inspect_confined(content, allowance)
    assert open_descriptors() == before
    assert children_of_this_process() == children


def test_the_environment_of_the_caller_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a variable nor a module of the caller's folder reaches the child."""
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", os.environ.get("LD_LIBRARY_PATH", "/nowhere"))
    assert reasons(b"N.") == []
    monkeypatch.delenv("LD_LIBRARY_PATH")
    assert reasons(b"N.") == []


def test_without_lz4_its_files_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compression that is not installed is a finding, and no failure of the child."""
    monkeypatch.setattr(confinement, "find_spec", lambda _name: None)
    site = confinement.__file__
    if (Path(site).parents[3] / "lz4").exists():
        pytest.skip("lz4 lies beside sealstore itself, where the child finds it")
    assert reasons(b"\x04\x22\x4d\x18" + bytes(20)) == ["compression"]


# ── what the child can no longer do ──────────────────────────────────────────

PROBE = """
import mmap, os, resource, socket, sys, threading
sys.path.append({root!r})
from sealstore.formats.pickling.confined_child import (
    ChildLimits, confine_by_kernel, limit_resources
)
limits = limit_resources(ChildLimits(memory=256 * 2**20, cpu_seconds=20)) if {limited} else ()
kernel = confine_by_kernel(1)
os.write(1, repr(kernel).encode() + b" confined\\n")
{attempt}
os.write(1, b"survived\\n")
os._exit(0)
"""

ATTEMPTS = {
    "opens a file": "open('/etc/hostname')",
    "writes a file": "open({file!r}, 'w')",
    "starts a process": "os.fork()",
    "executes a program": "os.execv('/bin/true', ['true'])",
    "connects": "socket.socket()",
    "kills": "os.kill(os.getppid(), 0)",
    "writes elsewhere": "os.write(2, b'x')",
    "closes and duplicates": "os.dup(1)",
    "makes memory executable": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "asks for its name": "os.uname()",
    "lifts a limit": "resource.setrlimit(resource.RLIMIT_CPU, (99, 99))",
    "starts a thread": "threading.Thread(target=print).start()",
}


def probe(attempt: str, *, limited: bool = True) -> subprocess.CompletedProcess[bytes]:
    code = PROBE.format(root=str(ROOT), attempt=attempt, limited=limited)
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, check=False, timeout=60
    )


needs_seccomp = pytest.mark.skipif(
    machine_calls() is None, reason="the filter is written for x86_64 and aarch64"
)


@needs_seccomp
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_confined_process_dies_of_what_it_must_not_do(attempt: str, tmp_path: Path) -> None:
    """Files, processes, network and executable memory are out of reach, on pain of death."""
    code = ATTEMPTS[attempt].format(file=str(tmp_path / "written"))
    done = probe(code)
    assert b"confined" in done.stdout
    assert b"survived" not in done.stdout
    assert done.returncode == -31  # SIGSYS
    assert list(tmp_path.iterdir()) == []


def test_a_confined_process_can_still_compute_and_report() -> None:
    """Taking and giving back memory, and writing the report, need nothing that was given up."""
    done = probe("x = [bytes(10**6) for _ in range(50)]; del x; x = bytes(10**8); del x")
    assert done.stdout.endswith(b"survived\n")
    assert done.returncode == 0


def test_a_confined_process_has_no_more_memory_than_allowed() -> None:
    """Address space beyond the limit is a MemoryError, or the end."""
    done = probe("bytes(2**30)")
    assert b"survived" not in done.stdout


# ── its parts, in this process ───────────────────────────────────────────────


def in_a_thread(work: Callable[[], Any]) -> Any:
    """The result of ``work`` in a thread of its own: what confines it ends with it."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except OSError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


ALL_ALLOWED = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF_0000)


def test_a_filter_is_put_on_the_calling_thread_alone() -> None:
    """Entering seccomp is for the thread that asks, so a child of one thread has it whole."""

    def work() -> bool:
        give_up_privileges()
        return enter_seccomp(ALL_ALLOWED)

    assert in_a_thread(work) is True
    assert "Seccomp:\t0" in Path("/proc/thread-self/status").read_text()


def test_a_filter_that_the_kernel_refuses_is_reported() -> None:
    """Where the kernel takes no filter, nobody is told that there is one."""
    assert in_a_thread(lambda: enter_seccomp(b"\xff" * 8)) is False


def test_landlock_takes_files_away_where_the_kernel_has_it(tmp_path: Path) -> None:
    """Under Landlock no file opens; where the kernel has none, that is reported."""
    (tmp_path / "file").write_bytes(b"x")

    def work() -> Any:
        give_up_privileges()
        if not enter_landlock():
            return "absent"
        return (tmp_path / "file").read_bytes()

    found = in_a_thread(work)
    assert found == "absent" or found.errno == errno.EACCES


@pytest.mark.parametrize(
    ("version", "created", "restricted", "expected"),
    [(-1, 0, 0, False), (0, 0, 0, False), (1, -1, 0, False), (3, 1, -1, False),
     *((version, 1, 0, True) for version in (1, 2, 3, 4, 5, 6, 7, 99))],
)  # fmt: skip
def test_every_version_of_landlock_gets_what_it_knows(
    version: int,
    created: int,
    restricted: int,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rules handed to the kernel are of the size and with the rights of its version."""
    calls: list[tuple[int, tuple[object, ...]]] = []

    def system_call(number: int, *arguments: object) -> int:
        calls.append((number, arguments))
        if number == 446:
            return restricted
        if arguments[-1] == 1:
            return version
        return os.open("/dev/null", os.O_RDONLY) if created > 0 else created

    monkeypatch.setattr(confined_child, "_system_call", system_call)
    assert enter_landlock() is expected
    if expected:
        attributes, size, _ = calls[1][1]
        assert isinstance(attributes, bytes)
        rights = int.from_bytes(attributes[:8], "little")
        assert rights == {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}.get(version, 0xFFFF)
        assert size == (8 if version < 4 else 16 if version < 6 else 24)


def test_a_prctl_that_fails_is_an_error() -> None:
    """The child does not go on where the kernel refuses what it asks for."""
    with pytest.raises(OSError, match="Invalid argument"):
        confined_child._prctl(-1)


class Machine:
    """Runs a filter as the kernel would, for one system call."""

    def __init__(self, program: bytes) -> None:
        self._program = program

    def verdict(self, number: int, *arguments: int, architecture: int) -> str:
        words = [number, architecture, 0, 0]
        for argument in (*arguments, *(0,) * (6 - len(arguments))):
            words += [argument & 0xFFFF_FFFF, argument >> 32]
        at, accumulator = 0, 0
        while True:
            code, then, otherwise, value = struct.unpack_from("=HBBI", self._program, at * 8)
            at += 1
            if code == 0x06:
                return {0x7FFF_0000: "allow", 0x8000_0000: "kill"}[value]
            if code == 0x20:
                accumulator = words[value // 4]
                continue
            met = {0x15: accumulator == value, 0x35: accumulator >= value,
                   0x45: bool(accumulator & value)}[code]  # fmt: skip
            at += then if met else otherwise


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_allows_what_it_says_and_nothing_else(machine: str) -> None:
    """Of all system calls, with all arguments that matter, only the listed ones are allowed."""
    calls = machine_calls(machine)
    assert isinstance(calls, SystemCalls)
    filtered = Machine(seccomp_program(calls, 7))
    own = calls.architecture
    for number in range(600):
        expected = "allow" if number in calls.free or number in calls.mapping else "kill"
        assert filtered.verdict(number, architecture=own) == expected
        assert filtered.verdict(number, architecture=own ^ 1) == "kill"
        assert filtered.verdict(number | 0x4000_0000, architecture=own) == "kill"
    assert filtered.verdict(calls.write, 7, architecture=own) == "allow"
    for descriptor in (0, 1, 6, 8, 7 | 1 << 32, 2**64 - 1):
        assert filtered.verdict(calls.write, descriptor, architecture=own) == "kill"
    for mapping in calls.mapping:
        assert filtered.verdict(mapping, 0, 4096, 3, architecture=own) == "allow"
        for protection in (4, 5, 7):
            assert filtered.verdict(mapping, 0, 4096, protection, architecture=own) == "kill"
    assert machine_calls("sparc") is None


def test_a_missing_decompressor_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is known before files are out of reach."""
    monkeypatch.setattr(confined_child, "_DECOMPRESSORS", ("zlib", "sealstore_no_such.part"))
    confined_child.import_decompressors()
    assert sys.modules["sealstore_no_such"] is None
    monkeypatch.delitem(sys.modules, "sealstore_no_such")
    assert sys.modules["zlib"] is zlib


def test_the_child_is_confined_before_it_looks_at_its_payload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits first, then the kernel's means, then the word of it, then the payload."""
    steps: list[str] = []

    def step(name: str, result: object = ("x",)) -> Callable[..., object]:
        def note(*_: object) -> object:
            steps.append(name)
            return result

        return note

    monkeypatch.setattr(confined_child, "limit_resources", step("limits"))
    monkeypatch.setattr(confined_child, "confine_by_kernel", step("kernel"))
    monkeypatch.setattr(confined_child, "write_line", step("header"))
    monkeypatch.setattr(confined_child, "report", step("payload"))
    monkeypatch.setattr(os, "_exit", step("end"))
    with (tmp_path / "payload").open("wb+") as file:
        confined_child.main(file.fileno(), 1, ChildLimits(memory=1, cpu_seconds=1))
    assert steps == ["limits", "kernel", "header", "payload", "end"]


def test_limits_are_lowered_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Soft and hard limit are set, and never above a hard limit that was there."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (5, -1 if kind else 1))
    lowered: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", lowered.__setitem__)
    assert limit_resources(ChildLimits(memory=1000, cpu_seconds=7)) == RESOURCES
    assert lowered[resource.RLIMIT_CPU] == (1, 1)  # RLIMIT_CPU is number 0
    assert lowered[resource.RLIMIT_NOFILE] == (0, 0)
    space, hard = lowered[resource.RLIMIT_AS]
    assert space == hard
    assert space > 1000


def test_the_kernel_confines_by_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each means that is in force is named, and none that is not."""
    monkeypatch.setattr(confined_child, "give_up_privileges", lambda: None)
    monkeypatch.setattr(confined_child, "enter_landlock", lambda: True)
    monkeypatch.setattr(confined_child, "enter_seccomp", lambda _program: False)
    assert confine_by_kernel(1) == ("landlock",)
    monkeypatch.setattr(confined_child, "enter_landlock", lambda: False)
    monkeypatch.setattr(confined_child, "enter_seccomp", lambda _program: True)
    monkeypatch.setattr(confined_child, "machine_calls", lambda: machine_calls("aarch64"))
    assert confine_by_kernel(1) == ("seccomp",)
    monkeypatch.setattr(confined_child, "machine_calls", lambda: None)
    assert confine_by_kernel(1) == ()


def test_the_report_is_one_line_of_json(tmp_path: Path) -> None:
    """The child writes its inspection as a line, however many writes that takes."""
    path = tmp_path / "report"
    payload = tmp_path / "payload"
    payload.write_bytes(pickle.dumps([Path], 4))
    for content in (payload.read_bytes(), b""):
        payload.write_bytes(content)
        with path.open("wb") as file, payload.open("rb") as source:
            report(map_payload(source.fileno()), file.fileno())
        line = path.read_bytes()
        assert line.endswith(b"\n")
        assert json.loads(line)["protocol"] == (4 if content else 0)
