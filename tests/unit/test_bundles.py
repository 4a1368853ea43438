"""Bundles as files: what is written is read back, and what cannot be is an error that says so."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.bundles.file import is_bundle, open_bundle, write_bundle
from sealstore.bundles.format import (
    HEADER_BYTES,
    MAGIC,
    SinceEvidence,
    encode_hints,
    read_hints,
    sealed_index,
)
from sealstore.bundles.verification import never_seen, open_evidence, verify_evidence
from sealstore.errors import (
    BundleFormatError,
    PayloadMissingError,
    StorageError,
)
from sealstore.keys.keyring import Keyring
from sealstore.keys.writing import fingerprint
from tests.bundle_sites import (
    NAMES,
    ORIGIN_KEY,
    BundleSite,
    changed,
    public,
    put_together,
    taken_apart,
)
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    digests_of,
    ed25519_key,
    hmac_key,
    open_descriptors,
)


def test_what_is_written_is_read_back(origin: BundleSite) -> None:
    """Evidence and payloads are the ones that were given, and the layout is the documented one."""
    path = origin.bundle()
    evidence, payloads = taken_apart(path)
    assert [str(each.ref) for each in evidence.artifacts] == [
        "churn:v1@1",
        "churn:v1@2",
        "fraud:2026@1",
    ]
    data = path.read_bytes()
    assert data.startswith(MAGIC)
    assert data[HEADER_BYTES:].startswith(b'{"kind":"bundle-v1"')
    assert data[HEADER_BYTES + int.from_bytes(data[16:24], "big") :].startswith(evidence.head)
    # The first model is stored twice, and is in the bundle once.
    assert len(payloads) == 2
    assert {digests_of(payload).sha256 for payload in payloads.values()} == set(payloads)
    again = put_together(origin.folder / "again.bundle", evidence, payloads)
    assert again.read_bytes() == data


def test_a_bundle_verifies_by_its_bytes_alone(origin: BundleSite) -> None:
    """Evidence, a keyring and nothing else are needed to verify all but the payloads."""
    evidence, _ = taken_apart(origin.bundle())
    keyring = Keyring.of([public(ORIGIN_KEY)])
    bundle, artifacts = verify_evidence(evidence, keyring, never_seen)
    assert bundle.repository == OTHER_REPOSITORY_ID
    assert [each.entry.event for each in artifacts] == ["store"] * 3
    assert [each.verified.statement.predicate.sequence for each in artifacts] == [2, 3, 4]


def test_a_payload_that_is_not_there_is_told(origin: BundleSite) -> None:
    """Asked for a payload of others, a bundle says that it has none."""
    with open_bundle(origin.bundle()) as bundle, pytest.raises(PayloadMissingError):
        bundle.copy_payload(digests_of(b"another"), 7)


def test_nothing_stays_open(origin: BundleSite, tmp_path: Path) -> None:
    """Whether a bundle is read or refused, its file is closed again."""
    path = origin.bundle()
    (tmp_path / "none").write_bytes(b"no bundle")
    before = open_descriptors()
    with open_bundle(path):
        pass
    with pytest.raises(BundleFormatError), open_bundle(tmp_path / "none"):
        pass
    assert not is_bundle(tmp_path / "none")
    for unreadable in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StorageError), open_bundle(unreadable):
            pass
    assert is_bundle(path)
    assert open_descriptors() == before


def test_a_bundle_that_is_cut_while_it_is_read_is_refused(
    origin: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that ends before its size did is refused, not read for ever."""
    path = origin.bundle()
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real(fd, size, at) if at == 0 else b"")
    with pytest.raises(BundleFormatError, match="was cut") as refused, open_bundle(path):
        pass
    assert refused.value.path == str(path)


def test_short_reads_are_continued(origin: BundleSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that gives fewer bytes than asked for is asked again."""
    path = origin.bundle()
    expected, _ = taken_apart(path)
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real(fd, min(size, 100), at))
    with open_bundle(path) as bundle:
        assert bundle.evidence == expected


def test_a_disk_that_fails_is_no_refusal(
    origin: BundleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreadable sector is an error of the storage, under a part as under a payload."""

    def fails(*_: object) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = origin.bundle()
    artifact = origin.repository.get("churn", "v1")
    with open_bundle(path) as bundle:
        monkeypatch.setattr(os, "preadv", fails)
        with pytest.raises(StorageError, match="Input/output error"):
            bundle.copy_payload(artifact.digests, artifact.size)
    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(StorageError, match="Input/output error"), open_bundle(path):
        pass


def test_a_proof_that_is_not_made_of_hashes_is_refused(origin: BundleSite) -> None:
    """A proof's bytes divide into hashes of 32."""
    path = origin.bundle()
    forged = changed(path, since=SinceEvidence(1, (b"short",)))
    with pytest.raises(BundleFormatError, match="not made of hashes"), open_bundle(forged):
        pass


def test_nobody_writes_what_nobody_reads(origin: BundleSite, tmp_path: Path) -> None:
    """Evidence that is no bundle is refused before there is a file."""
    evidence, _ = taken_apart(origin.bundle())
    first = evidence.artifacts[0]
    for wrong in (
        replace(evidence, artifacts=()),
        replace(evidence, artifacts=(replace(first, ref=replace(first.ref, revision=None)),)),
        replace(evidence, head=bytes(limits.MAX_HEAD_ENVELOPE_BYTES + 1)),
    ):
        with pytest.raises(BundleFormatError):
            sealed_index(wrong)
        with pytest.raises(BundleFormatError):
            write_bundle(tmp_path / "x.bundle", wrong, lambda *_: None, replace=False)
    assert list(tmp_path.glob("*.bundle")) == []


# ── the file ─────────────────────────────────────────────────────────────────


@pytest.fixture
def write(origin: BundleSite, tmp_path: Path) -> Callable[..., int]:
    """Writes a bundle to this folder."""
    evidence, payloads = taken_apart(origin.bundle())

    def to(name: str, *, replace: bool = False) -> int:
        return write_bundle(
            tmp_path / name,
            evidence,
            lambda sha256, sink: sink(payloads[sha256]),
            replace=replace,
        )

    return to


def test_a_file_is_private_and_whole(write: Callable[..., int], tmp_path: Path) -> None:
    """A bundle is as confidential as its payloads: nobody else may read it."""
    size = write("a.bundle")
    status = (tmp_path / "a.bundle").stat()
    assert (status.st_mode & 0o777, status.st_size) == (0o600, size)
    assert list(tmp_path.glob(".staging-*")) == []


def test_a_file_that_is_there_stays(write: Callable[..., int], tmp_path: Path) -> None:
    """Nothing is replaced unless that was asked for, a link that leads nowhere neither."""
    (tmp_path / "a.bundle").write_text("precious")
    (tmp_path / "b.bundle").symlink_to(tmp_path / "nowhere")
    for name in ("a.bundle", "b.bundle"):
        with pytest.raises(StorageError, match="exists"):
            write(name)
    assert (tmp_path / "a.bundle").read_text() == "precious"
    assert write("a.bundle", replace=True) == (tmp_path / "a.bundle").stat().st_size


def test_a_file_system_that_refuses_leaves_nothing(
    write: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written or placed is an error, and no file stays."""
    before = set(tmp_path.iterdir())
    with pytest.raises(StorageError):
        write("absent/a.bundle")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(StorageError, match="Permission denied"):
        write("a.bundle")
    assert set(tmp_path.iterdir()) == before


# ── keys and continuity ──────────────────────────────────────────────────────


def test_hints_are_public_and_for_the_origin_only() -> None:
    """Of an Ed25519 pair the public part goes along, of an HMAC key nothing does."""
    one, other = ed25519_key(1), ed25519_key(2)
    keyring = Keyring.of([one, other, hmac_key(3)])
    [hint] = read_hints(encode_hints(keyring, [one.key_id, hmac_key(3).key_id], "33" * 16))
    assert hint.key_id == one.key_id
    assert not hint.can_sign
    assert hint.scope.repositories == frozenset(["33" * 16])
    assert fingerprint(hint) == fingerprint(one)
    assert fingerprint(hmac_key(3)) is None


def test_continuity_tells_what_a_head_is_to_the_one_seen(origin: BundleSite) -> None:
    """First, the same, proven to extend, or only said to be newer."""
    keyring = Keyring.of([public(ORIGIN_KEY)])
    first = origin.bundle()
    older = open_evidence(taken_apart(first)[0], keyring, never_seen)
    assert older.continuity == "first"
    assert open_evidence(older.evidence, keyring, lambda _: older.point).continuity == "same"
    origin.repository.store({"new": 1}, "churn", "v2")
    for since, expected in ((first, "extends"), (None, "newer")):
        evidence, _ = taken_apart(origin.bundle(*NAMES, since=since))
        assert open_evidence(evidence, keyring, lambda _: older.point).continuity == expected
        assert open_evidence(evidence, keyring, never_seen).continuity == "first"


def test_a_proof_since_another_head_is_no_proof_of_this_one(origin: BundleSite) -> None:
    """A proof counts for the very head that was seen."""
    keyring = Keyring.of([public(ORIGIN_KEY)])
    first = origin.bundle()
    origin.repository.store({"new": 1}, "churn", "v2")
    second = open_evidence(taken_apart(origin.bundle())[0], keyring, never_seen)
    origin.repository.store({"new": 2}, "churn", "v3")
    evidence, _ = taken_apart(origin.bundle(*NAMES, since=first))
    assert open_evidence(evidence, keyring, lambda _: second.point).continuity == "newer"
