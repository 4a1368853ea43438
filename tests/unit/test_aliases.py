"""Aliases: moved, loaded, listed, rolled back and removed; each move on record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sealstore import limits
from sealstore.audit.verifying import audit_aliases
from sealstore.errors import (
    AliasInTheWayError,
    ApprovalMismatchError,
    ArtifactInUseError,
    ArtifactNotFound,
    CatalogueTamperedError,
    IdentityMismatchError,
    ImmutableTagError,
    InvalidNameError,
    NoSigningKeyError,
    NotApprovedError,
    ReservedTagError,
    RetiredKeyError,
    UsageError,
    VerificationError,
)
from sealstore.formats.joblib_format import JoblibFormat
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.ledger.history import HistoryEntry
from sealstore.repository.facade import Repository
from sealstore.signed.statement import Import
from tests.alias_moves import approvals, approver, changed, public_part
from tests.places import CopiedRepository
from tests.sealstore_fixtures import ed25519_key, hmac_key, roles, run_sql, snapshot

ADA, BOB, CLEO = approver(1), approver(2), approver(3)

Reopen = Callable[..., Repository]


@pytest.fixture
def keyring() -> Keyring:
    """The first HMAC key, and what everybody has of the approvers' keys."""
    return Keyring.of([hmac_key(), *map(public_part, (ADA, BOB, CLEO))])


def fill(repository: Repository) -> None:
    """Two tags of one name, the second with two revisions."""
    repository.store("old", "churn", "2026-10")
    repository.store("bad", "churn", "2026-11")
    repository.store("new", "churn", "2026-11")


@pytest.fixture
def repository(
    copied_repository: CopiedRepository, tmp_path: Path, keyring: Keyring
) -> Iterator[Repository]:
    with copied_repository(fill, keyring, tmp_path / "repository") as copy:
        yield copy


@pytest.fixture
def churn(repository: Repository) -> Repository:
    """A repository that is filled so."""
    return repository


def protect(repository: Repository, needed: int = 2, alias: str = "production") -> None:
    repository.change_settings(protected_aliases={alias: needed})


def approved(
    repository: Repository, tag: str | None, *keys: Key, revision: int | None = None
) -> None:
    """Move production with the approvals of these keys."""
    move = repository.request_approvals("churn", "production", tag, revision=revision)
    repository.apply_move(move, approvals=approvals(move, *keys))


# ── moving and loading ───────────────────────────────────────────────────────


def test_an_alias_is_loaded_like_a_tag(churn: Repository) -> None:
    """Every way of reading gives the artifact that it means, by its own tag and revision."""
    moved = churn.set_alias("churn", "production", "2026-11", revision=1)
    assert (moved.tag, moved.revision, moved.move) == ("2026-11", 1, 1)
    assert churn.load("churn", "production") == "bad"
    for artifact in (
        churn.get("churn", "production"),
        churn.verify("churn", "production"),
        churn.read_payload("churn", "production")[0],
    ):
        assert (artifact.tag, artifact.revision) == ("2026-11", 1)
        assert artifact.verified.digest == moved.statement
    assert churn.load("churn") == "new"


def test_an_alias_means_one_revision_and_follows_no_later_one(churn: Repository) -> None:
    """The newest revision is taken when it is moved; storing again moves nothing."""
    assert churn.set_alias("churn", "production", "2026-11").revision == 2
    churn.store("newer", "churn", "2026-11")
    assert churn.load("churn", "production") == "new"


def test_an_alias_has_no_revisions(churn: Repository) -> None:
    """A revision belongs to a tag."""
    churn.set_alias("churn", "production", "2026-11")
    with pytest.raises(ArtifactNotFound):
        churn.load("churn", "production", revision=2)


def test_moves_are_counted_and_on_record(churn: Repository) -> None:
    """From what to what, by whom; the artifact's own history shows it as well."""
    churn.set_alias("churn", "production", "2026-10", actor="job 7")
    second = churn.set_alias("churn", "production", "2026-11")
    newest, first = churn.alias_history("churn", "production")
    assert [(entry.event, entry.details["move"]) for entry in (newest, first)] == [
        ("alias", 2),
        ("alias", 1),
    ]
    assert first.by.actor == "job 7"
    assert first.details["previous_tag"] is None
    assert newest.details == {
        "name": "churn",
        "alias": "production",
        "move": 2,
        "tag": "2026-11",
        "revision": 2,
        "statement": second.statement,
        "previous_tag": "2026-10",
        "previous_revision": 1,
        "previous_statement": first.details["statement"],
        "settings_version": 1,
        "approvals_needed": 0,
    }
    assert newest.artifact is not None
    assert newest.artifact.statement == second.statement
    assert churn.history("churn", "2026-11", limit=1) == (newest,)
    assert audit_aliases(churn) == []


def test_a_history_of_moves_comes_in_pages(churn: Repository) -> None:
    """Each page goes on where the one before ended, whatever lies between them."""
    for number in range(7):
        churn.set_alias("churn", "production", ("2026-10", "2026-11")[number % 2])
        churn.set_alias("churn", "staging", "2026-10")
    assert numbers(churn.alias_history("churn", "production")) == [7, 6, 5, 4, 3, 2, 1]
    assert numbers(churn.alias_history("churn", "production", limit=3)) == [7, 6, 5]
    assert numbers(churn.alias_history("churn", "production", limit=3, after=5)) == [4, 3, 2]
    assert numbers(churn.alias_history("churn", "production", after=1)) == []


def test_a_long_history_of_moves_is_read_in_several_fetches(
    churn: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is lost between two fetches."""
    for _ in range(5):
        churn.set_alias("churn", "production", "2026-10")
        churn.set_alias("churn", "staging", "2026-10")
    monkeypatch.setattr(limits, "MAX_LIST_ROWS", 2)
    assert numbers(churn.alias_history("churn", "production")) == [5, 4, 3, 2, 1]


def numbers(entries: tuple[HistoryEntry, ...]) -> list[object]:
    return [entry.details["move"] for entry in entries]


def test_aliases_of_a_name_are_listed(churn: Repository) -> None:
    """All of them, in the order of their first moves, and none of another name."""
    churn.store(1, "fraud", "v1")
    churn.set_alias("fraud", "production", "v1")
    assert churn.aliases("churn") == ()
    for alias in ("production", "canary"):
        churn.set_alias("churn", alias, "2026-10")
    churn.set_alias("churn", "production", "2026-11")
    listed = churn.aliases("churn")
    assert [(each.alias, each.tag, each.move) for each in listed] == [
        ("production", "2026-11", 2),
        ("canary", "2026-10", 1),
    ]
    assert listed[0].to_json() == {
        "name": "churn",
        "alias": "production",
        "tag": "2026-11",
        "revision": 2,
        "statementSha256": listed[0].statement,
        "move": 2,
        "approvalsNeeded": 0,
    }


def test_a_rollback_is_a_move_to_what_it_meant_before(churn: Repository) -> None:
    """Again leads back, and the history has each."""
    churn.set_alias("churn", "production", "2026-10")
    churn.set_alias("churn", "production", "2026-11")
    assert churn.rollback_alias("churn", "production").move == 3
    assert churn.load("churn", "production") == "old"
    churn.rollback_alias("churn", "production")
    assert churn.load("churn", "production") == "new"
    assert audit_aliases(churn) == []


def test_there_may_be_nothing_to_roll_back_to(churn: Repository) -> None:
    """Before the first move there was nothing; and what there was may be gone."""
    with pytest.raises(ArtifactNotFound, match="no such alias"):
        churn.rollback_alias("churn", "production")
    churn.set_alias("churn", "production", "2026-10")
    with pytest.raises(ArtifactNotFound, match="meant nothing"):
        churn.rollback_alias("churn", "production")
    churn.set_alias("churn", "production", "2026-11")
    churn.remove("churn", "2026-10")
    with pytest.raises(ArtifactNotFound, match="for an alias to mean"):
        churn.rollback_alias("churn", "production")
    assert churn.load("churn", "production") == "new"


def test_a_removed_alias_is_an_error_and_stays_an_alias(churn: Repository) -> None:
    """Nothing falls through to a tag or to the latest; it can be set again, and rolled back."""
    churn.set_alias("churn", "production", "2026-10")
    churn.remove_alias("churn", "production")
    with pytest.raises(ArtifactNotFound):
        churn.load("churn", "production")
    assert churn.aliases("churn") == ()
    payloads = snapshot(churn.root / "objects")
    with pytest.raises(AliasInTheWayError):
        churn.store("late", "churn", "production")
    assert snapshot(churn.root / "objects") == payloads
    with pytest.raises(ArtifactNotFound):
        churn.remove_alias("churn", "production")
    assert churn.alias_history("churn", "production", limit=1)[0].details["tag"] is None
    assert churn.rollback_alias("churn", "production").move == 3
    assert churn.load("churn", "production") == "old"
    assert len(churn.aliases("churn")) == 1
    assert audit_aliases(churn) == []


def test_a_missing_alias_is_an_error(churn: Repository) -> None:
    """Of an alias that never was there is nothing to load, to remove, or to tell."""
    for ask in (churn.load, churn.get, churn.verify, churn.remove_alias, churn.alias_history):
        with pytest.raises(ArtifactNotFound):
            ask("churn", "production")


def test_without_a_key_to_store_nothing_is_moved(churn: Repository, reopen: Reopen) -> None:
    """Moving and removing ask for the key first."""
    churn.set_alias("churn", "production", "2026-10")
    reader = reopen(replace(hmac_key(), is_withheld=True))
    for attempt in (
        lambda: reader.set_alias("churn", "production", "2026-11"),
        lambda: reader.remove_alias("churn", "production"),
    ):
        with pytest.raises(NoSigningKeyError):
            attempt()
    assert churn.load("churn", "production") == "old"


# ── one namespace ────────────────────────────────────────────────────────────


def test_a_tag_cannot_become_an_alias(churn: Repository) -> None:
    """Not even after all of it was removed: its revisions' numbers are given out."""
    with pytest.raises(AliasInTheWayError, match="is a tag of churn, or was one"):
        churn.set_alias("churn", "2026-10", "2026-11")
    churn.remove("churn", "2026-10")
    for attempt in (
        lambda: churn.set_alias("churn", "2026-10", "2026-11"),
        lambda: churn.remove_alias("churn", "2026-10"),
        lambda: churn.alias_history("churn", "2026-10"),
    ):
        with pytest.raises(AliasInTheWayError):
            attempt()


@pytest.mark.parametrize("immutable", [False, True])
def test_an_alias_cannot_become_a_tag(churn: Repository, immutable: bool) -> None:
    """Nothing is stored under it, removed by it, or meant through it by another alias."""
    churn.set_alias("churn", "production", "2026-10")
    churn.change_settings(immutable_tags=immutable)
    payloads = snapshot(churn.root / "objects")
    for attempt in (
        lambda: churn.store("late", "churn", "production"),
        lambda: churn.remove("churn", "production"),
        lambda: churn.set_alias("churn", "staging", "production"),
    ):
        with pytest.raises(AliasInTheWayError, match="is an alias of churn"):
            attempt()
    assert snapshot(churn.root / "objects") == payloads, "it is refused before any work"
    if immutable:
        with pytest.raises(ImmutableTagError):
            churn.store(1, "churn", "2026-10")
    churn.store(1, "fraud", "production")
    assert churn.load("churn", "production") == "old"


@pytest.mark.parametrize("latest", ["latest", "LATEST"])
def test_latest_is_no_alias_and_none_means_it(churn: Repository, latest: str) -> None:
    """It moves by itself, so nobody could have approved it."""
    with pytest.raises(ReservedTagError):
        churn.set_alias("churn", latest, "2026-10")
    with pytest.raises(ReservedTagError):
        churn.set_alias("churn", "production", latest)
    with pytest.raises(ReservedTagError):
        churn.remove_alias("churn", latest)


@pytest.mark.parametrize("bad", ["", "a/b", "..", "x" * 200])
def test_aliases_are_named_like_tags(churn: Repository, bad: str) -> None:
    """The same rules hold, for the name and for the tag, too."""
    for arguments in (("churn", bad, "2026-10"), ("churn", "p", bad), (bad, "p", "2026-10")):
        with pytest.raises(InvalidNameError):
            churn.set_alias(*arguments)
    with pytest.raises(InvalidNameError):
        churn.aliases(bad)


@pytest.mark.parametrize(("tag", "revision"), [("2026-12", None), ("2026-10", 2), ("gone", None)])
def test_an_alias_means_what_is_there(churn: Repository, tag: str, revision: int | None) -> None:
    """Not what never was, and not what was removed."""
    churn.store(1, "churn", "gone")
    churn.remove("churn", "gone")
    before = churn.history(limit=1)
    with pytest.raises(ArtifactNotFound, match="for an alias to mean"):
        churn.set_alias("churn", "production", tag, revision=revision)
    assert churn.history(limit=1) == before


def test_an_alias_is_moved_to_nothing_that_would_not_load(churn: Repository) -> None:
    """Its row is gone, or another's: found out when it is moved, and not by those who load it."""
    [[other]] = run_sql(
        churn, "SELECT envelope FROM artifact WHERE tag = '2026-11' AND revision = 2"
    )
    run_sql(churn, "UPDATE artifact SET envelope = ? WHERE tag = '2026-10'", other)
    with pytest.raises(IdentityMismatchError):
        churn.set_alias("churn", "production", "2026-10")
    run_sql(churn, "UPDATE artifact SET envelope = 'x' WHERE tag = '2026-10'")
    with pytest.raises(VerificationError):
        churn.set_alias("churn", "production", "2026-10")
    run_sql(churn, "DELETE FROM artifact WHERE tag = '2026-11' AND revision = 1")
    with pytest.raises(CatalogueTamperedError, match="has no row of it"):
        churn.set_alias("churn", "production", "2026-11", revision=1)
    assert churn.aliases("churn") == ()


def test_what_an_alias_means_is_not_removed(churn: Repository) -> None:
    """The error names the alias; other revisions go, and the artifact once it is free."""
    churn.set_alias("churn", "production", "2026-11", revision=1)
    churn.set_alias("churn", "canary", "2026-10")
    for revision in (None, 1):
        with pytest.raises(ArtifactInUseError, match="alias production of churn means 2026-11@1"):
            churn.remove("churn", "2026-11", revision=revision)
    assert churn.load("churn", "2026-11") == "new"
    churn.remove("churn", "2026-11", revision=2)
    churn.set_alias("churn", "production", "2026-10")
    churn.remove("churn", "2026-11", revision=1)
    churn.remove_alias("churn", "canary")
    with pytest.raises(ArtifactInUseError, match="alias production"):
        churn.remove("churn", "2026-10")


def test_a_name_has_so_many_aliases_and_no_more(
    churn: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed ones count; one that is there can be set again."""
    monkeypatch.setattr(limits, "MAX_ALIASES", 2)
    churn.set_alias("churn", "a", "2026-10")
    churn.set_alias("churn", "b", "2026-10")
    churn.remove_alias("churn", "a")
    with pytest.raises(UsageError, match="as many as a name may have"):
        churn.set_alias("churn", "c", "2026-10")
    churn.set_alias("churn", "a", "2026-11")
    assert [each.alias for each in churn.aliases("churn")] == ["a", "b"]


# ── protected ones ───────────────────────────────────────────────────────────


def test_a_protected_alias_moves_with_enough_approvals(churn: Repository) -> None:
    """Who approved stands in the history, with the digest of what they signed."""
    protect(churn)
    move = churn.request_approvals("churn", "production", "2026-11")
    given = approvals(move, ADA, BOB)
    for too_few in ([], given[:1]):
        with pytest.raises(NotApprovedError, match=f"{len(too_few)} hold"):
            churn.apply_move(move, approvals=too_few)
    with pytest.raises(ArtifactNotFound):
        churn.load("churn", "production")
    assert churn.apply_move(move, approvals=given).approvals_needed == 2
    assert churn.load("churn", "production") == "new"
    details = churn.alias_history("churn", "production")[0].details
    assert details["approvals_needed"] == 2
    assert [str(details[f"approval_{number}"]).split()[0] for number in (1, 2)] == [
        ADA.key_id,
        BOB.key_id,
    ]
    assert audit_aliases(churn) == []


def test_set_alias_takes_approvals_as_well(churn: Repository) -> None:
    """The move that is approved is the one that is made, whoever wrote it down."""
    protect(churn, 1)
    move = churn.request_approvals("churn", "production", "2026-11", revision=1)
    with pytest.raises(ApprovalMismatchError, match="another artifact"):
        churn.set_alias("churn", "production", "2026-11", approvals=approvals(move, ADA))
    churn.set_alias("churn", "production", "2026-11", revision=1, approvals=approvals(move, ADA))
    assert churn.load("churn", "production") == "bad"


def test_a_rollback_needs_approvals_of_its_own(churn: Repository) -> None:
    """Those of the first move are of another number."""
    protect(churn)
    move = churn.request_approvals("churn", "production", "2026-10")
    first = approvals(move, ADA, BOB)
    churn.apply_move(move, approvals=first)
    approved(churn, "2026-11", ADA, CLEO)
    with pytest.raises(NotApprovedError):
        churn.rollback_alias("churn", "production")
    with pytest.raises(ApprovalMismatchError, match="another move"):
        churn.rollback_alias("churn", "production", approvals=first)
    back = churn.request_approvals("churn", "production")
    assert (back.target, back.move) == (move.target, 3)
    churn.rollback_alias("churn", "production", approvals=approvals(back, BOB, CLEO))
    assert churn.load("churn", "production") == "old"


def test_a_request_is_outdated_by_whatever_changes(churn: Repository) -> None:
    """The alias, the settings: nobody approves what they did not see."""
    move = churn.request_approvals("churn", "production", "2026-11")
    assert churn.request_approvals("churn", "production", "2026-11") == move
    churn.set_alias("churn", "production", "2026-10")
    with pytest.raises(ApprovalMismatchError, match="have changed since"):
        churn.apply_move(move)
    move = churn.request_approvals("churn", "production", "2026-11")
    churn.change_settings(immutable_tags=True)
    with pytest.raises(ApprovalMismatchError, match="have changed since"):
        churn.apply_move(move)
    with pytest.raises(ApprovalMismatchError, match="have changed since"):
        churn.apply_move(changed(move, repository="0" * 32))
    assert churn.apply_move(churn.request_approvals("churn", "production", "2026-11")).move == 2


def test_protecting_an_alias_asks_for_approvals_of_what_it_means(churn: Repository) -> None:
    """Nothing is trusted for having been there before; a move to the same artifact mends it."""
    churn.set_alias("churn", "production", "2026-10")
    protect(churn)
    for ask in (churn.load, churn.get, churn.verify, churn.read_payload):
        with pytest.raises(NotApprovedError, match="and 0 hold"):
            ask("churn", "production")
    approved(churn, "2026-10", ADA, BOB)
    assert churn.load("churn", "production") == "old"


def test_approvals_can_come_before_the_protection(churn: Repository) -> None:
    """So that protecting, or asking for more approvals, interrupts no load."""
    approved(churn, "2026-10", ADA, BOB, CLEO)
    assert churn.load("churn", "production") == "old"
    for needed in (2, 3):
        protect(churn, needed)
        assert churn.load("churn", "production") == "old"
    protect(churn, 4)
    with pytest.raises(NotApprovedError, match=r"needs 4 approvals .* 3 hold"):
        churn.load("churn", "production")
    assert audit_aliases(churn) == []


def test_an_approval_that_is_given_must_hold_even_where_none_is_needed(churn: Repository) -> None:
    """Nothing wrong goes on record as an approval."""
    move = churn.request_approvals("churn", "production", "2026-10")
    with pytest.raises(ApprovalMismatchError):
        churn.apply_move(move, approvals=approvals(changed(move, move=7), ADA))
    assert churn.aliases("churn") == ()


def test_other_changes_of_the_settings_leave_approvals_as_they_are(churn: Repository) -> None:
    """A move was approved under the settings of its time; loads go on under later ones."""
    protect(churn)
    approved(churn, "2026-10", ADA, BOB)
    churn.change_settings(immutable_tags=True)
    assert churn.load("churn", "production") == "old"


def test_an_approver_who_left_still_approved(churn: Repository, reopen: Reopen) -> None:
    """A retired key's approvals of earlier moves hold, and it gives no new ones."""
    protect(churn)
    approved(churn, "2026-10", ADA, BOB)
    after = reopen(hmac_key(), replace(public_part(ADA), state=State.RETIRED), *[BOB, CLEO])
    assert after.load("churn", "production") == "old"
    move = after.request_approvals("churn", "production", "2026-11")
    with pytest.raises(RetiredKeyError, match="approves nothing new"):
        after.apply_move(move, approvals=approvals(move, ADA, BOB))
    after.apply_move(move, approvals=approvals(move, BOB, CLEO))
    assert after.load("churn", "production") == "new"
    assert audit_aliases(after) == []


def test_a_revoked_approver_takes_the_approval_away(churn: Repository) -> None:
    """In the repository's settings, for every client; those of others still count."""
    protect(churn)
    approved(churn, "2026-10", ADA, BOB, CLEO)
    churn.change_settings(revoked_keys=(ADA.key_id,))
    assert churn.load("churn", "production") == "old"
    churn.change_settings(revoked_keys=(ADA.key_id, BOB.key_id))
    with pytest.raises(NotApprovedError, match=r"1 hold\. One was refused: .* revoked"):
        churn.load("churn", "production")
    # What was, was by the rules of its time.
    assert audit_aliases(churn) == []


def test_a_loader_without_the_approvers_keys_loads_nothing(
    churn: Repository, reopen: Reopen
) -> None:
    """Which approvals hold is what its own keyring says."""
    protect(churn)
    approved(churn, "2026-10", ADA, BOB)
    loader = reopen(hmac_key(), public_part(ADA))
    with pytest.raises(NotApprovedError, match=f"no key {BOB.key_id}"):
        loader.load("churn", "production")
    assert reopen(hmac_key(), ADA, BOB).load("churn", "production") == "old"


def test_a_protected_alias_is_not_removed(churn: Repository) -> None:
    """Unprotecting it comes first, and that is an admin's."""
    protect(churn, 1)
    approved(churn, "2026-10", ADA)
    with pytest.raises(NotApprovedError, match="cannot be removed"):
        churn.remove_alias("churn", "production")
    churn.change_settings(protected_aliases={})
    churn.remove_alias("churn", "production")
    assert churn.aliases("churn") == ()


def test_a_protected_alias_is_a_tag_of_no_name(churn: Repository) -> None:
    """A load of it must never be one of what nobody approved."""
    churn.store("early", "fraud", "production")
    protect(churn)
    with pytest.raises(NotApprovedError, match="it is a tag"):
        churn.load("fraud", "production")
    with pytest.raises(NotApprovedError, match="it is a tag"):
        churn.load("fraud", "production", revision=1)
    payloads = snapshot(churn.root / "objects")
    for name in ("fraud", "fresh"):
        with pytest.raises(AliasInTheWayError, match="protected as an alias"):
            churn.store("late", name, "production")
    assert snapshot(churn.root / "objects") == payloads, "it is refused before any work"


def test_a_store_that_began_before_the_protection_is_refused(
    churn: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decides are the settings inside the transaction, whatever held when it began."""

    def protect_meanwhile(self: JoblibFormat, payload: memoryview) -> tuple[Import, ...]:
        protect(churn)
        return genuine(self, payload)

    genuine = JoblibFormat.imports
    monkeypatch.setattr(JoblibFormat, "imports", protect_meanwhile)
    with pytest.raises(AliasInTheWayError, match="protected as an alias"):
        churn.store("late", "fraud", "production")
    with pytest.raises(ArtifactNotFound):
        churn.load("fraud")


def test_approvers_can_be_kept_from_everything_else(churn: Repository, reopen: Reopen) -> None:
    """A key with the role approve alone moves nothing, and one with others still approves."""
    with pytest.raises(NoSigningKeyError):
        reopen(replace(hmac_key(), is_withheld=True), ADA).set_alias("churn", "x", "2026-10")
    both = ed25519_key(50, roles=roles(Role.STORE, Role.APPROVE))
    repository = reopen(hmac_key(), both)
    protect(repository, 1)
    move = repository.request_approvals("churn", "production", "2026-10")
    assert repository.apply_move(move, approvals=approvals(move, both)).move == 1
