"""fsck and gc where catalogue and access log are in PostgreSQL."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealstore.repository.facade import Repository
from sealstore.storage.catalogue import catalogue_engine
from tests.catalogue_sql import run_in
from tests.command_line import Site
from tests.postgresql_cluster import Cluster
from tests.sealstore_fixtures import hmac_key

pytestmark = pytest.mark.postgresql

_databases = pytest.StashKey[int]()


@pytest.fixture
def site(tmp_path: Path, postgresql_cluster: Cluster, request: pytest.FixtureRequest) -> Site:
    """A repository from which something was removed."""
    number = request.config.stash.setdefault(_databases, 0)
    request.config.stash[_databases] = number + 1
    variables = {
        "MODEL_REPO_DATABASE_URL": postgresql_cluster.create_database(
            f"fsck_{os.getpid()}_{number}"
        ),
        "MODEL_REPO_TRUST_STATE": str(tmp_path / "trust"),
    }
    site = Site(tmp_path / "repo", tmp_path / "keys" / "keyring.json", variables)
    site.set_keys(hmac_key())
    with Repository.create(site.repository, settings=site.settings) as repository:
        for revision in range(5):
            repository.store(revision, "churn", "1")
        repository.load("churn")
        repository.remove("churn", "1", revision=3)
    return site


def attack(site: Site, statement: str) -> None:
    """What an attacker does who may write to the database."""
    engine = catalogue_engine(site.repository, site.settings.database_url)
    run_in(engine, statement)
    engine.dispose()


def test_a_sound_repository_is_checked_and_collected(site: Site) -> None:
    """Nothing wrong, one payload to collect, and nothing wrong afterwards."""
    report = site.run("fsck", "--json").json
    assert (report["artifacts"], report["historyEntries"], report["accessEntries"]) == (4, 7, 1)
    assert len(report["notes"]) == 1
    assert site.run("gc", "--grace", "0", "--delete", "--json").json["removed"] == 1
    report = site.run("fsck", "--json").json
    assert (report["payloads"], report["historyEntries"], report["notes"]) == (4, 8, [])


@pytest.mark.parametrize(
    ("statement", "section"),
    [
        ("DELETE FROM artifact WHERE revision = 2", "catalogue"),
        ("UPDATE artifact SET size = size + 1 WHERE revision = 2", "catalogue"),
        ("DELETE FROM history_entry WHERE sequence = 3", "history"),
        ("DELETE FROM history_node WHERE level = 0 AND node_index = 1", "history"),
        ("UPDATE map_row SET content = '' WHERE position > 4160", "history"),
        ("INSERT INTO map_row VALUES (266304, '')", "history"),
        ("DELETE FROM access_entry", "access"),
    ],
)
def test_damage_is_found_and_nothing_collected(site: Site, statement: str, section: str) -> None:
    """What was edited in the database is a finding; gc deletes nothing where it matters to it."""
    attack(site, statement)
    report = site.run("fsck", "--json", code=1).json
    assert {finding["section"] for finding in report["findings"]} == {section}
    refuses = section != "access" and "size" not in statement
    ran = site.run("gc", "--grace", "0", "--delete", "--json", code=int(refuses)).json
    assert ran["removed"] == (0 if refuses else 1)
