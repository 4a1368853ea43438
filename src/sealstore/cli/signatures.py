"""resign: today's signature for what retired keys signed."""

from __future__ import annotations

import json

import click

from sealstore.cli import output
from sealstore.cli.invocation import DONE, FAILED, Invocation, pass_invocation


@click.command(short_help="Sign what retired keys signed with the newest active key.")
@click.option("--key", help="Only artifacts of this key: its id, or eight digits of it or more.")
@click.option("--settings", is_flag=True, help="Sign repository.json instead of artifacts.")
@click.option(
    "--accept",
    metavar="REPOSITORY_ID",
    help="With --settings: that these are the settings of this repository, where a revoked key"
    " signed them.",
)
@click.option("--actor", help="Who does it, such as a job's id.")
@output.json_option
@pass_invocation
def resign(
    invocation: Invocation,
    key: str | None,
    settings: bool,
    accept: str | None,
    actor: str | None,
    as_json: bool,
) -> int:
    """Sign what retired keys signed with the newest active key.

    Statements and payloads stay as they are. What does not verify, and all that a revoked key
    signed, is refused and keeps its signature; the exit code is then 1.
    """
    if settings:
        if key is not None or actor is not None:
            raise click.UsageError("--settings goes with neither --key nor --actor.")
        return _resign_settings(invocation, accept, as_json)
    if accept is not None:
        raise click.UsageError("--accept goes with --settings.")
    return _resign_artifacts(invocation, key, actor, as_json)


def _resign_settings(invocation: Invocation, accept: str | None, as_json: bool) -> int:
    import msgspec

    from sealstore.maintenance import configured_keyring, resign_settings

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
    from sealstore.maintenance import key_named, resign_all

    with invocation.open() as repository, output.progress() as progress:
        key_id = None if key is None else key_named(repository.keyring, key).key_id
        report = resign_all(repository, key_id=key_id, actor=actor, progress=progress)
    if as_json:
        output.document(report.to_json())
    else:
        output.findings(report.findings)
        output.line(f"signed {output.counted(report.signed, 'artifact')} with key {report.key_id}")
    return FAILED if report.findings else DONE
