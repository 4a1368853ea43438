"""Whether what is stored has been backed up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sealstore.errors import SealstoreError
from sealstore.keys.keyring import Keyring, State
from sealstore.repository.settings import Settings
from sealstore.upkeep.backing_up.record import last_backup
from sealstore.upkeep.doctor.check import Check

_TOPIC: Final = "backup"
_OLD: Final = timedelta(days=7)
_COMMAND: Final = "sealstore backup FOLDER, on another disk"


def check_backup(settings: Settings, keyring: Keyring, *, writing: bool) -> Check:
    """Whether a backup was made from here, and how old the last one is.

    Args:
        settings: name the repository and this client's memory.
        keyring: the keys: what a retired one signed is restored on somebody's word only.
        writing: whether anything is stored from here; who only loads makes no backups.
    """
    if settings.database_url is not None:
        return Check.note(
            _TOPIC,
            "the catalogue is in PostgreSQL, whose backups are not seen from here",
            "pg_dump it, then copy the repository's folder",
        )
    try:
        last = last_backup(settings)
    except SealstoreError as error:
        return Check.failed(_TOPIC, error)
    size = _seen_size(settings)
    if last is None:
        # The first entry is the repository's creation.
        if size <= 1:
            return Check.ok(_TOPIC, "nothing is stored yet that could be backed up")
        text = "nothing has been backed up from here"
        if not writing:
            return Check.note(_TOPIC, text, "whoever stores should: sealstore backup FOLDER")
        return Check.wrong(_TOPIC, text, _COMMAND)
    age = datetime.now(UTC) - datetime.fromisoformat(last.at)
    behind = max(0, size - last.size)
    when = "today" if not age.days else f"{age.days} day{'s' * (age.days != 1)} ago"
    changes = f"{behind} change{'s' * (behind != 1)}"
    text = f"last backed up {when} to {last.folder}; {changes} since"
    details = {"at": last.at, "folder": last.folder, "changesSince": behind}
    if last.key_id in keyring.ids(State.REVOKED):
        text = f"{text}; its head was signed with a key that is revoked by now: none restores it"
        return Check.wrong(_TOPIC, text, _COMMAND, **details)
    if last.key_id in keyring.ids(State.RETIRED):
        text = f"{text}; its head was signed with a key that is retired by now"
        return Check.note(_TOPIC, text, f"{_COMMAND}: that one is restored on your word only")
    if behind and age > _OLD:
        return Check.note(_TOPIC, text, _COMMAND, **details)
    return Check.ok(_TOPIC, text, **details)


def _seen_size(settings: Settings) -> int:
    try:
        remembered = settings.trust_store().read()
    except SealstoreError:
        # The check of the trust state says so.
        return 0
    return 0 if remembered is None else remembered.point.size
