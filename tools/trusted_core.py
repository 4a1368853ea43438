"""Writes docs/trusted-core.md: what to read to believe what a load returns, and how long that is.

    python -m tools.trusted_core           # write the page
    python -m tools.trusted_core --check   # exit 1 where the page is not what the code says

``READING`` is the one list: a test holds it against what a process that opens and loads imports.
"""

from __future__ import annotations

import ast
import functools
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
            "ledger/consistency.py": "whether a tree begins with an older one",
            "ledger/authenticated_map.py": "what the map says under a key, proven to the root",
            "ledger/map_values.py": "the values that stand there",
            "ledger/continuity.py": "whether a state follows the one that was seen before",
            "verification.py": "the numbered procedure that brings these together",
            "repository/state.py": "the order: remembered, asked, verified, remembered again",
            "repository/proving.py": "one answer of the catalogue, proven",
            "repository/loading.py": "the flow of a load, step by step",
        },
    ),
    Part(
        "What the decision stands on",
        "Shared ground: a reader who trusts these can take the files above at their word.",
        {
            "errors.py": "every refusal, with its code",
            "limits.py": "every cap, with its unit",
            "files.py": "how a file is opened, written and locked",
            "ledger/documents.py": "one spelling for each document of the ledger",
            "ledger/head.py": "the signed summary of a repository, and of its access log",
            "ledger/points.py": "a head without its frontier, as it is remembered",
        },
    ),
    Part(
        "Keys",
        "A signature holds only under a key of this process's own keyring, with the role for it.",
        {
            "keys/algorithms.py": "HMAC-SHA256 and Ed25519",
            "process_bound.py": "keys and open databases are neither pickled nor copied",
            "keys/keyring.py": "states, roles, and which repositories a key is for",
            "keys/sources.py": "the keyring file: private, outside of the repository, read again",
        },
    ),
    Part(
        "What this client remembers",
        "An older or a different repository is genuine in every bit; only memory tells it apart.",
        {
            "trust/store.py": "reading it, and advancing it under a lock",
            "trust/record.py": "the document, and what may follow what",
            "trust/files.py": "a folder that nobody else can write",
            "trust/freshness.py": "how old a head may be",
        },
    ),
    Part(
        "What is kept, and never believed",
        "These fetch bytes. A mistake here can cost an answer, and cannot make a wrong one.",
        {
            "storage/layout.py": "the repository's folder",
            "storage/blobs/local.py": "payloads, by their digest",
            "storage/blobs/reading.py": "read once, hashed on the way",
            "storage/blobs/payload_hash.py": "both digests of a payload",
            "storage/blobs/memory.py": "memory that nobody else changes",
            "storage/catalogue/__init__.py": "the catalogue of a repository, opened",
            "storage/catalogue/connections.py": "what SQLite and PostgreSQL share",
            "storage/catalogue/sqlite.py": "SQLite, spoken to by Python's own driver",
            "storage/catalogue/schema.py": "the schema that is there is the shipped one",
            "storage/catalogue/statements.py": "the SQL that a load needs, as text",
            "storage/catalogue/artifacts.py": "the one question of a load, and its answer",
            "storage/catalogue/ledger_rows.py": "entries, nodes and heads of a chain",
            "storage/catalogue/access_rows.py": "the access log's rows",
        },
    ),
    Part(
        "From verified bytes to an object",
        "The C unpickler over verified memory; what the signed list does not name is not imported.",
        {
            "formats/registry.py": "which format a statement names",
            "formats/joblib_format.py": "joblib's",
            "formats/policies.py": "the policy over the signed imports",
            "formats/pickling/allowlist.py": "the names that sealstore trusts",
            "formats/pickling/reader.py": "the object of a payload",
            "formats/pickling/unpickler.py": "the unpickler, and the names that it resolves",
            "formats/pickling/stream.py": "the stream that it reads, and the arrays in it",
            "formats/pickling/wrapper.py": "what joblib writes before an array",
            "formats/pickling/arrays.py": "arrays as views of the verified memory",
            "formats/pickling/refusals.py": "why a payload is refused",
        },
    ),
    Part(
        "On record, before the first opcode",
        "A load that cannot be recorded hands nothing out.",
        {
            "ledger/entries.py": "an entry of the access log, in one spelling",
            "repository/recorded_access.py": "an access, while it is being made",
            "repository/access_log/log.py": "its head, verified, and appending to it",
            "repository/access_log/place.py": "where it is",
            "repository/environment.py": "who and where",
        },
    ),
    Part(
        "The front",
        "What a user calls, and how the parts are put together.",
        {
            "__init__.py": "the public names",
            "repository/facade.py": "`Repository`",
            "repository/changes.py": "its calls that change what is there",
            "repository/artifact.py": "what is handed out about an artifact",
            "repository/assembly.py": "the parts of an open repository",
            "repository/settings.py": "the environment's variables",
        },
    ),
)


ONLY_WHEN_NEEDED: Final = {
    SOURCE / "signed/approval.py",  # where the settings protect an alias
    SOURCE / "formats/pickling/arrays.py",  # where a payload has arrays
    SOURCE / "formats/pickling/wrapper.py",
}
"""Files of the reading that an ordinary load does not import."""


def code_lines(path: Path) -> int:
    """Lines of a Python file that hold code: no blank lines, comments and docstrings.

    Args:
        path: the file.
    """
    return _code_lines(path.read_text(encoding="utf-8"))


@functools.cache  # the page asks for each file a few times
def _code_lines(text: str) -> int:
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
signed? These files, in this order. A process that opens a repository on SQLite with the keys of a
keyring file, and loads from it, imports these and no others of sealstore's: no writer, no
inspection, no migration, and no SQLAlchemy. A test starts such a process and compares.
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
