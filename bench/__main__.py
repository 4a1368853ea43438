"""``python -m bench``: every figure, one line each; exit 1 if one fails its target by far."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version

from bench import access, audit, bounds, fsck, load_and_store, lookup, peers
from bench.timing import Figure

PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "load-and-store": load_and_store.figures,
    "bounds": bounds.figures,
    "lookup": lookup.figures,
    "access": access.figures,
    "audit": audit.figures,
    "fsck": fsck.figures,
    "peers": peers.figures,
}


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    chosen = parser.parse_args().parts or list(PARTS)
    versions = ", ".join(f"{name} {version(name)}" for name in ("joblib", "numpy", "scikit-learn"))
    print(f"Python {platform.python_version()}, {versions}; medians, ratios to plain joblib\n")
    failed = False
    for part in chosen:
        for figure in PARTS[part]():
            print(figure, flush=True)
            failed |= figure.verdict == "FAILED"
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
