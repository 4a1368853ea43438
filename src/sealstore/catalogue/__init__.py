"""The catalogue: the SQL index over the artifacts. Quick to search, and not trusted."""

from sealstore.catalogue.engine import catalogue_engine, shown_url
from sealstore.catalogue.migrations import (
    migrations_path,
    require_current_schema,
    schema_revision,
    upgrade,
)
from sealstore.catalogue.queries import Catalogue, WriteTransaction
from sealstore.catalogue.rows import ArtifactRow, HistoryRow, ListFilter

__all__ = [
    "ArtifactRow",
    "Catalogue",
    "HistoryRow",
    "ListFilter",
    "WriteTransaction",
    "catalogue_engine",
    "migrations_path",
    "require_current_schema",
    "schema_revision",
    "shown_url",
    "upgrade",
]
