"""Runs a PostgreSQL server until standard input ends, so that it does not outlive who started it.

python postgresql_server.py USER COMMAND…: COMMAND is the server's own command line, USER whom it
runs as, or nothing. Prints a line when the server takes connections.
"""

from __future__ import annotations

import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

_READY_LINE = 7
"""Of postmaster.pid, counted from 0: what the server is doing."""


def serve(user: str, command: list[str]) -> None:
    """Run the server until standard input ends."""
    account = pwd.getpwnam(user) if user else None
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        # Not with this process: an interrupt from the terminal is for pytest.
        start_new_session=True,
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=account and [],
    )
    status_file = Path(command[command.index("-D") + 1], "postmaster.pid")
    while server.poll() is None and not _is_ready(status_file):
        time.sleep(0.02)
    if server.poll() is None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
    # PostgreSQL's immediate shutdown: sessions end, and nothing is written that nobody will read.
    server.send_signal(signal.SIGQUIT)
    server.wait()


def _is_ready(status_file: Path) -> bool:
    try:
        lines = status_file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready"


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
