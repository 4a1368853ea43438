"""The access log of processes that die, fork, or append all at the same time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from sealstore.errors import AccessLogError, AccessLogExistsError, RetiredKeyError
from sealstore.keys.keyring import State
from sealstore.repository.access_log.operating import create as create_log
from tests.faults import access_appends
from tests.faults.access_appends import ENTRIES, audited, grant, open_log, trust_of
from tests.faults.children import fork_server, run_all
from tests.faults.conftest import Deaths
from tests.faults.operations import ROTATED
from tests.faults.test_fork import forked

pytestmark = [pytest.mark.invariant(3), pytest.mark.invariant(5)]

WORKERS = 8


@pytest.fixture
def place(memory: Path) -> Path:
    """A log with some entries, and a client that remembers it, where ``deaths`` puts its copies."""
    remembered = memory / "scene" / "place"
    access_appends.fill(remembered)
    return remembered.rename(memory / "place")


# ── death at every step ──────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_killed_append_is_absent_or_whole_and_loses_nothing(place: Path, deaths: Deaths) -> None:
    """Whatever step it dies at: what was granted is on record, and the log goes on from there."""
    for found, done in deaths(access_appends.append, place):
        acknowledged = [entry for (entry,) in done.entries() if entry != "closed"]
        with closing(open_log(found)) as log:
            entries = audited(log)
            assert acknowledged == list(range(ENTRIES + 1, ENTRIES + 1 + len(acknowledged)))
            assert ENTRIES + len(acknowledged) <= len(entries)
            assert len(entries) <= min(ENTRIES + 3, ENTRIES + len(acknowledged) + 1)
            actors = [entry.by.actor for entry in entries[ENTRIES:]]
            assert actors == ["first", "second", "third"][: len(actors)]
            record = trust_of(found).read()
            assert record is not None
            assert record.access[log.location].size <= len(entries)
            assert grant(log) == len(entries) + 1
            assert len(audited(log)) == len(entries) + 1


@pytest.mark.slow
def test_a_killed_making_gives_a_log_or_can_be_repeated(tmp_path: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, the log is there or can be made now."""
    original = tmp_path / "place"
    access_appends.begin(original)
    for found, done in deaths(access_appends.create, original):
        try:
            access_appends.create(found)
            assert not done.entries()
        except AccessLogExistsError:
            pass
        with closing(open_log(found)) as log:
            assert audited(log) == []
            assert grant(log) == 1


@pytest.mark.slow
def test_a_killed_signing_leaves_the_old_or_the_new_signature(place: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, one of both is there, and it can be repeated."""
    [new] = ROTATED.ids(State.ACTIVE)
    for found, done in deaths(access_appends.sign_again, place):
        with closing(open_log(found, ROTATED)) as log:
            try:
                grant(log)
            except RetiredKeyError:
                assert not done.entries()
                log.sign_again()
                grant(log)
            with log.read() as reading:
                assert reading.head().key_id == new
            assert len(audited(log)) == ENTRIES + 1


# ── all at the same time ─────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("database", "count"),
    [("sqlite", 100), pytest.param("postgresql", 20, marks=pytest.mark.postgresql)],
)
def test_processes_append_at_the_same_time(
    tmp_path: Path, request: pytest.FixtureRequest, database: str, count: int
) -> None:
    """8 processes that also remember what they see: one chain, without a gap and without a fork."""
    variables: dict[str, str] = {}
    if database == "postgresql":
        variables["MODEL_REPO_ACCESS_LOG_URL"] = request.getfixturevalue("postgresql_url")
    place = tmp_path / "place"
    access_appends.begin(place)
    with closing(open_log(place, create=True, variables=variables)) as log:
        create_log(log)
    workers = [f"worker-{number}" for number in range(WORKERS)]
    with fork_server().Manager() as manager:
        barrier = manager.Barrier(WORKERS)
        appended = run_all(
            [
                (access_appends.append_many, (place, variables, worker, count, barrier))
                for worker in workers
            ]
        )
    with closing(open_log(place, variables=variables)) as log:
        entries = audited(log)
        assert len(entries) == WORKERS * count
        for worker, sequences in zip(workers, appended, strict=True):
            own = [entry for entry in entries if entry.by.actor == worker]
            assert [entry.sequence for entry in own] == sequences
            assert len({entry.by.process for entry in own}) == 1
        record = trust_of(place).read()
        assert record is not None
        # Whoever ended last remembered the last.
        assert record.access[log.location].size == len(entries)
        assert grant(log) == len(entries) + 1


def fork_among_appends(place: Path) -> list[int]:
    return access_appends.append_among_forks(place, forked, forks=10)


def test_forks_among_busy_threads_lose_no_entry_and_do_not_hang(tmp_path: Path) -> None:
    """Parent and children append under their own process ids, through a log opened before."""
    place = tmp_path / "place"
    access_appends.fill(place)
    [appended] = run_all([(fork_among_appends, (place,))])
    with closing(open_log(place)) as log:
        entries = audited(log)
        threads = [entry for entry in entries if entry.by.actor == "thread"]
        children = [entry for entry in entries if entry.by.actor == "child"]
        assert sorted(appended) == [entry.sequence for entry in threads]
        assert len({entry.by.process for entry in threads}) == 1
        assert len({entry.by.process for entry in children}) == len(children) == 10
        assert len(entries) == ENTRIES + 1 + len(threads) + len(children)


def test_a_process_that_dies_in_the_queue_holds_nobody_up(place: Path, tmp_path: Path) -> None:
    """A lock file that is left behind is no lock, and one that is a link is not followed."""
    (tmp_path / "log").mkdir()
    for name in ("access.sqlite3", "access.sqlite3.lock"):
        (tmp_path / "log" / name).write_bytes((place / "log" / name).read_bytes())
    with closing(open_log(tmp_path)) as log:
        assert grant(log) == ENTRIES + 1
        (tmp_path / "log/access.sqlite3.lock").unlink()
        (tmp_path / "log/access.sqlite3.lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(AccessLogError):
            grant(log)
        assert not (tmp_path / "elsewhere").exists()
