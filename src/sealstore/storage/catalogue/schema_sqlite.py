"""What SQLite's file consists of, and whether a file that looks different is as shipped.

What is shipped stands here as SQLite's own text. Alembic's migrations make it, and ``tables``
describes it for PostgreSQL: tests hold the three against each other.
"""

from __future__ import annotations

import re
import sqlite3
import string
from collections.abc import Iterable
from contextlib import closing
from functools import lru_cache
from typing import Final

from sealstore.storage.catalogue.schema import READ_REVISION, Definition, definitions_in
from sealstore.storage.catalogue.schema_differences import Schema, require_equal

_ARTIFACTS: Final = """
CREATE TABLE artifact (
    sequence BIGINT NOT NULL,
    name VARCHAR(128) NOT NULL,
    tag VARCHAR(128) NOT NULL,
    revision BIGINT NOT NULL,
    created VARCHAR(27) NOT NULL,
    format VARCHAR(64) NOT NULL,
    size BIGINT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    actor TEXT NOT NULL,
    user_metadata TEXT NOT NULL,
    key_id VARCHAR(32) NOT NULL,
    statement_digest VARCHAR(64) NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (sequence),
    CONSTRAINT uq_artifact_name_tag_revision UNIQUE (name, tag, revision)
);
CREATE INDEX ix_artifact_name_sequence ON artifact (name, sequence);
CREATE INDEX ix_artifact_tag_sequence ON artifact (tag, sequence);
CREATE INDEX ix_artifact_sha256 ON artifact (sha256);
CREATE INDEX ix_artifact_key_id ON artifact (key_id);
"""
_CHAIN: Final = """
CREATE TABLE {chain}_entry (
    sequence INTEGER NOT NULL,
    entry BLOB NOT NULL,
    event VARCHAR(32) NOT NULL,
    at VARCHAR(27) NOT NULL,
    name VARCHAR(128),
    tag VARCHAR(128),
    PRIMARY KEY (sequence)
);
CREATE INDEX ix_{chain}_entry_name_sequence ON {chain}_entry (name, sequence);
CREATE TABLE {chain}_node (
    level SMALLINT NOT NULL,
    node_index BIGINT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (level, node_index)
) WITHOUT ROWID;
CREATE TABLE {chain}_head (
    id INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (id)
);
"""
_OTHERS: Final = """
CREATE TABLE origin (
    sequence INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (sequence)
);
CREATE TABLE map_row (
    position INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (position)
);
CREATE TABLE approval (
    digest VARCHAR(64) NOT NULL,
    name VARCHAR(128) NOT NULL,
    alias VARCHAR(128) NOT NULL,
    move BIGINT NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (digest)
);
CREATE INDEX ix_approval_name_alias_move ON approval (name, alias, move);
CREATE TABLE settings (
    version INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    PRIMARY KEY (version)
);
"""
# As every release of Alembic since 0.7 makes it: a test holds both against each other.
_REVISION: Final = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
"""

# What ANALYZE leaves, which operators run, and PRAGMA optimize. Allowed in exactly this form: it
# says to SQLite which index is likely to be quick, so a planted one may cost time, and no answer.
# There is no sqlite_sequence: it comes with AUTOINCREMENT, which no table of ours has.
_STATISTICS: Final = {
    ("table", "sqlite_stat1"): "create table sqlite_stat1 ( tbl , idx , stat )",
    (
        "table",
        "sqlite_stat4",
    ): "create table sqlite_stat4 ( tbl , idx , neq , nlt , ndlt , sample )",
}


@lru_cache(maxsize=1)
def shipped_definitions() -> list[Definition]:
    """Everything that a catalogue consists of, as SQLite makes it of the texts."""
    with closing(sqlite3.connect(":memory:")) as database:
        chains = (_CHAIN.format(chain=chain) for chain in ("history", "access"))
        database.executescript("".join((_ARTIFACTS, *chains, _OTHERS, _REVISION)))
        return definitions_in(database)


@lru_cache(maxsize=1)
def expected_sqlite_schema() -> Schema:
    """The normalised SQL of everything that a catalogue consists of, by type and name.

    An empty text stands for the indices that SQLite makes by itself, for keys.
    """
    return as_schema(shipped_definitions())


def require_shipped_sqlite(database: sqlite3.Connection) -> None:
    """Return if the schema of SQLite's file is this release's.

    Args:
        database: in a transaction, so that the schema stays what it is found to be.

    Raises:
        As ``schema.require_checked_sqlite``.
    """
    found = dict(as_schema(definitions_in(database)))
    for key, definition in _STATISTICS.items():
        if found.get(key) == definition:
            del found[key]

    def read_revision() -> object:
        row = database.execute(READ_REVISION).fetchone()
        return None if row is None else row[0]

    require_equal(expected_sqlite_schema(), found, read_revision)


def as_schema(definitions: Iterable[Definition]) -> Schema:
    """Definitions as they are compared."""
    # Two of one kind and name cannot be: SQLite has parsed them all, and would have refused.
    return {(_text(kind), _text(name)): normalised(_text(sql)) for kind, name, sql in definitions}


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", errors="backslashreplace")


# As https://www.sqlite.org/lang_keywords.html and tokenize.c have it: four ways of quoting, and any
# character outside of ASCII may be part of a word. What is none of these is a token by itself, so
# that a comment differs from no comment.
_TOKEN: Final = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]
    | [A-Za-z0-9_$\x80-\U0010ffff]+ | [^\ \t\n\f\r]""",
    re.VERBOSE,
)
_PLAIN_QUOTED: Final = re.compile(r'"([a-z_][a-z0-9_]*)"')
# SQLite's words are the same in both cases of ASCII's letters, and of no others: to str.lower(),
# the Kelvin sign is a k.
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def normalised(sql: str) -> str:
    """``sql`` with one space between tokens, its words in lower case, and a table's name unquoted.

    Releases of SQLAlchemy differ in white space, and SQLite quotes a table's name when it is
    renamed, there and back. Other quotes stay: ``"unique"`` is a type, and ``UNIQUE`` a constraint.
    """
    tokens: list[str] = []
    for token in _TOKEN.findall(sql):
        if token[0] in "'\"`[":
            plain = _PLAIN_QUOTED.fullmatch(token)
            # Nothing but a name can follow these.
            is_name = plain is not None and tokens[-1:] in (["table"], ["index"], ["on"])
            tokens.append(plain[1] if plain is not None and is_name else token)
        else:
            tokens.append(token.translate(_LOWER))
    return " ".join(tokens)
