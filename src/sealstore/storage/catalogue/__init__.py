"""The catalogue: the SQL index over the artifacts. Quick to search, and not trusted."""

from sealstore.storage.catalogue.access_rows import AccessRows, AccessWriter
from sealstore.storage.catalogue.approvals import ApprovalRow, ApprovalRows
from sealstore.storage.catalogue.chains import ChainReader, ChainWriter, EntryRow, MapRows, NodeRow
from sealstore.storage.catalogue.engine import catalogue_engine, shown_url
from sealstore.storage.catalogue.forking import no_fork
from sealstore.storage.catalogue.lookup import Answer
from sealstore.storage.catalogue.migrations import (
    migrations_path,
    require_current_schema,
    schema_revision,
    upgrade,
    upgrading,
)
from sealstore.storage.catalogue.queries import Catalogue, Reading, WriteTransaction
from sealstore.storage.catalogue.rows import ArtifactRow, LegacyHistoryRow, ListFilter

__all__ = [
    "AccessRows",
    "AccessWriter",
    "Answer",
    "ApprovalRow",
    "ApprovalRows",
    "ArtifactRow",
    "Catalogue",
    "ChainReader",
    "ChainWriter",
    "EntryRow",
    "LegacyHistoryRow",
    "ListFilter",
    "MapRows",
    "NodeRow",
    "Reading",
    "WriteTransaction",
    "catalogue_engine",
    "migrations_path",
    "no_fork",
    "require_current_schema",
    "schema_revision",
    "shown_url",
    "upgrade",
    "upgrading",
]
