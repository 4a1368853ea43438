"""policy: what payloads may import."""

from __future__ import annotations

from pathlib import Path

import click

from sealstore.cli import output
from sealstore.cli.completion import complete_name, complete_tag
from sealstore.cli.invocation import DONE, FAILED, Invocation, pass_invocation


@click.group(short_help="Show, check, learn and set what payloads may import.")
def policy() -> None:
    """Show, check, learn and set what payloads may import."""


@policy.command(short_help="Show the policies that hold here.")
@output.json_option
@pass_invocation
def show(invocation: Invocation, as_json: bool) -> int:
    """Show the repository's policy, and the site's (MODEL_REPO_POLICY) beside it."""
    from sealstore.admin.policy_work import policy_toml
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
@click.argument("name", required=False, shell_complete=complete_name)
@click.argument("tag", required=False, shell_complete=complete_tag)
@output.json_option
@pass_invocation
def check(invocation: Invocation, name: str | None, tag: str | None, as_json: bool) -> int:
    """Judge stored artifacts, and show each import that is not trusted with the reason.

    The exit code is 1 if any artifact is refused.
    """
    from sealstore.admin.policy_work import check_policy
    from sealstore.formats.pickling.verdicts import Level
    from sealstore.storage.catalogue import ListFilter

    with invocation.open() as repository:
        judged, errors = check_policy(repository, ListFilter(name=name, tag=tag))
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
    return FAILED if refused or errors else DONE


@policy.command(short_help="Print what strict mode would have to allow.")
@pass_invocation
def learn(invocation: Invocation) -> int:
    """Print the policy.toml under which strict mode accepts what is stored here now.

    What is dangerous is not learned: 'sealstore policy check' shows it.
    """
    from sealstore.admin.policy_work import learn_policy, policy_toml

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
    from sealstore.admin.policy_work import set_policy

    settings = invocation.settings()
    changed = set_policy(settings, configured_keyring(settings), file)
    output.line(
        f"the {changed.policy.mode} policy holds for repository {changed.repository},"
        f" as version {changed.version} of its settings"
    )
    return DONE
