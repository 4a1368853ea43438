"""The command line. ``main`` is the program ``sealstore``; nothing is imported before it runs."""

from __future__ import annotations


def main() -> None:
    """Run the program; ends the process with 0 (done), 1 (refused or failed) or 2 (usage)."""
    from sealstore.cli.app import command_line

    command_line.main(prog_name="sealstore")
