"""A matrix that is one test: no row of it is passed over, and no failure hides another."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from tests.matrix import each_row, try_each


def test_every_row_is_tried_and_each_that_fails_is_named() -> None:
    """The first failure is not the last that is looked at."""
    tried = []

    @each_row(("number", "text"), [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")])
    def fails_at_some(number: int, text: str) -> None:
        """What it promises."""
        tried.append((number, text))
        assert number != 2
        if number == 3:
            pytest.fail("in the way of pytest")
        if number == 4:
            pytest.skip("a row is not passed over")

    with pytest.raises(BaseExceptionGroup, match="3 of 5 rows failed") as caught:
        fails_at_some()
    assert tried == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]
    assert [getattr(each, "__notes__", []) for each in caught.value.exceptions] == [
        ["row: 2, 'b'"], ["row: 3, 'c'"], ["row: 4, 'd'"],
    ]  # fmt: skip
    assert fails_at_some.__doc__ == "What it promises."


def test_a_matrix_asks_for_the_fixtures_that_its_rows_do_not_give() -> None:
    """They are shared by all rows."""
    seen = []

    @each_row("number", range(3))
    def with_a_fixture(number: int, tmp_path: Path) -> None:
        seen.append((number, tmp_path))

    assert list(inspect.signature(with_a_fixture).parameters) == ["tmp_path"]
    with_a_fixture(tmp_path=Path("here"))
    assert seen == [(number, Path("here")) for number in range(3)]


def test_rows_are_named_as_parametrize_names_them() -> None:
    """By a list, by a function, by the row itself; and a matrix of matrices names both."""

    @each_row("left", [1, 2], ids=["one", "two"])
    @each_row("right", [pytest.param(3, id="three"), 4, 5], ids=lambda number: f"number {number}")
    def never_greater(left: int, right: int) -> None:
        assert left + right < 5

    with pytest.raises(BaseExceptionGroup) as caught:
        never_greater()
    one, two = caught.value.exceptions
    assert str(caught.value).startswith("2 of 2 rows failed: 0. one; 1. two")
    assert str(one).startswith("2 of 3 rows failed: 0. number 4; 1. number 5")
    assert str(two).startswith("3 of 3 rows failed: 0. three; 1. number 4; 2. number 5")
    with pytest.raises(AssertionError, match="each row has its name"):
        each_row("left", [1, 2], ids=["one", "two", "three"])
    with pytest.raises(AssertionError, match="a mark is a test's"):
        each_row("left", [pytest.param(1, marks=pytest.mark.slow)])


def test_a_matrix_without_rows_is_refused() -> None:
    """It would pass whatever is wrong."""
    with pytest.raises(ValueError, match="without rows"):
        each_row("number", [])
    with pytest.raises(AssertionError, match="without rows"):
        try_each([], print)
