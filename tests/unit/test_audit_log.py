"""audit log: filters, pages, JSON lines, and what is appended while one looks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sealstore.audit.chains import ChainName, open_ledger
from sealstore.audit.log import LogFilter, LogLine, follow
from sealstore.errors import RollbackError
from tests.audited import CHAINS, SIZE, Audited

both_chains = pytest.mark.parametrize("chain", CHAINS)


def shown(audited: Audited, *arguments: str) -> list[tuple[str, int]]:
    """Chain and sequence of what the log shows."""
    lines = audited.audit("log", "--json", *arguments).json["entries"]
    assert all(line["proven"] for line in lines)
    return [(line["chain"], line["sequence"]) for line in lines]


def history(*sequences: int) -> list[tuple[str, int]]:
    return [("history", sequence) for sequence in sequences]


def access(*sequences: int) -> list[tuple[str, int]]:
    return [("access", sequence) for sequence in sequences]


def test_both_chains_are_shown_by_time_the_newest_first(audited: Audited) -> None:
    """Everything that happened, each line with what it was."""
    everything = [*access(*range(SIZE, 0, -1)), *history(*range(SIZE, 0, -1))]
    assert shown(audited) == everything
    lines = audited.audit("log").out.splitlines()
    assert lines[0].split()[:2] == ["CHAIN", "NUMBER"]
    assert len(lines) == 2 * SIZE + 1
    assert lines[2].split()[4:] == [
        "load", "refused", "churn:2026-12", *lines[2].split()[7:9], "ARTIFACT_NOT_FOUND",
    ]  # fmt: skip
    assert "churn:production -> churn:2026-11@4" in lines[-9]


def test_an_entry_as_json_has_all_that_it_says(audited: Audited) -> None:
    """One document, or one a line: the same values."""
    [document] = audited.audit("log", "--json", "--actor", "job 3").json["entries"]
    [line] = audited.audit("log", "--jsonl", "--actor", "job 3").out.splitlines()
    assert json.loads(line) == document
    assert document["entry"]["artifact"]["revision"] == 4
    assert document["entry"]["by"]["actor"] == "job 3"
    assert document["entry"]["kind"] == "access-v1"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--chain", "history", "--name", "fraud"], history(11, 10, 7)),
        (["--name", "fraud"], [*access(11), *history(11, 10, 7)]),
        (["--tag", "2026-12"], [*access(10), *history(8, 6)]),
        (["--event", "remove"], history(11, 8)),
        (["--event", "remove", "--event", "alias"], history(11, 9, 8)),
        (["--event", "verify"], access(11)),
        (["--event", "verify", "--event", "create"], [*access(11), *history(1)]),
        (["--event", "inspect"], []),
        (["--outcome", "refused"], access(10)),
        (["--outcome", "failed"], []),
        (["--outcome", "granted", "--event", "verify"], access(11)),
        (["--outcome", "granted", "--event", "store"], []),
        (["--actor", "ada"], history(7)),
        (["--actor", "nightly", "--limit", "2"], history(5, 4)),
        (["--actor", "nobody"], []),
        (["--since", "9999"], []),
        (["--until", "2020-01-01T00:00Z"], []),
        (["--since", "2020", "--chain", "access", "--limit", "1"], access(11)),
        (["--chain", "access", "--after", "3"], access(2, 1)),
        (["--chain", "history", "--after", "500", "--limit", "1"], history(11)),
        (["--chain", "history", "--after", "1"], []),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_filters_choose(
    audited: Audited, arguments: list[str], expected: list[tuple[str, int]]
) -> None:
    """Every filter leaves exactly what fits."""
    assert shown(audited, *arguments) == expected


@both_chains
@pytest.mark.parametrize("limit", [1, 3, 4, SIZE])
def test_pages_join_to_the_whole(audited: Audited, chain: str, limit: int) -> None:
    """Each page says where the next goes on; the last says that it is the last."""
    seen: list[int] = []
    after: list[str] = []
    while True:
        page = audited.audit("log", "--chain", chain, "--limit", str(limit), "--json", *after).json
        seen += [line["sequence"] for line in page["entries"]]
        assert page["more"] is (page["nextAfter"] is not None)
        if page["nextAfter"] is None:
            break
        after = ["--after", str(page["nextAfter"])]
    assert seen == list(range(SIZE, 0, -1))


def test_a_page_says_that_there_are_more(audited: Audited) -> None:
    """Of one chain how to go on; of both that a chain must be chosen for that."""
    assert audited.audit("log", "--limit", "3").err == "there are more: add --chain, then --after\n"
    one = audited.audit("log", "--chain", "access", "--limit", "3").err
    assert one == "there are more: add --after 9\n"
    assert audited.audit("log", "--actor", "nobody").err == "nothing is on record that fits\n"
    assert audited.audit("log", "--limit", "12").err.startswith("there are more")


def test_an_actor_is_looked_for_on_every_page(audited: Audited) -> None:
    """What fits may be rare, and stand far behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealstore.limits.MAX_LIST_ROWS", 2)
        assert shown(audited, "--actor", "job 1") == access(2)


def test_clocks_that_disagree_do_not_change_the_order_of_a_chain(audited: Audited) -> None:
    """Within a chain the sequence decides, whatever time an entry tells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealstore.repository.environment.now", lambda: "2001-01-01T00:00:00.000000Z")
        audited.repository.store([1], "back", "then")
    audited.grow("history", 1)
    found = shown(audited)
    assert [place for place in found if place[0] == "history"][:3] == history(13, 12, 11)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "--jsonl"],
        ["--json", "--follow"],
        ["--follow", "--after", "3"],
        ["--after", "3"],
        ["--since", "yesterday"],
        ["--event", "explode"],
    ],
    ids=" ".join,
)
def test_contradicting_arguments_are_refused(audited: Audited, arguments: list[str]) -> None:
    """With the reason, and before anything is read."""
    audited.audit("log", *arguments, code=2)


# ── following ────────────────────────────────────────────────────────────────


def followed(audited: Audited, wanted: LogFilter, *rounds: Any) -> list[LogLine]:
    """What following shows while each of ``rounds`` happens in turn."""
    waiting: Iterator[Any] = iter(rounds)

    def pause() -> bool:
        happen = next(waiting, None)
        if happen is None:
            return False
        happen()
        return True

    with open_ledger(audited.site.settings) as ledger:
        return list(follow(ledger.chosen(None), wanted, pause))


def test_what_is_appended_is_shown_as_it_comes(audited: Audited) -> None:
    """Oldest first, from both chains, nothing of before, and nothing twice."""
    lines = followed(
        audited,
        LogFilter(),
        lambda: audited.grow("history", 2),
        lambda: None,
        lambda: audited.grow("access", 2),
        audited.repository.heartbeat,
        lambda: audited.grow("history", 1),
    )
    assert [(line.chain, line.sequence) for line in lines if line.chain is ChainName.ACCESS] == (
        access(12, 13)
    )
    numbers = [line.sequence for line in lines if line.chain is ChainName.HISTORY]
    assert numbers == list(range(12, 12 + len(numbers)))
    assert len(numbers) >= 3
    assert all(line.error is None for line in lines)


def test_following_shows_only_what_fits(audited: Audited) -> None:
    """Every entry is hashed, and only those that are asked for are shown."""

    def happen() -> None:
        audited.grow("history", 2)
        audited.repository.load("churn", actor="watched")
        audited.repository.load("churn", "2026-11", actor="watched")
        audited.repository.load("fraud", actor="watched")

    for wanted, expected in (
        (LogFilter(actor="watched", name="churn"), [12, 13]),
        (LogFilter(events=("store",), tag="1"), [15]),
        (LogFilter(outcome="granted", since="2020", until="9999", name="fraud"), [20]),
        (LogFilter(until="2020"), []),
        (LogFilter(since="9999"), []),
        (LogFilter(events=("inspect",)), []),
    ):
        assert [line.sequence for line in followed(audited, wanted, happen)] == expected


def test_following_stops_where_the_ledger_does_not_follow(audited: Audited) -> None:
    """A chain that was put back while somebody looks on is an error, not silence."""
    older = audited.head("access")
    audited.grow("access")

    def put_back() -> None:
        audited.sql("access", "DELETE FROM {}_entry WHERE sequence > ?", SIZE)
        audited.sql("access", "DELETE FROM {}_node WHERE (node_index + 1) << level > ?", SIZE)
        audited.put_head("access", older)

    with pytest.raises(RollbackError):
        followed(audited, LogFilter(), put_back)


def test_following_marks_rows_that_say_other_things(audited: Audited) -> None:
    """An entry whose columns were edited before anybody looked."""

    def happen() -> None:
        audited.grow("access", 1)
        audited.sql("access", "UPDATE access_entry SET tag = 'x' WHERE sequence = ?", SIZE + 1)

    [line] = followed(audited, LogFilter(), happen)
    assert line.entry is None
    assert line.to_json()["refusal"]["code"] == "LEDGER_TAMPERED"


@pytest.mark.parametrize("as_lines", [True, False])
def test_follow_prints_until_it_is_interrupted(audited: Audited, as_lines: bool) -> None:
    """Lines for a SIEM, or for people; ending it is no failure, unless something was refused."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt
        audited.grow("access", 1)
        if len(slept) == 2:
            audited.sql("access", "UPDATE access_entry SET tag = 'x' WHERE sequence = ?", SIZE + 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealstore.cli.audit_log.time.sleep", sleep)
        arguments = ["--follow", "--interval", "0.5", *(["--jsonl"] if as_lines else [])]
        out = audited.audit("log", *arguments, code=1).out
    assert slept == [0.5] * 3
    first, second = out.splitlines()
    if as_lines:
        assert [json.loads(line)["proven"] for line in (first, second)] == [True, False]
    else:
        assert first.startswith(f"access  {SIZE + 1}  ")
        assert "REFUSED" in second
