"""Attacks on bundles, by somebody who may write the file, and owns keys of his own.

Each is refused, nothing of a payload runs, and the site that it was taken to is as it was before.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealstore import limits
from sealstore.bundles import checking, importing, verification
from sealstore.bundles.file import open_bundle
from sealstore.bundles.format import HEADER_BYTES, MAGIC, Evidence, encode_hints
from sealstore.bundles.verification import VerifiedArtifact
from sealstore.errors import (
    ArtifactNotFound,
    BundleFormatError,
    BundleRefusedError,
    CatalogueTamperedError,
    EnvelopeFormatError,
    FirstUseError,
    IdentityMismatchError,
    KeyRoleError,
    LedgerTamperedError,
    PayloadDigestError,
    PayloadSizeError,
    PolicyError,
    ProofError,
    RetiredKeyError,
    RevokedKeyError,
    RollbackError,
    SealstoreError,
    SignatureInvalidError,
    StorageError,
    UnknownKeyError,
)
from sealstore.keys.changing import withholding
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.keys.writing import encode_keyring
from sealstore.ledger.authenticated_map import EMPTY_MAP_ROOT, positions_of, revision_key
from sealstore.ledger.head import decode_head, seal_head
from sealstore.ledger.history import decode_history_entry
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.signed.drafting import seal_statement
from sealstore.signed.envelope import read_unverified
from sealstore.signed.settings import open_settings, seal_settings
from sealstore.trust.store import FirstUse
from tests.bundle_sites import (
    ORIGIN_KEY,
    SITE_KEY,
    BundleSite,
    changed,
    changed_artifact,
    index_of,
    opened,
    public,
    put_together,
    taken_apart,
    with_index,
)
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    Trap,
    digests_of,
    ed25519_key,
    envelope_of,
    hmac_key,
    roles,
    snapshot,
)

pytestmark = [pytest.mark.invariant(1), pytest.mark.invariant(2), pytest.mark.invariant(4)]

ATTACKER = ed25519_key(66)


@pytest.fixture
def unchanged(island: BundleSite) -> Iterator[BundleSite]:
    """The site that bundles are taken to: whatever a test does, nothing of it changes."""
    before = snapshot(island.root), snapshot(island.folder / "trust")
    yield island
    assert (snapshot(island.root), snapshot(island.folder / "trust")) == before


def require_refused(
    site: BundleSite, path: Path, error: type[SealstoreError] | tuple[type[SealstoreError], ...]
) -> SealstoreError:
    """Neither verifying nor importing accepts the bundle."""
    with pytest.raises(error) as refused:
        site.take_in(path)
    try:
        report = site.verify(path)
    except (BundleFormatError, StorageError):
        return refused.value
    assert report.findings
    assert report.findings[0].code == refused.value.code
    return refused.value


# ── swapped payloads ─────────────────────────────────────────────────────────


def test_a_payload_with_other_bytes_is_refused(
    origin: BundleSite, unchanged: BundleSite, trap: Trap
) -> None:
    """Bytes of the same size in a payload's place are no payload; they never run."""
    path = origin.bundle("churn:v1@1")
    evidence, payloads = taken_apart(path)
    [(sha256, payload)] = payloads.items()
    put_together(path, evidence, {sha256: trap.payload(len(payload))})
    require_refused(unchanged, path, PayloadDigestError)
    assert list((unchanged.root / "objects").rglob("*")) == []


def test_a_payload_under_its_own_digest_is_refused(
    origin: BundleSite, unchanged: BundleSite, trap: Trap
) -> None:
    """A payload whose digests in the index are right is refused where no statement names it."""
    path = origin.bundle("churn:v1@1")
    evidence, payloads = taken_apart(path)
    data = trap.payload(2_000)
    sha256 = digests_of(data).sha256
    swapped = replace(evidence, payloads={sha256: len(data)})
    require_refused(unchanged, put_together(path, swapped, {sha256: data}), BundleFormatError)
    besides = replace(evidence, payloads={**evidence.payloads, sha256: len(data)})
    error = require_refused(
        unchanged, put_together(path, besides, {**payloads, sha256: data}), BundleFormatError
    )
    assert "no artifact" in error.message


def test_two_payloads_that_changed_places_are_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """Each payload is held against the statement that names it."""
    path = origin.bundle("churn:v1@1", "churn:v1@2")
    evidence, payloads = taken_apart(path)
    (one, first), (two, second) = payloads.items()
    assert len(first) == len(second)
    put_together(path, evidence, {one: second, two: first})
    require_refused(unchanged, path, PayloadDigestError)


def test_a_payload_of_another_size_is_refused(origin: BundleSite, unchanged: BundleSite) -> None:
    """The size in the index is no word about the payload: the signed one is."""
    path = origin.bundle("churn:v1@1")
    evidence, payloads = taken_apart(path)
    [(sha256, payload)] = payloads.items()
    longer = replace(evidence, payloads={sha256: len(payload) + 1})
    path = put_together(path, longer, {sha256: payload + b"\0"})
    require_refused(unchanged, path, BundleFormatError)
    with open_bundle(path) as bundle, pytest.raises(PayloadSizeError):
        bundle.copy_payload(digests_of(payload), len(payload))


def test_a_bundle_that_changes_between_verifying_and_copying_is_refused(
    origin: BundleSite, island: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is linked is what was hashed while it was copied; nothing is put on record."""
    path = origin.bundle("churn:v1@1")
    monkeypatch.setattr(importing, "_copy_payload", _after(path, importing._copy_payload))
    with pytest.raises(PayloadDigestError):
        island.take_in(path)
    assert len(island.repository.history()) == 1
    assert [each for each in (island.root / "objects").rglob("*") if each.is_file()] == []


def _after(path: Path, function: Callable[..., None]) -> Callable[..., None]:
    """The function, called after the file's last byte was changed."""

    def changing(*arguments: Any) -> None:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        function(*arguments)

    return changing


# ── swapped statements ───────────────────────────────────────────────────────


def test_the_statement_of_another_artifact_is_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """A genuine statement vouches for its own artifact only, of whatever revision."""
    path = origin.bundle()
    evidence, _ = taken_apart(path)
    first, second, fraud = evidence.artifacts
    for number, envelope in [(0, second.envelope), (1, first.envelope), (2, first.envelope)]:
        forged = changed_artifact(path, number, envelope=envelope)
        require_refused(unchanged, forged, IdentityMismatchError)
    assert fraud.envelope != first.envelope


def test_a_statement_that_the_head_does_not_vouch_for_is_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """Not even the origin's own key makes a statement that its map does not have."""
    path = origin.bundle("churn:v1@1")
    artifact = origin.repository.get("churn", "v1", revision=1)
    statement = artifact.verified.statement
    predicate = msgspec.structs.replace(statement.predicate, metadata={"auc": 1.0})
    envelope = seal_statement(msgspec.structs.replace(statement, predicate=predicate), ORIGIN_KEY)
    require_refused(unchanged, changed_artifact(path, 0, envelope=envelope), CatalogueTamperedError)


@pytest.mark.parametrize(
    ("signer", "error"),
    [
        (ATTACKER, UnknownKeyError),
        (hmac_key(9, roles=roles(Role.ACCESS)), KeyRoleError),
        (hmac_key(10, state=State.REVOKED), RevokedKeyError),
    ],
)
def test_a_statement_of_another_key_is_refused(
    origin: BundleSite, unchanged: BundleSite, signer: Any, error: type[SealstoreError]
) -> None:
    """A statement's key is known, not revoked, and has the role; what is signed is the same."""
    path = origin.bundle("churn:v1@1")
    statement = origin.repository.get("churn", "v1", revision=1).verified.statement
    forged = changed_artifact(path, 0, envelope=seal_statement(statement, signer.material))
    others = [] if signer is ATTACKER else [signer]
    with opened(unchanged.folder, SITE_KEY, public(ORIGIN_KEY), *others).repository as repository:
        require_refused(BundleSite(repository), forged, error)


def test_an_artifact_that_was_removed_since_is_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """With the present head and its map, the evidence from before the removal proves nothing."""
    before, payloads = taken_apart(origin.bundle())
    origin.repository.remove("churn", "v1", revision=2)
    after, _ = taken_apart(origin.bundle("churn:v1@1", "fraud:2026"))
    rows = {**before.rows, **after.rows, **_rows_of(origin, "churn", "v1", 2)}
    mixed = replace(before, head=after.head, rows=rows)
    path = put_together(origin.folder / "mixed.bundle", mixed, payloads)
    require_refused(unchanged, path, (ArtifactNotFound, ProofError))


def _rows_of(site: BundleSite, name: str, tag: str, revision: int) -> dict[int, bytes]:
    with site.repository.catalogue.read() as rows:
        return rows.map.fetch(positions_of(revision_key(name, tag, revision)))


# ── swapped heads, proofs and settings ───────────────────────────────────────


def other_repository(origin: BundleSite, key: Any = ORIGIN_KEY) -> BundleSite:
    """Another repository, with artifacts of the same names."""
    folder = origin.folder.parent / "third"
    with Repository.create(
        folder / "repository",
        keyring=Keyring.of([key]),
        repository_id="33" * 16,
        settings=opened_settings(folder),
    ) as repository:
        repository.store({"another": "model"}, "churn", "v1")
        repository.store({"another": "model"}, "fraud", "2026")
    return opened(folder, key)


def opened_settings(folder: Path) -> Settings:
    return Settings.from_environment({"MODEL_REPO_TRUST_STATE": str(folder / "trust")})


def test_the_head_of_another_repository_is_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """A head of the same key, but of a repository that the key is not known for, proves nothing."""
    third = other_repository(origin)
    foreign, _ = taken_apart(third.bundle("churn:v1@1", "fraud:2026"))
    third.repository.close()
    path = changed(origin.bundle(), head=foreign.head)
    require_refused(unchanged, path, KeyRoleError)
    keys = (SITE_KEY, public(ORIGIN_KEY, OTHER_REPOSITORY_ID, "33" * 16))
    with opened(unchanged.folder, *keys).repository as trusting_both:
        require_refused(BundleSite(trusting_both), path, BundleFormatError)
        with_settings = changed(path, settings=foreign.settings)
        require_refused(
            BundleSite(trusting_both), with_settings, (CatalogueTamperedError, ArtifactNotFound)
        )


def test_a_bundle_of_a_repository_that_nobody_trusts_is_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """A bundle that is sound in itself, of an attacker's own repository, brings its key in vain."""
    third = other_repository(origin, ATTACKER)
    path = third.bundle("churn:v1@1", "fraud:2026")
    third.repository.close()
    error = require_refused(unchanged, path, UnknownKeyError)
    assert "proves nothing" in error.hint
    assert [key.key_id for key in checking.bundle_keys(path)] == [ATTACKER.key_id]


def test_a_head_that_an_attacker_signs_is_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """A head needs a key of the keyring; a copied signature does not hold for other bytes."""
    path = origin.bundle()
    evidence, _ = taken_apart(path)
    head = decode_head(read_unverified(evidence.head).payload)
    forged = msgspec.structs.replace(head, map_root=EMPTY_MAP_ROOT.hex())
    keys = encode_hints(Keyring.of([ATTACKER]), [ATTACKER.key_id], OTHER_REPOSITORY_ID)
    own = changed(path, head=seal_head(forged, ATTACKER), keys=keys)
    require_refused(unchanged, own, UnknownKeyError)
    claimed = seal_head(forged, ATTACKER).replace(
        ATTACKER.key_id.encode(), ORIGIN_KEY.key_id.encode()
    )
    require_refused(unchanged, changed(path, head=claimed), SignatureInvalidError)
    require_refused(unchanged, changed(path, head=evidence.settings), EnvelopeFormatError)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"state": State.RETIRED}, RetiredKeyError),
        ({"state": State.REVOKED}, RevokedKeyError),
        ({"roles": roles(Role.ADMIN)}, KeyRoleError),
    ],
)
def test_the_head_of_a_key_that_may_not_vouch_is_refused(
    origin: BundleSite, unchanged: BundleSite, changes: Any, error: type[SealstoreError]
) -> None:
    """The local keyring decides, whatever state the key has at the origin."""
    path = origin.bundle()
    key = replace(public(ORIGIN_KEY), **changes)
    with opened(unchanged.folder, SITE_KEY, key).repository as repository:
        require_refused(BundleSite(repository), path, error)


def test_an_older_head_with_newer_artifacts_is_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """A head vouches for nothing that came after it."""
    older, _ = taken_apart(origin.bundle())
    origin.repository.store({"new": 1}, "churn", "v2")
    path = changed(origin.bundle("churn:v2"), head=older.head)
    require_refused(unchanged, path, (CatalogueTamperedError, ArtifactNotFound))


def test_changed_rows_of_the_map_are_refused(origin: BundleSite, unchanged: BundleSite) -> None:
    """Each row is held against the hash above it; missing ones and others prove nothing."""
    path = origin.bundle("churn:v1@1")
    rows = dict(taken_apart(path)[0].rows)
    for position, row in rows.items():
        other = bytearray(row)
        other[0] ^= 1
        for forged in ({**rows, position: bytes(other)}, {**rows, position: b""}):
            require_refused(unchanged, changed(path, rows=forged), CatalogueTamperedError)
        missing = {at: each for at, each in rows.items() if at != position}
        require_refused(unchanged, changed(path, rows=missing), CatalogueTamperedError)
    besides = {**rows, 266_304: b"hidden"}
    error = require_refused(unchanged, changed(path, rows=besides), BundleFormatError)
    assert "prove nothing" in error.message


def test_changed_proofs_of_the_history_are_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """The entry is the one of this store, and in the history that the head sums up."""
    path = origin.bundle()
    evidence, _ = taken_apart(path)
    first, second, _ = evidence.artifacts
    for changes in (
        {"inclusion": ()},
        {"inclusion": first.inclusion[1:]},
        {"inclusion": (*first.inclusion, bytes(32))},
        {"inclusion": (bytes(32), *first.inclusion[1:])},
        {"entry": second.entry},
        {"entry": second.entry, "inclusion": second.inclusion},
        {"entry": b"{}"},
    ):
        require_refused(unchanged, changed_artifact(path, 0, **changes), ProofError)


def test_an_entry_of_another_event_is_refused(
    origin: BundleSite, unchanged: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that is in the history, at the right place, has to be that of the store."""
    path = origin.bundle("churn:v1@1")
    real = decode_history_entry
    for changes in ({"event": "remove"}, {"event": "key", "artifact": None}):

        def other(data: bytes, sequence: int, changes: Any = changes) -> Any:
            return msgspec.structs.replace(real(data, sequence), **changes)

        monkeypatch.setattr(verification, "decode_history_entry", other)
        require_refused(unchanged, path, LedgerTamperedError)


def test_other_settings_are_refused(origin: BundleSite, unchanged: BundleSite) -> None:
    """The settings are those that the head names, signed by an admin key, and no earlier ones."""
    older, _ = taken_apart(origin.bundle())
    origin.repository.change_settings(immutable_tags=True)
    path = origin.bundle()
    require_refused(unchanged, changed(path, settings=older.settings), BundleFormatError)
    require_refused(unchanged, changed(path, settings=older.head), EnvelopeFormatError)
    require_refused(unchanged, changed(path, settings=b"{}"), EnvelopeFormatError)


def test_what_a_key_signed_that_the_origin_revokes_is_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """The origin's settings reach the site with the bundle: their revoked keys are refused."""
    other = ed25519_key(3)
    with opened(origin.folder, ORIGIN_KEY, other).repository as repository:
        artifact = repository.store({"by": "the other key"}, "other", "1")
        assert artifact.key_id == other.key_id
        before = envelope_of(repository, artifact)
        keyring = withholding(repository.keyring, other.key_id)
    with Repository.open(origin.root, keyring=keyring, settings=origin.settings) as rotated:
        rotated.record_key_change("rotated", other.key_id, sign_settings=False)
        rotated.change_settings(revoked_keys=(other.key_id,))
        path = BundleSite(rotated).bundle("churn:v1@1")
    keys = (SITE_KEY, public(ORIGIN_KEY), public(other))
    with opened(unchanged.folder, *keys).repository as trusting:
        assert BundleSite(trusting).verify(path).findings == []
        forged = changed_artifact(path, 0, envelope=before)
        require_refused(BundleSite(trusting), forged, RevokedKeyError)


def test_a_head_of_a_key_that_its_own_settings_revoke_is_refused(
    origin: BundleSite, unchanged: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a revoked key makes heads in vain, though they name the settings that hold."""
    path = origin.bundle()
    evidence, _ = taken_apart(path)
    head = decode_head(read_unverified(evidence.head).payload)
    keyring = Keyring.of([ORIGIN_KEY])
    document = origin.repository.state.document
    revoking = msgspec.structs.replace(document, revoked_keys=(ORIGIN_KEY.key_id,))
    envelope = seal_settings(revoking, ORIGIN_KEY)
    digest = open_settings(envelope, keyring).digest
    forged = seal_head(msgspec.structs.replace(head, settings_digest=digest), ORIGIN_KEY)
    require_refused(unchanged, changed(path, head=forged, settings=envelope), RevokedKeyError)


# ── what was seen before ─────────────────────────────────────────────────────


def test_an_older_bundle_is_refused_where_a_newer_one_was_imported(
    origin: BundleSite, island: BundleSite
) -> None:
    """A bundle from before a removal brings nothing back, unless somebody says so."""
    older = origin.bundle()
    origin.repository.remove("churn", "v1", revision=2)
    island.take_in(origin.bundle("fraud:2026"))
    before = snapshot(island.root)
    error = require_refused(island, older, RollbackError)
    assert "--accept-head" in error.hint
    assert snapshot(island.root) == before
    report = island.take_in(older, accept_head=True)
    assert report.continuity == "older"
    assert not report.remembered
    entry = island.repository.history(limit=1)[0]
    assert entry.details["accepted_head"] == "older"


def test_a_bundle_is_held_against_what_was_seen_in_the_repository_itself(
    origin: BundleSite, island: BundleSite
) -> None:
    """A client that has used the origin itself knows how far it is, without any bundle."""
    older = origin.bundle()
    origin.repository.store({"new": 1}, "churn", "v2")
    with opened(origin.folder, ORIGIN_KEY).repository as repository:
        client = BundleSite(repository)
        assert client.verify(older).findings[0].code == "ROLLBACK"
        assert client.verify(older, accept_head=True).findings == []
    assert island.verify(older).findings == []


def test_a_fork_of_the_origin_is_refused(origin: BundleSite, island: BundleSite) -> None:
    """Two histories of one size, of the same key: the second is refused, whatever anybody says."""
    shutil.copytree(origin.root, origin.folder / "fork" / "repository")
    origin.repository.store({"one": 1}, "churn", "v2")
    with opened(origin.folder / "fork", ORIGIN_KEY).repository as repository:
        fork = BundleSite(repository)
        repository.store({"two": 2}, "churn", "v2")
        same_size = fork.bundle("churn:v2")
        repository.store({"three": 3}, "churn", "v3")
        larger = fork.bundle("churn:v3", since=same_size)
    island.take_in(origin.bundle("churn:v2"))
    before = snapshot(island.root)
    for options in ({}, {"accept_head": True}):
        for path in (same_size, larger):
            with pytest.raises(LedgerTamperedError):
                island.take_in(path, **options)
    assert snapshot(island.root) == before


def test_a_rebuilt_origin_is_refused_until_somebody_says_that_it_is_right(
    origin: BundleSite, island: BundleSite
) -> None:
    """A new epoch is no continuation; accepted once, it is what later bundles are held against."""
    island.take_in(origin.bundle())
    path = origin.bundle("fraud:2026")
    head = decode_head(read_unverified(taken_apart(path)[0].head).payload)
    rebuilt = changed(path, head=seal_head(msgspec.structs.replace(head, epoch=2), ORIGIN_KEY))
    error = require_refused(island, rebuilt, SealstoreError)
    assert error.code == "REPOSITORY_EXCHANGED"
    report = island.take_in(rebuilt, accept_head=True)
    assert (report.continuity, report.remembered) == ("rebuilt", True)
    assert island.verify(path).findings[0].code == "ROLLBACK"


def test_a_first_bundle_is_refused_where_first_use_is(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """MODEL_REPO_FIRST_USE=refuse holds for the origins of bundles, too."""
    path = origin.bundle()
    refusing = replace(unchanged.settings, first_use=FirstUse.REFUSE)
    report = checking.verify_bundle(path, refusing, unchanged.repository.keyring)
    assert [finding.code for finding in report.findings] == [FirstUseError.code]


def test_a_bundle_of_the_repository_itself_is_refused(origin: BundleSite) -> None:
    """What was lost or removed here comes from a backup, not from a bundle of the past."""
    path = origin.bundle()
    before = snapshot(origin.root / "objects")
    with pytest.raises(BundleRefusedError, match="this very repository"):
        origin.take_in(path)
    assert len(origin.repository.history()) == 4
    assert snapshot(origin.root / "objects") == before


# ── the keys in it ───────────────────────────────────────────────────────────


def test_a_secret_key_in_a_bundle_is_refused(origin: BundleSite, unchanged: BundleSite) -> None:
    """A bundle carries public keys or none: a secret in it is told, and the bundle refused."""
    path = origin.bundle()
    for key in (ORIGIN_KEY, hmac_key(7)):
        forged = changed(path, keys=encode_keyring(Keyring.of([key])))
        require_refused(unchanged, forged, BundleFormatError)
        with pytest.raises(BundleFormatError, match="secret key"):
            checking.bundle_keys(forged)
    require_refused(unchanged, changed(path, keys=b"{}"), BundleFormatError)


def test_the_keys_in_a_bundle_decide_nothing(origin: BundleSite, island: BundleSite) -> None:
    """Without them, or with an attacker's, a genuine bundle verifies all the same."""
    path = origin.bundle()
    hints = encode_hints(Keyring.of([ATTACKER]), [ATTACKER.key_id], OTHER_REPOSITORY_ID)
    for keys in (encode_keyring(Keyring.of([])), hints):
        assert island.verify(changed(path, keys=keys)).findings == []


# ── hostile files ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name",
    [
        "../../escaped",
        "..",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\0b",
        "",
        "a\x1b[31m",
        "e\u0301",
        "x" * 129,
    ],
)
@pytest.mark.parametrize("field", ["name", "tag"])
def test_a_hostile_name_is_refused(
    origin: BundleSite, unchanged: BundleSite, field: str, name: str
) -> None:
    """A name is no path: what is none of sealstore's is refused before anything is asked for it."""
    path = origin.bundle("churn:v1@1")
    index = index_of(path)
    index["artifacts"][0][field] = name
    data = msgspec.json.encode(index)
    error = require_refused(unchanged, with_index(path, data), BundleFormatError)
    assert "\x1b" not in str(error)


def test_the_reserved_tag_is_no_artifact(origin: BundleSite, unchanged: BundleSite) -> None:
    """'latest' is what a bundle's maker asked for, never what is in it."""
    path = origin.bundle("churn:v1@1")
    index = index_of(path)
    index["artifacts"][0]["tag"] = "latest"
    require_refused(unchanged, with_index(path, index), BundleFormatError)


INDEX_ATTACKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "an artifact twice": lambda index: index["artifacts"].insert(0, index["artifacts"][0]),
    "artifacts out of order": lambda index: index["artifacts"].reverse(),
    "no artifacts": lambda index: index["artifacts"].clear(),
    "a row twice": lambda index: index["rows"].insert(0, index["rows"][0]),
    "rows out of order": lambda index: index["rows"].reverse(),
    "a row beyond the map": lambda index: index["rows"][-1].update(position=266_305),
    "a row before the map": lambda index: index["rows"][0].update(position=-1),
    "a payload twice": lambda index: index["payloads"].append(index["payloads"][-1]),
    "payloads out of order": lambda index: index["payloads"].reverse(),
    "a missing payload": lambda index: index["payloads"].pop(),
    "an unknown field": lambda index: index.update(more=1),
    "a missing field": lambda index: index.pop("keys"),
    "another kind": lambda index: index.update(kind="bundle-v2"),
    "a negative size": lambda index: index["head"].update(size=-1),
    "a size of another type": lambda index: index["head"].update(size="1"),
    "a fraction": lambda index: index["head"].update(size=1.5),
    "a huge head": lambda index: index["head"].update(size=limits.MAX_HEAD_ENVELOPE_BYTES + 1),
    "huge settings": lambda index: index["settings"].update(size=limits.MAX_SETTINGS_BYTES + 1),
    "huge keys": lambda index: index["keys"].update(size=limits.MAX_BUNDLE_KEYS_BYTES + 1),
    "a huge row": lambda index: index["rows"][0].update(size=limits.MAX_MAP_BUCKET_BYTES + 1),
    "a huge payload": lambda index: index["payloads"][0].update(size=1 << 62),
    "a huge envelope": lambda index: index["artifacts"][0]["envelope"].update(size=1 << 40),
    "a huge entry": lambda index: index["artifacts"][0]["entry"].update(size=1 << 20),
    "a huge proof": lambda index: index["artifacts"][0]["inclusion"].update(size=1 << 20),
    "a shorter part": lambda index: index["head"].update(size=index["head"]["size"] - 1),
    "a longer part": lambda index: index["head"].update(size=index["head"]["size"] + 1),
    "a revision 0": lambda index: index["artifacts"][0].update(revision=0),
    "a digest that is none": lambda index: index["head"].update(sha256="../" * 21 + "a"),
}


@pytest.mark.parametrize("attack", INDEX_ATTACKS)
def test_a_hostile_index_is_refused(origin: BundleSite, unchanged: BundleSite, attack: str) -> None:
    """The index is strict, and its sizes are judged before anything is read or allocated."""
    path = origin.bundle()
    index = index_of(path)
    INDEX_ATTACKS[attack](index)
    require_refused(unchanged, with_index(path, index), BundleFormatError)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b"[" * 100_000, b'{"kind":"bundle-v1"}', b"\xff\xfe"],
)
def test_an_index_that_is_none_is_refused(
    origin: BundleSite, unchanged: BundleSite, data: bytes
) -> None:
    """Whatever stands in the index's place is refused as a format."""
    require_refused(unchanged, with_index(origin.bundle(), data), BundleFormatError)


def test_an_index_has_one_spelling(origin: BundleSite, unchanged: BundleSite) -> None:
    """White space, other escapes and a key that is there twice are refused."""
    path = origin.bundle("churn:v1@1")
    plain = json.dumps(index_of(path), separators=(",", ":")).encode()
    twice = plain.replace(b'{"kind":', b'{"since":null,"kind":', 1)
    for data in (plain + b" ", plain.replace(b'"churn"', b'"\\u0063hurn"'), twice):
        require_refused(unchanged, with_index(path, data), BundleFormatError)


def test_endless_members_are_refused(origin: BundleSite, unchanged: BundleSite) -> None:
    """More artifacts, or bytes of proofs, than the caps allow are refused by the index alone."""
    path = origin.bundle("churn:v1@1")
    index = index_of(path)
    [artifact] = index["artifacts"]
    many = [
        {**artifact, "revision": revision + 1}
        for revision in range(limits.MAX_BUNDLE_ARTIFACTS + 1)
    ]
    error = require_refused(
        unchanged, with_index(path, {**index, "artifacts": many}), BundleFormatError
    )
    assert "10000 artifacts" in error.message
    row = {"size": limits.MAX_MAP_BUCKET_BYTES, "sha256": "00" * 32}
    rows = [{**row, "position": position} for position in range(65)]
    error = require_refused(unchanged, with_index(path, {**index, "rows": rows}), BundleFormatError)
    assert "are allowed" in error.message


@pytest.mark.parametrize("size", [limits.MAX_BUNDLE_INDEX_BYTES + 1, 1 << 62, 2**64 - 1])
def test_a_huge_index_is_refused_before_memory_is_taken(
    unchanged: BundleSite, tmp_path: Path, size: int
) -> None:
    """Not even a sparse file of that size makes anybody read it."""
    path = tmp_path / "huge.bundle"
    path.write_bytes(MAGIC + struct.pack(">Q", size) + bytes(32))
    os.truncate(path, 1 << 36)
    error = require_refused(unchanged, path, BundleFormatError)
    assert "are allowed" in error.message


def test_a_huge_payload_in_a_sparse_file_is_refused(
    origin: BundleSite, unchanged: BundleSite
) -> None:
    """A payload of 2^36 bytes that no statement vouches for is never read."""
    path = origin.bundle("churn:v1@1")
    index = index_of(path)
    small = index["payloads"][0]["size"]
    index["payloads"][0]["size"] = 1 << 36
    forged = with_index(path, index)
    os.truncate(forged, forged.stat().st_size - small + (1 << 36))
    require_refused(unchanged, forged, BundleFormatError)


def test_every_cut_is_refused(origin: BundleSite, unchanged: BundleSite) -> None:
    """A bundle that ends anywhere before its end is refused."""
    path = origin.bundle("churn:v1@1")
    data = path.read_bytes()
    cut = path.with_suffix(".cut")
    for length in [*range(HEADER_BYTES + 2), *range(HEADER_BYTES, len(data), 97), len(data) - 1]:
        cut.write_bytes(data[:length])
        with pytest.raises(BundleFormatError):
            unchanged.verify(cut)


@pytest.mark.parametrize("more", [b"\0", b"\n", MAGIC, b"x" * 100_000])
def test_trailing_bytes_are_refused(origin: BundleSite, unchanged: BundleSite, more: bytes) -> None:
    """Nothing follows a bundle, not even another one."""
    path = origin.bundle("churn:v1@1")
    with path.open("ab") as file:
        file.write(more)
    require_refused(unchanged, path, BundleFormatError)


def test_archives_are_no_bundles(origin: BundleSite, unchanged: BundleSite) -> None:
    """A tar or zip file, whatever paths, links and devices it has, is refused at its beginning."""
    folder = origin.folder
    with tarfile.open(folder / "evil.tar", "w") as archive:
        for kind, name in [(tarfile.SYMTYPE, "link"), (tarfile.CHRTYPE, "device")]:
            member = tarfile.TarInfo(f"../../{name}")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    with zipfile.ZipFile(folder / "evil.zip", "w") as archive_of_another_kind:
        archive_of_another_kind.writestr("../../escaped", "x")
    for name in ("evil.tar", "evil.zip"):
        require_refused(unchanged, folder / name, BundleFormatError)


def test_what_is_no_regular_file_is_refused(
    origin: BundleSite, unchanged: BundleSite, tmp_path: Path
) -> None:
    """A FIFO does not hang, a device is not read, and a link is what it leads to."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path in (tmp_path / "fifo", tmp_path / "zero", tmp_path):
        require_refused(unchanged, path, StorageError)
    (tmp_path / "link").symlink_to(origin.bundle())
    assert unchanged.verify(tmp_path / "link").findings == []


# ── import ───────────────────────────────────────────────────────────────────


def test_the_local_policy_refuses_what_the_origin_allowed(
    origin: BundleSite, unchanged: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The origin's list of imports is judged here, before a payload is copied."""
    import fractions

    origin.repository.store(fractions.Fraction(1, 3), "fraction", "1")
    path = origin.bundle("fraction", "churn:v1@1")
    policy = unchanged.folder / "policy.toml"
    policy.write_text('deny = ["fractions:Fraction"]\n')
    policy.chmod(0o600)
    keys = (SITE_KEY, public(ORIGIN_KEY))
    with opened(unchanged.folder, *keys, MODEL_REPO_POLICY=str(policy)).repository as strict:
        with pytest.raises(PolicyError) as refused:
            BundleSite(strict).take_in(path)
        assert refused.value.artifact == "fraction:1@1"
    policy.unlink()


def test_a_planted_link_leads_no_origin_out_of_the_repository(
    origin: BundleSite, island: BundleSite, tmp_path: Path
) -> None:
    """The mirror of the origins' statements is written into the repository, or not at all."""
    (tmp_path / "outside").mkdir()
    (island.root / "origins").symlink_to(tmp_path / "outside")
    with pytest.warns(UserWarning, match="cannot be mirrored"):
        island.take_in(origin.bundle("churn:v1@1"))
    assert list((tmp_path / "outside").iterdir()) == []
    assert island.repository.load("churn", "v1")


# ── properties ───────────────────────────────────────────────────────────────


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_refused(
    origin: BundleSite, island: BundleSite, data: st.DataObject
) -> None:
    """No bit of a bundle is without meaning: with any of them flipped it is refused."""
    path = origin.folder / "0.bundle"
    if not path.exists():
        origin.bundle()
    whole = bytearray(path.read_bytes())
    offset = data.draw(st.integers(0, len(whole) - 1))
    whole[offset] ^= 1 << data.draw(st.integers(0, 7))
    flipped = path.with_suffix(".flipped")
    flipped.write_bytes(whole)
    try:
        report = island.verify(flipped)
    except BundleFormatError:
        return
    assert report.findings


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_under_a_right_digest_is_refused_or_changes_nothing(
    origin: BundleSite, island: BundleSite, data: st.DataObject
) -> None:
    """Where the attacker mends the digests, too, what verifies is exactly what was made."""
    path = origin.folder / "0.bundle"
    if not path.exists():
        origin.bundle()
    expected = island.verify(path)
    assert expected.findings == []
    evidence, payloads = taken_apart(path)
    flipped = path.with_suffix(".flipped")
    try:
        put_together(flipped, *_flipped(evidence, payloads, data))
        report = island.verify(flipped)
    except BundleFormatError:
        return
    if not report.findings:
        assert list(map(_said, report.artifacts)) == list(map(_said, expected.artifacts))
        assert report.bundle is not None
        assert expected.bundle is not None
        assert report.bundle.point == expected.bundle.point


def _said(artifact: VerifiedArtifact) -> tuple[object, ...]:
    return artifact.verified.digest, artifact.verified.key_id, artifact.entry


def _flipped(
    evidence: Evidence, payloads: dict[str, bytes], data: st.DataObject
) -> tuple[Evidence, dict[str, bytes]]:
    def flip(old: bytes) -> bytes:
        new = bytearray(old)
        new[data.draw(st.integers(0, len(new) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        return bytes(new)

    place = data.draw(st.sampled_from(["head", "settings", "keys", "row", "artifact", "payload"]))
    if place == "payload":
        sha256 = data.draw(st.sampled_from(sorted(payloads)))
        return evidence, {**payloads, sha256: flip(payloads[sha256])}
    if place == "row":
        position = data.draw(st.sampled_from(sorted(evidence.rows)))
        return replace(
            evidence, rows={**evidence.rows, position: flip(evidence.rows[position])}
        ), payloads
    if place != "artifact":
        changes: dict[str, Any] = {place: flip(getattr(evidence, place))}
        return replace(evidence, **changes), payloads
    number = data.draw(st.integers(0, len(evidence.artifacts) - 1))
    artifact = evidence.artifacts[number]
    part = data.draw(st.sampled_from(["envelope", "entry", "inclusion"]))
    if part == "inclusion":
        joined = flip(b"".join(artifact.inclusion))
        changes = {part: tuple(joined[at : at + 32] for at in range(0, len(joined), 32))}
    else:
        changes = {part: flip(getattr(artifact, part))}
    artifacts = [*evidence.artifacts]
    artifacts[number] = replace(artifact, **changes)
    return replace(evidence, artifacts=tuple(artifacts)), payloads
