"""Whether a head is new enough, and whether this machine's clock can tell.

A head that is kept from growing older than it is (a *freeze*) is genuine in every other respect:
only its age shows it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sealstore import limits
from sealstore.errors import ClockError, LedgerFormatError, StaleHeadError

_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


def require_fresh(
    head_time: str, now: datetime, newest_time: str | None, max_age: int | None
) -> None:
    """Return if the head is not older than the site allows.

    1. Without a greatest age nothing is asked of the clock.
    2. The clock is not behind the newest time that was seen, but for some skew.
    3. The head is not older than the greatest age.

    A clock that stands still, or is set back again and again to just after the newest time seen,
    is not detected: nothing else here tells the time. Whoever can do that to the machine and freeze
    the repository as well keeps this client at a state that was genuine, and is not older than what
    it has seen.

    Args:
        head_time: of the verified head.
        now: the time by this machine's clock, with a zone.
        newest_time: the newest time that this client remembers; None at first use.
        max_age: seconds; None where the site sets no greatest age (MODEL_REPO_MAX_AGE).

    Raises:
        ClockError: the clock is behind.
        StaleHeadError: the head is too old.
        LedgerFormatError: the head's or the remembered time is none.
    """
    # 1. By default no load depends on a clock: many repositories are rightly left alone for months,
    # and machines that build, test or run without a network have clocks that are wrong. Rollback is
    # detected without one.
    if max_age is None:
        return
    # step 2: the clock is not behind what was seen
    newest = head_time if newest_time is None else max(newest_time, head_time)
    if seconds_between(newest, now) < -limits.MAX_CLOCK_SKEW_SECONDS:
        raise ClockError(
            f"This machine's clock says {utc_text(now)}; a time of {newest} was seen before."
        )
    # step 3: the head is not too old
    age = seconds_between(head_time, now)
    if age > max_age:
        raise StaleHeadError(
            f"The repository's head was signed {age:.0f} seconds ago; {max_age} are allowed."
        )


def seconds_between(earlier: str, later: datetime) -> float:
    """Seconds from one time to another; negative if the first is the later one.

    Raises:
        LedgerFormatError: ``earlier`` has the form of a time, and is none.
    """
    try:
        return (later - datetime.fromisoformat(earlier)).total_seconds()
    except ValueError:
        raise LedgerFormatError("A head has a time that no calendar knows.") from None


def utc_text(moment: datetime) -> str:
    """A time as documents have it."""
    return moment.astimezone(UTC).strftime(_TIME_FORMAT)
