"""A whole chain in one file, which proves itself: to keep, to verify elsewhere, to rebuild from.

Lines of JSON, each ended by a line feed. The first names the chain and holds the signed head::

    {"kind":"sealstore-export-v1","chain":"history","head":"<base64 of the head's DSSE envelope>"}

Then comes one line for each entry from the first on: exactly the entry's bytes, which are JSON
without line feeds. Their hashes with the prefix 0x00 are the leaves of the tree of RFC 9162 whose
size and root the head gives. Nothing follows.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from sealstore import files, limits, named_files
from sealstore.audit.chains import (
    AuditedChain,
    ChainName,
    Checkpoint,
    Ledger,
    checkpoint_of,
    decode_entry,
    require_later,
)
from sealstore.audit.documents import open_any_head, require_expected
from sealstore.audit.findings import Findings
from sealstore.audit.hashing import Hashed
from sealstore.audit.verifying import REFUSALS, ChainReport, ComparedWith
from sealstore.errors import LedgerFormatError, LedgerTamperedError
from sealstore.ledger.head import AccessHead, Head
from sealstore.ledger.merkle import verify_entries
from sealstore.repository.progress import Progress, no_progress
from sealstore.repository.settings import Settings

_MAX_HEADER_BYTES: Final = 2 * limits.MAX_HEAD_ENVELOPE_BYTES
_REPORT_EVERY: Final = 2_000


class _Header(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="sealstore-export-v1",
):
    chain: Literal["history", "access"]
    head: str


_decoder: Final = msgspec.json.Decoder(_Header)


@dataclass(frozen=True, slots=True)
class Export:
    """An export whose head is verified; its entries are not, before all of them were read.

    Attributes:
        chain: which chain.
        head: the verified head.
        key_id: the key that signed it.
        entries: the lines, without their ends.
    """

    chain: ChainName
    head: Head | AccessHead
    key_id: str
    entries: Iterator[bytes]


def export_chain(
    ledger: Ledger,
    chain: ChainName,
    path: Path,
    *,
    force: bool = False,
    progress: Progress = no_progress,
) -> Checkpoint:
    """Write a chain to a file, if all of it is what its head sums up.

    Returns:
        What the head says.

    Raises:
        LedgerTamperedError: it is not; nothing was written.
        VerificationError: the head is refused.
        StorageError: the file is there already, or the file system refused.
    """
    [source] = ledger.chosen(chain)
    with (
        source.open() as audited,
        named_files.writing("export", path),
        named_files.new_file(path, replacing=force) as file,
    ):
        header = _Header(chain.value, base64.b64encode(audited.envelope).decode("ascii"))
        file.write(msgspec.json.encode(header) + b"\n")
        verify_entries(_written(audited, file, progress), audited.head.size, audited.root)
    return audited.checkpoint


def _written(chain: AuditedChain, file: BinaryIO, progress: Progress) -> Iterator[bytes]:
    for number, entry in enumerate(chain.reader.entries(0, chain.head.size + 1), start=1):
        # What the root is about to vouch for has no line feeds; anything else is not kept.
        file.write(entry + b"\n")
        if number % _REPORT_EVERY == 0:
            progress(chain.name, number, chain.head.size)
        yield entry


def read_export(settings: Settings, file: BinaryIO) -> Export:
    """The export in a file, as far as its head.

    Raises:
        LedgerFormatError: it is no export.
        VerificationError: its head is refused.
        RepositoryMismatchError: it is of another repository than ``MODEL_REPO_ID``.
    """
    line = file.readline(_MAX_HEADER_BYTES)
    try:
        header = _decoder.decode(line)
        envelope = base64.b64decode(header.head, validate=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise LedgerFormatError(
            "The file is not an export that 'sealstore audit export' made."
        ) from error
    chain = ChainName(header.chain)
    head, key_id = open_any_head(chain, envelope, settings.key_source().current())
    require_expected(settings, head.repository)
    return Export(chain, head, key_id, _lines(file))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    number = 0
    while line := file.readline(limits.MAX_ENTRY_BYTES + 2):
        number += 1
        if not line.endswith(b"\n"):
            raise LedgerTamperedError(
                f"The export's entry {number} is cut off, or longer than any entry is."
            )
        yield line[:-1]


def verify_export(
    settings: Settings,
    path: Path,
    *,
    since: Checkpoint | None = None,
    progress: Progress = no_progress,
) -> ChainReport:
    """Verify an export; nothing is asked of any repository.

    Args:
        settings: name the keys, and the repository if ``MODEL_REPO_ID`` is set.
        path: the file.
        since: a verified checkpoint, which the export must extend.
        progress: hears of the phase named like the chain.

    Raises:
        StorageError: the file cannot be read.
        KeyringError: the keys cannot be used.
        RepositoryMismatchError: it is of another repository than ``MODEL_REPO_ID``.
        LedgerFormatError: it is no export. What is refused otherwise is a finding.
    """
    with named_files.reading("export", path), files.opened(path, follow_links=True) as file:
        export = read_export(settings, file)
        report = ChainReport(export.chain, Findings(export.chain))
        report.head, report.key_id = checkpoint_of(export.head), export.key_id
        began = time.perf_counter()
        try:
            verified = _verified(export, report, since, progress)
        except REFUSALS as error:
            report.findings.add(error)
        else:
            verified.hashing_seconds = time.perf_counter() - began
            report.hashed = verified
    return report


def _verified(
    export: Export, report: ChainReport, since: Checkpoint | None, progress: Progress
) -> Hashed:
    head, entries = export.head, _decoded(export, progress)
    root = bytes.fromhex(head.root)
    tree = None
    if since is not None:
        report.compared_with.append(ComparedWith.of("checkpoint", since))
        # Where it is no older state of this chain, that is what to say; what it is made of follows.
        if since.size >= head.size or since.origin != checkpoint_of(head).origin:
            require_later(since, checkpoint_of(head), ())
        else:
            first = (entry for _, entry in zip(range(since.size), entries, strict=False))
            tree = verify_entries(first, since.size, bytes.fromhex(since.root))
    tree = verify_entries(entries, head.size, root, start=tree)
    return Hashed(tree, entries=tree.size, is_whole=True)


def _decoded(export: Export, progress: Progress) -> Iterator[bytes]:
    size = export.head.size
    for number, entry in enumerate(export.entries, start=1):
        # Beyond the head's size it is the number of entries that is wrong, whatever they are.
        if number <= size:
            decode_entry(export.chain, entry, number)
        if number % _REPORT_EVERY == 0:
            progress(export.chain, number, size)
        yield entry
