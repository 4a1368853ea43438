"""Writes the ledger's golden vectors of version 1: `python -m tests.vectors.generate_ledger`.

Run it only when a *new* version of a format is added, into a folder of its own: what is committed
here was written by a release, and every later release must read it, byte for byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from sealstore.keys.algorithms import Ed25519Private
from sealstore.ledger.authenticated_map import EMPTY_MAP_ROOT, map_key, positions_of, revision_key
from sealstore.ledger.checkpoint import seal_checkpoint
from sealstore.ledger.entries import (
    AccessEntry,
    AccessRequest,
    Act,
    Actor,
    EntryArtifact,
    Outcome,
    encode_entry,
)
from sealstore.ledger.head import AccessHead, Head, encode_head, seal_access_head, seal_head
from sealstore.ledger.history import Event, HistoryEntry
from sealstore.ledger.map_update import encode_value, update
from sealstore.ledger.map_values import (
    AliasValue,
    LatestValue,
    PreviousLatest,
    RevisionValue,
    TagValue,
)
from sealstore.ledger.merkle import Frontier
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from sealstore.ledger.signed_note import NoteKey
from sealstore.signed.envelope import Signer
from tests.vectors.generate import ED25519_KEY, HMAC_KEY, REPOSITORY_ID

FOLDER: Final = Path(__file__).parent / "ledger_v1"
LOG_ID: Final = "1f2e3d4c5b6a79880a1b2c3d4e5f6071"
TIME: Final = "2026-11-23T12:34:56.000789Z"

NAME: Final = "churn model (v2)"
TAG: Final = "2026-11 größe"
ARTIFACT: Final = EntryArtifact(
    name=NAME,
    tag=TAG,
    revision=3,
    sha256="5a" * 32,
    statement="57" * 32,
    key_id=HMAC_KEY.key_id,
)
ACTOR: Final = Actor(user="ada", host="trainer-1", process=4711, actor="job 7 \x1b[31m")

Details = dict[str, bool | int | str | None]
EVENTS: Final[list[tuple[Event, EntryArtifact | None, Details]]] = [
    ("create", None, {"layout": 1, "immutableTags": False, "note": None}),
    ("store", ARTIFACT, {}),
    ("resign", ARTIFACT, {"keyId": ED25519_KEY.key_id}),
    ("settings", None, {"version": 2}),
    ("alias", ARTIFACT, {"alias": "production", "move": 1}),
    ("remove", ARTIFACT, {"reason": 'quotes " \\ / and 😀'}),
    ("key", None, {"keyId": ED25519_KEY.key_id, "state": "retired"}),
]
HISTORY: Final = tuple(
    HistoryEntry(
        sequence=sequence,
        event=event,
        at=TIME,
        by=ACTOR,
        recorded_by=HMAC_KEY.key_id,
        artifact=artifact,
        details=details,
    )
    for sequence, (event, artifact, details) in enumerate(EVENTS, start=1)
)

ACTS: Final[list[tuple[Act, Outcome, str | None, EntryArtifact | None, int | None]]] = [
    ("load", "granted", None, ARTIFACT, None),
    ("verify", "refused", "ARTIFACT_NOT_FOUND", None, None),
    ("load", "failed", "OBJECT_LOAD", ARTIFACT, 1),
]
ACCESS: Final = tuple(
    AccessEntry(
        sequence=sequence,
        act=act,
        outcome=outcome,
        reason=reason,
        at=TIME,
        by=ACTOR,
        context="hetida job 0815",
        recorded_by=HMAC_KEY.key_id,
        request=AccessRequest(name=NAME, tag="latest", revision=None),
        artifact=artifact,
        grant=grant,
    )
    for sequence, (act, outcome, reason, artifact, grant) in enumerate(ACTS, start=1)
)

VALUES: Final = {
    map_key(NAME, TAG): encode_value(TagValue(revision=3, highest=4, statement="57" * 32)),
    map_key(NAME, "latest"): encode_value(LatestValue(tag=TAG, revision=3, statement="57" * 32)),
    map_key(NAME, "production"): encode_value(
        AliasValue(tag=TAG, revision=3, statement="57" * 32, move=1)
    ),
    revision_key(NAME, TAG, 3): encode_value(
        RevisionValue(
            state="removed",
            statement="57" * 32,
            sequence=2,
            previous=PreviousLatest(tag="2026-10", revision=1),
        )
    ),
}
MAP: Final = update(EMPTY_MAP_ROOT, VALUES, {})


def history_head() -> Head:
    """The head of the history of these entries, with this map."""
    frontier = Frontier().extended(map(encode_entry, HISTORY))
    return Head(
        repository=REPOSITORY_ID,
        size=frontier.size,
        root=frontier.root().hex(),
        frontier=tuple(root.hex() for root in frontier.roots),
        time=TIME,
        epoch=1,
        map_root=MAP.root_hash.hex(),
        settings_version=2,
        settings_digest="5e" * 32,
    )


def access_head() -> AccessHead:
    """The head of the access log of these entries."""
    frontier = Frontier().extended(map(encode_entry, ACCESS))
    return AccessHead(
        repository=REPOSITORY_ID,
        size=frontier.size,
        root=frontier.root().hex(),
        frontier=tuple(root.hex() for root in frontier.roots),
        time=TIME,
        log=LOG_ID,
    )


def note_keys() -> dict[str, NoteKey]:
    """How notes identify the two keys, by algorithm."""
    assert isinstance(ED25519_KEY.material, Ed25519Private)
    public = ED25519_KEY.material.public().to_bytes()
    return {
        "ed25519": NoteKey.ed25519(ED25519_KEY.key_id, public),
        "hmac-sha256": NoteKey.hmac_sha256(HMAC_KEY.key_id),
    }


def files() -> dict[str, bytes]:
    """What this release writes, by file name."""
    keys = note_keys()
    # A retired key signs no more: its material does, as it did when it was active.
    signers: list[tuple[NoteKey, Signer]] = [
        (keys["hmac-sha256"], HMAC_KEY),
        (keys["ed25519"], ED25519_KEY.material),
    ]
    tag_key = map_key(NAME, TAG)
    proof = {
        "root": MAP.root_hash.hex(),
        "key": tag_key.hex(),
        "value": VALUES[tag_key].hex(),
        "rows": {position: MAP.rows[position].hex() for position in positions_of(tag_key)},
    }
    return {
        "history.jsonl": b"".join(encode_entry(entry) + b"\n" for entry in HISTORY),
        "access.jsonl": b"".join(encode_entry(entry) + b"\n" for entry in ACCESS),
        "map-values.jsonl": b"".join(value + b"\n" for value in VALUES.values()),
        "map-proof.json": json.dumps(proof, indent=1).encode() + b"\n",
        "head.json": encode_head(history_head()),
        "head-envelope-hmac-sha256.json": seal_head(history_head(), HMAC_KEY),
        "head-envelope-ed25519.json": seal_head(history_head(), ED25519_KEY.material),
        "access-head-envelope.json": seal_access_head(access_head(), HMAC_KEY),
        "checkpoint.txt": seal_checkpoint(HistoryCheckpoint.of(history_head()), signers),
        "access-checkpoint.txt": seal_checkpoint(AccessCheckpoint.of(access_head()), signers[:1]),
        "verifier-keys.txt": "".join(
            f"{key.verifier_key(HistoryCheckpoint.of(history_head()).origin)}\n"
            for key in keys.values()
        ).encode(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file_name, data in files().items():
        (FOLDER / file_name).write_bytes(data)
