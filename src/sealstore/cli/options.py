"""What commands are given: the options and arguments of many, and what a shell completes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from sealstore.cli.invocation import (
    COMPLETION_VARIABLE,
    DONE,
    options_of_completion,
    pass_invocation,
)

_TIME: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?Z?)?)?)?")


def with_json(function: Callable[..., int]) -> Callable[..., int]:
    """A command that gets the invocation, and has the option ``--json``, as ``as_json``."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    return option(pass_invocation(function))


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
    from sealstore.storage.catalogue.listing import artifact_names

    with options_of_completion(ctx.find_root().params).open() as repository:
        return artifact_names(repository.catalogue)


def _tags(ctx: click.Context, name: object) -> list[str]:
    from sealstore import limits
    from sealstore.storage.catalogue.listing import ListFilter, list_rows

    wanted = ListFilter(name=str(name), newest_only=True)
    with options_of_completion(ctx.find_root().params).open() as repository:
        rows = list_rows(repository.catalogue, wanted, limit=limits.MAX_LIST_ROWS)
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


# ── what many commands are given ─────────────────────────────────────────────

name = click.argument("name", shell_complete=complete_name)
tag = click.argument("tag", shell_complete=complete_tag)
revision = click.option("--revision", type=click.IntRange(min=1), help="[default: the newest]")
limit = click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
after = click.option(
    "--after", type=click.IntRange(min=1), help="The next page: as the page before says."
)
actor = click.option("--actor", help="Who does it, such as a job's id.")
yes = click.option("--yes", is_flag=True, help="Do not ask.")
