"""The command line. ``main`` is the program ``sealstore``; nothing is imported before it runs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program; ends the process with 0 (done), 1 (refused or failed) or 2 (usage)."""
    if sys.argv[1:] == ["--version"]:
        # What scripts ask most often is answered before anything else is imported.
        from sealstore import __version__

        sys.stdout.write(f"sealstore {__version__}\n")
        return
    from sealstore.cli.app import command_line

    command_line.main(prog_name="sealstore")
