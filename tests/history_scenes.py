"""A repository's whole life as an attacker keeps it: every state that its files ever had."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sealstore.errors import SealstoreError
from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.signed.settings import PolicySettings

Row = tuple[Any, ...]
Request = tuple[str, str, int | None]

TABLES = (
    "artifact", "history_entry", "history_node", "history_head", "map_row", "settings", "approval",
)  # fmt: skip
REFUSED = object()
"""What a request comes to that is refused, or finds nothing."""

NEVER = ("never", "v1", None)

Step = Callable[[Repository], object]
STEPS: tuple[Step, ...] = (
    lambda repository: repository.store("one", "churn", "v1"),
    lambda repository: repository.store("two", "churn", "v1"),
    lambda repository: repository.store("other", "fraud", "v1"),
    lambda repository: repository.store("three", "churn", "v2"),
    lambda repository: repository.set_alias("churn", "live", "v1", revision=1),
    lambda repository: repository.remove("churn", "v2"),
    lambda repository: repository.set_alias("churn", "live", "v1", revision=2),
    lambda repository: repository.change_settings(policy=PolicySettings(mode="strict")),
    lambda repository: repository.store("four", "churn", "v3"),
    lambda repository: repository.remove("fraud", "v1"),
    lambda repository: repository.heartbeat(),
    lambda repository: repository.store("five", "churn", "v1"),
)
REQUESTS: tuple[Request, ...] = (
    ("churn", "v1", None),
    ("churn", "v1", 1),
    ("churn", "v1", 2),
    ("churn", "v1", 3),
    ("churn", "v2", None),
    ("churn", "v3", None),
    ("churn", "latest", None),
    ("churn", "live", None),
    ("fraud", "v1", None),
    ("fraud", "latest", None),
    NEVER,
)


@dataclass
class Life:
    """Every state of a repository, oldest first.

    Attributes:
        root: where the repository lies, and where copies of its states are attacked.
        keyring: its keys.
        settings: of a client that has seen every state.
        rows: the tables' rows, by state and table.
        answers: what each request came to, by state.
    """

    root: Path
    keyring: Keyring
    settings: Settings
    newest: Path
    rows: list[dict[str, list[Row]]] = field(default_factory=list)
    answers: list[dict[Request, object]] = field(default_factory=list)

    def begin_again(self) -> None:
        """Put the newest state in its place, and let the client remember that and no more."""
        for here in (self.root, self.settings.trust_folder):
            shutil.rmtree(here)
            shutil.copytree(self.newest / here.name, here)

    def at_first_use(self, folder: Path) -> Settings:
        """A client that has seen nothing."""
        shutil.rmtree(folder, ignore_errors=True)
        return replace(self.settings, trust_folder=folder)

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """The catalogue, to be changed by who may write its file."""
        with closing(sqlite3.connect(self.root / "catalogue.sqlite3")) as connection, connection:
            yield connection

    def put_back(self, state: int, *tables: str) -> None:
        """Restore whole tables from an older state."""
        with self.database() as database:
            for table in tables:
                database.execute(f"DELETE FROM {table}")
                for row in self.rows[state][table]:
                    places = ", ".join("?" * len(row))
                    database.execute(f"INSERT INTO {table} VALUES ({places})", row)

    def put_back_row(self, state: int, table: str, number: int) -> None:
        """Restore one row from an older state."""
        rows = self.rows[state][table]
        if rows:
            row = rows[number % len(rows)]
            places = ", ".join("?" * len(row))
            with self.database() as database:
                database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({places})", row)

    def ask(self, settings: Settings) -> dict[Request, object]:
        """What each request comes to, for a client.

        Raises:
            Exception: any that is none of the family, which fails the test.
        """
        found: dict[Request, object] = dict.fromkeys(REQUESTS, REFUSED)
        try:
            repository = Repository.open(self.root, keyring=self.keyring, settings=settings)
        except SealstoreError:
            return found
        with repository:
            for name, tag, revision in REQUESTS:
                try:
                    found[name, tag, revision] = repository.load(name, tag, revision=revision)
                except SealstoreError:
                    continue
        return found


def make_life(folder: Path, keyring: Keyring) -> Life:
    """Live through ``STEPS``, and keep what there was after each."""
    root = folder / "repository"
    settings = replace(Settings.from_environment({}), trust_folder=folder / "trust")
    life = Life(root, keyring, settings, folder / "newest")
    with Repository.create(root, keyring=keyring, settings=settings) as repository:
        for step in STEPS:
            step(repository)
            with life.database() as database:
                life.rows.append(
                    {
                        table: database.execute(f"SELECT * FROM {table}").fetchall()
                        for table in TABLES
                    }
                )
            life.answers.append(life.ask(settings))
    for here in (root, settings.trust_folder):
        shutil.copytree(here, life.newest / here.name)
    return life
