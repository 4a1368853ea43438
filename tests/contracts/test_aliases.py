"""Aliases and their approvals on both databases: kept, counted, and audited alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealstore.audit.verifying import audit_aliases
from sealstore.errors import ArtifactInUseError, NotApprovedError
from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from tests.alias_moves import approvals, approver, public_part
from tests.catalogue_sql import run_in
from tests.sealstore_fixtures import hmac_key

ADA, BOB = approver(1), approver(2)
KEYRING = Keyring.of([hmac_key(), public_part(ADA), public_part(BOB)])


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    """A repository on each kind of database, with two artifacts of one name."""
    variables = {}
    if request.param == "postgresql":
        variables["MODEL_REPO_DATABASE_URL"] = request.getfixturevalue("postgresql_url")
    settings = Settings.from_environment(variables)
    with Repository.create(tmp_path / "repo", keyring=KEYRING, settings=settings) as made:
        for tag in ("old", "new"):
            made.store(tag, "churn", tag)
        yield made


def test_an_alias_is_moved_loaded_and_rolled_back(repository: Repository) -> None:
    """Each move is proven and on record, and what an alias means is not removed."""
    repository.set_alias("churn", "production", "old")
    repository.set_alias("churn", "production", "new")
    assert repository.load("churn", "production") == "new"
    with pytest.raises(ArtifactInUseError):
        repository.remove("churn", "new")
    assert repository.rollback_alias("churn", "production").move == 3
    assert repository.load("churn", "production") == "old"
    numbers = [e.details["move"] for e in repository.alias_history("churn", "production")]
    assert numbers == [3, 2, 1]
    repository.remove_alias("churn", "production")
    assert repository.aliases("churn") == ()
    assert audit_aliases(repository) == []


def test_approvals_are_kept_and_counted(repository: Repository) -> None:
    """Bytes come back as they were written; what else lies there counts for nothing."""
    repository.change_settings(protected_aliases={"production": 2})
    for tag in ("old", "new"):
        move = repository.request_approvals("churn", "production", tag)
        repository.apply_move(move, approvals=approvals(move, ADA, BOB))
        assert repository.load("churn", "production") == tag
    assert audit_aliases(repository) == []
    engine = repository.catalogue.engine
    run_in(engine, "UPDATE approval SET name = 'fraud' WHERE move = 2")
    planted = "INSERT INTO approval VALUES ('0', 'churn', 'production', 2, :junk)"
    run_in(engine, planted, junk=b"junk")
    with pytest.raises(NotApprovedError, match="and 0 hold"):
        repository.load("churn", "production")
    assert len(audit_aliases(repository)) == 1
