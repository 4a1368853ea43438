"""The ledger: chains, nodes, heads, the map, the settings' versions; approvals and origins.

The table ``history`` of revision 0001 goes. Who migrates has read it before, and writes what it
said into the new history in the same transaction (sealstore.upkeep.migration).

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _string(length: int) -> sa.types.TypeEngine[Any]:
    """Ordered and compared by its bytes, whatever the database's locale is."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _sequence() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the new tables, and drop the old one."""
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
    op.drop_table("history")


def downgrade() -> None:
    """Refuse."""
    raise NotImplementedError("A catalogue is not downgraded: restore the backup from before.")
