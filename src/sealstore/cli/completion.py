"""Completion in shells: commands, options, and the catalogue's names, tags and aliases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from sealstore.cli.invocation import COMPLETION_VARIABLE, DONE, options_of_completion

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
