"""The writer: whether the fast one works here, and whether it did."""

from __future__ import annotations

from collections import Counter
from typing import Final

from sealstore import limits
from sealstore.errors import SealstoreError
from sealstore.formats.pickling.writer import trial
from sealstore.ledger import decode_history_entry
from sealstore.repository.assembly import open_catalogue
from sealstore.repository.settings import Settings
from sealstore.repository.storing import FALLBACK
from sealstore.upkeep.doctor.check import Check

_TOPIC: Final = "writer"
_WRITTEN: Final = "written"


def check_writer() -> Check:
    """Whether joblib has to write what is stored from here, and why.

    A process that stores counts its own fallbacks, and this is another process. So representative
    objects are written, by the interpreter and the packages that run here.
    """
    reasons = {kind: reason for kind, reason in trial().items() if reason is not None}
    if not reasons:
        return Check.ok(_TOPIC, "the fast writer writes every kind of object", fallbacks=0)
    told = "; ".join(f"{kind} ({reason})" for kind, reason in reasons.items())
    return Check.note(
        _TOPIC,
        f"joblib writes, as well and more slowly: {told}",
        "report it with the versions below; the logger 'sealstore.formats.pickling.writer' names"
        " each such store",
        fallbacks=len(reasons),
        reasons=reasons,
    )


def check_written(settings: Settings) -> list[Check]:
    """How many of the newest stores joblib had to write, by the history's own words.

    They are not proven here, and decide nothing. A history that cannot be read is told elsewhere.
    """
    try:
        reasons, looked_at = _newest_fallbacks(settings)
    except SealstoreError:
        return []
    count = reasons.total()
    text = f"joblib wrote {count} of the payloads of the newest {looked_at} changes"
    if not count:
        return [Check.ok(_WRITTEN, text, written=0, changes=looked_at)]
    told = "; ".join(f"{reason} ({times})" for reason, times in reasons.most_common())
    return [
        Check.note(
            _WRITTEN,
            f"{text}, as well and more slowly: {told}",
            "report the reasons with the versions below; loads of them are as fast as of others",
            written=count,
            changes=looked_at,
            reasons=dict(reasons),
        )
    ]


def _newest_fallbacks(settings: Settings) -> tuple[Counter[str], int]:
    catalogue = open_catalogue(settings.path.absolute(), settings)
    try:
        with catalogue.read() as rows:
            newest = rows.history.newest_rows(limit=limits.MAX_LIST_ROWS)
    finally:
        catalogue.engine.dispose()
    entries = [decode_history_entry(row.entry, row.sequence) for row in newest]
    reasons = (entry.details.get(FALLBACK) for entry in entries)
    return Counter(reason for reason in reasons if isinstance(reason, str)), len(newest)
