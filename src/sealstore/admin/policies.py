"""Policies over a whole repository: checking, learning, changing the repository's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sealstore.audit.contents import walk_rows
from sealstore.errors import SealstoreError
from sealstore.formats.pickling.policy import Policy, read_policy_file, settings_of
from sealstore.formats.pickling.verdicts import Verdict
from sealstore.keys.keyring import Keyring
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.signed.settings import PolicySettings, RepositorySettings
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
        PolicyFileError, ConfigurationError: the file cannot be used.
        NoSigningKeyError: no active keys have the roles admin and store here.
        SealstoreError: the repository's present settings are refused.
    """
    policy = settings_of(read_policy_file(path))
    with Repository.open(settings.path, keyring=keyring, settings=settings) as repository:
        return repository.change_settings(policy=policy)


def policy_toml(policy: PolicySettings) -> str:
    """``policy`` as the text of a ``policy.toml``."""

    def listed(key: str, entries: tuple[str, ...]) -> str:
        lines = "".join(f'    "{entry}",\n' for entry in entries)
        return f"{key} = [\n{lines}]\n" if entries else f"{key} = []\n"

    return f'mode = "{policy.mode}"\n' + listed("allow", policy.allow) + listed("deny", policy.deny)
