"""What the journals of a storm say: what must be there, and what was not as it must be.

Times are those of one clock, the machine's: of two actions the one was over before the other began,
or both may have come first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.storm_workers import ALIASES, Said

Ref = tuple[str, str, int]

FOREVER = 1 << 63

DOCUMENTED = {
    "store": set(),
    "load": {"ArtifactNotFound", "PayloadMissingError"},
    "remove": {"ArtifactNotFound", "ArtifactInUseError"},
    "set alias": {"ArtifactNotFound"},
    "rollback alias": {"ArtifactNotFound"},
    "remove alias": {"ArtifactNotFound"},
    "gc": set[str](),
    "fsck": set[str](),
}
"""The errors that may come of what others do meanwhile; each is held against what they did."""


@dataclass(frozen=True)
class Action:
    """What one process did, or was killed at.

    Attributes:
        who: its journal.
        number: which of this journal's actions.
        kind: what.
        said: what was asked for.
        begun, ended: when; the latter is the end of time if nobody knows.
        outcome: what came of it; None if the process was killed.
    """

    who: str
    number: int
    kind: str
    said: Said
    begun: int
    ended: int
    outcome: Said | None

    @property
    def result(self) -> Said | None:
        """What it returned; None if it did not return."""
        return None if self.outcome is None else self.outcome.get("result")

    @property
    def error(self) -> str | None:
        return None if self.outcome is None else self.outcome.get("error")

    def __str__(self) -> str:
        return f"{self.who}, action {self.number}: {self.kind} {self.said} -> {self.outcome}"


def read(journals: Path) -> list[Action]:
    """Everything that was begun, in the order in which it was."""
    actions = []
    for path in sorted(journals.iterdir()):
        # What has no line feed was not written to its end.
        lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        ends = {line["number"]: line for line in lines if "kind" not in line}
        for line in lines:
            if "kind" in line:
                end = ends.get(line["number"])
                ended = FOREVER if end is None else end["at"]
                actions.append(
                    Action(
                        path.stem,
                        line["number"],
                        line["kind"],
                        line["said"],
                        line["at"],
                        ended,
                        end,
                    )
                )
    return sorted(actions, key=lambda action: action.begun)


class Claims:
    """What follows from the journals.

    Attributes:
        actions: all of them.
        tokens: of each revision whose store was acknowledged, what was stored.
        begun: what was ever to be stored under a name and tag.
    """

    def __init__(self, actions: list[Action]) -> None:
        self.actions = actions
        self.stores: dict[Ref, Action] = {}
        self.begun: dict[tuple[str, str], list[Action]] = {}
        self.removals: list[Action] = []
        for action in actions:
            said = action.said
            if action.kind == "store":
                self.begun.setdefault((said["name"], said["tag"]), []).append(action)
                if action.result is not None:
                    self.stores[said["name"], said["tag"], action.result["revision"]] = action
            elif action.kind == "remove" and action.error is None:
                self.removals.append(action)

    def token(self, ref: Ref) -> str:
        token: str = self.stores[ref].said["token"]
        return token

    def removal_of(self, ref: Ref, before: int = FOREVER) -> list[Action]:
        """What may have removed this revision, begun before then."""
        return [
            action
            for action in self.removals
            if (action.said["name"], action.said["tag"]) == ref[:2]
            and action.begun < before
            and (
                ref[2] in action.result["revisions"]
                if action.result is not None
                else action.said["revision"] in (None, ref[2])
            )
        ]

    def removed(self) -> set[Ref]:
        """What was acknowledged as removed."""
        return {
            (action.said["name"], action.said["tag"], revision)
            for action in self.removals
            for revision in (action.result or {"revisions": []})["revisions"]
        }

    def kept(self) -> dict[Ref, str]:
        """What was acknowledged as stored, and surely not removed."""
        return {ref: self.token(ref) for ref in self.stores if not self.removal_of(ref)}

    def surely_there(self, load: Action) -> list[Ref]:
        """What was stored before a load began, and not to be removed before it ended."""
        name, tag, revision = (load.said[key] for key in ("name", "tag", "revision"))
        return [
            ref
            for ref, store in self.stores.items()
            if store.ended < load.begun
            and ref[0] == name
            and tag in (ref[1], "latest")
            and revision in (None, ref[2])
            and not self.removal_of(ref, load.ended)
        ]

    # ── what was not as it must be ───────────────────────────────────────────

    def complaints(self) -> Iterator[str]:
        """Everything that nobody may be told."""
        for action in self.actions:
            if action.error is not None and action.error not in DOCUMENTED.get(action.kind, ()):
                yield f"undocumented: {action}"
            elif action.outcome is not None and action.outcome.get("warnings"):
                yield f"a warning: {action}"
            elif action.kind in ("gc", "fsck") and (action.result or {}).get("findings"):
                yield f"findings: {action}"
            elif action.kind == "load" and not self.is_right(action):
                yield f"wrong: {action}"

    def is_right(self, load: Action) -> bool:
        """Whether a load returned what it may, or refused what it may."""
        if load.outcome is None:
            return True
        if load.error == "PayloadMissingError":
            return self.may_have_been_removed(load)
        if load.said["tag"] in ALIASES:
            return self.alias_is_right(load)
        there = self.surely_there(load)
        if load.result is None:
            return not there
        found = load.result
        if not found["whole"] or found["name"] != load.said["name"]:
            return False
        if load.said["tag"] not in ("latest", found["tag"]):
            return False
        return self.is_stored(found, load) and self.is_new_enough(found, load, there)

    def is_stored(self, found: Said, load: Action) -> bool:
        """Whether this was ever stored under what it says it was, and as that revision."""
        wanted = load.said["revision"]
        return any(
            store.said["token"] == found["token"]
            and store.begun < load.ended
            and (wanted is None or store.result is None or store.result["revision"] == wanted)
            for store in self.begun.get((found["name"], found["tag"]), [])
        )

    def is_new_enough(self, found: Said, load: Action, there: list[Ref]) -> bool:
        """Whether a tag is no older than what was there for sure."""
        if load.said["tag"] == "latest":
            newest = max(
                (self.stores[ref].result or {} for ref in there), key=_sequence, default={}
            )
            key = "sequence"
        else:
            newest = {"revision": max((ref[2] for ref in there), default=0)}
            key = "revision"
        return any(
            store.said["token"] == found["token"]
            and (store.result is None or store.result[key] >= newest.get(key, 0))
            for store in self.begun[found["name"], found["tag"]]
        )

    def may_have_been_removed(self, load: Action) -> bool:
        """Whether something of this name was being removed during the load.

        It proved its answer before, and read the payload afterwards: gc had no grace.
        """
        return any(
            action.said["name"] == load.said["name"]
            and action.begun < load.ended
            and action.ended > load.begun
            for action in self.removals
        )

    def alias_is_right(self, load: Action) -> bool:
        """Whether an alias was set to what it loaded, or nobody can say that it means something."""
        name, alias = load.said["name"], load.said["tag"]
        moves = [
            action
            for action in self.actions
            if action.kind.endswith(" alias")
            and action.error is None
            and (action.said["name"], action.said["alias"]) == (name, alias)
            and action.begun < load.ended
        ]
        if load.result is None:
            is_set = any(move.kind == "set alias" and move.ended < load.begun for move in moves)
            return not is_set or any(move.kind == "remove alias" for move in moves)
        found = load.result
        return (
            found["whole"]
            and found["name"] == name
            and any(move.said.get("tag") == found["tag"] for move in moves)
            and self.is_stored(found, load)
        )

    def tally(self) -> str:
        """What was done, for people."""
        done = Counter(a.kind for a in self.actions if a.result is not None)
        killed = Counter(a.kind for a in self.actions if a.outcome is None)
        errors = Counter(f"{a.kind}: {a.error}" for a in self.actions if a.error is not None)
        collected = sum((a.result or {}).get("removed", 0) for a in self.actions)
        return (
            f"done {dict(done)}; killed in the middle {dict(killed)}; refused {dict(errors)};"
            f" {collected} files collected"
        )


def _sequence(result: dict[str, Any]) -> int:
    return int(result.get("sequence", 0))
