"""What holds for every test: Hypothesis's profiles, markers, the coverage of critical rooms."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import coverage
import pytest
from hypothesis import HealthCheck, Verbosity, settings

pytest_plugins = [
    "tests.postgresql_cluster",
    "tests.sealstore_fixtures",
    "tests.places",
    "tests.audited",
    "tests.bundle_sites",
    "tests.older_release",
]

INVARIANTS = range(1, 8)
"""The numbers in docs/design.md."""

# Derandomised and without a database of earlier failures: each run of one commit does the same. No
# deadline and no health check that measures time: machines differ.
settings.register_profile(
    "default",
    derandomize=True,
    max_examples=50,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# For `make test-fast`: every property is still looked at, by fewer examples.
settings.register_profile("quick", parent=settings.get_profile("default"), max_examples=10)
# For the search by hand: HYPOTHESIS_PROFILE=thorough .venv/bin/pytest tests/properties
settings.register_profile(
    "thorough",
    parent=settings.get_profile("default"),
    derandomize=False,
    max_examples=5_000,
    print_blob=True,
    verbosity=Verbosity.normal,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_UNTRACED = {
    "faults", "properties",
    "test_core_races.py", "test_corpus.py", "test_engine_attacks.py", "test_history_attacks.py",
    "test_schema_attacks.py", "test_allowlist_generator.py", "test_pages.py",
}  # fmt: skip
"""Where the same code runs thousands of times, or dies: that it runs at all is shown elsewhere.

Tracing doubles the time of what it traces.
"""

critical_rooms_report = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("critical_rooms", "paths whose branches must all be covered", type="linelist")
    parser.addoption(
        "--critical-coverage",
        action="store_true",
        help="fail unless every branch of the critical rooms (see pyproject.toml) is covered",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("invariant"):
            if len(marker.args) != 1 or marker.args[0] not in INVARIANTS:
                raise pytest.UsageError(f"{item.nodeid}: no such invariant: {marker.args}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Measures no coverage where it is not looked for.

    pytest-cov's own ``no_cover`` stops one of the two measurements that it starts in each worker of
    pytest-xdist, and with that lets the other one go on.
    """
    here, in_threads = sys.gettrace(), threading.gettrace()
    if here is None or not _UNTRACED & set(item.path.parts):
        return (yield)
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        threading.settrace(in_threads)
        sys.settrace(here)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Reports each incompletely covered room as a failed test, once pytest-cov has its data."""
    outcome = yield
    config = session.config
    if not config.getoption("--critical-coverage") or hasattr(config, "workerinput"):
        return outcome
    lines, gaps = _critical_coverage(config)
    config.stash[critical_rooms_report] = lines
    for room, gap in gaps.items():
        config.hook.pytest_runtest_logreport(
            report=pytest.TestReport(
                nodeid=f"{room}::branch_coverage",
                location=(room, None, f"branch coverage of {room}"),
                keywords={},
                outcome="failed",
                longrepr=gap,
                when="call",
            )
        )
    return outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(critical_rooms_report, None)
    if lines is not None:
        terminalreporter.section("branch coverage of the critical rooms")
        for line in lines:
            terminalreporter.write_line(line)


def _critical_coverage(config: pytest.Config) -> tuple[list[str], dict[str, str]]:
    """A line for each room, and what is missing from each that is not complete."""
    if not config.pluginmanager.hasplugin("_cov") or not config.getoption("cov_source"):
        raise pytest.UsageError("--critical-coverage measures nothing without --cov")
    lines, gaps = [], {}
    for entry in config.getini("critical_rooms"):
        room = entry.strip("()")
        if room != entry and not (config.rootpath / room).exists():
            lines.append(f"  --  {room} (not there yet)")
            continue
        files = _measured(config.rootpath / room)
        missing = [
            f"{name}: lines {file['missing_lines']}, branches {file['missing_branches']}"
            for name, file in files.items()
            if file["missing_lines"] or file["missing_branches"]
        ]
        branches = sum(file["summary"]["num_branches"] for file in files.values())
        excluded = sum(file["summary"]["excluded_lines"] for file in files.values())
        lines.append(
            f"{'FAIL' if missing or not files else ' ok '}  {room}: {len(files)} files,"
            f" {branches} branches, {excluded} lines excluded"
        )
        if missing or not files:
            gaps[room] = "\n".join(missing) or f"{room} was not measured: is it still there?"
    return lines, gaps


def _measured(room: Path) -> dict[str, Any]:
    """Coverage's report on a module, or on every module of a folder, by file name."""
    pattern = f"{room}/*" if room.is_dir() else str(room)
    data = coverage.Coverage()
    data.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        try:
            data.json_report(outfile=str(report), include=[pattern])
        except coverage.exceptions.NoDataError:
            return {}
        files: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
    return files
