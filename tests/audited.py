"""Ledgers that tests audit and attack: a place with both chains, and an attacker's SQL."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sealstore.errors import ArtifactNotFound
from sealstore.keys.keyring import Keyring
from sealstore.ledger.entries import decode_access_entry
from sealstore.ledger.history import decode_history_entry
from sealstore.repository.facade import Repository
from tests.command_line import Ran, Site
from tests.places import CopiedRepository

FILES = {"history": "catalogue.sqlite3", "access": "access.sqlite3"}
CHAINS = ["history", "access"]
SIZE = 11
"""Entries of each chain: three subtrees, none of them the whole."""


@dataclass
class Audited:
    """A repository with ``SIZE`` entries in each chain, and whoever looks at it or attacks it.

    Attributes:
        repository: the repository.
        site: runs the program as a client that knows the repository.
        tmp_path: where auditors have their own trust states.
    """

    repository: Repository
    site: Site
    tmp_path: Path
    _auditors: Any = None

    def audit(
        self, *arguments: str | Path, code: int = 0, variables: Mapping[str, str] | None = None
    ) -> Ran:
        """Run ``sealstore audit`` as the client that knows the repository."""
        return self.site.run("audit", *arguments, code=code, request=variables)

    def audit_afresh(self, *arguments: str | Path, code: int = 0) -> Ran:
        """Run ``sealstore audit`` as somebody who remembers nothing."""
        self._auditors = self._auditors or itertools.count()
        trust = self.tmp_path / f"auditor-{next(self._auditors)}"
        variables = {"MODEL_REPO_TRUST_STATE": str(trust)}
        return self.audit(*arguments, code=code, variables=variables)

    def verified(self, chain: str, *arguments: str | Path, code: int = 0) -> Any:
        """What ``audit verify --json`` says of one chain."""
        ran = self.audit_afresh("verify", "--chain", chain, "--json", *arguments, code=code)
        [report] = ran.json["chains"]
        assert report["chain"] == chain
        return report

    def findings(self, chain: str, *arguments: str | Path) -> list[tuple[int | None, str]]:
        """Where and what ``audit verify`` finds in one chain."""
        found = self.verified(chain, *arguments, code=1)["findings"]
        assert all(finding["toDo"] for finding in found)
        return [(finding["sequence"], finding["message"]) for finding in found]

    def sql(self, chain: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What an attacker does who may write to the chain's file; {} is the chain's name."""
        path = self.repository.root / FILES[chain]
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(statement.format(chain), parameters).fetchall()

    def entry(self, chain: str, sequence: int) -> bytes:
        """The bytes of an entry."""
        [[data]] = self.sql(chain, "SELECT entry FROM {}_entry WHERE sequence = ?", sequence)
        assert isinstance(data, bytes)
        return data

    def head(self, chain: str) -> bytes:
        """The envelope of the head."""
        [[data]] = self.sql(chain, "SELECT envelope FROM {}_head")
        assert isinstance(data, bytes)
        return data

    def put_head(self, chain: str, envelope: bytes) -> None:
        """Put another head in its place."""
        self.sql(chain, "UPDATE {}_head SET envelope = ?", envelope)

    def grow(self, chain: str, count: int = 3) -> None:
        """Let an honest client append entries."""
        for number in range(count):
            if chain == "history":
                self.repository.store(number, "later", f"{number}")
            else:
                self.repository.load("churn")

    def decoded(self, chain: str, sequence: int) -> Any:
        """An entry."""
        decode = decode_history_entry if chain == "history" else decode_access_entry
        return decode(self.entry(chain, sequence), sequence)


def live(repository: Repository) -> None:
    """Let ``SIZE`` entries come into each chain."""
    for number in range(4):
        repository.store([number], "churn", "2026-11", actor="nightly")
    repository.store([9], "churn", "2026-12")
    repository.store([5], "fraud", "1", actor="ada")
    repository.remove("churn", "2026-12")
    repository.set_alias("churn", "production", "2026-11")
    repository.store([6], "fraud", "2")
    repository.remove("fraud", "2")
    for number in range(8):
        repository.load("churn", "2026-11", revision=number % 4 + 1, actor=f"job {number}")
    repository.load("churn", "production")
    with pytest.raises(ArtifactNotFound):
        repository.load("churn", "2026-12")
    repository.verify("fraud")


@pytest.fixture
def audited(
    copied_repository: CopiedRepository, tmp_path: Path, keyring: Keyring
) -> Iterator[Audited]:
    """A repository with ``SIZE`` entries in each chain."""
    root = tmp_path / "repository"
    site = Site(root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*keyring)
    with copied_repository(live, keyring, root) as repository:
        found = Audited(repository, site, tmp_path)
        for chain in CHAINS:
            found_here = found.sql(chain, "SELECT max(sequence), count(*) FROM {}_entry")
            assert found_here == [(SIZE, SIZE)]
        yield found
