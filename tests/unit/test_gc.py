"""gc: what nothing needs is found, removed after its grace, and on record; and the command."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealstore.audit.contents import prove_ledger
from sealstore.errors import (
    ArtifactNotFound,
    NoSigningKeyError,
    RepairWarning,
    RepositoryExchangedError,
    StorageError,
)
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.storage import mirror_writing
from sealstore.storage.blobs.contract import CommitOutcome, FileKind
from sealstore.storage.blobs.local_staging import LocalStagedBlob
from sealstore.upkeep import gc
from sealstore.upkeep.fsck import fsck
from sealstore.upkeep.gc import Candidate, Garbage, GcReport, collect
from tests.command_line import Site
from tests.sealstore_fixtures import (
    hmac_key,
    payload_path,
    put_payload,
    run_sql,
    snapshot,
    statement_path,
)

REAL_TIME = time.time
STAGING = ".staging-" + "0" * 32


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@pytest.fixture
def removed(repository: Repository) -> Artifact:
    """An artifact that was removed; its payload is still there."""
    artifact = repository.store("removed", "churn", "2026-10")
    repository.store("kept", "churn", "2026-11")
    repository.remove("churn", "2026-10")
    return artifact


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let gc take it to be so much later: ctime cannot be set."""
    monkeypatch.setattr(gc.time, "time", lambda: REAL_TIME() + seconds)  # type: ignore[attr-defined] # its module


def removed_paths(report: GcReport) -> set[str]:
    return {candidate.path for candidate in report.removed}


def payloads(repository: Repository) -> set[str]:
    return set(repository.blobs.sha256s())


# ── what is needed ───────────────────────────────────────────────────────────


@pytest.mark.invariant(3)
def test_removing_is_a_tombstone_first_and_the_bytes_go_at_gc(
    repository: Repository, removed: Artifact, site: Site
) -> None:
    """Removed: no load, the payload there; collected: the payload gone, the history telling it."""
    path = payload_path(repository, removed)
    with pytest.raises(ArtifactNotFound):
        repository.load("churn", "2026-10")
    assert path.exists()
    report = collect(repository, delete=True, grace=0)
    assert not path.exists()
    assert [(each.kind, each.path, each.size) for each in report.removed] == [
        (Garbage.PAYLOAD, str(path.relative_to(repository.root)), removed.size)
    ]
    [entry] = repository.history(limit=1)
    assert (entry.event, entry.artifact) == ("gc", None)
    assert entry.details == {
        "payloads": 1,
        "payload_bytes": removed.size,
        "staging": 0,
        "set_aside": 0,
        "bytes": removed.size,
    }
    assert repository.load("churn") == "kept"
    assert repository.store("again", "churn", "2026-10").revision == 2
    checked = fsck(site.settings)
    assert (checked.findings, checked.notes) == ([], [])


def test_nothing_is_removed_unless_it_is_asked_for(
    repository: Repository, removed: Artifact
) -> None:
    """Without ``delete`` what could go is told, and nothing changes, the history included."""
    before, size = snapshot(repository.root / "objects"), repository.state.head.size
    report = collect(repository, grace=0)
    assert [each.size for each in report.candidates] == [removed.size]
    assert report.removed == []
    assert snapshot(repository.root / "objects") == before
    assert repository.state.head.size == size


def test_where_there_is_nothing_to_remove_nothing_is_recorded(repository: Repository) -> None:
    """No file, no entry."""
    repository.store(1, "m", "t")
    size = repository.state.head.size
    assert collect(repository, delete=True, grace=0).candidates == []
    assert repository.state.head.size == size


@pytest.mark.parametrize("which", [0, 1])
def test_a_shared_payload_stays_until_the_last_artifact_has_left_it(
    repository: Repository, which: int
) -> None:
    """The same object under two tags is one payload; it goes with the second removal only."""
    tags = ["first", "second"]
    artifact, _ = [repository.store("same", "m", tag) for tag in tags]
    repository.remove("m", tags[which])
    assert collect(repository, delete=True, grace=0).removed == []
    assert repository.load("m", tags[1 - which]) == "same"
    repository.remove("m", tags[1 - which])
    collect(repository, delete=True, grace=0)
    assert not payload_path(repository, artifact).exists()


def test_a_payload_that_was_never_recorded_goes(repository: Repository) -> None:
    """What a store left that failed after its payload was there is removed."""
    orphan = put_payload(repository.blobs, repository.root, b"orphan")  # type: ignore[arg-type] # the local store
    report = collect(repository, delete=True, grace=0)
    assert removed_paths(report) == {str(orphan.relative_to(repository.root))}
    assert payloads(repository) == set()


def test_an_older_revision_keeps_its_payload(repository: Repository) -> None:
    """Every stored revision is needed, not only the newest."""
    for number in range(3):
        repository.store(number, "m", "t")
    collect(repository, delete=True, grace=0)
    assert [repository.load("m", "t", revision=number + 1) for number in range(3)] == [0, 1, 2]


@pytest.mark.invariant(2)
def test_a_statement_that_the_history_does_not_know_keeps_its_payload(
    repository: Repository, removed: Artifact
) -> None:
    """Where the catalogue is older than the mirror, the mirror may be all that is left."""
    newer = put_payload(repository.blobs, repository.root, b"newer")  # type: ignore[arg-type] # the local store
    path = statement_path(repository, removed).with_name("7.json")
    path.write_bytes(envelope_for(repository, newer.name))
    assert collect(repository, delete=True, grace=0).removed[0].size == removed.size
    assert newer.exists()
    aside = path.with_name("1.json.set-aside-0123456789abcdef")
    path.rename(aside)
    collect(repository, delete=True, grace=0)
    assert newer.exists()
    aside.unlink()
    collect(repository, delete=True, grace=0)
    assert not newer.exists()


def test_a_statement_in_a_removed_ones_place_keeps_its_payload(
    repository: Repository, removed: Artifact
) -> None:
    """Only the very statement that was removed gives its payload up."""
    newer = put_payload(repository.blobs, repository.root, b"newer")  # type: ignore[arg-type] # the local store
    path = statement_path(repository, removed).with_name("1.json.removed")
    path.write_bytes(envelope_for(repository, newer.name))
    collect(repository, delete=True, grace=0)
    assert newer.exists()
    assert not payload_path(repository, removed).exists()


def test_what_a_row_names_is_kept(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """Where history and statement name different payloads, neither goes; fsck tells."""
    from sealstore.repository import storing
    from sealstore.repository.artifact import entry_artifact

    def of_another(*arguments: object) -> object:
        import msgspec

        return msgspec.structs.replace(entry_artifact(*arguments), sha256="0" * 64)  # type: ignore[arg-type] # passed on

    with monkeypatch.context() as patch:
        patch.setattr(storing, "entry_artifact", of_another)
        repository.store("signed", "m", "t")
    collect(repository, delete=True, grace=0)
    assert repository.load("m") == "signed"
    [(section, finding)] = fsck(site.settings).findings
    assert (section, finding.code) == ("catalogue", "LEDGER_TAMPERED")


def test_a_payload_that_is_there_is_hashed_once(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No writer is kept waiting while a store hashes its payload again."""
    from sealstore.storage.blobs import local_staging
    from sealstore.storage.blobs.local_files import hash_file

    hashed = []

    def count(*arguments: object) -> object:
        hashed.append(arguments)
        return hash_file(*arguments)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(local_staging, "hash_file", count)
    repository.store("same", "m", "t")
    repository.store("same", "m", "t")
    assert len(hashed) == 1


def envelope_for(repository: Repository, sha256: str) -> bytes:
    """A genuine statement about a payload."""
    import msgspec

    from sealstore.signed.drafting import make_statement, seal_statement
    from sealstore.signed.statement import Digests

    statement = repository.get("churn").verified.statement
    predicate = msgspec.structs.replace(statement.predicate, sequence=900, revision=7)
    digests = Digests(sha256=sha256, blake3="0" * 64)
    signer = repository.keyring.signer(Role.STORE, repository.id)
    return seal_statement(make_statement(predicate, digests), signer)


# ── grace ────────────────────────────────────────────────────────────────────


def test_what_was_touched_within_the_grace_stays(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two weeks by default: an mtime that somebody set to long ago does not shorten them."""
    orphan = put_payload(repository.blobs, repository.root, b"orphan")  # type: ignore[arg-type] # the local store
    os.utime(orphan, (1, 1))
    report = collect(repository, delete=True)
    assert ([each.size for each in report.young], report.removed) == ([6], [])
    later(monkeypatch, 14 * 86_400 - 60)
    assert collect(repository, delete=True).removed == []
    later(monkeypatch, 14 * 86_400 + 60)
    assert len(collect(repository, delete=True).removed) == 1
    assert not orphan.exists()


def test_the_grace_begins_when_the_last_artifact_left(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payload of last year whose artifact was removed today stays for the grace."""
    artifact = repository.store("old", "m", "t")
    removal = datetime.now(UTC) + timedelta(days=100)
    text = removal.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    monkeypatch.setattr("sealstore.repository.environment.now", lambda: text)
    repository.remove("m", "t")
    later(monkeypatch, 100 * 86_400 + 13 * 86_400)
    assert collect(repository, delete=True).removed == []
    later(monkeypatch, 100 * 86_400 + 15 * 86_400)
    assert len(collect(repository, delete=True).removed) == 1
    assert not payload_path(repository, artifact).exists()


# ── leftovers ────────────────────────────────────────────────────────────────


@pytest.fixture
def leftovers(repository: Repository) -> list[Path]:
    """Staging files and files that were moved aside, among the payloads and in the mirror."""
    artifact = repository.store("kept", "m", "t")
    payload, statement = payload_path(repository, artifact), statement_path(repository, artifact)
    paths = [
        repository.root / "objects" / STAGING,
        statement.with_name(STAGING),
        payload.with_name(f"{payload.name}.set-aside-{'0' * 16}"),
        statement.with_name(f"1.json.set-aside-{'0' * 16}"),
    ]
    for path in paths:
        path.write_bytes(b"left")
    return paths


def test_staging_files_go_and_what_was_set_aside_only_if_asked(
    repository: Repository, leftovers: list[Path]
) -> None:
    """Old leftovers of stores go; wrong bytes that were kept as evidence stay without the flag."""
    assert collect(repository, delete=True).removed == []
    collect(repository, delete=True, grace=0)
    assert [path.exists() for path in leftovers] == [False, False, True, True]
    [entry] = repository.history(limit=1)
    assert (entry.details["staging"], entry.details["bytes"]) == (2, 8)
    collect(repository, delete=True, grace=0, set_aside=True)
    assert [path.exists() for path in leftovers] == [False] * 4
    assert repository.history(limit=1)[0].details["set_aside"] == 2
    assert repository.load("m") == "kept"


def test_what_was_set_aside_and_is_a_folder_stays(
    repository: Repository, leftovers: list[Path]
) -> None:
    """Files and links are removed, and no folder with what somebody put into it."""
    leftovers[2].unlink()
    leftovers[2].mkdir()
    (leftovers[2] / "inside").touch()
    leftovers[3].unlink()
    leftovers[3].symlink_to(leftovers[2])
    collect(repository, delete=True, grace=0, set_aside=True)
    assert (leftovers[2] / "inside").exists()
    assert not os.path.lexists(leftovers[3])


def test_mirrors_of_removed_artifacts_are_put_away(
    repository: Repository, removed: Artifact
) -> None:
    """A removal renames the mirrored statement; gc does where that failed. Its bytes stay."""
    path = statement_path(repository, removed)
    away = path.with_name("1.json.removed")
    data = away.read_bytes()
    assert not path.exists()
    away.rename(path)
    assert collect(repository, grace=0).put_away == 0
    assert path.exists()
    assert collect(repository, delete=True, grace=0).put_away == 1
    assert (path.exists(), away.read_bytes()) == (False, data)
    # Interrupted between the link and the removal of the old name.
    os.link(away, path)
    assert collect(repository, delete=True, grace=0).put_away == 1
    assert (path.exists(), away.read_bytes()) == (False, data)


def test_missing_mirrors_are_written(repository: Repository) -> None:
    """A store that was killed after its commit has none; then they are those of the rows."""
    artifacts = [repository.store(number, "churn", "v1") for number in range(3)]
    paths = [statement_path(repository, artifact) for artifact in artifacts]
    written = [path.read_bytes() for path in paths]
    for path in paths[1:]:
        path.unlink()
    report = collect(repository, grace=0)
    assert (len(report.missing_mirrors), report.mirrored) == (2, 0)
    assert not paths[1].exists()
    assert collect(repository, delete=True, grace=0).mirrored == 2
    assert [path.read_bytes() for path in paths] == written
    assert collect(repository, delete=True, grace=0).mirrored == 0
    assert len(repository.history()) == 4


def test_what_is_removed_meanwhile_is_not_mirrored(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what has no row any more: fsck tells of that."""
    for tag in ("removed", "no row"):
        artifact = repository.store(tag, "churn", tag.replace(" ", "-"))
        statement_path(repository, artifact).unlink()
    write = gc.write_missing_mirrors

    def remove_first(*arguments: Any) -> None:
        repository.remove("churn", "removed")
        run_sql(repository, "DELETE FROM artifact WHERE tag = 'no-row'")
        write(*arguments)

    monkeypatch.setattr(gc, "write_missing_mirrors", remove_first)
    report = collect(repository, delete=True, grace=0)
    assert (len(report.missing_mirrors), report.mirrored) == (2, 0)
    assert list((repository.root / "statements").rglob("*.json")) == []


def test_a_store_whose_mirror_is_written_for_it_says_nothing(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is between its commit and its mirror when gc finds none."""
    write_mirror = mirror_writing.write_mirror
    mirrored: list[int] = []

    def collect_first(*arguments: Any, **options: Any) -> bool:
        if not mirrored:
            mirrored.append(0)
            mirrored[0] = collect(repository, delete=True, grace=0).mirrored
        return write_mirror(*arguments, **options)

    monkeypatch.setattr(mirror_writing, "write_mirror", collect_first)
    artifact = repository.store("stored", "churn", "2026-11")
    assert mirrored == [1]
    assert statement_path(repository, artifact).exists()


def test_a_mirror_that_cannot_be_put_away_is_a_warning(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact is removed all the same."""
    repository.store(1, "m", "t")
    repository.store(2, "m", "t")
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "broken")))
    with pytest.warns(RepairWarning, match=r"^m:t@2: The mirrored statement .*cannot be put away"):
        repository.remove("m", "t", revision=2)
    with pytest.raises(ArtifactNotFound):
        repository.load("m", "t", revision=2)


def test_another_file_in_the_tombstones_place_is_not_replaced(
    repository: Repository, removed: Artifact
) -> None:
    """A mirrored statement is never overwritten, and none is lost."""
    again = repository.store("again", "churn", "2026-10")
    path = statement_path(repository, again)
    away = path.with_name("2.json.removed")
    away.write_bytes(b"planted")
    repository.remove("churn", "2026-10")
    assert away.read_bytes() == b"planted"
    assert path.exists()
    assert removed.revision == 1


# ── together with others ─────────────────────────────────────────────────────


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What happens between gc's search and its removal: functions to be called then."""
    actions: list[object] = []
    run = gc.Removal.run

    def act_and_run(self: gc.Removal, progress: object) -> None:
        for action in actions:
            action()  # type: ignore[operator] # they are functions
        run(self, progress)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(gc.Removal, "run", act_and_run)
    return actions


def test_what_is_stored_since_the_proof_is_kept(
    repository: Repository, removed: Artifact, meanwhile: list[object]
) -> None:
    """An artifact that came to need the payload meanwhile loads afterwards."""
    meanwhile.append(lambda: repository.store("removed", "new", "1"))
    report = collect(repository, delete=True, grace=0)
    assert (len(report.candidates), report.removed) == (1, [])
    assert repository.load("new") == "removed"
    assert payload_path(repository, removed).exists()


def test_a_file_that_is_another_one_meanwhile_stays(
    repository: Repository, removed: Artifact, meanwhile: list[object]
) -> None:
    """Only the very file that was found is removed."""
    path = payload_path(repository, removed)

    def replace_it() -> None:
        path.unlink()
        path.write_bytes(b"another")

    meanwhile.append(replace_it)
    assert collect(repository, delete=True, grace=0).removed == []
    assert path.read_bytes() == b"another"


def test_a_payload_that_goes_between_its_check_and_its_record_comes_back(
    repository: Repository, removed: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that found the payload there, before gc took it, stores a whole artifact."""
    from sealstore.repository import storing

    record = storing._record

    def collect_first(*arguments: object) -> object:
        assert len(collect(repository, delete=True, grace=0).removed) == 1
        return record(*arguments)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(storing, "_record", collect_first)
    repository.store("removed", "new", "1")
    assert repository.load("new") == "removed"
    assert payload_path(repository, removed).exists()


def test_a_new_payload_that_goes_before_its_record_comes_back(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store whose payload was collected because the grace is shorter than it took succeeds."""
    from sealstore.repository import storing

    record = storing._record

    def collect_first(*arguments: object) -> object:
        assert len(collect(repository, delete=True, grace=0).removed) == 1
        return record(*arguments)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(storing, "_record", collect_first)
    artifact = repository.store("new", "new", "1")
    assert repository.load("new") == "new"
    assert payload_path(repository, artifact).stat().st_mode & 0o777 == 0o440


def test_a_mirror_that_is_collected_while_it_is_staged_is_staged_again(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any grace, gc takes it for the rest of a store that died."""
    write_new = mirror_writing._stage
    collected: list[Candidate] = []

    def write_and_collect(folder: int, data: bytes) -> str:
        staged = write_new(folder, data)
        if not collected:
            monkeypatch.setattr(mirror_writing, "_stage", write_new)
            collected.extend(collect(repository, delete=True, grace=0).removed)
        return staged

    monkeypatch.setattr(mirror_writing, "_stage", write_and_collect)
    artifact = repository.store("stored", "churn", "2026-11")
    assert [each.kind for each in collected] == [Garbage.STAGING]
    assert statement_path(repository, artifact).exists()


@pytest.mark.parametrize("times", [1, 9])
def test_a_mirror_is_staged_as_often_as_it_is_collected(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """If that ends, within reason; otherwise it is a warning."""
    take_away_what_is_staged(monkeypatch, times)
    artifact = repository.store("stored", "churn", "2026-11")
    assert statement_path(repository, artifact).exists()


def test_a_mirror_that_is_always_collected_is_a_warning(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact is stored all the same, and it ends."""
    take_away_what_is_staged(monkeypatch, 1_000)
    with pytest.warns(RepairWarning, match="cannot be mirrored"):
        repository.store("stored", "churn", "2026-11")
    assert repository.load("churn") == "stored"


def take_away_what_is_staged(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    write_new = mirror_writing._stage
    taken: list[str] = []

    def write_and_take_away(folder: int, data: bytes) -> str:
        taken.append(write_new(folder, data))
        if len(taken) <= times:
            os.unlink(taken[-1], dir_fd=folder)
        return taken[-1]

    monkeypatch.setattr(mirror_writing, "_stage", write_and_take_away)


def test_a_payload_that_is_collected_while_it_is_staged_is_stored(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where payloads are staged under names, and gc has no grace."""
    monkeypatch.delattr(os, "O_TMPFILE")
    commit = LocalStagedBlob.commit
    collected: list[Candidate] = []

    def collect_and_commit(staged: LocalStagedBlob) -> CommitOutcome:
        staged.finish()
        collected.extend(collect(repository, delete=True, grace=0).removed)
        return commit(staged)

    monkeypatch.setattr(LocalStagedBlob, "commit", collect_and_commit)
    repository.store("stored", "churn", "2026-11")
    assert [each.kind for each in collected] == [Garbage.STAGING]
    assert repository.load("churn") == "stored"
    report = fsck(replace(repository.settings, path=repository.root), keyring=repository.keyring)
    assert (report.findings, report.notes) == ([], [])


def test_removals_are_made_a_few_at_a_time(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each transaction is short, and has its own entry; all is removed in the end."""
    for number in range(7):
        put_payload(repository.blobs, repository.root, b"%d" % number)  # type: ignore[arg-type] # the local store
    monkeypatch.setattr(gc, "_FILES_A_TRANSACTION", 3)
    heard = []
    report = collect(repository, delete=True, grace=0, progress=lambda *phase: heard.append(phase))
    assert len(report.removed) == 7
    counts = [entry.details["payloads"] for entry in repository.history(limit=3)]
    assert counts == [1, 3, 3]
    assert ("removing", 0, 7) in heard
    assert ("removing", 7, 7) in heard
    # However slow the disk, each transaction removes a file.
    monkeypatch.setattr(gc, "_SECONDS_A_TRANSACTION", -1.0)
    for number in range(2):
        put_payload(repository.blobs, repository.root, b"%d" % number)  # type: ignore[arg-type] # the local store
    assert len(collect(repository, delete=True, grace=0).removed) == 2
    assert [entry.details["payloads"] for entry in repository.history(limit=2)] == [1, 1]


def test_what_was_removed_before_a_failure_is_on_record(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be removed ends it; those that were are in the history."""
    for number in range(3):
        put_payload(repository.blobs, repository.root, b"%d" % number)  # type: ignore[arg-type] # the local store
    unlink, calls = os.unlink, []

    def fail_at_second(name: str, **options: int) -> None:
        calls.append(name)
        if len(calls) == 2:
            raise OSError(30, "Read-only file system")
        unlink(name, **options)

    monkeypatch.setattr(os, "unlink", fail_at_second)
    with pytest.raises(StorageError):
        collect(repository, delete=True, grace=0)
    assert repository.history(limit=1)[0].details["payloads"] == 1
    assert len(payloads(repository)) == 2


def test_a_repository_that_was_rebuilt_meanwhile_is_left_alone(
    repository: Repository, removed: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was proven of another epoch is not acted upon."""

    def of_another_epoch(*arguments: object, **options: object) -> object:
        import msgspec

        proof = prove_ledger(*arguments, **options)  # type: ignore[arg-type] # passed on
        head = msgspec.structs.replace(proof.state.head, epoch=7)
        return replace(proof, state=replace(proof.state, head=head))

    monkeypatch.setattr(gc, "prove_ledger", of_another_epoch)
    with pytest.raises(RepositoryExchangedError):
        collect(repository, delete=True, grace=0)
    assert payload_path(repository, removed).exists()


# ── who may ──────────────────────────────────────────────────────────────────


def test_without_a_key_that_may_store_nothing_is_removed(
    repository: Repository, removed: Artifact
) -> None:
    """Removing puts it on record, and so needs a key that may; looking does not."""
    signing = hmac_key()
    retired = replace(signing, state=State.RETIRED)
    with Repository.open(repository.root, keyring=Keyring.of([signing])) as opened:
        opened.parts.keys._keyring = Keyring.of([retired])  # type: ignore[attr-defined] # given
        with pytest.raises(NoSigningKeyError):
            collect(opened, delete=True, grace=0)
        assert len(collect(opened, grace=0).candidates) == 1
    assert payload_path(repository, removed).exists()


# ── the command ──────────────────────────────────────────────────────────────


def test_the_command_shows_and_removes(
    repository: Repository, removed: Artifact, site: Site
) -> None:
    """A dry run by default; sizes and places; --delete acts; the actor is on record."""
    path = str(payload_path(repository, removed).relative_to(repository.root))
    said = site.run("gc").out
    assert "can be removed: 0 files" in said
    assert "not yet: 1 file" in said
    said = site.run("gc", "--grace", "0").out
    assert f"payload: {path}, {removed.size} B, not needed for 0 days and 0 hours" in said
    assert "can be removed: 1 file" in said
    assert payload_path(repository, removed).exists()
    document = site.run("gc", "--grace", "0", "--json").json
    assert (document["ok"], document["candidateBytes"]) == (True, removed.size)
    assert document["candidates"] == [{"kind": "payload", "path": path, "size": removed.size}]
    said = site.run("gc", "--grace", "0", "--delete", "--actor", "job 7").out
    assert "removed: 1 file" in said
    assert not payload_path(repository, removed).exists()
    [entry] = repository.history(limit=1)
    assert (entry.event, entry.by.actor) == ("gc", "job 7")
    assert "gc" in site.run("history").out


def test_the_command_lists_a_few(repository: Repository, site: Site) -> None:
    """Many files are counted, and shown in JSON; mirrors that are put away are told."""
    for number in range(25):
        put_payload(repository.blobs, repository.root, b"%d" % number)  # type: ignore[arg-type] # the local store
    artifact = repository.store(1, "m", "t")
    repository.remove("m", "t")
    path = statement_path(repository, artifact)
    path.with_name("1.json.removed").rename(path)
    assert "and 6 more" in site.run("gc", "--grace", "0s").out
    assert len(site.run("gc", "--grace", "0", "--json").json["candidates"]) == 26
    assert "put away: 1 mirrored statement" in site.run("gc", "--grace", "0", "--delete").out


@pytest.mark.parametrize("grace", ["-1", "two weeks", "7w", ""])
def test_an_impossible_grace_is_a_usage_error(site: Site, grace: str) -> None:
    """A grace that cannot be meant exits with 2."""
    assert site.run("gc", "--grace", grace, code=2).out == ""


@pytest.mark.parametrize("grace", ["7d", "36h", "90m", "1", "0s"])
def test_a_grace_is_written_as_a_duration(site: Site, grace: str) -> None:
    """Days, hours, minutes or seconds."""
    site.run("gc", "--grace", grace)


def test_damage_ends_it_with_a_finding(
    repository: Repository, removed: Artifact, site: Site
) -> None:
    """Where anything is wrong nothing is removed; exit code 1, with what is wrong."""
    run_sql(repository, "DELETE FROM artifact")
    said = site.run("gc", "--grace", "0", "--delete", code=1).out
    assert "REFUSED churn:2026-11@1: The signed head vouches for it" in said
    assert "nothing was removed" in said
    document = site.run("gc", "--grace", "0", "--delete", "--json", code=1).json
    assert (document["ok"], document["candidates"]) == (False, [])
    assert payload_path(repository, removed).exists()


def test_files_are_told_apart_by_their_places(repository: Repository) -> None:
    """The kinds of files, as gc and fsck see them."""
    artifact = repository.store(1, "m", "t")
    (repository.root / "objects" / "lost+found").mkdir()
    kinds = {file.found.name: file.kind for file in repository.blobs.files()}
    assert kinds == {
        artifact.digests.sha256: FileKind.PAYLOAD,
        artifact.digests.sha256[:2]: FileKind.FOLDER,
    }
