"""kill -9 at every step of what changes an alias, and what is found afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealstore.audit.verifying import audit_aliases
from sealstore.errors import ArtifactNotFound
from sealstore.repository.facade import Repository
from tests.faults import alias_operations
from tests.faults.alias_operations import TAGS, approved, opened
from tests.faults.conftest import Deaths
from tests.faults.operations import model

pytestmark = [pytest.mark.invariant(3), pytest.mark.slow]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with aliases; copied, never changed."""
    made = tmp_path_factory.mktemp("aliases") / "place"
    made.mkdir()
    alias_operations.fill(made)
    return made


def moves(repository: Repository, alias: str) -> list[object]:
    """The numbers of an alias's moves: none is missing, all were made by the rules."""
    assert audit_aliases(repository) == []
    return [entry.details["move"] for entry in repository.alias_history("churn", alias)]


def require_that_it_moves(repository: Repository) -> None:
    """Both aliases can be moved, and what they mean loads."""
    for tag in TAGS:
        repository.set_alias("churn", "staging", tag)
        approved(repository, repository.request_approvals("churn", "production", tag))
        for alias in ("staging", "production"):
            assert repository.load("churn", alias) == model("churn", tag, 1)


def test_a_killed_move_is_made_or_not(place: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, the alias means the one or the other, and the history says so."""
    for folder, done in deaths(alias_operations.move, place):
        acknowledged = max((number for (number,) in done.entries()), default=1)
        with opened(folder) as repository:
            [staging] = [one for one in repository.aliases("churn") if one.alias == "staging"]
            assert acknowledged <= staging.move <= acknowledged + 1
            assert moves(repository, "staging") == list(range(staging.move, 0, -1))
            assert staging.tag == TAGS[(staging.move + 1) % 2]
            assert repository.load("churn", "staging") == model("churn", staging.tag, 1)
            require_that_it_moves(repository)


def test_a_killed_move_of_a_protected_alias_is_approved_or_not_made(
    place: Path, deaths: Deaths
) -> None:
    """Whatever step it dies at, it has all its approvals, or nothing of it is there."""
    for folder, done in deaths(alias_operations.apply, place):
        with opened(folder) as repository:
            [production] = [one for one in repository.aliases("churn") if one.alias != "staging"]
            assert production.move in ({2} if done.entries() else {1, 2})
            assert moves(repository, "production") == list(range(production.move, 0, -1))
            assert production.tag == TAGS[production.move - 1]
            assert repository.load("churn", "production") == model("churn", production.tag, 1)
            require_that_it_moves(repository)


def test_a_killed_removal_of_an_alias_is_done_or_not(place: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, the alias means what it meant, or nothing, and can be set again."""
    for folder, done in deaths(alias_operations.take_away, place):
        with opened(folder) as repository:
            if len(moves(repository, "staging")) == 2:
                with pytest.raises(ArtifactNotFound):
                    repository.load("churn", "staging")
            else:
                assert not done.entries()
                assert repository.load("churn", "staging") == model("churn", TAGS[0], 1)
            require_that_it_moves(repository)
