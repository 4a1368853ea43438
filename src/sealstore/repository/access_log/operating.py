"""The access log as its operator makes it, and as an auditor reads it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sealstore.errors import AccessLogExistsError
from sealstore.keys.keyring import Role, State
from sealstore.ledger.head import AccessHead, VerifiedHead, seal_access_head
from sealstore.ledger.merkle import EMPTY_ROOT
from sealstore.repository import environment
from sealstore.repository.access_log.log import (
    AccessLog,
    access_log_errors,
    open_log_head,
    present_envelope,
)
from sealstore.storage.catalogue.ledger_rows import ChainReader
from sealstore.storage.catalogue.migrations import upgrade

_LOG_ID_BYTES: Final = 16


def create(log: AccessLog) -> None:
    """Make an empty log: the tables, and the first head, of a log with a random id.

    Where only the tables are there, as after a crash or in the catalogue's database, they are
    used.

    Raises:
        AccessLogExistsError: there is one, or rows of one, or this client remembers one here.
        AccessLogError: the database cannot be written.
        SchemaVersionError: the database has another release's tables.
        NoSigningKeyError: no active key has the role access.
    """
    if log.remembered() is not None:
        raise AccessLogExistsError(
            "An access log of this place is remembered; it is not replaced by an empty one."
        )
    signer = log.keys().signer(Role.ACCESS, log.repository)
    head = AccessHead(
        repository=log.repository,
        log=secrets.token_hex(_LOG_ID_BYTES),
        size=0,
        root=EMPTY_ROOT.hex(),
        frontier=(),
        time=environment.now(),
    )
    with access_log_errors():
        upgrade(log.rows.engine)
        with log.rows.write(durable=True) as rows:
            if rows.head() is not None or rows.newest_sequence():
                raise AccessLogExistsError("The database already holds an access log.")
            rows.replace_head(seal_access_head(head, signer))
    log.remember(head)


@dataclass(frozen=True, slots=True)
class AccessReading:
    """The log as one snapshot sees it, for auditors.

    Attributes:
        chain: entries and nodes, none of them believed yet.
        envelope: of the head, unverified; None where there is none.
    """

    chain: ChainReader
    envelope: bytes | None
    _log: AccessLog

    def head(self) -> VerifiedHead[AccessHead]:
        """The verified head: what the chain must hold, and nothing else.

        Raises:
            AccessLogNotFoundError: there is none.
            VerificationError: it is refused.
        """
        log = self._log
        return open_log_head(
            present_envelope(self.envelope), log.keys(), log.repository, State.ACTIVE
        )


@contextmanager
def read(log: AccessLog) -> Iterator[AccessReading]:
    """The log in one snapshot.

    Raises:
        AccessLogNotFoundError: there is no log.
        AccessLogError: the database failed.
    """
    with access_log_errors():
        log.require_log()
        with log.rows.read() as chain:
            yield AccessReading(chain, chain.head(), log)
