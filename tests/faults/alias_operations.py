"""What the children of the tests of aliases do. Each imports it again: no pytest, no Hypothesis.

A place is a folder with a repository and with what its client remembers of it: whoever goes back to
a copy of the one goes back to a copy of the other.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

from sealstore.keys.algorithms import Ed25519Private
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.signed.approval import AliasMove
from sealstore.signed.approving import seal_approval
from sealstore.signed.envelope import Scope
from tests.faults.operations import FIRST_DAY, Done, key, model

APPROVERS: Final = tuple(
    Key(
        Ed25519Private(bytes([number]) * 32),
        State.ACTIVE,
        FIRST_DAY + timedelta(days=number),
        frozenset({Role.APPROVE}),
        Scope(None),
    )
    for number in (101, 102)
)
KEYRING: Final = Keyring.of([key(1), *APPROVERS])
TAGS: Final = ("2026-10", "2026-11")


def opened(place: Path) -> Repository:
    """The repository of a place, by a client that remembers it there."""
    settings = Settings.from_environment({"MODEL_REPO_TRUST_STATE": str(place / "trust")})
    return Repository.open(place / "repository", keyring=KEYRING, settings=settings)


def approved(repository: Repository, move: AliasMove) -> None:
    """Make a move with the approvals of both."""
    given = [seal_approval(move, each) for each in APPROVERS]
    repository.apply_move(move, approvals=given)


def fill(place: Path) -> None:
    """An alias that anybody moves, and a protected one; both mean the first tag."""
    settings = Settings.from_environment({"MODEL_REPO_TRUST_STATE": str(place / "trust")})
    with Repository.create(place / "repository", keyring=KEYRING, settings=settings) as repository:
        for tag in TAGS:
            repository.store(model("churn", tag, 1), "churn", tag)
        repository.set_alias("churn", "staging", TAGS[0])
        repository.change_settings(protected_aliases={"production": 2})
        approved(repository, repository.request_approvals("churn", "production", TAGS[0]))


def move(place: Path, done: Done) -> None:
    """Move the alias that anybody moves, and back."""
    with opened(place) as repository:
        done.add(repository.set_alias("churn", "staging", TAGS[1]).move)
        done.add(repository.rollback_alias("churn", "staging").move)


def take_away(place: Path, done: Done) -> None:
    """Remove the alias that anybody moves."""
    with opened(place) as repository:
        repository.remove_alias("churn", "staging")
        done.add(2)


def apply(place: Path, done: Done) -> None:
    """Move the protected alias with its approvals."""
    with opened(place) as repository:
        approved(repository, repository.request_approvals("churn", "production", TAGS[1]))
        done.add(2)
