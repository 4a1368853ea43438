"""Alembic's entry: runs migrations on the connection that sealstore hands over."""

from __future__ import annotations

from alembic import context

from sealstore.storage.catalogue.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("The catalogue's schema is changed with 'sealstore migrate' only.")

context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
# The caller's transaction is the only one: all of an upgrade, or nothing of it.
context.run_migrations()
