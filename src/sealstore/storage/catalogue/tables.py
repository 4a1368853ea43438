"""The tables as SQLAlchemy describes them: for PostgreSQL, for migrations, and for the tests.

A load from SQLite does not import this: ``schema`` and the statements are texts, and tests hold
each of them against these tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

metadata: Final = MetaData()


class _Bytes(LargeBinary):
    """Bytes as the driver gives them.

    SQLAlchemy 1.4 would call ``bytes`` on them, which makes of a planted integer as many zeros.
    """

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """None: values are not converted."""
        return


def _string(length: int) -> TypeEngine[Any]:
    """Text of so many characters, ordered and compared by its bytes as SQLite does it.

    PostgreSQL would do it as its database's locale says, and an index in such an order is wrong as
    soon as the system's libraries learn another one.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


_TEXT: Final[TypeEngine[Any]] = Text().with_variant(Text(collation="C"), "postgresql")

_SEQUENCE: Final = BigInteger().with_variant(Integer, "sqlite")
"""Counted from 1. In SQLite, only an INTEGER is the row's own number, without an index beside."""

artifact: Final = Table(
    "artifact",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("name", _string(128), nullable=False),
    Column("tag", _string(128), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created", _string(27), nullable=False),
    Column("format", _string(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", _string(64), nullable=False),
    Column("actor", _TEXT, nullable=False),
    Column("user_metadata", _TEXT, nullable=False),
    Column("key_id", _string(32), nullable=False),
    Column("statement_digest", _string(64), nullable=False),
    Column("envelope", _Bytes, nullable=False),
    UniqueConstraint("name", "tag", "revision", name="uq_artifact_name_tag_revision"),
    Index("ix_artifact_name_sequence", "name", "sequence"),
    Index("ix_artifact_tag_sequence", "tag", "sequence"),
    Index("ix_artifact_sha256", "sha256"),
    Index("ix_artifact_key_id", "key_id"),
)


@dataclass(frozen=True, slots=True)
class ChainTables:
    """The tables of one chain of the ledger.

    Attributes:
        entry: the entries' bytes by sequence, counted from 1; the other columns repeat what they
            say, to be searched. Of an access log, ``event`` is the act with its outcome.
        node: the Merkle tree's nodes, which only save work.
        head: one row, the signed head.
    """

    entry: Table
    node: Table
    head: Table

    @classmethod
    def of(cls, chain: str) -> Self:
        """The tables of a chain, ``history`` or ``access``."""
        return cls(
            Table(
                f"{chain}_entry",
                metadata,
                Column("sequence", _SEQUENCE, primary_key=True, autoincrement=False),
                Column("entry", _Bytes, nullable=False),
                Column("event", _string(32), nullable=False),
                Column("at", _string(27), nullable=False),
                Column("name", _string(128)),
                Column("tag", _string(128)),
                Index(f"ix_{chain}_entry_name_sequence", "name", "sequence"),
            ),
            Table(
                f"{chain}_node",
                metadata,
                Column("level", SmallInteger, primary_key=True, autoincrement=False),
                Column("node_index", BigInteger, primary_key=True, autoincrement=False),
                Column("digest", _Bytes, nullable=False),
                sqlite_with_rowid=False,
            ),
            Table(
                f"{chain}_head",
                metadata,
                Column("id", _SEQUENCE, primary_key=True, autoincrement=False),
                Column("envelope", _Bytes, nullable=False),
            ),
        )


history: Final = ChainTables.of("history")
access: Final = ChainTables.of("access")
"""The access log, which may have a database of its own: there, the other tables stay empty."""

origin: Final = Table(
    "origin",
    metadata,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("envelope", _Bytes, nullable=False),
)
"""The envelopes that imported artifacts had where they come from, by the sequence of the import."""

map_row: Final = Table(
    "map_row",
    metadata,
    Column("position", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("content", _Bytes, nullable=False),
)

approval: Final = Table(
    "approval",
    metadata,
    Column("digest", _string(64), primary_key=True),
    Column("name", _string(128), nullable=False),
    Column("alias", _string(128), nullable=False),
    Column("move", BigInteger, nullable=False),
    Column("envelope", _Bytes, nullable=False),
    Index("ix_approval_name_alias_move", "name", "alias", "move"),
)
"""The approvals of every move of an alias, by the SHA-256 of their envelopes."""

settings: Final = Table(
    "settings",
    metadata,
    Column("version", _SEQUENCE, primary_key=True, autoincrement=False),
    Column("envelope", _Bytes, nullable=False),
)
"""Every version of the signed settings: a change of them is in the head's transaction this way."""

alembic_version: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""As every release of Alembic since 0.7 makes it: a test holds both against each other."""
