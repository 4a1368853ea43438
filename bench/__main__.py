"""``python -m bench``: what was seen on this machine, beside what was promised.

Each figure is a line; those of the README's table are put together at the end. Nothing fails where
a target is missed: how fast a machine is, and what else it does, is no fault of the code.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
from collections.abc import Sequence

from bench.figures import Figure, described, machine, table
from bench.timing import set_effort

PARTS = (
    "load-and-store",
    "new-process",
    "processes",
    "bounds",
    "lookup",
    "audit",
    "fsck",
    "peers",
)
"""Each a module with that name, imported when it is its turn: processes that are started begin by
importing this one."""


def main() -> int:
    """Measure what the command line asks for.

    Returns:
        0, whatever was measured.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--json", action="store_true", help="one document on standard output")
    parser.add_argument(
        "--effort", type=float, default=1.0, help="0.2: a fifth of the runs; for a first look"
    )
    given = parser.parse_args()
    set_effort(given.effort)
    with contextlib.redirect_stdout(sys.stderr if given.json else sys.stdout):
        seen = machine()
        print(described(seen))
        print("medians of runs in turn; ratios to joblib, a store's to joblib with fsync\n")
        found = _measure(given.parts or PARTS)
    if given.json:
        figures = {part: [figure.to_json() for figure in each] for part, each in found.items()}
        print(json.dumps({"machine": seen, "parts": figures}, indent=2))
        return 0
    lines = table(figure for each in found.values() for figure in each)
    if lines:
        print(f"\n{lines}")
    return 0


def _measure(parts: Sequence[str]) -> dict[str, list[Figure]]:
    found: dict[str, list[Figure]] = {}
    for part in parts:
        print(f"── {part}")
        found[part] = []
        for figure in importlib.import_module(f"bench.{part.replace('-', '_')}").figures():
            print(figure, flush=True)
            found[part].append(figure)
    return found


if __name__ == "__main__":
    sys.exit(main())
