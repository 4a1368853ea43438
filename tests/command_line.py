"""Running the command line: in this process, in another, and in another at a terminal."""

from __future__ import annotations

import inspect
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from sealstore.cli.app import command_line
from sealstore.keys.keyring import Key, Keyring
from sealstore.keys.sources import read_keyring_file
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.settings import PREFIX, Settings

_COLOURS = {"NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM"}
"""What whoever runs the tests may have set, and decides about colours."""
ROOT = Path(__file__).resolve().parents[1]
# click 8.2 dropped the parameter, and always keeps the two streams apart.
_APART: dict[str, Any] = (
    {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
)
HOSTILE = "a\x1b[31m\x07b\r\n\x9b2J\u202ec\u2066[bold]d[/bold]\x7f"
"""What must not reach a terminal: sequences, a bell, line ends, C1, bidi overrides, markup."""
FORBIDDEN = "\x1b\x07\r\x9b\u202e\u2066\x7f"


@dataclass(frozen=True)
class Ran:
    """What a run of the program gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


@dataclass
class Site:
    """A place with a repository and a keyring, and the program to run there."""

    repository: Path
    keyring: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables.setdefault("MODEL_REPO_PATH", str(self.repository))
        self.variables.setdefault("MODEL_REPO_KEYRING", str(self.keyring))

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.variables)

    def keys_kept(self) -> Keyring:
        """What the keyring file holds."""
        return read_keyring_file(self.keyring, outside=None)

    def set_keys(self, *keys: Key) -> None:
        """Give the keyring file other keys."""
        write_keyring_file(self.keyring, Keyring.of(keys))

    def run(
        self,
        *arguments: str | Path,
        code: int = 0,
        request: Mapping[str, str] | None = None,
        **variables: str | None,
    ) -> Ran:
        """Run the program in this process.

        Args:
            arguments: as they stand behind ``sealstore``.
            code: the exit code that is expected.
            request: further environment variables, with any names.
            variables: environment variables, on top of this site's.
        """
        foreign = {name: None for name in os.environ if name.startswith(PREFIX)}
        runner = CliRunner(
            env={**foreign, **self.variables, **(request or {}), **variables}, **_APART
        )
        result = runner.invoke(command_line, list(map(str, arguments)), prog_name="sealstore")
        ran = Ran(result.exit_code, result.stdout, result.stderr)
        assert ran.code == code, ran
        assert ("Traceback" in ran.err) is ("--debug" in arguments)
        return ran

    def environment(self, **variables: str) -> dict[str, str]:
        """A whole environment for another process."""
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(PREFIX) and name not in _COLOURS
        }
        own["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        return {**own, **self.variables, **variables}

    def run_apart(self, *arguments: str, **variables: str) -> Ran:
        """Run the program as a process of its own."""
        done = subprocess.run(
            program(*arguments),
            capture_output=True,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def run_at_terminal(
        self, *arguments: str, answer: str = "", **variables: str
    ) -> tuple[int, str]:
        """Run the program at a pseudo-terminal, 80 columns wide, and type ``answer``.

        Returns:
            The exit code, and all that the terminal got, with what was typed.
        """
        ours, theirs = pty.openpty()
        environment = self.environment(TERM="xterm-256color", COLUMNS="80", **variables)
        process = subprocess.Popen(
            program(*arguments),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            close_fds=True,
        )
        os.close(theirs)
        try:
            if answer:
                os.write(ours, answer.encode())
            got = _read_all(ours)
            return process.wait(), got.decode(errors="replace")
        finally:
            os.close(ours)
            if process.poll() is None:
                process.kill()
                process.wait()


def program(*arguments: str) -> list[str]:
    """The command that starts the program in this Python."""
    return [sys.executable, "-m", "sealstore.cli", *arguments]


def _read_all(descriptor: int) -> bytes:
    got = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], 60)
        if not ready:
            raise AssertionError(f"the program hangs; it said {got!r}")
        try:
            chunk = os.read(descriptor, 65_536)
        except OSError:
            # Linux: EIO when the other side has closed.
            return got
        if not chunk:
            return got
        got += chunk
