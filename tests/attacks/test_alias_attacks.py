"""Whoever has the store key, writes to the catalogue, or replays approvals: they load nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealstore.audit.verifying import audit_aliases
from sealstore.errors import (
    AliasInTheWayError,
    ApprovalMismatchError,
    ArtifactNotFound,
    CatalogueTamperedError,
    KeyRoleError,
    LedgerTamperedError,
    NotApprovedError,
    RevokedKeyError,
    RollbackError,
    SealstoreError,
    UnknownKeyError,
)
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.ledger.map_values import TagValue
from sealstore.names import Name, Tag
from sealstore.repository import environment
from sealstore.repository.artifact import entry_artifact
from sealstore.repository.facade import Repository
from sealstore.repository.map_changes import note_moved
from sealstore.repository.recording import Change, change
from sealstore.repository.state import RepositoryState
from sealstore.signed.approval import AliasMove, AliasTarget
from sealstore.signed.approving import require_approvals
from sealstore.signed.drafting import seal_statement
from sealstore.signed.envelope import open_statement
from sealstore.signed.settings import VerifiedSettings, open_settings
from sealstore.storage.catalogue import ArtifactRow
from sealstore.storage.catalogue.changing import ApprovalRow
from sealstore.storage.catalogue.listing import artifact_at
from tests.alias_moves import approvals, approver, changed, parts_of, public_part
from tests.places import CopiedRepository
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    run_sql,
    scope,
)

pytestmark = pytest.mark.invariant(4)

ADA, BOB = approver(1), approver(2)
GONE = approver(3, state=State.REVOKED)
LIMITED = approver(4, scope=scope(OTHER_REPOSITORY_ID))
STORER = ed25519_key(5, roles=roles(Role.STORE, Role.ADMIN, Role.ACCESS))
SYMMETRIC = hmac_key(6, roles=roles(Role.APPROVE))
EVERYBODY = (ADA, BOB, GONE, LIMITED, STORER)
NAME, ALIAS = Name("churn"), Tag("production")

Reopen = Callable[..., Repository]


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.of([hmac_key(), SYMMETRIC, *map(public_part, EVERYBODY)])


def fill(repository: Repository) -> None:
    """Production is protected, and means what two people approved: the good model."""
    for tag in ("good", "bad"):
        repository.store(tag, "churn", tag)
        repository.store(tag, "fraud", tag)
    repository.change_settings(protected_aliases={"production": 2, "staging": 2})
    make(repository, repository.request_approvals("churn", "production", "good"), ADA, BOB)


@pytest.fixture
def churn(
    copied_repository: CopiedRepository, tmp_path: Path, keyring: Keyring
) -> Iterator[Repository]:
    with copied_repository(fill, keyring, tmp_path / "repository") as repository:
        yield repository


def make(repository: Repository, move: AliasMove, *keys: Key) -> list[bytes]:
    """Make a move with the approvals of these keys; what they signed."""
    given = approvals(move, *keys)
    repository.apply_move(move, approvals=given)
    return given


def next_move(repository: Repository, tag: str = "bad") -> AliasMove:
    return repository.request_approvals("churn", "production", tag)


def require_good(repository: Repository) -> None:
    """The approved model, and nothing else, is what production loads."""
    assert repository.load("churn", "production") == "good"
    assert audit_aliases(repository) == []


# ── replayed and foreign approvals ───────────────────────────────────────────


def changes_of(repository: Repository) -> dict[str, dict[str, Any]]:
    """What approvals of something else were about."""
    move = next_move(repository)
    return {
        "another repository": {"repository": OTHER_REPOSITORY_ID},
        "another name": {"name": "fraud"},
        "another alias": {"alias": "staging"},
        "another artifact": {"target": move.previous},
        "another statement": {"target": msgspec.structs.replace(move.target, statement="0" * 64)},
        "the move before": {"move": move.move - 1},
        "the move after": {"move": move.move + 1},
        "another previous": {"previous": None},
        "older settings": {"settings_version": move.settings_version - 1},
        "newer settings": {"settings_version": move.settings_version + 1},
    }


@pytest.mark.parametrize(
    "about",
    [
        "another repository",
        "another name",
        "another alias",
        "another artifact",
        "another statement",
        "the move before",
        "the move after",
        "another previous",
        "older settings",
        "newer settings",
    ],
)
def test_approvals_of_something_else_move_nothing(churn: Repository, about: str) -> None:
    """Genuine ones, by two people, of anything but this very move."""
    move = next_move(churn)
    given = approvals(changed(move, **changes_of(churn)[about]), ADA, BOB)
    before = churn.history(limit=1)
    with pytest.raises(ApprovalMismatchError):
        churn.apply_move(move, approvals=given)
    assert churn.history(limit=1) == before
    require_good(churn)


def test_approvals_are_not_used_twice(churn: Repository) -> None:
    """Those that moved it once do not move it back later."""
    move = next_move(churn)
    given = make(churn, move, ADA, BOB)
    make(churn, next_move(churn, "good"), ADA, BOB)
    with pytest.raises(ApprovalMismatchError, match="another move"):
        churn.set_alias("churn", "production", "bad", approvals=given)
    require_good(churn)


UNFIT = {
    "one key twice": ((ADA, ADA), NotApprovedError),
    "a symmetric key": ((ADA, SYMMETRIC), KeyRoleError),
    "a revoked key": ((ADA, GONE), RevokedKeyError),
    "a key without the role": ((ADA, STORER), KeyRoleError),
    "a key of another repository": ((ADA, LIMITED), KeyRoleError),
    "an unknown key": ((ADA, approver(9)), UnknownKeyError),
    "one key only": ((ADA,), NotApprovedError),
    "nobody": ((), NotApprovedError),
}


@pytest.mark.parametrize("by", UNFIT)
def test_approvals_by_whoever_may_not_move_nothing(churn: Repository, by: str) -> None:
    """Two are needed, by different people who may approve here and now."""
    keys, refusal = UNFIT[by]
    move = next_move(churn)
    with pytest.raises(refusal):
        churn.apply_move(move, approvals=approvals(move, *keys))
    require_good(churn)


# ── the store key in the wrong hands ─────────────────────────────────────────


@contextmanager
def forged(repository: Repository) -> Iterator[tuple[Change, RepositoryState]]:
    """A transaction of an attacker who has the store key and needs no code of ours."""
    with change(parts_of(repository), environment.stored_by("eve")) as (made, state):
        before = made.sequence
        yield made, state
        if made.sequence == before:
            # A change without any entry is seen at once: so this one has another.
            made.append("key", action="rotated", key=hmac_key().key_id)


def forged_move(
    repository: Repository, move: AliasMove, *envelopes: bytes, entry: bool = True
) -> None:
    """Whatever an honest mover checks, this does not; the result is under a genuine head."""
    with forged(repository) as (made, _):
        note_moved(made, NAME, ALIAS, move.target)
        rows = [
            ApprovalRow(f"{number:064x}", "churn", "production", move.move, envelope)
            for number, envelope in enumerate(envelopes)
        ]
        made.transaction.replace_approvals("churn", "production", move.move, rows)
        if entry:
            details: dict[str, Any] = {
                "name": "churn",
                "alias": "production",
                "move": move.move,
                "tag": "bad",
            }
            made.append("alias", None, at=environment.now(), **details)


@pytest.mark.parametrize("by", UNFIT)
def test_a_move_that_the_store_key_alone_made_loads_nothing(churn: Repository, by: str) -> None:
    """A loader counts the approvals itself; the head vouches for the map and for nothing more."""
    move = next_move(churn)
    forged_move(churn, move, *approvals(move, *UNFIT[by][0]))
    for ask in (churn.load, churn.get, churn.verify, churn.read_payload):
        with pytest.raises(NotApprovedError):
            ask("churn", "production")
    assert audit_aliases(churn)


@pytest.mark.parametrize(
    "about",
    [
        "another repository",
        "another name",
        "another alias",
        "another artifact",
        "another statement",
        "the move before",
        "the move after",
        "newer settings",
    ],
)
def test_a_loader_is_given_approvals_of_something_else(churn: Repository, about: str) -> None:
    """Under a genuine head, beside a genuine map: they are not of this move."""
    move = next_move(churn)
    given = approvals(changed(move, **changes_of(churn)[about]), ADA, BOB)
    forged_move(churn, move, *given)
    with pytest.raises(NotApprovedError, match="genuine, but for"):
        churn.load("churn", "production")
    assert audit_aliases(churn)


def test_approvals_from_before_a_change_of_rules_show_in_the_audit(churn: Repository) -> None:
    """Kept back while one was enough, used when three are: they are too few, whenever signed."""
    move = next_move(churn)
    given = approvals(move, ADA, BOB)
    churn.change_settings(protected_aliases={"production": 3})
    forged_move(churn, move, *given)
    with pytest.raises(NotApprovedError, match="needs 3 approvals"):
        churn.load("churn", "production")
    assert [finding.code for finding in audit_aliases(churn)] == ["LEDGER_TAMPERED"]


def test_the_approved_artifact_is_exchanged_below_its_alias(churn: Repository) -> None:
    """The alias means what was approved; the revision's statement is another: refused."""
    with forged(churn) as (made, _):
        stored = made.revision(NAME, Tag("good"), 1)
        assert stored is not None
        row = artifact_at(made.transaction, stored.sequence)
        assert row is not None
        genuine = open_statement(row.envelope, churn.keyring).statement
        bad = made.revision(NAME, Tag("bad"), 1)
        assert bad is not None
        other = artifact_at(made.transaction, bad.sequence)
        assert other is not None
        planted = open_statement(other.envelope, churn.keyring).statement
        statement = msgspec.structs.replace(
            planted,
            predicate=msgspec.structs.replace(
                planted.predicate, tag="good", sequence=genuine.predicate.sequence
            ),
        )
        envelope = seal_statement(statement, hmac_key())
        verified = open_statement(envelope, churn.keyring)
        made.transaction.delete_artifacts("churn", "good", 1)
        made.transaction.insert_artifact(ArtifactRow.of(verified, envelope))
        digest = verified.digest
        value = msgspec.structs.replace(stored, statement=digest)
        made.set_revision(NAME, Tag("good"), 1, value)
        made.set_segment(NAME, Tag("good"), TagValue(revision=1, highest=1, statement=digest))
        made.append("resign", entry_artifact(verified))
    assert churn.load("churn", "good") == "bad", "who stores can store, under a tag"
    with pytest.raises(CatalogueTamperedError, match="mean another statement"):
        churn.load("churn", "production")


@pytest.mark.parametrize("revision", [None, 1])
def test_a_tag_in_the_place_of_a_protected_alias(churn: Repository, revision: int | None) -> None:
    """The store key can write a tag there, and no loader takes it for the alias."""
    with forged(churn) as (made, _):
        bad = made.revision(NAME, Tag("bad"), 1)
        assert bad is not None
        made.set_revision(NAME, ALIAS, 1, bad)
        made.set_segment(NAME, ALIAS, TagValue(revision=1, highest=1, statement=bad.statement))
    with pytest.raises(NotApprovedError, match="it is a tag"):
        churn.load("churn", "production", revision=revision)


def test_a_protected_alias_that_was_taken_away_falls_through_to_nothing(
    churn: Repository,
) -> None:
    """Removed by the store key: an error, and the audit shows it."""
    with forged(churn) as (made, _):
        moved = note_moved(made, NAME, ALIAS, None)
        details: dict[str, Any] = {
            "name": "churn",
            "alias": "production",
            "move": moved.move,
            "tag": None,
        }
        good = churn.alias_history("churn", "production")[0].details
        details |= {f"previous_{part}": good[part] for part in ("tag", "revision", "statement")}
        details |= {"settings_version": 2, "approvals_needed": 2}
        made.append("alias", None, at=environment.now(), **details)
    with pytest.raises(ArtifactNotFound):
        churn.load("churn", "production")
    assert ["removed the alias" in finding.message for finding in audit_aliases(churn)] == [True]


def move_under(repository: Repository, move: AliasMove, settings: VerifiedSettings) -> None:
    with forged(repository) as (made, _):
        note_moved(made, NAME, ALIAS, move.target)
        made.replace_settings(settings)


def test_older_settings_without_the_protection_are_not_taken(churn: Repository) -> None:
    """Genuine and signed by an admin, but older than what this client has seen."""
    move = next_move(churn)
    before = churn.state.head
    [[first]] = run_sql(churn, "SELECT envelope FROM settings WHERE version = 1")
    with pytest.raises(RollbackError, match="settings"):
        move_under(churn, move, open_settings(first, churn.keyring))
    assert churn.state.head == before
    require_good(churn)


def test_a_move_without_an_entry_shows_in_its_history(churn: Repository) -> None:
    """The map counts the moves, so none can be made off the record."""
    forged_move(churn, next_move(churn), entry=False)
    with pytest.raises(LedgerTamperedError, match="move 2 is missing"):
        churn.alias_history("churn", "production")


def test_an_alias_shadows_no_tag_and_a_tag_no_alias(churn: Repository) -> None:
    """Neither as an honest storer asks for it, nor protected, nor in another case."""
    for attempt in (
        lambda: churn.store(1, "churn", "production"),
        lambda: churn.store(1, "new", "production"),
        lambda: churn.set_alias("churn", "good", "bad"),
        lambda: churn.store_payload(memoryview(b"\x80\x04N."), "churn", "production"),
    ):
        with pytest.raises(AliasInTheWayError):
            attempt()
    churn.store("other", "churn", "Production")
    require_good(churn)


# ── rows ─────────────────────────────────────────────────────────────────────

HOSTILE = [None, 0, -1, 7, 1.5, "", "x", "churn", b"", b"\xff", b"x" * 100_000, "x" * 100_000]


@pytest.mark.parametrize("column", ["digest", "name", "alias", "move", "envelope"])
def test_an_approvals_row_edited_by_raw_sql(churn: Repository, column: str) -> None:
    """Each column, set to values of each type: what was approved, or an error of the family."""
    genuine = run_sql(churn, "SELECT * FROM approval ORDER BY digest")
    assert len(genuine) == 2
    for value in HOSTILE:
        try:
            run_sql(churn, f"UPDATE approval SET {column} = ?", value)
        except sqlite3.IntegrityError:
            continue
        with suppress(SealstoreError):
            assert churn.load("churn", "production") == "good"
        run_sql(churn, "DELETE FROM approval")
        for row in genuine:
            run_sql(churn, "INSERT INTO approval VALUES (?, ?, ?, ?, ?)", *row)
    require_good(churn)


def test_approvals_that_are_gone_load_nothing(churn: Repository) -> None:
    """Deleted, or one of them: too few. Put back, it loads as before."""
    genuine = run_sql(churn, "SELECT * FROM approval ORDER BY digest")
    for where in ("1", f"digest = '{genuine[0][0]}'"):
        run_sql(churn, f"DELETE FROM approval WHERE {where}")
        with pytest.raises(NotApprovedError):
            churn.load("churn", "production")
        assert audit_aliases(churn)
    for row in genuine:
        run_sql(churn, "INSERT OR REPLACE INTO approval VALUES (?, ?, ?, ?, ?)", *row)
    require_good(churn)


def test_junk_beside_approvals_takes_none_of_them_away(churn: Repository) -> None:
    """A loader counts what is genuine; the audit names the junk."""
    run_sql(
        churn, "INSERT INTO approval VALUES ('f', 'churn', 'production', 1, ?)", b"\x00 junk" * 9
    )
    assert churn.load("churn", "production") == "good"
    assert [finding.artifact for finding in audit_aliases(churn)] == ["churn:production"]


def test_a_flood_of_junk_is_read_up_to_a_cap_only(churn: Repository) -> None:
    """It can crowd the genuine ones out: an error, and never another object."""
    for number in range(40):
        run_sql(
            churn,
            "INSERT INTO approval VALUES (?, 'churn', 'production', 1, ?)",
            f"{number:04}",
            b"junk",
        )
    with pytest.raises(NotApprovedError):
        churn.load("churn", "production")
    # The next move clears what lies in its way, and stands beside the flood.
    run_sql(churn, "UPDATE approval SET move = 2 WHERE envelope = ?", b"junk")
    make(churn, next_move(churn, "good"), ADA, BOB)
    assert churn.load("churn", "production") == "good"


def test_a_settings_row_of_then_that_was_changed_shows_in_the_audit(churn: Repository) -> None:
    """Another genuine version in its place, or none: the audit says which is missing."""
    churn.change_settings(immutable_tags=True)
    [[third]] = run_sql(churn, "SELECT envelope FROM settings WHERE version = 3")
    run_sql(churn, "UPDATE settings SET envelope = ? WHERE version = 2", third)
    assert ["was changed" in finding.message for finding in audit_aliases(churn)] == [True]
    run_sql(churn, "DELETE FROM settings WHERE version = 2")
    assert ["is missing" in finding.message for finding in audit_aliases(churn)] == [True]
    assert churn.load("churn", "production") == "good"


# ── the audit ────────────────────────────────────────────────────────────────


def history_of(repository: Repository) -> dict[str, Any]:
    return dict(repository.alias_history("churn", "production", limit=1)[0].details)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"move": 7}, "does not follow"),
        ({"move": None}, "does not follow"),
        ({"previous_tag": "good"}, "does not follow"),
        ({"previous_tag": None}, "does not follow"),
        ({"settings_version": 1}, "other settings"),
        ({"approvals_needed": 0}, "other settings"),
        ({"approval_1": "somebody"}, "not those that the history names"),
        ({"tag": "latest"}, "no tag"),
        ({"alias": "staging"}, "does not follow"),
        ({"name": None}, "does not follow"),
    ],
)
def test_an_entry_that_lies_shows_in_the_audit(
    churn: Repository, lie: dict[str, Any], says: str
) -> None:
    """The store key writes the history, too; what it says is held against approvals and rules."""
    forge_with_entry(churn, lie, ADA, BOB)
    findings = audit_aliases(churn)
    assert findings
    assert says in findings[0].message


def test_an_entry_that_tells_the_truth_about_too_few_approvals_shows_in_the_audit(
    churn: Repository,
) -> None:
    """Everything fits but their number; with one more, nothing is wrong."""
    forge_with_entry(churn, {}, ADA)
    assert [finding.code for finding in audit_aliases(churn)] == ["NOT_APPROVED"]


def test_a_move_that_only_looks_forged_is_sound(churn: Repository) -> None:
    """The same by hand, and approved by two: it is what an honest mover would have made."""
    forge_with_entry(churn, {}, ADA, BOB)
    assert audit_aliases(churn) == []
    assert churn.load("churn", "production") == "bad"


def forge_with_entry(churn: Repository, lie: dict[str, Any], *keys: Key) -> None:
    """A third move by hand, approved by these keys, with an entry that is right but for a lie."""
    make(churn, next_move(churn), ADA, BOB)
    details = history_of(churn)
    with forged(churn) as (made, _):
        target = AliasTarget(tag="bad", revision=1, statement=details["statement"])
        moved = note_moved(made, NAME, ALIAS, target)
        details |= {
            "move": moved.move,
            "previous_tag": "bad",
            "previous_revision": 1,
            "previous_statement": details["statement"],
        }
        move = next_move(churn)
        given = approvals(move, *keys)
        verified = require_approvals(given, move, 0, churn.keyring, churn.keyring.ids(State.ACTIVE))
        del details["approval_2"]
        details |= {f"approval_{n}": f"{e.key_id} {e.digest}" for n, e in enumerate(verified, 1)}
        rows = [ApprovalRow(e.digest, "churn", "production", 3, e.envelope) for e in verified]
        made.transaction.replace_approvals("churn", "production", 3, rows)
        made.append("alias", None, at=environment.now(), **(details | lie))


def test_a_history_that_was_changed_is_not_audited_but_refused(churn: Repository) -> None:
    """Nothing is said of entries that are not those of the signed head."""
    run_sql(churn, "DELETE FROM history_entry WHERE event = 'alias'")
    with pytest.raises(LedgerTamperedError):
        audit_aliases(churn)
    with pytest.raises(LedgerTamperedError, match="is missing"):
        churn.alias_history("churn", "production")


def test_the_maps_list_of_aliases_is_proven(churn: Repository) -> None:
    """An alias that is counted and not there: refused, wherever the list is needed."""
    with forged(churn) as (made, _):
        made.set_alias_name(NAME, 2, Tag("ghost"))
    for attempt in (lambda: churn.aliases("churn"), lambda: churn.remove("churn", "bad")):
        with pytest.raises(CatalogueTamperedError, match="does not have"):
            attempt()
    require_good(churn)
