"""init, migrate, policy, resign, heartbeat: what a holder of the admin key does."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sealstore.cli import options, output
from sealstore.cli.invocation import DONE, FAILED, Invocation, pass_invocation

if TYPE_CHECKING:
    from sealstore.admin.creation import Created
    from sealstore.repository.settings import Settings

# ── init, migrate ────────────────────────────────────────────────────────────


ALGORITHMS = ("hmac-sha256", "ed25519")


@click.command(short_help="Make a repository, and a key for it.")
@click.option(
    "--path",
    type=click.Path(),
    callback=options.path_given,
    help="The folder, absent or empty. [default: as --repository]",
)
@click.option(
    "--keyring",
    type=click.Path(),
    callback=options.path_given,
    help="The keyring file. [default: as sealstore's own --keyring]",
)
@click.option("--immutable-tags", is_flag=True, help="Refuse to store a tag a second time.")
@click.option(
    "--algorithm",
    type=click.Choice(ALGORITHMS),
    help="Of a new key. [default: hmac-sha256, or a key that is there]",
)
@options.with_json
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
        _show_created(created, settings, _exports(settings, invocation))
    return DONE


def _exports(settings: Settings, invocation: Invocation) -> list[str]:
    """What a shell has to set so that it finds what options named."""
    from sealstore.repository.settings import Variable

    places = {Variable.PATH: settings.path, Variable.KEYRING: settings.keyring_path}
    return [
        f"export {variable}={shlex.quote(str(places[variable].absolute()))}"
        for variable in invocation.options()
    ]


def _show_created(created: Created, settings: Settings, exports: list[str]) -> None:
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
@options.with_json
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


# ── policy ───────────────────────────────────────────────────────────────────


@click.group(short_help="Show, check, learn and set what payloads may import.")
def policy() -> None:
    """Show, check, learn and set what payloads may import."""


@policy.command(short_help="Show the policies that hold here.")
@options.with_json
def show(invocation: Invocation, as_json: bool) -> int:
    """Show the repository's policy, and the site's (MODEL_REPO_POLICY) beside it."""
    from sealstore.admin.policies import policy_toml
    from sealstore.formats.pickling.policy import settings_of

    with invocation.open() as repository:
        policies = repository.policies.all
    titles = ("the repository's, signed", "the site's, MODEL_REPO_POLICY")
    if as_json:
        import msgspec

        output.document([msgspec.to_builtins(settings_of(each)) for each in policies])
        return DONE
    for title, each in zip(titles, policies, strict=False):
        output.line(f"# {title}")
        for text in policy_toml(settings_of(each)).splitlines():
            output.line(text)
        for entry in each.allow_entries():
            if entry.is_idle:
                output.line(f"# {entry.entry}: changes nothing", colour="yellow")
            elif entry.lifts is not None:
                output.line(f"# {entry.entry}: allowed although {entry.lifts}", colour="yellow")
    return DONE


@policy.command(short_help="Judge stored artifacts by the policies that hold here.")
@click.argument("name", required=False, shell_complete=options.complete_name)
@click.argument("tag", required=False, shell_complete=options.complete_tag)
@options.revision
@options.with_json
def check(
    invocation: Invocation, name: str | None, tag: str | None, revision: int | None, as_json: bool
) -> int:
    """Judge stored artifacts, and show each import that is not trusted with the reason.

    All of them by default, all of NAME, or what a load of NAME and TAG (an alias and 'latest', too)
    would load, with the tag's older revisions. The exit code is 1 if any is refused, or if there is
    none.
    """
    from sealstore.admin.policies import check_artifact, check_policy
    from sealstore.formats.pickling.verdicts import Level

    if revision is not None and tag is None:
        raise click.UsageError("A revision belongs to NAME and TAG.")
    with invocation.open() as repository:
        if name is None:
            judged, errors = check_policy(repository)
        else:
            judged, errors = check_artifact(repository, name, tag, revision)
    refused = [each for each in judged if each.refused]
    if as_json:
        output.document(
            {
                "artifacts": [
                    {
                        "artifact": str(each.artifact.ref),
                        "refused": bool(each.refused),
                        "imports": [verdict._asdict() for verdict in each.verdicts],
                    }
                    for each in judged
                ],
                "errors": [{"artifact": e.artifact, "code": e.code} for e in errors],
            }
        )
        return FAILED if refused or errors else DONE
    for each in judged:
        word, colour = ("REFUSED", "red") if each.refused else ("ok     ", "green")
        output.line(f"{word} {each.artifact.ref}", colour=colour)
        for verdict in each.verdicts:
            if verdict.level is not Level.TRUSTED:
                used = f"{verdict.name} {verdict.use}"
                output.line(f"        {verdict.level} {used}: {verdict.reason}")
    for error in errors:
        output.line(f"REFUSED {error.artifact}: {error.message}", colour="red")
    if not judged and not errors:
        output.note("nothing is stored")
    return FAILED if refused or errors else DONE


@policy.command(short_help="Print what strict mode would have to allow.")
@pass_invocation
def learn(invocation: Invocation) -> int:
    """Print the policy.toml under which strict mode accepts what is stored here now.

    What is dangerous is not learned: 'sealstore policy check' shows it.
    """
    from sealstore.admin.policies import learn_policy, policy_toml

    with invocation.open() as repository:
        for text in policy_toml(learn_policy(repository)).splitlines():
            output.line(text)
    return DONE


@policy.command("set", short_help="Make a policy.toml the repository's own.")
@click.argument("file", type=click.Path(path_type=Path))
@pass_invocation
def set_(invocation: Invocation, file: Path) -> int:
    """Sign a policy.toml into the repository's settings, with an admin key."""
    from sealstore.admin.keyring_file import configured_keyring
    from sealstore.admin.policies import redundant_entries, set_policy

    settings = invocation.settings()
    changed = set_policy(settings, configured_keyring(settings), file)
    output.line(
        f"the {changed.policy.mode} policy holds for repository {changed.repository},"
        f" as version {changed.version} of its settings"
    )
    for entry in redundant_entries(changed.policy):
        output.note(f"{entry} is trusted anyway: the entry is not needed")
    return DONE


# ── resign ───────────────────────────────────────────────────────────────────


_REF: Final = re.compile(r"([^:]+):(.+)@([1-9][0-9]{0,18})")


def _artifact(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, str, int] | None:
    if value is None:
        return None
    match = _REF.fullmatch(value)
    if match is None:
        raise click.BadParameter("write it as NAME:TAG@REVISION.", ctx, parameter)
    return match[1], match[2], int(match[3])


@click.command(short_help="Sign what retired keys signed with the newest active key.")
@click.option("--key", help="Only artifacts of this key: its id, or eight digits of it or more.")
@click.option("--settings", is_flag=True, help="Sign repository.json instead of artifacts.")
@click.option(
    "--artifact",
    metavar="NAME:TAG@REVISION",
    callback=_artifact,
    help="Only this one; with --accept also where a revoked key signed it.",
)
@click.option(
    "--accept",
    metavar="ID",
    help="Where a revoked key signed: the repository's id with --settings, the payload's SHA-256"
    " with --artifact. An admin says with it that what is there is genuine.",
)
@options.actor
@options.with_json
def resign(
    invocation: Invocation,
    key: str | None,
    settings: bool,
    artifact: tuple[str, str, int] | None,
    accept: str | None,
    actor: str | None,
    as_json: bool,
) -> int:
    """Sign what retired keys signed with the newest active key.

    Statements and payloads stay as they are. What does not verify, and all that a revoked key
    signed, is refused and keeps its signature; the exit code is then 1.
    """
    if settings:
        if key is not None or actor is not None or artifact is not None:
            raise click.UsageError("--settings goes with none of --key, --artifact and --actor.")
        return _resign_settings(invocation, accept, as_json)
    if artifact is not None:
        if key is not None:
            raise click.UsageError("--artifact and --key exclude each other.")
        return _resign_one(invocation, artifact, accept, actor, as_json)
    if accept is not None:
        raise click.UsageError("--accept goes with --settings or --artifact.")
    return _resign_artifacts(invocation, key, actor, as_json)


def _resign_settings(invocation: Invocation, accept: str | None, as_json: bool) -> int:
    import msgspec

    from sealstore.admin.keyring_file import configured_keyring
    from sealstore.admin.signatures import resign_settings

    configured = invocation.settings()
    signature = resign_settings(configured, configured_keyring(configured), accept=accept)
    signed = signature.new_key_id != signature.old_key_id
    content = msgspec.to_builtins(signature.settings)
    if as_json:
        output.document(
            {
                "settings": content,
                "oldKeyId": signature.old_key_id,
                "keyId": signature.new_key_id,
                "signed": signed,
            }
        )
        return DONE
    # All that was signed is shown: after a revocation somebody has to look at it.
    output.fields([(name, json.dumps(value)) for name, value in content.items()])
    output.line(
        f"signed with key {signature.new_key_id}, before with {signature.old_key_id}"
        if signed
        else f"the newest admin key, {signature.new_key_id}, has signed it already"
    )
    return DONE


def _resign_artifacts(
    invocation: Invocation, key: str | None, actor: str | None, as_json: bool
) -> int:
    from sealstore.admin.key_changes import key_named
    from sealstore.admin.signatures import resign_all

    with invocation.open() as repository, output.progress() as progress:
        key_id = None if key is None else key_named(repository.keyring, key).key_id
        report = resign_all(repository, key_id=key_id, actor=actor, progress=progress)
    if as_json:
        output.document(report.to_json())
    else:
        output.findings(report.findings)
        output.line(f"signed {output.counted(report.signed, 'artifact')} with key {report.key_id}")
    return FAILED if report.findings else DONE


def _resign_one(
    invocation: Invocation,
    artifact: tuple[str, str, int],
    accept: str | None,
    actor: str | None,
    as_json: bool,
) -> int:
    from sealstore.names import request

    with invocation.open() as repository:
        signed = repository.resign(request(*artifact), actor=actor, accept_payload=accept)
    return output.answer(
        as_json, signed.to_json(), f"{signed.ref} is signed with key {signed.key_id}"
    )


# ── heartbeat ────────────────────────────────────────────────────────────────


@click.command(short_help="Sign the heads again, so that clients see that nothing was frozen.")
@options.actor
@options.with_json
def heartbeat(invocation: Invocation, actor: str | None, as_json: bool) -> int:
    """Sign the heads again, with today's time and keys; nothing else changes.

    For clients that refuse an old head (MODEL_REPO_MAX_AGE): run it more often than that. After
    keys were changed by hand, it gives both heads an active key's signature.
    """
    with invocation.open() as repository:
        time = repository.heartbeat(actor=actor)
        size = repository.state.head.size
    return output.answer(
        as_json,
        {"time": time, "size": size},
        f"signed the head of {size} entries at {output.time_text(time)} UTC",
    )
