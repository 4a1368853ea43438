"""What the processes of the storm do, and the journals in which they say so: no pytest here.

Each writes what it is about to do to its journal, does it, and writes what came of it before it
does anything else. What was begun and has no end was killed: perhaps it was done.
"""

from __future__ import annotations

import json
import os
import random
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sealstore.errors import SealstoreError
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.upkeep.fsck import fsck
from sealstore.upkeep.gc import collect
from tests.faults.operations import client, without_nameless_files

NAMES = ("churn", "fraud", "prices")
TAGS = ("nightly", "weekly", "release")
ALIASES = ("production", "staging")
SHARED = 3
"""So many contents that are stored again and again: what gc collects is just being stored again."""

Said = dict[str, Any]

WEIGHTS = {
    "store": 30,
    "load": 40,
    "remove": 14,
    "set alias": 8,
    "rollback alias": 3,
    "remove alias": 2,
    "gc": 8,
    "fsck": 2,
}


def settings(place: Path) -> Settings:
    """Those of everybody in the storm: they share what is remembered, too."""
    return client(place / "repository", keyring=str(place / "keyring.json"))


def parcel(name: str, tag: str, token: str) -> Said:
    """An object that says under what it was stored."""
    content = random.Random(token).randbytes(random.Random(token).randrange(4_000))
    return {"name": name, "tag": tag, "token": token, "content": content}


class Journal:
    """A file of lines, each of which is there as soon as it was written, whoever dies then."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, said: Said) -> None:
        line = json.dumps({**said, "at": time.monotonic_ns()}).encode() + b"\n"
        os.write(self._descriptor, line)


class Worker:
    """One life of one of the storm's processes.

    Args:
        repository: opened by this process.
        journal: of this life.
        who: the worker and its life; with the storm's seed, what it does follows from it.
    """

    def __init__(self, repository: Repository, journal: Journal, who: str, seed: int) -> None:
        self.repository = repository
        self.journal = journal
        self.who = who
        self.chance = random.Random(f"{seed} {who}")
        self.number = 0
        self.highest: dict[tuple[str, str], int] = {}

    def act(self) -> None:
        """Do one thing, whatever it is."""
        kind = self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        name, tag = self.chance.choice(NAMES), self.chance.choice(TAGS)
        alias = self.chance.choice(ALIASES)
        repository, who = self.repository, self.who
        match kind:
            case "store":
                self.store(name, tag)
            case "load":
                self.load(name)
            case "remove":
                self.remove(name, tag)
            case "set alias":
                revision = self.some_revision(name, tag)
                self.journalled(
                    *(kind, {"name": name, "alias": alias, "tag": tag, "revision": revision}),
                    lambda: told_alias(
                        repository.set_alias(name, alias, tag, revision=revision, actor=who)
                    ),
                )
            case "rollback alias":
                self.journalled(
                    *(kind, {"name": name, "alias": alias}),
                    lambda: told_alias(repository.rollback_alias(name, alias, actor=who)),
                )
            case "remove alias":
                self.journalled(
                    *(kind, {"name": name, "alias": alias}),
                    lambda: repository.remove_alias(name, alias, actor=who),
                )
            case _:
                self.journalled(kind, {}, self.collect if kind == "gc" else self.check)

    def journalled(self, kind: str, said: Said, do: Callable[[], Said | None]) -> None:
        """Say what is going to be done, do it, and say what came of it."""
        self.number += 1
        self.journal.add({"number": self.number, "kind": kind, "said": said})
        outcome: Said = {"number": self.number}
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                outcome["result"] = do() or {}
            except SealstoreError as error:
                outcome["error"] = type(error).__name__
                outcome["text"] = traceback.format_exc()
            except Exception as error:  # noqa: BLE001 (whatever it is, the journal has it)
                outcome["error"] = f"not documented: {type(error).__name__}"
                outcome["text"] = traceback.format_exc()
        outcome["warnings"] = [f"{each.category.__name__}: {each.message}" for each in warned]
        self.journal.add(outcome)

    def some_revision(self, name: str, tag: str) -> int | None:
        """One of a tag's revisions that this process knows of; or none, for the newest."""
        highest = self.highest.get((name, tag), 0)
        if not highest or self.chance.random() < 0.5:
            return None
        return self.chance.randint(max(1, highest - 5), highest)

    def store(self, name: str, tag: str) -> None:
        """Something new, or one of a few contents that others store, too."""
        token = f"{self.who}-{self.number}"
        if self.chance.random() < 0.5:
            token = f"shared-{self.chance.randrange(SHARED)}"

        def do() -> Said:
            stored = self.repository.store(parcel(name, tag, token), name, tag, actor=self.who)
            self.highest[name, tag] = stored.revision
            return {"revision": stored.revision, "sequence": stored.sequence}

        self.journalled("store", {"name": name, "tag": tag, "token": token}, do)

    def load(self, name: str) -> None:
        """By tag, by revision, the latest, or what an alias means."""
        way = self.chance.choice(["tag", "tag", "revision", "latest", "alias"])
        tag = {"latest": "latest", "alias": self.chance.choice(ALIASES)}.get(way)
        asked = tag or self.chance.choice(TAGS)
        revision = self.some_revision(name, asked) if way == "revision" else None

        def do() -> Said:
            context = str(self.number)
            found = self.repository.load(
                name, asked, revision=revision, actor=self.who, context=context
            )
            whole = found == parcel(found["name"], found["tag"], found["token"])
            return {key: found[key] for key in ("name", "tag", "token")} | {"whole": whole}

        self.journalled("load", {"name": name, "tag": asked, "revision": revision}, do)

    def remove(self, name: str, tag: str) -> None:
        """A revision that this process knows of; seldom all of a tag."""
        revision = self.some_revision(name, tag)
        if revision is None and self.chance.random() < 0.8:
            revision = self.highest.get((name, tag), 1)

        def do() -> Said:
            removed = self.repository.remove(name, tag, revision=revision, actor=self.who)
            return {"revisions": [ref.revision for ref in removed]}

        self.journalled("remove", {"name": name, "tag": tag, "revision": revision}, do)

    def collect(self) -> Said:
        """Remove all that nothing needs, at once."""
        report = collect(self.repository, delete=True, grace=0, set_aside=True, actor=self.who)
        return {"findings": list(map(str, report.findings)), "removed": len(report.removed)}

    def check(self) -> Said:
        """Check everything, as a process of its own would."""
        report = fsck(self.repository.settings, threads=1)
        return {"findings": list(map(str, report.findings))}


def told_alias(alias: Any) -> Said:
    """What an alias means now."""
    return {"move": alias.move, "tag": alias.tag, "revision": alias.revision}


def work(place: Path, who: str, seed: int, until: float) -> None:
    """Do one thing after the other, until the storm is over, or this process.

    Every other worker stages payloads under temporary names.
    """
    journal = Journal(place / "journals" / f"{who}.jsonl")
    by_names = int(who.split("-")[1]) % 2 == 1
    try:
        with (
            without_nameless_files() if by_names else nullcontext(),
            Repository.open(settings=settings(place)) as repository,
        ):
            worker = Worker(repository, journal, who, seed)
            while time.monotonic() < until:
                worker.act()
    except Exception:
        journal.add({"number": -1, "kind": "open or close", "said": {}})
        journal.add({"number": -1, "error": "any", "text": traceback.format_exc()})
        raise
