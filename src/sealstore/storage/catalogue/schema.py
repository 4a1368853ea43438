"""The schema is the shipped one: no trigger, view, column, index or constraint beside or in it.

Whoever may write to a database may give it a program: a trigger that edits what is stored, a view
in a table's place, a default, a check that refuses. Rows are proven when they are read; that the
statements of a change do what they say is to be seen here, before the first of them runs.

What is shipped stands here as SQLite's own text. Alembic's migrations make it, and ``tables``
describes it for PostgreSQL: tests hold the three against each other.
"""

from __future__ import annotations

import re
import sqlite3
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any, Final
from weakref import WeakSet

from sealstore import limits
from sealstore.errors import CatalogueTamperedError, SchemaVersionError, printable

SCHEMA_REVISIONS: Final = ("0001",)
"""Every revision of the schema that a release had, oldest first; the last is this release's."""

Schema = Mapping[tuple[str, str], str]
"""What a database consists of: the definition of each object by its kind and name."""

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

_STEPS_A_CALL: Final = 1_000
_SHOWN_DIFFERENCES: Final = 3
_SHOWN_CHARACTERS: Final = 64
_KINDS: Final = (
    "trigger", "rule", "view", "table", "inheritance", "column", "constraint", "index",
)  # fmt: skip
"""What there can be, the worst first."""

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

# As bytes: what decodes to nothing is then a difference like any other, and no error of the driver.
_READ_SQLITE: Final = (
    "SELECT CAST(type AS BLOB), substr(CAST(name AS BLOB), 1, :name),"
    " CASE WHEN length(CAST(sql AS BLOB)) <= :sql THEN CAST(sql AS BLOB)"
    " WHEN sql IS NOT NULL THEN x'00' END"
    " FROM main.sqlite_master LIMIT :rows"
)
READ_REVISION: Final = "SELECT version_num FROM alembic_version LIMIT 1"


class SqliteConnection(sqlite3.Connection):
    """A connection to SQLite that knows which schema it was found to have.

    Attributes:
        checked: the schema cookie of the file when its schema was checked; None where it was not.
        state: of the file when it was opened.
    """

    checked: int | None = None
    state: tuple[int, ...] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """See ``sqlite3.Connection.execute``; the cursor is known until it is gone."""
        cursor = super().execute(*arguments)
        self._cursors.add(cursor)
        return cursor

    def settle(self) -> None:
        """End every statement: a cursor in a traceback would hold its snapshot for ever."""
        for cursor in list(self._cursors):
            cursor.close()


def require_checked_sqlite(database: SqliteConnection) -> None:
    """Return if the schema is the shipped one; it is read where it may have changed.

    SQLite parses the schema once, and again only where the cookie in the file's header is another
    one than that of what it parsed. What somebody plants without changing the cookie is not seen by
    this connection's parsed schema either; what is planted with it is found here. That holds since
    each transaction of the connection begins with this comparison, and its statements see the file
    as the comparison did: the connection never parsed a schema that was not checked.

    Args:
        database: before its first statement. A transaction begins here if none has.

    Raises:
        SchemaVersionError: the schema is an older or a newer release's.
        CatalogueTamperedError: there is more, less or something else than there should be.
        sqlite3.Error: the database failed.
    """
    if not database.in_transaction:
        database.execute("BEGIN")
    [cookie] = database.execute("PRAGMA main.schema_version").fetchone()
    if database.checked != cookie:
        database.checked = None
        require_shipped_sqlite(database)
        database.checked = cookie


@contextmanager
def bounded_parsing(database: sqlite3.Connection) -> Iterator[None]:
    """Let SQLite give up on a schema that is far larger than the shipped one.

    It reads the whole schema into memory with the first statement of the block that needs any of
    it, whatever the statement asks for.

    Raises:
        CatalogueTamperedError: it gave up.
    """
    # Counted here, since SQLite counts the steps of a prepared statement over all its runs.
    left = limits.MAX_SCHEMA_STEPS // _STEPS_A_CALL

    def give_up() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    usual = database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, limits.MAX_SCHEMA_SQL_BYTES)
    database.set_progress_handler(give_up, _STEPS_A_CALL)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise _tampered("it is far larger than it should be") from error
    finally:
        database.set_progress_handler(None, 0)
        database.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, usual)


# ── SQLite ───────────────────────────────────────────────────────────────────


@lru_cache(maxsize=1)
def expected_sqlite_schema() -> Schema:
    """The normalised SQL of everything that a catalogue consists of, by type and name.

    An empty text stands for the indices that SQLite makes by itself, for keys.
    """
    with closing(sqlite3.connect(":memory:")) as database:
        chains = (_CHAIN.format(chain=chain) for chain in ("history", "access"))
        database.executescript("".join((_ARTIFACTS, *chains, _OTHERS, _REVISION)))
        return _read_sqlite(database)


def require_shipped_sqlite(database: sqlite3.Connection) -> None:
    """Return if the schema of SQLite's file is this release's.

    Args:
        database: in a transaction, so that the schema stays what it is found to be.

    Raises:
        As ``require_checked_sqlite``.
    """
    expected = expected_sqlite_schema()
    with bounded_parsing(database):
        # What is parsed again here is what is read below, in one transaction: a schema that was
        # parsed before it began may have been another one, under the same cookie.
        database.execute("PRAGMA writable_schema=RESET")
        found = dict(_read_sqlite(database))
    for key, definition in _STATISTICS.items():
        if found.get(key) == definition:
            del found[key]

    def read_revision() -> object:
        row = database.execute(READ_REVISION).fetchone()
        return None if row is None else row[0]

    require_equal(expected, found, read_revision)


def _read_sqlite(database: sqlite3.Connection) -> Schema:
    caps = {
        "name": limits.MAX_SCHEMA_SQL_BYTES,
        "sql": limits.MAX_SCHEMA_SQL_BYTES,
        "rows": limits.MAX_SCHEMA_OBJECTS,
    }
    found: dict[tuple[str, str], str] = {}
    for kind, name, sql in database.execute(_READ_SQLITE, caps):
        # Two of one kind and name cannot be: SQLite has parsed them all, and would have refused.
        found[_text(kind), _text(name)] = normalised(_text(sql))
    return found


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


# ── both databases ───────────────────────────────────────────────────────────


def require_equal(expected: Schema, found: Schema, read_revision: Callable[[], object]) -> None:
    """Return if the definitions that were found are the expected ones, all of them.

    Raises:
        SchemaVersionError, CatalogueTamperedError: as ``require_checked_sqlite``.
    """
    versions = {key: text for key, text in expected.items() if key[1].startswith("alembic_version")}
    # Whoever migrates changes both, so the revision is the first thing to look at; where it stands
    # must itself be as shipped.
    if all(found.get(key) == text for key, text in versions.items()):
        require_current_revision(read_revision())
    elif not any(key in found for key in expected if key[0] == "table" and key not in versions):
        require_current_revision(None)
    if expected == found:
        return
    different = sorted(
        (key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)),
        key=lambda key: (_KINDS.index(key[0]) if key[0] in _KINDS else -1, key),
    )
    faults = [_fault(*key, expected.get(key), found.get(key)) for key in different]
    more = len(faults) - _SHOWN_DIFFERENCES
    raise _tampered(
        ", ".join(faults[:_SHOWN_DIFFERENCES]) + (f", and {more} more differences" * (more > 0))
    )


def _fault(kind: str, name: str, expected: str | None, found: str | None) -> str:
    what = "is not as shipped"
    if expected is None:
        what = "does not belong there"
    elif found is None:
        what = "is missing"
    # Whoever planted it chose the name, and of SQLite's the kind.
    shown = printable(name[:_SHOWN_CHARACTERS])
    return f"{kind if kind in _KINDS else 'object'} '{shown}' {what}"


def _tampered(what: str) -> CatalogueTamperedError:
    return CatalogueTamperedError(
        f"The database's schema is not the one that sealstore makes: {what}.",
        hint="find out who changed the database, and what it did to what was stored since; then"
        " restore it from a backup.",
    )


def require_current_revision(revision: object) -> None:
    """Return if ``revision``, as the database has it, is that of this release's schema.

    Raises:
        SchemaVersionError: it is older, newer, or there is none.
    """
    if revision == SCHEMA_REVISIONS[-1]:
        return
    if revision is None:
        raise SchemaVersionError(
            "The catalogue's database has no tables.",
            hint="restore it from a backup; MODEL_REPO_DATABASE_URL may name another database.",
        )
    if revision in SCHEMA_REVISIONS:
        raise SchemaVersionError(
            f"The catalogue has the older schema {revision}.",
            hint="back it up, then run 'sealstore migrate'.",
        )
    raise SchemaVersionError(
        "The catalogue has a newer schema than this release of sealstore knows.",
        hint="install the release of sealstore that wrote it, or a newer one.",
    )
