"""Backing up and restoring: each snapshot is a whole repository, of which files are shared.

``backup`` copies the database by SQLite's online backup, proves the copy's history and map as
``fsck`` does, and puts beside it every payload and statement that the proven history leaves. A
payload that an earlier snapshot has is linked from there; one of the same file system from the
repository. A snapshot gets its name when it is whole and synced, so that none is ever incomplete.

``restore`` copies a snapshot beside its place, checks everything there, and only then moves it.
Neither keys nor trust states are in a backup.
"""

from sealstore.upkeep.backing_up.record import BackupRecord, last_backup
from sealstore.upkeep.backing_up.report import BackupReport
from sealstore.upkeep.backing_up.restoring import RestoreReport, restore
from sealstore.upkeep.backing_up.snapshots import Snapshot, snapshots_in
from sealstore.upkeep.backing_up.writing import backup

__all__ = [
    "BackupRecord",
    "BackupReport",
    "RestoreReport",
    "Snapshot",
    "backup",
    "last_backup",
    "restore",
    "snapshots_in",
]
