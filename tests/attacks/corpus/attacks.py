"""Every attack of the corpus, by its id."""

from __future__ import annotations

from typing import Final

from tests.attacks.corpus import (
    arrays,
    calls,
    containers,
    deferred,
    exhausting,
    files,
    hooks,
    indirect,
    nested,
    positions,
    resolution,
    small_arrays,
    states,
    tricks,
    trusted,
)
from tests.attacks.corpus.case import Attack, Collection, by_id


def _collections() -> list[Collection]:
    modules = (
        calls,
        indirect,
        resolution,
        nested,
        files,
        tricks,
        hooks,
        arrays,
        small_arrays,
        positions,
        containers,
        states,
        deferred,
        exhausting,
        trusted,
    )
    return [
        each for module in modules for each in vars(module).values() if isinstance(each, Collection)
    ]


ATTACKS: Final[dict[str, Attack]] = by_id(
    attack for collection in _collections() for attack in collection.attacks
)
