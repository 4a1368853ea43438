"""Whoever may write to the catalogue or the folder, and wants gc to delete what is needed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sealstore.errors import RollbackError, SealstoreError, StorageError
from sealstore.keys.keyring import Keyring
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.upkeep import gc
from sealstore.upkeep.gc import collect
from tests.sealstore_fixtures import (
    MODEL,
    change_row,
    consistent_row,
    envelope_of,
    hmac_key,
    insert_row,
    payload_path,
    put_payload,
    run_sql,
    snapshot,
    statement_path,
)

pytestmark = pytest.mark.invariant(2)

STAGING = ".staging-" + "0" * 32


@pytest.fixture
def artifacts(repository: Repository) -> list[Artifact]:
    """What is stored; one more was, and its payload is what gc may take."""
    stored = [
        repository.store(MODEL, "victim", "v1"),
        repository.store("second", "victim", "v2"),
        repository.store("third", "bystander", "v1"),
    ]
    repository.store("removed", "removed", "v1")
    repository.remove("removed", "v1")
    return stored


def payloads(repository: Repository) -> set[str]:
    return set(repository.blobs.sha256s())


# ── the database ─────────────────────────────────────────────────────────────

Attack = Callable[[Repository, Artifact], object]


def sql(statement: str) -> Attack:
    return lambda repository, _: run_sql(repository, statement)


def edit_entry(repository: Repository, victim: Artifact) -> None:
    """Let the history say that another payload was stored."""
    [[entry]] = run_sql(
        repository, "SELECT entry FROM history_entry WHERE sequence = ?", victim.sequence
    )
    other = entry.replace(victim.digests.sha256.encode(), b"0" * 64)
    assert other != entry
    run_sql(
        repository, "UPDATE history_entry SET entry = ? WHERE sequence = ?", other, victim.sequence
    )


def claim_removal(repository: Repository, victim: Artifact) -> None:
    """Let the history say that it was removed, in place of the one that was."""
    [[entry]] = run_sql(repository, "SELECT entry FROM history_entry WHERE event = 'remove'")
    sha256 = victim.digests.sha256.encode()
    other = entry.replace(b'"name":"removed"', b'"name":"victim"')
    assert other != entry
    assert sha256 not in other
    run_sql(repository, "UPDATE history_entry SET entry = ? WHERE event = 'remove'", other)


def mark_as_removed(repository: Repository, victim: Artifact) -> None:
    """Let the map say that it was removed."""
    stored, removed = b'"state":"stored"', b'"state":"remove"'
    digest = victim.verified.digest.encode()
    for position, content in run_sql(repository, "SELECT position, content FROM map_row"):
        if digest in content and stored in content:
            run_sql(
                repository,
                "UPDATE map_row SET content = ? WHERE position = ?",
                content.replace(stored, removed),
                position,
            )


def delete_everywhere(repository: Repository, victim: Artifact) -> None:
    """Take it out of rows, mirror and history, as if it had never been."""
    run_sql(repository, "DELETE FROM artifact WHERE sequence = ?", victim.sequence)
    run_sql(repository, "DELETE FROM history_entry WHERE sequence = ?", victim.sequence)
    statement_path(repository, victim).unlink()


def exchange_rows(repository: Repository, victim: Artifact) -> None:
    """Let its row be another one's."""
    run_sql(repository, "DELETE FROM artifact WHERE name = 'bystander'")
    change_row(repository, victim, statement_digest="0" * 64, sha256="0" * 64)


def plant_row(repository: Repository, victim: Artifact) -> None:
    """A second row of the artifact, under a sequence that nobody knows."""
    row = consistent_row(envelope_of(repository, victim), hmac_key())
    insert_row(repository, row | {"sequence": 3_000, "tag": "planted"})


ATTACKS: dict[str, Attack] = {
    "deleted rows": sql("DELETE FROM artifact"),
    "one deleted row": sql("DELETE FROM artifact WHERE name = 'victim' AND tag = 'v1'"),
    "rows with sequences of another type": sql("UPDATE artifact SET sequence = 'a' || sequence"),
    "exchanged rows": exchange_rows,
    "another statement's digest": lambda repository, victim: change_row(
        repository, victim, statement_digest="0" * 64
    ),
    "another payload's digest": lambda repository, victim: change_row(
        repository, victim, sha256="0" * 64
    ),
    "a planted row": plant_row,
    "deleted history": sql("DELETE FROM history_entry WHERE sequence > 1"),
    "one deleted entry": sql("DELETE FROM history_entry WHERE sequence = 2"),
    "last entries deleted": sql("DELETE FROM history_entry WHERE sequence > 3"),
    "entries moved": sql("UPDATE history_entry SET sequence = 100 - sequence"),
    "an edited entry": edit_entry,
    "an entry of a removal": claim_removal,
    "deleted map": sql("DELETE FROM map_row"),
    "deleted buckets": sql("DELETE FROM map_row WHERE position > 4160"),
    "one deleted row of the map": sql(
        "DELETE FROM map_row WHERE position = (SELECT max(position) FROM map_row)"
    ),
    "a revision that the map calls removed": mark_as_removed,
    "everything of one artifact": delete_everywhere,
}


@pytest.mark.parametrize("delete", [True, False])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_edited_database_makes_it_delete_nothing(
    repository: Repository, artifacts: list[Artifact], name: str, delete: bool
) -> None:
    """Not even what may go is deleted, and the damage is named, with what to do."""
    before = payloads(repository)
    ATTACKS[name](repository, artifacts[0])
    report = collect(repository, delete=delete, grace=0, set_aside=True)
    assert report.findings
    assert all(finding.message and finding.hint for finding in report.findings)
    assert (report.candidates, report.removed) == ([], [])
    assert payloads(repository) == before


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM history_head",
        "UPDATE history_head SET envelope = CAST('{}' AS BLOB)",
        "DROP TABLE map_row",
    ],
)
def test_a_database_without_a_head_or_a_table_makes_it_delete_nothing(
    repository: Repository, artifacts: list[Artifact], statement: str
) -> None:
    """Where not even the head is there, it is an error."""
    before = payloads(repository)
    run_sql(repository, statement)
    with pytest.raises(SealstoreError):
        collect(repository, delete=True, grace=0)
    assert payloads(repository) == before
    assert artifacts


def test_an_older_catalogue_makes_it_delete_nothing(
    repository: Repository, artifacts: list[Artifact], tmp_path: Path
) -> None:
    """Put back from before a store, it knows nothing of the store; this client remembers it."""
    older = tmp_path / "older.sqlite3"
    run_sql(repository, f"VACUUM INTO '{older}'")
    newer = repository.store("newer", "newer", "v1")
    put_back(repository, older)
    with pytest.raises(RollbackError):
        collect(repository, delete=True, grace=0)
    assert payload_path(repository, newer).exists()
    assert artifacts


def put_back(repository: Repository, older: Path) -> None:
    repository.close()
    for suffix in ("-wal", "-shm"):
        (repository.root / f"catalogue.sqlite3{suffix}").unlink(missing_ok=True)
    shutil.copy(older, repository.root / "catalogue.sqlite3")


def test_to_a_client_that_remembers_nothing_the_mirror_speaks_for_a_payload(
    repository: Repository,
    artifacts: list[Artifact],
    keyring: Keyring,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of an older catalogue a new client sees nothing wrong; what the mirror names is kept."""
    older = tmp_path / "older.sqlite3"
    run_sql(repository, f"VACUUM INTO '{older}'")
    newer = repository.store("newer", "newer", "v1")
    put_back(repository, older)
    monkeypatch.setenv("MODEL_REPO_TRUST_STATE", str(tmp_path / "another client"))
    with Repository.open(repository.root, keyring=keyring) as opened:
        report = collect(opened, delete=True, grace=0)
    assert len(report.removed) == 1
    assert payload_path(repository, newer).exists()
    assert artifacts


def test_changes_between_the_proof_and_the_removal_are_seen(
    repository: Repository, artifacts: list[Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody writes to the history after it was proven ends the removal."""
    before = payloads(repository)
    run = gc.Removal.run

    def attack_and_run(self: gc.Removal, progress: object) -> None:
        repository.store("fourth", "bystander", "v2")
        edit = "UPDATE history_entry SET entry = CAST('{}' AS BLOB) WHERE sequence = ?"
        run_sql(repository, edit, repository.state.head.size)
        run(self, progress)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(gc.Removal, "run", attack_and_run)
    with pytest.raises(SealstoreError):
        collect(repository, delete=True, grace=0)
    assert before < payloads(repository)
    assert artifacts


# ── mirrored statements ──────────────────────────────────────────────────────


def test_deleted_mirrors_take_nothing_with_them(
    repository: Repository, artifacts: list[Artifact]
) -> None:
    """The history alone says what is needed: only what it gave up goes."""
    shutil.rmtree(repository.root / "statements")
    (repository.root / "statements").mkdir()
    collect(repository, delete=True, grace=0)
    assert payloads(repository) == {artifact.digests.sha256 for artifact in artifacts}
    assert repository.load("victim", "v1") == MODEL


@pytest.mark.parametrize("name", ["9.json", "9.json.removed", "1.json.removed"])
def test_an_unreadable_statement_of_nobody_stops_it(
    repository: Repository, artifacts: list[Artifact], name: str
) -> None:
    """It may stand for a payload that only its author knows: named, and nothing is deleted."""
    before = payloads(repository)
    folder = repository.root / "statements" / "unknown" / "v1"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"{}")
    report = collect(repository, delete=True, grace=0)
    [finding] = report.findings
    assert finding.artifact is not None
    assert finding.artifact.startswith("unknown:v1@")
    assert payloads(repository) == before
    assert artifacts


def test_an_edited_mirror_neither_stops_it_nor_takes_anything(
    repository: Repository, artifacts: list[Artifact]
) -> None:
    """Of what the history knows, it knows the payload."""
    statement_path(repository, artifacts[0]).write_bytes(b"{}")
    collect(repository, delete=True, grace=0)
    assert repository.load("victim", "v1") == MODEL


def test_a_mirror_that_calls_it_removed_takes_nothing(
    repository: Repository, artifacts: list[Artifact]
) -> None:
    """Nobody's signature is on a file's name: what the history says counts."""
    path = statement_path(repository, artifacts[0])
    path.rename(path.with_name("1.json.removed"))
    collect(repository, delete=True, grace=0)
    assert repository.load("victim", "v1") == MODEL


# ── planted files ────────────────────────────────────────────────────────────


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is none of gc's business, with files named like its own."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("ab" + "0" * 62, STAGING, "1.json", "ab" + "0" * 62 + ".set-aside-" + "0" * 16):
        (folder / name).write_bytes(b"precious")
    (folder / "v1").mkdir()
    (folder / "v1" / STAGING).write_bytes(b"precious")
    return folder


def plant_link_for_a_folder(root: Path, outside: Path) -> None:
    (root / "objects" / "ab").symlink_to(outside)


def plant_link_for_a_payload(root: Path, outside: Path) -> None:
    (root / "objects" / "ab").mkdir()
    (root / "objects" / "ab" / ("ab" + "1" * 62)).symlink_to(outside / ("ab" + "0" * 62))


def plant_link_for_a_staging_file(root: Path, outside: Path) -> None:
    (root / "objects" / STAGING).symlink_to(outside / STAGING)


def plant_link_in_the_mirror(root: Path, outside: Path) -> None:
    (root / "statements" / "linked").symlink_to(outside)
    (root / "statements" / "victim" / "linked").symlink_to(outside / "v1")


def plant_folder_for_a_payload(root: Path, _: Path) -> None:
    (root / "objects" / "ab" / ("ab" + "2" * 62)).mkdir(parents=True)


def plant_folders_within(root: Path, outside: Path) -> None:
    inner = root / "objects" / "ab" / "ab"
    inner.mkdir(parents=True)
    (inner / ("ab" + "3" * 62)).symlink_to(outside)
    (inner / ("ab" + "4" * 62)).write_bytes(b"deep")


def plant_names(root: Path, _: Path) -> None:
    (root / "objects" / "ab").mkdir()
    for name in ("..\\x", "AB" + "0" * 62, "ab" + "0" * 61, "ab" + "0" * 63, "a\nb\x1b[31m"):
        (root / "objects" / "ab" / name).write_bytes(b"named")
    (root / "objects" / "ab" / os.fsdecode(b"\xff" * 64)).write_bytes(b"named")
    (root / "objects" / ("ab" + "0" * 62)).write_bytes(b"named")


def plant_fifo(root: Path, _: Path) -> None:
    (root / "objects" / "ab").mkdir()
    os.mkfifo(root / "objects" / "ab" / ("ab" + "5" * 62))
    os.mkfifo(root / "objects" / STAGING)
    os.mkfifo(root / "statements" / "victim" / "v1" / "9.json")


@pytest.mark.parametrize(
    "plant",
    [
        plant_link_for_a_folder,
        plant_link_for_a_payload,
        plant_link_for_a_staging_file,
        plant_link_in_the_mirror,
        plant_folder_for_a_payload,
        plant_folders_within,
        plant_names,
        plant_fifo,
    ],
)
def test_planted_files_are_neither_followed_nor_deleted(
    repository: Repository,
    artifacts: list[Artifact],
    outside: Path,
    plant: Callable[[Path, Path], None],
) -> None:
    """Links, folders and other names stay where they are, and what links lead to as well."""
    [orphan] = payloads(repository) - {artifact.digests.sha256 for artifact in artifacts}
    plant(repository.root, outside)
    before, inside = snapshot(outside), everything(repository)
    report = collect(repository, delete=True, grace=0, set_aside=True)
    assert {candidate.found.name for candidate in report.removed} == {orphan}
    assert snapshot(outside) == before
    assert inside - everything(repository) == {f"objects/{orphan[:2]}/{orphan}"}


def everything(repository: Repository) -> set[str]:
    return {
        str(path.relative_to(repository.root))
        for folder in ("objects", "statements")
        for path in (repository.root / folder).rglob("*")
    }


def test_a_hard_link_is_one_name_of_two(
    repository: Repository, artifacts: list[Artifact], outside: Path
) -> None:
    """A name in the repository goes; the file keeps its other one."""
    (repository.root / "objects" / "ab").mkdir()
    target = outside / ("ab" + "0" * 62)
    os.link(target, repository.root / "objects" / "ab" / target.name)
    collect(repository, delete=True, grace=0)
    assert target.read_bytes() == b"precious"
    assert artifacts


def test_a_link_that_was_set_aside_goes_alone(
    repository: Repository, artifacts: list[Artifact], outside: Path
) -> None:
    """What was moved aside may be a link: it is removed, what it leads to is not."""
    path = payload_path(repository, artifacts[0])
    path.with_name(f"{path.name}.set-aside-{'0' * 16}").symlink_to(outside / "1.json")
    before = snapshot(outside)
    report = collect(repository, delete=True, grace=0, set_aside=True)
    assert len(report.removed) == 2
    assert snapshot(outside) == before


@pytest.mark.parametrize("folder", ["objects", "statements"])
def test_a_linked_folder_is_not_entered(
    repository: Repository, artifacts: list[Artifact], tmp_path: Path, folder: str
) -> None:
    """The folder itself, moved away and linked to: nothing behind the link is touched."""
    moved = tmp_path / "moved"
    (repository.root / folder).rename(moved)
    (repository.root / folder).symlink_to(moved)
    before = snapshot(moved)
    with pytest.raises(StorageError):
        collect(repository, delete=True, grace=0)
    assert snapshot(moved) == before
    assert artifacts


def test_a_folder_that_becomes_a_link_before_the_removal(
    repository: Repository,
    artifacts: list[Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exchanged between search and removal, with a hard link of the very file behind it."""
    orphan = put_payload(repository.blobs, repository.root, b"orphan")  # type: ignore[arg-type] # the local store
    run = gc.Removal.run
    away = tmp_path / "away"

    def exchange_and_run(self: gc.Removal, progress: object) -> None:
        orphan.parent.rename(away)
        orphan.parent.symlink_to(away)
        run(self, progress)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(gc.Removal, "run", exchange_and_run)
    collect(repository, delete=True, grace=0)
    assert (away / orphan.name).read_bytes() == b"orphan"
    assert artifacts
