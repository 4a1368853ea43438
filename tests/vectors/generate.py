"""Writes the golden vectors of format version 1: `python -m tests.vectors.generate`, from the top.

Run it only when a *new* version of a format is added, into a folder of its own: what is committed
here was written by a release, and every later release must read it, byte for byte.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from sealstore.keys.algorithms import Ed25519Private, HmacSha256
from sealstore.keys.changing import DEFAULT_ROLES
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.keys.writing import write_keyring_file
from sealstore.signed.drafting import encode, make_statement, seal_statement
from sealstore.signed.envelope import STATEMENT_PAYLOAD_TYPE, Scope, pre_authentication_encoding
from sealstore.signed.settings import PolicySettings, RepositorySettings, seal_settings
from sealstore.signed.statement import Digests, Import, ImportUse, Predicate, StoredBy
from sealstore.storage.layout import REPOSITORY_FILE

FOLDER: Final = Path(__file__).parent / "v1"
REPOSITORY_ID: Final = "8c2f1a90b7d3465e9f0123456789abcd"

HMAC_KEY: Final = Key(
    HmacSha256(bytes(range(32))),
    State.ACTIVE,
    datetime(2026, 1, 1, tzinfo=UTC),
    DEFAULT_ROLES,
    Scope(None),
)
# The private key of RFC 8032, section 7.1, test 1.
ED25519_KEY: Final = Key(
    Ed25519Private(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    ),
    State.RETIRED,
    datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC),
    frozenset({Role.STORE, Role.APPROVE}),
    Scope(frozenset({REPOSITORY_ID})),
)
REVOKED_KEY: Final = Key(
    HmacSha256(b"k" * 40),
    State.REVOKED,
    datetime(2026, 3, 1, tzinfo=UTC),
    frozenset({Role.ADMIN}),
    Scope(frozenset()),
)
KEYS: Final = (HMAC_KEY, ED25519_KEY, REVOKED_KEY)

STATEMENT: Final = make_statement(
    Predicate(
        repository=REPOSITORY_ID,
        name="churn model (v2)",
        tag="2026-11",
        revision=3,
        sequence=41,
        format="joblib",
        size=123_456_789,
        created="2026-11-23T12:34:56.000789Z",
        stored_by=StoredBy(user="ada", host="trainer-1", actor="job 7 \x1b[31m"),
        python="3.11.7",
        packages={"numpy": "2.4.6", "scikit-learn": "1.9.1"},
        imports=(
            Import("numpy:ndarray", ()),
            Import("sklearn.linear_model._base:LinearRegression", (ImportUse("built", None),)),
            Import("functools:partial", (ImportUse("called", ("numpy:sum", "1")),)),
        ),
        metadata={
            "größe": [1, -1, 0.1, 1e100, -0.0, True, False, None],
            "": {"nested": {"text": 'quotes " \\ / \n and 😀'}},
            "limits": [18446744073709551615, -9223372036854775808],
        },
    ),
    Digests(sha256="5a" * 32, blake3="b3" * 32),
)

SETTINGS: Final = RepositorySettings(
    repository=REPOSITORY_ID,
    version=1,
    created="2026-01-01T00:00:00.000000Z",
    immutable_tags=False,
    policy=PolicySettings(mode="strict", allow=("mine.models:Churn",), deny=()),
)
SETTINGS_2: Final = msgspec.structs.replace(
    SETTINGS, version=2, revoked_keys=(KEYS[1].key_id,), protected_aliases={"production": 2}
)


def files() -> dict[str, bytes]:
    """What this release writes, by file name."""
    statement = encode(STATEMENT)
    written = {
        "statement.json": statement,
        "statement.pae": pre_authentication_encoding(STATEMENT_PAYLOAD_TYPE, statement),
        "envelope-hmac-sha256.json": seal_statement(STATEMENT, HMAC_KEY),
        # The retired key signs no more: its material does, as it did when it was active.
        "envelope-ed25519.json": seal_statement(STATEMENT, ED25519_KEY.material),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written[REPOSITORY_FILE] = seal_settings(SETTINGS, HMAC_KEY) + b"\n"
        written["repository-2.json"] = seal_settings(SETTINGS_2, HMAC_KEY) + b"\n"
        write_keyring_file(folder / "keyring.json", Keyring.of(KEYS))
        written["keyring.json"] = (folder / "keyring.json").read_bytes()
    return written


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file_name, data in files().items():
        (FOLDER / file_name).write_bytes(data)
