"""One run of the program: its options, the settings that follow, what a shell completes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

if TYPE_CHECKING:
    from sealstore.repository.facade import Repository
    from sealstore.repository.settings import Settings, Variable

COMPLETION_VARIABLE: Final = "_SEALSTORE_COMPLETE"
DONE: Final = 0
FAILED: Final = 1
_TIME: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?Z?)?)?)?")


@dataclass(slots=True)
class Invocation:
    """The options that stand before the command.

    Attributes:
        repository: the repository's folder, where one was given.
        keyring: the keyring file, where one was given.
        debug: whether errors show where they were raised.
    """

    repository: Path | None = None
    keyring: Path | None = None
    debug: bool = False

    def options(self) -> dict[Variable, str]:
        """The variables that options stand in for, each with its option."""
        from sealstore.repository.settings import Variable

        given = {Variable.PATH: self.repository, Variable.KEYRING: self.keyring}
        names = {Variable.PATH: "--repository", Variable.KEYRING: "--keyring"}
        return {variable: names[variable] for variable, value in given.items() if value}

    def environment(self) -> dict[str, str]:
        """The environment variables, as if the options had been set there."""
        from sealstore.repository.settings import Variable

        variables = dict(os.environ)
        if self.repository:
            variables[Variable.PATH] = str(self.repository)
        if self.keyring:
            variables[Variable.KEYRING] = str(self.keyring)
        return variables

    def settings(self) -> Settings:
        """What is configured.

        Raises:
            ConfigurationError: a variable has an impossible value.
        """
        from sealstore.repository.settings import Settings

        return Settings.from_environment(self.environment())

    def open(self) -> Repository:
        """The repository, to be closed by the caller.

        Raises:
            SealstoreError: as ``Repository.open``.
        """
        from sealstore.repository.facade import Repository

        return Repository.open(settings=self.settings())


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def path_given(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    """A path from an option. An empty one, from an unset variable of a script, is refused."""
    if value == "":
        raise click.BadParameter("the path is empty.", ctx, parameter)
    return None if value is None else Path(value)


def utc_time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A UTC time from an option, or the beginning of one."""
    if value is None:
        return None
    if not _TIME.fullmatch(value):
        raise click.BadParameter(
            "give a UTC time or its beginning: 2026-11, 2026-11-23, 2026-11-23T08:30.",
            ctx,
            parameter,
        )
    # Times are compared as text, and a Z would come behind every further digit.
    return value.removesuffix("Z")


def options_of_completion(parameters: Mapping[str, object]) -> Invocation:
    """The invocation that the options typed so far make, in a shell's completion."""
    repository, keyring = parameters.get("repository"), parameters.get("keyring")
    return Invocation(
        repository if isinstance(repository, Path) else None,
        keyring if isinstance(keyring, Path) else None,
    )


# ── completion in shells ─────────────────────────────────────────────────────


SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print the script that completes commands, names and tags.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script that completes commands, names and tags.

    \b
    bash: sealstore completion bash >> ~/.bashrc
    zsh:  sealstore completion zsh >> ~/.zshrc
    fish: sealstore completion fish > ~/.config/fish/completions/sealstore.fish
    """  # noqa: D301 (click keeps lines apart after a real backspace)
    found = get_completion_class(shell)
    if found is None:
        raise click.BadParameter("click does not know this shell.")
    completer = found(ctx.find_root().command, {}, "sealstore", COMPLETION_VARIABLE)
    # Not the subclass's own: bash's would look for a bash on this machine first.
    click.echo(ShellComplete.source(completer))
    return DONE


def complete_name(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names that begin with what is typed."""
    return _matching(incomplete, lambda: _names(ctx))


def complete_tag(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The tags of the name that was typed before."""
    return _matching(incomplete, lambda: _tags(ctx, ctx.params.get("name")))


def complete_alias(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The aliases of the name that was typed before."""
    return _matching(incomplete, lambda: _aliases(ctx, ctx.params.get("name")))


def complete_snapshot(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The snapshots of the backup whose folder was typed before."""
    return _matching(incomplete, lambda: _snapshots(ctx.params.get("folder")))


def complete_key(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ids of the keyring's keys."""
    return _matching(incomplete, lambda: _key_ids(ctx))


def _matching(incomplete: str, find: Callable[[], Iterable[str]]) -> list[CompletionItem]:
    from sealstore.errors import InvalidNameError
    from sealstore.names import Name

    items = []
    try:
        for text in find():
            try:
                # The catalogue is not trusted, and this text goes into somebody's prompt: only
                # what may be a name can have no control characters.
                name = Name(text)
            except InvalidNameError:
                continue
            if name.startswith(incomplete):
                items.append(CompletionItem(str(name)))
    except Exception:  # noqa: BLE001 (nothing is completed; there is nobody to tell)
        return []
    return items


def _names(ctx: click.Context) -> list[str]:
    with options_of_completion(ctx.find_root().params).open() as repository:
        return repository.catalogue.names()


def _tags(ctx: click.Context, name: object) -> list[str]:
    from sealstore import limits
    from sealstore.storage.catalogue import ListFilter

    wanted = ListFilter(name=str(name), newest_only=True)
    with options_of_completion(ctx.find_root().params).open() as repository:
        rows = repository.catalogue.list_rows(wanted, limit=limits.MAX_LIST_ROWS)
        return [row.tag for row in rows]


def _snapshots(folder: object) -> list[str]:
    from sealstore.upkeep.backup.snapshot import snapshots_in

    return [each.path.name for each in snapshots_in(Path(str(folder)))]


def _key_ids(ctx: click.Context) -> list[str]:
    from sealstore.admin.keyring_file import configured_keyring

    settings = options_of_completion(ctx.find_root().params).settings()
    return [key.key_id for key in configured_keyring(settings)]


def _aliases(ctx: click.Context, name: object) -> list[str]:
    with options_of_completion(ctx.find_root().params).open() as repository:
        return [each.alias for each in repository.aliases(str(name))]
