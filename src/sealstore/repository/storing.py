"""The flow of a store, as docs/design.md lays it out. The numbers are the page's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sealstore.errors import (
    AliasInTheWayError,
    ImmutableTagError,
    PolicyError,
    RepairWarning,
    StorageError,
    warn_caller,
)
from sealstore.formats.joblib_format import JoblibFormat
from sealstore.formats.registry import Format
from sealstore.keys.keyring import Role
from sealstore.ledger.map_values import TagValue
from sealstore.names import ArtifactRef, Name, Tag
from sealstore.repository import environment, packages
from sealstore.repository.artifact import Artifact, entry_artifact
from sealstore.repository.assembly import Parts
from sealstore.repository.history_entries import Detail
from sealstore.repository.loading import about
from sealstore.repository.map_changes import note_stored, tag_value
from sealstore.repository.recording import Change, change
from sealstore.repository.state import RepositoryState
from sealstore.signed.drafting import make_statement, seal_statement
from sealstore.signed.envelope import VerifiedStatement, open_statement
from sealstore.signed.metadata import checked_metadata
from sealstore.signed.settings import RepositorySettings
from sealstore.signed.statement import Digests, Import, Predicate, StoredBy
from sealstore.storage import layout, mirror_writing
from sealstore.storage.blobs.contract import CommitOutcome, StagedBlob
from sealstore.storage.catalogue import ArtifactRow

FALLBACK: Final = "writtenByJoblib"
"""The detail of a store's entry that says why joblib had to write the payload."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A checked request to store.

    Attributes:
        ref: under what name and tag.
        metadata: the user's.
        who: who stores.
    """

    ref: ArtifactRef
    metadata: dict[str, Any]
    who: StoredBy

    @classmethod
    def checked(
        cls, parts: Parts, name: str, tag: str, metadata: object, actor: str | None
    ) -> StoreRequest:
        """The request, if it is possible and there is a key for it.

        Raises:
            InvalidNameError, InvalidMetadataError: it is not possible.
            NoSigningKeyError: no active key may store here.
        """
        # step 1: the request is possible, and a key may sign
        wanted = cls(
            ArtifactRef(Name(name), Tag.to_store(tag)),
            checked_metadata(dict(metadata) if isinstance(metadata, Mapping) else metadata),
            environment.stored_by(actor),
        )
        # Before anything is written; the transaction asks again.
        parts.keyring.signer(Role.STORE, parts.id)
        return wanted


def store_object(parts: Parts, wanted: StoreRequest, obj: object, compress: Any) -> Artifact:
    """Serialise, inspect and store an object. See ``Repository.store``."""
    format_ = JoblibFormat()
    with about(wanted.ref), _staged(parts, wanted.ref) as staged:
        # step 2: serialise into a file without a name
        fallback = format_.dump(obj, staged, compress=compress)
        # step 3: what would loading it import?
        imports = format_.imports(staged.view())
        details = {} if fallback is None else {FALLBACK: fallback}
        return _store_staged(parts, wanted, staged, format_, imports, details)


def store_payload(
    parts: Parts, wanted: StoreRequest, payload: memoryview, imports: tuple[Import, ...] | None
) -> Artifact:
    """Store bytes that are a payload already. See ``Repository.store_payload``."""
    format_ = JoblibFormat()
    with about(wanted.ref), _staged(parts, wanted.ref) as staged:
        # step 2: the bytes, into a file without a name
        staged.write(payload)
        # step 3: what would loading it import?
        if imports is None:
            imports = format_.imports(payload)
        return _store_staged(parts, wanted, staged, format_, imports, {})


@contextmanager
def _staged(parts: Parts, ref: ArtifactRef) -> Iterator[StagedBlob]:
    """A payload that is being made, if it may be stored at all."""
    _refuse_early(parts, ref)
    try:
        with parts.blobs.stage() as staged:
            yield staged
    except PolicyError as error:
        # What judges stored artifacts has nothing to show of it.
        error.hint = _NOT_STORED
        raise


_NOT_STORED: Final = (
    "nothing was stored. 'sealstore inspect --file FILE' shows each import with its uses; of an"
    " object, joblib.dump(obj, 'FILE') makes the file. If you trust what is refused, add it to"
    " 'allow' in policy.toml, with its use where the reason asks for one ('sealstore policy set');"
    " or store it in another form."
)


def _store_staged(
    parts: Parts,
    wanted: StoreRequest,
    staged: StagedBlob,
    format_: Format,
    imports: tuple[Import, ...],
    details: Mapping[str, Detail],
) -> Artifact:
    modules = {entry.name.partition(":")[0] for entry in imports}
    packages.refuse_unportable(entry.name for entry in imports)
    parts.state.known().policies.check(imports)
    digests, size = staged.finish()
    # step 4: synced, and linked under its digest
    outcome = staged.commit()
    draft = Predicate(
        repository=parts.id,
        name=str(wanted.ref.name),
        tag=str(wanted.ref.tag),
        revision=1,
        sequence=1,
        format=format_.name,
        size=size,
        created=environment.now(),
        stored_by=wanted.who,
        python=environment.python_version(),
        packages=packages.packages_of(modules),
        imports=imports,
        metadata=wanted.metadata,
    )
    # step 5: one transaction from the verified head to the next one
    verified, envelope = _record(parts, draft, digests, staged, details)
    artifact = Artifact(verified)
    if outcome is CommitOutcome.MENDED:
        warn(f"{artifact.ref}: wrong bytes lay in the payload's place; moved aside.")
    # step 6: the mirror
    mirror(parts, artifact.ref, envelope)
    return artifact


def _record(
    parts: Parts,
    draft: Predicate,
    digests: Digests,
    staged: StagedBlob,
    details: Mapping[str, Detail],
) -> tuple[VerifiedStatement, bytes]:
    with change(parts, draft.stored_by) as (made, state):
        # Nothing needed the payload until now: it may have been collected since it was committed.
        staged.secure()
        return record_store(made, state, draft, digests, **details)


def record_store(
    made: Change, state: RepositoryState, draft: Predicate, digests: Digests, **details: Detail
) -> tuple[VerifiedStatement, bytes]:
    """Sign a statement of a stored payload, and put it on record as its tag's next revision.

    Args:
        made: the change.
        state: what the head that it extends vouches for.
        draft: what to say; revision and sequence are given here.
        digests: of the payload.
        details: what else the history's entry says.

    Returns:
        The statement, and its envelope.

    Raises:
        PolicyError, ImmutableTagError, AliasInTheWayError: it does not belong here.
        CatalogueTamperedError, CatalogueError: as ``change``.
    """
    name, tag = Name(draft.name), Tag.to_store(draft.tag)
    # In the transaction: the settings may have changed since the payload was inspected.
    state.policies.check(draft.imports)
    _refuse_protected(state.document, tag)
    held = tag_value(made, name, tag)
    _refuse_second(state.document, held)
    revision = 1 if held is None else held.highest + 1
    predicate = msgspec.structs.replace(draft, revision=revision, sequence=made.sequence)
    envelope = seal_statement(make_statement(predicate, digests), made.signer)
    # What was signed is opened as a load would open it: nothing else is put on record.
    verified = open_statement(envelope, state.keyring)
    made.transaction.insert_artifact(ArtifactRow.of(verified, envelope))
    note_stored(made, name, tag, revision, verified.digest)
    made.append("store", entry_artifact(verified), at=draft.created, **details)
    return verified, envelope


def mirror(
    parts: Parts,
    ref: ArtifactRef,
    envelope: bytes,
    *,
    replace: bool = False,
    folder: str = layout.STATEMENTS_FOLDER,
) -> None:
    """Mirror an envelope that is on record; what goes wrong is a warning.

    Args:
        parts: of the repository.
        ref: with its revision.
        envelope: the bytes.
        replace: whether an envelope that is there gives way.
        folder: of the mirror, as for ``mirror_writing.write_mirror``.
    """
    try:
        if mirror_writing.write_mirror(parts.root, ref, envelope, replace=replace, folder=folder):
            warn(f"{ref}: another file lay in the statement's place; moved aside.")
    except StorageError as error:
        # The artifact is stored; only its mirror, which no load reads, is missing.
        warn(f"{ref}: {error.message}")


def warn(text: str) -> None:
    """Tell the caller of the repository what was mended, or left to be mended."""
    warn_caller(text, RepairWarning)


def _refuse_early(parts: Parts, ref: ArtifactRef) -> None:
    # Before the work of serialising; what decides is the check inside the transaction.
    with parts.snapshot(remembering=False) as snapshot:
        held = tag_value(snapshot.answers, ref.name, ref.tag)
    _refuse_protected(snapshot.state.document, ref.tag)
    _refuse_second(snapshot.state.document, held)


def _refuse_second(document: RepositorySettings, held: TagValue | None) -> None:
    if held is not None and held.revision is not None and document.immutable_tags:
        raise ImmutableTagError(
            "The tag is stored already, and this repository's tags do not change."
        )


def _refuse_protected(document: RepositorySettings, tag: Tag) -> None:
    if str(tag) in document.protected_aliases:
        raise AliasInTheWayError(
            f"{tag} is protected as an alias in this repository, and so cannot be a tag."
        )
