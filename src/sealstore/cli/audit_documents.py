"""audit checkpoint, prove, check-proof, consistency, export: what is kept or handed to others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealstore.cli import output
from sealstore.cli.invocation import DONE, Invocation, pass_invocation

if TYPE_CHECKING:
    from sealstore.audit.chains import Ledger

_chain_option = click.option(
    "--chain",
    type=click.Choice(["history", "access"]),
    default="history",
    show_default=True,
    help="Which chain.",
)
_force_option = click.option("--force", is_flag=True, help="Replace the file if it exists.")


# ── checkpoint ───────────────────────────────────────────────────────────────


@click.command(short_help="Sign what the chain is now, to be kept elsewhere.")
@_chain_option
@click.option(
    "--output", "file", type=click.Path(path_type=Path), help="[default: standard output]"
)
@_force_option
@output.json_option
@pass_invocation
def checkpoint(
    invocation: Invocation, chain: str, file: Path | None, force: bool, as_json: bool
) -> int:
    """Sign a checkpoint of a chain: a C2SP signed note, which people and other tools can read.

    Keep it where nobody who can write to the repository can reach it. With it, 'audit verify
    --since' later finds any rewriting or truncation of what is there now.
    """
    from sealstore.audit.chains import ChainName, open_ledger
    from sealstore.audit.documents import make_checkpoint
    from sealstore.audit.files import new_file

    with open_ledger(invocation.settings()) as ledger:
        made = make_checkpoint(ledger, ChainName(chain))
        if file is not None:
            _warn_of_place(ledger, file)
            with new_file(file, force=force) as written:
                written.write(made.note)
    if as_json:
        output.document(made.to_json())
    elif file is None:
        # Nothing in it is from outside, and it is signed as it is.
        click.echo(made.note.decode(), nl=False)
    else:
        output.line(
            f"checkpoint of the chain at entry {made.checkpoint.size:,}, signed with key"
            f" {made.key_id}: {file}"
        )
    return DONE


def _warn_of_place(ledger: Ledger, file: Path) -> None:
    if file.resolve().is_relative_to(ledger.repository.root.resolve()):
        output.note(
            "warning: the file lies in the repository: who rewrites the one can replace the other"
        )


@click.command(short_help="Prove that one checkpoint leads to another.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path), required=False)
@output.json_option
@pass_invocation
def consistency(invocation: Invocation, old: Path, new: Path | None, as_json: bool) -> int:
    """Prove that all that the checkpoint OLD sums up is in NEW unchanged, by RFC 9162.

    Without NEW: in what is there now. The proof is verified before it is shown.
    """
    from sealstore.audit.chains import open_ledger
    from sealstore.audit.documents import consistency as consistency_of
    from sealstore.audit.documents import read_checkpoint

    settings = invocation.settings()
    older = read_checkpoint(settings, old).checkpoint
    newer = None if new is None else read_checkpoint(settings, new).checkpoint
    with open_ledger(settings) as ledger:
        proven = consistency_of(ledger, older, newer)
    if as_json:
        output.document(proven.to_json())
        return DONE
    output.line(
        f"consistent: the {proven.newer.size:,} entries of {proven.newer.origin} begin with the"
        f" {proven.older.size:,} of the older checkpoint",
        colour="green",
    )
    for digest in proven.proof:
        output.line(digest.hex())
    return DONE


# ── proofs ───────────────────────────────────────────────────────────────────


@click.command(short_help="Prove one entry, in a document of its own.")
@click.argument("sequence", type=click.IntRange(min=1))
@_chain_option
@click.option(
    "--output", "file", type=click.Path(path_type=Path), help="[default: standard output]"
)
@_force_option
@pass_invocation
def prove(invocation: Invocation, sequence: int, chain: str, file: Path | None, force: bool) -> int:
    """Prove the entry SEQUENCE: with its inclusion proof and the signed head, as JSON.

    'audit check-proof' verifies it wherever the keys are, without the repository.
    """
    import msgspec

    from sealstore.audit.chains import ChainName, open_ledger
    from sealstore.audit.documents import prove_entry
    from sealstore.audit.files import new_file

    with open_ledger(invocation.settings()) as ledger:
        document = prove_entry(ledger, ChainName(chain), sequence)
    if file is None:
        output.document(msgspec.to_builtins(document))
    else:
        with new_file(file, force=force) as written:
            written.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
        output.line(f"proof of entry {sequence}: {file}")
    return DONE


@click.command("check-proof", short_help="Verify the proof of an entry, without the repository.")
@click.argument("file", type=click.Path(path_type=Path))
@output.json_option
@pass_invocation
def check_proof(invocation: Invocation, file: Path, as_json: bool) -> int:
    """Verify a document of 'audit prove' with the keys of the keyring, and show what it proves.

    Nothing is asked of any repository: that a key was revoked is known from the keyring only.
    """
    import json

    import msgspec

    from sealstore.audit.documents import check_proof as checked

    proven = checked(invocation.settings(), file)
    if as_json:
        output.document(proven.to_json())
        return DONE
    head = proven.head
    output.line(
        f"proven: entry {proven.entry.sequence} of {head.size:,} in the {proven.chain} chain of"
        f" repository {head.repository}, by the head of {output.time_text(head.time)} UTC, signed"
        f" with key {proven.key_id}",
        colour="green",
    )
    said = msgspec.to_builtins(proven.entry)
    output.fields([(name, json.dumps(value, ensure_ascii=False)) for name, value in said.items()])
    return DONE


# ── export ───────────────────────────────────────────────────────────────────


@click.command(short_help="Write a whole chain to a file that proves itself.")
@click.argument("file", type=click.Path(path_type=Path))
@_chain_option
@_force_option
@pass_invocation
def export(invocation: Invocation, file: Path, chain: str, force: bool) -> int:
    """Write all entries of a chain to FILE, as lines of JSON below its signed head.

    Every entry is verified first; nothing is written if one is not the head's. 'audit verify
    --export FILE' verifies it again, wherever the keys are.
    """
    from sealstore.audit.chains import ChainName, open_ledger
    from sealstore.audit.exporting import export_chain

    with open_ledger(invocation.settings()) as ledger, output.progress() as progress:
        head = export_chain(ledger, ChainName(chain), file, force=force, progress=progress)
    output.line(f"exported {head.size:,} entries of {head.origin}: {file}")
    return DONE
