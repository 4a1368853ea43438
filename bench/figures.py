"""Figures: what was measured, what it should be, and the table that they make together."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

COLUMNS = ("load", "load, to MLflow", "store", "store, to MLflow")
"""Of the table; a figure's place names one of them."""

_PACKAGES = (
    "sealstore",
    "joblib",
    "numpy",
    "pandas",
    "scikit-learn",
    "SQLAlchemy",
    "mlflow-skinny",
)


@dataclass(frozen=True)
class Figure:
    """One line of the report.

    Attributes:
        what: what was measured.
        value: the figure.
        unit: ``x`` for a ratio, ``ms``, ``us``, ``/s`` …
        target: what it should be at most, or at least; None where nothing was promised.
        detail: what lies behind it.
        is_at_least: whether more is better.
        place: its row and its column in the table; None where it is not in it.
    """

    what: str
    value: float
    unit: str
    target: float | None
    detail: str
    is_at_least: bool = False
    place: tuple[str, str] | None = None

    @property
    def wanted(self) -> str:
        """The target in words."""
        if self.target is None:
            return ""
        return f"at {'least' if self.is_at_least else 'most'} {self.target:g}"

    @property
    def verdict(self) -> str:
        """``ok`` or ``missed``: said, never enforced, since no machine is like another."""
        if self.target is None:
            return ""
        is_met = self.value >= self.target if self.is_at_least else self.value <= self.target
        return "ok" if is_met else "missed"

    def __str__(self) -> str:
        return (
            f"{self.what:<66} {self.value:9.3f} {self.unit:<3} {self.wanted:<14} {self.verdict:<6}"
            f" {self.detail}"
        )

    @property
    def cell(self) -> str:
        """It as a cell of the table, its target in brackets."""
        if self.unit == "x":
            value = f"{self.value:.3f}" if self.value < 0.1 else f"{self.value:.2f}"
        elif self.unit == "/s":
            value = f"{self.value:,.0f} a second"
        else:
            value = f"{self.value:.2f} {self.unit}"
        return value if self.target is None else f"{value} ({self.wanted})"

    def to_json(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
            "targetIs": "at least" if self.is_at_least else "at most",
            "verdict": self.verdict,
            "detail": self.detail,
            "place": self.place,
        }


def table(figures: Iterable[Figure]) -> str:
    """The figures that have a place, as a table in Markdown; "" where there are none."""
    rows: dict[str, dict[str, str]] = {}
    for figure in figures:
        if figure.place is not None:
            row, column = figure.place
            rows.setdefault(row, {})[column] = figure.cell
    if not rows:
        return ""
    lines = [f"| | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row, cells in rows.items():
        lines.append(f"| {row} | {' | '.join(cells.get(column, '') for column in COLUMNS)} |")
    return "\n".join(lines)


# ── the machine ──────────────────────────────────────────────────────────────


def machine() -> dict[str, Any]:
    """What the figures were seen on, and how busy it was."""
    return {
        "processor": _first_value(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memoryMiB": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "system": f"{platform.system()} {platform.release()}",
        "fileSystem": _file_system(Path(tempfile.gettempdir())),
        "loadAverage": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what is compared; of what is not installed, nothing."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def described(seen: Mapping[str, Any]) -> str:
    """The machine in three lines."""
    packages = ", ".join(f"{name} {number}" for name, number in seen["packages"].items())
    busy = ", which is BUSY: believe the ratios more than the times"
    return (
        f"{seen['processor']}, {seen['cores']} cores, {seen['memoryMiB'] / 1024:.0f} GiB,"
        f" {seen['system']}, files on {seen['fileSystem']}\n"
        f"Python {seen['python']}, {packages}\n"
        f"load average {seen['loadAverage']}{busy if seen['loadAverage'] > 0.5 else ''}"
    )


def _first_value(path: Path, key: str) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)


def _file_system(folder: Path) -> str:
    """The type of the file system that a folder is on: syncing costs what it costs there."""
    found, longest = "unknown", -1
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mounted, kind, *_ = line.split()
        if folder.resolve().is_relative_to(mounted) and len(mounted) > longest:
            found, longest = kind, len(mounted)
    return found
