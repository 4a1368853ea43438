"""audit verify: whole chains, what was appended since a checkpoint, the map, exports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealstore.audit.chains import ChainName, open_ledger
from sealstore.audit.verifying import verify_ledger
from sealstore.keys.keyring import Keyring
from sealstore.ledger.checkpoint import seal_checkpoint
from sealstore.ledger.entries import encode_entry
from sealstore.ledger.map_values import TagValue
from sealstore.ledger.signed_note import NoteKey
from sealstore.names import Name, Tag
from sealstore.repository import environment
from sealstore.repository.facade import Repository
from sealstore.repository.recording import change
from tests.audited import CHAINS, SIZE, Audited
from tests.sealstore_fixtures import OTHER_REPOSITORY_ID, hmac_key

both_chains = pytest.mark.parametrize("chain", CHAINS)


def kept(audited: Audited, chain: str, name: str = "kept.txt") -> Path:
    """A checkpoint of what a chain is now."""
    path = audited.tmp_path / name
    audited.audit("checkpoint", "--chain", chain, "--output", path)
    return path


def test_a_whole_ledger_verifies(audited: Audited) -> None:
    """Both chains, every entry and stored hash, and the map against the history."""
    report = audited.audit("verify", "--json").json
    assert report["ok"] is True
    history, access = report["chains"]
    nodes = 2 * SIZE - SIZE.bit_count()
    for found in (history, access):
        assert (found["entries"], found["storedHashes"], found["verifiedFrom"]) == (SIZE, nodes, 0)
        assert found["head"]["size"] == SIZE
        assert found["keyId"] == hmac_key().key_id
        assert found["entriesPerSecond"] > 0
    # Four tags and seven revisions, two latest, an alias and its number.
    assert history["mapRecords"] == 4 + 7 + 2 + 2
    assert access["mapRecords"] is None
    told = audited.audit("verify")
    assert told.out.splitlines()[0].startswith(f"history: verified: {SIZE} entries of {SIZE}, ")
    assert "the head was held against a trust state of" in told.err


@both_chains
def test_what_was_appended_since_a_checkpoint_is_verified(audited: Audited, chain: str) -> None:
    """Only the entries after the checkpoint are hashed; that the chain extends it is proven."""
    checkpoint = kept(audited, chain)
    assert audited.verified(chain, "--since", checkpoint)["entries"] == 0
    audited.grow(chain, 5)
    report = audited.verified(chain, "--since", checkpoint)
    assert (report["verifiedFrom"], report["entries"], report["mapRecords"]) == (SIZE, 5, None)
    assert [each["kind"] for each in report["comparedWith"]] == ["checkpoint"]
    assert report["cutWithOlderHeadWouldShow"] is True
    edited = audited.entry(chain, SIZE + 2).replace(b'"at":"2', b'"at":"1')
    audited.sql(chain, "UPDATE {}_entry SET entry = ? WHERE sequence = ?", edited, SIZE + 2)
    assert audited.findings(chain, "--since", checkpoint)[0][0] == SIZE + 2


@both_chains
def test_an_incremental_audit_does_not_see_older_entries(audited: Audited, chain: str) -> None:
    """That is what its speed is bought with: a full one finds what was edited before."""
    checkpoint = kept(audited, chain)
    audited.grow(chain)
    audited.sql(chain, "UPDATE {}_entry SET tag = 'x' WHERE sequence = 3")
    assert audited.verified(chain, "--since", checkpoint)["findings"] == []
    assert [place for place, _ in audited.findings(chain)] == [3]


@both_chains
def test_edited_hashes_do_not_hide_that_the_entries_are_right(audited: Audited, chain: str) -> None:
    """Where the way from the checkpoint cannot be proven, every entry is hashed, and its root."""
    checkpoint = kept(audited, chain)
    audited.grow(chain)
    audited.sql(chain, "UPDATE {}_node SET digest = zeroblob(32) WHERE level = 3")
    report = audited.verified(chain, "--since", checkpoint, code=1)
    assert (report["verifiedFrom"], report["entries"]) == (0, SIZE + 3)
    assert len(report["findings"]) == 2
    assert "Stored hash 0 of level 3" in report["findings"][1]["message"]


def test_checkpoints_of_both_chains_are_taken_together(audited: Audited) -> None:
    """Who keeps one of each gives both; one alone asks for its own chain."""
    history, access = (kept(audited, chain, chain) for chain in CHAINS)
    both = audited.audit("verify", "--since", history, "--since", access, "--json").json
    assert [each["verifiedFrom"] for each in both["chains"]] == [SIZE, SIZE]
    one = audited.audit("verify", "--since", access, "--json").json
    assert [each["chain"] for each in one["chains"]] == ["access"]
    mixed = audited.audit("verify", "--since", access, "--chain", "both", "--json").json
    assert [each["verifiedFrom"] for each in mixed["chains"]] == [0, SIZE]


def test_contradicting_arguments_are_refused(audited: Audited) -> None:
    """A checkpoint of the other chain, two of one, and a chain for a file that says its own."""
    history, access = (kept(audited, chain, chain) for chain in CHAINS)
    wrong: list[list[str | Path]] = [
        ["--chain", "history", "--since", access],
        ["--since", access, "--since", access],
        ["--export", history, "--chain", "access"],
        ["--export", history, "--since", history, "--since", access],
    ]
    for arguments in wrong:
        audited.audit("verify", *arguments, code=2)
    audited.audit("verify", "--since", audited.tmp_path / "none", code=1)
    audited.audit("verify", "--export", history, code=1)


def test_a_checkpoint_of_another_repository_is_refused(
    audited: Audited, other_repository: Repository, keyring: Keyring
) -> None:
    """It is genuine, and about something else."""
    assert len(keyring) == 1
    path = audited.tmp_path / "other.txt"
    elsewhere = {"MODEL_REPO_PATH": str(other_repository.root)}
    audited.audit("checkpoint", "--output", path, variables=elsewhere)
    [finding] = audited.verified("history", "--since", path, code=1)["findings"]
    assert finding["code"] == "REPOSITORY_EXCHANGED"
    expected = {"MODEL_REPO_ID": audited.repository.id}
    assert (
        OTHER_REPOSITORY_ID
        in audited.audit("verify", "--since", path, code=1, variables=expected).err
    )


def test_an_audit_hears_every_entry_and_says_how_far_it_is(audited: Audited) -> None:
    """In order, each chain's; progress ends with all of them."""
    heard: list[Any] = []
    told: list[tuple[str, int, int]] = []
    report = verify_ledger(
        audited.site.settings,
        hear=heard.append,
        progress=lambda *step: told.append(step),
    )
    assert report.is_sound
    assert report.findings == []
    assert [entry.sequence for entry in heard] == [*range(1, SIZE + 1)] * 2
    assert told == [(chain, done, SIZE) for chain in CHAINS for done in (0, SIZE)]


def test_many_entries_come_in_several_fetches(audited: Audited) -> None:
    """What is read piece by piece is one tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealstore.storage.catalogue.ledger_rows._ENTRIES_A_FETCH", 4)
        for chain in CHAINS:
            assert audited.verified(chain)["storedHashes"] == 2 * SIZE - SIZE.bit_count()
        audited.sql("access", "DELETE FROM {}_entry WHERE sequence IN (3, 4, 9)")
        assert [place for place, _ in audited.findings("access")] == [3, 9]


@both_chains
def test_a_checkpoint_of_what_never_was_is_found(audited: Audited, chain: str) -> None:
    """Two states were signed: what is there is whole, and not what the checkpoint sums up."""
    path = audited.tmp_path / "forked.txt"
    with open_ledger(audited.site.settings) as ledger:
        [source] = ledger.chosen(ChainName(chain))
        with source.open() as opened:
            forked = replace(opened.checkpoint, size=5, root="57" * 32)
    key = hmac_key()
    path.write_bytes(seal_checkpoint(forked, [(NoteKey.hmac_sha256(key.key_id), key)]))
    found = [message for _, message in audited.findings(chain, "--since", path)]
    assert found == [
        "The consistency proof does not lead to the older root.",
        "The first 5 entries are not those of the checkpoint.",
    ]


# ── what a holder of the signing key did ─────────────────────────────────────


def dishonestly(repository: Repository, *steps: Any) -> None:
    """Change the repository as no honest program would, with its key."""
    with change(repository._parts, environment.stored_by(None)) as (made, _):
        for step in steps:
            step(made)
        made.append("key", action="noted")


def append(audited: Audited, sequence: int, **changes: Any) -> Any:
    """A step that appends an entry like another one."""
    entry = audited.decoded("history", sequence)

    def step(made: Any) -> None:
        made.append(
            changes.get("event", entry.event),
            changes.get("artifact", entry.artifact),
            **changes.get("details", entry.details),
        )

    return step


def test_a_map_that_says_other_things_than_the_history_is_found(audited: Audited) -> None:
    """Somebody with the key let a tag mean another statement, and made up one that never was."""
    wrong = TagValue(revision=1, highest=4, statement="57" * 32)
    dishonestly(
        audited.repository,
        lambda made: made.set_segment(Name("churn"), Tag("2026-11"), wrong),
        lambda made: made.set_segment(Name("never"), Tag("stored"), wrong),
    )
    messages = [message for _, message in audited.findings("history")]
    assert messages[0].startswith("The map says something else of churn:2026-11: history and map")
    assert messages[1].startswith("The map has 1 record that nothing was stored for")


def test_a_history_that_says_other_things_than_the_map_is_found(audited: Audited) -> None:
    """A store, a removal and a move on record that never reached the map, and impossible ones."""
    stored = audited.decoded("history", 2).artifact
    artifact = type(stored)(
        name="ghost",
        tag="1",
        revision=1,
        sha256=stored.sha256,
        statement=stored.statement,
        key_id=stored.key_id,
    )
    dishonestly(audited.repository, append(audited, 2, artifact=artifact))
    messages = [message for _, message in audited.findings("history")]
    assert [message.partition(":")[0] for message in messages] == [
        "The map says nothing of ghost"
    ] * 3


@pytest.mark.parametrize(
    ("sequence", "details", "message"),
    [
        (2, {}, "churn:2026-11@1 was stored as another revision than its tag's next, 5."),
        (8, {}, "churn:2026-12@1 was removed, and had not been there."),
        (9, {"name": "churn"}, "An alias was moved, and what the entry says of it is invalid."),
        (9, {"name": "churn", "alias": "x", "tag": "1"}, "An alias was moved, and what the entry"),
    ],
)
def test_impossible_entries_are_found(
    audited: Audited, sequence: int, details: dict[str, object], message: str
) -> None:
    """What no honest change would have put on record, though it is signed."""
    dishonestly(audited.repository, append(audited, sequence, details=details))
    found = audited.findings("history")
    assert (found[0][0], found[0][1][: len(message)]) == (SIZE + 1, message)


def test_moves_of_aliases_are_held_against_the_rules_of_their_time(audited: Audited) -> None:
    """A move on record that does not follow the one before."""
    details = audited.decoded("history", 9).details
    dishonestly(audited.repository, append(audited, 9, details=details))
    assert any("churn:production: Move 2" in message for _, message in audited.findings("history"))


def test_an_entry_that_no_release_writes_is_found(audited: Audited) -> None:
    """Signed bytes that decode only loosely are refused as everywhere."""
    entry = audited.decoded("history", 2)
    real = encode_entry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealstore.repository.recording.encode_entry", lambda each: real(each) + b" ")
        dishonestly(audited.repository, lambda made: made.append("key", action=entry.at))
    found = audited.findings("history")
    # The moves of aliases cannot be followed past it.
    assert [place for place, _ in found] == [SIZE + 1, SIZE + 2, None]


# ── exports ──────────────────────────────────────────────────────────────────


@both_chains
def test_an_export_is_verified_without_the_repository(audited: Audited, chain: str) -> None:
    """The file and the keys are enough; each line below the first is an entry's own bytes."""
    file = audited.tmp_path / "export.jsonl"
    checkpoint = kept(audited, chain)
    audited.grow(chain)
    told = audited.audit("export", file, "--chain", chain).out
    assert f"exported {SIZE + 3} entries of sealstore/" in told
    lines = file.read_bytes().splitlines()
    assert lines[1:] == [audited.entry(chain, number) for number in range(1, SIZE + 4)]
    assert json.loads(lines[0])["chain"] == chain
    away = {"MODEL_REPO_PATH": str(audited.tmp_path / "nowhere")}
    since: list[str | Path] = ["--since", checkpoint]
    for arguments, compared in ((since[:0], []), (since, ["checkpoint"])):
        ran = audited.audit("verify", "--export", file, "--json", *arguments, variables=away)
        [report] = ran.json["chains"]
        assert (report["chain"], report["entries"]) == (chain, SIZE + 3)
        assert [each["kind"] for each in report["comparedWith"]] == compared
    assert "verified" in audited.audit("verify", "--export", file, variables=away).out
    assert "exists" in audited.audit("export", file, code=1).err
    audited.audit("export", file, "--force", "--chain", chain)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines[:5] + lines[6:], "Where entry 5 should be is one that says it is 6"),
        (lambda lines: lines[:-1], "The ledger has 10 entries; its head says 11."),
        (lambda lines: [*lines, lines[-1]], "more entries than the 11 of its head"),
        (lambda lines: [*lines[:-1], lines[-1][:-1]], "entry 11 is cut off"),
        (lambda lines: [*lines[:3], b"x" * 70_000 + b"\n", *lines[4:]], "entry 3 is cut off"),
        (lambda lines: [*lines[:3], b"{}\n", *lines[4:]], "The access log's entry"),
        (
            lambda lines: [*lines[:3], lines[3].replace(b'"at":"2', b'"at":"1'), *lines[4:]],
            "The ledger's entries are not the ones that its head sums up.",
        ),
    ],
)
def test_an_edited_export_is_refused(audited: Audited, edit: Any, message: str) -> None:
    """Lines that were taken out, added, moved, cut off or changed."""
    file = audited.tmp_path / "export.jsonl"
    audited.audit("export", file, "--chain", "access")
    file.write_bytes(b"".join(edit(file.read_bytes().splitlines(keepends=True))))
    report = audited.audit("verify", "--export", file, "--json", code=1).json["chains"][0]
    assert message in report["findings"][0]["message"]
    assert "access: REFUSED" in audited.audit("verify", "--export", file, code=1).out


@pytest.mark.parametrize("line", [b"", b"{}\n", b"\xff\n", b'{"kind":"sealstore-export-v1"}\n'])
def test_what_is_no_export_is_refused(audited: Audited, line: bytes) -> None:
    """Any other file."""
    file = audited.tmp_path / "export.jsonl"
    audited.audit("export", file)
    good = json.loads(file.read_bytes().splitlines()[0])
    for content in (line, json.dumps({**good, "head": "?"}).encode() + b"\n"):
        file.write_bytes(content)
        assert "not an export" in audited.audit("verify", "--export", file, code=1).err
    audited.audit("verify", "--export", audited.tmp_path / "none", code=1)


@both_chains
def test_an_export_that_does_not_extend_a_checkpoint_is_refused(
    audited: Audited, chain: str
) -> None:
    """An older one, one of another chain, one of a chain that was rewritten."""
    file = audited.tmp_path / "export.jsonl"
    audited.audit("export", file, "--chain", chain)
    audited.grow(chain)
    newer = kept(audited, chain)
    other = kept(audited, "access" if chain == "history" else "history", "other.txt")
    for checkpoint, code in ((newer, "ROLLBACK"), (other, "REPOSITORY_EXCHANGED")):
        ran = audited.audit("verify", "--export", file, "--since", checkpoint, "--json", code=1)
        assert ran.json["chains"][0]["findings"][0]["code"] == code


def test_a_long_export_says_how_far_it_is(audited: Audited) -> None:
    """Writing and verifying tell of their progress."""
    from sealstore.audit.exporting import export_chain, verify_export

    told: list[tuple[str, int, int]] = []
    file = audited.tmp_path / "export.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealstore.audit.exporting._REPORT_EVERY", 5)
        with open_ledger(audited.site.settings) as ledger:
            export_chain(ledger, ChainName.ACCESS, file, progress=lambda *step: told.append(step))
        verify_export(audited.site.settings, file, progress=lambda *step: told.append(step))
    assert told == [("access", 5, SIZE), ("access", 10, SIZE)] * 2
