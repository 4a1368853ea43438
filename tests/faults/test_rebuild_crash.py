"""A rebuild that dies at any step: the old catalogue is in its place, or the new one as a whole."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from sealstore.errors import RebuildRefusedError
from sealstore.upkeep.trust import accept_trust, current_point
from tests.faults import rebuild_operations
from tests.faults.conftest import Deaths
from tests.faults.gc_operations import check, opened
from tests.faults.operations import PRESENT, model
from tests.faults.rebuild_operations import rebuild_all, run, settings
from tests.faults.soundness import contents

pytestmark = [pytest.mark.invariant(3), pytest.mark.slow]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose catalogue has lost rows; copied, never changed."""
    place = tmp_path_factory.mktemp("damaged") / "place"
    rebuild_operations.damage(place)
    return place


def test_a_killed_rebuild_is_done_or_can_be_done_again(damaged: Path, deaths: Deaths) -> None:
    """Whatever step it dies at, the next one ends it; nothing is lost, and storing goes on."""
    for place, done in deaths(rebuild_all, damaged):
        if not done.entries():
            # Refused where it is sound: the one that died had come so far.
            with suppress(RebuildRefusedError):
                assert run(place).lost == []
        accept_trust(settings(place), current_point(settings(place)))
        with opened(place) as repository:
            assert contents(repository) == PRESENT
            assert repository.load("fraud", "production") == repository.load("fraud", "v1")
            # The second one was removed, and its number stays taken.
            assert repository.store(model("fraud", "v1", 3), "fraud", "v1").revision == 3
        assert check(place).findings == []
