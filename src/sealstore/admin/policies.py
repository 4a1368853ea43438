"""Policies over a whole repository: checking, learning, changing the repository's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sealstore.audit.contents import walk_rows
from sealstore.errors import ArtifactNotFound, PolicyFileError, SealstoreError
from sealstore.formats.pickling.policy import (
    AllowEntry,
    Policy,
    policy_of,
    read_policy_file,
    settings_of,
)
from sealstore.formats.pickling.verdicts import Verdict
from sealstore.keys.keyring import Keyring
from sealstore.names import request
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.signed.settings import PolicySettings, RepositorySettings
from sealstore.signed.statement import Import, ImportUse
from sealstore.storage.catalogue.listing import ListFilter


@dataclass(frozen=True, slots=True)
class Judged:
    """An artifact and what the policies think of its imports.

    Attributes:
        artifact: the artifact.
        verdicts: one for each of its imports.
    """

    artifact: Artifact
    verdicts: tuple[Verdict, ...]

    @property
    def refused(self) -> tuple[Verdict, ...]:
        """Those for which it is refused."""
        return tuple(verdict for verdict in self.verdicts if verdict.is_refused)


def check_policy(
    repository: Repository, conditions: ListFilter | None = None
) -> tuple[list[Judged], list[SealstoreError]]:
    """What the policies that hold here think of every stored artifact.

    Args:
        repository: the repository.
        conditions: which artifacts; all by default.

    Returns:
        The artifacts, judged; and the errors of those whose statements are refused.
    """
    judged, errors = [], []
    for row in walk_rows(repository, conditions or ListFilter()):
        try:
            artifact = repository.verify_row(row)
        except SealstoreError as error:
            errors.append(error.for_artifact(f"{row.name}:{row.tag}@{row.revision}"))
        else:
            judged.append(Judged(artifact, repository.policies.judge(artifact.imports)))
    return judged, errors


def check_artifact(
    repository: Repository, name: str, tag: str | None, revision: int | None = None
) -> tuple[list[Judged], list[SealstoreError]]:
    """What the policies think of what a load of ``name`` and ``tag`` would load.

    Args:
        repository: the repository.
        name: of the artifacts.
        tag: a tag, an alias or ``latest``; all artifacts of ``name`` where it is None. Of a tag,
            its older revisions are judged as well.
        revision: only this one of ``tag``.

    Returns:
        As ``check_policy``.

    Raises:
        InvalidNameError: name, tag or revision is invalid.
        ArtifactNotFound: there is none: a check of a misspelt name must not look like a success.
    """
    if tag is None:
        # The row of what was stored last may be hidden: what a load would find is proven.
        tag, conditions = "latest", ListFilter(name=name)
    else:
        conditions = ListFilter(name=name, tag=tag)
    wanted = request(name, tag, revision)
    judged, errors = [], []
    try:
        artifact = repository.get(name, tag, revision=revision)
    except ArtifactNotFound:
        raise
    except SealstoreError as error:
        errors.append(error.for_artifact(wanted))
    else:
        judged.append(Judged(artifact, repository.policies.judge(artifact.imports)))
    if revision is None:
        others, refused = check_policy(repository, conditions)
        known = {each.artifact.ref for each in judged}
        judged += [each for each in others if each.artifact.ref not in known]
        errors += refused
    return judged, errors


def learn_policy(repository: Repository) -> PolicySettings:
    """What strict mode would have to allow for every artifact that is stored here now.

    Only what is unknown is learned. What is dangerous stays for people to decide.
    """
    strict = Policy("strict")
    learned: set[str] = set()
    for row in walk_rows(repository, ListFilter()):
        try:
            imports = repository.verify_row(row).imports
        except SealstoreError:
            # Nothing is learned from what nobody vouches for.
            continue
        learned.update(map(str, strict.entries_to_learn(imports)))
    return PolicySettings(mode="strict", allow=tuple(sorted(learned)))


def set_policy(settings: Settings, keyring: Keyring, path: Path) -> RepositorySettings:
    """Make a ``policy.toml`` the repository's own: signed, as the next version of its settings.

    Args:
        settings: names the repository.
        keyring: with an active admin key.
        path: the file.

    Raises:
        PolicyFileError, ConfigurationError: the file cannot be used, or an entry in it changes
            nothing, though what it names would be refused.
        NoSigningKeyError: no active keys have the roles admin and store here.
        SealstoreError: the repository's present settings are refused.
    """
    given = read_policy_file(path)
    _refuse_idle(given, path)
    policy = settings_of(given)
    with Repository.open(settings.path, keyring=keyring, settings=settings) as repository:
        return repository.change_settings(policy=policy)


def _refuse_idle(policy: Policy, path: Path) -> None:
    idle = [text for text in map(partial(_why_idle, policy), policy.allow_entries()) if text]
    if idle:
        raise PolicyFileError(
            f"In allow, what changes nothing: {'; '.join(idle)}.",
            path=path,
            hint="write the entry with the use that the refusal names, or take it out of {path}.",
        )


def _why_idle(policy: Policy, described: AllowEntry) -> str:
    entry = described.entry
    if not described.is_idle:
        return ""
    if entry in policy.deny or type(entry)(entry.name) in policy.deny:
        return f"{entry} (deny has it as well, and wins)"
    lacking = _refused_uses(policy, entry.name)
    if entry.use is None and lacking:
        return f"{entry} (its use is lacking: {' or '.join(lacking)})"
    return ""  # trusted anyway


def _refused_uses(policy: Policy, name: str) -> list[str]:
    """The entries that would lift a refusal of ``name``, one for each use that is refused."""
    built_in = Policy(policy.mode)
    uses = tuple(ImportUse(use, None) for use in ("called", "made", "built", "extended"))
    refused = [use.use for use in uses if built_in.judge([Import(name, (use,))])[0].is_refused]
    return [f"{name} {use}" for use in refused]


def redundant_entries(settings: PolicySettings) -> list[str]:
    """The entries of ``allow`` that are trusted without being listed."""
    entries = policy_of(settings).allow_entries()
    return [str(each.entry) for each in entries if each.is_idle]


def policy_toml(policy: PolicySettings) -> str:
    """``policy`` as the text of a ``policy.toml``."""

    def listed(key: str, entries: tuple[str, ...]) -> str:
        lines = "".join(f'    "{entry}",\n' for entry in entries)
        return f"{key} = [\n{lines}]\n" if entries else f"{key} = []\n"

    return f'mode = "{policy.mode}"\n' + listed("allow", policy.allow) + listed("deny", policy.deny)
