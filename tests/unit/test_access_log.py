"""The access log: what is recorded, where, by whom, and when not."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    AccessLogError,
    AccessLogExistsError,
    AccessLogNotFoundError,
    CatalogueError,
    ConfigurationError,
    InvalidMetadataError,
    LedgerFormatError,
    LedgerTamperedError,
    NoSigningKeyError,
    RepositoryExchangedError,
    RetiredKeyError,
    RevokedKeyError,
    RollbackError,
    SchemaVersionError,
    StorageError,
)
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.keys.writing import public_keyring, write_keyring_file
from sealstore.ledger.entries import AccessRequest
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from sealstore.repository import environment
from sealstore.repository.access_log.log import AccessLog, Event
from sealstore.repository.access_log.operating import create as create_log
from sealstore.repository.access_log.place import access_rows, open_access_log
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.storage.catalogue import AccessRows
from sealstore.storage.catalogue.chain_rows import entry_rows
from sealstore.storage.catalogue.migrations import upgrade
from sealstore.storage.catalogue.sqlite import SqliteEngine
from sealstore.trust import operating
from sealstore.trust.store import TrustStore, folder_location
from sealstore.upkeep.access_log import create_access_log
from tests import ledger_trees
from tests.access_logs import (
    REQUEST,
    Memory,
    audited,
    dump,
    grant,
    head_of,
    make_log,
    open_log,
    run_sql,
)
from tests.ledger_trees import ARTIFACT
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    scope,
    snapshot,
)

OpenLog = Callable[..., AccessLog]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def open_any(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenLog]:
    """Opens an empty log of each kind, as often as one likes."""
    place: dict[str, Any] = {}
    if request.param == "postgresql":
        place["database_url"] = request.getfixturevalue("postgresql_url")
    opened: list[AccessLog] = []
    make_log(tmp_path, **place)

    def open_one(*keys: Key, **options: Any) -> AccessLog:
        opened.append(open_log(tmp_path, *keys, **place, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AccessLog]:
    """An empty log in SQLite."""
    make_log(tmp_path)
    with closing(open_log(tmp_path)) as opened:
        yield opened


@pytest.fixture
def now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time flies: at each append it is time to remember again."""
    monkeypatch.setattr(limits, "REMEMBER_ACCESS_SECONDS", 0)


# ── what is recorded ─────────────────────────────────────────────────────────


@pytest.mark.invariant(5)
def test_what_is_recorded_says_what_who_and_when(open_any: OpenLog) -> None:
    """A grant, its failure and a refusal follow each other, under one verified head."""
    log = open_any()
    began = environment.now()
    job = "hetida job 0815"
    wanted = AccessRequest(name="absent", tag="v1", revision=3)
    events = [
        Event("load", "granted", REQUEST, ARTIFACT, actor="job 7", context=job),
        Event("load", "failed", REQUEST, ARTIFACT, "OBJECT_LOAD", grant=1, context=job),
        Event("verify", "refused", REQUEST, ARTIFACT, "PAYLOAD_DIGEST"),
        Event("export", "refused", wanted, None, "ARTIFACT_NOT_FOUND", actor="job 8"),
    ]
    assert [log.record(event) for event in events] == [1, 2, 3, 4]
    entries = audited(log)
    assert [
        (entry.sequence, entry.act, entry.outcome, entry.reason, entry.grant, entry.context)
        for entry in entries
    ] == [
        (1, "load", "granted", None, None, "hetida job 0815"),
        (2, "load", "failed", "OBJECT_LOAD", 1, "hetida job 0815"),
        (3, "verify", "refused", "PAYLOAD_DIGEST", None, None),
        (4, "export", "refused", "ARTIFACT_NOT_FOUND", None, None),
    ]
    assert [entry.by.actor for entry in entries] == ["job 7", None, None, "job 8"]
    assert [entry.artifact for entry in entries] == [ARTIFACT, ARTIFACT, ARTIFACT, None]
    assert [entry.request for entry in entries] == [REQUEST, REQUEST, REQUEST, wanted]
    who = environment.stored_by(None)
    for entry in entries:
        assert (entry.by.user, entry.by.host) == (who.user, who.host)
        assert entry.by.process == os.getpid()
        assert entry.recorded_by == hmac_key().key_id
        assert began <= entry.at <= environment.now()
    head = head_of(log)
    assert (head.size, head.repository) == (4, REPOSITORY_ID)
    assert entries[-1].at == head.time


def test_columns_repeat_what_the_entries_say(open_any: OpenLog) -> None:
    """Listings search them: the artifact that was found, or else what was asked for."""
    log = open_any()
    grant(log)
    log.record(Event("load", "refused", REQUEST, None, "ARTIFACT_NOT_FOUND"))
    with log.read() as reading:
        rows = list(entry_rows(reading.chain, 0, 10))
    assert [(row.sequence, row.event, row.name, row.tag) for row in rows] == [
        (1, "load granted", ARTIFACT.name, ARTIFACT.tag),
        (2, "load refused", "churn", "latest"),
    ]
    assert [row.at for row in rows] == [entry.at for entry in audited(log)]


def test_several_processes_continue_one_chain(open_any: OpenLog) -> None:
    """Each verifies the other's heads, and nobody's entry is lost."""
    logs = [open_any(), open_any(), open_any()]
    for number in range(1, 41):
        assert grant(logs[number * number % 3]) == number
    # From so far behind, by a proof.
    assert grant(logs[0], limits.NEAR_ENTRIES + 1) == 41 + limits.NEAR_ENTRIES
    assert grant(logs[1]) == 42 + limits.NEAR_ENTRIES
    sequences = [entry.sequence for entry in audited(logs[0])]
    assert sequences == list(range(1, 43 + limits.NEAR_ENTRIES))


def test_each_process_signs_with_a_key_of_its_own(tmp_path: Path) -> None:
    """Who has the public part of the other's key continues the other's chain."""
    pairs = [ed25519_key(1), ed25519_key(2)]
    one, two = public_keyring(Keyring.of(pairs))
    make_log(tmp_path, pairs[0])
    with (
        closing(open_log(tmp_path, pairs[0], two)) as first,
        closing(open_log(tmp_path, one, pairs[1])) as second,
    ):
        for log in (first, second, second, first):
            grant(log)
        recorders = [entry.recorded_by for entry in audited(first)]
    assert recorders == [pairs[number].key_id for number in (0, 1, 1, 0)]


def test_a_log_is_signed_by_pairs_of_keys_too(tmp_path: Path) -> None:
    """Ed25519: who only has the public part audits, and cannot append."""
    pair = ed25519_key()
    make_log(tmp_path, pair)
    with closing(open_log(tmp_path, pair)) as log:
        grant(log, 3)
    with closing(open_log(tmp_path, *public_keyring(Keyring.of([pair])))) as reader:
        assert len(audited(reader)) == 3
        with pytest.raises(NoSigningKeyError):
            grant(reader)
        assert len(audited(reader)) == 3


@pytest.mark.parametrize(
    "event",
    [
        ("load", "refused", REQUEST, None, "not a code"),
        ("load", "refused", REQUEST, None, None),
        ("sell", "refused", REQUEST, None, "X"),
        ("load", "granted", REQUEST, None),
        ("load", "failed", REQUEST, ARTIFACT, "OBJECT_LOAD", 2),
        ("load", "failed", REQUEST, ARTIFACT, "OBJECT_LOAD", 0),
        ("load", "failed", REQUEST, ARTIFACT, "OBJECT_LOAD", None),
        ("load", "granted", REQUEST, ledger_trees.entry_artifact(sha256="none")),
    ],
)
def test_what_no_auditor_could_read_is_not_recorded(log: AccessLog, event: tuple[Any, ...]) -> None:
    """An impossible entry is an error, and the log goes on as if nothing had been asked."""
    grant(log)
    with pytest.raises(LedgerFormatError):
        log.record(Event(*event))
    assert grant(log) == 2
    assert len(audited(log)) == 2


@pytest.mark.parametrize(
    "said",
    [
        {"actor": "a" * (limits.MAX_ACTOR_CHARACTERS + 1)},
        {"actor": 7},
        {"context": "c" * (limits.MAX_CONTEXT_CHARACTERS + 1)},
        {"context": b"job"},
        {"context": "\udc80"},
    ],
)
def test_what_a_caller_may_not_say_is_told_before_anything_is_recorded(
    log: AccessLog, said: dict[str, Any]
) -> None:
    """Actor and context are strings with a cap."""
    with pytest.raises(InvalidMetadataError):
        log.record(Event("load", "granted", REQUEST, ARTIFACT, **said))
    assert audited(log) == []


def test_the_longest_texts_fit(log: AccessLog) -> None:
    """Everything at its cap, in characters that JSON escapes, is one entry."""
    actor, context = (
        "\x01" * limits.MAX_ACTOR_CHARACTERS,
        "\x01" * limits.MAX_CONTEXT_CHARACTERS,
    )
    log.record(Event("load", "granted", REQUEST, ARTIFACT, actor=actor, context=context))
    [entry] = audited(log)
    assert (entry.by.actor, entry.context) == (actor, context)


def test_an_entry_names_the_process_that_made_it(
    log: AccessLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of the process is not taken for that of a fork, nor one caller for another."""
    grant(log, 2)
    monkeypatch.setattr(environment, "process_id", lambda: 4711)
    log.record(Event("load", "granted", REQUEST, ARTIFACT, actor="job 7"))
    log.record(Event("load", "granted", REQUEST, ARTIFACT))
    assert [(entry.by.process, entry.by.actor) for entry in audited(log)] == [
        (os.getpid(), "job 7"),
        (os.getpid(), "job 7"),
        (4711, "job 7"),
        (4711, None),
    ]


def test_a_clock_that_was_set_back_dates_no_head_before_the_one_it_follows(
    log: AccessLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry tells the clock's time, and the head the newest time that the log has."""
    grant(log)
    before = head_of(log).time
    monkeypatch.setattr(environment, "now", lambda: "2001-01-01T00:00:00.000000Z")
    grant(log)
    assert head_of(log).time == before
    assert audited(log)[-1].at == "2001-01-01T00:00:00.000000Z"


def test_threads_share_a_log(log: AccessLog) -> None:
    """20 threads: every entry is there, with numbers that nobody else got."""
    sequences: list[int] = []

    def work() -> None:
        sequences.extend(grant(log) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sequences) == list(range(1, 201))
    assert len(audited(log)) == 200


# ── where it is ──────────────────────────────────────────────────────────────


def test_by_default_it_is_a_file_of_its_own_in_the_repository(tmp_path: Path) -> None:
    """Beside the catalogue; nobody else reads it, and nothing is opened before it is needed."""
    with closing(open_log(tmp_path)) as log:
        assert list(tmp_path.iterdir()) == []
        assert log.location == f"file://{tmp_path}/access.sqlite3"
    make_log(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"access.sqlite3", "access.sqlite3.lock"}
    assert (tmp_path / "access.sqlite3").stat().st_mode & 0o777 == 0o640


def test_a_file_elsewhere_is_named_by_its_url(tmp_path: Path) -> None:
    """Loaders that may only read the repository have a log where they may write."""
    root, place = tmp_path / "repository", tmp_path / "log of 50% ü"
    root.mkdir()
    place.mkdir()
    url = f"sqlite:///{place}/loads.db".replace("%", "%25").replace(" ", "%20")
    make_log(root, access_log_url=url, database_url="postgresql://nobody@nowhere/db")
    with closing(open_log(root, access_log_url=url)) as log:
        assert grant(log) == 1
        assert log.location == f"file://{tmp_path}/log%20of%2050%25%20%C3%BC/loads.db"
    assert list(root.iterdir()) == []
    assert (place / "loads.db").exists()


@pytest.mark.postgresql
def test_with_postgresql_it_is_in_the_catalogues_database_or_in_another(
    tmp_path: Path, postgresql_url: str
) -> None:
    """The same database by default, whose tables it uses; and no password is shown."""
    make_log(tmp_path, database_url=postgresql_url)
    with closing(open_log(tmp_path, access_log_url=postgresql_url)) as log:
        assert grant(log) == 1
        assert log.location.startswith("postgresql")
        assert "password" not in log.location
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///relative.db",
        "sqlite://",
        "sqlite:////",
        "sqlite:////folder/",
        "sqlite:////file.db?mode=memory",
        "mysql://user:s3cret@host/db",
        "/plain/path.db",
        "postgresql:nonsense s3cret",
    ],
)
def test_an_impossible_url_is_refused_by_the_variables_name(tmp_path: Path, url: str) -> None:
    """No relative path, no options, no other database; and no password in the error."""
    settings = Settings.from_environment({"MODEL_REPO_ACCESS_LOG_URL": url})
    with pytest.raises(ConfigurationError) as refusal:
        access_rows(settings, tmp_path)
    assert "MODEL_REPO_ACCESS_LOG_URL" in str(refusal.value)
    assert "s3cret" not in str(refusal.value)
    assert "s3cret" not in repr(settings)


def test_loaders_of_a_repository_make_a_log_of_their_own(
    repository: Repository, tmp_path: Path
) -> None:
    """By one command, once; the repository's own log and everything else stay as they are."""
    write_keyring_file(tmp_path / "keyring.json", Keyring.of([hmac_key()]))
    settings = Settings.from_environment(
        {
            "MODEL_REPO_PATH": str(repository.root),
            "MODEL_REPO_KEYRING": str(tmp_path / "keyring.json"),
            "MODEL_REPO_ACCESS_LOG_URL": f"sqlite:///{tmp_path}/loads.sqlite3",
        }
    )
    before = snapshot(repository.root)
    assert create_access_log(settings) == f"file://{tmp_path}/loads.sqlite3"
    with pytest.raises(AccessLogExistsError):
        create_access_log(settings)
    assert snapshot(repository.root) == before
    repository.store([1], "churn", "v1")
    with Repository.open(settings=settings) as loader:
        assert loader.load("churn", actor="job 7") == [1]
        assert [entry.by.actor for entry in audited(loader.access_log)] == ["job 7"]
    assert audited(repository.access_log) == []


# ── making one ───────────────────────────────────────────────────────────────


def test_a_log_begins_with_a_signed_head_and_an_id_of_its_own(tmp_path: Path) -> None:
    """Size 0; two logs of one repository are told apart."""
    heads = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        make_log(root)
        with closing(open_log(root)) as log:
            heads.append(head_of(log))
    assert [(head.size, head.repository) for head in heads] == [(0, REPOSITORY_ID)] * 2
    assert heads[0].log != heads[1].log


def test_a_log_is_not_made_where_one_is(open_any: OpenLog) -> None:
    """Nothing of it changes, be it empty or not."""
    log = open_any()
    for entries in range(2):
        before = head_of(log)
        with pytest.raises(AccessLogExistsError):
            create_log(log)
        assert head_of(log) == before
        assert len(audited(log)) == entries
        grant(log)


def test_a_log_that_lost_its_head_is_not_begun_again(tmp_path: Path, log: AccessLog) -> None:
    """Entries without a head are evidence, not an empty log."""
    grant(log, 2)
    run_sql(tmp_path, "DELETE FROM access_head")
    before = dump(tmp_path)
    with pytest.raises(AccessLogExistsError):
        create_log(log)
    with pytest.raises(AccessLogNotFoundError):
        grant(log)
    assert dump(tmp_path) == before


def test_an_interrupted_making_can_be_repeated(tmp_path: Path) -> None:
    """The tables alone are no log."""
    with closing(open_log(tmp_path, create=True)) as log:
        upgrade(log.rows.engine)
        with pytest.raises(AccessLogNotFoundError):
            grant(log)
        create_log(log)
        assert grant(log) == 1


def test_a_log_that_is_remembered_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    """Where the file is gone, making another one would hide that."""
    memory = Memory()
    make_log(tmp_path, memory=memory)
    assert [(point.size, point.repository) for point in memory.written] == [(0, REPOSITORY_ID)]
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(AccessLogExistsError, match="remembered"):
        make_log(tmp_path, memory=memory)
    assert list(tmp_path.iterdir()) == []


def test_making_a_log_needs_a_key_that_may_sign_for_it(tmp_path: Path) -> None:
    """Nothing is left behind without one."""
    for key in (
        hmac_key(roles=roles(Role.STORE, Role.ADMIN)),
        hmac_key(scope=scope(OTHER_REPOSITORY_ID)),
        hmac_key(state=State.RETIRED),
    ):
        with pytest.raises(NoSigningKeyError):
            make_log(tmp_path, key)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.invariant(4)
def test_without_a_log_nothing_is_granted_and_none_is_made(tmp_path: Path) -> None:
    """No file, and an empty database, are errors that say how one is made."""
    for _ in range(2):
        with closing(open_log(tmp_path)) as log:
            for use in (grant, audited):
                with pytest.raises(AccessLogNotFoundError, match="sealstore audit init"):
                    use(log)
        assert {path.name for path in tmp_path.iterdir()} <= {"access.sqlite3"}
        (tmp_path / "access.sqlite3").touch()


def test_another_releases_tables_are_refused(
    tmp_path: Path, log: AccessLog, older_release: str
) -> None:
    """Older or newer: neither read nor written."""
    for revision in (older_release, "9999"):
        run_sql(tmp_path, "UPDATE alembic_version SET version_num = ?", revision)
        for use in (grant, audited):
            with pytest.raises(SchemaVersionError):
                use(log)
    assert run_sql(tmp_path, "SELECT count(*) FROM access_entry") == [(0,)]


def test_a_closed_log_opens_again(log: AccessLog) -> None:
    """Closing ends connections, not the log."""
    grant(log)
    log.close()
    log.close()
    assert grant(log) == 2


# ── what cannot be written ───────────────────────────────────────────────────


@pytest.mark.invariant(4)
def test_a_log_that_cannot_be_written_grants_nothing(tmp_path: Path, log: AccessLog) -> None:
    """The error says which variable names a log elsewhere."""
    grant(log)
    (tmp_path / "access.sqlite3.lock").unlink()
    (tmp_path / "access.sqlite3.lock").mkdir()
    with pytest.raises(AccessLogError, match="MODEL_REPO_ACCESS_LOG_URL"):
        grant(log)
    assert len(audited(log)) == 1


@pytest.mark.invariant(4)
def test_a_log_that_somebody_holds_grants_nothing(
    tmp_path: Path, log: AccessLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither another process nor another thread is waited for without end."""
    grant(log)
    monkeypatch.setattr(limits, "DATABASE_BUSY_SECONDS", 0.05)
    with (tmp_path / "access.sqlite3.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AccessLogError, match="Another process"):
            grant(log)
    with log._lock, pytest.raises(AccessLogError, match="Another thread"):
        grant(log)
    assert grant(log) == 2


def test_a_file_that_is_deleted_meanwhile_is_missed(tmp_path: Path, log: AccessLog) -> None:
    """Entries do not go into a deleted file, and no new one takes its place."""
    grant(log)
    for path in tmp_path.glob("access.sqlite3*"):
        path.unlink()
    with pytest.raises(AccessLogError):
        grant(log)
    assert not (tmp_path / "access.sqlite3").exists()


# ── keys ─────────────────────────────────────────────────────────────────────


class ChangingKeys:
    """A key source whose keyring changes under an open log."""

    def __init__(self, *keys: Key) -> None:
        self.keyring = Keyring.of(keys)

    def __call__(self) -> Keyring:
        return self.keyring

    def set(self, *keys: Key) -> None:
        self.keyring = Keyring.of(keys)


def changing_log(root: Path, keys: ChangingKeys) -> AccessLog:
    return AccessLog(access_rows(Settings.from_environment({}), root), REPOSITORY_ID, keys)


OLD, NEW = hmac_key(1), hmac_key(2)


def test_the_newest_key_signs_and_the_older_can_then_be_retired(tmp_path: Path) -> None:
    """A rotation in two steps needs nothing else: one append with the newer key is enough."""
    make_log(tmp_path, OLD)
    keys = ChangingKeys(OLD)
    with closing(changing_log(tmp_path, keys)) as log:
        for keyring in ([OLD], [OLD, NEW], [replace(OLD, state=State.RETIRED), NEW]):
            keys.set(*keyring)
            grant(log)
        assert [entry.recorded_by for entry in audited(log)] == [
            OLD.key_id,
            NEW.key_id,
            NEW.key_id,
        ]


@pytest.mark.parametrize("reopened", [False, True])
def test_a_rotation_in_one_step_signs_the_head_again(tmp_path: Path, reopened: bool) -> None:
    """A retired key's head is refused, also one that this process signed, until that is done."""
    make_log(tmp_path, OLD)
    keys = ChangingKeys(OLD)
    log = changing_log(tmp_path, keys)
    grant(log, 3)
    if reopened:
        log.close()
        log = changing_log(tmp_path, keys)
    keys.set(replace(OLD, state=State.RETIRED), NEW)
    with pytest.raises(RetiredKeyError):
        grant(log)
    before = dump(tmp_path)
    log.sign_again()
    assert [line for line in dump(tmp_path) if "access_head" not in line] == [
        line for line in before if "access_head" not in line
    ]
    with log.read() as reading:
        assert reading.head().key_id == NEW.key_id
    assert grant(log) == 4
    assert len(audited(log)) == 4
    log.close()


def test_a_revoked_keys_head_is_refused_even_by_whom_it_was_verified_before(
    tmp_path: Path,
) -> None:
    """What is recognised by its bytes is recognised only as long as the keys are the same."""
    make_log(tmp_path, OLD)
    keys = ChangingKeys(OLD)
    with closing(changing_log(tmp_path, keys)) as log:
        grant(log)
        keys.set(replace(OLD, state=State.REVOKED), NEW)
        for use in (grant, audited, AccessLog.sign_again):
            with pytest.raises(RevokedKeyError):
                use(log)
        assert run_sql(tmp_path, "SELECT count(*) FROM access_entry") == [(1,)]


# ── what is remembered ───────────────────────────────────────────────────────


def test_a_head_is_remembered_now_and_then_and_at_the_end(
    open_any: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each append, which would cost two fsyncs; and only where there is news."""
    memory = Memory()
    log = open_any(memory=memory)
    grant(log, 3)
    assert memory.written == []
    log.close()
    assert [point.size for point in memory.written] == [3]
    log.close()
    assert len(memory.written) == 1
    monkeypatch.setattr(limits, "REMEMBER_ACCESS_SECONDS", 0)
    grant(log, 2)
    assert [point.size for point in memory.written] == [3, 4, 5]
    log.close()
    assert memory.written == [memory.written[0], memory.written[1], memory.point]
    assert memory.point == AccessCheckpoint.of(head_of(log))
    assert memory.proofs == [(3, 4), (4, 5)]


def test_what_is_remembered_is_synced_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power loss must not take back what a client has been told; other appends cost no fsync."""
    memory = Memory()
    make_log(tmp_path)
    log = open_log(tmp_path, memory=memory)
    with log.rows.engine.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    log.close()
    statements = traced(monkeypatch)
    grant(log, 2)
    assert levels(statements) == ["COMMIT", "COMMIT"]
    monkeypatch.setattr(limits, "REMEMBER_ACCESS_SECONDS", 0)
    grant(log)
    assert levels(statements) == ["EXTRA", "COMMIT", "NORMAL"]
    monkeypatch.setattr(limits, "REMEMBER_ACCESS_SECONDS", 1000)
    grant(log)
    log.close()
    assert levels(statements) == ["COMMIT", "EXTRA", "COMMIT", "NORMAL"]
    assert [point.size for point in memory.written] == [3, 4]


def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements of every connection that is opened from now on."""
    statements: list[str] = []
    configure = SqliteEngine._configure

    def configure_and_trace(engine: SqliteEngine, connection: sqlite3.Connection) -> None:
        configure(engine, connection)
        connection.set_trace_callback(statements.append)

    monkeypatch.setattr(SqliteEngine, "_configure", configure_and_trace)
    return statements


def levels(statements: list[str]) -> list[str]:
    """The commits since the last call, and how far those were synced that say so."""
    found = [
        statement.removeprefix("PRAGMA synchronous=")
        for statement in statements
        if statement.startswith("PRAGMA synchronous=") or statement == "COMMIT"
    ]
    statements.clear()
    return found


@pytest.mark.parametrize(("sync", "expected"), [("normal", ["off", "on"]), ("full", ["on", "on"])])
@pytest.mark.postgresql
def test_postgresql_syncs_what_is_remembered_or_everything(
    tmp_path: Path, postgresql_url: str, sync: str, expected: list[str]
) -> None:
    """MODEL_REPO_ACCESS_SYNC says which of its commits are waited for."""
    with closing(open_log(tmp_path, database_url=postgresql_url, access_sync=sync)) as log:
        upgrade(log.rows.engine)
        found = []
        for durable in (False, True):
            with log.rows.write(durable=durable) as rows:
                shown = rows.connection.execute("SHOW synchronous_commit").fetchone()
                found.append(shown[0])
        assert found == expected


@pytest.mark.parametrize("options", [{"access_sync": "full"}, {"journal": "delete"}])
def test_every_append_is_synced_where_that_is_asked_for_or_needed(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MODEL_REPO_ACCESS_SYNC=full; and a rollback journal, which must be synced to be one."""
    make_log(tmp_path, **options)
    with closing(open_log(tmp_path, **options)) as log:
        statements = traced(monkeypatch)
        grant(log, 2)
        assert levels(statements) == ["EXTRA", "COMMIT", "NORMAL"] * 2


@pytest.mark.usefixtures("now_and_then")
def test_what_another_process_remembered_is_known_here(open_any: OpenLog) -> None:
    """A log that went back behind it is refused, whoever has seen the newer head."""
    memory = Memory()
    log, other = open_any(memory=memory), open_any(memory=memory)
    grant(log)
    grant(other, 2)
    assert memory.point is not None
    memory.point = replace(memory.point, size=9)
    for each in (log, open_any(memory=memory)):
        with pytest.raises(RollbackError):
            grant(each)
    assert len(audited(log)) == 3


@pytest.mark.parametrize("newer", ["fewer entries", "other entries"])
def test_what_a_server_lost_in_a_crash_is_no_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newer: str
) -> None:
    """What was not synced may go, also for who saw it; what is remembered may not."""
    memory, file = Memory(), tmp_path / "access.sqlite3"
    make_log(tmp_path)
    before = file.read_bytes()
    log = open_log(tmp_path, memory=memory)
    grant(log)
    log.close()
    remembered = file.read_bytes()
    assert [point.size for point in memory.written] == [1]
    grant(log, 2)
    log.rows.engine.dispose()
    file.write_bytes(remembered)
    if newer == "other entries":
        with closing(open_log(tmp_path)) as other:
            grant(other, 4)
    with pytest.raises(RollbackError if newer == "fewer entries" else LedgerTamperedError):
        grant(log)
    monkeypatch.setattr(AccessRows, "may_forget", True)
    assert grant(log) == (2 if newer == "fewer entries" else 6)
    log.rows.engine.dispose()
    file.write_bytes(before)
    with pytest.raises(RollbackError):
        grant(log)


@pytest.mark.postgresql
@pytest.mark.parametrize("sync", ["", "normal", "full"])
def test_only_a_server_that_need_not_sync_may_forget(
    tmp_path: Path, postgresql_url: str, sync: str
) -> None:
    """SQLite's file is on the machine of the process; and what is synced is not lost."""
    for url, expected in ((postgresql_url, sync == "normal"), (f"sqlite:///{tmp_path}/a", False)):
        settings = {"MODEL_REPO_ACCESS_LOG_URL": url, "MODEL_REPO_ACCESS_SYNC": sync}
        rows = access_rows(Settings.from_environment(settings), tmp_path)
        assert rows.may_forget is expected
        rows.engine.dispose()


@pytest.mark.usefixtures("now_and_then")
def test_a_log_that_cannot_be_remembered_grants_nothing(
    open_any: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets the error, and no object; the entry says more than came of it."""
    memory = Memory()
    log = open_any(memory=memory)

    def refuse(*_: object) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setattr(log, "_remember", refuse)
    grant(log)
    with pytest.raises(StorageError):
        grant(log)
    # Closing gives nobody an object, so there is nothing to refuse.
    log.close()
    assert len(audited(log)) == 2


def test_what_is_remembered_stands_in_the_trust_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside its repository, under the log's location; and the trust state's word counts."""
    root = tmp_path / "repository"
    root.mkdir()
    settings = Settings.from_environment({})
    keyring = Keyring.of([hmac_key()])
    trust = TrustStore(tmp_path / "trust", folder_location(root), outside=root)
    operating.begin(trust, HistoryCheckpoint.of(ledger_trees.head()))

    def opened(**options: Any) -> AccessLog:
        return open_access_log(settings, root, REPOSITORY_ID, lambda: keyring, trust, **options)

    with closing(opened(create=True)) as log:
        create_log(log)
        record = trust.read()
        assert record is not None
        assert record.access[log.location].size == 0
        grant(log, 3)
    record = trust.read()
    assert record is not None
    assert record.access[log.location] == AccessCheckpoint.of(head_of(log))
    monkeypatch.setattr(limits, "REMEMBER_ACCESS_SECONDS", 0)
    with closing(opened()) as log, closing(opened()) as other:
        grant(log, 2)
        grant(other, 3)
        grant(log)
        record = trust.read()
        assert record is not None
        assert record.access[log.location].size == 9
    for path in root.glob("access.sqlite3*"):
        path.unlink()
    make_log(root)
    with closing(opened()) as log, pytest.raises(RepositoryExchangedError):
        grant(log)


def test_without_a_trust_state_nothing_is_remembered(tmp_path: Path) -> None:
    """A log is remembered beside its repository only."""
    root = tmp_path / "repository"
    root.mkdir()
    keyring = Keyring.of([hmac_key()])
    trust = TrustStore(tmp_path / "trust", folder_location(root), outside=root)
    settings = Settings.from_environment({})
    make_log(root)
    with closing(open_access_log(settings, root, REPOSITORY_ID, lambda: keyring, trust)) as log:
        assert grant(log) == 1
    assert trust.read() is None


# ── reading ──────────────────────────────────────────────────────────────────


def test_an_auditor_reads_one_state_while_others_append(open_any: OpenLog) -> None:
    """Head and entries fit each other, whatever is appended meanwhile."""
    log, other = open_any(), open_any()
    grant(log, 3)
    with log.read() as reading:
        first = list(reading.chain.entries(0, 100))
        grant(other, 2)
        assert list(reading.chain.entries(0, 100)) == first
        assert reading.chain.newest_sequence() == reading.head().head.size == 3
    assert len(audited(log)) == 5


def test_a_database_that_fails_is_told_as_the_access_logs_error(
    log: AccessLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One code for whatever keeps the log from being read."""

    def fail(*_: object) -> None:
        raise CatalogueError("The disk is broken.")

    monkeypatch.setattr(log.rows, "read", fail)
    with pytest.raises(AccessLogError, match=r"The disk is broken\.") as refusal, log.read():
        pass
    assert refusal.value.code == "ACCESS_LOG"
