"""A lost catalogue is made again from what is signed: what comes back, what does not, and why."""

from __future__ import annotations

import fcntl
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore.admin.approvals import protect_alias
from sealstore.admin.key_changes import rotate_key
from sealstore.audit.chains import ChainName, open_ledger
from sealstore.audit.exporting import export_chain
from sealstore.audit.verifying import audit_aliases
from sealstore.errors import (
    ArtifactNotFound,
    NoSigningKeyError,
    NotApprovedError,
    RebuildRefusedError,
    RepositoryExchangedError,
    RepositoryExistsError,
    RepositoryMismatchError,
    RepositoryNotFoundError,
    SealstoreError,
    UsageError,
)
from sealstore.keys.keyring import Role, State
from sealstore.keys.writing import write_keyring_file
from sealstore.names import request
from sealstore.repository.facade import Repository
from sealstore.upkeep import rebuild as rebuild_module
from sealstore.upkeep.access_log import create_access_log
from sealstore.upkeep.rebuild import rebuild
from sealstore.upkeep.rebuild.sources import gather
from sealstore.upkeep.trust import accept_trust, current_point
from tests.alias_moves import approvals, approver
from tests.bundle_sites import FIRST, BundleSite
from tests.command_line import Site
from tests.places import CopiedPlace
from tests.ruins import Ruins
from tests.sealstore_fixtures import ed25519_key, hmac_key, roles, run_sql, snapshot

pytestmark = pytest.mark.invariant(3)


def fill(place: Path) -> None:
    """Two revisions, another artifact, one that was removed; the catalogue is there still."""
    made = Ruins(place)
    made.store([1], "a", "1")
    made.store([2], "a", "1")
    made.store([3], "b", "1")
    made.store([4], "gone", "1")
    made.remove("gone", "1")


@pytest.fixture
def ruins(copied_place: CopiedPlace, tmp_path: Path) -> Ruins:
    return Ruins(copied_place(fill, tmp_path))


def require_all(ruins: Ruins) -> None:
    """Everything that was stored loads, what was removed does not, and nothing is wrong."""
    with ruins.open() as repository:
        assert repository.load("a", "1", revision=1) == [1]
        assert repository.load("a") == [2]
        assert repository.load("b") == [3]
        with pytest.raises(ArtifactNotFound):
            repository.load("gone", "1")
    assert ruins.audit() == []
    report = ruins.check()
    assert report.findings == []


def test_the_mirror_alone_gives_everything_back(ruins: Ruins) -> None:
    """Statements, revisions and what was removed; the places of the history are kept."""
    before = current_point(ruins.settings)
    ruins.lose()
    report = ruins.rebuild()
    assert report.written
    assert report.recovered == ["a:1@1", "a:1@2", "b:1@1"]
    assert report.removed == ["gone:1@1"]
    # The repository's creation, and the removal.
    assert [finding.code for finding in report.lost] == ["ENTRIES_LOST"]
    assert (report.proven_entries, report.entries) == (0, before.size)
    ruins.accept()
    require_all(ruins)
    with ruins.open() as repository:
        events = [entry.event for entry in reversed(repository.history())]
        assert events == ["lost", *["store"] * 4, "lost", "remove", "rebuild"]
        last = repository.history(limit=1)[0]
        assert last.details["size"] == before.size
        assert last.details["root"] == before.root
        # Numbers that were given out are not given out again.
        assert repository.store([5], "gone", "1").revision == 2
        assert repository.store([6], "a", "1").revision == 3
    require_no_finding(ruins)


def require_no_finding(ruins: Ruins) -> None:
    assert ruins.audit() == []
    assert ruins.check().findings == []


def test_a_history_that_was_exported_stays_as_it_is(ruins: Ruins) -> None:
    """Its entries keep their bytes, so that the new history proves older checkpoints, too."""
    export = ruins.export()
    before = current_point(ruins.settings)
    ruins.lose()
    report = ruins.rebuild(export=export)
    assert report.lost == []
    assert (report.proven_entries, report.entries) == (before.size, before.size)
    ruins.accept()
    require_all(ruins)
    after = current_point(ruins.settings)
    assert (after.size, after.epoch) == (before.size + 1, 2)
    assert after.map_root == before.map_root


def test_what_was_stored_after_the_export_comes_from_the_mirror(ruins: Ruins) -> None:
    """And what was removed after it, from the names of mirrored statements."""
    export = ruins.export()
    ruins.store([7], "late", "1")
    ruins.store([8], "c", "1")
    ruins.remove("c", "1")
    ruins.lose()
    report = ruins.rebuild(export=export)
    assert "late:1@1" in report.recovered
    assert "c:1@1" in report.removed
    ruins.accept()
    require_all(ruins)
    with ruins.open() as repository:
        assert repository.load("late") == [7]
        with pytest.raises(ArtifactNotFound):
            repository.load("c", "1")


def test_what_was_removed_after_the_export_stays_removed(ruins: Ruins) -> None:
    """Though the export has it; what an alias meant by then, nobody knows."""
    with ruins.open() as repository:
        repository.set_alias("b", "production", "1")
    export = ruins.export()
    ruins.set_keys(hmac_key(1), hmac_key(2))
    with ruins.open() as repository:
        repository.resign(request("b", "1"))
        repository.remove_alias("b", "production")
    ruins.remove("b", "1")
    ruins.lose()
    report = ruins.rebuild(export=export)
    assert report.removed == ["b:1@1", "gone:1@1"]
    assert [finding.code for finding in report.lost] == ["ENTRIES_LOST"]
    ruins.accept()
    require_no_finding(ruins)
    with ruins.open() as repository:
        with pytest.raises(ArtifactNotFound):
            repository.load("b", "1")
        # It means what it did when the export was made.
        with pytest.raises(ArtifactNotFound, match="removed"):
            repository.load("b", "production")
        assert repository.store([9], "b", "1").revision == 2


def test_a_damaged_catalogue_is_set_aside(ruins: Ruins) -> None:
    """Its bytes are evidence; what garbage collection and fsck see is no trouble."""
    ruins.lose()
    ruins.database.write_bytes(b"no database at all")
    ruins.rebuild()
    [aside] = ruins.root.glob("catalogue.sqlite3.set-aside-*")
    assert aside.read_bytes() == b"no database at all"
    ruins.accept()
    require_all(ruins)


def test_what_is_left_of_the_catalogue_is_used(ruins: Ruins) -> None:
    """Its history, where it is whole; here its map is damaged, and the mirror is gone."""
    with ruins.open() as repository:
        repository.set_alias("a", "production", "1", revision=1)
        root = repository.root
    with ruins.open() as repository:
        run_sql(repository, "DELETE FROM map_row")
    shutil.rmtree(root / "statements")
    (root / "statements").mkdir(mode=0o750)
    report = ruins.rebuild()
    assert report.lost == []
    assert report.proven_entries == report.entries
    ruins.accept()
    require_all(ruins)
    with ruins.open() as repository:
        assert repository.load("a", "production") == [1]
    assert ruins.mirrored("a", "1", 2).exists()


def test_the_beginning_of_a_history_counts_up_to_a_root_that_is_remembered(ruins: Ruins) -> None:
    """What was appended after it is known from the mirror alone, if its end is damaged."""
    checkpoint = ruins.checkpoint()
    size = current_point(ruins.settings).size
    ruins.store([9], "late", "1")
    ruins.store([10], "late", "1")
    with ruins.open() as repository:
        run_sql(repository, "DELETE FROM history_entry WHERE sequence > ?", size + 1)
    report = ruins.rebuild(checkpoint=checkpoint)
    assert report.proven_entries == size
    assert any("are proven" in note for note in report.notes)
    ruins.accept()
    require_all(ruins)
    with ruins.open() as repository:
        assert repository.load("late") == [10]


def test_a_revision_that_is_nowhere_leaves_a_gap(ruins: Ruins) -> None:
    """The next ones keep their numbers; removing them later works."""
    ruins.mirrored("a", "1", 1).unlink()
    ruins.lose()
    report = ruins.rebuild()
    assert report.recovered == ["a:1@2", "b:1@1"]
    ruins.accept()
    require_no_finding(ruins)
    with ruins.open() as repository:
        assert repository.load("a") == [2]
        with pytest.raises(ArtifactNotFound):
            repository.load("a", "1", revision=1)
        repository.remove("a", "1", revision=2)
        with pytest.raises(ArtifactNotFound):
            repository.load("a", "1")
        assert repository.store([3], "a", "1").revision == 3
    require_no_finding(ruins)


def test_a_proven_artifact_without_a_statement_is_lost_and_its_number_is_not_reused(
    ruins: Ruins,
) -> None:
    """The history has it; it is removed on record, and told."""
    export = ruins.export()
    ruins.mirrored("b", "1").unlink()
    ruins.lose()
    report = ruins.rebuild(export=export)
    assert [(finding.artifact, finding.code) for finding in report.lost] == [
        ("b:1@1", "STATEMENT_LOST")
    ]
    ruins.accept()
    with ruins.open() as repository:
        with pytest.raises(ArtifactNotFound):
            repository.load("b")
        assert repository.store([3], "b", "1").revision == 2
    require_no_finding(ruins)


def test_a_payload_that_is_gone_is_told(ruins: Ruins) -> None:
    """Its statement is recovered: a backup of the payload is all that is missing."""
    with ruins.open() as repository:
        digest = repository.get("b").digests.sha256
    payload = ruins.root / "objects" / digest[:2] / digest
    kept = payload.read_bytes()
    payload.unlink()
    ruins.lose()
    report = ruins.rebuild()
    assert ("b:1@1", "PAYLOAD_MISSING") in [
        (finding.artifact, finding.code) for finding in report.lost
    ]
    payload.write_bytes(kept)
    payload.chmod(0o440)
    ruins.accept()
    require_all(ruins)


def test_nothing_is_written_unless_that_is_asked_for(ruins: Ruins) -> None:
    """A dry run shows what would come back."""
    ruins.lose()
    before = snapshot(ruins.root)
    report = rebuild(ruins.settings)
    assert (report.written, report.recovered) == (False, ["a:1@1", "a:1@2", "b:1@1"])
    assert snapshot(ruins.root) == before


def test_a_sound_catalogue_is_not_replaced(ruins: Ruins) -> None:
    """Only where somebody insists."""
    with pytest.raises(RebuildRefusedError, match="sound"):
        ruins.rebuild()
    report = ruins.rebuild(force=True)
    assert (report.lost, report.epoch) == ([], 2)
    ruins.accept()
    require_all(ruins)
    with pytest.raises(RebuildRefusedError, match="sound"):
        ruins.rebuild()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM artifact WHERE name = 'b'",
        "UPDATE artifact SET statement_digest = '00' WHERE name = 'b'",
        "DELETE FROM map_row",
        "DELETE FROM settings",
        "DELETE FROM history_entry WHERE sequence = 2",
    ],
)
def test_a_catalogue_with_damage_is_not_sound(ruins: Ruins, damage: str) -> None:
    """Rows, map, settings and history: each is looked at."""
    with ruins.open() as repository:
        run_sql(repository, damage)
    ruins.rebuild()
    ruins.accept()
    require_all(ruins)


def test_writers_wait_from_before_anything_is_read(
    ruins: Ruins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody stored between the reading and the new catalogue would be lost."""
    seen: list[bool] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        with (ruins.root / "catalogue.sqlite3.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                seen.append(True)
        return gather(*arguments, **options)

    monkeypatch.setattr(rebuild_module, "gather", watched)
    rebuild(ruins.settings, force=True)
    assert seen == []
    ruins.rebuild(force=True)
    assert seen == [True]


def test_a_living_process_goes_on_in_the_new_catalogue(ruins: Ruins) -> None:
    """Its connections notice that the file is another one; it stores nothing into the old."""
    with ruins.open() as repository:
        repository.load("a")
        ruins.rebuild(force=True)
        with pytest.raises(RepositoryExchangedError):
            repository.store([9], "late", "1")
        with pytest.raises(RepositoryExchangedError):
            repository.load("a")
        ruins.accept()
        assert repository.store([9], "late", "1").revision == 1
        assert repository.load("late") == [9]
    require_all(ruins)


# ── what belongs to artifacts ────────────────────────────────────────────────


def test_approved_moves_are_carried_on_where_the_old_catalogue_can_be_read(ruins: Ruins) -> None:
    """With their approvals; without these, what a protected alias means is refused, and told."""
    ada = approver(1)
    ruins.set_keys(hmac_key(), ada)
    with ruins.open() as repository:
        protect_alias(repository, "production", 1)
        move = repository.request_approvals("a", "production", "1", revision=1)
        repository.apply_move(move, approvals=approvals(move, ada))
    assert ruins.rebuild(force=True).lost == []
    ruins.accept()
    with ruins.open() as repository:
        assert repository.load("a", "production") == [1]
        assert audit_aliases(repository) == []
    require_all(ruins)
    export = ruins.export()
    ruins.lose()
    report = ruins.rebuild(export=export)
    assert [finding.code for finding in report.lost] == ["APPROVALS_LOST"]
    assert any("of the settings is lost" in note for note in report.notes)
    ruins.accept()
    with ruins.open() as repository:
        with pytest.raises(NotApprovedError):
            repository.load("a", "production")
        assert repository.load("a", "1", revision=1) == [1]


@pytest.mark.parametrize("left", ["mirror", "catalogue", "nothing"])
def test_origins_are_carried_on(origin: BundleSite, island: BundleSite, left: str) -> None:
    """From the mirror of origins, or from the old catalogue; where neither has them, it is told."""
    island.take_in(origin.bundle())
    settings, root = island.settings, island.root
    keys = root.parent / "keys" / "keyring.json"
    keys.parent.mkdir(mode=0o700)
    write_keyring_file(keys, island.repository.keyring)
    settings = replace(settings, keyring_path=keys)
    export = root.parent / "history.export"
    with open_ledger(settings) as ledger:
        export_chain(ledger, ChainName.HISTORY, export)
    expected = island.repository.origin("fraud", "2026")
    assert expected is not None
    island.repository.close()
    if left != "mirror":
        shutil.rmtree(root / "origins")
    if left != "catalogue":
        (root / "catalogue.sqlite3").write_bytes(b"")
    report = rebuild(settings, do_write=True, export=export, force=True)
    codes = {finding.code for finding in report.lost}
    assert codes == ({"ORIGIN_LOST"} if left == "nothing" else set())
    accept_trust(settings, current_point(settings))
    with Repository.open(settings=settings) as repository:
        assert repository.load("fraud", "2026") == FIRST
        if left != "nothing":
            found = repository.origin("fraud", "2026")
            assert found is not None
            assert found.origin == expected.origin


@pytest.mark.postgresql
def test_on_postgresql_into_an_empty_database(tmp_path: Path, postgresql_url: str) -> None:
    """One that has a catalogue is not written to."""
    ruins = Ruins(tmp_path)
    ruins.store([1], "a", "1")
    export = ruins.export()
    on_sqlite = ruins.settings
    ruins.settings = replace(on_sqlite, database_url=postgresql_url)
    assert ruins.rebuild(export=export).recovered == ["a:1@1"]
    ruins.accept()
    create_access_log(ruins.settings)
    with ruins.open() as repository:
        assert repository.load("a") == [1]
        repository.store([2], "a", "1")
    assert ruins.check().findings == []
    with pytest.raises(RepositoryExistsError):
        ruins.rebuild(force=True)


# ── the new epoch ────────────────────────────────────────────────────────────


def test_a_client_refuses_a_rebuilt_repository_until_it_is_accepted(ruins: Ruins) -> None:
    """The error names the command."""
    ruins.lose()
    ruins.rebuild()
    with pytest.raises(RepositoryExchangedError) as refused:
        ruins.open()
    assert "sealstore trust accept" in str(refused.value)
    ruins.accept()
    require_all(ruins)


def test_only_an_admin_begins_an_epoch(ruins: Ruins) -> None:
    """The store key alone signs no settings, and so no rebuilt repository; nothing was written."""
    ruins.set_keys(hmac_key(1, roles=roles(Role.STORE, Role.ACCESS, Role.ADMIN)))
    ruins.lose()
    before = snapshot(ruins.root)
    admin = hmac_key(1)
    ruins.set_keys(
        ed25519_key(2, roles=roles(Role.STORE)),
        hmac_key(1, state=State.RETIRED, roles=admin.roles),
    )
    with pytest.raises(NoSigningKeyError):
        ruins.rebuild(accept_retired=True)
    assert snapshot(ruins.root) == before


def test_the_epoch_is_asked_for_where_nothing_remembers_the_repository(ruins: Ruins) -> None:
    """No guess: an epoch that was there before would not be recognised by any client."""
    ruins.lose()
    ruins.forget()
    for epoch in (None, 1):
        with pytest.raises(RebuildRefusedError, match="--epoch"):
            ruins.rebuild(epoch=epoch)
    report = ruins.rebuild(epoch=3)
    assert report.last_known is None
    ruins.accept()
    assert current_point(ruins.settings).epoch == 3
    require_all(ruins)


def test_a_second_rebuild_is_of_the_next_epoch(ruins: Ruins) -> None:
    """Also from the history of the first, exported; an export from before it is not used."""
    early = ruins.export("early")
    for epoch in (2, 3):
        ruins.lose()
        assert ruins.rebuild(export=early).epoch == epoch
        ruins.accept()
        require_all(ruins)
    export = ruins.export()
    ruins.lose()
    report = ruins.rebuild(export=export)
    assert (report.epoch, report.lost) == (4, [])
    ruins.accept()
    require_all(ruins)


# ── keys and settings ────────────────────────────────────────────────────────


def test_settings_are_carried_on(ruins: Ruins) -> None:
    """Policy, protected aliases and revocations, under the next version."""
    approver = ed25519_key(5, roles=roles(Role.APPROVE))
    ruins.set_keys(hmac_key(), approver)
    with ruins.open() as repository:
        protect_alias(repository, "production", 1)
    ruins.lose()
    assert ruins.rebuild().settings_version == 2
    ruins.accept()
    with ruins.open() as repository:
        assert repository.state.document.protected_aliases == {"production": 1}
        assert repository.state.document.version == 3
    require_all(ruins)


def test_what_a_retired_key_signed_needs_a_proof_or_an_operators_word(ruins: Ruins) -> None:
    """A retired key vouches for nothing new; a history that is left is proof enough."""
    rotate_key(ruins.settings)
    export = ruins.export()
    ruins.lose()
    report = rebuild(ruins.settings)
    assert report.recovered == []
    assert {finding.code for finding in report.lost} >= {"RETIRED_KEY"}
    assert rebuild(ruins.settings, accept_retired=True).recovered == ["a:1@1", "a:1@2", "b:1@1"]
    assert ruins.rebuild(export=export).recovered == ["a:1@1", "a:1@2", "b:1@1"]
    ruins.accept()
    require_all(ruins)


def test_what_must_be_there(ruins: Ruins) -> None:
    """repository.json, of the repository that is meant; an export is one of the history."""
    with pytest.raises(RepositoryMismatchError):
        rebuild(replace(ruins.settings, repository_id="0" * 32))
    with ruins.open() as repository:
        repository.load("a")
    access = ruins.place / "access.export"
    with open_ledger(ruins.settings) as ledger:
        export_chain(ledger, ChainName.ACCESS, access)
    with pytest.raises(UsageError):
        rebuild(ruins.settings, export=access)
    (ruins.root / "repository.json").unlink()
    with pytest.raises(RepositoryNotFoundError):
        rebuild(ruins.settings)


# ── the command ──────────────────────────────────────────────────────────────


def test_the_command_shows_then_does_it(ruins: Ruins) -> None:
    """Dry by default; JSON; asks before it writes."""
    site = Site(ruins.root, ruins.settings.keyring_path)
    trust = {"MODEL_REPO_TRUST_STATE": str(ruins.settings.trust_folder)}
    ruins.mirrored("a", "1").with_name("notes.txt").write_text("mine")
    ruins.lose()
    ran = site.run("rebuild", request=trust)
    assert "recovered: a:1@2" in ran.out
    assert "stays removed: gone:1@1" in ran.out
    assert "notes.txt" in ran.out + ran.err
    assert "--write does it" in ran.out
    assert not ruins.database.exists()
    assert site.run("rebuild", "--json", request=trust).json["written"] is False
    assert "trust accept" in site.run("rebuild", "--write", "--yes", request=trust).out
    site.run("trust", "accept", "--current", "--yes", request=trust)
    ruins.mirrored("a", "1").with_name("notes.txt").unlink()
    require_all(ruins)
    assert "sound" in site.run("rebuild", code=1, request=trust).err


def test_a_long_list_is_cut_short(tmp_path: Path) -> None:
    """JSON has all of it."""
    ruins = Ruins(tmp_path)
    with ruins.open() as repository:
        for number in range(25):
            repository.store(number, "many", f"{number}")
    site = Site(ruins.root, ruins.settings.keyring_path)
    trust = {"MODEL_REPO_TRUST_STATE": str(ruins.settings.trust_folder)}
    ruins.lose()
    assert "and 5 more" in site.run("rebuild", request=trust).out
    assert len(site.run("rebuild", "--json", request=trust).json["recovered"]) == 25


def test_a_full_or_read_only_folder_changes_nothing(ruins: Ruins) -> None:
    """The old file is in its place."""
    ruins.lose()
    ruins.database.write_bytes(b"damaged")
    (ruins.root / "catalogue.sqlite3.rebuilt").mkdir()
    with pytest.raises((SealstoreError, OSError)):
        ruins.rebuild()
    assert ruins.database.read_bytes() == b"damaged"
    (ruins.root / "catalogue.sqlite3.rebuilt").rmdir()
    ruins.rebuild()
    ruins.accept()
    require_all(ruins)
