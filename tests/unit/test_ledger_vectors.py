"""The ledger's golden vectors: what a release wrote is read, proven and written the same again."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256

import pytest

from sealstore.keys.keyring import Keyring
from sealstore.ledger.authenticated_map import prove
from sealstore.ledger.checkpoint import open_checkpoint
from sealstore.ledger.entries import decode_access_entry
from sealstore.ledger.head import decode_head, open_access_head, open_head
from sealstore.ledger.history import decode_history_entry
from sealstore.ledger.map_update import encode_value
from sealstore.ledger.map_values import decode_revision, decode_segment
from sealstore.ledger.merkle import verify_entries
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from sealstore.ledger.signed_note import read_note
from sealstore.names import Tag
from sealstore.signed.envelope import pre_authentication_encoding, read_unverified
from tests.ledger_trees import naive_answer, naive_root
from tests.vectors import generate_ledger
from tests.vectors.generate import ED25519_KEY, HMAC_KEY

KEYRING = Keyring.of([HMAC_KEY, ED25519_KEY])
ACTIVE = {HMAC_KEY.key_id}


def committed(name: str) -> bytes:
    return (generate_ledger.FOLDER / name).read_bytes()


def committed_lines(name: str) -> list[bytes]:
    return committed(name).split(b"\n")[:-1]


def test_every_vector_is_committed_and_none_besides() -> None:
    """The script and the folder are about the same files."""
    names = {path.name for path in generate_ledger.FOLDER.iterdir()}
    assert names == set(generate_ledger.files())


@pytest.mark.parametrize("name", sorted(generate_ledger.files()))
def test_this_release_writes_what_was_committed(name: str) -> None:
    """A change of a format's bytes is a new version of it, not an accident."""
    assert generate_ledger.files()[name] == committed(name)


def test_the_committed_entries_decode_and_lead_to_the_committed_heads() -> None:
    """Every field is what it was, and the roots are those of the RFC's own definition."""
    history, access = committed_lines("history.jsonl"), committed_lines("access.jsonl")
    entries = [decode_history_entry(data, place) for place, data in enumerate(history, 1)]
    assert tuple(entries) == generate_ledger.HISTORY
    accesses = [decode_access_entry(data, place) for place, data in enumerate(access, 1)]
    assert tuple(accesses) == generate_ledger.ACCESS
    head = open_head(committed("head-envelope-hmac-sha256.json"), KEYRING, ACTIVE).head
    assert head == decode_head(committed("head.json")) == generate_ledger.history_head()
    assert naive_root(history).hex() == head.root
    verify_entries(history, head.size, bytes.fromhex(head.root))
    access_head = open_access_head(committed("access-head-envelope.json"), KEYRING, ACTIVE).head
    assert access_head == generate_ledger.access_head()
    assert naive_root(access).hex() == access_head.root


def test_the_committed_head_of_an_ed25519_key_opens() -> None:
    """With the key that signed it, as long as that key is active."""
    active = {ED25519_KEY.key_id}
    opened = open_head(committed("head-envelope-ed25519.json"), KEYRING, active)
    assert (opened.head, opened.key_id) == (generate_ledger.history_head(), ED25519_KEY.key_id)


def test_the_committed_head_is_verified_by_the_standard_library_too() -> None:
    """HMAC-SHA256 over DSSE's encoding: no code of ours is needed to check it."""
    part = read_unverified(committed("head-envelope-hmac-sha256.json"))
    message = pre_authentication_encoding("application/vnd.sealstore.head+json", part.payload)
    assert part.payload == committed("head.json")
    assert part.signature == hmac.digest(bytes(range(32)), message, "sha256")


def test_the_committed_map_proves_its_value() -> None:
    """Four committed rows lead from the committed head to the committed value."""
    proof = json.loads(committed("map-proof.json"))
    rows = {int(position): bytes.fromhex(row) for position, row in proof["rows"].items()}
    root, key, value = (bytes.fromhex(proof[each]) for each in ("root", "key", "value"))
    assert decode_head(committed("head.json")).map_root == root.hex()
    assert prove(root, key, rows) == naive_answer(root, key, rows) == value
    assert value == committed_lines("map-values.jsonl")[0]


def test_the_committed_values_decode() -> None:
    """Every field is what it was."""
    tag, latest, alias, revision = committed_lines("map-values.jsonl")
    for segment, data in (
        (Tag(generate_ledger.TAG), tag),
        (Tag("latest"), latest),
        (Tag("production"), alias),
    ):
        assert encode_value(decode_segment(segment, data)) == data
    assert encode_value(decode_revision(revision)) == revision


def test_the_committed_checkpoints_open() -> None:
    """They are those of the committed heads, and one of the two keys is enough."""
    keys = generate_ledger.note_keys().values()
    opened = open_checkpoint(committed("checkpoint.txt"), keys, KEYRING)
    assert opened.checkpoint == HistoryCheckpoint.of(generate_ledger.history_head())
    assert opened.key_ids == (HMAC_KEY.key_id, ED25519_KEY.key_id)
    opened = open_checkpoint(committed("access-checkpoint.txt"), keys, KEYRING)
    assert opened.checkpoint == AccessCheckpoint.of(generate_ledger.access_head())


def test_the_committed_checkpoint_is_verified_by_the_standard_library_too() -> None:
    """HMAC-SHA256 over the text, under the hash of the key that was committed."""
    note = read_note(committed("checkpoint.txt"))
    by_hmac = note.signatures[0]
    assert by_hmac.signature == hmac.digest(bytes(range(32)), note.text, "sha256")
    for line in committed("verifier-keys.txt").decode().splitlines():
        name, key_hash, _ = line.split("+", 2)
        assert name == by_hmac.name
        assert key_hash in {each.key_hash.hex() for each in note.signatures}
    seed = b"\xffsealstore-hmac-sha256-v1" + bytes.fromhex(HMAC_KEY.key_id)
    assert by_hmac.key_hash == sha256(by_hmac.name.encode() + b"\n" + seed).digest()[:4]
