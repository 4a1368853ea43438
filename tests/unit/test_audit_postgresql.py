"""The ledger's audit where both chains are in PostgreSQL."""

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
    """A repository with some entries in each chain."""
    number = request.config.stash.setdefault(_databases, 0)
    request.config.stash[_databases] = number + 1
    url = postgresql_cluster.create_database(f"audit_{os.getpid()}_{number}")
    variables = {
        "MODEL_REPO_DATABASE_URL": url,
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


def test_every_command_works_on_postgresql(site: Site, tmp_path: Path) -> None:
    """Verify, log, checkpoint, consistency, prove, export and report, as on SQLite."""
    report = site.run("audit", "verify", "--json").json
    assert [(each["entries"], each["mapRecords"]) for each in report["chains"]] == [
        (7, 7),
        (5, None),
    ]
    assert len(site.run("audit", "log", "--json").json["entries"]) == 12
    kept, export, page = tmp_path / "kept", tmp_path / "export", tmp_path / "page"
    site.run("audit", "checkpoint", "--output", kept)
    site.run("store", "sys:version", "later", "1")
    assert site.run("audit", "verify", "--since", kept, "--json").json["chains"][0]["entries"] == 1
    site.run("audit", "consistency", kept)
    site.run("audit", "prove", "4", "--chain", "access", "--output", tmp_path / "proof")
    site.run("audit", "check-proof", tmp_path / "proof")
    site.run("audit", "export", export)
    site.run("audit", "verify", "--export", export)
    site.run("audit", "report", page)


@pytest.mark.parametrize("chain", ["history", "access"])
@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("DELETE FROM {}_entry WHERE sequence = 3", 3),
        ("UPDATE {}_entry SET entry = decode('7b7d', 'hex') WHERE sequence = 4", 4),
        ("UPDATE {}_entry SET tag = 'x' WHERE sequence = 2", 2),
        ("DELETE FROM {}_node WHERE level = 1 AND node_index = 1", None),
        ("UPDATE {}_node SET digest = decode('00', 'hex') WHERE level = 0", None),
        ("UPDATE {}_entry SET sequence = 90 WHERE sequence = 4", 4),
    ],
)
def test_attacks_are_found_on_postgresql(
    site: Site, chain: str, statement: str, place: int | None
) -> None:
    """Deleted, edited, planted: named as on SQLite."""
    attack(site, statement.format(chain))
    ran = site.run("audit", "verify", "--chain", chain, "--json", code=1)
    assert ran.json["chains"][0]["findings"][0]["sequence"] == place
