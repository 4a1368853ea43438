"""The tables. Alembic's migrations make them; a test holds both against each other."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

SCHEMA_REVISIONS: Final = ("0001",)
"""Every revision of the schema that a release had, oldest first; the last is this release's."""

metadata: Final = MetaData()


class _Envelope(LargeBinary):
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
    Column("envelope", _Envelope, nullable=False),
    UniqueConstraint("name", "tag", "revision", name="uq_artifact_name_tag_revision"),
    Index("ix_artifact_name_sequence", "name", "sequence"),
    Index("ix_artifact_tag_sequence", "tag", "sequence"),
    Index("ix_artifact_sha256", "sha256"),
    Index("ix_artifact_key_id", "key_id"),
)

history: Final = Table(
    "history",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("event", _string(32), nullable=False),
    Column("at", _string(27), nullable=False),
    Column("actor", _TEXT, nullable=False),
    Column("name", _string(128)),
    Column("tag", _string(128)),
    Column("revision", BigInteger),
    Column("sha256", _string(64)),
    Column("statement_digest", _string(64)),
    Column("key_id", _string(32)),
    Index("ix_history_name_tag_revision", "name", "tag", "revision"),
)
