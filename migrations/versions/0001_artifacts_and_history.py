"""Artifacts and history.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "artifact",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("tag", sa.String(128), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("created", sa.String(27), nullable=False),
        sa.Column("format", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("user_metadata", sa.Text, nullable=False),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("statement_digest", sa.String(64), nullable=False),
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
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("name", sa.String(128)),
        sa.Column("tag", sa.String(128)),
        sa.Column("revision", sa.BigInteger),
        sa.Column("sha256", sa.String(64)),
        sa.Column("statement_digest", sa.String(64)),
        sa.Column("key_id", sa.String(32)),
    )
    op.create_index("ix_history_name_tag_revision", "history", ["name", "tag", "revision"])


def downgrade() -> None:
    """Refuse."""
    raise NotImplementedError("A catalogue is not downgraded: restore the backup from before.")
