"""The tables. Alembic's migrations make them; a test holds both against each other."""

from __future__ import annotations

from typing import Final

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

SCHEMA_REVISIONS: Final = ("0001",)
"""Every revision of the schema that a release had, oldest first; the last is this release's."""

metadata: Final = MetaData()

artifact: Final = Table(
    "artifact",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(128), nullable=False),
    Column("tag", String(128), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created", String(27), nullable=False),
    Column("format", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("actor", Text, nullable=False),
    Column("user_metadata", Text, nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("statement_digest", String(64), nullable=False),
    Column("envelope", LargeBinary, nullable=False),
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
    Column("event", String(32), nullable=False),
    Column("at", String(27), nullable=False),
    Column("actor", Text, nullable=False),
    Column("name", String(128)),
    Column("tag", String(128)),
    Column("revision", BigInteger),
    Column("sha256", String(64)),
    Column("statement_digest", String(64)),
    Column("key_id", String(32)),
    Index("ix_history_name_tag_revision", "name", "tag", "revision"),
)
