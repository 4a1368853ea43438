"""The policies of a repository and of a site, where objects are stored and loaded."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sealstore import errors, limits
from sealstore.admin.policies import set_policy
from sealstore.formats.pickling.policy import read_policy_file
from sealstore.formats.policies import Policies
from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository
from sealstore.signed.settings import PolicySettings
from tests.sealstore_fixtures import snapshot


@dataclass
class Mine:
    """A class that no built-in list knows."""

    value: int


class Runs:
    """An object whose unpickling starts a process."""

    def __reduce__(self) -> tuple[object, tuple[list[str]]]:
        return subprocess.Popen, (["true"],)


def reopened(repository: Repository, policy: Path | None = None) -> Repository:
    settings = replace(repository.settings, path=repository.root, policy_path=policy)
    return Repository.open(repository.root, keyring=repository.keyring, settings=settings)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


@pytest.mark.invariant(3)
def test_what_is_dangerous_is_not_stored(repository: Repository) -> None:
    """An object that would start a process is refused, and nothing changed."""
    repository.store("before", "model", "1")
    before = snapshot(repository.root / "objects"), repository.history()
    with pytest.raises(errors.PolicyError, match="subprocess:Popen"):
        repository.store(Runs(), "model", "1")
    assert (snapshot(repository.root / "objects"), repository.history()) == before


def test_standard_accepts_what_is_unknown_and_strict_does_not(
    repository: Repository, tmp_path: Path, keyring: Keyring
) -> None:
    """A user's own class is unknown: stored in standard mode, refused in strict mode."""
    repository.store(Mine(1), "model", "1")
    assert repository.load("model", "1") == Mine(1)
    strict = written(tmp_path / "policy.toml", 'mode = "strict"\n')
    with reopened(repository, strict) as judged:
        with pytest.raises(errors.PolicyError, match=r"test_policies:Mine"):
            judged.load("model", "1")
        with pytest.raises(errors.PolicyError):
            judged.store(Mine(2), "model", "2")
        judged.verify("model", "1")
    set_policy(replace(repository.settings, path=repository.root), keyring, strict)
    with reopened(repository) as judged, pytest.raises(errors.PolicyError):
        judged.load("model", "1")


@pytest.mark.invariant(1)
def test_a_refused_payload_is_not_even_read(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy is asked before the payload is read."""
    repository.store(Mine(1), "model", "1")
    denying = written(tmp_path / "policy.toml", 'deny = ["tests.unit.test_policies:Mine"]\n')
    with reopened(repository, denying) as judged:
        monkeypatch.setattr(type(judged.blobs), "read", None)
        with pytest.raises(errors.PolicyError, match="this site denies it"):
            judged.load("model", "1")


def test_a_site_can_only_tighten(repository: Repository, tmp_path: Path) -> None:
    """What the site allows does not lift what the repository's policy refuses."""
    allowing = written(tmp_path / "policy.toml", 'allow = ["subprocess:Popen called"]\n')
    with reopened(repository, allowing) as judged, pytest.raises(errors.PolicyError):
        judged.store(Runs(), "model", "1")


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_site_policy_that_others_can_write_is_refused(
    repository: Repository, tmp_path: Path, mode: int
) -> None:
    """A policy that others can write would be theirs."""
    policy = written(tmp_path / "policy.toml", "")
    policy.chmod(mode)
    with pytest.raises(errors.ConfigurationError, match="chmod go-w"):
        reopened(repository, policy)


def test_a_site_policy_in_the_repository_is_refused(repository: Repository, tmp_path: Path) -> None:
    """Neither in the repository nor as a link into it."""
    inside = written(repository.root / "policy.toml", "")
    link = tmp_path / "link.toml"
    link.symlink_to(inside)
    for path in (inside, link):
        with pytest.raises(errors.ConfigurationError, match="inside the repository"):
            reopened(repository, path)


def test_a_site_policy_that_is_none_is_refused(repository: Repository, tmp_path: Path) -> None:
    """Missing, not a file, or with a mistake in it: an error, not a weaker policy."""
    with pytest.raises(errors.ConfigurationError, match="cannot be read"):
        reopened(repository, tmp_path / "missing.toml")
    with pytest.raises(errors.ConfigurationError, match="not a regular file"):
        reopened(repository, tmp_path)
    with pytest.raises(errors.PolicyFileError) as caught:
        read_policy_file(written(tmp_path / "policy.toml", 'mod = "strict"\n'))
    assert caught.value.path == str(tmp_path / "policy.toml")
    with pytest.raises(errors.PolicyFileError, match="too long") as caught:
        read_policy_file(written(tmp_path / "policy.toml", "#" * (limits.MAX_POLICY_BYTES + 1)))
    assert caught.value.path == str(tmp_path / "policy.toml")


def test_the_worst_verdict_counts(tmp_path: Path) -> None:
    """Where one policy accepts and the other refuses, the import is refused."""
    site = written(tmp_path / "policy.toml", 'deny = ["mine:Model"]\n')
    both = Policies.of(PolicySettings(allow=("mine:Model",)), site, tmp_path / "repository")
    from sealstore.signed.statement import Import

    [verdict] = both.judge([Import("mine:Model", ())])
    assert verdict.is_refused
    with pytest.raises(errors.PolicyError):
        both.check([Import("mine:Model", ())])
