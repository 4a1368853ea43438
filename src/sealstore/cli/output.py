"""Everything that reaches a terminal or a pipe goes through here, and is escaped here.

Names, metadata, actors, hosts and error texts come from outside. Control and format characters are
escaped, and rich sees text without markup.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sealstore.cli.invocation import DONE, FAILED
from sealstore.errors import SealstoreError, UsageError, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from sealstore.audit.findings import Finding
    from sealstore.repository.progress import Progress

_USAGE: Final = 2
_UNLIMITED_WIDTH: Final = 1_000_000
_PATIENCE_SECONDS: Final = 1.0
_MAX_CLAIM_CHARACTERS: Final = 256
_WHOLE_CHARACTERS: Final = 20


def document(value: object) -> None:
    """Print one JSON document, in ASCII: JSON's escapes keep a terminal from obeying it."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def answer(as_json: bool, value: object, *lines: str) -> int:
    """Print what a command did, as one JSON document or in words; the exit code of what is done."""
    if as_json:
        document(value)
    else:
        for text in lines:
            line(text)
    return DONE


def json_line(value: object) -> None:
    """Print a JSON document on one line, in ASCII, at once: others read while this goes on."""
    click.echo(json.dumps(value, allow_nan=False))


def write(path: Path, data: bytes | memoryview, *, force: bool, mode: int = 0o666) -> None:
    """Write a file, whole or not at all.

    Args:
        path: its name.
        data: all of it.
        force: whether it may replace one that is there.
        mode: its permissions, less those that the umask takes.

    Raises:
        StorageError: there is one already, or the file system refused.
    """
    from sealstore import named_files

    with (
        named_files.writing("file", path),
        named_files.new_file(path, replacing=force, mode=mode) as file,
    ):
        file.write(data)


def line(text: str = "", *, colour: str | None = None) -> None:
    """Print one line."""
    click.echo(_styled(printable(text), colour), color=_colours())


def note(text: str) -> None:
    """Print one line for people, beside the output proper."""
    click.echo(printable(text), err=True)


def claim(value: object) -> str | int | None:
    """An unverified value of a row, which may be of any type, as JSON can carry it."""
    if value is None or type(value) is int:
        return value
    text = value if isinstance(value, str) else repr(value)
    return text[:_MAX_CLAIM_CHARACTERS]


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool] = ()
) -> None:
    """Print a table; through a pipe each row is one line, however long.

    Args:
        headers: the columns.
        rows: the cells, as they are; escaped here.
        marked: for each row, whether it stands out.
    """
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    widths = [
        max(len(header), *(len(row[at]) for row in rows), 0) for at, header in enumerate(headers)
    ]
    # Times, numbers and short ids stay whole and long texts are folded, as far as there is room.
    needed = sum(min(width, _WHOLE_CHARACTERS) + 2 for width in widths)
    has_room = needed <= _console().width
    for header, width in zip(headers, widths, strict=True):
        is_whole = has_room and width <= _WHOLE_CHARACTERS
        shown.add_column(header, overflow="fold", no_wrap=is_whole)
    for index, row in enumerate(rows):
        style = "red" if marked and marked[index] else ""
        shown.add_row(*(Text(printable(cell), style) for cell in row))
    _console().print(shown)


def fields(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values; a value's further lines stand below its first."""
    width = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        first, *others = value.split("\n")
        line(name.ljust(width) + first)
        for other in others:
            line(" " * width + other)


def findings(found: Sequence[Finding]) -> None:
    """Print what was refused and what to do."""
    for finding in found:
        about = f"{finding.artifact}: " if finding.artifact else ""
        line(f"REFUSED {about}{finding.message} [{finding.code}]", colour="red")
        if finding.hint:
            line(f"  to do: {finding.hint}")


def confirm(question: str, *, yes: bool) -> None:
    """Return if somebody at a terminal agrees, or has agreed with ``--yes``.

    Raises:
        click.UsageError: nobody can answer.
        click.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("This asks first, and nobody can answer here: give --yes.")
    click.confirm(printable(question), abort=True, err=True)


def size_text(size: int) -> str:
    """Bytes for people, in powers of 1,000."""
    if size < 1_000:
        return f"{size} B"
    exponent = min(int(math.log10(size) / 3), 4)
    return f"{size / 1_000**exponent:.1f} {'kMGT'[exponent - 1]}B"


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``1 artifact``, ``2 artifacts``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def short_key(key_id: object) -> str:
    """The beginning of a key's id, enough to tell it from the others of a keyring."""
    return str(key_id)[:12]


def time_text(created: object) -> str:
    """A statement's time, to the second."""
    return str(created)[:19].replace("T", " ")


# ── progress ─────────────────────────────────────────────────────────────────


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar on standard error, if that is a terminal and the work takes a while."""
    bar = _ProgressBar()
    try:
        yield bar.update
    finally:
        bar.stop()


class _ProgressBar:
    def __init__(self) -> None:
        self._started = time.monotonic()
        self._watched = sys.stderr.isatty()
        self._bar: Bar | None = None
        self._tasks: dict[str, TaskID] = {}
        # When a phase was first told of, and how far it was then.
        self._first: dict[str, tuple[float, int]] = {}

    def update(self, what: str, done: int, total: int, /) -> None:
        if not self._watched or time.monotonic() - self._started < _PATIENCE_SECONDS:
            return
        if self._bar is None:
            from rich.progress import Progress as Bar
            from rich.progress import TextColumn

            columns = (*Bar.get_default_columns(), TextColumn("{task.fields[speed]}"))
            self._bar = Bar(*columns, console=_console(stderr=True), transient=True)
            self._bar.start()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, speed="")
            self._first[what] = (time.monotonic(), done)
        speed = self._speed(what, done)
        self._bar.update(self._tasks[what], completed=done, total=total, speed=speed)

    def _speed(self, what: str, done: int) -> str:
        since, before = self._first[what]
        seconds = time.monotonic() - since
        if not seconds:
            return ""
        speed = int((done - before) / seconds)
        # The one phase that counts bytes: see ``repository.progress.Progress``.
        return f"{size_text(speed) if what == 'payloads' else f'{speed:,}'}/s"

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()


# ── errors ───────────────────────────────────────────────────────────────────


def show_error(error: Exception, *, debug: bool) -> int:
    """Say what failed and what to do; the exit code."""
    if debug:
        for part in "".join(traceback.format_exception(error)).splitlines():
            note(part)
    if not isinstance(error, SealstoreError):
        _error(f"{type(error).__name__}: {error}")
        note("to do: 'sealstore --debug …' shows where; if it is not yours to mend, report it.")
        return FAILED
    about = f"{error.artifact}: " if error.artifact else ""
    place = f" ({error.path})" if error.path and "{path}" not in error.hint else ""
    _error(f"{about}{error.message}{place}")
    if error.hint:
        note(f"to do: {error.hint.replace('{path}', error.path or '')}")
    return _USAGE if isinstance(error, UsageError) else FAILED


def show_click_error(error: click.ClickException) -> int:
    """Say what is wrong with the arguments; the exit code."""
    _error(error.format_message())
    if isinstance(error, click.UsageError):
        # click leaves the command open where an option lacks its argument.
        command = "sealstore" if error.ctx is None else error.ctx.command_path
        note(f"to do: '{command} --help' shows how.")
    return error.exit_code


def _error(text: str) -> None:
    head = _styled("error:", "red")
    click.echo(f"{head} {printable(text)}", err=True, color=_colours())


def _styled(text: str, colour: str | None) -> str:
    return text if colour is None else click.style(text, fg=colour)


def _colours() -> bool | None:
    """Whether to colour; None lets click see whether there is a terminal. See no-color.org."""
    return False if os.environ.get("NO_COLOR") else None


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _UNLIMITED_WIDTH
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
