"""What this client remembers of the repository."""

from __future__ import annotations

from typing import Final

from sealstore.errors import FirstUseError, TrustStateError
from sealstore.repository.settings import Settings
from sealstore.signed.settings import RepositorySettings
from sealstore.upkeep.doctor.check import Check

_TOPIC: Final = "trust state"


def check_trust(settings: Settings, identity: RepositorySettings | None) -> Check:
    """Whether something is remembered, can be used, and is of the repository that is here now.

    Args:
        settings: name the repository and the trust state.
        identity: what its verified settings say; None where they could not be verified.
    """
    try:
        record = settings.trust_store().expected()
    except (FirstUseError, TrustStateError) as error:
        return Check.failed(_TOPIC, error)
    if record is None:
        return Check.ok(_TOPIC, "nothing is remembered of this repository yet")
    point = record.point
    if identity is not None and identity.repository != point.repository:
        return Check.wrong(
            _TOPIC,
            f"this is repository {identity.repository}; {point.repository} was seen here before",
            "find out who exchanged it; if that was on purpose: sealstore trust accept",
            repository=point.repository,
        )
    return Check.ok(
        _TOPIC,
        f"size {point.size} of repository {point.repository}, signed {point.time}, was seen here",
        repository=point.repository,
        size=point.size,
        time=point.time,
    )
