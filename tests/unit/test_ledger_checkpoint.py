"""Checkpoints: a text that people keep, in the format of others, and nothing else is one."""

from __future__ import annotations

import base64
import copy
import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import (
    KeyRoleError,
    LedgerFormatError,
    RevokedKeyError,
    RollbackError,
    SignatureInvalidError,
    UnknownKeyError,
    UsageError,
)
from sealstore.keys.algorithms import Ed25519Public
from sealstore.keys.keyring import Key, Keyring, Role, State
from sealstore.ledger.checkpoint import (
    VerifiedCheckpoint,
    checkpoint_text,
    open_checkpoint,
    read_checkpoint_text,
    seal_checkpoint,
)
from sealstore.ledger.consistency import consistency_proof
from sealstore.ledger.continuity import require_extends
from sealstore.ledger.points import AccessCheckpoint, HistoryCheckpoint
from sealstore.ledger.signed_note import NoteKey, NoteSignature, read_note, write_note
from sealstore.signed.envelope import pre_authentication_encoding
from tests.ledger_trees import LOG_ID, Chain, access_head, head
from tests.matrix import each_row
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    roles,
    scope,
)

HMAC, ED25519 = hmac_key(), ed25519_key(2)


def note_key(key: Key) -> NoteKey:
    """How notes identify a key of the tests."""
    if key.algorithm == "hmac-sha256":
        return NoteKey.hmac_sha256(key.key_id)
    public = key.material.public()
    assert public is not None
    return NoteKey.ed25519(key.key_id, public.to_bytes())


def sealed(checkpoint: Any, *keys: Key) -> bytes:
    return seal_checkpoint(checkpoint, [(note_key(key), key) for key in keys])


def opened(data: bytes, *keys: Key) -> VerifiedCheckpoint:
    return open_checkpoint(data, map(note_key, keys), Keyring.of(keys))


CHECKPOINT = HistoryCheckpoint.of(head())
ACCESS = AccessCheckpoint.of(access_head())
NOTE = sealed(CHECKPOINT, ED25519)


# ── signed notes, as others have them ────────────────────────────────────────

# The example of golang.org/x/mod/sumdb/note, from which C2SP's format comes.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngot"
    "pRZb6KE6RyyBwJnAM=\n"
).encode()


def test_a_published_note_is_read_and_its_signature_holds() -> None:
    """Key hash, key text, signed text and signature are those of the format's other programs."""
    public = base64.b64decode(GO_KEY.split("+", 2)[2])[1:]
    material = Ed25519Public(public)
    key = NoteKey.ed25519(material.key_id, public)
    assert key.verifier_key("PeterNeumann") == GO_KEY
    note = read_note(GO_NOTE)
    [signature] = note.signatures
    assert (signature.name, signature.key_hash) == ("PeterNeumann", key.key_hash("PeterNeumann"))
    assert note.text == GO_NOTE.rpartition(b"\n\n")[0] + b"\n"
    assert material.is_signature(note.text, signature.signature)
    assert write_note(note.text, note.signatures) == GO_NOTE


def test_keys_of_one_name_are_told_apart() -> None:
    """The four bytes depend on name, algorithm and key."""
    keys = [note_key(key) for key in (HMAC, hmac_key(2), ED25519, ed25519_key(3))]
    assert len({key.key_hash(name) for key in keys for name in ("a", "b")}) == 8
    seed = b"a\n\xffsealstore-hmac-sha256-v1" + bytes.fromhex(HMAC.key_id)
    assert note_key(HMAC).key_hash("a") == hashlib.sha256(seed).digest()[:4]
    public = ED25519.material.public()
    assert public is not None
    seed = b"a\n\x01" + public.to_bytes()
    assert note_key(ED25519).key_hash("a") == hashlib.sha256(seed).digest()[:4]


def test_an_hmac_keys_text_does_not_tell_the_key() -> None:
    """What is printed of a symmetric key is its id only."""
    text = note_key(HMAC).verifier_key("a")
    encoded = base64.b64decode(text.split("+", 2)[2])
    assert encoded == b"\xffsealstore-hmac-sha256-v1" + bytes.fromhex(HMAC.key_id)


@pytest.mark.parametrize("public", [b"", b"k" * 31, b"k" * 33])
def test_an_ed25519_key_has_32_bytes(public: bytes) -> None:
    """Anything else is another kind of key."""
    with pytest.raises(LedgerFormatError, match="32 bytes"):
        NoteKey.ed25519("0" * 32, public)


SIGNATURE = "— a AAAAAAA=\n".encode()


def test_the_smallest_note_is_read() -> None:
    """The notes below differ from this one by what they are about only."""
    note = read_note(b"t\n\n" + SIGNATURE)
    assert (note.text, note.signatures) == (b"t\n", (NoteSignature("a", bytes(4), b"\0"),))
    several = read_note(b"t\n\nu\n\n" + SIGNATURE * limits.MAX_NOTE_SIGNATURES)
    assert several.text == b"t\n\nu\n"
    assert len(several.signatures) == limits.MAX_NOTE_SIGNATURES


@each_row(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"t\n", id="no signature"),
        pytest.param(b"t\n\n", id="no signature line"),
        pytest.param(b"t\n\n\n", id="an empty signature line"),
        pytest.param(b"t\n" + SIGNATURE, id="no empty line"),
        pytest.param(b"\n\n" + SIGNATURE, id="no text"),
        pytest.param(b"\n" + SIGNATURE, id="no text and no empty line"),
        pytest.param(b"t\n\n" + SIGNATURE[:-1], id="no line feed at the end"),
        pytest.param(b"t\n\n" + SIGNATURE + b"x\n", id="another line"),
        pytest.param(b"t\n\n" + SIGNATURE + b"\n", id="an empty line at the end"),
        pytest.param(b"t\r\n\r\n" + SIGNATURE, id="carriage returns"),
        pytest.param(b"t\0\n\n" + SIGNATURE, id="a control character"),
        pytest.param(b"t\x1b[31m\n\n" + SIGNATURE, id="terminal markup"),
        pytest.param(b"t\tu\n\n" + SIGNATURE, id="a tab"),
        pytest.param(b"t\xff\n\n" + SIGNATURE, id="not UTF-8"),
        pytest.param(b"t\n\n- a AAAAAAA=\n", id="a hyphen"),
        pytest.param(b"t\n\n\xe2\x80\x94 AAAAAAA=\n", id="no name"),
        pytest.param(b"t\n\n\xe2\x80\x94 a+b AAAAAAA=\n", id="a plus in the name"),
        pytest.param("t\n\n— a\u00a0b AAAAAAA=\n".encode(), id="a space in the name"),
        pytest.param("t\n\n— a\u2028 AAAAAAA=\n".encode(), id="a line separator in the name"),
        pytest.param(b"t\n\n\xe2\x80\x94 a  AAAAAAA=\n", id="two spaces"),
        pytest.param(b"t\n\n\xe2\x80\x94 a AAAAAAA= \n", id="a space at the end"),
        pytest.param(b"t\n\n\xe2\x80\x94 a AAAAAA==\n", id="no signature behind the hash"),
        pytest.param(b"t\n\n\xe2\x80\x94 a AAAA\n", id="a short hash"),
        pytest.param(b"t\n\n\xe2\x80\x94 a AAAAAAA\n", id="no padding"),
        pytest.param(b"t\n\n\xe2\x80\x94 a AAAAAAA==\n", id="more padding"),
        pytest.param(b"t\n\n\xe2\x80\x94 a AAAAAAB=\n", id="bits behind the end"),
        pytest.param(b"t\n\n\xe2\x80\x94 a AAAA_AA=\n", id="another alphabet"),
        pytest.param(b"t\n\n\xe2\x80\x94 a A\n", id="one character"),
        pytest.param(b"t\n\n" + SIGNATURE * (limits.MAX_NOTE_SIGNATURES + 1), id="too many"),
        pytest.param(b"t" * limits.MAX_CHECKPOINT_BYTES + b"\n\n" + SIGNATURE, id="too long"),
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    """A note has one form; nothing is skipped, trimmed or guessed."""
    with pytest.raises(LedgerFormatError):
        read_note(data)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n"])
def test_a_note_that_could_not_be_read_is_not_written(name: str) -> None:
    """What is written is read back first."""
    with pytest.raises(LedgerFormatError):
        write_note(b"t\n", [NoteSignature(name, bytes(4), b"s")])
    with pytest.raises(LedgerFormatError):
        write_note(b"t\n", [])


# ── the text ─────────────────────────────────────────────────────────────────


def test_a_checkpoint_is_the_head_in_c2sps_lines() -> None:
    """Origin, size and root as tlog-checkpoint has them, then what else the head says."""
    chain = Chain.of(3)
    root = base64.b64encode(chain.root).decode()
    map_root = base64.b64encode(bytes.fromhex(head().map_root)).decode()
    settings = base64.b64encode(b"\x5e" * 32).decode()
    assert checkpoint_text(CHECKPOINT) == (
        f"sealstore/{REPOSITORY_ID}/history/1\n3\n{root}\n"
        f"map {map_root}\nsettings 1 {settings}\ntime 2026-11-23T12:00:00.000000Z\n"
    )
    assert checkpoint_text(ACCESS) == (
        f"sealstore/{REPOSITORY_ID}/access/{LOG_ID}\n3\n{root}\ntime 2026-11-23T12:00:00.000000Z\n"
    )


@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_the_text_is_read_back(size: int) -> None:
    """Every field comes back, also for an empty chain and the largest numbers."""
    most = limits.MAX_SEQUENCE
    history = HistoryCheckpoint.of(head(Chain.of(size), epoch=most, settings_version=most))
    access = AccessCheckpoint.of(access_head(Chain.of(size)))
    for checkpoint in (history, access, replace(history, size=most)):
        assert read_checkpoint_text(checkpoint_text(checkpoint)) == checkpoint


def lines(change: Callable[[list[str]], object], checkpoint: Any = CHECKPOINT) -> str:
    changed = checkpoint_text(checkpoint).split("\n")
    change(changed)
    return "\n".join(changed)


def replaced(place: int, line: str, checkpoint: Any = CHECKPOINT) -> str:
    return lines(lambda each: each.__setitem__(place, line), checkpoint)


ROOT_LINE = checkpoint_text(CHECKPOINT).split("\n")[2]


@each_row(
    "text",
    [
        "",
        checkpoint_text(CHECKPOINT)[:-1],
        checkpoint_text(CHECKPOINT) + "\n",
        checkpoint_text(CHECKPOINT) + "more\n",
        "\n" + checkpoint_text(CHECKPOINT),
        checkpoint_text(CHECKPOINT) * 2,
        checkpoint_text(CHECKPOINT).replace("\n", "\r\n"),
        lines(lambda each: each.pop(3)),
        lines(lambda each: each.pop(5)),
        lines(lambda each: each.insert(3, "more")),
        replaced(0, "example.com/log"),
        replaced(0, f"sealstore/{REPOSITORY_ID}/history/0"),
        replaced(0, f"sealstore/{REPOSITORY_ID}/history/01"),
        replaced(0, f"sealstore/{REPOSITORY_ID}/history/{limits.MAX_SEQUENCE + 1}"),
        replaced(0, f"sealstore/{REPOSITORY_ID.upper()}/history/1"),
        replaced(0, f"sealstore/{REPOSITORY_ID}/access/{LOG_ID}"),
        replaced(0, f"sealstore/{REPOSITORY_ID}/history/1", ACCESS),
        replaced(1, "03"),
        replaced(1, "-1"),
        replaced(1, "+3"),
        replaced(1, ""),
        replaced(1, "\u0663"),
        replaced(1, str(limits.MAX_SEQUENCE + 1)),
        replaced(1, "1" * 20),
        replaced(2, ROOT_LINE[:-1]),
        replaced(2, ROOT_LINE[4:]),
        replaced(2, ROOT_LINE[:42] + chr(ord(ROOT_LINE[42]) + 1) + "="),
        replaced(4, f"settings 0 {ROOT_LINE}"),
        replaced(4, f"settings 1  {ROOT_LINE}"),
        replaced(5, "time 2026-11-23T12:00:00Z"),
        replaced(3, "time 2026-11-23T12:00:00Z", ACCESS),
        replaced(1, "03", ACCESS),
        replaced(1, str(limits.MAX_SEQUENCE + 1), ACCESS),
    ],
)
def test_no_other_text_is_a_checkpoint(text: str) -> None:
    """There is one spelling, and no number that no head has."""
    with pytest.raises(LedgerFormatError):
        read_checkpoint_text(text)


# ── signatures ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("checkpoint", [CHECKPOINT, ACCESS])
@pytest.mark.parametrize("keys", [(HMAC,), (ED25519,), (HMAC, ED25519)])
def test_what_was_sealed_opens_with_the_same_keys(checkpoint: Any, keys: tuple[Key, ...]) -> None:
    """A checkpoint comes back with the keys that signed it; one of them is enough."""
    data = sealed(checkpoint, *keys)
    verified = opened(data, HMAC, ED25519)
    assert verified.checkpoint == checkpoint
    assert verified.key_ids == tuple(key.key_id for key in keys)
    for key in keys:
        assert opened(data, key).key_ids == (key.key_id,)


def test_the_note_can_be_checked_by_other_programs() -> None:
    """The key's name is the origin, and Ed25519 signs the text itself."""
    note = read_note(NOTE)
    [signature] = note.signatures
    assert note.text == checkpoint_text(CHECKPOINT).encode()
    assert signature.name == CHECKPOINT.origin == checkpoint_text(CHECKPOINT).split("\n")[0]
    assert ED25519.material.is_signature(note.text, signature.signature)


def test_lines_of_unknown_keys_are_passed_over() -> None:
    """A witness's line, and one that has only name or hash of a known key, say nothing."""
    note = read_note(NOTE)
    [genuine] = note.signatures
    witness = replace(genuine, name="witness.example/w1", signature=b"x" * 76)
    namesake = replace(genuine, key_hash=b"\0\0\0\0", signature=b"x")
    data = write_note(note.text, [witness, namesake, genuine])
    assert opened(data, ED25519).key_ids == (ED25519.key_id,)
    with pytest.raises(UnknownKeyError, match="No signature"):
        opened(write_note(note.text, [witness, namesake]), ED25519)


@pytest.mark.invariant(4)
def test_a_false_signature_of_a_known_key_refuses_the_whole_note() -> None:
    """A genuine signature beside it does not help."""
    note = read_note(sealed(CHECKPOINT, HMAC, ED25519))
    by_hmac, by_ed25519 = note.signatures
    for false in (
        replace(by_hmac, signature=bytes(32)),
        replace(by_hmac, signature=by_hmac.signature[:-1]),
        replace(by_hmac, signature=by_ed25519.signature),
    ):
        for signatures in ([false, by_ed25519], [by_ed25519, false]):
            with pytest.raises(SignatureInvalidError):
                opened(write_note(note.text, signatures), HMAC, ED25519)


@pytest.mark.invariant(2)
def test_a_checkpoint_changed_in_any_byte_is_refused() -> None:
    """Whatever is changed in the note, no checkpoint comes out of it."""
    for place in range(len(NOTE)):
        flipped = bytearray(NOTE)
        flipped[place] ^= 1
        with pytest.raises((LedgerFormatError, SignatureInvalidError, UnknownKeyError)):
            opened(bytes(flipped), ED25519)


def test_a_signature_of_another_checkpoint_is_refused() -> None:
    """Signatures are not moved from one text to another."""
    other = replace(CHECKPOINT, size=4)
    note = write_note(checkpoint_text(other).encode(), read_note(NOTE).signatures)
    with pytest.raises(SignatureInvalidError):
        opened(note, ED25519)


@pytest.mark.invariant(7)
@pytest.mark.parametrize("role", list(Role))
def test_each_chain_needs_its_role(role: Role) -> None:
    """A key that may only record loads vouches for no history, and the other way round."""
    key = replace(ED25519, roles=roles(role))
    for checkpoint, needed in ((CHECKPOINT, Role.STORE), (ACCESS, Role.ACCESS)):
        if role is needed:
            assert opened(sealed(checkpoint, key), key).checkpoint == checkpoint
        else:
            with pytest.raises(KeyRoleError):
                opened(sealed(checkpoint, key), key)


@pytest.mark.invariant(4)
def test_a_key_of_another_repository_or_a_revoked_one_is_refused() -> None:
    """Revoking takes back what was signed; retiring does not, a checkpoint says what was."""
    with pytest.raises(KeyRoleError, match="not for this repository"):
        opened(NOTE, replace(ED25519, scope=scope(OTHER_REPOSITORY_ID)))
    assert opened(NOTE, replace(ED25519, scope=scope(REPOSITORY_ID))).checkpoint == CHECKPOINT
    with pytest.raises(RevokedKeyError):
        opened(NOTE, replace(ED25519, state=State.REVOKED))
    assert opened(NOTE, replace(ED25519, state=State.RETIRED)).checkpoint == CHECKPOINT


@pytest.mark.invariant(4)
def test_without_a_known_key_nothing_is_verified() -> None:
    """No keys is no reason to believe."""
    with pytest.raises(UnknownKeyError):
        opened(NOTE)
    with pytest.raises(UnknownKeyError):
        opened(NOTE, HMAC)


def test_an_envelopes_signature_is_none_of_a_checkpoint() -> None:
    """What keys sign elsewhere begins with the name of its format, and no origin does."""
    text = checkpoint_text(CHECKPOINT).encode()
    assert not text.startswith(b"DSSEv1 ")
    message = pre_authentication_encoding("application/vnd.sealstore.head+json", text)
    [genuine] = read_note(NOTE).signatures
    forged = replace(genuine, signature=ED25519.sign(message))
    with pytest.raises(SignatureInvalidError):
        opened(write_note(text, [forged]), ED25519)


def test_a_checkpoint_is_signed_by_somebody_who_is_named() -> None:
    """No signature, or the name of another key, is a mistake of the caller."""
    with pytest.raises(UsageError, match="at least one key"):
        seal_checkpoint(CHECKPOINT, [])
    with pytest.raises(UsageError, match="named by its id"):
        seal_checkpoint(CHECKPOINT, [(note_key(HMAC), ED25519)])


def test_a_verified_checkpoint_cannot_be_made_or_changed_by_hand() -> None:
    """Neither constructor, assignment, copying nor unpickling give one but opening a note."""
    verified = opened(NOTE, ED25519)
    with pytest.raises(TypeError, match="open_checkpoint only"):
        VerifiedCheckpoint(CHECKPOINT, (HMAC.key_id,))
    for attribute in ("checkpoint", "key_ids"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(verified, attribute, None)
        with pytest.raises(AttributeError, match="does not change"):
            delattr(verified, attribute)
    with pytest.raises(AttributeError):
        copy.copy(verified)
    pickled = pickle.dumps(verified)
    with pytest.raises(AttributeError):
        pickle.loads(pickled)
    assert repr(verified) == f"<VerifiedCheckpoint sealstore/{REPOSITORY_ID}/history/1 3>"


# ── what it is kept for ──────────────────────────────────────────────────────


@pytest.mark.invariant(2)
def test_whoever_kept_a_checkpoint_proves_a_truncation() -> None:
    """Against a checkpoint, an older head is a rollback and a newer one has its proof."""
    newer = Chain.of(9)
    kept = opened(sealed(HistoryCheckpoint.of(head(Chain.of(6))), HMAC), HMAC).checkpoint
    assert isinstance(kept, HistoryCheckpoint)
    require_extends(kept, head(newer), consistency_proof(newer.nodes, 6, 9))
    with pytest.raises(RollbackError):
        require_extends(kept, head(Chain.of(5)), [])
