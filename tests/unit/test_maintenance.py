"""Maintenance below the command line: walking, verifying, signing again, making a repository."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.admin.creation import initialise
from sealstore.admin.key_changes import consequences, key_named, revoke_key, rotate_key
from sealstore.admin.keyring_file import new_material
from sealstore.admin.signatures import resign_all
from sealstore.audit.contents import walk_rows
from sealstore.audit.findings import Finding, claimed_ref
from sealstore.errors import (
    CatalogueError,
    CatalogueTamperedError,
    ConfigurationError,
    KeyringError,
    StorageError,
    UnknownKeyError,
)
from sealstore.keys.keyring import Keyring, State
from sealstore.repository.facade import Repository
from sealstore.storage import creation
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.catalogue.listing import ListFilter
from sealstore.upkeep.verify import VerifyReport, verify_all
from tests.command_line import Site
from tests.sealstore_fixtures import ed25519_key, hmac_key, run_sql


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "repo", tmp_path / "keys" / "keyring.json")


@pytest.fixture
def stored(repository: Repository) -> Repository:
    for tag in "12345":
        repository.store([tag], "x", tag)
    return repository


# ── walking ──────────────────────────────────────────────────────────────────


def test_a_walk_reads_page_by_page(stored: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row comes once, whatever the size of a page; a limit and a start hold."""
    for page in (1, 2, 5, 6):
        monkeypatch.setattr(limits, "MAX_LIST_ROWS", page)
        assert [row.tag for row in walk_rows(stored)] == ["5", "4", "3", "2", "1"]
        assert [row.tag for row in walk_rows(stored, limit=3)] == ["5", "4", "3"]
        assert [row.tag for row in walk_rows(stored, before_sequence=4)] == ["2", "1"]
        assert [row.tag for row in walk_rows(stored, ListFilter(tag="3"))] == ["3"]


@pytest.mark.parametrize("sequence", ["zz", b"\xff", 2.5])
def test_a_walk_ends_where_sequences_are_no_numbers(
    sequence: object, stored: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted sequence can neither make a walk endless nor let it end as if it were complete."""
    run_sql(stored, "UPDATE artifact SET sequence = ? WHERE tag = '3'", sequence)
    monkeypatch.setattr(limits, "MAX_LIST_ROWS", 1)
    with pytest.raises(CatalogueTamperedError):
        list(walk_rows(stored))
    report = verify_all(stored)
    assert "CATALOGUE_TAMPERED" in {finding.code for finding in report.findings}


def test_a_walk_ends_where_sequences_do_not_descend(
    stored: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that answers the same page for ever is noticed."""
    monkeypatch.setattr(limits, "MAX_LIST_ROWS", 2)
    rows = list(walk_rows(stored))[:2]
    monkeypatch.setattr("sealstore.audit.contents.list_rows", lambda *_, **__: rows)
    with pytest.raises(CatalogueTamperedError):
        list(itertools.islice(walk_rows(stored), 100))


def test_claims_are_cut(stored: Repository) -> None:
    """However long a row's claim is, it is shown by its beginning."""
    run_sql(stored, "UPDATE artifact SET name = ? WHERE tag = '5'", "n" * 1_000_000)
    row = next(walk_rows(stored))
    assert len(claimed_ref(row)) < 3 * 130


# ── verifying ────────────────────────────────────────────────────────────────


def test_each_distinct_payload_is_hashed_once(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What many artifacts share is read once, on several threads."""
    for tag in range(30):
        repository.store(["shared"], "x", str(tag))
        repository.store([tag], "y", str(tag))
    hashed, threads = [], set()
    real = LocalBlobStore.check

    def check(self: LocalBlobStore, digests: Any, size: int) -> None:
        hashed.append(digests.sha256)
        threads.add(threading.current_thread().name)
        real(self, digests, size)

    monkeypatch.setattr(LocalBlobStore, "check", check)
    report = verify_all(repository, threads=3)
    assert (report.artifacts, report.payloads, len(hashed), len(set(hashed))) == (60, 31, 31, 31)
    assert all(name.startswith("sealstore-verify") for name in threads)
    assert report.megabytes_per_second > 0


def test_progress_only_grows_and_ends_at_the_total(
    stored: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both phases are reported, up to their ends."""
    monkeypatch.setattr("sealstore.upkeep.verify.REPORT_EVERY", 1)
    heard: list[tuple[str, int, int]] = []
    report = verify_all(stored, progress=lambda *step: heard.append(step), threads=2)
    statements = [done for what, done, _ in heard if what == "statements"]
    payloads = [(done, total) for what, done, total in heard if what == "payloads"]
    assert statements == [0, 1, 2, 3, 4, 5]
    assert payloads == sorted(payloads)
    assert payloads[-1] == (report.hashed_bytes, report.hashed_bytes)


def test_a_bad_sector_hides_no_other_finding(
    stored: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payload that the disk cannot read is a finding, and the others are verified."""
    bad = stored.get("x", "3").digests
    real = os.preadv

    def preadv(descriptor: int, *arguments: Any) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == bad.sha256:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, *arguments)

    monkeypatch.setattr(os, "preadv", preadv)
    report = verify_all(stored)
    assert [(finding.artifact, finding.code) for finding in report.findings] == [
        ("x:3@1", StorageError.code)
    ]
    assert report.payloads == 5


def test_a_keyring_that_breaks_meanwhile_is_no_finding(stored: Repository, tmp_path: Path) -> None:
    """Without keys nothing can be said about an artifact: the check ends with the error."""
    site = Site(stored.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(hmac_key())
    with Repository.open(settings=site.settings) as opened:
        site.keyring.chmod(0o666)
        with pytest.raises(KeyringError):
            verify_all(opened)


def test_a_database_that_fails_is_no_finding(
    stored: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalogue that cannot be changed ends the signing with the error, not with findings."""
    newer = Keyring.of([hmac_key(state=State.RETIRED), hmac_key(2)])

    def fail(*_: object, **__: object) -> None:
        raise CatalogueError("The catalogue cannot be changed: disk I/O error.")

    with Repository.open(stored.root, keyring=newer) as opened:
        monkeypatch.setattr(Repository, "resign", fail)
        with pytest.raises(CatalogueError):
            resign_all(opened)


def test_signing_again_reports_progress(stored: Repository) -> None:
    """The phase `signatures` counts every artifact, refused ones too."""
    run_sql(stored, "UPDATE artifact SET actor = 'eve' WHERE tag = '1'")
    newer = Keyring.of([hmac_key(state=State.RETIRED), hmac_key(2)])
    heard: list[tuple[str, int, int]] = []
    with Repository.open(stored.root, keyring=newer) as opened:
        report = resign_all(opened, progress=lambda *step: heard.append(step))
    assert heard == [("signatures", done, 5) for done in range(6)]
    assert (report.signed, len(report.findings)) == (4, 1)


def test_a_finding_shows_the_path_in_its_hint() -> None:
    """What to do names the file that it is about."""
    error = StorageError("Full.", path="/x", hint="look at {path}.")
    assert Finding.of(error, "a:1@1") == Finding("a:1@1", "STORAGE", "Full.", "look at /x.")


def test_a_report_of_nothing_has_no_throughput() -> None:
    """Nothing hashed in no time is no division by zero."""
    assert VerifyReport().to_json()["megabytesPerSecond"] == 0.0


# ── making a repository ──────────────────────────────────────────────────────


@pytest.mark.invariant(3)
def test_a_key_that_signed_nothing_is_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository that could not be made leaves no key of its own in the keyring."""
    site.set_keys(hmac_key(state=State.RETIRED))
    before = site.keyring.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise StorageError("No space left on device.")

    monkeypatch.setattr(creation, "place_settings", full)
    with pytest.raises(StorageError):
        initialise(site.settings)
    assert site.keyring.read_bytes() == before
    monkeypatch.undo()
    created = initialise(site.settings)
    assert created.key_is_new


@pytest.mark.invariant(3)
def test_keys_that_were_there_stay_when_nothing_is_made(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure takes back only the key that was made for the repository."""
    site.set_keys(hmac_key())
    before = site.keyring.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise StorageError("No space left on device.")

    monkeypatch.setattr(creation, "place_settings", full)
    with pytest.raises(StorageError):
        initialise(site.settings)
    assert site.keyring.read_bytes() == before


@pytest.mark.invariant(3)
def test_a_key_that_signed_a_repository_is_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the settings were written before something failed, their key stays."""

    def fail(*_: object, **__: object) -> None:
        raise CatalogueError("The catalogue cannot be read.")

    monkeypatch.setattr(Repository, "open", fail)
    with pytest.raises(CatalogueError):
        initialise(site.settings)
    monkeypatch.undo()
    assert len(site.keys_kept()) == 1
    Repository.open(settings=site.settings).close()


@pytest.mark.invariant(3)
def test_the_key_is_there_before_the_repository(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any moment, no repository is left whose key was never written."""
    seen: list[tuple[bool, bool]] = []
    real = creation.place_settings

    def place_settings(*arguments: Any) -> None:
        seen.append((site.keyring.exists(), (site.repository / "repository.json").exists()))
        real(*arguments)

    monkeypatch.setattr(creation, "place_settings", place_settings)
    created = initialise(site.settings)
    assert seen == [(True, False)]
    assert created.key.key_id in {key.key_id for key in site.keys_kept()}


def test_a_keyring_that_cannot_be_written_leaves_no_repository(site: Site) -> None:
    """Without a place for its key no repository is made."""
    (site.keyring.parent / "keyring.json.lock").mkdir(parents=True)
    with pytest.raises(StorageError):
        initialise(site.settings)
    assert list(site.repository.iterdir()) == []


@pytest.mark.invariant(3)
def test_a_key_that_cannot_be_taken_back_hides_no_error(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told is why the repository could not be made."""

    def full(*_: object, **__: object) -> None:
        (site.keyring.parent / "keyring.json.lock").unlink()
        (site.keyring.parent / "keyring.json.lock").mkdir()
        raise CatalogueError("The catalogue cannot be changed: disk full.")

    monkeypatch.setattr(Repository, "create", full)
    with pytest.raises(CatalogueError, match="disk full"):
        initialise(site.settings)


# ── keys ─────────────────────────────────────────────────────────────────────


def test_there_is_no_algorithm_none() -> None:
    """Keys are made of two algorithms; a public part alone is none of them."""
    for algorithm in ("none", "ed25519-public", ""):
        with pytest.raises(ConfigurationError):
            new_material(algorithm)


def test_a_beginning_that_two_ids_share_names_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of two keys is meant is never guessed."""
    keys = Keyring.of([hmac_key(1), hmac_key(2)])
    assert key_named(keys, hmac_key(1).key_id.upper()).key_id == hmac_key(1).key_id
    monkeypatch.setattr("sealstore.admin.key_changes._MIN_PREFIX_DIGITS", 0)
    with pytest.raises(UnknownKeyError, match="More than one"):
        key_named(keys, "")


@pytest.mark.invariant(3)
def test_a_crash_while_rotating_leaves_a_repository_that_opens(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the repository has the new key's signatures, the old key is active, too."""
    initialise(site.settings)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("sealstore.admin.key_changes._move_signatures", die)
        with pytest.raises(Killed):
            rotate_key(site.settings)
    assert [key.state for key in site.keys_kept()] == [State.ACTIVE, State.ACTIVE]
    with Repository.open(settings=site.settings) as repository:
        assert repository.store(1, "m", "a").key_id == list(site.keys_kept())[-1].key_id


@pytest.mark.invariant(3)
def test_a_crash_while_revoking_leaves_a_repository_that_opens(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings are signed again first: whatever comes after, the repository opens."""
    site.set_keys(hmac_key(), ed25519_key(2))
    initialise(site.settings)
    site.set_keys(hmac_key(3), ed25519_key(2))

    class Killed(BaseException):
        pass

    def die(source: str, target: str, **options: Any) -> None:
        if target == site.keyring.name:
            raise Killed
        rename(source, target, **options)

    rename = os.rename
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", die)
        with pytest.raises(Killed):
            revoke_key(site.settings, ed25519_key(2).key_id)
    assert [key.state for key in site.keys_kept()] == [State.ACTIVE, State.ACTIVE]
    with Repository.open(settings=site.settings):
        assert not consequences(site.settings, ed25519_key(2).key_id).signs_settings
