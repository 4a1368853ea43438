"""The auditor's report as one HTML page: no script, nothing fetched, everything escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from sealstore import named_files
from sealstore.audit.drawing import STYLE, Markup, bar, columns, element, joined
from sealstore.audit.figures import MAX_LISTED, Figures, Tallies, most_frequent
from sealstore.audit.verifying import CUT_IS_NOT_SEEN, AuditReport, ChainReport, verify_ledger
from sealstore.ledger.entries import AccessEntry
from sealstore.ledger.history import HistoryEntry
from sealstore.repository import environment
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.settings import Settings

_PERIODS: Final = 48
_TOP: Final = 12
_SHOWN_CHANGES: Final = 50
_SHOWN_KEY_DIGITS: Final = 12
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def page(repository: str, report: AuditReport, figures: Figures, made: str) -> bytes:
    """The page.

    Args:
        repository: id of the repository.
        report: what verifying the ledger gave.
        figures: what its entries come to.
        made: when, UTC.
    """
    head = element(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="robots" content="noindex">'),
        element("title", f"Audit of repository {repository[:8]}"),
        element("style", STYLE),
    )
    body = element(
        "body",
        element(
            "header",
            element("h1", "Audit report"),
            element("p", "repository ", element("code", repository), f" · {_time(made)} UTC"),
        ),
        element("main", *_sections(report, figures)),
        element(
            "footer",
            "Made by sealstore. This page is a picture of the ledger, not a proof: ",
            element("code", "sealstore audit verify"),
            " makes the proof again.",
        ),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n".encode()


def _sections(report: AuditReport, figures: Figures) -> Iterable[Markup]:
    yield _verdict(report)
    yield _tiles(figures)
    periods = figures.periods(_PERIODS)
    if periods:
        legend = element(
            "p",
            element("span", "granted", class_="key granted"),
            element("span", "refused", class_="key refused"),
            class_="legend",
        )
        yield _section("Accesses over time", legend, columns(periods))
    yield element(
        "div",
        _tally_section("By artifact", "artifact", figures.by_artifact),
        _tally_section("By key that signed it", "key", _with_names(figures.by_key)),
        _tally_section("By host", "host", figures.by_host),
        _tally_section("By actor", "actor", figures.by_actor),
        _count_section("Reasons of refusals", "reason", figures.reasons),
        _count_section("Changes of the repository", "event", figures.events),
        class_="columns-2",
    )
    yield _refusals(figures)
    yield _changes(figures.changes)


# ── the verdict ──────────────────────────────────────────────────────────────


def _verdict(report: AuditReport) -> Markup:
    findings = sum(chain.findings.count for chain in report.chains)
    if report.is_sound:
        title = "Verified: every entry is the one that the signed heads sum up."
    else:
        title = (
            f"NOT VERIFIED: {findings} {'finding' if findings == 1 else 'findings'}. The figures"
            " below count what is there, proven or not."
        )
    return element(
        "section",
        element("h2", title),
        *map(_chain, report.chains),
        class_="verdict sound" if report.is_sound else "verdict unsound",
    )


def _chain(report: ChainReport) -> Markup:
    head, hashed = report.head, report.hashed
    facts: list[tuple[str, object]] = []
    if head is not None:
        facts += [
            ("entries", f"{head.size:,}"),
            ("head signed", f"{_time(head.time)} UTC"),
            ("by key", element("code", report.key_id or "")),
            ("root", element("code", head.root)),
        ]
    if hashed is not None:
        facts.append(("hashed", f"{hashed.entries:,} entries, {hashed.nodes:,} stored hashes"))
    if report.map_records is not None:
        facts.append(("map", f"{report.map_records:,} records held against the history"))
    compared = [
        f"a {each.kind} of {each.size:,} entries ({_time(each.time)} UTC)"
        for each in report.compared_with
    ]
    held = f"the head was held against {' and '.join(compared)}" if compared else CUT_IS_NOT_SEEN
    facts.append(("truncation", held))
    told = [
        element(
            "li",
            element("strong", finding.message),
            f" [{finding.code}] ",
            element("span", finding.hint, class_="quiet"),
        )
        for finding in report.findings
    ]
    more = report.findings.count - len(told)
    if more:
        told.append(element("li", f"… and {more:,} more"))
    return joined(
        element("h3", report.chain.value),
        element("dl", *(joined(element("dt", n), element("dd", value)) for n, value in facts)),
        element("ul", *told, class_="findings") if told else "",
    )


# ── figures ──────────────────────────────────────────────────────────────────


def _tiles(figures: Figures) -> Markup:
    tally = figures.accesses
    shown = [
        ("accesses granted", tally.granted, ""),
        ("refused", tally.refused, "bad" if tally.refused else ""),
        ("failed afterwards", tally.failed, "bad" if tally.failed else ""),
        ("artifacts", len(figures.by_artifact), ""),
        ("hosts", len(figures.by_host), ""),
        ("changes of the repository", sum(figures.events.values()), ""),
    ]
    return element(
        "section",
        *(
            element(
                "div",
                element("b", f"{count:,}"),
                element("span", name),
                class_=f"tile {kind}".strip(),
            )
            for name, count, kind in shown
        ),
        class_="tiles",
    )


def _section(title: str, *content: object) -> Markup:
    return element("section", element("h2", title), *content)


def _tally_section(title: str, what: str, tallies: Tallies) -> Markup:
    if not tallies:
        return _section(title, element("p", "No access is on record.", class_="quiet"))
    top = most_frequent(tallies, _TOP)
    largest = top[0][1].total
    rows = [
        [name or "—", bar(tally, largest), f"{tally.granted:,}", f"{tally.refused:,}"]
        for name, tally in top
    ]
    return _section(
        title,
        _table((what, "", "granted", "refused"), rows, numbers=2),
        _more(len(tallies) - len(top)),
    )


def _count_section(title: str, what: str, counts: Counter[str]) -> Markup:
    if not counts:
        return _section(title, element("p", "None.", class_="quiet"))
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [[name, f"{count:,}"] for name, count in top[:_TOP]]
    return _section(title, _table((what, "count"), rows, numbers=1), _more(len(top) - len(rows)))


def _with_names(by_key: Tallies) -> Tallies:
    return {key_id[:_SHOWN_KEY_DIGITS]: tally for key_id, tally in by_key.items()}


def _more(count: int) -> Markup:
    if count <= 0:
        return Markup()
    return element("p", f"and {count:,} more", class_="quiet")


def _table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numbers: int = 0,
    of: str | None = None,
) -> Markup:
    """A table whose last ``numbers`` columns are numbers."""
    first_number = len(headers) - numbers

    def cells(name: str, values: Sequence[object]) -> Markup:
        return element(
            "tr",
            *(
                element(name, value, class_="number" if index >= first_number else None)
                for index, value in enumerate(values)
            ),
        )

    return element(
        "div",
        element(
            "table",
            element("thead", cells("th", headers)),
            element("tbody", *(cells("td", row) for row in rows)),
            class_=of,
        ),
        class_="scroll",
    )


# ── entries ──────────────────────────────────────────────────────────────────


def _refusals(figures: Figures) -> Markup:
    if not figures.refusals:
        return _section("Refusals", element("p", "None is on record.", class_="quiet"))
    rows = [_refusal(entry) for entry in reversed(figures.refusals)]
    headers = ("entry", "at (UTC)", "act", "reason", "artifact", "actor", "host", "context")
    count = figures.accesses.refused + figures.accesses.failed
    return _section(
        "Refusals, the newest first",
        _table(headers, rows, of="entries"),
        _more(max(0, count - MAX_LISTED)),
    )


def _refusal(entry: AccessEntry) -> list[object]:
    asked = entry.request
    revision = "" if asked.revision is None else f"@{asked.revision}"
    after = "" if entry.grant is None else f", after grant {entry.grant}"
    return [
        str(entry.sequence),
        _time(entry.at),
        f"{entry.act} {entry.outcome}{after}",
        element("code", entry.reason or ""),
        f"{asked.name}:{asked.tag}{revision}",
        entry.by.actor or entry.by.user,
        entry.by.host,
        entry.context or "",
    ]


def _changes(changes: Iterable[HistoryEntry]) -> Markup:
    newest = list(changes)[: -_SHOWN_CHANGES - 1 : -1]
    if not newest:
        return Markup()
    rows = [
        [
            str(entry.sequence),
            _time(entry.at),
            entry.event,
            "" if entry.artifact is None else _artifact(entry),
            entry.by.actor or entry.by.user,
            entry.by.host,
            element("code", entry.recorded_by[:_SHOWN_KEY_DIGITS]),
        ]
        for entry in newest
    ]
    headers = ("entry", "at (UTC)", "event", "artifact", "actor", "host", "key")
    return _section(
        "Changes of the repository, the newest first", _table(headers, rows, of="entries")
    )


def _artifact(entry: HistoryEntry) -> str:
    about = entry.artifact
    return "" if about is None else f"{about.name}:{about.tag}@{about.revision}"


def _time(text: str) -> str:
    return text[:19].replace("T", " ")


# ── the ledger verified, counted, and drawn ──────────────────────────────────


def write_report(
    settings: Settings,
    path: Path,
    *,
    since: str | None = None,
    until: str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> AuditReport:
    """Verify the whole ledger, and write a page of what it says.

    Args:
        settings: name the repository and the keys.
        path: the HTML file.
        since, until: UTC times, or beginnings of one, between which entries are counted; all of
            them are verified.
        force: whether the file may replace one that is there.
        progress: as for ``verify_ledger``.

    Raises:
        StorageError: the file is there already, or the file system refused.
        SealstoreError: as ``verify_ledger``.
    """
    figures = Figures(since, until)
    with named_files.writing("report", path), named_files.new_file(path, replacing=force) as file:
        report = verify_ledger(settings, hear=figures.hear, progress=progress)
        file.write(page(_repository(settings, report), report, figures, environment.now()))
    return report


def _repository(settings: Settings, report: AuditReport) -> str:
    for chain in report.chains:
        if chain.head is not None:
            return chain.head.repository
    return settings.repository_id or "unknown"
