"""init and migrate: a repository's beginning, and its schema."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealstore.cli import output
from sealstore.cli.invocation import DONE, Invocation, pass_invocation, path_given

if TYPE_CHECKING:
    from sealstore.admin.creation import Created
    from sealstore.repository.settings import Settings

ALGORITHMS = ("hmac-sha256", "ed25519")


@click.command(short_help="Make a repository, and a key for it.")
@click.option(
    "--path",
    type=click.Path(),
    callback=path_given,
    help="The folder, absent or empty. [default: as --repository]",
)
@click.option(
    "--keyring",
    type=click.Path(),
    callback=path_given,
    help="The keyring file. [default: as sealstore's own --keyring]",
)
@click.option("--immutable-tags", is_flag=True, help="Refuse to store a tag a second time.")
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS),
    help="Of a new key. [default: hmac-sha256, or a key that is there]",
)
@output.json_option
@pass_invocation
def init(
    invocation: Invocation,
    path: Path | None,
    keyring: Path | None,
    immutable_tags: bool,
    algorithm: str | None,
    as_json: bool,
) -> int:
    """Make a repository, and a key for it.

    The new key may store, administer and record accesses, in this repository only. An active key
    that is for every repository is used instead where there is one.
    """
    from sealstore.admin.creation import initialise

    invocation.repository = path or invocation.repository
    invocation.keyring = keyring or invocation.keyring
    settings = invocation.settings()
    created = initialise(settings, algorithm=algorithm, immutable_tags=immutable_tags)
    if as_json:
        output.document(
            {
                "repository": created.repository,
                "path": str(created.root),
                "keyring": str(settings.keyring_path.absolute()),
                "immutableTags": created.immutable_tags,
                "keyId": created.key.key_id,
                "algorithm": created.key.algorithm,
                "keyIsNew": created.key_is_new,
            }
        )
    else:
        _show(created, settings, _exports(settings, invocation))
    return DONE


def _exports(settings: Settings, invocation: Invocation) -> list[str]:
    """What a shell has to set so that it finds what options named."""
    from sealstore.repository.settings import Variable

    places = {Variable.PATH: settings.path, Variable.KEYRING: settings.keyring_path}
    return [
        f"export {variable}={shlex.quote(str(places[variable].absolute()))}"
        for variable in invocation.options()
    ]


def _show(created: Created, settings: Settings, exports: list[str]) -> None:
    key, keyring = created.key, settings.keyring_path.absolute()
    output.line(f"made repository {created.repository} in {created.root}")
    if created.key_is_new:
        output.line(f"made its key {key.key_id} ({key.algorithm}) in {keyring}")
        output.line("keep a copy of the keyring in a safe place: without it nothing can be loaded")
    else:
        output.line(f"signed with key {key.key_id} ({key.algorithm}), which was there")
    output.line()
    output.line("next:")
    for export in exports:
        output.line(f"  {export}")
    output.line(
        "  python -c 'from sealstore import Repository; r = Repository.open();"
        ' r.store({"answer": 42}, "first", "1"); print(r.load("first"))\''
    )
    output.line("  sealstore doctor")


@click.command(short_help="Bring the catalogue's schema to this release's.")
@click.option("--yes", is_flag=True, help="Do not ask whether there is a backup.")
@output.json_option
@pass_invocation
def migrate(invocation: Invocation, yes: bool, as_json: bool) -> int:
    """Bring the catalogue's schema to this release's.

    There is no way back but a copy of the database from before, so this asks for it.
    """
    from sealstore.upkeep import migration

    settings = invocation.settings()
    done = migration.pending_migration(settings)
    if done.old != done.new:
        output.note(f"back up {done.database} first, while nothing is stored")
        output.confirm(f"Migrate from schema {done.old} to {done.new}?", yes=yes)
        done = migration.migrate(settings)
    if as_json:
        output.document({"from": done.old, "to": done.new, "database": done.database})
    elif done.old == done.new:
        output.line(f"the schema is {done.new} already: nothing to do")
    else:
        output.line(f"the schema was {done.old} and is now {done.new}")
    return DONE
