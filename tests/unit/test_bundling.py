"""Bundles made, verified and imported: what is on record afterwards, and what is passed over."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import warnings
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore.bundles import importing
from sealstore.bundles.checking import imported_from, origin_trust, verify_bundle
from sealstore.bundles.creating import create_bundle
from sealstore.errors import (
    AliasInTheWayError,
    ArtifactNotFound,
    BundleRefusedError,
    CatalogueTamperedError,
    ImmutableTagError,
    LedgerFormatError,
    LedgerTamperedError,
    NoSigningKeyError,
    PayloadDigestError,
    RepairWarning,
    RollbackError,
    StorageError,
    TrustStateError,
    UnknownKeyError,
)
from sealstore.keys.changing import withholding
from sealstore.keys.keyring import Keyring, State
from sealstore.ledger.map_values import RevisionValue
from sealstore.names import Name, Tag, parse_request
from sealstore.repository.facade import Repository
from sealstore.repository.origins import origin_of
from sealstore.repository.recording import Change
from sealstore.repository.storing import record_store
from sealstore.signed.envelope import open_statement, read_unverified
from sealstore.trust import operating
from sealstore.upkeep.fsck import fsck
from tests.bundle_sites import (
    FIRST,
    ORIGIN_KEY,
    SECOND,
    SITE_KEY,
    BundleSite,
    changed,
    opened,
    public,
    taken_apart,
)
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    ed25519_key,
    envelope_of,
    hmac_key,
    payload_path,
    rotate,
    run_sql,
    snapshot,
)

# ── create ───────────────────────────────────────────────────────────────────


def test_the_same_head_makes_the_same_file(origin: BundleSite) -> None:
    """In whatever order, and however often, the artifacts are named."""
    one = origin.bundle("churn:v1@1", "churn", "fraud").read_bytes()
    assert origin.bundle("fraud:2026", "churn:v1", "churn:v1@1", "churn").read_bytes() == one
    origin.repository.heartbeat()
    assert origin.bundle("churn:v1@1", "churn", "fraud").read_bytes() != one


def test_an_alias_stands_for_what_it_means(origin: BundleSite, island: BundleSite) -> None:
    """A bundle holds artifacts; it says nothing about what an alias means."""
    origin.repository.set_alias("churn", "production", "v1", revision=1)
    [artifact] = island.verify(origin.bundle("churn:production")).artifacts
    assert str(artifact.verified.statement.ref) == "churn:v1@1"


def accesses(site: BundleSite) -> list[tuple[Any, ...]]:
    """Event, name and entry of each access on record."""
    with closing(sqlite3.connect(site.root / "access.sqlite3")) as log:
        statement = "SELECT event, name, entry FROM access_entry ORDER BY sequence"
        return log.execute(statement).fetchall()


def test_each_export_is_on_record(origin: BundleSite, tmp_path: Path) -> None:
    """Before a payload is copied the access log has who asked for it, and why."""
    refs = [parse_request("churn:v1@1"), parse_request("fraud")]
    create_bundle(origin.repository, refs, tmp_path / "x.bundle", actor="job 7")
    rows = accesses(origin)
    assert {(event, name) for event, name, _ in rows} == {
        ("export granted", "churn"),
        ("export granted", "fraud"),
    }
    for *_, data in rows:
        entry = json.loads(data)
        assert (entry["context"], entry["by"]["actor"]) == ("bundle", "job 7")


def test_an_export_that_fails_is_on_record(origin: BundleSite, tmp_path: Path) -> None:
    """Nothing was handed out, and the access log says why."""
    (tmp_path / "x.bundle").write_text("precious")
    with pytest.raises(StorageError, match="exists"):
        create_bundle(origin.repository, [parse_request("churn")], tmp_path / "x.bundle")
    assert [event for event, *_ in accesses(origin)] == ["export granted", "export failed"]


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ("payload", PayloadDigestError),
        ("row", CatalogueTamperedError),
        ("entry", LedgerTamperedError),
        ("name", ArtifactNotFound),
    ],
)
def test_a_bundle_of_damage_is_not_made(
    origin: BundleSite, tmp_path: Path, damage: str, error: type[Exception]
) -> None:
    """Where anything is refused there is no file, and the refusal names the artifact."""
    name = "churn:v1@1"
    artifact = origin.repository.get("churn", "v1", revision=1)
    if damage == "payload":
        path = payload_path(origin.repository, artifact)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.unlink()
        path.write_bytes(data)
    elif damage == "row":
        run_sql(origin.repository, "DELETE FROM artifact WHERE sequence = 2")
    elif damage == "entry":
        run_sql(origin.repository, "DELETE FROM history_entry WHERE sequence = 2")
    else:
        name = "churn:v1@7"
    with pytest.raises(error) as refused:
        create_bundle(origin.repository, [parse_request(name)], tmp_path / "x.bundle")
    assert getattr(refused.value, "artifact", None) == name
    assert not (tmp_path / "x.bundle").exists()


def test_an_older_bundle_of_another_repository_proves_no_continuity(
    origin: BundleSite, island: BundleSite, tmp_path: Path
) -> None:
    """--since names a bundle of this repository, which its history begins with."""
    island.repository.store(FIRST, "own", "1")
    foreign = island.bundle("own")
    keys = (ORIGIN_KEY, SITE_KEY)
    with opened(origin.folder, *keys).repository as both, pytest.raises(BundleRefusedError):
        BundleSite(both).bundle("churn", since=foreign)
    older = origin.bundle()
    assert older.exists()


def test_a_newer_bundle_proves_no_continuity(origin: BundleSite) -> None:
    """A repository that was set back is not what a bundle of it continues."""
    back = shutil.copytree(origin.folder, origin.folder.parent / "back")
    origin.repository.store({"new": 1}, "churn", "v2")
    newer = origin.bundle()
    shutil.rmtree(back / "trust", ignore_errors=True)
    with opened(back, ORIGIN_KEY).repository as repository, pytest.raises(RollbackError):
        BundleSite(repository).bundle(since=newer)


# ── verify ───────────────────────────────────────────────────────────────────


def test_a_report_says_what_was_verified(origin: BundleSite, island: BundleSite) -> None:
    """As JSON: the head, each artifact, the keys as hints, and nothing that is not."""
    report = island.verify(origin.bundle())
    document = report.to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["ok"] is True
    assert document["head"]["repository"] == OTHER_REPOSITORY_ID
    assert document["head"]["keyAlgorithm"] == "ed25519-public"
    assert document["head"]["continuity"] == "first"
    assert [each["name"] for each in document["artifacts"]] == ["churn", "churn", "fraud"]
    assert [each["keyId"] for each in document["keysInBundle"]] == [ORIGIN_KEY.key_id]
    assert document["findings"] == []


def test_verifying_changes_and_remembers_nothing(origin: BundleSite, island: BundleSite) -> None:
    """It needs no repository, and writes nowhere."""
    path = origin.bundle()
    before = snapshot(island.folder)
    island.verify(path)
    assert snapshot(island.folder) == before
    nowhere = replace(island.settings, path=island.folder / "nowhere")
    assert verify_bundle(path, nowhere, island.repository.keyring).findings == []


def test_what_is_refused_is_told_for_each_artifact(origin: BundleSite, island: BundleSite) -> None:
    """One bad payload does not hide what is right, nor the other way round."""
    path = origin.bundle()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    report = island.verify(path)
    assert len(report.findings) + len(report.artifacts) == 3
    assert {finding.code for finding in report.findings} == {"PAYLOAD_DIGEST"}
    assert report.to_json()["ok"] is False


def test_a_payload_that_cannot_be_read_is_no_finding(
    origin: BundleSite, island: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails says nothing about the bundle."""

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = origin.bundle()
    monkeypatch.setattr(os, "preadv", fails)
    with pytest.raises(StorageError, match="Input/output error"):
        island.verify(path)


def test_an_hmac_bundle_needs_that_very_key(island: BundleSite, tmp_path: Path) -> None:
    """It is said when the bundle is made, and where the key is missing."""
    island.repository.store(FIRST, "own", "1")
    path = tmp_path / "hmac.bundle"
    made = create_bundle(island.repository, [parse_request("own")], path)
    assert made.hmac_keys == (SITE_KEY.key_id,)
    assert made.to_json()["hmacKeys"] == [SITE_KEY.key_id]
    assert island.verify(path).findings == []
    report = verify_bundle(path, island.settings, Keyring.of([hmac_key(9)]))
    assert report.bundle is None
    assert report.to_json()["head"] is None
    assert "HMAC key" in report.findings[0].hint
    assert report.hints == ()


# ── import ───────────────────────────────────────────────────────────────────


def test_what_is_imported_loads_and_tells_its_origin(
    origin: BundleSite, island: BundleSite
) -> None:
    """Payload and everything said of it are the origin's; the statement is this repository's."""
    there = origin.repository.get("churn", "v1", revision=1)
    report = island.take_in(origin.bundle(), actor="courier")
    repository = island.repository
    assert [str(each.artifact.ref) for each in report.imported] == [
        "churn:v1@1",
        "churn:v1@2",
        "fraud:2026@1",
    ]
    assert (repository.load("churn", "v1", revision=1), repository.load("churn")) == (FIRST, SECOND)
    here = repository.verify("churn", "v1", revision=1)
    assert here.verified.statement.predicate.repository == repository.id
    assert here.stored_by.actor == "courier"
    for same in ("digests", "size", "format", "python", "packages", "imports", "metadata"):
        assert getattr(here, same) == getattr(there, same)
    kept = repository.origin("churn", "v1", revision=1)
    assert kept is not None
    assert kept.refusal is None
    assert kept.statement is not None
    assert kept.statement.digest == there.verified.digest == kept.origin.statement
    assert kept.origin.repository == OTHER_REPOSITORY_ID
    assert (kept.origin.size, kept.origin.epoch) == (4, 1)
    [entry] = [each for each in repository.history() if each.sequence == here.sequence]
    assert entry.event == "store"
    assert origin_of(entry) == kept.origin


def test_the_origins_statements_are_kept(origin: BundleSite, island: BundleSite) -> None:
    """Byte for byte: in the catalogue, and in a mirror for people."""
    artifact = origin.repository.get("fraud", "2026")
    envelope = envelope_of(origin.repository, artifact)
    island.take_in(origin.bundle("fraud"))
    [[kept]] = run_sql(island.repository, "SELECT envelope FROM origin")
    assert kept == envelope
    mirror = island.root / "origins/fraud/2026/1.json"
    assert mirror.read_bytes() == envelope + b"\n"
    assert open_statement(kept, Keyring.of([public(ORIGIN_KEY)])).digest == artifact.verified.digest


def test_an_import_is_one_change(
    origin: BundleSite, island: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All artifacts come with one head, or none of them does."""
    path = origin.bundle()
    real, calls = record_store, 0

    def failing(*arguments: Any, **details: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise CatalogueTamperedError("The third is refused.")
        return real(*arguments, **details)

    monkeypatch.setattr(importing, "record_store", failing)
    before = island.repository.state.envelope
    with pytest.raises(CatalogueTamperedError) as refused:
        island.take_in(path)
    assert refused.value.artifact == "fraud:2026@1"
    assert len(island.repository.history()) == 1
    assert island.repository.list().artifacts == []
    assert island.repository.state.envelope == before
    assert not (island.root / "origins").exists()


def test_a_revision_that_a_rebuild_lost_is_no_hindrance(
    origin: BundleSite, island: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the map says nothing of a revision, those before it are looked at."""
    island.take_in(origin.bundle("churn:v1@1"))
    real = Change.revision

    def lost(made: Change, name: Name, tag: Tag, revision: int) -> RevisionValue | None:
        return None if tag == "v1" else real(made, name, tag, revision)

    monkeypatch.setattr(Change, "revision", lost)
    report = island.take_in(origin.bundle("churn:v1@1"))
    assert [each.artifact.revision for each in report.imported] == [2]
    assert report.skipped == []


def test_what_was_imported_before_is_passed_over(origin: BundleSite, island: BundleSite) -> None:
    """Importing again changes nothing, not even the head; what is new comes."""
    island.take_in(origin.bundle())
    before = snapshot(island.root)
    report = island.take_in(origin.bundle())
    assert report.imported == []
    assert [each.reason for each in report.skipped] == ["imported before"] * 3
    assert snapshot(island.root) == before
    origin.repository.store({"new": 1}, "churn", "v1")
    report = island.take_in(origin.bundle("churn:v1@1", "churn:v1@2", "churn:v1@3"))
    assert [each.artifact.revision for each in report.imported] == [3]
    document = json.loads(json.dumps(report.to_json()))
    assert [each["revision"] for each in document["imported"]] == [3]
    assert [each["presentAs"] for each in document["skipped"]] == [1, 2]


def test_a_payload_that_is_the_newest_of_its_tag_is_passed_over(
    origin: BundleSite, island: BundleSite
) -> None:
    """What the site stored itself is not stored again; other payloads are the next revisions."""
    island.repository.store(FIRST, "fraud", "2026")
    island.repository.store({"own": 1}, "churn", "v1")
    report = island.take_in(origin.bundle())
    assert [(str(each.ref), each.present) for each in report.skipped] == [("fraud:2026@1", 1)]
    assert [str(each.artifact.ref) for each in report.imported] == ["churn:v1@2", "churn:v1@3"]
    assert [each.origin.revision for each in report.imported] == [1, 2]
    assert island.repository.origin("fraud", "2026") is None


def test_the_same_payload_twice_in_a_tag_is_one_revision_here(
    origin: BundleSite, island: BundleSite
) -> None:
    """Two revisions in a row with one payload are one; with another between them they are two."""
    for model in (SECOND, FIRST):
        origin.repository.store(model, "churn", "v1")
    report = island.take_in(origin.bundle(*(f"churn:v1@{revision}" for revision in (1, 2, 3, 4))))
    assert [each.origin.revision for each in report.imported] == [1, 2, 4]
    assert [each.ref.revision for each in report.skipped] == [3]
    assert island.repository.load("churn", "v1") == FIRST


def test_what_was_removed_here_stays_removed(origin: BundleSite, island: BundleSite) -> None:
    """Unless somebody says so: then it comes as a new revision."""
    path = origin.bundle()
    island.take_in(path)
    island.repository.remove("fraud", "2026")
    [*_, skipped] = island.take_in(path).skipped
    assert (str(skipped.ref), skipped.reason) == (
        "fraud:2026@1",
        "imported before, and removed here",
    )
    [imported] = island.take_in(path, removed_too=True).imported
    assert str(imported.artifact.ref) == "fraud:2026@2"
    assert run_sql(island.repository, "SELECT count(*) FROM origin") == [(3,)]


def test_tags_and_aliases_of_the_site_hold(origin: BundleSite, island: BundleSite) -> None:
    """An immutable tag takes no second payload, and an alias is no tag; nothing is imported."""
    island.repository.store({"own": 1}, "churn", "v1")
    island.repository.store({"own": 1}, "fraud", "other")
    island.repository.change_settings(immutable_tags=True)
    with pytest.raises(ImmutableTagError) as refused:
        island.take_in(origin.bundle())
    assert refused.value.artifact == "churn:v1@1"
    island.repository.change_settings(immutable_tags=False)
    island.repository.set_alias("fraud", "2026", "other")
    with pytest.raises(AliasInTheWayError):
        island.take_in(origin.bundle())
    assert len(island.repository.list().artifacts) == 2


def test_who_may_not_store_may_not_import(origin: BundleSite, island: BundleSite) -> None:
    """Without a signing key nothing is read, let alone copied."""
    path = origin.bundle()
    keyring = withholding(Keyring.of([SITE_KEY, public(ORIGIN_KEY)]), SITE_KEY.key_id)
    with (
        Repository.open(island.root, keyring=keyring, settings=island.settings) as repository,
        pytest.raises(NoSigningKeyError),
    ):
        BundleSite(repository).take_in(path)
    assert not [each for each in (island.root / "objects").rglob("*") if each.is_file()]


def test_wrong_bytes_in_a_payloads_place_are_mended(origin: BundleSite, island: BundleSite) -> None:
    """What lies under a payload's name and is another is moved aside, and told."""
    sha256 = origin.repository.get("fraud", "2026").digests.sha256
    place = island.root / "objects" / sha256[:2]
    place.mkdir()
    (place / sha256).write_bytes(b"wrong")
    with pytest.warns(RepairWarning, match="moved aside"):
        island.take_in(origin.bundle("fraud"))
    assert island.repository.load("fraud") == FIRST


def test_what_is_written_otherwise_than_read_is_refused(
    origin: BundleSite, island: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digests of what was written decide what is linked."""
    from sealstore.storage.blobs.local_staging import LocalStagedBlob

    real = LocalStagedBlob.write
    monkeypatch.setattr(
        LocalStagedBlob, "write", lambda self, data: real(self, bytes(len(memoryview(data))))
    )
    with pytest.raises(PayloadDigestError, match="not written as it was read"):
        island.take_in(origin.bundle("fraud"))


def test_a_payload_that_is_collected_meanwhile_is_not_put_on_record(
    origin: BundleSite, island: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What gc takes between the copy and the record is missed in time; importing again succeeds."""
    path = origin.bundle("fraud")
    real = importing._record

    def collected(*arguments: Any, **options: Any) -> Any:
        for payload in (island.root / "objects").glob("*/*"):
            payload.unlink()
        return real(*arguments, **options)

    monkeypatch.setattr(importing, "_record", collected)
    with pytest.raises(StorageError, match="collected"):
        island.take_in(path)
    assert len(island.repository.history()) == 1
    monkeypatch.undo()
    island.take_in(path)
    assert island.repository.load("fraud") == FIRST


def test_a_bundle_of_what_was_imported_says_so(origin: BundleSite, island: BundleSite) -> None:
    """The entry that it carries names the first origin; importing it at home is nothing new."""
    island.take_in(origin.bundle("fraud"))
    path = island.bundle("fraud")
    report = island.verify(path)
    [artifact] = report.artifacts
    whence = imported_from(artifact)
    assert whence is not None
    assert whence.repository == OTHER_REPOSITORY_ID
    assert report.to_json()["artifacts"][0]["importedFrom"] == OTHER_REPOSITORY_ID
    with opened(
        origin.folder, ORIGIN_KEY, replace(SITE_KEY, state=State.ACTIVE)
    ).repository as home:
        [skipped] = BundleSite(home).take_in(path).skipped
        assert "newest of the tag" in skipped.reason


# ── what is kept of the origin ───────────────────────────────────────────────


@pytest.fixture
def imported(origin: BundleSite, island: BundleSite) -> Repository:
    """A repository with an imported artifact, fraud:2026."""
    island.take_in(origin.bundle("fraud"))
    return island.repository


@pytest.mark.parametrize("kept", [b"garbage", None, "another"])
def test_another_statement_in_the_origins_place_is_refused(
    origin: BundleSite, imported: Repository, kept: bytes | str | None
) -> None:
    """The history says which statement was imported; a row that says otherwise is damage."""
    if kept == "another":
        kept = envelope_of(origin.repository, origin.repository.get("churn"))
    run_sql(imported, "DELETE FROM origin")
    if kept is not None:
        run_sql(imported, "INSERT INTO origin VALUES (2, ?)", kept)
    with pytest.raises(CatalogueTamperedError, match="not the one that was imported"):
        imported.origin("fraud")
    assert imported.load("fraud") == FIRST


def test_fsck_holds_origins_against_the_history(
    origin: BundleSite, island: BundleSite, imported: Repository
) -> None:
    """A kept statement that is lost or another is a finding; a sound repository has none."""
    keyring = imported.keyring
    assert fsck(island.settings, keyring=keyring).findings == []
    other = envelope_of(origin.repository, origin.repository.get("churn"))
    for damage in ("DELETE FROM origin", "INSERT INTO origin VALUES (2, ?)"):
        run_sql(imported, damage, *([other] if "?" in damage else []))
        [(section, finding)] = fsck(island.settings, keyring=keyring).findings
        assert section == "catalogue"
        assert (finding.artifact, finding.code) == ("fraud:2026@1", "CATALOGUE_TAMPERED")
        assert "backup" in finding.hint
    (island.root / "origins").chmod(0o777)
    assert len(fsck(island.settings, keyring=keyring).findings) == 2


def test_gc_keeps_what_was_imported(island: BundleSite, imported: Repository) -> None:
    """An imported payload is needed like any other, and fsck knows no orphan."""
    report = fsck(island.settings, keyring=imported.keyring)
    assert report.findings == []
    assert report.notes == []
    assert imported.load("fraud") == FIRST


def test_a_lost_entry_tells_no_origin(imported: Repository) -> None:
    """Without the history's entry nobody knows whether an artifact was imported."""
    run_sql(imported, "DELETE FROM history_entry WHERE sequence = 2")
    with pytest.raises(LedgerTamperedError, match="missing"):
        imported.origin("fraud")


def test_an_origins_key_that_is_not_trusted_any_more_is_told(
    island: BundleSite, imported: Repository
) -> None:
    """The artifact is this repository's and loads; that the origin's word is refused is shown."""
    for keys, error in (
        ((SITE_KEY,), UnknownKeyError),
        ((SITE_KEY, replace(public(ORIGIN_KEY), state=State.REVOKED)), None),
    ):
        with opened(island.folder, *keys).repository as repository:
            kept = repository.origin("fraud")
            assert kept is not None
            assert kept.statement is None
            assert error is None or type(kept.refusal) is error
            assert repository.load("fraud") == FIRST


def test_an_entry_that_names_a_part_of_an_origin_is_refused(imported: Repository) -> None:
    """An origin is named whole, or not at all."""
    import msgspec

    [entry, created] = imported.history()
    assert origin_of(created) is None
    for details in (
        {"origin_repository": OTHER_REPOSITORY_ID},
        {**entry.details, "origin_size": "4"},
        {**entry.details, "origin_more": 1},
    ):
        with pytest.raises(LedgerFormatError):
            origin_of(msgspec.structs.replace(entry, details=details))


def test_a_removed_import_leaves_no_origin_behind(imported: Repository) -> None:
    """With the artifact goes what is kept of its origin; the history keeps that it was there."""
    imported.remove("fraud", "2026")
    assert run_sql(imported, "SELECT count(*) FROM origin") == [(0,)]
    assert origin_of(imported.history()[1]) is not None


# ── what is remembered of the origin ─────────────────────────────────────────


def test_bundles_are_held_against_each_other(origin: BundleSite, island: BundleSite) -> None:
    """Each head that is proven to continue the last one is remembered; others are not."""
    first = origin.bundle("fraud")
    assert island.take_in(first).remembered
    assert island.take_in(first).continuity == "same"
    trust = origin_trust(island.settings, OTHER_REPOSITORY_ID)
    origin.repository.store({"new": 1}, "churn", "v2")
    unproven = island.take_in(origin.bundle("churn:v2"))
    assert (unproven.continuity, unproven.remembered) == ("newer", False)
    record = trust.read()
    assert record is not None
    assert record.point.size == 4
    proven = island.take_in(origin.bundle("churn:v2", since=first))
    assert (proven.continuity, proven.remembered) == ("extends", True)
    record = trust.read()
    assert record is not None
    assert record.point.size == 5


def test_a_rotation_at_the_origin_breaks_no_continuity(
    origin: BundleSite, island: BundleSite
) -> None:
    """A newer bundle continues, proven, an older one whose head a retired key signed."""
    first = origin.bundle("fraud")
    assert island.take_in(first).remembered
    new, retired = ed25519_key(5), replace(ORIGIN_KEY, state=State.RETIRED)
    rotate(origin.repository, ORIGIN_KEY, new)
    keys = (SITE_KEY, public(retired), public(new))
    with opened(origin.folder, retired, new).repository as after:
        second = BundleSite(after).bundle("churn:v1@1", since=first)
    with opened(island.folder, *keys).repository as site:
        report = BundleSite(site).take_in(second)
        assert (report.continuity, report.remembered) == ("extends", True)


def test_a_newer_head_of_the_same_size_is_the_same(origin: BundleSite, island: BundleSite) -> None:
    """A heartbeat at the origin changes nothing but the time, which is remembered."""
    island.take_in(origin.bundle("fraud"))
    origin.repository.heartbeat()
    report = island.take_in(origin.bundle("fraud"))
    assert (report.continuity, report.remembered) == ("same", True)


def test_a_head_that_cannot_be_remembered_is_told(
    origin: BundleSite, island: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifacts are imported all the same."""

    def fails(*_: object) -> None:
        raise TrustStateError("The trust state cannot be written (No space left on device).")

    path = origin.bundle("fraud")
    monkeypatch.setattr(operating, "begin", fails)
    with pytest.warns(RepairWarning, match="not remembered"):
        assert not island.take_in(path).remembered
    assert island.repository.load("fraud") == FIRST


def test_an_older_head_is_remembered_by_nobody(origin: BundleSite) -> None:
    """A client that knows a newer one from elsewhere begins with none that is older."""
    older = origin.bundle("fraud")
    origin.repository.store({"new": 1}, "churn", "v2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Repository.create(
            origin.folder / "second",
            keyring=Keyring.of([SITE_KEY, public(ORIGIN_KEY)]),
            settings=origin.settings,
        ) as second:
            report = BundleSite(second).take_in(older, accept_head=True)
    assert (report.continuity, report.remembered) == ("older", False)
    assert origin_trust(origin.settings, OTHER_REPOSITORY_ID).read() is None


def test_evidence_is_what_the_repository_has(origin: BundleSite) -> None:
    """Head, settings, statements and entries go into a bundle byte for byte."""
    evidence, _ = taken_apart(origin.bundle("fraud"))
    repository = origin.repository
    assert evidence.head == repository.state.envelope
    assert evidence.settings == repository.state.settings.envelope
    [artifact] = evidence.artifacts
    stored = repository.get("fraud")
    assert artifact.envelope == envelope_of(repository, stored)
    digest = hashlib.sha256(read_unverified(artifact.envelope).payload).hexdigest()
    assert digest == stored.verified.digest
    assert changed(origin.bundle("fraud")).exists()
