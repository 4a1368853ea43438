"""fsck: a sound repository has no findings, and each kind of damage is found and told where."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from sealstore.errors import (
    ConfigurationError,
    KeyringError,
    KeyringNotFoundError,
    RepositoryNotFoundError,
)
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.upkeep.fsck import files, fsck, report
from sealstore.upkeep.fsck.report import FsckReport, Section
from tests.bundle_sites import BundleSite
from tests.command_line import FORBIDDEN, HOSTILE, Site
from tests.sealstore_fixtures import (
    change_row,
    hmac_key,
    insert_row,
    payload_path,
    replace_payload,
    run_sql,
    snapshot,
    statement_path,
)


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@dataclass
class Scene:
    """A repository with a little of everything, and what is done to it."""

    repository: Repository
    site: Site
    artifact: Artifact
    other: Artifact
    removed: Artifact

    @property
    def root(self) -> Path:
        return self.repository.root

    def check(self) -> FsckReport:
        return fsck(self.site.settings)

    def sql(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        return run_sql(self.repository, statement, *parameters)


@pytest.fixture
def scene(repository: Repository, site: Site, monkeypatch: pytest.MonkeyPatch) -> Scene:
    # What a mirror lacks is told at once.
    monkeypatch.setattr(files, "_JUST_STORED", timedelta())
    artifact = repository.store([1.5] * 200, "churn", "2026-10", metadata={"stage": "test"})
    other = repository.store("other", "churn", "2026-11")
    removed = repository.store("gone", "fraud", "v1")
    repository.store("kept", "fraud", "v1")
    repository.set_alias("churn", "production", "2026-10")
    repository.remove("fraud", "v1", revision=1)
    repository.load("churn", "production")
    repository.resign(other.ref)
    return Scene(repository, site, artifact, other, removed)


def found(report: FsckReport) -> set[tuple[str, str]]:
    return {(section.value, finding.code) for section, finding in report.findings}


# ── sound ────────────────────────────────────────────────────────────────────


def test_a_sound_repository_has_no_findings(scene: Scene) -> None:
    """Stores, aliases, removals, new signatures and loads: everything counted, nothing wrong."""
    report = scene.check()
    assert report.findings == []
    head = scene.repository.state.head
    assert (report.repository, report.entries) == (scene.repository.id, head.size)
    assert (report.artifacts, report.payloads) == (3, 3)
    assert report.hashed_bytes == sum(
        artifact.size for artifact in scene.repository.list(limit=10).artifacts
    )
    assert report.map_records == 11
    assert report.access_entries == 1
    # The removed artifact's payload waits for gc.
    [note] = report.notes
    assert note.section is Section.FILES
    assert note.paths == [
        str(payload_path(scene.repository, scene.removed).relative_to(scene.root))
    ]


def test_an_empty_repository_is_sound(repository: Repository, site: Site) -> None:
    """Nothing stored, nothing wrong."""
    report = fsck(site.settings)
    assert (report.findings, report.artifacts, report.entries) == ([], 0, 1)
    assert repository.id == report.repository


def test_the_check_changes_nothing(scene: Scene) -> None:
    """Neither a sound repository nor a damaged one is another afterwards."""
    scene.repository.close()
    scene.check()
    before = snapshot(scene.root)
    scene.check()
    assert snapshot(scene.root) == before
    payload_path(scene.repository, scene.other).unlink()
    before = snapshot(scene.root)
    scene.check()
    assert snapshot(scene.root) == before


# ── damage ───────────────────────────────────────────────────────────────────

Damage = Callable[[Scene], object]
DAMAGES: dict[str, tuple[Damage, str, str]] = {}


def damage(section: str, code: str) -> Callable[[Damage], Damage]:
    def note(function: Damage) -> Damage:
        DAMAGES[function.__name__.replace("_", " ")] = (function, section, code)
        return function

    return note


@damage("payloads", "PAYLOAD_DIGEST")
def changed_payload(scene: Scene) -> None:
    path = payload_path(scene.repository, scene.artifact)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    replace_payload(path, bytes(data))
    path.chmod(0o440)


@damage("payloads", "PAYLOAD_MISSING")
def missing_payload(scene: Scene) -> None:
    payload_path(scene.repository, scene.artifact).unlink()


@damage("payloads", "PAYLOAD_SIZE")
def cut_payload(scene: Scene) -> None:
    path = payload_path(scene.repository, scene.artifact)
    replace_payload(path, path.read_bytes()[:-1])
    path.chmod(0o440)


@damage("payloads", "PAYLOAD_FILE")
def linked_payload(scene: Scene) -> None:
    path = payload_path(scene.repository, scene.artifact)
    path.rename(scene.root.parent / "elsewhere")
    path.symlink_to(scene.root.parent / "elsewhere")


@damage("files", "FOREIGN_FILE")
def linked_payload_as_a_file(scene: Scene) -> None:
    linked_payload(scene)


@damage("files", "PERMISSIONS")
def writable_payload(scene: Scene) -> None:
    payload_path(scene.repository, scene.artifact).chmod(0o640)


@damage("files", "PERMISSIONS")
def payload_that_everybody_reads(scene: Scene) -> None:
    payload_path(scene.repository, scene.artifact).chmod(0o444)


@damage("files", "PERMISSIONS")
def folder_of_payloads_that_everybody_writes(scene: Scene) -> None:
    payload_path(scene.repository, scene.artifact).parent.chmod(0o777)


@damage("files", "PERMISSIONS")
def catalogue_that_everybody_writes(scene: Scene) -> None:
    (scene.root / "catalogue.sqlite3").chmod(0o666)


@damage("files", "PERMISSIONS")
def repository_that_everybody_writes(scene: Scene) -> None:
    scene.root.chmod(0o777)


@damage("files", "FOREIGN_FILE")
def foreign_file_among_payloads(scene: Scene) -> None:
    (scene.root / "objects" / "notes.txt").write_text("hello")


@damage("files", "FOREIGN_FILE")
def foreign_folder_among_payloads(scene: Scene) -> None:
    (scene.root / "objects" / "zz").mkdir()


@damage("files", "FOREIGN_FILE")
def payload_in_another_folder(scene: Scene) -> None:
    path = payload_path(scene.repository, scene.artifact)
    folder = scene.root / "objects" / ("00" if not path.name.startswith("00") else "01")
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / path.name)


@damage("files", "STORAGE")
def linked_objects(scene: Scene) -> None:
    (scene.root / "objects").rename(scene.root.parent / "objects")
    (scene.root / "objects").symlink_to(scene.root.parent / "objects")


@damage("files", "FOREIGN_FILE")
def repository_file_that_is_a_folder(scene: Scene) -> None:
    (scene.root / "catalogue.sqlite3.lock").unlink()
    (scene.root / "catalogue.sqlite3.lock").mkdir()


@damage("catalogue", "CATALOGUE_TAMPERED")
def deleted_row(scene: Scene) -> None:
    scene.sql("DELETE FROM artifact WHERE sequence = ?", scene.artifact.sequence)


@damage("catalogue", "CATALOGUE_TAMPERED")
def edited_row(scene: Scene) -> None:
    change_row(scene.repository, scene.artifact, size=7)


@damage("catalogue", "CATALOGUE_TAMPERED")
def nameless_row(scene: Scene) -> None:
    change_row(scene.repository, scene.artifact, name=HOSTILE)


@damage("catalogue", "ENVELOPE_FORMAT")
def row_without_an_envelope(scene: Scene) -> None:
    change_row(scene.repository, scene.artifact, envelope=b"{}")


@damage("catalogue", "SIGNATURE_INVALID")
def forged_envelope(scene: Scene) -> None:
    [[envelope]] = scene.sql(
        "SELECT envelope FROM artifact WHERE sequence = ?", scene.artifact.sequence
    )
    assert isinstance(envelope, bytes)
    start = envelope.index(b'"sig":"') + 7
    other = b"A" if envelope[start : start + 1] != b"A" else b"B"
    forged = envelope[:start] + other + envelope[start + 1 :]
    change_row(scene.repository, scene.artifact, envelope=forged)


@damage("catalogue", "CATALOGUE_TAMPERED")
def row_of_a_removed_artifact(scene: Scene) -> None:
    from tests.sealstore_fixtures import consistent_row

    envelope = statement_path(scene.repository, scene.removed)
    data = envelope.with_name(envelope.name + ".removed").read_bytes().removesuffix(b"\n")
    insert_row(scene.repository, consistent_row(data, hmac_key()))


@damage("history", "LEDGER_TAMPERED")
def edited_entry(scene: Scene) -> None:
    scene.sql(
        "UPDATE history_entry SET entry = replace(entry, 'churn', 'chorn') WHERE sequence = 2"
    )
    scene.sql("UPDATE history_entry SET entry = CAST(entry AS BLOB) WHERE sequence = 2")


@damage("history", "LEDGER_TAMPERED")
def deleted_entry(scene: Scene) -> None:
    scene.sql("DELETE FROM history_entry WHERE sequence = 3")


@damage("history", "LEDGER_TAMPERED")
def entries_cut_off(scene: Scene) -> None:
    scene.sql("DELETE FROM history_entry WHERE sequence > 5")


@damage("history", "LEDGER_TAMPERED")
def added_entry(scene: Scene) -> None:
    scene.sql(
        "INSERT INTO history_entry SELECT 1000, entry, event, at, name, tag FROM history_entry"
        " WHERE sequence = 2"
    )


@damage("history", "LEDGER_TAMPERED")
def edited_column_of_an_entry(scene: Scene) -> None:
    scene.sql("UPDATE history_entry SET tag = 'other' WHERE sequence = 2")


@damage("history", "LEDGER_TAMPERED")
def edited_hash(scene: Scene) -> None:
    scene.sql("UPDATE history_node SET digest = zeroblob(32) WHERE level = 0 AND node_index = 1")


@damage("history", "LEDGER_TAMPERED")
def missing_hash(scene: Scene) -> None:
    scene.sql("DELETE FROM history_node WHERE level = 1 AND node_index = 0")


@damage("history", "LEDGER_TAMPERED")
def spare_hash(scene: Scene) -> None:
    scene.sql("INSERT INTO history_node VALUES (40, 1, zeroblob(32))")


@damage("history", "CATALOGUE_TAMPERED")
def edited_row_of_the_map(scene: Scene) -> None:
    scene.sql("UPDATE map_row SET content = zeroblob(10) WHERE position > 4160")


@damage("history", "CATALOGUE_TAMPERED")
def deleted_row_of_the_map(scene: Scene) -> None:
    scene.sql("DELETE FROM map_row WHERE position = (SELECT max(position) FROM map_row)")


@damage("history", "CATALOGUE_TAMPERED")
def spare_row_of_the_map(scene: Scene) -> None:
    scene.sql("INSERT INTO map_row VALUES (266304, zeroblob(40))")


@damage("head", "CATALOGUE_TAMPERED")
def missing_head(scene: Scene) -> None:
    scene.sql("DELETE FROM history_head")


@damage("head", "ENVELOPE_FORMAT")
def forged_head(scene: Scene) -> None:
    scene.sql("UPDATE history_head SET envelope = CAST('{}' AS BLOB)")


@damage("head", "ROLLBACK")
def older_catalogue(scene: Scene) -> None:
    older = scene.root.parent / "older.sqlite3"
    scene.sql(f"VACUUM INTO '{older}'")
    scene.repository.store("newer", "churn", "2026-12")
    scene.repository.close()
    for name in ("catalogue.sqlite3-wal", "catalogue.sqlite3-shm"):
        (scene.root / name).unlink(missing_ok=True)
    shutil.copy(older, scene.root / "catalogue.sqlite3")


@damage("head", "KEYRING_PERMISSIONS")
def keyring_that_others_read(scene: Scene) -> None:
    scene.site.keyring.chmod(0o644)


@damage("head", "SETTINGS_FILE")
def settings_in_another_signature(scene: Scene) -> None:
    older = (scene.root / "repository.json").read_bytes()
    scene.repository.change_settings(immutable_tags=True)
    (scene.root / "repository.json").write_bytes(older)


@damage("head", "REPOSITORY_LAYOUT")
def settings_that_are_a_folder(scene: Scene) -> None:
    (scene.root / "repository.json").unlink()
    (scene.root / "repository.json").mkdir()


@damage("mirror", "MIRROR")
def missing_mirror(scene: Scene) -> None:
    statement_path(scene.repository, scene.artifact).unlink()


@damage("mirror", "MIRROR")
def mirror_of_another(scene: Scene) -> None:
    shutil.copy(
        statement_path(scene.repository, scene.other),
        statement_path(scene.repository, scene.artifact),
    )


@damage("mirror", "MIRROR")
def mirror_that_is_a_fifo(scene: Scene) -> None:
    statement_path(scene.repository, scene.artifact).unlink()
    os.mkfifo(statement_path(scene.repository, scene.artifact), 0o640)


@damage("mirror", "MIRROR")
def mirror_that_is_too_large(scene: Scene) -> None:
    statement_path(scene.repository, scene.artifact).write_bytes(b"x" * (7 << 20))


@damage("mirror", "UNKNOWN_STATEMENT")
def statement_that_the_history_does_not_know(scene: Scene) -> None:
    path = statement_path(scene.repository, scene.artifact)
    shutil.copy(path, path.with_name("9.json"))


@damage("mirror", "UNKNOWN_STATEMENT")
def removed_statement_that_was_not_removed(scene: Scene) -> None:
    path = statement_path(scene.repository, scene.artifact)
    shutil.copy(path, path.with_name("1.json.removed"))


@damage("mirror", "FOREIGN_FILE")
def edited_statement_of_a_removed_artifact(scene: Scene) -> None:
    path = statement_path(scene.repository, scene.removed)
    path.with_name(path.name + ".removed").write_bytes(b"{}")


@damage("mirror", "FOREIGN_FILE")
def foreign_file_in_the_mirror(scene: Scene) -> None:
    (scene.root / "statements" / "readme.txt").write_text("hello")


@damage("mirror", "FOREIGN_FILE")
def foreign_statement(scene: Scene) -> None:
    statement_path(scene.repository, scene.artifact).with_name("7.json").write_text("{}")


@damage("mirror", "FOREIGN_FILE")
def mirror_under_no_name(scene: Scene) -> None:
    folder = scene.root / "statements" / "churn" / "latest"
    folder.mkdir()
    (folder / "1.json").write_text("{}")


@damage("mirror", "FOREIGN_FILE")
def linked_folder_in_the_mirror(scene: Scene) -> None:
    (scene.root / "statements" / "link").symlink_to(scene.root)


@damage("mirror", "STORAGE")
def mirror_without_its_folder(scene: Scene) -> None:
    shutil.rmtree(scene.root / "statements")


@damage("mirror", "PERMISSIONS")
def mirror_that_everybody_writes(scene: Scene) -> None:
    statement_path(scene.repository, scene.artifact).chmod(0o666)


@damage("access", "LEDGER_TAMPERED")
def edited_access_log(scene: Scene) -> None:
    import sqlite3

    connection = sqlite3.connect(scene.root / "access.sqlite3", isolation_level=None)
    connection.execute("UPDATE access_entry SET name = 'other'")
    connection.close()


@damage("access", "ACCESS_LOG_NOT_FOUND")
def lost_access_log(scene: Scene) -> None:
    scene.repository.close()
    for path in scene.root.glob("access.sqlite3*"):
        path.unlink()


@damage("aliases", "LEDGER_TAMPERED")
def alias_against_the_rules(scene: Scene) -> None:
    """A holder of the signing key moves an alias past its protection."""
    from sealstore.names import Name, Tag
    from sealstore.repository import environment
    from sealstore.repository.map_changes import note_moved
    from sealstore.repository.recording import change
    from sealstore.signed.approval import AliasTarget

    target = AliasTarget(tag="2026-11", revision=1, statement=scene.other.verified.digest)
    with change(scene.repository.parts, environment.stored_by(None)) as (made, _):
        moved = note_moved(made, Name("churn"), Tag("production"), target)
        made.append("alias", None, name="churn", alias="production", move=moved.move, tag="2026-11",
                    revision=1, statement=target.statement)  # fmt: skip


@damage("history", "CATALOGUE_TAMPERED")
def map_against_the_history(scene: Scene) -> None:
    """A holder of the signing key changes the map, and nothing is in the history."""
    from sealstore.ledger.map_values import TagValue
    from sealstore.names import Name, Tag
    from sealstore.repository import environment
    from sealstore.repository.recording import change

    with change(scene.repository.parts, environment.stored_by(None)) as (made, _):
        made.set_segment(
            Name("churn"),
            Tag("2026-10"),
            TagValue(revision=1, highest=5, statement=scene.artifact.verified.digest),
        )
        made.append("key", None, action="looked at", key=made.signer.key_id)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(scene: Scene, name: str) -> None:
    """Each kind of damage is a finding of its section, with code and what to do; exit code 1."""
    inflict, section, code = DAMAGES[name]
    inflict(scene)
    report = scene.check()
    assert (section, code) in found(report)
    assert all(finding.hint for _, finding in report.findings)
    shown = scene.site.run("fsck", code=1)
    assert not set(FORBIDDEN) & set(shown.out + shown.err)
    document = scene.site.run("fsck", "--json", code=1).json
    assert not document["ok"]
    assert (section, code) in {(each["section"], each["code"]) for each in document["findings"]}


@pytest.mark.parametrize(
    "name",
    [
        *("changed payload", "missing payload", "writable payload", "deleted row", "edited row"),
        *("missing mirror", "mirror of another", "foreign file among payloads", "spare hash"),
    ],
)
def test_damage_is_told_once(scene: Scene, name: str) -> None:
    """One damage is one finding, and everything else is still looked at."""
    DAMAGES[name][0](scene)
    report = scene.check()
    assert len(report.findings) == report.findings_in_all == 1
    assert report.files > 10
    assert report.entries == scene.repository.state.head.size


def test_without_the_history_rows_are_held_against_the_map(scene: Scene) -> None:
    """A damaged history hides neither a forged row nor a damaged payload."""
    deleted_entry(scene)
    edited_row(scene)
    payload_path(scene.repository, scene.other).unlink()
    found_now = found(scene.check())
    assert {
        ("history", "LEDGER_TAMPERED"),
        ("catalogue", "CATALOGUE_TAMPERED"),
        ("payloads", "PAYLOAD_MISSING"),
    } <= found_now


def test_a_statement_whose_row_is_gone_is_still_the_right_one(scene: Scene) -> None:
    """A mirrored statement without a row is held against the history."""
    deleted_row(scene)
    assert found(scene.check()) == {("catalogue", "CATALOGUE_TAMPERED")}
    mirror_of_another(scene)
    assert ("mirror", "UNKNOWN_STATEMENT") in found(scene.check())


def test_many_findings_are_counted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a cap findings are counted, so that many planted files hide nothing else."""
    monkeypatch.setattr(report, "MAX_SHOWN", 3)
    for number in range(5):
        (scene.root / "objects" / f"planted {number}").touch()
    payload_path(scene.repository, scene.artifact).unlink()
    checked = scene.check()
    assert (len(checked.findings), checked.findings_in_all) == (4, 6)
    assert "and 2 more" in scene.site.run("fsck", code=1).out
    assert ("payloads", "PAYLOAD_MISSING") in found(checked)


# ── notes ────────────────────────────────────────────────────────────────────


def test_leftovers_are_notes(scene: Scene) -> None:
    """Orphans, staging files, and what was moved aside: told, and no failure."""
    staging = ".staging-" + "0" * 32
    payload = payload_path(scene.repository, scene.artifact)
    aside = payload.with_name(f"{payload.name}.set-aside-{'0' * 16}")
    statement = statement_path(scene.repository, scene.artifact)
    statement_aside = statement.with_name(f"1.json.set-aside-{'0' * 16}")
    removed = statement_path(scene.repository, scene.removed)
    removed.with_name("1.json.removed").rename(removed)
    planted = [
        scene.root / staging,
        scene.root / "objects" / staging,
        aside,
        statement.with_name(staging),
        statement_aside,
    ]
    for path in planted:
        path.write_bytes(b"any")
    checked = scene.check()
    assert checked.findings == []
    noted = {path for note in checked.notes for path in note.paths}
    assert noted == {
        str(path.relative_to(scene.root))
        for path in [*planted, removed, payload_path(scene.repository, scene.removed)]
    }
    shown = scene.site.run("fsck").out
    assert shown.count("\nnote ") + shown.startswith("note ") == 7
    assert "sound: 3 artifacts" in shown


def test_a_repository_without_an_access_log_is_sound(scene: Scene, tmp_path: Path) -> None:
    """Where none was ever seen, that there is none is a note."""
    lost_access_log(scene)
    scene.site.variables["MODEL_REPO_TRUST_STATE"] = str(tmp_path / "another client")
    checked = scene.check()
    assert checked.findings == []
    assert checked.access_entries is None
    assert [note.section for note in checked.notes] == [Section.FILES, Section.ACCESS]


# ── what was imported ────────────────────────────────────────────────────────


def test_a_planted_origin_is_found(origin: BundleSite, island: BundleSite) -> None:
    """It would be in the way of the import that comes to be this entry."""
    island.take_in(origin.bundle())
    size = island.repository.state.head.size
    row = "SELECT ? + 5, envelope FROM origin LIMIT 1"
    run_sql(island.repository, f"INSERT INTO origin (sequence, envelope) {row}", size)
    checked = fsck(island.settings, keyring=island.repository.keyring)
    assert found(checked) == {("catalogue", "CATALOGUE_TAMPERED")}
    assert "an origin of an artifact that was not imported" in checked.findings[0][1].message


def test_what_is_kept_of_an_origin_is_checked(origin: BundleSite, island: BundleSite) -> None:
    """Imported artifacts are sound, and their origins' statements are those of the import."""
    island.take_in(origin.bundle())
    keyring = island.repository.keyring
    assert fsck(island.settings, keyring=keyring).findings == []
    run_sql(island.repository, "UPDATE origin SET envelope = CAST('{}' AS BLOB)")
    checked = fsck(island.settings, keyring=keyring)
    assert found(checked) == {("catalogue", "CATALOGUE_TAMPERED")}
    assert len(checked.findings) == 3


# ── while others work ────────────────────────────────────────────────────────


def test_what_happens_meanwhile_is_no_finding(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored, removed, collected and signed again while the check runs: nothing is wrong."""
    from sealstore.upkeep.gc import collect
    from sealstore.upkeep.verify import hash_payloads

    def work_meanwhile(*arguments: object, **options: object) -> object:
        scene.repository.store("new", "meanwhile", "1")
        scene.repository.store("new", "meanwhile", "2")
        scene.repository.remove("meanwhile", "2")
        scene.repository.remove("fraud", "v1")
        scene.repository.resign(scene.artifact.ref)
        collect(scene.repository, delete=True, grace=0)
        return hash_payloads(*arguments, **options)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr("sealstore.upkeep.fsck.hash_payloads", work_meanwhile)
    # With a new key, so that signing again signs another envelope.
    scene.site.set_keys(hmac_key(), hmac_key(2))
    with Repository.open(scene.root, settings=scene.site.settings) as rotated:
        checked = replace(scene, repository=rotated).check()
    assert checked.findings == []


def test_a_store_that_is_about_to_write_its_mirror_is_no_finding(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a minute after a store its mirror may be missing, and no longer."""
    missing_mirror(scene)
    monkeypatch.setattr(files, "_JUST_STORED", timedelta(hours=1))
    assert scene.check().findings == []
    change_row(scene.repository, scene.artifact, created="no time")
    assert ("mirror", "MIRROR") not in found(scene.check())


# ── the command ──────────────────────────────────────────────────────────────


def test_the_report_as_json(scene: Scene) -> None:
    """One document with every count."""
    document = scene.site.run("fsck", "--json", "--threads", "1").json
    assert document["ok"] is True
    assert document["repository"] == scene.repository.id
    assert (document["artifacts"], document["payloads"]) == (3, 3)
    assert (document["findings"], document["findingsInAll"]) == ([], 0)
    assert json.dumps(document["notes"])


def test_progress_is_heard(scene: Scene) -> None:
    """Each phase tells how far it is, and none of them more than its total."""
    heard: dict[str, tuple[int, int]] = {}

    def hear(what: str, done: int, total: int) -> None:
        heard[what] = (done, total)

    fsck(scene.site.settings, progress=hear)
    assert {"history", "statements", "payloads", "files", "access"} <= set(heard)
    assert all(done <= total for done, total in heard.values())


def test_where_there_is_nothing_to_check_it_is_an_error(site: Site, tmp_path: Path) -> None:
    """No repository, no keyring, an impossible setting: no report that looks like a result."""
    with pytest.raises(RepositoryNotFoundError):
        fsck(Settings.from_environment({"MODEL_REPO_PATH": str(tmp_path / "absent")}))
    with pytest.raises(KeyringNotFoundError):
        fsck(replace(site.settings, keyring_path=tmp_path / "absent"))
    with pytest.raises(ConfigurationError):
        fsck(replace(site.settings, database_url="mysql://x"))


def test_a_keyring_that_fails_while_it_runs_ends_the_check(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that cannot be read are no refusal of any artifact."""

    def fail(*_: object) -> None:
        raise KeyringError("gone")

    monkeypatch.setattr("sealstore.upkeep.fsck.verified_in", fail)
    assert found(scene.check()) == {("catalogue", "KEYRING")}
