"""audit report: the figures, the charts, and a page that nothing breaks out of."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from sealstore.audit import drawing, report
from sealstore.audit.drawing import Markup, element, escaped, joined
from sealstore.audit.figures import Figures, Tally, most_frequent
from sealstore.audit.verifying import AuditReport
from sealstore.ledger.entries import AccessRequest, Actor
from tests.audited import SIZE, Audited
from tests.ledger_trees import NOON, access_entry, history_entry

_VOID = {"meta"}


class Page(HTMLParser):
    """A page as a browser takes it apart; every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def figures(*entries: Any, since: str | None = None, until: str | None = None) -> Figures:
    """Figures of entries."""
    made = Figures(since, until)
    for entry in entries:
        made.hear(entry)
    return made


def refused(**changes: Any) -> Any:
    return access_entry(outcome="refused", reason="POLICY", **changes)


# ── the command ──────────────────────────────────────────────────────────────


def test_a_report_shows_what_was_loaded_refused_and_changed(audited: Audited) -> None:
    """The verdict on top, then figures, refusals and changes."""
    file = audited.tmp_path / "report.html"
    ran = audited.audit("report", file)
    assert "history: verified" in ran.out
    shown = Page(file.read_text(encoding="utf-8"))
    assert "Verified: every entry is the one that the signed heads sum up." in shown.text
    assert audited.repository.id in shown.text
    assert "ARTIFACT_NOT_FOUND" in shown.text
    assert "churn:2026-12" in shown.text
    assert "job 7" in shown.text
    assert "nightly" in shown.text
    assert "exists" in audited.audit("report", file, code=1).err
    audited.audit("report", file, "--force", "--from", "2020", "--before", "2021")
    assert "No access is on record." in file.read_text(encoding="utf-8")


def test_a_report_of_an_edited_ledger_says_so_on_top(audited: Audited) -> None:
    """The page is drawn, the findings are on it, and the exit code is 1."""
    audited.sql("access", "DELETE FROM {}_entry WHERE sequence = 4")
    audited.sql("history", "UPDATE {}_entry SET tag = 'x' WHERE sequence = 4")
    file = audited.tmp_path / "report.html"
    audited.audit("report", file, code=1)
    text = Page(file.read_text(encoding="utf-8")).text
    assert "NOT VERIFIED: 2 findings. The figures below count what is there" in text
    assert f"Entry 4 is missing: the signed head says that there are {SIZE}." in text


def test_a_report_of_a_refused_head_is_drawn_all_the_same(audited: Audited) -> None:
    """An auditor gets a page that says what is wrong, rather than none."""
    audited.sql("history", "DELETE FROM {}_head")
    file = audited.tmp_path / "report.html"
    audited.audit("report", file, code=1)
    text = file.read_text(encoding="utf-8")
    assert "NOT VERIFIED: 1 finding." in text
    assert "unknown" in text


def test_a_page_fetches_nothing_and_runs_nothing(audited: Audited) -> None:
    """No script, no link, no image; and a policy that forbids all of them."""
    file = audited.tmp_path / "report.html"
    audited.audit("report", file)
    text = file.read_text(encoding="utf-8")
    shown = Page(text)
    names = {name for name, _ in shown.elements}
    assert not names & {"script", "link", "img", "iframe", "a", "object", "embed", "form"}
    attributes = {name for _, found in shown.elements for name in found}
    assert not {name for name in attributes if name.startswith("on") or name in {"src", "href"}}
    assert "url(" not in text
    assert "@import" not in text
    policies = [found["content"] for _, found in shown.elements if "http-equiv" in found]
    assert policies[0] is not None
    assert policies[0].startswith("default-src 'none'")


# ── figures ──────────────────────────────────────────────────────────────────


def test_accesses_are_counted_by_all_that_they_name() -> None:
    """By artifact, key, host and actor; a failure was granted before, and is not another one."""
    made = figures(
        access_entry(sequence=1),
        refused(sequence=2, artifact=None, request=AccessRequest(name="x", tag="1", revision=None)),
        access_entry(sequence=3, outcome="failed", reason="OBJECT_LOAD", grant=1),
        history_entry(),
    )
    assert (made.accesses.granted, made.accesses.refused, made.accesses.failed) == (1, 1, 1)
    assert made.accesses.total == 2
    assert list(made.by_artifact) == ["churn:2026-11", "x:1"]
    assert list(made.by_key) == ["0123456789abcdef0123456789abcdef", ""]
    assert made.acts == {"load": 2}
    assert made.reasons == {"POLICY": 1, "OBJECT_LOAD": 1}
    assert made.events == {"store": 1}
    assert [entry.sequence for entry in made.refusals] == [2, 3]


def test_only_the_time_that_is_asked_for_counts() -> None:
    """From a moment on, up to before another."""
    entries = [access_entry(at=f"2026-11-{day:02}T12:00:00.000000Z") for day in range(1, 11)]
    assert figures(*entries, since="2026-11-03", until="2026-11-07").accesses.granted == 4


@pytest.mark.parametrize(
    ("times", "width", "count"),
    [
        (["2026-11-23T12"], timedelta(hours=1), 1),
        (["2026-11-23T12", "2026-11-23T20"], timedelta(hours=1), 9),
        (["2026-11-01T12", "2026-11-28T11"], timedelta(hours=24), 28),
        (["2026-01-01T00", "2026-12-31T23"], timedelta(hours=336), 27),
        (["0001-01-01T00", "9999-12-31T23"], timedelta(hours=8_760_000), 11),
    ],
)
def test_time_is_cut_into_stretches_of_one_width(
    times: list[str], width: timedelta, count: int
) -> None:
    """As wide as it takes to draw them all; everything is in one of them."""
    made = figures(*(access_entry(at=f"{time}:00:00.000000Z") for time in times))
    periods = made.periods(48)
    assert {period.width for period in periods} == {width}
    assert len(periods) == count
    assert sum(period.tally.granted for period in periods) == len(times)


def test_a_time_of_no_calendar_is_counted_but_not_drawn() -> None:
    """A clock, or a signer, may say anything that has the form of a time."""
    made = figures(access_entry())
    made.hear(access_entry(at=NOON))
    made._by_hour["2026-99-99T99"] = Tally(granted=7)
    assert sum(period.tally.granted for period in made.periods(48)) == 2
    assert figures().periods(48) == []


def test_the_most_frequent_come_first() -> None:
    """By accesses, then refusals, then name."""
    tallies = {"b": Tally(2), "a": Tally(2), "c": Tally(1, 1), "d": Tally(9), "e": Tally(0)}
    assert [name for name, _ in most_frequent(tallies, 4)] == ["d", "c", "a", "b"]


def test_a_column_s_height_is_its_count() -> None:
    """Granted below refused; one refusal among thousands is still seen."""
    entries = [access_entry(sequence=number + 1) for number in range(3_000)]
    made = figures(*entries, refused(at="2026-11-23T13:00:00.000000Z"))
    drawn = Page(drawing.columns(made.periods(48)))
    rects = [found for name, found in drawn.elements if name == "rect"]
    assert [found["class"] for found in rects] == ["granted", "refused"]
    assert float(rects[0]["height"] or 0) == pytest.approx(214 * 3_000 / 3_000, rel=0.01)
    assert float(rects[1]["height"] or 0) == 2
    assert "3,000 granted, 0 refused" in drawn.text


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(1, (1, 1)), (4, (1, 4)), (5, (2, 3)), (17, (5, 4)), (90, (50, 2)), (3_000, (1_000, 3))],
)
def test_lines_stand_at_round_numbers(largest: int, expected: tuple[int, int]) -> None:
    """1, 2, 5 and their tens, and enough of them."""
    assert drawing._scale(largest) == expected


# ── markup ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "evil", ["<script>", "\"'><b>", "&amp;", "\x00\x1b[31m\u202e\u2028", "</td>"]
)
def test_nothing_breaks_out_of_markup(evil: str) -> None:
    """Text is text in an element and in an attribute, whatever it says."""
    made = Page(element("p", evil, title=evil))
    assert [name for name, _ in made.elements] == ["p"]
    assert made.text == made.elements[0][1]["title"]
    assert made.text.isprintable()
    assert escaped(Markup("<b>")) == "<b>"
    assert joined("<", Markup("<b>"), 7) == "&lt;<b>7"


class _Loud(Markup):
    pass


def test_only_markup_itself_is_trusted() -> None:
    """A subclass, which somebody else made, is text."""
    assert escaped(_Loud("<b>")) == "&lt;b&gt;"


def test_an_actor_s_text_stays_text() -> None:
    """Every field of an entry that comes from outside, in every table."""
    evil = "<script>alert('x')</script>\u202e"
    by = Actor(user=evil, host=evil, process=1, actor=evil)
    made = figures(refused(by=by, context=evil), history_entry(by=by))
    shown = Page(report.page("ab" * 16, AuditReport(), made, NOON).decode())
    assert "script" not in {name for name, _ in shown.elements}
    assert shown.text.count("<script>") == 7
    assert "\u202e" not in shown.text


def test_long_lists_say_how_much_is_left_out() -> None:
    """A table shows the largest, and counts the others."""
    entries = [
        refused(
            sequence=number + 1,
            artifact=None,
            request=AccessRequest(name=f"m{number}", tag="1", revision=3),
        )
        for number in range(520)
    ]
    text = Page(report.page("ab" * 16, AuditReport(), figures(*entries), NOON).decode()).text
    assert "and 508 more" in text
    assert "and 20 more" in text
    assert "m519:1@3" in text
