"""Attacks on the access log by who may write to its database or its file, and has no key.

What an honest process does then, what is on record afterwards, and what an auditor finds. An edit
in the middle stops no append: it is found by the audit, whatever was appended since.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    AccessLogError,
    AccessLogNotFoundError,
    CatalogueTamperedError,
    EnvelopeFormatError,
    KeyRoleError,
    LedgerFormatError,
    LedgerTamperedError,
    RepositoryExchangedError,
    RetiredKeyError,
    RevokedKeyError,
    RollbackError,
    SignatureInvalidError,
    UnknownKeyError,
    VerificationError,
)
from sealstore.keys.keyring import Key, Role, State
from sealstore.ledger.head import seal_access_head, seal_head
from sealstore.ledger.merkle import Frontier, leaf_hash
from sealstore.ledger.points import AccessCheckpoint
from sealstore.ledger.whole_tree import find_alteration
from sealstore.repository.access_log.log import AccessLog, Event
from tests import ledger_trees
from tests.access_logs import (
    Memory,
    audited,
    dump,
    grant,
    head_of,
    make_log,
    open_log,
    run_sql,
)
from tests.ledger_trees import Chain, access_head
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    hmac_key,
    roles,
    scope,
)

pytestmark = [pytest.mark.invariant(2), pytest.mark.invariant(5)]

ENTRIES = 7


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with some entries, and another of the same repository; copied, never changed."""
    folder = tmp_path_factory.mktemp("logs")
    for name in ("log", "other"):
        (folder / name).mkdir()
        make_log(folder / name)
    with closing(open_log(folder / "log")) as log:
        grant(log, ENTRIES)
    with closing(open_log(folder / "other")) as log:
        for number in range(ENTRIES):
            request = ledger_trees.access_entry().request
            log.record(Event("load", "refused", request, None, f"OTHER_{number}"))
    return folder


@pytest.fixture
def root(logs: Path, tmp_path: Path) -> Path:
    """The folder of a log with some entries."""
    return Path(shutil.copytree(logs / "log", tmp_path / "log"))


@pytest.fixture
def other(logs: Path, tmp_path: Path) -> Path:
    """Another log of the same repository and keys, with as many entries."""
    return Path(shutil.copytree(logs / "other", tmp_path / "other"))


@pytest.fixture(params=["has seen the newest head", "remembers the newest head", "first use"])
def log(request: pytest.FixtureRequest, root: Path) -> Iterator[AccessLog]:
    """An honest process before the attack: what it knows differs."""
    memory = Memory()
    if request.param == "remembers the newest head":
        with closing(open_log(root)) as reader:
            memory.point = AccessCheckpoint.of(head_of(reader))
    with closing(open_log(root, memory=memory)) as opened:
        if request.param == "has seen the newest head":
            opened.sign_again()
        yield opened


@pytest.fixture
def knowing(root: Path) -> Iterator[AccessLog]:
    """A process that has seen the newest head."""
    with closing(open_log(root)) as opened:
        opened.sign_again()
        yield opened


def head_envelope(root: Path) -> bytes:
    [[envelope]] = run_sql(root, "SELECT envelope FROM access_head")
    assert isinstance(envelope, bytes)
    return envelope


def put_head(root: Path, envelope: object) -> None:
    run_sql(root, "UPDATE access_head SET envelope = ?", envelope)


def entry(root: Path, sequence: int) -> bytes:
    [[data]] = run_sql(root, "SELECT entry FROM access_entry WHERE sequence = ?", sequence)
    assert isinstance(data, bytes)
    return data


def refused(log: AccessLog, root: Path, error: type[Exception]) -> None:
    """Granting is refused for that reason, and nothing is written."""
    before = dump(root)
    with pytest.raises(error):
        grant(log)
    assert dump(root) == before


# ── entries ──────────────────────────────────────────────────────────────────

EDITS = {
    "an edited entry": (
        "UPDATE access_entry SET entry = CAST(replace(CAST(entry AS TEXT), 'granted', 'refused')"
        " AS BLOB) WHERE sequence = {n}"
    ),
    "an entry of no bytes": "UPDATE access_entry SET entry = 7 WHERE sequence = {n}",
    "an entry without end": (
        f"UPDATE access_entry SET entry = zeroblob({limits.MAX_ENTRY_BYTES + 1})"
        " WHERE sequence = {n}"
    ),
    "a deleted entry": "DELETE FROM access_entry WHERE sequence = {n}",
    "a repeated entry": (
        "UPDATE access_entry SET entry = (SELECT entry FROM access_entry WHERE sequence = {n} % 7"
        " + 1) WHERE sequence = {n}"
    ),
}


@pytest.mark.parametrize("number", range(1, ENTRIES))
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_is_found_and_named_whatever_is_appended_afterwards(
    root: Path, knowing: AccessLog, edit: str, number: int
) -> None:
    """An honest append sums up the entries as they were, so the edit never becomes history."""
    before = head_of(knowing)
    run_sql(root, edit.format(n=number))
    with pytest.raises(LedgerTamperedError):
        audited(knowing)
    assert grant(knowing) == ENTRIES + 1
    with knowing.read() as reading:
        head = reading.head().head
        assert head.size == before.size + 1
        found = find_alteration(
            head.size, bytes.fromhex(head.root), reading.chain, reading.chain.entries
        )
        assert found == range(number - 1, number)
    with pytest.raises(LedgerTamperedError):
        audited(knowing)


def test_swapped_entries_are_found(root: Path, log: AccessLog) -> None:
    """Each says its own place, and the root says it once more."""
    run_sql(root, "UPDATE access_entry SET sequence = -2 WHERE sequence = 2")
    run_sql(root, "UPDATE access_entry SET sequence = 2 WHERE sequence = 3")
    run_sql(root, "UPDATE access_entry SET sequence = 3 WHERE sequence = -2")
    assert grant(log) == ENTRIES + 1
    with pytest.raises(LedgerTamperedError):
        audited(log)


def test_an_entry_of_another_log_is_found(root: Path, other: Path, log: AccessLog) -> None:
    """A genuine entry with the right number, signed for by the same key, of another chain."""
    run_sql(root, "UPDATE access_entry SET entry = ? WHERE sequence = 3", entry(other, 3))
    assert grant(log) == ENTRIES + 1
    with pytest.raises(LedgerTamperedError):
        audited(log)


def test_a_missing_end_stops_the_next_append(root: Path, log: AccessLog) -> None:
    """Entries cut off behind the head's back: nothing is granted, and nothing is added."""
    for last in (ENTRIES, ENTRIES - 1, 1):
        run_sql(root, "DELETE FROM access_entry WHERE sequence >= ?", last)
        refused(log, root, LedgerTamperedError)
        with pytest.raises(LedgerTamperedError):
            audited(log)


@pytest.mark.parametrize("sequence", [ENTRIES + 1, ENTRIES + 2, limits.MAX_SEQUENCE])
def test_a_planted_entry_stops_the_next_append(root: Path, log: AccessLog, sequence: int) -> None:
    """Neither the next number nor one of the far future can be put there in advance."""
    planted = "INSERT INTO access_entry SELECT ?, entry, event, at, name, tag FROM access_entry"
    run_sql(root, f"{planted} WHERE sequence = 1", sequence)
    refused(log, root, LedgerTamperedError)
    if sequence <= ENTRIES + 1:
        with pytest.raises(LedgerTamperedError):
            audited(log)


def test_a_trigger_that_swallows_entries_is_found_first(root: Path, log: AccessLog) -> None:
    """The schema is compared in the very transaction; also by whom it was compared before."""
    assert grant(log) == ENTRIES + 1
    run_sql(
        root,
        "CREATE TRIGGER swallow AFTER INSERT ON access_entry BEGIN"
        " DELETE FROM access_entry WHERE sequence = new.sequence; END",
    )
    refused(log, root, CatalogueTamperedError)


# ── nodes and frontier ───────────────────────────────────────────────────────


def test_poisoned_nodes_reach_no_root(root: Path, knowing: AccessLog) -> None:
    """Roots come from the signed frontier: they are right with every stored node wrong."""
    run_sql(root, "UPDATE access_node SET digest = zeroblob(32)")
    assert grant(knowing) == ENTRIES + 1
    assert len(audited(knowing)) == ENTRIES + 1


@pytest.mark.parametrize(
    "poison",
    [
        "UPDATE access_node SET digest = zeroblob(32)",
        "UPDATE access_node SET digest = zeroblob(33)",
        "UPDATE access_node SET digest = 'text'",
        "DELETE FROM access_node",
    ],
)
def test_poisoned_nodes_prove_nothing(root: Path, knowing: AccessLog, poison: str) -> None:
    """A head that is far ahead needs a proof; without one it is not taken for a later state."""
    memory = Memory(AccessCheckpoint.of(head_of(knowing)))
    with closing(open_log(root)) as another:
        grant(another, limits.NEAR_ENTRIES + 1)
    run_sql(root, poison)
    refused(knowing, root, LedgerTamperedError)
    with closing(open_log(root, memory=memory)) as client:
        refused(client, root, LedgerTamperedError)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_of_what_others_just_appended_stops_the_next_append(
    root: Path, knowing: AccessLog, edit: str
) -> None:
    """What is new to a process it verifies itself, entry by entry."""
    with closing(open_log(root)) as another:
        grant(another, 3)
    run_sql(root, edit.format(n=ENTRIES + 2))
    refused(knowing, root, LedgerTamperedError)


def test_planted_nodes_of_the_future_stop_the_append(root: Path, log: AccessLog) -> None:
    """What stands in the place of a node to come is not taken over."""
    run_sql(root, "INSERT INTO access_node VALUES (0, ?, zeroblob(32))", ENTRIES)
    refused(log, root, AccessLogError)
    assert len(audited(log)) == ENTRIES


def test_a_frontier_that_nobody_signed_is_no_head(root: Path, log: AccessLog) -> None:
    """A frontier of fewer entries, under a genuine signature of another head."""
    chain = Chain(entry(root, number) for number in range(1, ENTRIES))
    forged = seal_access_head(access_head(chain, log=head_of(log).log), hmac_key(9))
    genuine = head_envelope(root)
    run_sql(root, "DELETE FROM access_entry WHERE sequence = ?", ENTRIES)
    put_head(root, forged)
    refused(log, root, UnknownKeyError)
    mixed = forged.split(b'"signatures"')[0] + b'"signatures"' + genuine.split(b'"signatures"')[1]
    put_head(root, mixed)
    refused(log, root, SignatureInvalidError)


# ── heads ────────────────────────────────────────────────────────────────────

STRANGERS = {
    "unknown": (hmac_key(9), None, UnknownKeyError),
    "retired": (hmac_key(2), hmac_key(2, state=State.RETIRED), RetiredKeyError),
    "revoked": (hmac_key(2), hmac_key(2, state=State.REVOKED), RevokedKeyError),
    "without the role": (
        hmac_key(2),
        hmac_key(2, roles=roles(Role.STORE, Role.ADMIN)),
        KeyRoleError,
    ),
    "of another repository": (hmac_key(2), hmac_key(2, scope=scope("f" * 32)), KeyRoleError),
}


@pytest.mark.parametrize(("signer", "known", "error"), STRANGERS.values(), ids=STRANGERS)
def test_a_head_of_a_key_that_may_not_sign_it_is_refused(
    root: Path, signer: Key, known: Key | None, error: type[Exception]
) -> None:
    """A chain that is whole, extended by somebody whose key must not."""
    keys = [hmac_key(1)] + ([known] if known else [])
    with closing(open_log(root, *keys)) as log:
        head = head_of(log)
        put_head(root, seal_access_head(head, signer))
        refused(log, root, error)
        with pytest.raises(error):
            head_of(log)


def test_other_documents_are_no_heads(root: Path, log: AccessLog) -> None:
    """A repository's head of the same key, entries, and bytes that are too many or none at all."""
    put_head(root, seal_head(ledger_trees.head(Chain.of(ENTRIES)), hmac_key()))
    refused(log, root, EnvelopeFormatError)
    put_head(root, entry(root, 1))
    refused(log, root, EnvelopeFormatError)
    for nothing in (b"\0" * (limits.MAX_HEAD_ENVELOPE_BYTES + 1), "text", 7):
        put_head(root, nothing)
        refused(log, root, AccessLogNotFoundError)
    run_sql(root, "DELETE FROM access_head")
    refused(log, root, AccessLogNotFoundError)
    assert run_sql(root, "SELECT count(*) FROM access_entry") == [(ENTRIES,)]


def test_a_head_beside_the_head_is_not_asked(root: Path, log: AccessLog) -> None:
    """There is one head, and it has one place."""
    run_sql(root, "INSERT INTO access_head VALUES (2, ?)", b"another")
    run_sql(root, "INSERT INTO access_head VALUES (0, ?)", b"another")
    assert grant(log) == ENTRIES + 1


def test_another_repositorys_log_is_refused(tmp_path: Path, root: Path, log: AccessLog) -> None:
    """Whole and signed by a key that both trust: its entries say nothing about this repository."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    make_log(foreign, repository=OTHER_REPOSITORY_ID)
    with closing(open_log(foreign, repository=OTHER_REPOSITORY_ID)) as elsewhere:
        grant(elsewhere, ENTRIES + 2)
    exchange(root, foreign)
    refused(log, root, RepositoryExchangedError)
    with pytest.raises(RepositoryExchangedError):
        audited(log)


# ── older and other states ───────────────────────────────────────────────────


def exchange(root: Path, by: Path) -> None:
    """Put another log's file in the place of this one's, while processes have it open."""
    for path in root.glob("access.sqlite3*"):
        if not path.name.endswith(".lock"):
            path.unlink()
    shutil.copy(by / "access.sqlite3", root)


def copy_of(root: Path, place: Path) -> Path:
    place.mkdir()
    shutil.copy(root / "access.sqlite3", place)
    return place


KNOWING = pytest.mark.parametrize(
    "log", ["has seen the newest head", "remembers the newest head"], indirect=True
)


@KNOWING
def test_an_older_log_put_back_is_a_rollback(tmp_path: Path, root: Path, log: AccessLog) -> None:
    """By its file or by its rows and head: who knows the newer state grants nothing."""
    older = tmp_path / "older"
    older.mkdir()
    run_sql(root, "VACUUM INTO ?", str(older / "access.sqlite3"))
    newest = Memory()
    with closing(open_log(root, memory=newest)) as another:
        grant(another, 2)
        assert grant(log) == ENTRIES + 3
    exchange(root, older)
    with closing(open_log(root, memory=newest)) as client:
        refused(client, root, RollbackError)
    refused(log, root, RollbackError)


@KNOWING
def test_an_older_head_over_truncated_rows_is_a_rollback(root: Path, log: AccessLog) -> None:
    """Truncation with the head of that time: nothing but what somebody remembers shows it."""
    older = head_envelope(root)
    grant(log, 2)
    put_head(root, older)
    run_sql(root, "DELETE FROM access_entry WHERE sequence > ?", ENTRIES)
    run_sql(root, "DELETE FROM access_node WHERE (node_index + 1) << level > ?", ENTRIES)
    refused(log, root, RollbackError)
    with closing(open_log(root)) as auditor:
        assert len(audited(auditor)) == ENTRIES


def test_a_truncated_log_that_was_honestly_continued_is_found_by_who_remembers(
    root: Path, knowing: AccessLog
) -> None:
    """A first-use client cannot know; whoever saw a head from before refuses what grew instead."""
    older = head_envelope(root)
    grant(knowing, 2)
    memory = Memory(AccessCheckpoint.of(head_of(knowing)))
    put_head(root, older)
    run_sql(root, "DELETE FROM access_entry WHERE sequence > ?", ENTRIES)
    run_sql(root, "DELETE FROM access_node WHERE (node_index + 1) << level > ?", ENTRIES)
    with closing(open_log(root)) as newcomer:
        grant(newcomer, 4)
        assert len(audited(newcomer)) == ENTRIES + 4
    refused(knowing, root, LedgerTamperedError)
    with closing(open_log(root, memory=memory)) as client:
        refused(client, root, LedgerTamperedError)


def test_an_older_head_alone_stops_the_append(root: Path, log: AccessLog) -> None:
    """With the entries after it still there, even a first-use client sees it."""
    older = head_envelope(root)
    with closing(open_log(root)) as another:
        grant(another)
    put_head(root, older)
    refused(log, root, VerificationError)


@KNOWING
def test_a_fork_of_the_log_is_refused(tmp_path: Path, root: Path, log: AccessLog) -> None:
    """Two continuations of one log, each whole: who has seen one does not take the other."""
    run_sql(root, "PRAGMA wal_checkpoint(TRUNCATE)")
    fork = copy_of(root, tmp_path / "fork")
    memory = Memory()
    with closing(open_log(root, memory=memory)) as another:
        grant(another)
        grant(log)
    # Longer, and newer: neither its size nor its time gives it away.
    with closing(open_log(fork)) as elsewhere:
        grant(elsewhere, 4)
    exchange(root, fork)
    refused(log, root, LedgerTamperedError)
    with closing(open_log(root, memory=memory)) as client:
        refused(client, root, LedgerTamperedError)


@KNOWING
def test_another_log_of_the_repository_is_refused(root: Path, other: Path, log: AccessLog) -> None:
    """An empty or a longer one, made by whoever has the keys: it is not the one that was known."""
    with closing(open_log(other)) as elsewhere:
        grant(elsewhere, 5)
    exchange(root, other)
    refused(log, root, RepositoryExchangedError)
    # Also where nothing could be proven of it anyway, and where it is far longer.
    run_sql(root, "DELETE FROM access_node")
    refused(log, root, RepositoryExchangedError)
    with closing(open_log(root)) as elsewhere:
        grant(elsewhere, limits.NEAR_ENTRIES)
    refused(log, root, RepositoryExchangedError)


def test_a_chain_made_of_a_signed_head_needs_the_entries_of_that_head(root: Path) -> None:
    """The frontier that an append starts from is that of the head's root, or there is no head."""
    with closing(open_log(root)) as log:
        head = head_of(log)
        tree = Frontier().extended(entry(root, number) for number in range(1, ENTRIES + 1))
        assert head.tree() == tree
        wrong: Any = {"frontier": (*head.frontier[:-1], leaf_hash(b"other").hex())}
        with pytest.raises(LedgerFormatError):
            access_head(Chain.of(ENTRIES), **wrong)
