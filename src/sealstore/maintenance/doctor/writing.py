"""The writer: whether the fast one works here."""

from __future__ import annotations

from typing import Final

from sealstore.maintenance.doctor.check import Check
from sealstore.pickling.writer_trial import trial

_TOPIC: Final = "writer"


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
        "report it with the versions below; 'sealstore.pickling.writer' logs each such store",
        fallbacks=len(reasons),
        reasons=reasons,
    )
