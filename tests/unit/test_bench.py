"""What the measurements report: targets are said and not enforced, and the table has its rows."""

from __future__ import annotations

import pytest

from bench.figures import COLUMNS, Figure, described, machine, table
from bench.timing import Contestant, race


@pytest.mark.parametrize(
    ("value", "target", "is_at_least", "verdict"),
    [
        (0.9, 1.0, False, "ok"),
        (1.1, 1.0, False, "missed"),
        (1.1, 1.0, True, "ok"),
        (0.9, 1.0, True, "missed"),
        (0.9, None, False, ""),
    ],
)
def test_a_figure_says_whether_its_target_is_met(
    value: float, target: float | None, is_at_least: bool, verdict: str
) -> None:
    """A reader of a line knows which way is better, and which side of the target it is on."""
    figure = Figure("load", value, "x", target, "", is_at_least)
    assert figure.verdict == verdict
    assert figure.to_json()["verdict"] == verdict


def test_the_table_has_a_row_for_each_object_and_a_column_for_each_comparison() -> None:
    """Figures of one row come together, from whichever part; those without a place stay out."""
    figures = [
        Figure("load: dict", 0.05, "x", 0.15, "", place=("dict", "load")),
        Figure("inspection", 1.0, "x", None, ""),
        Figure("stores", 300.0, "/s", 300.0, "", is_at_least=True, place=("stores", "store")),
        Figure("store: dict", 0.5, "ms", None, "", place=("dict", "store, to MLflow")),
    ]
    assert table(figures).splitlines() == [
        f"| | {' | '.join(COLUMNS)} |",
        "|---|---|---|---|---|",
        "| dict | 0.050 (at most 0.15) |  |  | 0.50 ms |",
        "| stores |  |  | 300 a second (at least 300) |  |",
    ]
    assert table(figures[1:2]) == ""


def test_the_machine_is_named_with_the_figures() -> None:
    """Figures without processor, versions and load would mean nothing later."""
    seen = machine()
    text = described(seen)
    assert seen["processor"] in text
    assert f"joblib {seen['packages']['joblib']}" in text
    assert f"load average {seen['loadAverage']}" in text


def test_contestants_run_in_turn_and_each_is_prepared_outside_of_its_time() -> None:
    """What slows the machine down slows all of them down, and no preparation is counted."""
    ran: list[str] = []
    result = race(
        {
            "one": Contestant(lambda: ran.append("one"), lambda: ran.append("before one")),
            "two": Contestant(lambda: ran.append("two")),
        },
        budget=0.0,
    )
    rounds = len(result.times["one"].each)
    assert rounds == len(result.times["two"].each)
    assert ran.count("one") == ran.count("before one") == ran.count("two") == rounds + 1
    # The other one is first in each next round.
    assert ran[:6] == ["before one", "one", "two"] * 2
    assert ran[6:9] == ["two", "before one", "one"]
