"""What an operator does with the trust state: looks, begins, accepts, forgets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sealstore.audit.documents import read_checkpoint
from sealstore.errors import (
    KnownLocationError,
    TrustStateError,
    UsageError,
)
from sealstore.ledger.points import HistoryCheckpoint
from sealstore.repository.assembly import key_source, open_catalogue
from sealstore.repository.settings import Settings
from sealstore.repository.state import StateKeeper
from sealstore.storage.catalogue import require_current_schema
from sealstore.trust import operating
from sealstore.trust.locations import KnownLocation
from sealstore.trust.record import TrustRecord


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What was accepted in place of what.

    Attributes:
        record: what is remembered now.
        kept: where the file that was there is kept; None if there was none.
    """

    record: TrustRecord
    kept: Path | None


def remembered(settings: Settings) -> KnownLocation | None:
    """What is remembered of the configured repository, readable or not; None if nothing is."""
    trust = settings.trust_store()
    try:
        record = trust.read()
    except TrustStateError as error:
        return KnownLocation(trust.path, error)
    return None if record is None else KnownLocation(trust.path, record)


def read_history_checkpoint(settings: Settings, path: Path) -> HistoryCheckpoint:
    """The checkpoint of the configured repository in a file, verified with the configured keys.

    Args:
        settings: name the keys, and the repository if ``MODEL_REPO_ID`` is set.
        path: the file. Whoever gave it must be trusted: an older checkpoint is genuine as well.

    Raises:
        StorageError: the file cannot be read.
        UsageError: it is a checkpoint of an access log.
        LedgerFormatError: it is no checkpoint.
        VerificationError: a signature is refused, or none is of a known key.
        RepositoryMismatchError: it is of another repository than ``MODEL_REPO_ID``.
        KeyringError: the keys cannot be used.
    """
    checkpoint = read_checkpoint(settings, path).checkpoint
    if not isinstance(checkpoint, HistoryCheckpoint):
        raise UsageError(
            "This is the checkpoint of an access log.",
            hint="give one of the repository's history: 'sealstore audit checkpoint' makes it.",
        )
    return checkpoint


def current_point(settings: Settings) -> HistoryCheckpoint:
    """What the configured repository's head says now, verified, but not held against the memory.

    Raises:
        SealstoreError: as ``Repository.open``, but for what the trust state would refuse.
    """
    root = settings.path.absolute()
    catalogue = open_catalogue(root, settings)
    try:
        require_current_schema(catalogue.engine)
        keys = key_source(settings, root, None)
        keeper = StateKeeper(root, settings, keys, catalogue, settings.trust_store())
        with catalogue.read() as rows:
            point = keeper.verify_alone(rows).point
        # It is going to be remembered: a power loss must not take it back.
        catalogue.engine.sync()
        return point
    finally:
        catalogue.engine.dispose()


def begin_trust(settings: Settings, point: HistoryCheckpoint) -> TrustRecord:
    """Start this client: the repository must be at ``point``, or be a later state of it.

    Raises:
        KnownLocationError: something is remembered already; nothing was changed.
        TrustStateError: the file system refused.
    """
    try:
        return operating.begin(settings.trust_store(), point)
    except KnownLocationError as error:
        error.hint = (
            "'sealstore trust show' says what; 'sealstore trust accept' puts something else in its"
            " place."
        )
        raise


def accept_trust(settings: Settings, point: HistoryCheckpoint) -> Acceptance:
    """Remember ``point`` in place of whatever is remembered.

    Args:
        settings: name the repository.
        point: of a verified checkpoint, or of the verified head that the repository has now.

    Raises:
        TrustStateError: the file system refused.
    """
    trust = settings.trust_store()
    kept = operating.accept(trust, point)
    return Acceptance(TrustRecord.beginning(trust.location, point), kept)
