"""The program: its options, its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import click

import sealstore
from sealstore.cli import options, output
from sealstore.cli.invocation import COMPLETION_VARIABLE, DONE, FAILED, Invocation

COMMANDS: Final = {
    "init": "admin:init",
    "store": "objects:store",
    "list": "looking:list_artifacts",
    "show": "looking:show",
    "history": "looking:history",
    "verify": "looking:verify",
    "export": "objects:export",
    "remove": "objects:remove",
    "alias": "aliases:alias",
    "approve": "aliases:approve",
    "inspect": "objects:inspect",
    "adopt": "objects:adopt",
    "policy": "admin:policy",
    "resign": "admin:resign",
    "heartbeat": "admin:heartbeat",
    "keys": "keys:keys",
    "audit": "audit:audit",
    "trust": "trust:trust",
    "fsck": "upkeep:fsck",
    "gc": "upkeep:gc",
    "rebuild": "upkeep:rebuild",
    "backup": "upkeep:backup",
    "restore": "upkeep:restore",
    "bundle": "bundles:bundle",
    "migrate": "admin:migrate",
    "doctor": "upkeep:doctor",
    "completion": "options:completion",
}
"""Each command's module in this package and name in it, in the order of the help."""


class CommandLine(click.Group):
    """A group that imports a command's module when the command is used.

    Commands return their exit code; None is 0.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"sealstore.cli.{module}"), name)
        return command

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run, and end the process. See ``sealstore.cli.main``."""
        for stream in (sys.stdout, sys.stderr):
            # A name in letters that the terminal's encoding lacks must not end the program.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")
        with _warnings_shown():
            sys.exit(self._run(*args, **kwargs))

    def _run(self, *args: Any, **kwargs: Any) -> int:
        invocation = kwargs["obj"] = Invocation()
        kwargs["standalone_mode"] = False
        try:
            return super().main(*args, **kwargs) or DONE
        except click.ClickException as error:
            return output.show_click_error(error)
        except click.Abort:
            output.note("stopped")
            return FAILED
        except Exception as error:  # noqa: BLE001 (shown, and the exit code says so)
            return output.show_error(error, debug=invocation.debug)

    def _main_shell_completion(
        self, ctx_args: MutableMapping[str, Any], prog_name: str, complete_var: str | None = None
    ) -> None:
        """Completion ends quietly, whatever is wrong: its output goes into somebody's prompt."""
        try:
            super()._main_shell_completion(ctx_args, prog_name, COMPLETION_VARIABLE)
        except Exception:  # noqa: BLE001 (nothing is completed; there is nobody to tell)
            sys.exit(FAILED)


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Show warnings as one escaped line each, sealstore's own always."""
    from sealstore.errors import RepairWarning

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        output.note(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", RepairWarning)
        warnings.showwarning = show
        yield


@click.group(
    cls=CommandLine,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(sealstore.__version__, "--version", message="sealstore %(version)s")
@click.option(
    "--repository",
    type=click.Path(),
    callback=options.path_given,
    help="The repository's folder. [default: MODEL_REPO_PATH, or /mnt/obj_repo]",
)
@click.option(
    "--keyring",
    type=click.Path(),
    callback=options.path_given,
    help="The keyring file. [default: MODEL_REPO_KEYRING, or the user's configuration folder]",
)
@click.option("--debug", is_flag=True, help="Show where an error was raised.")
@click.pass_context
def command_line(
    ctx: click.Context, repository: Path | None, keyring: Path | None, debug: bool
) -> int:
    """A signed repository for Python objects: verified first, loaded afterwards.

    Exit codes: 0 done; 1 refused, failed, or something is wrong; 2 usage.
    """
    invocation = ctx.ensure_object(Invocation)
    invocation.repository, invocation.keyring, invocation.debug = repository, keyring, debug
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    return DONE
