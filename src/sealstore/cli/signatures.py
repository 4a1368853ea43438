"""resign and heartbeat: today's signature for artifacts, settings and heads."""

from __future__ import annotations

import json
import re
from typing import Final

import click

from sealstore.cli import output
from sealstore.cli.invocation import DONE, FAILED, Invocation, pass_invocation

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
@click.option("--actor", help="Who does it, such as a job's id.")
@output.json_option
@pass_invocation
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
    if as_json:
        output.document(signed.to_json())
    else:
        output.line(f"{signed.ref} is signed with key {signed.key_id}")
    return DONE


# ── heartbeat ────────────────────────────────────────────────────────────────


@click.command(short_help="Sign the heads anew, so that clients see that nothing was frozen.")
@click.option("--actor", help="Who does it, such as a job's id.")
@output.json_option
@pass_invocation
def heartbeat(invocation: Invocation, actor: str | None, as_json: bool) -> int:
    """Sign the heads anew, with today's time and keys; nothing else changes.

    For clients that refuse an old head (MODEL_REPO_MAX_AGE): run it more often than that. After
    keys were changed by hand, it gives both heads an active key's signature.
    """
    with invocation.open() as repository:
        time = repository.heartbeat(actor=actor)
        size = repository.state.head.size
    if as_json:
        output.document({"time": time, "size": size})
    else:
        output.line(f"signed the head of {size} entries at {output.time_text(time)} UTC")
    return DONE
