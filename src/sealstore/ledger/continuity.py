"""What may follow what: whether a state of a chain is a later one of the same chain.

A client that remembers a head, or keeps a checkpoint elsewhere, learns here whether what it is
shown now is an older, another or a rewritten repository.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealstore.errors import LedgerTamperedError, RepositoryExchangedError, RollbackError
from sealstore.ledger.consistency import verify_consistency
from sealstore.ledger.head import AccessHead, Head
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint

HistoryPoint = Head | HistoryCheckpoint
"""What is known of a repository at some time."""

AccessPoint = AccessHead | AccessCheckpoint
"""What is known of an access log at some time."""

_ChainPoint = HistoryPoint | AccessPoint


def require_extends(
    older: HistoryPoint, newer: HistoryPoint, consistency_proof: Sequence[bytes]
) -> None:
    """Return if ``newer`` is a later state of the repository that ``older`` is of, or the same.

    1. It is the same repository, and was not rebuilt since.
    2. The history is not shorter, and the settings are not older.
    3. The head is not dated before the older one.
    4. The history begins with all that it held before: the proof shows it.
    5. The settings of one version are the same; so is everything, where nothing was appended.

    A caller that remembers heads reads the remembered one *before* it asks the repository for the
    present one: otherwise a change by another process in between would look like a rollback.

    Args:
        older: what was seen before.
        newer: what is there now, from a verified head.
        consistency_proof: from ``older.size`` to ``newer.size``.

    Raises:
        RepositoryExchangedError: it is another repository, or a rebuilt one.
        RollbackError: it is an older state.
        LedgerTamperedError: it is a state that never followed the older one.
    """
    # steps 1 to 3: the same repository, not shorter, not dated before
    require_not_older(older, newer)
    # step 4: it begins with all that it held before
    _require_consistent(older, newer, consistency_proof)
    # step 5: what has one version is one thing
    if (
        newer.settings_version == older.settings_version
        and newer.settings_digest != older.settings_digest
    ):
        raise LedgerTamperedError("Two settings of the repository have the same version.")
    if newer.size == older.size and (newer.map_root, newer.settings_version) != (
        older.map_root,
        older.settings_version,
    ):
        raise LedgerTamperedError("The repository was changed without an entry in its history.")


def require_not_older(older: HistoryPoint, newer: HistoryPoint) -> None:
    """Return if ``newer`` can be a later state of the repository that ``older`` is of.

    Steps 1 to 3 of ``require_extends``: what can be said without a proof. It shows no fork.

    Raises:
        RepositoryExchangedError: it is another repository, or a rebuilt one.
        RollbackError: it is an older state.
    """
    # step 1: the same repository, not rebuilt since
    _require_same_repository(older, newer)
    if newer.epoch > older.epoch:
        raise RepositoryExchangedError(
            "The repository has been rebuilt since it was last seen here.",
            hint="find out why; if that is right, an operator says so on each client: 'sealstore"
            " trust accept --current'.",
        )
    if newer.epoch < older.epoch:
        raise RollbackError("The repository is the one from before it was rebuilt.")
    # step 2: not shorter, with settings that are not older
    _require_not_shorter(older, newer)
    if newer.settings_version < older.settings_version:
        raise RollbackError(
            f"The repository's settings are of version {newer.settings_version}; version"
            f" {older.settings_version} was seen before."
        )
    # step 3: not dated before
    _require_not_dated_before(older, newer)


def require_extends_access(
    older: AccessPoint, newer: AccessPoint, consistency_proof: Sequence[bytes]
) -> None:
    """Return if ``newer`` is a later state of the access log that ``older`` is of, or the same.

    As for ``require_extends``, with the id of the log in the place of the epoch.

    Raises:
        RepositoryExchangedError: it is another log, or another repository's.
        RollbackError: it is an older state.
        LedgerTamperedError: it is a state that never followed the older one.
    """
    require_later_access(older, newer)
    _require_consistent(older, newer, consistency_proof)


def require_later_access(older: AccessPoint, newer: AccessPoint) -> None:
    """Return if ``newer`` may be a later state of the access log that ``older`` is of.

    That the log begins with all that it held before is not asked: for who verifies the entries in
    between (``merkle.verify_entries``), which shows it without a proof.

    Raises:
        RepositoryExchangedError: it is another log, or another repository's.
        RollbackError: it is an older state.
    """
    _require_same_repository(older, newer)
    if newer.log != older.log:
        raise RepositoryExchangedError("Another access log is where a known one was.")
    _require_not_shorter(older, newer)
    _require_not_dated_before(older, newer)


def _require_same_repository(older: _ChainPoint, newer: _ChainPoint) -> None:
    if newer.repository != older.repository:
        raise RepositoryExchangedError(
            f"This is repository {newer.repository}; {older.repository} was seen here before."
        )


def _require_not_shorter(older: _ChainPoint, newer: _ChainPoint) -> None:
    if newer.size < older.size:
        raise RollbackError(
            f"The ledger has {newer.size} entries; {older.size} were seen here before."
        )


def _require_not_dated_before(older: _ChainPoint, newer: _ChainPoint) -> None:
    # Both have the form of UtcTime, in which the order of the text is that of the time.
    if newer.time < older.time:
        raise RollbackError(
            f"The head was signed at {newer.time}; one of {older.time} was seen here before."
        )


def _require_consistent(older: _ChainPoint, newer: _ChainPoint, proof: Sequence[bytes]) -> None:
    verify_consistency(
        older.size, bytes.fromhex(older.root), newer.size, bytes.fromhex(newer.root), proof
    )
