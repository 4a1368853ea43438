"""Whoever may write to the folder, and wants a rebuild to bring in, or back, what is not signed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealstore import limits
from sealstore.admin.key_changes import revoke_key
from sealstore.errors import (
    ArtifactNotFound,
    LedgerTamperedError,
    RebuildRefusedError,
    RepositoryExchangedError,
    RollbackError,
    SealstoreError,
)
from sealstore.keys.keyring import Key, Keyring, Role
from sealstore.ledger.head import decode_head, seal_head
from sealstore.signed.drafting import make_statement, seal_statement
from sealstore.signed.envelope import open_statement, read_unverified
from sealstore.signed.settings import open_settings, seal_settings
from sealstore.storage.creation import place_settings
from sealstore.upkeep.rebuild import rebuild
from sealstore.upkeep.trust import current_point
from tests.places import CopiedPlace
from tests.ruins import Ruins
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    run_sql,
    snapshot,
)

pytestmark = pytest.mark.invariant(2)


def fill(place: Path) -> None:
    """Two artifacts, and one that was removed."""
    made = Ruins(place)
    made.store([1], "a", "1")
    made.store([4], "gone", "1")
    made.remove("gone", "1")
    made.store([2], "b", "1")


@pytest.fixture
def ruins(copied_place: CopiedPlace, tmp_path: Path) -> Ruins:
    return Ruins(copied_place(fill, tmp_path))


def forged(ruins: Ruins, key: Key, **changes: Any) -> bytes:
    """The envelope of a statement like a stored one, changed, and signed by ``key``."""
    return _forged(ruins.mirrored("a", "1"), key, changes)


def _forged(path: Path, key: Key, changes: dict[str, Any]) -> bytes:
    data = path.read_bytes().strip()
    statement = open_statement(data, Keyring.of([hmac_key()])).statement
    predicate = msgspec.structs.replace(statement.predicate, **changes)
    return seal_statement(make_statement(predicate, statement.digests), key)


def plant(ruins: Ruins, envelope: bytes, name: str, tag: str = "1", revision: int = 1) -> Path:
    """Put an envelope where one of that revision would be mirrored."""
    path = ruins.mirrored(name, tag, revision)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(envelope + b"\n")
    return path


def bring_back(ruins: Ruins) -> None:
    """Give a removed artifact's mirrored statement the name of one that is stored."""
    path = ruins.mirrored("gone", "1")
    path.with_name("1.json.removed").rename(path)


def require_gone(ruins: Ruins) -> None:
    ruins.accept()
    with ruins.open() as repository:
        assert repository.load("a") == [1]
        assert repository.load("b") == [2]
        with pytest.raises(ArtifactNotFound):
            repository.load("gone")
    assert ruins.check().findings == []


# ── what was removed ─────────────────────────────────────────────────────────


def test_a_removed_artifact_is_not_brought_back_where_an_export_is_left(ruins: Ruins) -> None:
    """A file's name is nobody's signature; the export's entries lead to a signed root."""
    export = ruins.export()
    ruins.lose()
    bring_back(ruins)
    assert ruins.rebuild(export=export).removed == ["gone:1@1"]
    require_gone(ruins)


def test_a_removed_artifact_is_not_brought_back_where_the_history_is_left(ruins: Ruins) -> None:
    """Of a catalogue whose rows are gone."""
    with ruins.open() as repository:
        run_sql(repository, "DELETE FROM artifact")
    bring_back(ruins)
    assert ruins.rebuild().removed == ["gone:1@1"]
    require_gone(ruins)


def test_a_removed_artifact_is_not_brought_back_where_the_map_is_left(ruins: Ruins) -> None:
    """What the last known map had removed stays removed, though no history says so."""
    with ruins.open() as repository:
        run_sql(repository, "DELETE FROM history_entry")
    bring_back(ruins)
    report = ruins.rebuild()
    assert (report.proven_entries, report.removed) == (0, ["gone:1@1"])
    require_gone(ruins)


def older_catalogue(ruins: Ruins) -> Path:
    """A copy of the catalogue as it is now."""
    older = ruins.place / "older.sqlite3"
    with ruins.open() as repository:
        run_sql(repository, "PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(ruins.database, older)
    return older


@pytest.mark.parametrize("left", ["an older export", "an older catalogue", "nothing older"])
def test_what_was_removed_after_the_last_proof_is_not_brought_back(ruins: Ruins, left: str) -> None:
    """Its store is proven, its removal is not: the file's name says it, and the report says so."""
    ruins.store([4], "late", "1")
    export = ruins.export() if left == "an older export" else None
    older = older_catalogue(ruins) if left == "an older catalogue" else None
    ruins.remove("late", "1")
    ruins.lose()
    if older is not None:
        shutil.copy(older, ruins.database)
    report = ruins.rebuild(export=export)
    assert report.removed == ["gone:1@1", "late:1@1"]
    is_told = any("late:1@1" in note and "name alone" in note for note in report.notes)
    assert is_told == (left != "nothing older")
    require_gone(ruins)
    with ruins.open() as repository:
        with pytest.raises(ArtifactNotFound):
            repository.load("late")
        assert repository.store([5], "late", "1").revision == 2


def test_what_was_removed_after_the_proven_history_is_not_brought_back_where_the_map_is_left(
    ruins: Ruins,
) -> None:
    """The map is of the last head, and the history is proven up to a root before the removal."""
    ruins.store([4], "late", "1")
    checkpoint = ruins.checkpoint()
    size = current_point(ruins.settings).size
    ruins.remove("late", "1")
    ruins.store([5], "later", "1")
    with ruins.open() as repository:
        run_sql(repository, "DELETE FROM history_entry WHERE sequence = ?", size + 2)
    path = ruins.mirrored("late", "1")
    path.with_name("1.json.removed").rename(path)
    report = ruins.rebuild(checkpoint=checkpoint)
    assert (report.proven_entries, report.removed) == (size, ["gone:1@1", "late:1@1"])
    require_gone(ruins)


def test_a_hidden_artifact_comes_back_where_the_last_map_is_left(ruins: Ruins) -> None:
    """Its store is in the proven beginning of the history, and the map says that it is there."""
    checkpoint = ruins.checkpoint()
    size = current_point(ruins.settings).size
    ruins.store([4], "later", "1")
    ruins.store([5], "later", "2")
    path = ruins.mirrored("b", "1")
    path.rename(path.with_name("1.json.removed"))
    with ruins.open() as repository:
        run_sql(repository, "DELETE FROM history_entry WHERE sequence = ?", size + 2)
    report = ruins.rebuild(checkpoint=checkpoint)
    assert report.proven_entries == size
    assert "b:1@1" in report.recovered


def test_a_hidden_artifact_comes_back_where_a_proof_is_left(ruins: Ruins) -> None:
    """The other way round: a stored one's file was given the name of one that was removed."""
    path = ruins.mirrored("b", "1")
    path.rename(path.with_name("1.json.removed"))
    with ruins.open() as repository:
        run_sql(repository, "DELETE FROM history_entry")
    assert "b:1@1" in ruins.rebuild().recovered
    ruins.accept()
    with ruins.open() as repository:
        assert repository.load("b") == [2]


def test_without_any_proof_the_name_is_all_there_is_and_the_report_says_so(ruins: Ruins) -> None:
    """Nobody can know better: keep exports elsewhere."""
    ruins.lose()
    bring_back(ruins)
    report = ruins.rebuild()
    assert "gone:1@1" in report.recovered
    assert any("from the names of mirrored statements only" in note for note in report.notes)
    assert [finding.code for finding in report.lost] == ["ENTRIES_LOST"]


# ── what is not signed ───────────────────────────────────────────────────────


def unsigned(ruins: Ruins) -> bytes:
    data = ruins.mirrored("a", "1").read_bytes().strip()
    document = msgspec.json.decode(data)
    document["signatures"][0]["sig"] = "A" * len(document["signatures"][0]["sig"])
    return msgspec.json.encode(document)


PLANTED: dict[str, Callable[[Ruins], bytes]] = {
    "no statement": lambda _: b"{}",
    "no signature": unsigned,
    "a key that nobody knows": lambda ruins: forged(ruins, ed25519_key(8), name="x"),
    "a key without the role": lambda ruins: forged(ruins, ed25519_key(5), name="x"),
    "a revoked key": lambda ruins: forged(ruins, ed25519_key(6), name="x"),
    "another repository": lambda ruins: forged(
        ruins, hmac_key(), name="x", repository=OTHER_REPOSITORY_ID
    ),
    "another name": lambda ruins: ruins.mirrored("a", "1").read_bytes().strip(),
}


@pytest.mark.parametrize("how", PLANTED)
def test_nothing_unsigned_gets_in(ruins: Ruins, how: str) -> None:
    """Each planted statement is listed with the reason, and does not load afterwards."""
    approver = ed25519_key(5, roles=roles(Role.APPROVE))
    ruins.set_keys(hmac_key(), approver, ed25519_key(6))
    revoke_key(ruins.settings, ed25519_key(6).key_id)
    plant(ruins, PLANTED[how](ruins), "x")
    ruins.lose()
    report = ruins.rebuild()
    assert report.recovered == ["a:1@1", "b:1@1"]
    assert "statements/x/1/1.json" in " ".join(finding.message for finding in report.lost)
    ruins.accept()
    with ruins.open() as repository, pytest.raises(ArtifactNotFound):
        repository.load("x")


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "huge", "foreign name"])
def test_what_lies_in_a_statements_place_is_not_followed(ruins: Ruins, kind: str) -> None:
    """Nothing outside is read, nothing hangs, and the rest is recovered."""
    path = ruins.mirrored("x", "1")
    path.parent.mkdir(parents=True)
    if kind == "link":
        outside = ruins.place / "outside.json"
        shutil.copy(ruins.mirrored("a", "1"), outside)
        path.symlink_to(outside)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.write_bytes(b"{" * (limits.MAX_ENVELOPE_BYTES + 10))
    else:
        path.with_name("01.json").write_bytes(ruins.mirrored("a", "1").read_bytes())
    ruins.lose()
    assert ruins.rebuild().recovered == ["a:1@1", "b:1@1"]
    require_gone_with_litter(ruins)


def require_gone_with_litter(ruins: Ruins) -> None:
    ruins.accept()
    with ruins.open() as repository:
        assert repository.load("a") == [1]
        with pytest.raises(ArtifactNotFound):
            repository.load("x")


# ── what contradicts itself ──────────────────────────────────────────────────


def refused(ruins: Ruins, **options: Any) -> str:
    """Why a rebuild is refused; nothing was changed."""
    before = snapshot(ruins.root)
    with pytest.raises(RebuildRefusedError) as error:
        ruins.rebuild(**options)
    assert snapshot(ruins.root) == before
    return str(error.value)


def test_two_statements_for_one_revision_stop_it_and_are_shown(ruins: Ruins) -> None:
    """Both are signed with the store key: nobody but its owner knows which is right."""
    away = ruins.mirrored("gone", "1").with_name("1.json.removed")
    other = _forged(away, hmac_key(), {"metadata": {"other": True}})
    away.with_name("1.json").write_bytes(other)
    ruins.lose()
    told = refused(ruins)
    for data in (other, away.read_bytes().strip()):
        assert open_statement(data, Keyring.of([hmac_key()])).digest in told


def test_another_statement_than_the_history_has_stops_it(ruins: Ruins) -> None:
    """Where the history is left it is one of the two."""
    export = ruins.export()
    plant(ruins, forged(ruins, hmac_key(), metadata={"other": True}), "a")
    ruins.lose()
    assert "the history in" in refused(ruins, export=export)


def test_another_statement_than_the_map_has_stops_it(ruins: Ruins) -> None:
    """So it is where only the map is left."""
    with ruins.open() as repository:
        run_sql(repository, "DELETE FROM history_entry")
        run_sql(repository, "DELETE FROM artifact")
    plant(ruins, forged(ruins, hmac_key(), metadata={"other": True}), "a")
    assert "the old catalogue's map" in refused(ruins)


def test_two_statements_for_one_place_stop_it(ruins: Ruins) -> None:
    """Of different artifacts."""
    plant(ruins, forged(ruins, hmac_key(), name="x"), "x")
    ruins.lose()
    assert "place 2 of the history" in refused(ruins)


def test_revisions_in_the_wrong_order_stop_it(ruins: Ruins) -> None:
    """A later revision of a tag is never stored before an earlier one."""
    plant(ruins, forged(ruins, hmac_key(), revision=2, sequence=1), "a", revision=2)
    ruins.lose()
    assert "after a later revision" in refused(ruins)


def test_a_history_without_an_end_is_refused(ruins: Ruins) -> None:
    """Whoever has the store key can claim any place."""
    plant(ruins, forged(ruins, hmac_key(), name="x", sequence=10**12), "x")
    ruins.lose()
    assert "may have more than" in refused(ruins)


@pytest.mark.parametrize("sequence", [1, 3, 5])
@pytest.mark.parametrize("left", ["export", "map"])
def test_a_statement_that_was_never_on_record_is_not_taken(
    ruins: Ruins, left: str, sequence: int
) -> None:
    """A thief of the store key adds nothing to the time before the last known head."""
    export = ruins.export() if left == "export" else None
    planted = plant(ruins, forged(ruins, hmac_key(), name="x", sequence=sequence), "x")
    if left == "map":
        with ruins.open() as repository:
            run_sql(repository, "DELETE FROM history_entry")
    else:
        ruins.lose()
    report = ruins.rebuild(export=export)
    assert report.recovered == ["a:1@1", "b:1@1"]
    assert any("does not know it" in finding.message for finding in report.lost)
    planted.unlink()
    require_gone(ruins)


# ── what is older, or another ────────────────────────────────────────────────


def test_older_settings_are_refused(ruins: Ruins) -> None:
    """A revocation does not come undone because the catalogue is lost."""
    ruins.set_keys(hmac_key(), ed25519_key(6))
    older = (ruins.root / "repository.json").read_bytes().strip()
    revoke_key(ruins.settings, ed25519_key(6).key_id)
    ruins.open().close()
    ruins.lose()
    place_settings(ruins.root, older)
    with pytest.raises(RollbackError, match=r"repository\.json"):
        ruins.rebuild()


def test_an_older_settings_file_is_nothing_where_the_catalogue_has_newer_ones(ruins: Ruins) -> None:
    """The newest signed version counts, wherever it is."""
    ruins.set_keys(hmac_key(), ed25519_key(6))
    older = (ruins.root / "repository.json").read_bytes().strip()
    revoke_key(ruins.settings, ed25519_key(6).key_id)
    ruins.store([5], "c", "1")
    with ruins.open() as repository:
        run_sql(repository, "DELETE FROM history_head")
    place_settings(ruins.root, older)
    report = rebuild(ruins.settings)
    assert report.settings_version == 2


def test_other_settings_of_one_version_are_refused(ruins: Ruins) -> None:
    """An admin's key signed both."""
    envelope = (ruins.root / "repository.json").read_bytes().strip()
    keyring = Keyring.of([hmac_key()])
    document = open_settings(envelope, keyring).document
    changed = msgspec.structs.replace(document, immutable_tags=True)
    ruins.lose()
    signer = keyring.signer(Role.ADMIN, document.repository)
    place_settings(ruins.root, seal_settings(changed, signer))
    with pytest.raises(LedgerTamperedError):
        ruins.rebuild()


def test_a_forked_history_is_refused(ruins: Ruins) -> None:
    """Genuine, and not the one that this client remembers."""
    fork = ruins.place.with_name("fork")
    shutil.copytree(ruins.place, fork)
    other = Ruins(fork)
    other.forget()
    other.store([7], "c", "1")
    other.store([8], "c", "1")
    export = other.export()
    ruins.store([9], "d", "1")
    ruins.open().close()
    ruins.lose()
    with pytest.raises(LedgerTamperedError, match="not the one that"):
        ruins.rebuild(export=export)


def test_an_older_catalogue_gives_no_number_out_twice(ruins: Ruins) -> None:
    """What this client remembers is where the new history begins."""
    older = older_catalogue(ruins)
    ruins.store([5], "c", "1")
    ruins.remove("c", "1")
    size = current_point(ruins.settings).size
    ruins.lose()
    shutil.copy(older, ruins.database)
    with pytest.raises(SealstoreError):
        ruins.open()
    report = ruins.rebuild()
    assert (report.proven_entries, report.entries) == (size - 2, size)
    assert report.removed == ["c:1@1", "gone:1@1"]
    require_gone(ruins)


def test_settings_of_a_later_epoch_are_not_gone_back_behind(ruins: Ruins) -> None:
    """Another admin has rebuilt it already: this client accepts that first."""
    kept = ruins.place / "kept"
    shutil.copytree(ruins.settings.trust_folder, kept)
    ruins.lose()
    ruins.rebuild()
    ruins.accept()
    ruins.lose()
    shutil.rmtree(ruins.settings.trust_folder)
    shutil.copytree(kept, ruins.settings.trust_folder)
    with pytest.raises(RepositoryExchangedError, match="rebuilt already"):
        ruins.rebuild()


def test_the_store_key_alone_begins_no_epoch(ruins: Ruins) -> None:
    """A head of a new epoch under settings that know nothing of it is refused at first use, too."""
    with ruins.open() as repository:
        [[envelope]] = run_sql(repository, "SELECT envelope FROM history_head")
    head = msgspec.structs.replace(decode_head(read_unverified(envelope).payload), epoch=2)
    signer = Keyring.of([hmac_key()]).signer(Role.STORE, head.repository)
    with ruins.open() as repository:
        run_sql(repository, "UPDATE history_head SET envelope = ?", seal_head(head, signer))
    ruins.forget()
    with pytest.raises(LedgerTamperedError, match="nobody but an admin"):
        ruins.open()
