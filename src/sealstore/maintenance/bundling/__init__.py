"""Bundles: making them of a repository, verifying them anywhere, importing them into another.

A bundle is the way into a site without a network. ``sealstore.bundles`` has the format and decides;
here it meets repositories, keyrings, and what this client remembers.
"""

from sealstore.maintenance.bundling.checking import BundleReport, bundle_keys, verify_bundle
from sealstore.maintenance.bundling.creating import BundleCreated, create_bundle
from sealstore.maintenance.bundling.importing import Imported, ImportReport, Skipped, import_bundle

__all__ = [
    "BundleCreated",
    "BundleReport",
    "ImportReport",
    "Imported",
    "Skipped",
    "bundle_keys",
    "create_bundle",
    "import_bundle",
    "verify_bundle",
]
