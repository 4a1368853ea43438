"""Golden vectors: what a release wrote stays readable, and is written the same again."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import EnvelopeFormatError
from sealstore.keys.keyring import Keyring
from sealstore.keys.sources import read_keyring_file
from sealstore.keys.writing import write_keyring_file
from sealstore.signed.drafting import encode
from sealstore.signed.envelope import (
    STATEMENT_PAYLOAD_TYPE,
    open_statement,
    pre_authentication_encoding,
    read_unverified,
)
from sealstore.signed.settings import open_settings
from sealstore.signed.statement import decode
from sealstore.storage.layout import read_settings_file
from tests.sealstore_fixtures import write_private
from tests.vectors import generate

VECTORS = Path(generate.__file__).parent


def committed(name: str) -> bytes:
    return (generate.FOLDER / name).read_bytes()


def test_every_vector_is_committed_and_none_besides() -> None:
    """The script and the folder are about the same files."""
    assert {path.name for path in generate.FOLDER.iterdir()} == set(generate.files())


@pytest.mark.parametrize("name", sorted(generate.files()))
def test_this_release_writes_what_was_committed(name: str) -> None:
    """A change of a format's bytes is a new version of it, not an accident."""
    assert generate.files()[name] == committed(name)


def test_the_committed_statement_decodes() -> None:
    """Every field is what it was."""
    assert decode(committed("statement.json")) == generate.STATEMENT
    assert encode(decode(committed("statement.json"))) == committed("statement.json")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("envelope-hmac-sha256.json", generate.HMAC_KEY),
        ("envelope-ed25519.json", generate.ED25519_KEY),
    ],
)
def test_the_committed_envelopes_open(name: str, key: Any) -> None:
    """With the fixed keys, and with the keyring that was committed beside them."""
    verified = open_statement(committed(name), Keyring.of([key]))
    assert (verified.statement, verified.key_id) == (generate.STATEMENT, key.key_id)
    part = read_unverified(committed(name))
    message = pre_authentication_encoding(part.payload_type, part.payload)
    assert message == committed("statement.pae")
    assert key.material.is_signature(committed("statement.pae"), part.signature)


def test_the_committed_envelope_is_verified_by_the_standard_library_too() -> None:
    """HMAC-SHA256 over the committed encoding: no code of ours is needed to check it."""
    document = json.loads(committed("envelope-hmac-sha256.json"))
    assert base64.b64decode(document["payload"]) == committed("statement.json")
    mac = hmac.digest(bytes(range(32)), committed("statement.pae"), "sha256")
    assert base64.b64decode(document["signatures"][0]["sig"]) == mac


def test_the_committed_keyring_is_read(tmp_path: Path) -> None:
    """Ids, states, roles and scopes are what they were, and it is written the same again."""
    path = write_private(tmp_path / "keyring.json", committed("keyring.json"))
    keyring = read_keyring_file(path, outside=None)
    for again, key in zip(keyring, generate.KEYS, strict=True):
        assert replace(again, material=key.material) == key
        assert again.material.to_bytes() == key.material.to_bytes()
    for name in ("envelope-hmac-sha256.json", "envelope-ed25519.json"):
        assert open_statement(committed(name), keyring).statement == generate.STATEMENT
    write_keyring_file(path, keyring)
    assert path.read_bytes() == committed("keyring.json")


def test_the_committed_settings_open(tmp_path: Path) -> None:
    """A repository of that release is one of this release too."""
    keyring = Keyring.of([generate.HMAC_KEY])
    for name, settings in (
        ("repository.json", generate.SETTINGS),
        ("repository-2.json", generate.SETTINGS_2),
    ):
        (tmp_path / "repository.json").write_bytes(committed(name))
        data = read_settings_file(tmp_path)
        assert open_settings(data, keyring).document == settings


def test_ids_of_keys_do_not_change() -> None:
    """An id that another release computes differently would lock everybody out."""
    assert [key.key_id for key in generate.KEYS] == [
        "be04760d4025ed915db2389affc3f09a",
        "432b07282b30954a70451a3403de43bc",
        "2d2165ac14e3f9283561c218c879997f",
    ]


def test_the_pre_authentication_encoding_is_the_published_one() -> None:
    """DSSE's own example, and its definition, on our own vector."""
    published = json.loads((VECTORS / "dsse.json").read_text(encoding="utf-8"))
    payload = published["payload"].encode()
    assert (
        pre_authentication_encoding(published["payloadType"], payload).decode() == published["pae"]
    )
    statement = committed("statement.json")
    assert committed("statement.pae") == b" ".join(
        [
            b"DSSEv1",
            str(len(STATEMENT_PAYLOAD_TYPE)).encode(),
            STATEMENT_PAYLOAD_TYPE.encode(),
            str(len(statement)).encode(),
            statement,
        ]
    )


def test_the_published_envelope_of_dsse_is_refused() -> None:
    """It is JSON of another spelling, of another type, without a key id: none of it is guessed."""
    published = json.loads((VECTORS / "dsse.json").read_text(encoding="utf-8"))["envelope"]
    assert base64.b64decode(published["payload"]) == b"hello world"
    for data in (json.dumps(published), json.dumps(published, separators=(",", ":"))):
        with pytest.raises(EnvelopeFormatError):
            open_statement(data.encode(), Keyring.of(generate.KEYS))
