"""The map, through any changes and any tampering, says what a plain dictionary says, or nothing."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from sealstore.errors import CatalogueTamperedError
from sealstore.ledger.authenticated_map import (
    EMPTY_MAP_ROOT,
    map_key,
    positions_of,
    prove,
    revision_key,
)
from sealstore.ledger.map_update import update, verified_records
from tests.ledger_trees import NaiveMap, naive_answer
from tests.sealstore_fixtures import fewer_examples


@cache
def pool() -> list[bytes]:
    """Keys, many of which share a bucket, or the node above it."""
    by_bucket: dict[int, list[bytes]] = {}
    for number in range(4000):
        for key in (map_key(f"m{number}", "latest"), revision_key(f"m{number}", "1", 1)):
            by_bucket.setdefault(positions_of(key)[3], []).append(key)
    crowded = sorted(by_bucket.values(), key=len, reverse=True)[:12]
    return [key for keys in crowded for key in keys] + [keys[0] for keys in crowded[12:24]]


KEYS = st.deferred(lambda: st.sampled_from(pool()))
VALUES = st.binary(min_size=1, max_size=60)


class Map(RuleBasedStateMachine):
    """A stored map beside a dictionary, with an attacker who may write to its rows."""

    states: Bundle[Any] = Bundle("states")

    @initialize(target=states)
    def empty(self) -> Any:
        self.values: dict[bytes, bytes] = {}
        self.root = EMPTY_MAP_ROOT
        self.rows: dict[int, bytes] = {}
        return (self.root, {}, {})

    @rule(target=states, changes=st.dictionaries(KEYS, VALUES, max_size=5))
    def change(self, changes: dict[bytes, bytes]) -> Any:
        # Only what the rows of these keys say is needed.
        needed = {at for key in changes for at in positions_of(key)}
        changed = update(
            self.root, changes, {at: self.rows[at] for at in needed if at in self.rows}
        )
        assert set(changed.rows) <= needed
        self.values |= changes
        self.rows |= changed.rows
        self.root = changed.root_hash
        return (self.root, dict(self.rows), dict(self.values))

    @rule(key=KEYS)
    def answer(self, key: bytes) -> None:
        path = {at: self.rows[at] for at in positions_of(key) if at in self.rows}
        assert prove(self.root, key, path) == self.values.get(key)
        assert naive_answer(self.root, key, path) == self.values.get(key)

    @rule(state=states)
    def an_older_state_is_whole(self, state: Any) -> None:
        root, rows, values = state
        for key in {*values, *self.values}:
            assert prove(root, key, rows) == values.get(key)

    @rule(key=KEYS, state=states, chosen=st.sets(st.integers(0, 3)), data=st.data())
    def rows_are_tampered_with(self, key: bytes, state: Any, chosen: set[int], data: Any) -> None:
        """Older rows, deleted ones or ones from elsewhere: the right answer, or none."""
        path = positions_of(key)
        rows = dict(self.rows)
        for level in chosen:
            contents: list[bytes | None] = [state[1].get(path[level]), None, *self.rows.values()]
            content = data.draw(st.sampled_from(contents))
            if content is None:
                rows.pop(path[level], None)
            else:
                rows[path[level]] = content
        try:
            answer = prove(self.root, key, rows)
        except CatalogueTamperedError:
            assert any(rows.get(at) != self.rows.get(at) for at in path)
        else:
            assert answer == self.values.get(key)
        try:
            changed = update(self.root, {key: b"new"}, rows)
        except CatalogueTamperedError:
            pass
        else:
            honest = update(self.root, {key: b"new"}, self.rows)
            assert changed == honest, "an honest writer laundered what was tampered with"

    @invariant()
    def the_rows_are_those_of_a_map_made_again(self) -> None:
        naive = NaiveMap(self.values)
        assert (self.root, self.rows) == (naive.root, naive.rows)
        records = {sha256(key).digest(): value for key, value in self.values.items()}
        assert dict(verified_records(self.root, self.rows)) == records


TestMap = Map.TestCase
TestMap.settings = fewer_examples(0.2)
