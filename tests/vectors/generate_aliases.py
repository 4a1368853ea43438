"""Writes the golden vectors of aliases, version 1: `python -m tests.vectors.generate_aliases`.

Run it only when a *new* version of a format is added, into a folder of its own: what is committed
here was written by a release, and every later release must read it, byte for byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sealstore.ledger.alias_names import AliasName
from sealstore.ledger.map_update import encode_value
from sealstore.signed.approval import AliasMove, AliasTarget
from sealstore.signed.approving import encode_move, seal_approval
from sealstore.signed.envelope import APPROVAL_PAYLOAD_TYPE, pre_authentication_encoding
from tests.vectors.generate import ED25519_KEY, REPOSITORY_ID

FOLDER: Final = Path(__file__).parent / "aliases_v1"

MOVE: Final = AliasMove(
    repository=REPOSITORY_ID,
    name="churn model (v2)",
    alias="production",
    target=AliasTarget(tag="2026-11 größe", revision=3, statement="57" * 32),
    move=2,
    previous=AliasTarget(tag="2026-10", revision=1, statement="b0" * 32),
    settings_version=2,
)
FIRST_MOVE: Final = AliasMove(
    repository=REPOSITORY_ID,
    name="churn model (v2)",
    alias="production",
    target=AliasTarget(tag="2026-10", revision=1, statement="b0" * 32),
    move=1,
    previous=None,
    settings_version=1,
)


def files() -> dict[str, bytes]:
    """What this release writes, by file name."""
    # The retired key signs no more: its material does, as it did when it was active.
    return {
        "move.json": encode_move(MOVE),
        "first-move.json": encode_move(FIRST_MOVE),
        "move.pae": pre_authentication_encoding(APPROVAL_PAYLOAD_TYPE, encode_move(MOVE)),
        "approval-ed25519.json": seal_approval(MOVE, ED25519_KEY.material),
        "map-alias-name.json": encode_value(AliasName(alias="production")),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file_name, data in files().items():
        (FOLDER / file_name).write_bytes(data)
