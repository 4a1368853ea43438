"""Making an access log that is not the repository's own: where its loaders may write."""

from __future__ import annotations

from sealstore.repository.access_log.operating import create as create_log
from sealstore.repository.access_log.place import open_access_log
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings


def create_access_log(settings: Settings) -> str:
    """Make the configured access log of the configured repository.

    Args:
        settings: names both, and the keys.

    Returns:
        The log's location, as a URL without any password.

    Raises:
        AccessLogExistsError: there is one already, or this client remembers one there.
        AccessLogError: its database cannot be written.
        NoSigningKeyError: no active key has the role access.
        SealstoreError: as ``Repository.open``.
    """
    with Repository.open(settings=settings) as repository:
        root = repository.root
        log = open_access_log(
            settings,
            root,
            repository.id,
            lambda: repository.keyring,
            settings.trust_store(root),
            create=True,
        )
        try:
            create_log(log)
        finally:
            log.close()
        return log.location
