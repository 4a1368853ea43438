"""Storing: what is told, signed and kept, and what changes nothing."""

from __future__ import annotations

import math
import os
import threading
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from sealstore import limits
from sealstore.errors import (
    ImmutableTagError,
    InvalidMetadataError,
    InvalidNameError,
    NoSigningKeyError,
    NotSerialisableError,
    ReservedTagError,
)
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.ledger.consistency import Nodes, consistency_proof
from sealstore.ledger.entries import EntryArtifact
from sealstore.repository import environment, state
from sealstore.repository.facade import Repository
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    ed25519_key,
    envelope_of,
    hmac_key,
    payload_path,
    roles,
    scope,
    snapshot,
    statement_path,
)

MODEL = {"weights": [0.5, 1.5], "name": "a model"}


def test_what_was_stored_is_told_and_signed(repository: Repository) -> None:
    """The returned artifact, the one that is read back and the files say the same."""
    stored = repository.store(MODEL, "churn", "2026-11", metadata={"auc": 0.9}, actor="job 7")
    assert (str(stored.ref), stored.name, stored.tag) == ("churn:2026-11@1", "churn", "2026-11")
    assert (stored.revision, stored.sequence, stored.format) == (1, 2, "joblib")
    assert stored.metadata == {"auc": 0.9}
    assert stored.stored_by == environment.stored_by("job 7")
    assert stored.python == environment.python_version()
    assert stored.key_id == hmac_key().key_id
    assert payload_path(repository, stored).stat().st_size == stored.size
    mirrored = statement_path(repository, stored).read_bytes()
    assert mirrored == envelope_of(repository, stored) + b"\n"
    again = repository.get("churn", "2026-11")
    assert again.to_json() == stored.to_json()
    assert (
        msgspec.json.decode(msgspec.json.encode(stored.to_json()))["sha256"]
        == stored.digests.sha256
    )
    [entry, _] = repository.history()
    assert (entry.event, entry.by.actor, entry.recorded_by) == ("store", "job 7", stored.key_id)
    assert entry.artifact == EntryArtifact(
        name="churn",
        tag="2026-11",
        revision=1,
        sha256=stored.digests.sha256,
        statement=stored.verified.digest,
        key_id=stored.key_id,
    )


def test_a_store_proves_once_that_its_head_extends_what_was_seen(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered is held against the proof that was made when the head was verified."""
    sizes: list[tuple[int, int]] = []

    def counted(nodes: Nodes, old_size: int, new_size: int) -> list[bytes]:
        if old_size < new_size:
            sizes.append((old_size, new_size))
        return consistency_proof(nodes, old_size, new_size)

    repository.store(1, "churn", "1")
    monkeypatch.setattr(state, "consistency_proof", counted)
    repository.store(2, "churn", "2")
    assert sizes == [(2, 3)]
    record = repository.settings.trust_store(repository.root).read()
    assert record is not None
    assert record.point.size == 3


def test_packages_of_the_object_are_signed(repository: Repository) -> None:
    """A load can tell when other versions run."""
    stored = repository.store(np.arange(3), "array", "a")
    assert stored.packages == {"numpy": np.__version__}
    assert all(entry.name.startswith("numpy") for entry in stored.imports)
    assert stored.imports


@pytest.mark.parametrize(
    ("name", "tag", "error"),
    [
        ("../x", "a", InvalidNameError),
        ("x", "a/b", InvalidNameError),
        ("", "a", InvalidNameError),
        ("x", "latest", ReservedTagError),
        ("x", "LATEST", ReservedTagError),
        (None, "a", InvalidNameError),
    ],
)
def test_an_impossible_name_is_refused_before_anything_is_written(
    repository: Repository, name: str, tag: str, error: type[Exception]
) -> None:
    """The request is checked first."""
    before = snapshot(repository.root)
    with pytest.raises(error):
        repository.store(MODEL, name, tag)
    assert snapshot(repository.root) == before


@pytest.mark.parametrize(
    "metadata", ["text", 7, [("a", 1)], {"a": math.nan}, {"a": (1,)}, {1: "a"}, {"a": "x" * 70_000}]
)
def test_impossible_metadata_is_refused_before_anything_is_written(
    repository: Repository, metadata: Any
) -> None:
    """Every refusal of metadata is of one class."""
    before = snapshot(repository.root)
    with pytest.raises(InvalidMetadataError):
        repository.store(MODEL, "m", "a", metadata=metadata)
    assert snapshot(repository.root) == before


def test_any_mapping_can_be_metadata(repository: Repository) -> None:
    """What matters is its content."""
    proxy = types.MappingProxyType({"a": [1]})
    assert repository.store(MODEL, "m", "a", metadata=proxy).metadata == {"a": [1]}
    assert repository.store(MODEL, "m", "a").metadata == {}


def test_the_deepest_metadata_that_is_accepted_can_be_stored(repository: Repository) -> None:
    """No metadata passes the check and fails at signing, after the payload was written."""
    metadata: dict[str, Any] = {}
    for _ in range(limits.MAX_JSON_DEPTH):
        metadata = {"a": metadata}
        try:
            stored = repository.store(MODEL, "m", "a", metadata=metadata)
        except InvalidMetadataError:
            break
        assert stored.metadata == metadata
    else:
        pytest.fail("there is a limit")


@pytest.mark.parametrize("actor", [7, "\ud800", "x" * 257])
def test_an_impossible_actor_is_refused_before_anything_is_written(
    repository: Repository, actor: Any
) -> None:
    """Who stores is text that a statement can carry."""
    before = snapshot(repository.root)
    with pytest.raises(InvalidMetadataError, match="actor"):
        repository.store(MODEL, "m", "a", actor=actor)
    assert snapshot(repository.root) == before


def test_metadata_that_changes_while_the_object_is_pickled_is_signed_as_it_was(
    repository: Repository,
) -> None:
    """What was checked is what is signed."""
    metadata = {"list": [1]}

    class Meddler(dict[str, Any]):
        def __reduce__(self) -> tuple[type, tuple[()]]:
            metadata["list"].append(2)
            return OrderedDict, ()

    assert repository.store(Meddler(), "m", "a", metadata=metadata).metadata == {"list": [1]}


@pytest.mark.invariant(3)
def test_an_object_that_cannot_be_pickled_changes_nothing(repository: Repository) -> None:
    """The version that was there still loads, and no file was added."""
    repository.store(MODEL, "m", "a")
    before = snapshot(repository.root)
    for unpicklable in (threading.Lock(), [1, lambda: None], {"a": threading.Lock()}):
        with pytest.raises(NotSerialisableError, match="m:a"):
            repository.store(unpicklable, "m", "a")
    assert snapshot(repository.root) == before
    assert repository.load("m", "a") == MODEL


@pytest.mark.invariant(3)
def test_storing_again_makes_the_next_revision_and_keeps_the_others(
    repository: Repository,
) -> None:
    """Nothing is lost by storing under the same tag."""
    for number in (1, 2, 3):
        assert repository.store({"number": number}, "m", "a").revision == number
    assert repository.store({"number": 4}, "m", "b").revision == 1
    for number in (1, 2, 3):
        assert repository.load("m", "a", revision=number) == {"number": number}
    assert repository.load("m", "a") == {"number": 3}
    assert repository.load("m") == {"number": 4}
    repository.store({"number": 5}, "m", "a")
    assert repository.load("m") == repository.load("m", "LATEST") == {"number": 5}


def test_equal_objects_share_their_payload(repository: Repository) -> None:
    """Bytes are stored once; each artifact has its own statement."""
    first, second = repository.store(MODEL, "m", "a"), repository.store(MODEL, "n", "b")
    assert first.digests == second.digests
    assert len(list(repository.blobs.sha256s())) == 1
    assert first.verified.digest != second.verified.digest


def test_immutable_tags_refuse_the_second_store(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the object is pickled; and inside the transaction, where two stores meet."""
    with Repository.create(tmp_path / "r", keyring=keyring, immutable_tags=True) as repository:
        repository.store(MODEL, "m", "a")
        before = snapshot(repository.root)
        with pytest.raises(ImmutableTagError, match="store it under a new tag"):
            repository.store(2, "m", "a")
        assert snapshot(repository.root) == before
        with monkeypatch.context() as patch:
            # The other store commits only after this one has looked.
            patch.setattr("sealstore.repository.storing._refuse_early", lambda *_: None)
            with pytest.raises(ImmutableTagError):
                repository.store(2, "m", "a")
        assert repository.load("m", "a") == MODEL
        assert repository.store(2, "m", "b").revision == 1


@pytest.mark.invariant(4)
@pytest.mark.parametrize(
    "key",
    [
        ed25519_key(2, roles=roles(Role.ADMIN)),
        ed25519_key(2, scope=scope(OTHER_REPOSITORY_ID)),
    ],
)
def test_without_a_key_that_may_store_here_nothing_is_written(
    repository: Repository, reopen: Callable[..., Repository], key: Any
) -> None:
    """Roles and scopes are kept by the signer too."""
    before = snapshot(repository.root)
    with pytest.raises(NoSigningKeyError):
        reopen(hmac_key(state=State.RETIRED), key).store(MODEL, "m", "a")
    assert snapshot(repository.root / "objects") == {}
    assert snapshot(repository.root / "statements") == {}
    assert before.keys() == snapshot(repository.root).keys()


def test_files_of_a_repository_are_not_for_everybody(repository: Repository) -> None:
    """Whatever the umask is, others can neither read nor write."""
    before = os.umask(0)
    try:
        repository.store(MODEL, "m", "a")
    finally:
        os.umask(before)
    exposed = [path for path in repository.root.rglob("*") if path.stat().st_mode & 0o022]
    assert exposed == []
