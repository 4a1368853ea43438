"""An auditor's visit: verify the ledger, export it, keep a checkpoint, prove one entry, report.

    python examples/audit.py

The example makes a small repository with a few loads and one refusal in it, and audits it. At work
the auditor has a keyring, and the repository is there: ``settings = Settings.from_environment()``
is all of the set-up. Each step names the command that does the same (``sealstore audit --help``).
Everything happens in a temporary folder.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import msgspec

from sealstore import Keyring, Repository, SealstoreError
from sealstore.audit.chains import ChainName, open_ledger
from sealstore.audit.documents import (
    check_proof,
    consistency,
    make_checkpoint,
    prove_entry,
    read_checkpoint,
)
from sealstore.audit.exporting import export_chain, verify_export
from sealstore.audit.log import LogFilter, log_page
from sealstore.audit.report import write_report
from sealstore.audit.verifying import verify_ledger
from sealstore.keys.algorithms import Ed25519Private
from sealstore.keys.changing import new_key
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.settings import Settings, Variable


def main() -> int:
    """Audit a repository that is sound, and then one that is not.

    Returns:
        0 when everything went as it must.
    """
    with tempfile.TemporaryDirectory(prefix="sealstore-audit-") as folder:
        here = Path(folder)
        settings = _some_history(here)
        _look(settings)
        _verify(settings)
        # What leaves the machine: where nobody who can write to the repository can reach it.
        kept = here / "kept elsewhere"
        kept.mkdir()
        _keep(settings, kept)
        _more_history(settings)
        _hold_against_what_was_kept(settings, kept)
        _report(settings, kept)
        return _edit_and_find(settings)


# ── what an auditor does ─────────────────────────────────────────────────────


def _look(settings: Settings) -> None:
    """What happened? ``sealstore audit log --outcome refused``."""
    with open_ledger(settings) as ledger:
        [accesses] = ledger.chosen(ChainName.ACCESS)
        for line in log_page(accesses, LogFilter(outcome="refused"), limit=20, after=None).lines:
            # Each line is proven against the signed head; one that is not says so in ``error``.
            assert line.error is None
            shown = msgspec.to_builtins(line.entry)
            _say("log", f"{line.at}  {shown['act']} {shown['outcome']}: {shown['reason']}")


def _verify(settings: Settings) -> None:
    """Is every entry what was signed? ``sealstore audit verify``."""
    report = verify_ledger(settings)
    for chain in report.chains:
        assert chain.head is not None
        _say("verify", f"{chain.chain}: {chain.head.size} entries, {chain.findings.count} findings")
    assert report.is_sound


def _keep(settings: Settings, kept: Path) -> None:
    """Take along what later proves that nothing was rewritten or cut off."""
    with open_ledger(settings) as ledger:
        # sealstore audit checkpoint --output history.checkpoint (and --chain access)
        for chain in ChainName:
            made = make_checkpoint(ledger, chain)
            (kept / f"{chain}.checkpoint").write_bytes(made.note)
            _say("keep", f"checkpoint of {made.checkpoint.origin} at {made.checkpoint.size}")
        # sealstore audit export history.export
        head = export_chain(ledger, ChainName.HISTORY, kept / "history.export")
        _say("keep", f"export of {head.size} entries, which proves itself")
        # sealstore audit prove 2 --output proof.json
        document = prove_entry(ledger, ChainName.HISTORY, 2)
        (kept / "proof.json").write_bytes(msgspec.json.encode(document))


def _hold_against_what_was_kept(settings: Settings, kept: Path) -> None:
    """Weeks later: does what is there now go on from what was kept?"""
    # sealstore audit check-proof proof.json: needs the keys, and no repository
    proven = check_proof(settings, kept / "proof.json")
    _say("proof", f"entry {proven.entry.sequence} of {proven.head.size}: {_event(proven.entry)}")
    # sealstore audit verify --export history.export: so does this
    exported = verify_export(settings, kept / "history.export")
    assert not exported.findings
    _say("export", "verified without the repository")
    # sealstore audit verify --since history.checkpoint --since access.checkpoint
    points = {
        chain: read_checkpoint(settings, kept / f"{chain}.checkpoint").checkpoint
        for chain in ChainName
    }
    report = verify_ledger(settings, since=points)
    assert report.is_sound
    for verified in report.chains:
        assert verified.head is not None
        _say("since", f"{verified.chain}: {verified.start} -> {verified.head.size} entries")
    # sealstore audit consistency history.checkpoint
    with open_ledger(settings) as ledger:
        proof = consistency(ledger, points[ChainName.HISTORY], None)
    _say("since", f"a proof of {len(proof.proof)} hashes, for those who have neither the entries")


def _report(settings: Settings, kept: Path) -> None:
    """One page for people. ``sealstore audit report november.html``."""
    page = kept / "november.html"
    write_report(settings, page)
    _say("report", f"{page.stat().st_size:,} bytes of HTML, without scripts")


def _edit_and_find(settings: Settings) -> int:
    """Somebody turns refusals in the access log into loads. The audit names the entry."""
    with closing(sqlite3.connect(settings.path / "access.sqlite3")) as database:
        rows = database.execute("SELECT sequence, entry FROM access_entry").fetchall()
        for sequence, entry in rows:
            edited = (entry.replace(b"refused", b"granted"), sequence)
            database.execute("UPDATE access_entry SET entry = ? WHERE sequence = ?", edited)
        database.commit()
    report = verify_ledger(settings)
    for finding in report.findings[:1]:
        _say("edited", f"{finding.chain} {finding.sequence}: {finding.code}: {finding.message}")
    return 1 if report.is_sound else 0


# ── something to audit ───────────────────────────────────────────────────────


def _some_history(here: Path) -> Settings:
    """A repository that somebody used: two stores, two loads, one refusal."""
    keyring = here / "keys" / "keyring.json"
    write_keyring_file(keyring, Keyring.of([new_key(Ed25519Private.generate())]))
    settings = Settings.from_environment(
        {
            Variable.PATH: str(here / "models"),
            Variable.KEYRING: str(keyring),
            Variable.TRUST_STATE: str(here / "trust"),
        }
    )
    with Repository.create(settings.path, settings=settings) as repository:
        stored = repository.store({"weights": [0.5, 1.5]}, "churn", "2026-10")
        repository.store({"weights": [0.7, 1.2]}, "churn", "2026-11")
        repository.load("churn", actor="nightly job")
        repository.load("churn", "2026-10", actor="nightly job")
        # The payload of 2026-10 is lost: the load is refused, and the refusal is on record.
        sha256 = stored.digests.sha256
        (settings.path / "objects" / sha256[:2] / sha256).unlink()
        try:
            repository.load("churn", "2026-10", actor="curious colleague")
        except SealstoreError as error:
            _say("made", f"a repository with a refusal in it ({error.code})")
    return settings


def _more_history(settings: Settings) -> None:
    with Repository.open(settings=settings) as repository:
        repository.store({"weights": [0.9, 1.1]}, "churn", "2026-12")
        repository.load("churn")


def _event(entry: object) -> str:
    shown = msgspec.to_builtins(entry)
    about = shown["artifact"]
    return f"{shown['event']} {about['name']}:{about['tag']}"


def _say(step: str, text: str) -> None:
    print(f"{step:>8}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
