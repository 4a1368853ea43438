"""Keys in wrong hands or wrong places: whose signature counts, and for what."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import (
    ArtifactNotFound,
    CatalogueTamperedError,
    EnvelopeFormatError,
    KeyringPermissionsError,
    KeyRoleError,
    RevokedKeyError,
    SealstoreError,
    SignatureInvalidError,
    UnknownKeyError,
)
from sealstore.keys.algorithms import Ed25519Public, HmacSha256
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from sealstore.signed.drafting import encode
from sealstore.signed.envelope import (
    STATEMENT_PAYLOAD_TYPE,
    pre_authentication_encoding,
    read_unverified,
    seal,
)
from sealstore.storage.blobs.local import LocalBlobStore
from tests.sealstore_fixtures import (
    MODEL,
    OTHER_REPOSITORY_ID,
    Trap,
    change_row,
    consistent_row,
    digests_of,
    ed25519_key,
    envelope_of,
    hmac_key,
    insert_row,
    payload_path,
    put_payload,
    roles,
    scope,
    sealed,
    statement,
)

pytestmark = [pytest.mark.invariant(4), pytest.mark.usefixtures("bystander")]

FRESH = ed25519_key(7)
Reopen = Callable[..., Repository]


def plant(repository: Repository, trap: Trap, signer: Key, **changes: Any) -> None:
    """A complete, consistent artifact of a malicious payload, signed by ``signer``."""
    payload = trap.payload()
    put_payload(LocalBlobStore(repository.root), repository.root, payload)
    envelope = sealed(
        signer,
        digests_of(payload),
        **({"name": "planted", "tag": "v1", "size": len(payload), "sequence": 99} | changes),
    )
    insert_row(repository, consistent_row(envelope, unlimited(signer)))


def unlimited(key: Key) -> Key:
    """The key as its owner would like it to be."""
    return replace(hmac_key(), material=key.material)


def withheld(key: Key) -> Key:
    """The key to verify with: what is recorded in these tests, another one signs."""
    return replace(key, is_withheld=True)


def sign_with(repository: Repository, artifact: Artifact, key: Key) -> None:
    """Put another key's genuine signature under a statement, and into the row what it says."""
    payload = read_unverified(envelope_of(repository, artifact)).payload
    envelope = seal(STATEMENT_PAYLOAD_TYPE, payload, unlimited(key))
    change_row(repository, artifact, envelope=envelope, key_id=key.key_id)


MAY_NOT = [
    ([], UnknownKeyError),
    ([replace(FRESH, state=State.REVOKED)], RevokedKeyError),
    ([replace(FRESH, roles=roles())], KeyRoleError),
    ([replace(FRESH, roles=roles(Role.ADMIN, Role.ACCESS, Role.APPROVE))], KeyRoleError),
    ([replace(FRESH, scope=scope(OTHER_REPOSITORY_ID))], KeyRoleError),
    ([replace(FRESH, scope=scope())], KeyRoleError),
]
WHY = ["unknown", "revoked", "no role", "other roles", "another repository", "no repository"]


@pytest.mark.parametrize(("held", "refusal"), MAY_NOT, ids=WHY)
def test_a_malicious_artifact_signed_by_a_key_that_may_not(
    repository: Repository,
    reopen: Reopen,
    trap: Trap,
    held: list[Key],
    refusal: type[SealstoreError],
) -> None:
    """Everything fits, the signature is genuine, and nothing of it is there: no head knows it."""
    plant(repository, trap, FRESH)
    reader = reopen(hmac_key(), *map(withheld, held))
    for read in (reader.load, reader.get, reader.verify, reader.read_payload):
        with pytest.raises(ArtifactNotFound, match=r"^planted:v1: "):
            read("planted", "v1")
    assert [type(each.error) for each in reader.list().refused] == [CatalogueTamperedError]
    with pytest.raises(CatalogueTamperedError, match="has the sequence 99"):
        reader.store("more", "m", "v1")
    assert refusal.code
    assert not trap.sprung


@pytest.mark.parametrize(("held", "refusal"), MAY_NOT, ids=WHY)
def test_a_genuine_statement_signed_by_a_key_that_may_not(
    repository: Repository,
    reopen: Reopen,
    victim: Artifact,
    held: list[Key],
    refusal: type[SealstoreError],
) -> None:
    """The head vouches for the statement; whose signature is under it counts all the same."""
    sign_with(repository, victim, FRESH)
    reader = reopen(hmac_key(), *map(withheld, held))
    for read in (reader.load, reader.get, reader.verify, reader.read_payload):
        with pytest.raises(refusal, match=r"^victim:v1: "):
            read("victim", "v1")
    assert [type(each.error) for each in reader.list().refused] == [refusal]


def test_the_statement_would_be_loaded_if_the_key_were_trusted(
    repository: Repository, reopen: Reopen, victim: Artifact
) -> None:
    """The artifact of the test above is refused for its key and for nothing else."""
    sign_with(repository, victim, FRESH)
    reader = reopen(hmac_key(), withheld(FRESH))
    assert reader.verify("victim").key_id == FRESH.key_id
    assert reader.load("victim") == MODEL


def test_a_malicious_artifact_signed_by_a_trusted_key_that_no_head_vouches_for(
    repository: Repository, reopen: Reopen, trap: Trap
) -> None:
    """A signature says who; that it was stored here, only the history does."""
    plant(repository, trap, FRESH)
    with pytest.raises(ArtifactNotFound):
        reopen(hmac_key(), withheld(FRESH)).load("planted", "v1")


@pytest.mark.parametrize("named", [hmac_key(), ed25519_key(3)])
def test_a_signature_of_one_key_under_the_id_of_another(
    repository: Repository, reopen: Reopen, victim: Artifact, named: Key
) -> None:
    """The id chooses a key, and that key decides."""
    envelope = sealed(FRESH, victim.digests).replace(FRESH.key_id.encode(), named.key_id.encode())
    change_row(repository, victim, envelope=envelope, key_id=named.key_id)
    with pytest.raises(SignatureInvalidError):
        reopen(hmac_key(), withheld(ed25519_key(3)), withheld(FRESH)).load("victim")


def test_the_id_of_a_revoked_key_replaced_by_that_of_a_good_one(
    repository: Repository, reopen: Reopen, victim: Artifact
) -> None:
    """A leaked key is not washed by another key's id."""
    leaked = replace(FRESH, state=State.REVOKED)
    sign_with(repository, victim, FRESH)
    signed = envelope_of(repository, victim)
    envelope = signed.replace(FRESH.key_id.encode(), hmac_key().key_id.encode())
    change_row(repository, victim, envelope=envelope, key_id=hmac_key().key_id)
    with pytest.raises(SignatureInvalidError):
        reopen(hmac_key(), leaked).load("victim")


@pytest.mark.invariant(7)
def test_hmac_under_the_public_bytes_of_an_ed25519_key(
    repository: Repository, reopen: Reopen, victim: Artifact
) -> None:
    """What everybody knows, the public key, is no secret for HMAC: no algorithm is in a message."""
    public = FRESH.material.public()
    assert public is not None
    forger = HmacSha256(public.to_bytes())
    message = pre_authentication_encoding(STATEMENT_PAYLOAD_TYPE, encode(statement()))
    mac = forger.sign(message)
    for claimed in (FRESH.key_id, forger.key_id):
        for signature in (mac, mac + mac, mac + bytes(32)):
            envelope = (
                sealed(FRESH)
                .replace(FRESH.key_id.encode(), claimed.encode())
                .replace(
                    base64.b64encode(read_unverified(sealed(FRESH)).signature),
                    base64.b64encode(signature),
                )
            )
            change_row(repository, victim, envelope=envelope)
            for key in (FRESH, replace(FRESH, material=public)):
                with pytest.raises((SignatureInvalidError, UnknownKeyError)):
                    reopen(hmac_key(), withheld(key)).load("victim")


@pytest.mark.invariant(7)
def test_an_algorithm_in_the_message(repository: Repository, victim: Artifact) -> None:
    """There is no place for one in an envelope."""
    envelope = envelope_of(repository, victim)
    for field in (b'"alg":"none",', b'"algorithm":"hmac-sha256",', b'"alg":"",'):
        change_row(repository, victim, envelope=envelope.replace(b'"keyid"', field + b'"keyid"'))
        with pytest.raises(EnvelopeFormatError):
            repository.load("victim")


@pytest.mark.parametrize(
    "signature", [bytes(32), bytes(64), b"\0", b"\xff" * 64, b"\1" + bytes(63)]
)
@pytest.mark.parametrize("key", [hmac_key(), FRESH])
def test_a_blank_signature(
    repository: Repository, reopen: Reopen, victim: Artifact, key: Key, signature: bytes
) -> None:
    """No signature is all zeros, all ones, or the neutral element."""
    genuine = read_unverified(sealed(key)).signature
    envelope = sealed(key).replace(base64.b64encode(genuine), base64.b64encode(signature))
    change_row(repository, victim, envelope=envelope)
    with pytest.raises(SignatureInvalidError):
        reopen(hmac_key(), withheld(FRESH)).load("victim")


@pytest.mark.parametrize("material", [bytes([1]) + bytes(31), bytes(32)])
def test_a_public_key_for_which_everybody_can_sign(material: bytes) -> None:
    """Points of small order are no keys: their signatures need no private part."""
    with pytest.raises(SealstoreError, match="everybody can make signatures"):
        Ed25519Public(material)


# ── key files ────────────────────────────────────────────────────────────────


def test_a_keyring_planted_in_the_repository(
    repository: Repository, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to the repository cannot bring keys along."""
    plant(repository, trap, FRESH)
    inside = repository.root / "keyring.json"
    write_keyring_file(inside, Keyring.of([hmac_key(), FRESH]))
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(inside))
    with pytest.raises(KeyringPermissionsError, match="lies inside the repository"):
        Repository.open(repository.root)
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(inside.with_name("missing.json")))
    monkeypatch.setenv("MODEL_REPO_HMAC_KEY_FILE", str(inside))
    with pytest.raises(KeyringPermissionsError, match="lies inside the repository"):
        Repository.open(repository.root)


def test_a_keyring_that_becomes_exposed_while_a_worker_runs(
    repository: Repository, victim: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next load refuses, and goes on once the file is private again."""
    path = tmp_path / "keys" / "ring.json"
    write_keyring_file(path, Keyring.of([hmac_key()]))
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(path))
    with Repository.open(repository.root) as worker:
        assert worker.load(victim.name) == MODEL
        path.chmod(0o644)
        with pytest.raises(KeyringPermissionsError, match="chmod 600"):
            worker.load(victim.name)
        path.chmod(0o600)
        assert worker.load(victim.name) == MODEL


def test_a_worker_whose_keyring_is_taken_away_loads_nothing(
    repository: Repository, victim: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that were read once do not outlive their file."""
    path = tmp_path / "keys" / "ring.json"
    write_keyring_file(path, Keyring.of([hmac_key()]))
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(path))
    with Repository.open(repository.root) as worker:
        path.unlink()
        for attempt in (lambda: worker.load(victim.name), lambda: worker.store(1, "m", "a")):
            with pytest.raises(SealstoreError, match="no key file"):
                attempt()
    assert payload_path(repository, victim).is_file()
