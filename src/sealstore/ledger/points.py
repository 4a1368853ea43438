"""What is known of a chain at some time: a head without its frontier, to be remembered and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sealstore.ledger.head import AccessHead, Head


@dataclass(frozen=True, slots=True)
class HistoryCheckpoint:
    """What a repository's head says, without the frontier.

    Attributes:
        repository, epoch, size, root, map_root, settings_version, settings_digest, time: as in
            ``head.Head``.
    """

    role: ClassVar[str] = "store"
    repository: str
    epoch: int
    size: int
    root: str
    map_root: str
    settings_version: int
    settings_digest: str
    time: str

    @classmethod
    def of(cls, head: Head) -> HistoryCheckpoint:
        """The checkpoint of a head."""
        return cls(
            repository=head.repository,
            epoch=head.epoch,
            size=head.size,
            root=head.root,
            map_root=head.map_root,
            settings_version=head.settings_version,
            settings_digest=head.settings_digest,
            time=head.time,
        )

    @property
    def origin(self) -> str:
        """Which chain it is of."""
        return f"sealstore/{self.repository}/history/{self.epoch}"


@dataclass(frozen=True, slots=True)
class AccessCheckpoint:
    """What an access log's head says, without the frontier.

    Attributes:
        repository, log, size, root, time: as in ``head.AccessHead``.
    """

    role: ClassVar[str] = "access"
    repository: str
    log: str
    size: int
    root: str
    time: str

    @classmethod
    def of(cls, head: AccessHead) -> AccessCheckpoint:
        """The checkpoint of a head."""
        return cls(
            repository=head.repository,
            log=head.log,
            size=head.size,
            root=head.root,
            time=head.time,
        )

    @property
    def origin(self) -> str:
        """Which chain it is of."""
        return f"sealstore/{self.repository}/access/{self.log}"
