"""Freshness: the age of a head, and clocks that cannot judge it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from sealstore import limits
from sealstore.errors import ClockError, LedgerFormatError, StaleHeadError
from sealstore.trust.freshness import require_fresh
from tests.ledger_trees import NOON

CLOCK = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND, MOMENT = timedelta(seconds=1), timedelta(microseconds=1)
SKEW = limits.MAX_CLOCK_SKEW_SECONDS * SECOND
DAY = 86_400


@pytest.mark.parametrize("now", [CLOCK - 5_000 * DAY * SECOND, CLOCK, CLOCK + 5_000 * DAY * SECOND])
def test_without_a_greatest_age_no_clock_is_asked(now: datetime) -> None:
    """By default no load depends on what a machine's clock says."""
    require_fresh(NOON, now, "2027-01-01T00:00:00.000000Z", None)


@pytest.mark.parametrize("age", [timedelta(0), SECOND, DAY * SECOND])
def test_a_head_of_an_age_that_is_allowed_is_fresh(age: timedelta) -> None:
    """Up to the last second."""
    require_fresh(NOON, CLOCK + age, None, DAY)
    require_fresh(NOON, CLOCK + age, NOON, DAY)


@pytest.mark.parametrize("over", [MOMENT, SECOND, 1_000 * DAY * SECOND])
def test_a_frozen_repository_is_refused(over: timedelta) -> None:
    """A genuine head that is kept from clients' sight of newer ones grows old."""
    with pytest.raises(StaleHeadError, match=f"{DAY} are allowed") as refusal:
        require_fresh(NOON, CLOCK + DAY * SECOND + over, NOON, DAY)
    assert refusal.value.code == "HEAD_STALE"
    assert "sealstore heartbeat" in str(refusal.value)


NEWEST = "2026-11-23T18:00:00.000000Z"


def test_a_clock_that_was_set_back_is_refused() -> None:
    """Behind a time that this client has seen, a stale head would look fresh."""
    six_hours = timedelta(hours=6)
    require_fresh(NOON, CLOCK + six_hours - SKEW, NEWEST, DAY)
    with pytest.raises(ClockError, match=r"17:54:59\.999999Z; a time of 2026-11-23T18") as refusal:
        require_fresh(NOON, CLOCK + six_hours - SKEW - MOMENT, NEWEST, DAY)
    assert refusal.value.code == "CLOCK"
    assert "set the clock right" in str(refusal.value)


@pytest.mark.parametrize("newest", [None, NOON, "2026-11-01T00:00:00.000000Z"])
def test_a_clock_behind_the_head_itself_is_refused(newest: str | None) -> None:
    """Also at first use: a head from the future means that one of two clocks is wrong."""
    require_fresh(NOON, CLOCK - SKEW, newest, DAY)
    with pytest.raises(ClockError, match="a time of 2026-11-23T12"):
        require_fresh(NOON, CLOCK - SKEW - MOMENT, newest, DAY)


def test_a_zone_does_not_matter() -> None:
    """A time is the same moment in every zone."""
    tokyo = timezone(timedelta(hours=9))
    require_fresh(NOON, CLOCK.astimezone(tokyo), NOON, 0)
    with pytest.raises(StaleHeadError, match="signed 1 seconds ago"):
        require_fresh(NOON, (CLOCK + SECOND).astimezone(tokyo), NOON, 0)


def test_a_time_that_no_calendar_knows_is_refused() -> None:
    """It has the form of a time, and its age is none."""
    with pytest.raises(LedgerFormatError, match="no calendar"):
        require_fresh("2026-02-30T12:00:00.000000Z", CLOCK, None, DAY)
    with pytest.raises(LedgerFormatError, match="no calendar"):
        require_fresh(NOON, CLOCK, "2026-11-23T25:00:00.000000Z", DAY)
