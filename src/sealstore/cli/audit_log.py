"""audit log: entries of both chains, each proven."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from sealstore.cli import options, output
from sealstore.cli.invocation import DONE, FAILED, Invocation

if TYPE_CHECKING:
    from sealstore.audit.chains import ChainName
    from sealstore.audit.log import LogFilter, LogLine
    from sealstore.ledger.entries import AccessEntry
    from sealstore.ledger.history import HistoryEntry

_HEADERS: Final = (
    "CHAIN", "NUMBER", "AT (UTC)", "EVENT", "OUTCOME", "ARTIFACT", "ACTOR", "HOST", "REASON",
)  # fmt: skip
_EVENTS: Final = (
    "create", "store", "remove", "resign", "settings", "key", "alias", "gc",
    "lost", "rebuild", "load", "verify", "export", "inspect",
)  # fmt: skip


@click.command(short_help="Show entries of both chains, each proven.")
@click.option(
    "--chain", type=click.Choice(["history", "access", "both"]), default="both", show_default=True
)
@click.option("--name", help="Only what is about this name.")
@click.option("--tag", help="Only what is about this tag.")
@click.option(
    "--event",
    "events",
    type=click.Choice(_EVENTS),
    multiple=True,
    help="Only these; may be repeated.",
)
@click.option(
    "--outcome",
    type=click.Choice(["granted", "refused", "failed"]),
    help="Only accesses with this outcome.",
)
@click.option("--actor", help="Only what this actor or user did.")
@click.option("--since", callback=options.utc_time, help="Only from this UTC time on: 2026-11-23.")
@click.option("--until", callback=options.utc_time, help="Only before this UTC time.")
@options.limit
@options.after
@click.option("--follow", "following", is_flag=True, help="Go on with what is appended from now.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="With --follow: seconds between two looks.",
)
@click.option("--jsonl", "as_lines", is_flag=True, help="Print one JSON document a line.")
@options.with_json
def log(
    invocation: Invocation,
    /,
    chain: str,
    limit: int,
    after: int | None,
    following: bool,
    interval: float,
    as_lines: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Show entries, the newest first; with --follow what is appended from now on, as it comes.

    Each is proven to be in the chain that its signed head sums up. What is there and cannot be
    proven is marked REFUSED, and the exit code is 1. That no entry is missing shows where no
    filter is given; 'audit verify' proves it of the whole.
    """
    if as_json and (as_lines or following):
        raise click.UsageError("--json prints one document: take --jsonl.")
    if following and after is not None:
        raise click.UsageError("--after goes back, and --follow goes on.")
    if after is not None and chain == "both":
        raise click.UsageError("--after is a number of one chain: give --chain.")
    from sealstore.audit.log import LogFilter

    wanted = LogFilter(**given)
    if following:
        return _follow(invocation, chain, wanted, interval, as_lines)
    lines, next_after, more = _page(invocation, chain, wanted, limit, after)
    if as_lines:
        for line in lines:
            output.json_line(line.to_json())
    elif as_json:
        documents = [line.to_json() for line in lines]
        output.document({"entries": documents, "nextAfter": next_after, "more": more})
    elif lines:
        output.table(_HEADERS, list(map(_row, lines)), [line.error is not None for line in lines])
    else:
        output.note("nothing is on record that fits")
    if more and not as_json:
        what = "--chain, then --after" if next_after is None else f"--after {next_after}"
        output.note(f"there are more: add {what}")
    return FAILED if any(line.error is not None for line in lines) else DONE


def _chosen(chain: str) -> ChainName | None:
    from sealstore.audit.chains import ChainName

    return None if chain == "both" else ChainName(chain)


def _page(
    invocation: Invocation, chain: str, wanted: LogFilter, limit: int, after: int | None
) -> tuple[list[LogLine], int | None, bool]:
    from sealstore.audit.chains import open_ledger
    from sealstore.audit.log import log_page, merged

    with open_ledger(invocation.settings()) as ledger:
        pages = [
            log_page(source, wanted, limit=limit, after=after)
            for source in ledger.chosen(_chosen(chain))
        ]
    lines = merged(pages, limit)
    if len(pages) == 1:
        return lines, pages[0].next_after, pages[0].next_after is not None
    are_more = any(page.next_after is not None for page in pages)
    return lines, None, are_more or sum(len(page.lines) for page in pages) > limit


def _follow(
    invocation: Invocation, chain: str, wanted: LogFilter, interval: float, as_lines: bool
) -> int:
    from sealstore.audit.chains import open_ledger
    from sealstore.audit.log import follow

    def pause() -> bool:
        time.sleep(interval)
        return True

    code = DONE
    with open_ledger(invocation.settings()) as ledger:
        lines: Iterator[LogLine] = follow(ledger.chosen(_chosen(chain)), wanted, pause)
        # Interrupting it is how it ends.
        with suppress(KeyboardInterrupt):
            for line in lines:
                if line.error is not None:
                    code = FAILED
                if as_lines:
                    output.json_line(line.to_json())
                else:
                    colour = None if line.error is None else "red"
                    output.line("  ".join(filter(None, _row(line))), colour=colour)
    return code


def _row(line: LogLine) -> list[str]:
    place = [line.chain.value, str(line.sequence)]
    entry = line.entry
    if entry is None:
        reason = "" if line.error is None else f"REFUSED {line.error.message} [{line.error.code}]"
        return [*place, output.time_text(line.at), "", "", "", "", "", reason]
    event, outcome, artifact, reason = _said(entry)
    actor = entry.by.actor or entry.by.user
    at = output.time_text(entry.at)
    return [*place, at, event, outcome, artifact, actor, entry.by.host, reason]


def _said(entry: HistoryEntry | AccessEntry) -> tuple[str, str, str, str]:
    """Event, outcome, artifact and reason of an entry."""
    from sealstore.ledger.entries import AccessEntry

    about = entry.artifact
    artifact = "" if about is None else f"{about.name}:{about.tag}@{about.revision}"
    if not isinstance(entry, AccessEntry):
        alias = entry.details.get("alias")
        shown = f"{entry.details.get('name')}:{alias} -> {artifact}" if alias else artifact
        return entry.event, "", shown, ""
    if about is None:
        asked = entry.request
        revision = "" if asked.revision is None else f"@{asked.revision}"
        artifact = f"{asked.name}:{asked.tag}{revision}"
    return entry.act, entry.outcome, artifact, entry.reason or ""
