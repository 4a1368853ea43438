"""audit checkpoint, consistency, prove, check-proof, init: what is kept or handed to others."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sealstore import limits
from sealstore.keys.algorithms import Ed25519Private
from sealstore.keys.keyring import State
from sealstore.ledger.checkpoint import open_checkpoint
from sealstore.ledger.signed_note import NoteKey
from sealstore.repository.facade import Repository
from tests.audited import CHAINS, SIZE, Audited
from tests.command_line import Site
from tests.sealstore_fixtures import ed25519_key, hmac_key

both_chains = pytest.mark.parametrize("chain", CHAINS)


# ── checkpoints ──────────────────────────────────────────────────────────────


@both_chains
def test_a_checkpoint_is_a_signed_note_of_the_head(audited: Audited, chain: str) -> None:
    """The text says what the head says, and the key's signature is below it."""
    note = audited.audit("checkpoint", "--chain", chain).out
    document = audited.audit("checkpoint", "--chain", chain, "--json").json
    assert note == document["note"]
    origin, size, *_ = note.splitlines()
    assert (origin, size) == (document["origin"], str(SIZE))
    assert origin.startswith(f"sealstore/{audited.repository.id}/{chain}/")
    key = hmac_key()
    opened = open_checkpoint(
        note.encode(), [NoteKey.hmac_sha256(key.key_id)], audited.repository.keyring
    )
    assert opened.key_ids == (key.key_id,)
    assert opened.checkpoint.root == document["root"]


def test_other_tools_are_told_the_key_of_a_checkpoint(tmp_path: Path) -> None:
    """An Ed25519 key's public part, as C2SP's tools take it; whoever has it needs no keyring."""
    key = ed25519_key()
    site = Site(tmp_path / "repository", tmp_path / "keys" / "keyring.json")
    site.set_keys(key)
    Repository.create(site.repository, settings=site.settings).close()
    document = site.run("audit", "checkpoint", "--json").json
    name, _, encoded = document["verifierKey"].split("+", 2)
    assert name == document["origin"]
    material = key.material
    assert isinstance(material, Ed25519Private)
    assert base64.b64decode(encoded) == b"\x01" + material.public().to_bytes()


def test_a_checkpoint_is_written_whole_and_never_over_another(audited: Audited) -> None:
    """An older checkpoint is what a later audit needs."""
    path = audited.tmp_path / "kept.txt"
    told = audited.audit("checkpoint", "--output", path).out
    assert told.startswith(f"checkpoint of the chain at entry {SIZE}, signed with key ")
    before = path.read_bytes()
    mask = os.umask(0o022)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    audited.grow("history", 1)
    assert "exists" in audited.audit("checkpoint", "--output", path, code=1).err
    assert path.read_bytes() == before
    audited.audit("checkpoint", "--output", path, "--force")
    assert path.read_bytes() != before
    assert list(audited.tmp_path.glob(".kept*")) == []
    nowhere = audited.tmp_path / "no" / "folder"
    assert "cannot be written" in audited.audit("checkpoint", "--output", nowhere, code=1).err


def test_a_checkpoint_in_the_repository_is_warned_of(audited: Audited) -> None:
    """Whoever rewrites the one can replace the other."""
    path = audited.repository.root / "kept.txt"
    assert "lies in the repository" in audited.audit("checkpoint", "--output", path).err


def test_no_key_of_the_role_makes_no_checkpoint(audited: Audited) -> None:
    """A client that only verifies cannot sign one."""
    audited.site.set_keys(replace(hmac_key(), state=State.RETIRED))
    assert "'store'" in audited.audit("checkpoint", code=1).err


# ── consistency ──────────────────────────────────────────────────────────────


@both_chains
def test_one_checkpoint_leads_to_another(audited: Audited, chain: str) -> None:
    """The proof between two states, and to what is there now."""
    old, new = audited.tmp_path / "old.txt", audited.tmp_path / "new.txt"
    audited.audit("checkpoint", "--chain", chain, "--output", old)
    audited.grow(chain, 4)
    audited.audit("checkpoint", "--chain", chain, "--output", new)
    audited.grow(chain, 2)
    proven = audited.audit("consistency", old, new, "--json").json
    assert (proven["old"]["size"], proven["new"]["size"]) == (SIZE, SIZE + 4)
    assert proven["proof"]
    now = audited.audit("consistency", old)
    assert now.out.startswith("consistent: the 17 entries of sealstore/")
    assert len(now.out.splitlines()) > 1
    assert audited.audit("consistency", new, new, "--json").json["proof"] == []
    assert "were seen here before" in audited.audit("consistency", new, old, code=1).err


def test_checkpoints_that_do_not_belong_together_prove_nothing(
    audited: Audited, other_repository: Repository
) -> None:
    """Of two chains, of another repository, of a state that never followed the other."""
    paths = {chain: audited.tmp_path / chain for chain in CHAINS}
    for chain, path in paths.items():
        audited.audit("checkpoint", "--chain", chain, "--output", path)
    foreign = audited.tmp_path / "foreign"
    elsewhere = {"MODEL_REPO_PATH": str(other_repository.root)}
    audited.audit("checkpoint", "--output", foreign, variables=elsewhere)
    history, access = paths.values()
    for old, new in ((history, access), (access, history), (foreign, history), (history, foreign)):
        audited.audit("consistency", old, new, code=1)
    for damaged in (b"", b"x" * 70_000, history.read_bytes().replace(b"\n11\n", b"\n10\n")):
        history.write_bytes(damaged)
        audited.audit("consistency", history, code=1)
    assert "cannot be read" in audited.audit("consistency", "nowhere", code=1).err


# ── proofs ───────────────────────────────────────────────────────────────────


@both_chains
@pytest.mark.parametrize("sequence", [1, 6, SIZE])
def test_a_proof_holds_without_the_repository(audited: Audited, chain: str, sequence: int) -> None:
    """The document and the keys are enough to show that an entry is in the signed chain."""
    file = audited.tmp_path / "proof.json"
    audited.audit("prove", str(sequence), "--chain", chain, "--output", file)
    assert json.loads(file.read_bytes()) == json.loads(
        audited.audit("prove", str(sequence), "--chain", chain).out
    )
    away = {"MODEL_REPO_PATH": str(audited.tmp_path / "nowhere")}
    proven = audited.audit("check-proof", file, "--json", variables=away).json
    assert (proven["chain"], proven["sequence"], proven["proven"]) == (chain, sequence, True)
    assert proven["head"]["size"] == SIZE
    assert proven["entry"]["sequence"] == sequence
    told = audited.audit("check-proof", file, variables=away).out
    assert told.startswith(f"proven: entry {sequence} of {SIZE} in the {chain} chain")


def test_a_retired_key_s_proof_holds_and_a_revoked_one_s_does_not(audited: Audited) -> None:
    """It says what was; but of a revoked key nobody knows who had it."""
    file = audited.tmp_path / "proof.json"
    audited.audit("prove", "3", "--output", file)
    audited.site.set_keys(replace(hmac_key(), state=State.RETIRED))
    audited.audit("check-proof", file)
    audited.site.set_keys(replace(hmac_key(), state=State.REVOKED))
    assert "revoked" in audited.audit("check-proof", file, code=1).err
    audited.site.set_keys(hmac_key(2))
    assert "no key" in audited.audit("check-proof", file, code=1).err


def test_a_proof_has_a_largest_size(audited: Audited) -> None:
    """A file of the limit is read, and one of a byte more is not."""
    file = audited.tmp_path / "proof.json"
    audited.audit("prove", "3", "--output", file)
    good = file.read_bytes()
    file.write_bytes(good.ljust(limits.MAX_PROOF_BYTES))
    audited.audit("check-proof", file)
    file.write_bytes(good.ljust(limits.MAX_PROOF_BYTES + 1))
    refused = audited.audit("check-proof", file, code=1).err
    assert f"more than {limits.MAX_PROOF_BYTES} bytes" in refused


def test_an_edited_proof_proves_nothing(audited: Audited) -> None:
    """Each part of it is covered: by the signature, by the hashes, by what the entry says."""
    file = audited.tmp_path / "proof.json"
    good = json.loads(audited.audit("prove", "3").out)
    entry = base64.b64decode(good["entry"]).replace(b'"at":"2', b'"at":"1')
    for edits in (
        {"sequence": 4},
        {"chain": "access"},
        {"entry": base64.b64encode(entry).decode()},
        {"entry": "?"},
        {"entry": base64.b64encode(b"x" * 70_000).decode()},
        {"head": good["entry"]},
        {"proof": good["proof"][1:]},
        {"proof": [*good["proof"], "00" * 32]},
        {"proof": ["zz"]},
        {"proof": ["00" * 32] * 65},
        {"kind": "sealstore-proof-v2"},
        {"more": 1},
    ):
        file.write_text(json.dumps(good | edits), encoding="utf-8")
        audited.audit("check-proof", file, code=1)
    for content in (b"", b"\xff", b"[" * 100_000, b"x" * 300_000):
        file.write_bytes(content)
        audited.audit("check-proof", file, code=1)
    file.write_text(json.dumps(good), encoding="utf-8")
    audited.audit("check-proof", file)
    expected = {"MODEL_REPO_ID": "0" * 32}
    assert "MODEL_REPO_ID" in audited.audit("check-proof", file, code=1, variables=expected).err


@both_chains
def test_what_is_not_there_is_not_proven(audited: Audited, chain: str) -> None:
    """A number beyond the head, or an entry that somebody took out."""
    told = audited.audit("prove", str(SIZE + 1), "--chain", chain, code=1).err
    assert f"no entry {SIZE + 1}; its signed head says that there are {SIZE}" in told
    assert "audit log" in told
    audited.sql(chain, "DELETE FROM {}_entry WHERE sequence = 4")
    assert "audit log" not in audited.audit("prove", "4", "--chain", chain, code=1).err
    audited.audit("prove", "0", code=2)


# ── a loader's own log ───────────────────────────────────────────────────────


def test_a_loader_s_own_log_is_made_and_audited(audited: Audited, tmp_path: Path) -> None:
    """Where MODEL_REPO_ACCESS_LOG_URL says, once; then it is the log that is read and verified."""
    (tmp_path / "logs").mkdir()
    own = {"MODEL_REPO_ACCESS_LOG_URL": f"sqlite:///{tmp_path}/logs/loader.sqlite3"}
    made = audited.audit("init", "--json", variables=own).json
    assert made["location"].endswith("/logs/loader.sqlite3")
    assert audited.audit("log", "--chain", "access", "--json", variables=own).json["entries"] == []
    report = audited.audit("verify", "--json", variables=own).json
    assert report["chains"][1]["head"]["size"] == 0
    for variables in (own, None):
        audited.audit("init", code=1, variables=variables)
    (tmp_path / "others").mkdir()
    other = {"MODEL_REPO_ACCESS_LOG_URL": f"sqlite:///{tmp_path}/others/loader.sqlite3"}
    assert "made the access log file://" in audited.audit("init", variables=other).out
