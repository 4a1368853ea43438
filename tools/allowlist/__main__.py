"""``python -m tools.allowlist``: record what real objects import, and write the allowlist of it.

``record FILE`` records the packages of the running environment. ``merge FILE…`` writes the
allowlist of several recordings. ``make`` does both, in a fresh environment for each of
`ENVIRONMENTS`; it needs the interpreters that these name, and the package index.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.allowlist.environments import ENVIRONMENTS, make
from tools.allowlist.merging import ALLOWLIST, merged, read_recording
from tools.allowlist.recording import recorded_here

USAGE = "usage: python -m tools.allowlist record FILE | merge FILE… | make FOLDER"


def main(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    match arguments:
        case ["record", file]:
            Path(file).write_text(recorded_here(), encoding="utf-8")
        case ["merge", *files] if files:
            recordings = [read_recording(Path(file)) for file in files]
            ALLOWLIST.write_text(merged(recordings), encoding="utf-8")
        case ["make", folder]:
            made = [make(environment, Path(folder)) for environment in ENVIRONMENTS]
            return main(["merge", *map(str, made)])
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
