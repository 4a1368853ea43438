"""keys: the keyring's keys, from their making to their revocation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sealstore.cli import options, output
from sealstore.cli.admin import ALGORITHMS
from sealstore.cli.invocation import DONE, Invocation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealstore.admin.key_changes import Consequences
    from sealstore.keys.keyring import Key
    from sealstore.repository.settings import Settings

ROLES: Final = ("store", "admin", "access", "approve")
_REPOSITORY_ID: Final = re.compile("[0-9a-f]{32}")


@click.group(
    short_help="Make, list, rotate, retire, revoke, export and import keys.", no_args_is_help=False
)
def keys() -> None:
    """Make, list, rotate, retire, revoke, export and import keys.

    An active key signs and verifies. A retired key verifies what it signed. What a revoked key
    signed is refused.
    """


# ── generate ─────────────────────────────────────────────────────────────────


def _repository(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and value != "any" and not _REPOSITORY_ID.fullmatch(value):
        raise click.BadParameter("give 32 hexadecimal digits, or 'any'.", ctx, parameter)
    return value


@keys.command(short_help="Add a new active key to the keyring.")
@click.option(
    "--algorithm", type=click.Choice(ALGORITHMS), default=ALGORITHMS[0], show_default=True
)
@click.option(
    "--role",
    "roles",
    type=click.Choice(ROLES),
    multiple=True,
    help="What it may sign; more than one may be given. [default: store, admin, access]",
)
@click.option(
    "--repository",
    metavar="ID|any",
    callback=_repository,
    help="The repository it is for. [default: the configured one; 'any' where there is none yet]",
)
@click.option(
    "--key-file",
    type=click.Path(),
    callback=options.path_given,
    help="Write an HMAC secret for MODEL_REPO_HMAC_KEY_FILE to this new file instead.",
)
@options.with_json
def generate(
    invocation: Invocation,
    algorithm: str,
    roles: tuple[str, ...],
    repository: str | None,
    key_file: Path | None,
    as_json: bool,
) -> int:
    """Add a new active key to the keyring, which is made if it is absent."""
    settings = invocation.settings()
    if key_file is not None:
        if roles or repository or algorithm != ALGORITHMS[0]:
            raise click.UsageError(
                "A mounted secret is an HMAC key for every repository: --key-file goes with none"
                " of --algorithm, --role and --repository."
            )
        return _generate_key_file(settings, key_file, as_json)
    from sealstore.admin.keyring_file import default_repositories, generate_key
    from sealstore.keys.changing import DEFAULT_ROLES
    from sealstore.keys.keyring import Role

    wanted = frozenset(map(Role, roles)) or DEFAULT_ROLES
    if repository is None:
        repositories = default_repositories(settings)
    else:
        repositories = None if repository == "any" else [repository]
    key = generate_key(settings, algorithm, roles=wanted, repositories=repositories)
    return output.answer(
        as_json,
        _key_json(key),
        f"added key {key.key_id} to {settings.keyring_path.absolute()}",
        _described(key),
    )


def _generate_key_file(settings: Settings, path: Path, as_json: bool) -> int:
    from sealstore.admin.keyring_file import write_hmac_key_file

    material = write_hmac_key_file(path.absolute(), outside=settings.path)
    return output.answer(
        as_json,
        {"keyId": material.key_id, "keyFile": str(path.absolute())},
        f"wrote the secret of key {material.key_id} to {path.absolute()}",
        "mount it, mode 0400, and set MODEL_REPO_HMAC_KEY_FILE to where it is mounted",
    )


# ── list ─────────────────────────────────────────────────────────────────────


@keys.command("list", short_help="List the keys, without their secrets.")
@options.with_json
def list_keys(invocation: Invocation, as_json: bool) -> int:
    """List the keys, without their secrets, the oldest first."""
    keyring = invocation.settings().key_source().current()
    if as_json:
        output.document({"keys": [_key_json(key) for key in keyring]})
        return DONE
    rows = [
        [
            key.key_id,
            key.algorithm,
            str(key.state),
            ", ".join(sorted(key.roles)),
            _repositories(key),
            output.time_text(key.created),
        ]
        for key in keyring
    ]
    output.table(("KEY", "ALGORITHM", "STATE", "ROLES", "REPOSITORIES", "CREATED (UTC)"), rows)
    return DONE


def _key_json(key: Key) -> dict[str, Any]:
    from sealstore.keys.writing import fingerprint

    repositories = key.scope.repositories
    return {
        "keyId": key.key_id,
        "algorithm": key.algorithm,
        "state": str(key.state),
        "roles": sorted(key.roles),
        "repositories": "any" if repositories is None else sorted(repositories),
        "created": key.created.isoformat(),
        "canSign": key.can_sign,
        "fingerprint": fingerprint(key),
    }


def _repositories(key: Key) -> str:
    repositories = key.scope.repositories
    return "any" if repositories is None else ", ".join(sorted(repositories))


def _described(key: Key) -> str:
    roles = ", ".join(sorted(key.roles))
    return f"{key.algorithm}, {key.state}, roles {roles}, for repository {_repositories(key)}"


# ── rotate, retire, revoke ───────────────────────────────────────────────────


@keys.command(short_help="Make a new key like an active one, and retire that one.")
@click.option(
    "--key",
    shell_complete=options.complete_key,
    help="Which: its id, or eight digits of it or more. [default: the newest]",
)
@options.with_json
def rotate(invocation: Invocation, key: str | None, as_json: bool) -> int:
    """Make a new key like an active one, and retire that one.

    What the old key signed still loads. 'resign' gives it the new key's signature.
    """
    from sealstore.admin.key_changes import rotate_key
    from sealstore.keys.keyring import State

    rotation = rotate_key(invocation.settings(), key)
    if as_json:
        output.document(
            {
                "old": _key_json(rotation.old),
                "new": _key_json(rotation.new),
                "settingsSigned": rotation.settings_signed,
            }
        )
    else:
        output.line(f"new key {rotation.new.key_id}: {_described(rotation.new)}")
        if rotation.old.state is State.ACTIVE:
            output.line(f"key {rotation.old.key_id} stays active: the repository is signed with it")
        else:
            output.line(f"retired key {rotation.old.key_id}: what it signed still loads")
        if rotation.settings_signed:
            output.line("repository.json is signed with the newest admin key now")
        for sentence in _after_rotation(rotation.new):
            output.line(sentence)
    if rotation.settings_error is None:
        return DONE
    output.note("the new key is made, but the repository could not be signed with it:")
    return output.show_error(rotation.settings_error, debug=invocation.debug)


def _after_rotation(new: Key) -> Iterable[str]:
    if new.algorithm == "ed25519":
        yield "next: hand its public part to who loads ('sealstore keys export --loader FILE'),"
    else:
        yield "next: copy the keyring to every machine that loads, since HMAC has no public part,"
    yield "  then 'sealstore resign', and 'sealstore backup': older backups have the old key's head"


@keys.command(short_help="Let a key sign no more; what it signed still loads.")
@click.argument("key", shell_complete=options.complete_key)
@options.with_json
def retire(invocation: Invocation, key: str, as_json: bool) -> int:
    """Let KEY sign no more; what it signed still loads."""
    from sealstore.admin.key_changes import consequences, retire_key

    settings = invocation.settings()
    found = consequences(settings, key)
    retired = retire_key(settings, found.key.key_id)
    if as_json:
        output.document(_key_json(retired))
        return DONE
    output.line(f"retired key {retired.key_id}: what it signed still loads")
    for sentence in _roles_lost(found):
        output.line(sentence)
    return DONE


@keys.command(short_help="Refuse from now on whatever a key signed.")
@click.argument("key", shell_complete=options.complete_key)
@options.yes
@options.with_json
def revoke(invocation: Invocation, key: str, yes: bool, as_json: bool) -> int:
    """Refuse from now on whatever KEY signed. There is no way back.

    For a key that somebody else may have. Where another admin key is active, it signs
    repository.json first, so that the repository stays open.
    """
    from sealstore.admin.key_changes import consequences, revoke_key

    settings = invocation.settings()
    found = consequences(settings, key)
    for sentence in _losses(found):
        output.note(sentence)
    output.confirm(f"Revoke key {found.key.key_id}?", yes=yes)
    revocation = revoke_key(settings, found.key.key_id)
    if as_json:
        output.document(
            {
                **_key_json(revocation.key),
                "artifactsRefused": found.artifacts,
                "settingsKeyId": revocation.settings_signed_by,
                "settingsRefused": revocation.settings_refused,
            }
        )
        return DONE
    output.line(f"revoked key {revocation.key.key_id}: what it signed is refused from now on")
    if revocation.settings_signed_by is not None:
        output.line(f"repository.json is signed with key {revocation.settings_signed_by} now")
    return DONE


def _losses(found: Consequences) -> Iterable[str]:
    """What will stop working when a key is revoked, and what mends it."""
    key_id = found.key.key_id
    if found.artifacts:
        yield f"{output.counted(found.artifacts, 'artifact')} signed with it will be refused."
        yield (
            f"  if they are genuine beyond doubt, 'sealstore resign --key {key_id}' signs them with"
            " another key, before it is revoked; else store them again from a trusted source."
        )
    if found.signs_settings and found.next_settings_key_id is None:
        yield "repository.json is signed with it, and no other active key may sign that:"
        yield (
            "  the repository cannot be opened until 'sealstore keys generate --repository ID' and"
            " 'sealstore resign --settings --accept ID' were run (ID: the repository's id)."
        )
    yield from _roles_lost(found)


def _roles_lost(found: Consequences) -> Iterable[str]:
    if found.roles_lost:
        roles = ", ".join(found.roles_lost)
        yield f"no active key is left with the role {roles}: 'sealstore keys generate' makes one."


# ── export ───────────────────────────────────────────────────────────────────


@keys.command(short_help="Write a keyring for those who load, or for others to import.")
@click.argument("file", type=click.Path())
@click.option(
    "--public",
    is_flag=True,
    help="Public parts only, as without --loader: to move secrets, copy the keyring.",
)
@click.option(
    "--loader",
    is_flag=True,
    help="With a new key of its own for whoever loads, to put its loads on record.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@options.with_json
def export(
    invocation: Invocation, file: str, public: bool, loader: bool, force: bool, as_json: bool
) -> int:
    """Write the Ed25519 keys' public parts to FILE: a keyring that verifies and cannot store.

    With --loader it can load: a new key that records accesses, and nothing else, goes with it, and
    its public part into the keyring here. HMAC keys have no public part: who can verify with one
    can sign with it.
    """
    from sealstore.admin.keyring_file import export_for_loader, export_public
    from sealstore.keys.writing import write_keyring_file

    if public and loader:
        raise click.UsageError("--public and --loader exclude each other.")
    settings = invocation.settings()
    target = Path(file).absolute()
    if target.resolve() == settings.keyring_path.resolve():
        raise click.UsageError("FILE is the keyring itself.")
    if target.resolve().is_relative_to(settings.path.resolve()):
        raise click.UsageError("FILE lies inside the repository, where no keyring is read.")
    if target.exists() and not force:
        raise click.ClickException(f"{target} exists; --force replaces it.")
    exported = export_for_loader(settings) if loader else export_public(settings)
    write_keyring_file(target, exported.keyring)
    own = exported.loader_key
    if as_json:
        output.document(
            {
                "file": str(target),
                "keys": [_key_json(key) for key in exported.keyring],
                "leftOut": list(exported.left_out),
                "loaderKeyId": None if own is None else own.key_id,
            }
        )
        return DONE
    count = len(exported.keyring) - (own is not None)
    output.line(f"wrote {output.counted(count, 'public key')} to {target}, mode 0600")
    if exported.left_out:
        ids = ", ".join(exported.left_out)
        output.line(f"left out, since HMAC keys have no public part: {ids}")
        output.line("  what they signed does not load there: 'sealstore heartbeat', 'resign' first")
    if own is None:
        output.line("who imports it can verify; a keyring that loads is made with --loader")
    else:
        output.line(f"with it the loader's own key {own.key_id}, which records its loads")
        output.line("move it there, and point MODEL_REPO_KEYRING to it: it loads, and cannot store")
    return DONE


# ── import ───────────────────────────────────────────────────────────────────


@keys.command("import", short_help="Add other people's public keys to the keyring.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--role",
    "roles",
    type=click.Choice(ROLES),
    multiple=True,
    required=True,
    help="What they are trusted with here, such as approve; more than one may be given.",
)
@options.yes
@options.with_json
def import_(
    invocation: Invocation, file: Path, roles: tuple[str, ...], yes: bool, as_json: bool
) -> int:
    """Add the public keys in FILE to the keyring; secrets are left behind.

    FILE comes from 'keys export', or is a bundle: its keys are for its repository only. Each key
    gets those of the given roles that it has there. A key that is here already stays as it is.
    Compare ids or fingerprints with their owners first: whoever made FILE chose what is in it.
    """
    from sealstore.admin.keyring_file import import_keys, plan_import
    from sealstore.keys.keyring import Role
    from sealstore.keys.writing import fingerprint

    settings, wanted = invocation.settings(), [Role(role) for role in roles]
    planned = plan_import(settings, file, wanted)
    if not as_json:
        for key in planned.added:
            output.line(f"{key.key_id}: {_described(key)}")
            output.line(f"  fingerprint {fingerprint(key)}")
    if planned.added:
        output.confirm(f"Trust {output.counted(len(planned.added), 'key')} so?", yes=yes)
        planned = import_keys(settings, file, wanted)
    if as_json:
        added = [_key_json(key) for key in planned.added]
        output.document({"added": added, "leftOut": list(planned.left_out)})
        return DONE
    if planned.left_out:
        output.line(
            f"left out, since they are here already, have no public part, or none of these roles:"
            f" {', '.join(planned.left_out)}"
        )
    output.line(f"added {output.counted(len(planned.added), 'key')} to {settings.keyring_path}")
    return DONE
