"""Key files as documents: what does not decode strictly is refused, and never quoted."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sealstore import limits
from sealstore.errors import (
    KeyringFormatError,
)
from sealstore.keys.keyring import Keyring, State
from sealstore.keys.sources import read_keyring_file
from tests.sealstore_fixtures import (
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    write_private,
    written,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a key file may lie."""
    return tmp_path / "config" / "keyring.json"


def read(path: Path) -> Keyring:
    return read_keyring_file(path, outside=path.parent / "repository")


def test_a_keyring_with_a_missing_or_unknown_field_is_refused(path: Path) -> None:
    """Every field is needed and none is overlooked."""
    document = written(path, hmac_key())
    for part in (document, document["keys"][0]):
        for field in list(part):
            value = part.pop(field)
            write_private(path, document)
            with pytest.raises(KeyringFormatError, match=f"missing required field `{field}`"):
                read(path)
            part[field] = value
        part["unknown"] = 1
        write_private(path, document)
        with pytest.raises(KeyringFormatError, match="does not decode"):
            read(path)
        del part["unknown"]
    write_private(path, document)
    assert len(read(path)) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", "trusted"),
        ("state", "ACTIVE"),
        ("state", None),
        ("roles", ["everything"]),
        ("roles", "store"),
        ("roles", None),
        ("repositories", "all"),
        ("repositories", None),
        ("repositories", ["any"]),
        ("repositories", [REPOSITORY_ID.upper()]),
        ("created", "yesterday"),
        ("created", "2026-13-45T00:00:00.000000Z"),
        ("created", "2026-02-30T25:61:61.000000Z"),
        ("algorithm", "none"),
        ("algorithm", "hmac-md5"),
        ("algorithm", ""),
        ("material", ""),
        ("material", "c2hvcnQ="),
        ("material", "not base64!"),
        ("material", "ü"),
        ("material", None),
        ("material", base64.b64encode(b"k" * (limits.MAX_HMAC_KEY_BYTES + 1)).decode()),
        ("id", "f" * 32),
        ("id", ""),
    ],
)
def test_a_key_that_is_not_what_it_says_is_refused(path: Path, field: str, value: object) -> None:
    """Unknown words, short keys and ids of other material are errors that name the file."""
    document = written(path, hmac_key())
    document["keys"][0][field] = value
    write_private(path, document)
    with pytest.raises(KeyringFormatError) as refusal:
        read(path)
    assert refusal.value.path == str(path)


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, None])
def test_a_keyring_of_another_version_is_refused(path: Path, version: object) -> None:
    """What a later release means is not guessed."""
    write_private(path, written(path, hmac_key()) | {"version": version})
    with pytest.raises(KeyringFormatError, match="does not decode"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b"\xff\xfe",
        b'{"version": 1, "keys": []} ' * 2,
        b"[" * 10_000 + b"]" * 10_000,
        b'{"version": 1, "version": 1, "keys": []}',
        b'{"keys": [], "version": 1, "keys": []}',
    ],
)
def test_a_keyring_that_is_not_strictly_json_is_refused(path: Path, content: bytes) -> None:
    """Neither duplicates nor depth nor anything after the end."""
    with pytest.raises(KeyringFormatError, match="does not decode"):
        read(write_private(path, content))


def test_duplicate_json_keys_are_refused(path: Path) -> None:
    """A second 'state' cannot bring a revoked key back."""
    written(path, hmac_key(state=State.REVOKED))
    text = path.read_text(encoding="utf-8")
    twice = text.replace('"state": "revoked"', '"state": "revoked", "state": "active"')
    assert twice != text
    with pytest.raises(KeyringFormatError, match="one key twice"):
        read(write_private(path, twice))


def test_duplicate_ids_are_refused(path: Path) -> None:
    """Of two entries for one key none is chosen."""
    document = written(path, hmac_key(state=State.REVOKED))
    document["keys"].append(document["keys"][0] | {"state": "active"})
    with pytest.raises(KeyringFormatError, match="in the keyring twice"):
        read(write_private(path, document))


@pytest.mark.invariant(7)
@pytest.mark.parametrize("algorithm", ["hmac-sha256", "ed25519", "ed25519-public"])
def test_material_of_another_algorithm_does_not_keep_its_id(path: Path, algorithm: str) -> None:
    """The id of a key binds its algorithm: 32 bytes of one kind are no key of another."""
    for key in (hmac_key(), ed25519_key()):
        document = written(path, key)
        if document["keys"][0]["algorithm"] != algorithm:
            document["keys"][0]["algorithm"] = algorithm
            with pytest.raises(KeyringFormatError):
                read(write_private(path, document))


def test_a_keyring_over_the_limit_is_refused(path: Path) -> None:
    """A huge file is another one by mistake, and is not read to its end."""
    written(path, hmac_key())
    largest = path.read_bytes().ljust(limits.MAX_KEYRING_BYTES)
    assert len(read(write_private(path, largest))) == 1
    write_private(path, largest + b" ")
    with pytest.raises(KeyringFormatError, match="too large"):
        read(path)


def test_no_refusal_quotes_the_file(path: Path) -> None:
    """A secret in the wrong place of the file does not end up in a log."""
    document = written(path, hmac_key())
    entry = document["keys"][0]
    secret = entry["material"]
    misplaced = [{field: value} for field in entry for value in ([secret], {secret: secret})]
    misplaced += [{field: secret} for field in entry if field != "material"]
    misplaced += [{secret: secret}]
    for fields in misplaced:
        changed = document | {"keys": [entry | {"material": "AAAA"} | fields]}
        with pytest.raises(KeyringFormatError) as refusal:
            read(write_private(path, changed))
        assert secret not in str(refusal.value)
        assert refusal.value.__cause__ is None
    with pytest.raises(KeyringFormatError, match=r"\$\.keys\[0\]\.state is not what it must be"):
        read(write_private(path, document | {"keys": [entry | {"state": secret}]}))
