"""The command line on a repository whose catalogue is in PostgreSQL."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.command_line import Ran, Site
from tests.postgresql_cluster import PASSWORD, Cluster

pytestmark = pytest.mark.postgresql


@pytest.fixture
def site(tmp_path: Path, postgresql_cluster: Cluster, request: pytest.FixtureRequest) -> Site:
    """An empty place whose database is in a cluster."""
    number = request.config.stash.setdefault(_databases, 0)
    request.config.stash[_databases] = number + 1
    url = postgresql_cluster.create_database(f"command_line_{os.getpid()}_{number}")
    variables = {"MODEL_REPO_DATABASE_URL": url}
    return Site(tmp_path / "repo", tmp_path / "keys" / "keyring.json", variables)


_databases = pytest.StashKey[int]()


def assert_no_password(*runs: Ran) -> None:
    for ran in runs:
        for form in (PASSWORD, quote(PASSWORD, safe="")):
            assert form not in ran.out + ran.err


def test_a_repository_lives_in_postgresql(site: Site) -> None:
    """Made, stored into, listed, verified, searched and emptied as one on SQLite."""
    site.run("init")
    site.run("store", "sys:version", "churn", "1", "--metadata", '{"auc": 0.93}')
    site.run("store", "sys:byteorder", "churn", "2")
    listed = site.run("list", "--json", "--search", "AUC").json
    assert [one["tag"] for one in listed["artifacts"]] == ["1"]
    assert site.run("verify", "--all", "--json").json["artifacts"] == 2
    site.run("keys", "rotate")
    assert site.run("resign", "--json").json["signed"] == 2
    site.run("remove", "churn", "2", "--yes")
    assert site.run("history", "--json").json["entries"][0]["event"] == "remove"
    assert not (site.repository / "catalogue.sqlite3").exists()


def test_the_doctor_and_migrate_name_the_database_without_its_password(site: Site) -> None:
    """What to back up is told; the password is not, by no command."""
    site.run("init")
    report, migrated = site.run("doctor"), site.run("migrate", "--json")
    assert "MODEL_REPO_DATABASE_URL: postgresql+" in report.out
    assert "SQLite, journal" not in report.out
    assert "command_line_" in migrated.json["database"]
    assert_no_password(report, migrated, site.run("doctor", "--json"))


def test_a_database_out_of_reach_is_told_without_its_password(
    site: Site, postgresql_cluster: Cluster
) -> None:
    """A wrong password, and a server that is down."""
    site.run("init")
    wrong = postgresql_cluster.url("postgres", password="not-" + PASSWORD)
    down = "postgresql://owner:" + quote(PASSWORD, safe="") + "@127.0.0.1:1/models"
    for url in (wrong, down):
        for command in (["list"], ["doctor"], ["migrate"], ["--debug", "list"]):
            ran = site.run(*command, code=1, MODEL_REPO_DATABASE_URL=url)
            assert_no_password(ran)
