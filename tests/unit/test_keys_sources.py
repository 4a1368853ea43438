"""The configured keys: the mounted secret, the keyring file, and when they are read again."""

from __future__ import annotations

import base64
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sealstore import limits
from sealstore.errors import (
    KeyringError,
    KeyringFormatError,
    KeyringNotFoundError,
    KeyringPermissionsError,
)
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import DEFAULT_ROLES
from sealstore.keys.keyring import Keyring, State
from sealstore.keys.mounted import read_hmac_key_file
from sealstore.keys.sources import KeyringSource
from tests.sealstore_fixtures import (
    ed25519_key,
    hmac_key,
    write_private,
    written,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a key file may lie."""
    return tmp_path / "config" / "keyring.json"


# ── a mounted secret ─────────────────────────────────────────────────────────

SECRET = bytes(range(32))


@pytest.mark.parametrize(
    ("content", "material"),
    [
        (SECRET.hex(), SECRET),
        (SECRET.hex().upper() + "\n", SECRET),
        (f"\n  {SECRET.hex()}\r\n", SECRET),
        (base64.b64encode(SECRET), SECRET),
        (base64.b64encode(SECRET * 3) + b"\n", SECRET * 3),
        (base64.b64encode(b"k" * limits.MAX_HMAC_KEY_BYTES), b"k" * limits.MAX_HMAC_KEY_BYTES),
        (("6b" * limits.MAX_HMAC_KEY_BYTES), b"k" * limits.MAX_HMAC_KEY_BYTES),
    ],
)
def test_a_mounted_secret_is_hexadecimal_or_base64(
    path: Path, content: bytes | str, material: bytes
) -> None:
    """What openssl writes is a key for all roles but approving, and for every repository."""
    key = read_hmac_key_file(write_private(path, content), outside=None)
    assert key.material.to_bytes() == material
    assert (key.algorithm, key.state, key.roles, key.scope.repositories) == (
        "hmac-sha256",
        State.ACTIVE,
        DEFAULT_ROLES,
        None,
    )
    assert key.created.timestamp() == pytest.approx(path.stat().st_mtime)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        SECRET,
        SECRET[:31].hex().encode(),
        SECRET.hex()[:-1].encode(),
        base64.b64encode(SECRET[:31]),
        base64.b64encode(SECRET)[:-1],
        base64.urlsafe_b64encode(b"\xff" * 32),
        SECRET.hex().encode() + b" # a comment",
        b"0x" + SECRET.hex().encode(),
        b"password",
        b"6b" * (limits.MAX_HMAC_KEY_BYTES + 1),
        b"6b" * (4 * limits.MAX_HMAC_KEY_BYTES),
    ],
)
def test_a_secret_that_is_short_or_in_no_encoding_is_refused(path: Path, content: bytes) -> None:
    """Nothing is guessed, padded or hashed into a key, and the error names the file alone."""
    with pytest.raises(KeyringFormatError) as refusal:
        read_hmac_key_file(write_private(path, content), outside=None)
    assert refusal.value.path == str(path)
    assert "password" not in str(refusal.value)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640, 0o740])
def test_a_mounted_secret_may_be_read_by_the_group(path: Path, mode: int) -> None:
    """Kubernetes mounts secrets for a pod's fsGroup."""
    write_private(path, SECRET.hex()).chmod(mode)
    assert read_hmac_key_file(path, outside=None).material.to_bytes() == SECRET


@pytest.mark.parametrize("mode", [0o404, 0o444, 0o644, 0o660, 0o604, 0o602, 0o620, 0o450])
def test_a_mounted_secret_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    """The group may read and nothing else; the world may nothing."""
    write_private(path, SECRET.hex()).chmod(mode)
    with pytest.raises(KeyringPermissionsError, match="0400 or 0440 is needed"):
        read_hmac_key_file(path, outside=None)


def test_a_secret_mounted_as_a_link_is_read(path: Path) -> None:
    """Kubernetes mounts a secret as a link into a folder that is a link."""
    write_private(path.parent / "..2026" / "key", SECRET.hex())
    (path.parent / "..data").symlink_to("..2026")
    (path.parent / "key").symlink_to("..data/key")
    key = read_hmac_key_file(path.parent / "key", outside=path.parent.parent / "repository")
    assert key.material.to_bytes() == SECRET


# ── the configured keys ──────────────────────────────────────────────────────


def states(source: KeyringSource) -> dict[str, State]:
    return {key.key_id: key.state for key in source.current()}


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(path: Path) -> None:
    """A worker learns of a revoked key at its next load, and pays nothing for it before."""
    key = hmac_key()
    written(path, key)
    source = KeyringSource(path)
    first = source.current()
    assert source.current() is first
    written(path, replace(key, state=State.REVOKED))
    assert states(source) == {key.key_id: State.REVOKED}
    path.chmod(0o644)
    with pytest.raises(KeyringPermissionsError):
        source.current()
    path.unlink()
    with pytest.raises(KeyringNotFoundError):
        source.current()


def test_a_change_of_same_size_and_time_is_noticed(path: Path) -> None:
    """Restored timestamps hide nothing: the time of the last status change cannot be set."""
    document = written(path, hmac_key(state=State.REVOKED))
    source = KeyringSource(path)
    source.current()
    before = path.stat()
    document["keys"][0]["state"] = "retired"
    text = path.read_text(encoding="utf-8").replace("revoked", "retired")
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert states(source) == {hmac_key().key_id: State.RETIRED}


def test_a_mounted_secret_joins_the_keyring(path: Path) -> None:
    """Both sources are used, and a change of either is noticed."""
    secret = write_private(path.parent / "secret", SECRET.hex())
    written(path, ed25519_key())
    source = KeyringSource(path, secret)
    mounted = HmacSha256(SECRET).key_id
    assert set(states(source)) == {ed25519_key().key_id, mounted}
    write_private(secret, ("k" * 32).encode().hex())
    assert set(states(source)) == {ed25519_key().key_id, HmacSha256(b"k" * 32).key_id}


def test_with_a_mounted_secret_the_keyring_file_may_be_absent(path: Path) -> None:
    """A container needs no file but its secret; a keyring that appears later is read."""
    secret = write_private(path.parent / "secret", SECRET.hex())
    source = KeyringSource(path, secret)
    assert list(states(source)) == [HmacSha256(SECRET).key_id]
    written(path, ed25519_key())
    assert len(source.current()) == 2


@pytest.mark.invariant(4)
def test_with_a_mounted_secret_a_damaged_keyring_file_is_still_refused(path: Path) -> None:
    """A keyring that cannot be read may hold revocations: it is not overlooked."""
    secret = write_private(path.parent / "secret", SECRET.hex())
    source = KeyringSource(path, secret)
    write_private(path, b"{}")
    with pytest.raises(KeyringFormatError):
        source.current()
    path.chmod(0o644)
    with pytest.raises(KeyringPermissionsError):
        source.current()


def test_a_missing_mounted_secret_is_refused(path: Path) -> None:
    """What is configured must be there, though the keyring would do."""
    written(path, ed25519_key())
    with pytest.raises(KeyringNotFoundError):
        KeyringSource(path, path.parent / "secret").current()


@pytest.mark.invariant(4)
@pytest.mark.parametrize("state", [State.REVOKED, State.RETIRED])
def test_revoked_wins_over_a_mounted_secret(path: Path, state: State) -> None:
    """Mounting a key again does not bring it back to life."""
    secret = write_private(path.parent / "secret", SECRET.hex())
    mounted = read_hmac_key_file(secret, outside=None)
    written(path, replace(mounted, state=state))
    assert states(KeyringSource(path, secret)) == {mounted.key_id: state}


def test_key_files_inside_the_repository_are_refused_by_the_source(path: Path) -> None:
    """The composition hands the repository's folder on."""
    inside = path.parent / "secret"
    write_private(inside, SECRET.hex())
    written(path, ed25519_key())
    outside = path.parent.parent / "elsewhere" / "key"
    write_private(outside, SECRET.hex())
    for keyring_path, hmac_path in ((path, None), (path, outside), (outside, inside)):
        with pytest.raises(KeyringError):
            KeyringSource(keyring_path, hmac_path, path.parent).current()


def test_a_slow_reader_does_not_bring_an_older_keyring_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two threads that read at once, the one with the older file does not win for good."""
    written(path, hmac_key())
    source = KeyringSource(path)
    has_read, may_go_on = threading.Event(), threading.Event()
    read_now = KeyringSource._read

    def read_slowly(self: KeyringSource) -> Keyring:
        keyring = read_now(self)
        if threading.current_thread() is slow:
            has_read.set()
            may_go_on.wait()
        return keyring

    monkeypatch.setattr(KeyringSource, "_read", read_slowly)
    slow = threading.Thread(target=source.current)
    slow.start()
    has_read.wait()
    written(path, hmac_key(state=State.REVOKED))
    assert states(source) == {hmac_key().key_id: State.REVOKED}
    may_go_on.set()
    slow.join()
    assert states(source) == {hmac_key().key_id: State.REVOKED}
