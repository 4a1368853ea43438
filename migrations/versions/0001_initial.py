"""Artifacts, their origins and approvals; the ledger's chains, nodes and heads; map and settings.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _string(length: int) -> sa.types.TypeEngine[Any]:
    """Ordered and compared by its bytes, whatever the database's locale is."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _text() -> sa.types.TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _sequence() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    _make_artifacts()
    _make_chains()
    _make_others()


def _make_artifacts() -> None:
    op.create_table(
        "artifact",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", _string(128), nullable=False),
        sa.Column("tag", _string(128), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created", _string(27), nullable=False),
        sa.Column("format", _string(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", _string(64), nullable=False),
        sa.Column("actor", _text(), nullable=False),
        sa.Column("user_metadata", _text(), nullable=False),
        sa.Column("key_id", _string(32), nullable=False),
        sa.Column("statement_digest", _string(64), nullable=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("name", "tag", "revision", name="uq_artifact_name_tag_revision"),
    )
    op.create_index("ix_artifact_name_sequence", "artifact", ["name", "sequence"])
    op.create_index("ix_artifact_tag_sequence", "artifact", ["tag", "sequence"])
    op.create_index("ix_artifact_sha256", "artifact", ["sha256"])
    op.create_index("ix_artifact_key_id", "artifact", ["key_id"])


def _make_chains() -> None:
    for chain in ("history", "access"):
        op.create_table(
            f"{chain}_entry",
            sa.Column("sequence", _sequence(), primary_key=True, autoincrement=False),
            sa.Column("entry", sa.LargeBinary, nullable=False),
            sa.Column("event", _string(32), nullable=False),
            sa.Column("at", _string(27), nullable=False),
            sa.Column("name", _string(128)),
            sa.Column("tag", _string(128)),
        )
        op.create_index(f"ix_{chain}_entry_name_sequence", f"{chain}_entry", ["name", "sequence"])
        op.create_table(
            f"{chain}_node",
            sa.Column("level", sa.SmallInteger, primary_key=True, autoincrement=False),
            sa.Column("node_index", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("digest", sa.LargeBinary, nullable=False),
            sqlite_with_rowid=False,
        )
        op.create_table(
            f"{chain}_head",
            sa.Column("id", _sequence(), primary_key=True, autoincrement=False),
            sa.Column("envelope", sa.LargeBinary, nullable=False),
        )


def _make_others() -> None:
    op.create_table(
        "origin",
        sa.Column("sequence", _sequence(), primary_key=True, autoincrement=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "map_row",
        sa.Column("position", _sequence(), primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "settings",
        sa.Column("version", _sequence(), primary_key=True, autoincrement=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "approval",
        sa.Column("digest", _string(64), primary_key=True),
        sa.Column("name", _string(128), nullable=False),
        sa.Column("alias", _string(128), nullable=False),
        sa.Column("move", sa.BigInteger, nullable=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_approval_name_alias_move", "approval", ["name", "alias", "move"])


def downgrade() -> None:
    """Refuse."""
    raise NotImplementedError("A catalogue is not downgraded: restore the backup from before.")
