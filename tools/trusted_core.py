"""Writes docs/trusted-core.md: what to read to believe what a load returns, and how long that is.

    python -m tools.trusted_core           # write the page
    python -m tools.trusted_core --check   # exit 1 where the page is not what the code says

``READING`` is the one list: a test holds it against what a process that opens and loads imports.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "src" / "sealstore"
PAGE: Final = ROOT / "docs" / "trusted-core.md"

MOST_LINES: Final = 6_000
"""Code lines that a process may import which opens a repository and loads from it."""
MOST_DECIDING_LINES: Final = 2_000
"""Code lines that decide what a load returns."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the reading.

    Args:
        title: its heading.
        why: what reading it shows.
        files: what each file does, by its path below ``src/sealstore``; in the order of reading.
    """

    title: str
    why: str
    files: dict[str, str]

    def lines(self) -> int:
        """Code lines of all its files."""
        return sum(code_lines(SOURCE / file) for file in self.files)


READING: Final = (
    Part(
        "The decision",
        "Who believes these files believes that a load returns what was signed, or refuses. They"
        " get bytes and return a verified thing; none but the last three asks for anything.",
        {
            "names.py": "what a name, a tag and a reference may be",
            "signed/verified.py": "values that only the function that verifies them can make",
            "signed/envelope.py": "one signature over exact bytes; the only maker of a verified"
            " statement",
            "signed/statement.py": "what is signed about an artifact, decoded in one spelling only",
            "signed/settings.py": "what an admin signs for the whole repository",
            "signed/approval.py": "whether a protected alias was moved by enough people",
            "ledger/merkle.py": "hashes of a tree, and its right edge",
            "ledger/proofs.py": "inclusion and consistency proofs",
            "ledger/authenticated_map.py": "what the map says under a key, proven to the root",
            "ledger/map_values.py": "the values that stand there",
            "ledger/continuity.py": "whether a state follows the one that was seen before",
            "verification.py": "the numbered procedure that brings these together",
            "repository/state.py": "the order: remembered, asked, verified, remembered again",
            "repository/proving.py": "one answer of the catalogue, proven",
            "repository/loading.py": "the flow of a load, step by step",
        },
    ),
)


ONLY_WHEN_NEEDED: Final = {
    SOURCE / "signed/approval.py",  # where the settings protect an alias
}
"""Files of the reading that an ordinary load does not import."""


def code_lines(path: Path) -> int:
    """Lines of a Python file that hold code: no blank lines, comments and docstrings.

    Args:
        path: the file.
    """
    text = path.read_text(encoding="utf-8")
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            documented.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    coded: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            coded.update(range(token.start[0], token.end[0] + 1))
    return len(coded - documented)


_NO_CODE: Final = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


_INTRODUCTION: Final = """\
# The trusted core

What must a reader read to believe that a load cannot return a wrong object, or run code that nobody
signed? These files, in this order. A process that opens a repository on SQLite and loads from it
imports these and no others of sealstore's: no writer, no inspection, no migration, and no
SQLAlchemy. A test starts such a process and compares.
"""


def page() -> str:
    """The page, as the code is now."""
    deciding, total = READING[0].lines(), sum(part.lines() for part in READING)
    lines = [
        _INTRODUCTION,
        f"In all {total:,} lines of code, without docstrings, comments and blank lines (at most",
        f"{MOST_LINES:,}); {deciding:,} of them decide (at most {MOST_DECIDING_LINES:,}).",
        "`python -m tools.trusted_core` writes this page; a test holds it against the code.",
    ]
    for number, part in enumerate(READING, start=1):
        lines += ["", f"## {number}. {part.title} ({part.lines():,} lines)", "", part.why, ""]
        lines += ["| file | lines | what it does |", "|---|--:|---|"]
        lines += [
            f"| `{file}` | {code_lines(SOURCE / file)} | {what} |"
            for file, what in part.files.items()
        ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page, or compare it.

    Args:
        arguments: nothing, or ``--check``.

    Returns:
        The exit code.
    """
    text = page()
    if arguments == ["--check"]:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
