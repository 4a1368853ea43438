"""A process that starts, opens, loads one small model and ends, against one that does so by joblib.

Where models are loaded by short jobs, this is all of what sealstore costs. Both are measured from
outside: CPU seconds of the whole process, and seconds on the clock.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import joblib

from bench import objects
from bench.figures import Figure
from bench.keeping import NAME, SYNCED_JOBLIB, settings_in
from bench.timing import Times, runs_of
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.keys.keyring import Keyring
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.repository.settings import PREFIX, Variable

ROUNDS = 15
TARGET = 1.12
ROW = "a new process: open and load"

OURS = f"""
from sealstore import Repository
with Repository.open() as repository:
    repository.load({NAME!r})
"""
BY_JOBLIB = """
import sys, joblib
joblib.load(sys.argv[1])
"""
IMPORTED = """
import sys
from sealstore import Repository
with Repository.open() as repository:
    repository.load("bench")
print(sum(name.partition(".")[0] == "sealstore" for name in sys.modules))
print("sqlalchemy" in sys.modules)
"""


@dataclass
class Used:
    """What the processes of one kind used.

    Attributes:
        cpu: user and system seconds.
        clock: seconds from start to end.
    """

    cpu: Times = field(default_factory=Times)
    clock: Times = field(default_factory=Times)


def figures() -> Iterator[Figure]:
    """CPU and clock of the one as ratios to the other's."""
    with tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder:
        here = Path(folder)
        variables = _repository(here)
        plain = here / "plain.joblib"
        joblib.dump(objects.linear_model(), plain)
        programs = {
            "sealstore": ["-c", OURS],
            SYNCED_JOBLIB.name: ["-c", BY_JOBLIB, str(plain)],
        }
        used = run(programs, variables)
        modules = _output(["-c", IMPORTED], variables)
    ours, other = used["sealstore"], used[SYNCED_JOBLIB.name]
    yield _figure(f"{ROW}, CPU", ours.cpu, other.cpu, place=(ROW, "load"))
    yield _figure(f"{ROW}, on the clock", ours.clock, other.clock, place=None)
    count, has_sqlalchemy = modules.split()
    detail = f"SQLAlchemy is {'imported' if has_sqlalchemy == 'True' else 'not imported'}"
    yield Figure(f"{ROW}, modules of sealstore", float(count), "", None, detail)


def _figure(what: str, ours: Times, other: Times, *, place: tuple[str, str] | None) -> Figure:
    detail = (
        f"{ours.median:.3f} s against {other.median:.3f} s;"
        f" least: {ours.quickest / other.quickest:.2f} x"
    )
    return Figure(what, ours.median / other.median, "x", TARGET, detail, place=place)


def _repository(here: Path) -> dict[str, str]:
    """A repository as an operator makes one, and the variables that lead to it."""
    settings = settings_in(here)
    write_keyring_file(settings.keyring_path, Keyring.of([new_key(HmacSha256.generate())]))
    with Repository.create(settings.path, settings=settings) as repository:
        repository.store(objects.linear_model(), NAME, "1")
    return {
        Variable.PATH.value: str(settings.path),
        Variable.KEYRING.value: str(settings.keyring_path),
        Variable.TRUST_STATE.value: str(settings.trust_folder),
    }


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    # Compiled modules are kept, as everywhere.
    left_out = {"PYTHONDONTWRITEBYTECODE"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in left_out
    }
    return kept | dict(variables)


def run(programs: Mapping[str, Sequence[str]], variables: Mapping[str, str]) -> dict[str, Used]:
    """Run all in turn; the first round, which compiles modules, does not count."""
    environment = _environment(variables)
    used = {name: Used() for name in programs}
    for number in range(runs_of(ROUNDS) + 1):
        for name, arguments in programs.items():
            cpu, clock = _child(arguments, environment)
            if number:
                used[name].cpu.each.append(cpu)
                used[name].clock.each.append(clock)
    return used


def _child(arguments: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """CPU and clock seconds of one process."""
    began = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, *arguments], environment)
    _, status, usage = os.wait4(process, 0)
    took = time.perf_counter() - began
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_utime + usage.ru_stime, took


def _output(arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    return subprocess.run(  # noqa: S603 (ours)
        [sys.executable, *arguments],
        env=_environment(variables),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
