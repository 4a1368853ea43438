"""A repository whose catalogue is in PostgreSQL: all of it, and how it fails."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    AccessLogError,
    CatalogueError,
    ConfigurationError,
    MissingExtraError,
    RepositoryExistsError,
    RepositoryNotFoundError,
    SchemaVersionError,
    SealstoreError,
)
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.storage.catalogue import Catalogue
from tests.faults import operations
from tests.faults.children import SECONDS_FOR_A_CHILD, fork_server, run_all, started
from tests.faults.dying import Steps, count_steps, survives
from tests.faults.operations import CHANGES, KEYRING, PRESENT, ROTATING, Done, model
from tests.faults.soundness import contents, require_that_it_works
from tests.faults.test_fork import fork_among_threads, store_on_both_sides
from tests.faults.traffic import Stored, require_complete, store_and_load
from tests.postgresql_cluster import PASSWORD, Cluster, running_cluster
from tests.sealstore_fixtures import snapshot

pytestmark = pytest.mark.postgresql

DATABASE_URL = "MODEL_REPO_DATABASE_URL"


@pytest.fixture
def root(tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a filled repository, as a site has it that sets the environment's variable."""
    monkeypatch.setenv(DATABASE_URL, postgresql_url)
    operations.fill(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def repository(root: Path) -> Iterator[Repository]:
    with Repository.open(root, keyring=ROTATING) as opened:
        yield opened


# ── all of it ────────────────────────────────────────────────────────────────


def test_everything_works_on_postgresql(repository: Repository) -> None:
    """Store, load, list, search, history, remove, re-sign: as with SQLite, and no file for it."""
    assert contents(repository) == PRESENT
    for change in CHANGES.values():
        change(repository)
    require_that_it_works(repository)
    assert [artifact.tag for artifact in repository.list(search="2026-12").artifacts] == [
        "2026-12",
        "2026-12",
    ]
    assert {path.name for path in repository.root.iterdir()} == {
        "objects",
        "repository.json",
        "statements",
    }


def work(root: Path, url: str, worker: str, barrier: Any) -> list[Stored]:
    os.environ[DATABASE_URL] = url
    with Repository.open(root, keyring=KEYRING) as repository:
        barrier.wait()
        return store_and_load(repository, worker, 25, 100)


@pytest.mark.invariant(3)
def test_processes_share_a_server(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four writers at one database whose default isolation is another one: no gap, no error."""
    monkeypatch.setenv(DATABASE_URL, postgresql_url)
    root = tmp_path / "repository"
    with Repository.create(root, keyring=KEYRING) as repository:
        with fork_server().Manager() as manager:
            barrier = manager.Barrier(4)
            calls = [(work, (root, postgresql_url, f"worker-{n}", barrier)) for n in range(4)]
            stored = [entry for entries in run_all(calls) for entry in entries]
        require_complete(repository, stored)


def use_after_fork(root: Path, url: str) -> None:
    os.environ[DATABASE_URL] = url
    store_on_both_sides(root)
    fork_among_threads(root)


@pytest.mark.invariant(3)
def test_a_fork_does_not_share_its_parents_connection(root: Path, postgresql_url: str) -> None:
    """Parent and child store and load at the same time, threads of the parent too."""
    run_all([(use_after_fork, (root, postgresql_url))])
    with Repository.open(root, keyring=KEYRING) as repository:
        require_that_it_works(repository)


# ── making one ───────────────────────────────────────────────────────────────


def test_two_repositories_do_not_share_a_database(
    root: Path, tmp_path: Path, postgresql_url: str
) -> None:
    """A database that holds a catalogue is refused, and the first repository goes on."""
    with pytest.raises(RepositoryExistsError, match="already holds") as raised:
        Repository.create(tmp_path / "second", keyring=KEYRING)
    assert "empty database" in raised.value.hint
    assert "interrupted, empty it" in raised.value.hint
    with pytest.raises(RepositoryNotFoundError):
        Repository.open(tmp_path / "second", keyring=KEYRING)
    with Repository.open(root, keyring=KEYRING) as repository:
        require_that_it_works(repository)


def create_somewhere(root: Path, url: str, barrier: Any) -> bool:
    os.environ[DATABASE_URL] = url
    barrier.wait()
    try:
        Repository.create(root, keyring=KEYRING).close()
    except RepositoryExistsError:
        return False
    return True


def test_of_two_creations_in_one_database_one_succeeds(
    tmp_path: Path, postgresql_cluster: Cluster
) -> None:
    """Two folders at the same time, one database: one becomes a repository."""
    with fork_server().Manager() as manager:
        for number in range(3):
            url = postgresql_cluster.emptied_database()
            barrier = manager.Barrier(2)
            places = [tmp_path / f"{number}-{side}" for side in ("a", "b")]
            assert sorted(
                run_all([(create_somewhere, (place, url, barrier)) for place in places])
            ) == [False, True]


def create(root: Path, done: Done, url: str) -> None:
    os.environ[DATABASE_URL] = url
    operations.create(root, done)


@pytest.mark.invariant(3)
def test_a_killed_creation_is_whole_or_says_which_database_to_empty(
    tmp_path: Path, postgresql_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repository is there, can be made, or can be made in an emptied database."""
    url = postgresql_cluster.emptied_database()
    total = count_steps(Steps.ALL, create, tmp_path / "whole", Done(tmp_path / "done"), url)
    outcomes = set()
    for number in range(1, 13):
        url = postgresql_cluster.emptied_database()
        monkeypatch.setenv(DATABASE_URL, url)
        root = tmp_path / f"repository-{number}"
        survives(total * number // 12, Steps.ALL, create, root, Done(tmp_path / "done"), url)
        try:
            Repository.open(root, keyring=KEYRING).close()
            outcomes.add("whole")
        except RepositoryNotFoundError:
            try:
                Repository.create(root, keyring=KEYRING).close()
                outcomes.add("made again")
            except RepositoryExistsError:
                postgresql_cluster.emptied_database()
                Repository.create(root, keyring=KEYRING).close()
                outcomes.add("made again in an emptied database")
        with Repository.open(root, keyring=KEYRING) as repository:
            require_that_it_works(repository)
    assert "made again" in outcomes


# ── waiting ──────────────────────────────────────────────────────────────────


def write_and_wait(root: Path, url: str, ready: Any) -> None:
    os.environ[DATABASE_URL] = url
    with (
        Repository.open(root, keyring=KEYRING) as repository,
        repository.catalogue.write() as open_,
    ):
        open_.delete_artifacts("churn", "2026-11", 1)
        ready.send("ready")
        time.sleep(SECONDS_FOR_A_CHILD)


@pytest.mark.parametrize("change", CHANGES)
def test_a_stopped_writer_is_waited_for_and_then_named(
    root: Path, postgresql_url: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a writer that does not go on, a change gives up with an error; loads go on."""
    monkeypatch.setattr(limits, "DATABASE_BUSY_SECONDS", 0.3)
    with (
        started(write_and_wait, root, postgresql_url) as writer,
        Repository.open(root, keyring=ROTATING) as repository,
    ):
        os.kill(writer.pid, signal.SIGSTOP)
        with pytest.raises(CatalogueError, match="cannot be changed"):
            CHANGES[change](repository)
        assert contents(repository) == PRESENT
        monkeypatch.undo()
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    monkeypatch.setenv(DATABASE_URL, postgresql_url)
    with Repository.open(root, keyring=ROTATING) as repository:
        require_that_it_works(repository)


# ── failing ──────────────────────────────────────────────────────────────────


def every_text(error: BaseException) -> str:
    """What of an error can reach a log; of its causes the variables of their frames as well."""
    texts: list[str] = []
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        texts += [str(each), repr(each), repr(each.args), repr(getattr(each, "__dict__", {}))]
        if each is not error:
            frames = traceback.walk_tb(each.__traceback__)
            texts += [repr(frame.f_locals) for frame, _ in frames]
        pending += [each.__cause__, each.__context__]
    return "\n".join([*texts, *traceback.format_exception(error)])


PARTS_OF_THE_PASSWORD = (PASSWORD, "s3cret")


def test_no_error_shows_the_password(
    root: Path, postgresql_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password, host, port, database or option: an error of the family, without it."""
    right = postgresql_cluster.url("postgres")
    wrong_urls = {
        "password": postgresql_cluster.url("postgres", password="s3cret-but-wrong"),  # noqa: S106
        "database": postgresql_cluster.url("nobody_made_this"),
        "port": right.replace("@/", "@127.0.0.1:1/").partition("?")[0],
        "host": right.replace("@/", "@host.invalid/").partition("?")[0],
        "no port": right.replace("@/", "@host:port/").partition("?")[0],
        "option": f"{right}&no_such_option=s3cret",
        "password as an option": f"{right.replace('owner:', 'nobody:')}&password=s3cret",
        "scheme": right.replace("postgresql", "mysql"),
        "driver": right.replace("postgresql", "postgresql+no_such_driver"),
        "no url": "s3cret",
    }
    for what, url in wrong_urls.items():
        monkeypatch.setenv(DATABASE_URL, url)
        for use in (Repository.open, Repository.create):
            place = root if use == Repository.open else root.parent / what
            with pytest.raises((CatalogueError, ConfigurationError, MissingExtraError)) as raised:
                use(place, keyring=KEYRING)
            assert raised.value.hint, what
            text = every_text(raised.value)
            for part in PARTS_OF_THE_PASSWORD:
                assert part not in text, (what, text)


def test_nothing_that_is_printed_shows_the_password(
    repository: Repository, postgresql_url: str
) -> None:
    """Settings, engine, repository and the URL for people have representations without it."""
    settings = replace(
        Settings.from_environment(), database_url=f"{postgresql_url}&password=s3cret&user=owner"
    )
    engine = repository.catalogue.engine
    shown = [repr(settings), str(settings), repr(repository), repr(repository.catalogue)]
    inner = vars(engine)["_engine"]
    shown += [repr(engine), engine.place, repr(inner), repr(inner.pool)]
    for text in shown:
        for part in PARTS_OF_THE_PASSWORD:
            assert part not in text
    assert "owner" in engine.place


def test_a_server_that_stops_is_an_error_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the server nothing is stored or loaded; then all that was acknowledged is there.

    The server stops at once, and by its own settings would forget what it committed last.
    """
    with running_cluster() as cluster:
        monkeypatch.setenv(DATABASE_URL, cluster.url())
        root = tmp_path / "repository"
        operations.fill(root)
        with Repository.open(root, keyring=ROTATING) as repository:
            assert contents(repository) == PRESENT
            before = snapshot(root / "statements")
            with cluster.stopped():
                for action in (*CHANGES.values(), contents):
                    with pytest.raises(CatalogueError) as raised:
                        action(repository)
                    assert PASSWORD not in every_text(raised.value)
                with pytest.raises(CatalogueError):
                    Repository.open(root, keyring=ROTATING)
                assert snapshot(root / "statements") == before
            require_that_it_works(repository)
        with cluster.stopped():
            pass
        with Repository.open(root, keyring=ROTATING) as repository:
            require_that_it_works(repository)


def test_a_connection_that_breaks_in_a_transaction_changes_nothing(
    repository: Repository, postgresql_cluster: Cluster
) -> None:
    """The server ends the writer's session: an error, no change, and the next store works."""

    def remove_and_lose_the_connection(catalogue: Catalogue) -> None:
        with catalogue.write() as transaction:
            transaction.delete_artifacts("churn", "2026-11", 1)
            postgresql_cluster.end_sessions("emptied")
            transaction.highest_sequence()

    with pytest.raises(CatalogueError):
        remove_and_lose_the_connection(repository.catalogue)
    assert contents(repository) == PRESENT
    require_that_it_works(repository)


def test_a_server_that_only_reads_refuses_changes(
    tmp_path: Path, postgresql_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a standby, or with default_transaction_read_only, changes are errors and nothing loads.

    Loads go on where their access log is elsewhere.
    """
    name = f"read_only_{os.getpid()}"
    monkeypatch.setenv(DATABASE_URL, postgresql_cluster.create_database(name))
    root = tmp_path / "repository"
    operations.fill(root)
    with postgresql_cluster.connected() as administrator:
        administrator.exec_driver_sql(
            f"ALTER DATABASE {name} SET default_transaction_read_only = on"
        )
    before = snapshot(root / "statements")
    with Repository.open(root, keyring=ROTATING) as repository:
        for change in CHANGES.values():
            with pytest.raises(CatalogueError, match="the server only reads"):
                change(repository)
        with pytest.raises(AccessLogError, match="the server only reads"):
            repository.load("churn")
    settings = operations.logging_to(tmp_path / "accesses.sqlite3", root, ROTATING)
    with Repository.open(root, keyring=ROTATING, settings=settings) as repository:
        assert contents(repository) == PRESENT
    assert snapshot(root / "statements") == before


def test_an_empty_database_is_no_catalogue(
    root: Path, postgresql_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository whose database was exchanged for an empty one is not taken for empty."""
    monkeypatch.setenv(DATABASE_URL, postgresql_cluster.create_database(f"empty_{os.getpid()}"))
    with pytest.raises(SchemaVersionError, match="has no tables"):
        Repository.open(root, keyring=KEYRING)


def test_what_text_cannot_hold_is_an_error_of_the_family(repository: Repository) -> None:
    """PostgreSQL's text has no NUL: storing or searching one is an error; metadata escapes it."""
    with pytest.raises(SealstoreError):
        repository.store(model("churn", "2027", 1), "churn", "2027", actor="a\0b")
    assert contents(repository) == PRESENT
    artifact = repository.store(
        model("churn", "2027", 1), "churn", "2027", metadata={"text": "a\0b"}
    )
    assert artifact.metadata == {"text": "a\0b"}
    assert repository.get("churn").metadata == {"text": "a\0b"}
    with pytest.raises(SealstoreError):
        repository.list(search="\0")
    require_that_it_works(repository)
