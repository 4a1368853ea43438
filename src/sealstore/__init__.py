"""sealstore: a signed repository for Python objects.

    from sealstore import Repository

    repository = Repository.open()
    repository.store(model, "churn", "2026-11")
    model = repository.load("churn", "2026-11")

Names are imported when they are first used, so that ``sealstore --version`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sealstore.admin.adoption import inspect as inspect
    from sealstore.errors import ArtifactNotFound as ArtifactNotFound
    from sealstore.errors import EnvironmentMismatchWarning as EnvironmentMismatchWarning
    from sealstore.errors import SealstoreError as SealstoreError
    from sealstore.errors import VerificationError as VerificationError
    from sealstore.formats.pickling.inspection import Inspection as Inspection
    from sealstore.keys.keyring import Keyring as Keyring
    from sealstore.repository.artifact import Artifact as Artifact
    from sealstore.repository.facade import Repository as Repository
    from sealstore.repository.listing import Page as Page
    from sealstore.storage.catalogue.listing import ListFilter as ListFilter

__version__ = "0.1.0"

_HOMES: Final = {
    "Artifact": "sealstore.repository.artifact",
    "ArtifactNotFound": "sealstore.errors",
    "EnvironmentMismatchWarning": "sealstore.errors",
    "Inspection": "sealstore.formats.pickling.inspection",
    "Keyring": "sealstore.keys.keyring",
    "ListFilter": "sealstore.storage.catalogue.listing",
    "Page": "sealstore.repository.listing",
    "Repository": "sealstore.repository.facade",
    "SealstoreError": "sealstore.errors",
    "VerificationError": "sealstore.errors",
    "inspect": "sealstore.admin.adoption",
}

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604 (the names above, made on first use)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'sealstore' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
