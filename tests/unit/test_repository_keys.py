"""Keys over a repository's life: rotation, retiring, revoking, signing again, verify-only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sealstore import limits
from sealstore.errors import (
    ArtifactNotFound,
    CatalogueTamperedError,
    InvalidNameError,
    NoSigningKeyError,
    RepairWarning,
    RevokedKeyError,
    SignatureInvalidError,
    UnknownKeyError,
)
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.keys.writing import public_keyring, write_keyring_file
from sealstore.names import request
from sealstore.repository.facade import Repository
from sealstore.signed.envelope import read_unverified
from tests.sealstore_fixtures import (
    access_key,
    ed25519_key,
    envelope_of,
    hmac_key,
    roles,
    rotate,
    run_sql,
    snapshot,
    statement_path,
    write_private,
)

OLD, NEW = hmac_key(1), ed25519_key(2)
RETIRED = replace(OLD, state=State.RETIRED)
REVOKED = replace(OLD, state=State.REVOKED)

Reopen = Callable[..., Repository]


def test_after_a_rotation_old_artifacts_load_and_new_ones_are_signed_with_the_new_key(
    repository: Repository, reopen: Reopen
) -> None:
    """Sign with the newest key, verify with all that are not revoked."""
    assert repository.store("old", "m", "a").key_id == OLD.key_id
    rotate(repository, OLD, NEW)
    rotated = reopen(RETIRED, NEW)
    assert rotated.load("m") == "old"
    assert rotated.store("new", "m", "a").key_id == NEW.key_id
    assert rotated.load("m", "a", revision=1) == "old"
    assert rotated.load("m", "a") == "new"
    with pytest.raises(UnknownKeyError):
        repository.load("m", "a")


@pytest.mark.invariant(4)
def test_what_a_revoked_key_signed_is_refused_and_the_rest_loads(
    repository: Repository, tmp_path: Path
) -> None:
    """Its artifacts and no others; the settings, which it signed too, are refused as well."""
    repository.store("old", "m", "a")
    write_keyring_file(tmp_path / "ring.json", Keyring.of([RETIRED, NEW]))
    with Repository.create(tmp_path / "r", keyring=Keyring.of([NEW])) as other:
        other.store("new", "m", "a")
    with Repository.open(tmp_path / "r", keyring=Keyring.of([REVOKED, NEW])) as opened:
        assert opened.load("m") == "new"
    with pytest.raises(RevokedKeyError):
        Repository.open(repository.root, keyring=Keyring.of([REVOKED, NEW]))


@pytest.mark.invariant(4)
def test_a_worker_that_runs_learns_of_a_revoked_key_at_its_next_load(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keyring file is looked at by every operation."""
    path = tmp_path / "keys" / "ring.json"
    write_keyring_file(path, Keyring.of([OLD, NEW]))
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(path))
    stored = repository.store("old", "m", "a")
    rotate(repository, OLD, NEW)
    with Repository.open(repository.root) as worker:
        newer = worker.store("new", "m", "b")
        assert (worker.load("m", "a"), newer.key_id) == ("old", NEW.key_id)
        write_keyring_file(path, Keyring.of([REVOKED, NEW]))
        for read in (worker.load, worker.get, worker.verify, worker.read_payload):
            with pytest.raises(RevokedKeyError, match="m:a"):
                read("m", "a")
        page = worker.list()
        assert [artifact.tag for artifact in page.artifacts] == ["b"]
        assert [refused.row.sequence for refused in page.refused] == [stored.sequence]
        assert isinstance(page.refused[0].error, RevokedKeyError)
        assert worker.load("m", "b") == "new"
        path.unlink()
        with pytest.raises(Exception, match="no key file"):
            worker.load("m", "b")


@pytest.mark.invariant(4)
def test_a_mounted_secret_signs_and_a_revocation_in_the_keyring_wins_over_it(
    repository_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MODEL_REPO_HMAC_KEY_FILE is enough for a container, and no way around a revocation."""
    assert isinstance(OLD.material, HmacSha256)
    secret = write_private(tmp_path / "secret", OLD.material.to_bytes().hex())
    monkeypatch.setenv("MODEL_REPO_HMAC_KEY_FILE", str(secret))
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(tmp_path / "ring.json"))
    with Repository.create(tmp_path / "r") as container:
        assert container.store("x", "m", "a").key_id == OLD.key_id
        assert container.load("m") == "x"
        write_keyring_file(tmp_path / "ring.json", Keyring.of([REVOKED]))
        with pytest.raises(RevokedKeyError):
            container.load("m")
        with pytest.raises(NoSigningKeyError):
            container.store("y", "m", "a")
    with pytest.raises(RevokedKeyError):
        Repository.open(repository_template)


def test_a_verify_only_keyring_loads_and_cannot_store(tmp_path: Path) -> None:
    """Loaders need no secret."""
    loader = access_key()
    known = Keyring.of([NEW, *public_keyring(Keyring.of([loader]))])
    with Repository.create(tmp_path / "r", keyring=known) as storing:
        storing.store("x", "m", "a")
    keys = Keyring.of([*public_keyring(Keyring.of([NEW])), loader])
    with Repository.open(tmp_path / "r", keyring=keys) as loading:
        assert loading.load("m") == "x"
        before = snapshot(tmp_path / "r")
        for change in (
            lambda: loading.store("y", "m", "a"),
            lambda: loading.remove("m", "a"),
            lambda: loading.resign(request("m", "a")),
        ):
            with pytest.raises(NoSigningKeyError):
                change()
        assert snapshot(tmp_path / "r") == before


# ── signing again ─────────────────────────────────────────────────────────────


@pytest.mark.invariant(5)
def test_without_a_key_to_record_with_nothing_is_loaded(tmp_path: Path) -> None:
    """Public parts alone verify; a load must be put on record, too."""
    with Repository.create(tmp_path / "r", keyring=Keyring.of([NEW])) as storing:
        storing.store("x", "m", "a")
    with Repository.open(tmp_path / "r", keyring=public_keyring(Keyring.of([NEW]))) as looking:
        assert looking.get("m").tag == "a"
        with pytest.raises(NoSigningKeyError, match="access"):
            looking.load("m")


def test_signing_again_changes_the_signature_and_nothing_else(
    repository: Repository, reopen: Reopen
) -> None:
    """The statement's bytes, its identity and the payload stay; key, mirror and history follow."""
    stored = repository.store("x", "m", "a", metadata={"a": 1})
    before = read_unverified(envelope_of(repository, stored))
    payloads = snapshot(repository.root / "objects")
    rotate(repository, OLD, NEW)
    rotated = reopen(RETIRED, NEW)
    signed = rotated.resign(stored.ref, actor="rotation")
    assert signed.key_id == NEW.key_id
    assert signed.verified.digest == stored.verified.digest
    assert signed.verified.statement == stored.verified.statement
    after = read_unverified(envelope_of(repository, stored))
    assert after.payload == before.payload
    assert after.key_id == NEW.key_id
    mirrored = statement_path(repository, stored)
    assert mirrored.read_bytes() == envelope_of(repository, stored) + b"\n"
    assert list(mirrored.parent.iterdir()) == [mirrored]
    assert snapshot(repository.root / "objects") == payloads
    [entry] = rotated.history("m", limit=1)
    assert (entry.event, entry.by.actor) == ("resign", "rotation")
    assert entry.artifact is not None
    assert entry.artifact.key_id == NEW.key_id
    assert entry.details == {"old_key": OLD.key_id}
    assert rotated.load("m", "a") == "x"


def test_after_signing_again_the_old_key_can_be_revoked(
    repository: Repository, reopen: Reopen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was signed again loads on; what was not is refused."""
    path = tmp_path / "keys" / "ring.json"
    write_keyring_file(path, Keyring.of([RETIRED, NEW]))
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(path))
    first, _ = repository.store("1", "m", "a"), repository.store("2", "m", "b")
    rotate(repository, OLD, NEW)
    with Repository.open(repository.root) as worker:
        worker.resign(first.ref)
        write_keyring_file(path, Keyring.of([REVOKED, NEW]))
        assert worker.load("m", "a") == "1"
        with pytest.raises(RevokedKeyError):
            worker.load("m", "b")
        with pytest.raises(RevokedKeyError):
            worker.resign(request("m", "b"))


def test_signing_again_with_the_same_key_does_nothing(repository: Repository) -> None:
    """Running it twice is running it once."""
    stored = repository.store("x", "m", "a")
    before = snapshot(repository.root)
    assert repository.resign(stored.ref).key_id == stored.key_id
    assert snapshot(repository.root) == before


def test_signing_again_finds_what_a_load_would_find(repository: Repository, reopen: Reopen) -> None:
    """A tag means its newest revision, 'latest' what was stored last; nothing is made up."""
    repository.store(1, "m", "a")
    repository.store(2, "m", "a")
    repository.store(3, "m", "b")
    rotate(repository, OLD, NEW)
    rotated = reopen(RETIRED, NEW)
    assert rotated.resign(request("m", "a")).revision == 2
    assert rotated.resign(request("m", "latest")).tag == "b"
    with pytest.raises(ArtifactNotFound):
        rotated.resign(request("m", "c"))


@pytest.mark.invariant(2)
def test_signing_again_vouches_for_nothing_that_was_not_verified(
    repository: Repository, reopen: Reopen
) -> None:
    """A forged envelope or a tampered row gets no genuine signature, and nothing changes."""
    stored = repository.store("x", "m", "a")
    genuine = envelope_of(repository, stored)
    rotated = reopen(RETIRED, NEW)
    # Another signature's base64, still canonical: four characters are one group.
    start = genuine.index(b'"sig":"') + 7
    forged = genuine[:start] + b"AAAA" + genuine[start + 4 :]
    run_sql(repository, "UPDATE artifact SET envelope = ?", forged)
    with pytest.raises(SignatureInvalidError):
        rotated.resign(stored.ref)
    assert envelope_of(repository, stored) == forged
    run_sql(repository, "UPDATE artifact SET envelope = ?, size = size + 1", genuine)
    with pytest.raises(CatalogueTamperedError):
        rotated.resign(stored.ref)
    assert envelope_of(repository, stored) == genuine
    assert [entry.event for entry in rotated.history()] == ["store", "create"]


def test_signing_again_needs_the_role(repository: Repository, reopen: Reopen) -> None:
    """A key that may not store may not vouch."""
    stored = repository.store("x", "m", "a")
    with pytest.raises(NoSigningKeyError):
        reopen(RETIRED, replace(NEW, roles=roles(Role.ADMIN, Role.APPROVE))).resign(stored.ref)


def test_a_mirror_that_cannot_follow_is_a_warning(
    repository: Repository, reopen: Reopen, tmp_path: Path
) -> None:
    """The new signature is on record; the warning points at the caller."""
    stored = repository.store("x", "m", "a")
    rotate(repository, OLD, NEW)
    folder = repository.root / "statements" / "m"
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    rotated = reopen(RETIRED, NEW)
    with pytest.warns(RepairWarning, match="cannot be mirrored") as caught:
        assert rotated.resign(stored.ref).key_id == NEW.key_id
    assert [warning.filename for warning in caught] == [__file__]
    assert rotated.load("m") == "x"


def test_an_impossible_request_to_sign_again_is_refused(repository: Repository) -> None:
    """References are checked where they are made."""
    with pytest.raises(InvalidNameError):
        repository.resign(request("../m", "a"))


def test_who_may_change_nothing_is_told_before_waiting_for_others(
    repository: Repository, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing key is the reason that is given, and not the writer who holds the catalogue."""
    stored = repository.store("x", "m", "a")
    loader = reopen(RETIRED, access_key())
    monkeypatch.setattr(limits, "DATABASE_BUSY_SECONDS", 0.1)
    changes: tuple[Callable[[], object], ...] = (
        lambda: loader.remove("m", "a"),
        lambda: loader.resign(stored.ref),
        lambda: loader.set_alias("m", "production", "a"),
        lambda: loader.change_settings(immutable_tags=True),
    )
    with repository.catalogue.write():
        for change in changes:
            with pytest.raises(NoSigningKeyError):
                change()
