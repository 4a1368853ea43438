"""Artifacts and history.

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


def upgrade() -> None:
    """Make both tables."""
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
    op.create_table(
        "history",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event", _string(32), nullable=False),
        sa.Column("at", _string(27), nullable=False),
        sa.Column("actor", _text(), nullable=False),
        sa.Column("name", _string(128)),
        sa.Column("tag", _string(128)),
        sa.Column("revision", sa.BigInteger),
        sa.Column("sha256", _string(64)),
        sa.Column("statement_digest", _string(64)),
        sa.Column("key_id", _string(32)),
    )
    op.create_index("ix_history_name_tag_revision", "history", ["name", "tag", "revision"])


def downgrade() -> None:
    """Refuse."""
    raise NotImplementedError("A catalogue is not downgraded: restore the backup from before.")
