"""sealstore, picklescan, modelscan and fickling on the attack corpus: ``python -m bench.scanners``.

The scanners are the extra ``bench-scanners``; with ``--python PATH`` they may be installed in an
environment of their own. Each file is scanned by a process of its own, under limits. What counts is
what the scanner itself says: a file is *flagged*, *clean*, or the scan *failed* (an error that the
scanner reports, an exception, a crash, memory or time that ran out, a form that it does not know).

A file counts as malicious if stock joblib, as installed here, shows it to be: attacks that lie
dormant with these versions are left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.attacks.corpus.forking import MIB, ForkServer, Report, limit, serve

ROOT: Final = Path(__file__).resolve().parents[1]
MEMORY_BYTES: Final = 2048 * MIB
CPU_SECONDS: Final = 30
FLAGGED, CLEAN, FAILED = "flagged", "clean", "failed"


# ── in the scanner's environment ─────────────────────────────────────────────


def _picklescan(path: str) -> str:
    from picklescan.scanner import scan_file_path

    result = scan_file_path(path)
    if result.issues_count:
        return FLAGGED
    return FAILED if result.scan_err or not result.scanned_files else CLEAN


def _picklescan_strict(path: str) -> str:
    from picklescan.scanner import scan_file_path

    result = scan_file_path(path, strict=True)
    if result.issues_count:
        return FLAGGED
    return FAILED if result.scan_err or not result.scanned_files else CLEAN


def _modelscan(path: str) -> str:
    from modelscan.modelscan import ModelScan

    scanner = ModelScan()
    scanner.scan(path)
    if scanner.issues.all_issues:
        return FLAGGED
    return FAILED if scanner.errors or not scanner.scanned else CLEAN


def _fickling(path: str) -> str:
    from fickling.cli import main as fickling

    code = fickling(["fickling", "--check-safety", path])
    return {0: CLEAN, 1: FLAGGED}.get(code, FAILED)


SCANNERS: Final[dict[str, Callable[[str], str]]] = {
    "picklescan": _picklescan,
    "picklescan --strict": _picklescan_strict,
    "modelscan": _modelscan,
    "fickling": _fickling,
}


def _scan(request: dict[str, Any], report: Report) -> None:
    os.chdir(request["folder"])
    if "version" in request:
        report({"version": version(request["version"])})
        return
    limit(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS)
    try:
        report({"verdict": SCANNERS[request["scanner"]](request["file"])})
    except BaseException as error:  # noqa: BLE001 - whatever the file made the scanner raise
        report({"verdict": FAILED, "error": type(error).__name__})


def _serve() -> None:
    """Import the scanners once, then fork for each file."""
    import fickling.cli  # noqa: F401
    import modelscan.modelscan  # noqa: F401
    import picklescan.scanner  # noqa: F401

    serve(_scan)


# ── in sealstore's environment ───────────────────────────────────────────────


class Tally:
    """How the files of one scanner came out."""

    def __init__(self) -> None:
        self.malicious: Counter[str] = Counter()
        self.benign: Counter[str] = Counter()
        self.missed: list[str] = []
        self.alarms: list[str] = []

    def add(self, entry: dict[str, Any], verdict: str) -> None:
        """Count one file."""
        if entry["malicious"]:
            self.malicious[verdict] += 1
            if verdict == CLEAN:
                self.missed.append(entry["id"])
        else:
            self.benign[verdict] += 1
            if verdict == FLAGGED:
                self.alarms.append(entry["id"])

    def row(self, name: str) -> str:
        """Its line of the table, in Markdown."""
        malicious, benign = self.malicious, self.benign
        return (
            f"| {name} | {malicious[FLAGGED]} of {malicious.total()} | {malicious[CLEAN]}"
            f" | {malicious[FAILED]} | {benign[FLAGGED]} of {benign.total()} | {benign[FAILED]} |"
        )


def _sealstore(path: Path) -> str:
    from sealstore.formats.pickling.confinement import Allowance, inspect_confined
    from tests.attacks.corpus.watching import refusals

    allowance = Allowance(memory=1024 * MIB, cpu_seconds=CPU_SECONDS, seconds=60)
    return FLAGGED if refusals(inspect_confined(path.read_bytes(), allowance)) else CLEAN


def _tallies(folder: Path, python: str) -> dict[str, Tally]:
    from tests.attacks.generate_corpus import generate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entries = [entry for entry in generate(folder) if entry.get("dormant") is None]
    server = ForkServer("bench.scanners", ROOT, python=python, arguments=("--serve",))
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for scanner in SCANNERS:
            package = scanner.partition(" ")[0]
            known = server.ask(folder=scratch, version=package)["version"]
            tally = tallies[scanner.replace(package, f"{package} {known}")] = Tally()
            for entry in entries:
                file = str(folder / entry["file"])
                answer = server.ask(folder=scratch, scanner=scanner, file=file)
                tally.add(entry, answer.get("verdict", FAILED))
    server.close()
    tally = tallies[f"sealstore {version('sealstore')}"] = Tally()
    for entry in entries:
        tally.add(entry, _sealstore(folder / entry["file"]))
    return tallies


def main() -> int:
    """Scan the corpus, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.scanners", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="where the scanners are installed")
    parser.add_argument("--details", action="store_true", help="name what was missed, and alarms")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        tallies = _tallies(Path(folder), options.python)
    packages = ", ".join(f"{name} {version(name)}" for name in ("joblib", "numpy", "scikit-learn"))
    print(f"Python {platform.python_version()}, {packages}\n")
    print("| | malicious: flagged | called clean | failed | harmless: flagged | failed |")
    print("|---|---|---|---|---|---|")
    for name, tally in tallies.items():
        print(tally.row(name))
    if options.details:
        for name, tally in tallies.items():
            print(f"\n{name}\n  called clean: {tally.missed}\n  false alarms: {tally.alarms}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
