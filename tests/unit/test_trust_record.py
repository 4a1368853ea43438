"""What is remembered: the document it is kept in, and which of two points is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    LedgerFormatError,
    LedgerTamperedError,
    ProofError,
    RepositoryExchangedError,
    RollbackError,
    TrustStateError,
    TrustStateFormatError,
)
from sealstore.trust.record import (
    TrustRecord,
    advanced,
    advanced_access,
    decode_record,
    encode_record,
)
from tests.ledger_trees import LATER, LOG_ID, NOON
from tests.matrix import each_row
from tests.sealstore_fixtures import OTHER_REPOSITORY_ID
from tests.trust_points import (
    CHAIN,
    FORKED,
    LOCATION,
    LOG_LOCATION,
    Prover,
    access_point,
    point,
    record,
)

NOON_CLOCK = datetime(2026, 11, 23, 12, tzinfo=UTC)
FULL = record(newest_time=LATER, access={"a": access_point(0), LOG_LOCATION: access_point(5)})


# ── the document ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("remembered", [record(), record(0), FULL], ids=["one", "empty", "full"])
def test_what_is_remembered_comes_back_as_it_was(remembered: TrustRecord) -> None:
    """Each field of the point, the newest time and every access log survives."""
    assert decode_record(encode_record(remembered), LOCATION) == remembered


def test_the_document_says_in_words_what_is_remembered() -> None:
    """One line of JSON that names its version, so that a later release can read it."""
    access = access_point(5)
    assert json.loads(encode_record(replace(FULL, access={LOG_LOCATION: access}))) == {
        "kind": "trust-state-v1",
        "location": LOCATION,
        "history": {
            "repository": FULL.point.repository,
            "size": 3,
            "root": FULL.point.root,
            "time": NOON,
            "epoch": 1,
            "mapRoot": FULL.point.map_root,
            "settingsVersion": 1,
            "settingsDigest": FULL.point.settings_digest,
        },
        "newestTime": LATER,
        "access": {
            LOG_LOCATION: {
                "repository": access.repository,
                "size": 5,
                "root": access.root,
                "time": NOON,
                "log": LOG_ID,
            }
        },
    }


def test_the_document_has_one_spelling() -> None:
    """In whatever order the access logs became known."""
    turned = replace(FULL, access=dict(sorted(FULL.access.items(), reverse=True)))
    assert list(turned.access) != list(FULL.access)
    assert encode_record(turned) == encode_record(FULL)


def edited(*path: str | None, value: Any = None, remove: bool = False) -> bytes:
    """The document with one field changed."""
    document = json.loads(encode_record(FULL))
    place = document
    for name in path[:-1]:
        place = place[name]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document, separators=(",", ":")).encode()


DATA = encode_record(FULL)
LOGS = json.loads(DATA)["access"]
MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "cut": DATA[:-1],
    "white space": DATA + b"\n",
    "white space inside": DATA.replace(b":", b": ", 1),
    "another escape": DATA.replace(b"models", rb"m\u006fdels"),
    "two documents": DATA * 2,
    "a key twice": DATA.replace(b'"newestTime"', b'"newestTime":"","newestTime"'),
    "an unknown field": edited("more", value=1),
    "an unknown field of the point": edited("history", "more", value=1),
    "an unknown field of a log": edited("access", LOG_LOCATION, "more", value=1),
    "a field less": edited("newestTime", remove=True),
    "a field of the point less": edited("history", "epoch", remove=True),
    "another version": edited("kind", value="trust-state-v2"),
    "no version": edited("kind", remove=True),
    "no location": edited("location", value=""),
    "a location that is too long": edited(
        "location", value="x" * (limits.MAX_LOCATION_CHARACTERS + 1)
    ),
    "epoch 0": edited("history", "epoch", value=0),
    "a negative size": edited("history", "size", value=-1),
    "a size that is a fraction": edited("history", "size", value=3.0),
    "a size that is true": edited("history", "size", value=True),
    "a size over 63 bits": edited("history", "size", value=1 << 63),
    "an upper-case root": edited("history", "root", value="AB" * 32),
    "a short root": edited("history", "mapRoot", value="ab" * 31),
    "another repository's log": edited(
        "access", LOG_LOCATION, "repository", value=OTHER_REPOSITORY_ID
    ),
    "a repository that is none": edited("history", "repository", value="any"),
    "a time that is none": edited("newestTime", value="tomorrow"),
    "a newest time before the head's": edited("newestTime", value="2026-11-23T11:59:59.999999Z"),
    "a log without a location": edited("access", value={"": LOGS["a"]}),
    "logs in another order": edited("access", value=dict(reversed(LOGS.items()))),
    "too many logs": edited(
        "access", value={f"{n:02}": LOGS["a"] for n in range(limits.MAX_TRUST_LOGS + 1)}
    ),
}


@pytest.mark.invariant(4)
@each_row("data", MALFORMED.values(), ids=MALFORMED)
def test_a_document_that_is_not_exactly_one_is_refused(data: bytes) -> None:
    """With the way out, and without repeating what it says."""
    with pytest.raises(TrustStateFormatError, match="trust state") as refusal:
        decode_record(data, LOCATION)
    assert "sealstore trust accept" in str(refusal.value)
    assert "newer release" in str(refusal.value)


def test_another_locations_document_is_refused() -> None:
    """A file that was copied to another name would make one repository pass for another."""
    with pytest.raises(TrustStateFormatError, match="another location"):
        decode_record(DATA, f"{LOCATION}2")


def logs(count: int, name: str = "log") -> dict[str, Any]:
    return {f"{name}-{number:02}": access_point(1) for number in range(count)}


def test_a_document_has_bounds() -> None:
    """As many access logs as are allowed, with the longest locations, fit; one more is refused."""
    location = "x" * limits.MAX_LOCATION_CHARACTERS
    longest = "y" * (limits.MAX_LOCATION_CHARACTERS - 3)
    full = record(location=location, access=logs(limits.MAX_TRUST_LOGS, longest))
    data = encode_record(full)
    assert decode_record(data, location) == full
    assert len(data) <= limits.MAX_TRUST_STATE_BYTES
    padded = data + b" " * (limits.MAX_TRUST_STATE_BYTES + 1 - len(data))
    with pytest.raises(TrustStateFormatError, match="are allowed"):
        decode_record(padded, location)


@pytest.mark.parametrize(
    "changes",
    [
        {"location": ""},
        {"location": "\ud800"},
        {"newest_time": "2026-11-23T11:00:00.000000Z"},
        {"newest_time": "now"},
        {"point": replace(point(3), root="AB" * 32)},
        {"point": replace(point(3), epoch=0)},
        {"access": {"x": replace(access_point(1), repository=OTHER_REPOSITORY_ID)}},
        {"access": logs(limits.MAX_TRUST_LOGS + 1)},
        {"location": "\U0001f600" * limits.MAX_LOCATION_CHARACTERS, "access": {
            "\U0001f600" * (limits.MAX_LOCATION_CHARACTERS - number): access_point(1)
            for number in range(limits.MAX_TRUST_LOGS)
        }},
    ],
    ids=str,
)  # fmt: skip
def test_nothing_is_written_that_could_not_be_read(changes: dict[str, Any]) -> None:
    """A bad record does not replace a good file."""
    with pytest.raises(TrustStateError, match="has no form"):
        encode_record(record(**changes))


def test_an_edited_document_is_refused_for_its_edit_alone() -> None:
    """The bytes that the tests change are right where they are not changed."""
    assert edited("newestTime", value=LATER) == DATA
    assert edited("access", value=LOGS) == DATA
    assert edited("access", value={"a": LOGS["a"]}) != DATA
    decode_record(edited("access", value={"a": LOGS["a"]}), LOCATION)


# ── the newer point ──────────────────────────────────────────────────────────


def test_a_point_that_extends_what_is_remembered_takes_its_place() -> None:
    """The proof from one to the other is asked for, and holds."""
    prover = Prover()
    newer = point(9, time=LATER)
    assert advanced(record(3), newer, None, prover) == record(point=newer, newest_time=LATER)
    assert prover.asked == [(3, 9)]


def test_the_same_point_changes_nothing_and_needs_no_proof() -> None:
    """As at nearly every load."""
    prover, remembered = Prover(), record(3)
    assert advanced(remembered, point(3), None, prover) is remembered
    assert prover.asked == []


def test_a_heartbeat_is_remembered() -> None:
    """A head of the same history, signed later, is newer."""
    found = advanced(record(3), point(3, time=LATER), None, Prover())
    assert (found.point.time, found.newest_time) == (LATER, LATER)


def test_what_another_process_remembered_meanwhile_stays() -> None:
    """The newer of the two is kept, if it extends the other one: the proof says so."""
    prover, remembered = Prover(), record(9)
    assert advanced(remembered, point(3), None, prover) is remembered
    assert prover.asked == [(3, 9)]
    heartbeat = replace(remembered, point=point(9, time=LATER), newest_time=LATER)
    assert advanced(heartbeat, point(9), None, prover) is heartbeat


@pytest.mark.parametrize("chain", [CHAIN, FORKED], ids=["its own proof", "the other's proof"])
@pytest.mark.parametrize("sizes", [(5, 9), (9, 5), (9, 9)], ids=str)
def test_a_fork_is_refused_whichever_side_was_seen_first(
    sizes: tuple[int, int], chain: Any
) -> None:
    """Two histories that part after their fourth entry: neither passes for the other."""
    remembered, shown = sizes
    with pytest.raises(ProofError):
        advanced(record(remembered), point(shown, FORKED), None, Prover(chain))


def test_a_proof_that_is_missing_is_a_refusal() -> None:
    """Nothing is taken for an extension because nobody could show that it is none."""

    def nothing(_older: int, _newer: int) -> list[bytes]:
        return []

    with pytest.raises(ProofError):
        advanced(record(3), point(9), None, nothing)
    with pytest.raises(ProofError):
        advanced(record(9), point(3), None, nothing)


def refused(
    error: type[Exception], text: str, **changes: Any
) -> tuple[type[Exception], str, dict[str, Any]]:
    return error, text, changes


@pytest.mark.parametrize(
    ("error", "text", "changes"),
    [
        refused(RepositoryExchangedError, "This is repository ff", repository=OTHER_REPOSITORY_ID),
        refused(RepositoryExchangedError, "rebuilt since", epoch=3),
        refused(RepositoryExchangedError, "rebuilt since", epoch=1),
        refused(LedgerTamperedError, "same version", settings_digest="00" * 32),
        refused(RollbackError, "version 1; version 2", settings_version=1),
        refused(RollbackError, "was signed at", time="2026-11-23T11:00:00.000000Z"),
    ],
)
def test_what_does_not_extend_is_refused(
    error: type[Exception], text: str, changes: dict[str, Any]
) -> None:
    """Another repository, a rebuilt one, older or other settings, an older head that is longer."""
    fields: dict[str, Any] = {"epoch": 2, "settings_version": 2}
    remembered = record(point=point(3, **fields))
    with pytest.raises(error, match=text):
        advanced(remembered, point(9, **{**fields, **changes}), None, Prover())


@pytest.mark.parametrize("size", [0, 3, 9])
def test_another_repository_is_named_as_the_one_that_is_here_now(size: int) -> None:
    """However long its history is, it is the newcomer."""
    shown = point(size, repository=OTHER_REPOSITORY_ID)
    with pytest.raises(RepositoryExchangedError, match="This is repository ffee"):
        advanced(record(3), shown, None, Prover())


def test_every_field_of_a_point_counts() -> None:
    """No part of a head can be another one without an entry in the history."""
    others: dict[str, Any] = {
        "repository": OTHER_REPOSITORY_ID,
        "epoch": 2,
        "root": "00" * 32,
        "map_root": "00" * 32,
        "settings_version": 2,
        "settings_digest": "00" * 32,
    }
    assert {each.name for each in fields(point(3))} - set(others) == {"size", "time"}
    for name, value in others.items():
        changed = replace(point(3), **{name: value})
        with pytest.raises((RepositoryExchangedError, LedgerTamperedError)):
            advanced(record(3), changed, None, Prover())


# ── the newest time ──────────────────────────────────────────────────────────

STEP = timedelta(seconds=limits.TRUST_TIME_STEP_SECONDS)


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        (None, NOON),
        (NOON_CLOCK, NOON),
        (NOON_CLOCK + STEP - timedelta(microseconds=1), NOON),
        (NOON_CLOCK + STEP, "2026-11-23T13:00:00.000000Z"),
        (NOON_CLOCK + 50 * STEP, "2026-11-25T14:00:00.000000Z"),
        (NOON_CLOCK - 50 * STEP, NOON),
    ],
)
def test_the_clock_is_remembered_in_steps(now: datetime | None, newest: str) -> None:
    """A later time is written down from an hour on, and never an earlier one."""
    remembered = record(3)
    found = advanced(remembered, point(3), now, Prover())
    assert found == replace(remembered, newest_time=newest)
    assert (found is remembered) is (newest == NOON)


def test_the_newest_time_never_goes_back() -> None:
    """A newer head of an earlier time than the clock had does not lower it."""
    remembered = record(3, newest_time="2026-11-24T00:00:00.000000Z")
    found = advanced(remembered, point(9, time=LATER), NOON_CLOCK, Prover())
    assert found == replace(remembered, point=point(9, time=LATER))


def test_a_time_that_no_calendar_knows_is_refused() -> None:
    """It has the form, and cannot be compared with a clock."""
    remembered = record(3, newest_time="2026-13-45T12:00:00.000000Z")
    with pytest.raises(LedgerFormatError, match="no calendar"):
        advanced(remembered, point(3), NOON_CLOCK, Prover())


# ── access logs ──────────────────────────────────────────────────────────────


def remembered_log(size: int) -> TrustRecord:
    return record(access={LOG_LOCATION: access_point(size), "other": access_point(1)})


def test_a_new_access_log_is_remembered_beside_the_others() -> None:
    """At its first use it is what it says."""
    found = advanced_access(record(access={"other": access_point(1)}), "new", access_point(7), no)
    assert found == record(access={"other": access_point(1), "new": access_point(7)})


def no(_older: int, _newer: int) -> list[bytes]:
    raise AssertionError("no proof is needed")


def test_the_newer_point_of_an_access_log_is_remembered() -> None:
    """What extends takes the place; what is extended, and what is the same, changes nothing."""
    prover = Prover()
    found = advanced_access(remembered_log(3), LOG_LOCATION, access_point(9), prover)
    assert found == remembered_log(9)
    newer = remembered_log(9)
    assert advanced_access(newer, LOG_LOCATION, access_point(3), prover) is newer
    assert prover.asked == [(3, 9), (3, 9)]
    assert advanced_access(newer, LOG_LOCATION, access_point(9), no) is newer
    signed_later = access_point(9, time=LATER)
    found = advanced_access(newer, LOG_LOCATION, signed_later, prover)
    assert found.access[LOG_LOCATION] == signed_later
    assert advanced_access(found, LOG_LOCATION, access_point(9), prover) is found


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ProofError, lambda: access_point(9, FORKED)),
        (ProofError, lambda: access_point(5, FORKED)),
        (ProofError, lambda: access_point(6, FORKED)),
        (RepositoryExchangedError, lambda: access_point(9, log="00" * 16)),
        (RepositoryExchangedError, lambda: access_point(3, log="00" * 16)),
        (RepositoryExchangedError, lambda: access_point(9, repository=OTHER_REPOSITORY_ID)),
        (RollbackError, lambda: access_point(9, time="2026-11-23T11:00:00.000000Z")),
    ],
)
def test_another_access_log_in_a_known_place_is_refused(
    error: type[Exception], shown: Callable[[], Any]
) -> None:
    """A forked, exchanged or backdated log is not remembered."""
    with pytest.raises(error):
        advanced_access(remembered_log(6), LOG_LOCATION, shown(), Prover())


def test_an_access_log_of_another_repository_is_refused_at_first_use() -> None:
    """It cannot be one of this repository's loads."""
    with pytest.raises(RepositoryExchangedError, match="The access log is that of"):
        advanced_access(record(), "new", access_point(3, repository=OTHER_REPOSITORY_ID), no)


def test_only_so_many_access_logs_are_remembered() -> None:
    """One more is refused with the way out; those that are known go on."""
    full = record(access=logs(limits.MAX_TRUST_LOGS))
    with pytest.raises(TrustStateError, match="sealstore trust accept"):
        advanced_access(full, "one more", access_point(1), no)
    found = advanced_access(full, "log-03", access_point(4), Prover())
    assert found.access["log-03"] == access_point(4)
    assert decode_record(encode_record(found), LOCATION) == found
