"""The format of bundles: bytes to values and back, with no I/O.

A bundle is one file, read from front to back. All of it is accounted for, so that nothing can be
hidden in it, and nothing follows it::

    offset   bytes   what
    0        16      magic: 89, "sealbundle1", 0D 0A 1A 0A (hexadecimal): damage by a transfer that
                     takes it for text shows here; the digit is the version of the format
    16       8       n, the size of the index, big-endian
    24       32      SHA-256 of the index
    56       n       the index: one JSON document in its one canonical spelling
    56 + n           the parts, back to back, each with the size and the SHA-256 that the index
                     gives it: the head's envelope, the settings' envelope, the public keys, the
                     hashes of a consistency proof (if there is one), rows of the map by position,
                     then for each artifact its statement's envelope, its entry of the history and
                     the hashes of the entry's inclusion proof, and last each distinct payload, by
                     SHA-256

Why not tar or zip: their members have names that are paths, types that are links and devices, sizes
that stand in several places, and no end that is known in advance. Here nothing is ever extracted by
name: names of artifacts stand in the index as text, are held against the rules for names, and are
what the proofs are asked for. The index says the size of everything before anything is read, the
sizes must add up to the size of the file to the byte, and each has a cap in ``limits``.

The digests find damage. They are no proof of anything, since whoever changes a part can change its
digest, too: what a bundle says is decided in ``verification``, by signatures and proofs.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Annotated, Final

import msgspec

from sealstore import limits
from sealstore.errors import (
    BundleFormatError,
    InvalidNameError,
    KeyringFormatError,
    StatementFormatError,
)
from sealstore.keys.algorithms import Ed25519Public
from sealstore.keys.keyring import Key, Keyring
from sealstore.keys.sources import decode_keyring
from sealstore.keys.writing import encode_keyring, public_keyring
from sealstore.ledger.authenticated_map import ROWS
from sealstore.ledger.merkle import HASH_BYTES
from sealstore.names import ArtifactRef, request
from sealstore.signed.envelope import Scope
from sealstore.signed.statement import PayloadSize, Positive, Sha256Hex, decode_canonical

MAGIC: Final = b"\x89sealbundle1\r\n\x1a\n"
_HEADER: Final = struct.Struct(">16sQ32s")
HEADER_BYTES: Final = _HEADER.size

MapPosition = Annotated[int, msgspec.Meta(ge=0, lt=ROWS)]


# ── what a bundle says, before any of it is believed ─────────────────────────


@dataclass(frozen=True, slots=True)
class ArtifactEvidence:
    """What proves one artifact, beside its payload.

    Attributes:
        ref: which one it is said to be, with its revision.
        envelope: of its statement.
        entry: the entry of the history of its store.
        inclusion: the proof that the entry is in the history.
    """

    ref: ArtifactRef
    envelope: bytes
    entry: bytes
    inclusion: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SinceEvidence:
    """What proves that a history begins with an older one.

    Attributes:
        entries: how many entries the older one had.
        proof: the consistency proof.
    """

    entries: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a bundle holds but the payloads. Nothing of it is authenticated.

    Attributes:
        head: envelope of the head that everything is proven against.
        settings: envelope of the settings that the head names.
        keys: public parts of keys, as a keyring file has them: hints, and trusted by nobody.
        since: for who has seen an older head.
        rows: of the map, by position.
        artifacts: by name, tag and revision.
        payloads: the size of each, by SHA-256 (hexadecimal).
    """

    head: bytes
    settings: bytes
    keys: bytes
    since: SinceEvidence | None
    rows: Mapping[int, bytes]
    artifacts: tuple[ArtifactEvidence, ...]
    payloads: Mapping[str, int]


# ── the index ────────────────────────────────────────────────────────────────


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Some bytes of the file: how many, and their SHA-256."""

    size: PayloadSize
    sha256: Sha256Hex


class _Row(Part, frozen=True, kw_only=True):
    position: MapPosition


class _Since(Part, frozen=True, kw_only=True):
    entries: Positive


class _Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    tag: str
    revision: Positive
    envelope: Part
    entry: Part
    inclusion: Part

    def ref(self) -> ArtifactRef:
        """Which artifact it is said to be.

        Raises:
            BundleFormatError: none that can be.
        """
        try:
            ref = request(self.name, self.tag, self.revision)
        except InvalidNameError as error:
            raise BundleFormatError(
                f"The bundle's index names what is no artifact: {error.message}"
            ) from error
        return ref


class Index(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="kind",
    tag="bundle-v1",
):
    """What is where in a bundle.

    Raises:
        BundleFormatError: a part is larger than any can be, or something is there twice, out of
            order, or too often.
    """

    head: Part
    settings: Part
    keys: Part
    since: _Since | None
    rows: tuple[_Row, ...]
    artifacts: tuple[_Artifact, ...]
    payloads: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.artifacts) <= limits.MAX_BUNDLE_ARTIFACTS:
            raise BundleFormatError(
                f"A bundle holds 1 to {limits.MAX_BUNDLE_ARTIFACTS} artifacts;"
                f" this one {len(self.artifacts)}."
            )
        _require_ascending(row.position for row in self.rows)
        _require_ascending((each.name, each.tag, each.revision) for each in self.artifacts)
        _require_ascending(payload.sha256 for payload in self.payloads)
        for part, cap in self._capped():
            if part.size > cap:
                raise BundleFormatError("A part of the bundle is larger than any such can be.")
        if self.evidence_bytes > limits.MAX_BUNDLE_EVIDENCE_BYTES:
            raise BundleFormatError(
                f"The bundle's proofs have {self.evidence_bytes} bytes;"
                f" {limits.MAX_BUNDLE_EVIDENCE_BYTES} are allowed."
            )

    def _capped(self) -> Iterator[tuple[Part, int]]:
        """The parts but the payloads, as they follow each other, with what each may have."""
        proof = limits.MAX_PROOF_HASHES * HASH_BYTES
        yield self.head, limits.MAX_HEAD_ENVELOPE_BYTES
        yield self.settings, limits.MAX_SETTINGS_BYTES
        yield self.keys, limits.MAX_BUNDLE_KEYS_BYTES
        if self.since is not None:
            yield self.since, proof
        for row in self.rows:
            yield row, limits.MAX_MAP_BUCKET_BYTES
        for artifact in self.artifacts:
            yield artifact.envelope, limits.MAX_ENVELOPE_BYTES
            yield artifact.entry, limits.MAX_ENTRY_BYTES
            yield artifact.inclusion, proof

    def evidence(self) -> Iterator[Part]:
        """The parts but the payloads, as they follow each other."""
        for part, _ in self._capped():
            yield part

    @property
    def evidence_bytes(self) -> int:
        """Bytes of all parts but the payloads."""
        return sum(part.size for part in self.evidence())

    @property
    def payload_bytes(self) -> int:
        """Bytes of all payloads."""
        return sum(part.size for part in self.payloads)


_decoder: Final = msgspec.json.Decoder(Index)


def _require_ascending(keys: Iterable[object]) -> None:
    before: object | None = None
    for key in keys:
        if before is not None and not before < key:  # type: ignore[operator]  # of one type
            raise BundleFormatError("The bundle's index has something twice, or out of order.")
        before = key


def read_header(data: bytes, file_size: int) -> tuple[int, bytes]:
    """The index's size and digest, from the file's first ``HEADER_BYTES``.

    Raises:
        BundleFormatError: they are no bundle's, or the index cannot be in a file of this size.
    """
    if len(data) != HEADER_BYTES or not data.startswith(MAGIC):
        raise BundleFormatError("The file is not a bundle.")
    _, size, digest = _HEADER.unpack(data)
    if size > limits.MAX_BUNDLE_INDEX_BYTES:
        raise BundleFormatError(
            f"The bundle's index has {size} bytes; {limits.MAX_BUNDLE_INDEX_BYTES} are allowed."
        )
    if HEADER_BYTES + size > file_size:
        raise BundleFormatError("The file ends before the bundle's index does.")
    return size, digest


def read_index(data: bytes, digest: bytes, file_size: int) -> Index:
    """The index that ``data`` is.

    Args:
        data: as many bytes as the header says.
        digest: from the header.
        file_size: bytes of the file, which must be those that the index accounts for.

    Raises:
        BundleFormatError: it is damaged, does not decode strictly, or the file has another size.
    """
    if sha256(data).digest() != digest:
        raise _damaged()
    what, limit = "bundle's index", limits.MAX_BUNDLE_INDEX_BYTES
    try:
        index = decode_canonical(data, _decoder, what, limit=limit)
    except StatementFormatError as error:
        raise BundleFormatError(error.message) from error
    expected = HEADER_BYTES + len(data) + index.evidence_bytes + index.payload_bytes
    if file_size != expected:
        raise BundleFormatError(
            f"The file has {file_size} bytes; the bundle's index accounts for {expected}."
        )
    return index


def read_evidence(index: Index, parts: Iterable[bytes]) -> Evidence:
    """What the parts of a bundle say.

    Args:
        index: of the bundle.
        parts: the bytes of each of ``index.evidence()``, in that order.

    Raises:
        BundleFormatError: one is damaged, or has a form that none has.
    """
    checked = map(_require_digest, index.evidence(), parts)
    head, settings, keys = next(checked), next(checked), next(checked)
    since = None
    if index.since is not None:
        since = SinceEvidence(index.since.entries, _hashes(next(checked)))
    rows = {row.position: next(checked) for row in index.rows}
    artifacts = tuple(
        ArtifactEvidence(each.ref(), next(checked), next(checked), _hashes(next(checked)))
        for each in index.artifacts
    )
    payloads = {part.sha256: part.size for part in index.payloads}
    return Evidence(head, settings, keys, since, rows, artifacts, payloads)


def sealed_index(evidence: Evidence) -> tuple[bytes, list[bytes]]:
    """The beginning of the bundle with ``evidence``: header and index; and the parts that follow.

    Raises:
        BundleFormatError: it would not be a bundle that anybody reads.
    """
    artifacts = tuple(
        _Artifact(
            name=str(each.ref.name),
            tag=str(each.ref.tag),
            revision=each.ref.revision or 0,
            envelope=_part(each.envelope),
            entry=_part(each.entry),
            inclusion=_part(b"".join(each.inclusion)),
        )
        for each in evidence.artifacts
    )
    index = Index(
        head=_part(evidence.head),
        settings=_part(evidence.settings),
        keys=_part(evidence.keys),
        since=None if evidence.since is None else _since(evidence.since),
        rows=tuple(
            _Row(position=position, size=len(row), sha256=sha256(row).hexdigest())
            for position, row in sorted(evidence.rows.items())
        ),
        artifacts=artifacts,
        payloads=tuple(
            Part(size=size, sha256=digest) for digest, size in sorted(evidence.payloads.items())
        ),
    )
    data = msgspec.json.encode(index)
    parts = [evidence.head, evidence.settings, evidence.keys]
    if evidence.since is not None:
        parts.append(b"".join(evidence.since.proof))
    parts += [row for _, row in sorted(evidence.rows.items())]
    for each in evidence.artifacts:
        parts += [each.envelope, each.entry, b"".join(each.inclusion)]
    header = _HEADER.pack(MAGIC, len(data), sha256(data).digest())
    # What is written is read as anybody would read it.
    size = HEADER_BYTES + len(data) + index.evidence_bytes + index.payload_bytes
    read_index(data, sha256(data).digest(), size)
    return header + data, parts


def _part(data: bytes) -> Part:
    return Part(size=len(data), sha256=sha256(data).hexdigest())


def _since(since: SinceEvidence) -> _Since:
    proof = b"".join(since.proof)
    return _Since(entries=since.entries, size=len(proof), sha256=sha256(proof).hexdigest())


def _require_digest(part: Part, data: bytes) -> bytes:
    if sha256(data).hexdigest() != part.sha256:
        raise _damaged()
    return data


def _hashes(data: bytes) -> tuple[bytes, ...]:
    if len(data) % HASH_BYTES:
        raise BundleFormatError("A proof in the bundle is not made of hashes.")
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def _damaged() -> BundleFormatError:
    return BundleFormatError("The bundle is damaged: a part of it is not what its index says.")


# ── the keys that a bundle carries: hints for people, with which nothing is verified


def encode_hints(keyring: Keyring, key_ids: Collection[str], repository: str) -> bytes:
    """The public parts of keys, for a bundle of a repository; none of an HMAC key, which has none.

    Args:
        keyring: the keys.
        key_ids: which ones.
        repository: the only one that whoever adds such a key will trust it for.
    """
    public = public_keyring(Keyring.of(key for key in keyring if key.key_id in key_ids))
    scope = Scope(frozenset([repository]))
    return encode_keyring(Keyring.of(replace(key, scope=scope) for key in public))


def read_hints(data: bytes) -> tuple[Key, ...]:
    """The public keys in a bundle.

    Raises:
        BundleFormatError: they do not decode strictly, or one is no public key.
    """
    try:
        keyring = decode_keyring(data)
    except KeyringFormatError as error:
        raise BundleFormatError(f"The keys in the bundle are refused: {error.message}") from error
    if any(key.algorithm != Ed25519Public.algorithm for key in keyring):
        raise BundleFormatError(
            "The bundle holds a secret key, which no bundle does.",
            hint="tell whoever made it, and have the key revoked: others may have it now.",
        )
    return tuple(keyring)
