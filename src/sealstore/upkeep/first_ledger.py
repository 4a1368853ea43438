"""The first ledger of a repository that was made before there were any (schema 0001).

Its history was a table that nothing protected. What that table says is written into the new history
entry by entry, and held against what is signed: each artifact's statement names the place of its
store. Nothing else can be proven of the time before, and each entry's details say so.
"""

from __future__ import annotations

from sealstore.errors import CatalogueTamperedError, RevokedKeyError, SealstoreError
from sealstore.keys.keyring import Keyring, Role
from sealstore.ledger.entries import (
    Actor,
    EntryArtifact,
    HistoryEntry,
    decode_history_entry,
    encode_entry,
)
from sealstore.names import Name, Tag
from sealstore.repository import environment
from sealstore.repository.map_changes import note_removed, note_stored, tag_value
from sealstore.repository.recording import Change, genesis
from sealstore.repository.settings import Settings
from sealstore.signed.envelope import open_statement
from sealstore.signed.settings import open_settings
from sealstore.storage import layout
from sealstore.storage.catalogue import ArtifactRow, LegacyHistoryRow
from sealstore.storage.catalogue.migrations import Upgrade

_HINT = "restore the catalogue from a backup, and migrate that."


def begin_ledger(settings: Settings, upgraded: Upgrade) -> None:
    """Write history, map and head for what is there.

    Args:
        settings: names the repository and its keys.
        upgraded: the upgrade, in its transaction.

    Raises:
        NoSigningKeyError: no active key has the role store here.
        CatalogueTamperedError: history and artifacts do not fit together.
        VerificationError: the settings, or a statement, are refused.
    """
    keyring = settings.key_source().current()
    signed = open_settings(layout.read_settings_file(settings.path.absolute()), keyring)
    signer = keyring.signer(Role.STORE, signed.document.repository)
    who, process = environment.stored_by(None), environment.process_id()
    made = Change(upgraded.transaction, genesis(signed), signer, who, process)
    made.replace_settings(signed)
    stored: dict[int, EntryArtifact] = {}
    for row in upgraded.legacy_history or []:
        _take_over(made, row, stored)
    _require_same_artifacts(made, stored, keyring)
    made.append("settings", version=signed.document.version, sha256=signed.digest, ledger="begun")
    made.finish()


def _take_over(made: Change, row: LegacyHistoryRow, stored: dict[int, EntryArtifact]) -> None:
    sequence = made.sequence
    try:
        entry = _entry(made, row)
        if entry.artifact is not None:
            _update_map(made, entry, entry.artifact, stored)
        made.append_entry(entry)
    except (SealstoreError, ValueError, TypeError) as error:
        raise CatalogueTamperedError(
            f"The older schema's history cannot be taken over from number {sequence} on ({error}).",
            hint=_HINT,
        ) from error


def _entry(made: Change, row: LegacyHistoryRow) -> HistoryEntry:
    artifact = None
    if row.name is not None:
        artifact = EntryArtifact(
            name=row.name,
            tag=row.tag or "",
            revision=row.revision or 0,
            sha256=row.sha256 or "",
            statement=row.statement_digest or "",
            key_id=row.key_id or "",
        )
    entry = HistoryEntry(
        sequence=row.sequence,
        event=row.event,  # type: ignore[arg-type] # decoding it judges it, and all the others
        at=row.at,
        by=Actor(user=row.actor, host="", process=None, actor=None),
        recorded_by=made.signer.key_id,
        artifact=artifact,
        details={"migrated": True},
    )
    return decode_history_entry(encode_entry(entry), made.sequence)


def _update_map(
    made: Change, entry: HistoryEntry, artifact: EntryArtifact, stored: dict[int, EntryArtifact]
) -> None:
    name, tag, revision = Name(artifact.name), Tag.to_store(artifact.tag), artifact.revision
    if entry.event == "store":
        held = tag_value(made, name, tag)
        if revision != (1 if held is None else held.highest + 1):
            raise CatalogueTamperedError("its revision is not the next of its tag")
        note_stored(made, name, tag, revision, artifact.statement)
        stored[entry.sequence] = artifact
        return
    known = made.revision(name, tag, revision)
    if known is None or known.statement != artifact.statement or known.state != "stored":
        raise CatalogueTamperedError("it is about an artifact that was not there")
    if entry.event == "remove":
        note_removed(made, name, tag, revision, artifact.statement)
        del stored[known.sequence]


def _require_same_artifacts(
    made: Change, stored: dict[int, EntryArtifact], keyring: Keyring
) -> None:
    """Return if the catalogue's artifacts are those that the history leaves, all genuine."""
    for sequence, artifact in stored.items():
        row = made.transaction.artifact(sequence)
        if row is None:
            raise CatalogueTamperedError(
                f"The history has {artifact.name}:{artifact.tag}@{artifact.revision}, and the"
                " catalogue does not.",
                hint=_HINT,
            )
        envelope = row.envelope if isinstance(row.envelope, bytes) else b""
        try:
            verified = open_statement(envelope, keyring)
        except RevokedKeyError:
            # It stays refused, as it was; the history holds which statement it is.
            continue
        differences = row.differences(ArtifactRow.of(verified, envelope))
        if differences or verified.digest != artifact.statement:
            raise CatalogueTamperedError(
                f"The catalogue's row of number {sequence} is not what was stored.", hint=_HINT
            )
    if made.transaction.count_artifacts() != len(stored):
        raise CatalogueTamperedError(
            "The catalogue has artifacts that its history does not have.", hint=_HINT
        )
