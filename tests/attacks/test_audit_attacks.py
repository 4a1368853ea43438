"""Attacks on the ledger by whoever may write to its databases, without a key: an audit finds each.

The auditor remembers nothing, unless a test says so: what is found is found against signed heads.
"""

from __future__ import annotations

import shutil

import pytest

from sealstore.ledger.merkle import Frontier
from sealstore.ledger.whole_tree import grown
from sealstore.repository.facade import Repository
from tests.audited import CHAINS, SIZE, Audited
from tests.command_line import FORBIDDEN, HOSTILE

both_chains = pytest.mark.parametrize("chain", CHAINS)

# ── entries ──────────────────────────────────────────────────────────────────


@both_chains
@pytest.mark.parametrize("sequence", [1, 5, 8, SIZE - 1])
def test_a_deleted_entry_is_named(audited: Audited, chain: str, sequence: int) -> None:
    """The place of an entry that is gone is found, wherever it was."""
    audited.sql(chain, "DELETE FROM {}_entry WHERE sequence = ?", sequence)
    message = f"Entry {sequence} is missing: the signed head says that there are {SIZE}."
    assert audited.findings(chain) == [(sequence, message)]


@both_chains
@pytest.mark.parametrize("sequence", [1, 6, SIZE])
def test_an_edited_entry_is_named(audited: Audited, chain: str, sequence: int) -> None:
    """An entry that says something else, in its own form, is found by its hash."""
    data = audited.entry(chain, sequence)
    edited = data.replace(b'"at":"2', b'"at":"1')
    assert edited != data
    audited.sql(
        chain,
        "UPDATE {}_entry SET entry = ?, at = '1' || substr(at, 2) WHERE sequence = ?",
        edited,
        sequence,
    )
    [(place, message)] = audited.findings(chain)
    assert place == sequence
    assert f"Entry {sequence} is not the one that the signed head sums up" in message


@both_chains
def test_the_first_of_several_edited_entries_is_named(audited: Audited, chain: str) -> None:
    """What is behind it is not known before it is right again, and that is said."""
    for sequence in (9, 4, 6):
        edited = audited.entry(chain, sequence).replace(b'"at":"2', b'"at":"1')
        audited.sql(
            chain,
            "UPDATE {}_entry SET entry = ?, at = '1' || substr(at, 2) WHERE sequence = ?",
            edited,
            sequence,
        )
    [(place, message)] = audited.findings(chain)
    assert place == 4
    assert "Whether later ones were, too, is not known" in message


@both_chains
def test_reordered_entries_are_named(audited: Audited, chain: str) -> None:
    """Two entries that changed places, with all their columns."""
    audited.sql(chain, "UPDATE {}_entry SET sequence = -1 WHERE sequence = 4")
    audited.sql(chain, "UPDATE {}_entry SET sequence = 4 WHERE sequence = 5")
    audited.sql(chain, "UPDATE {}_entry SET sequence = 5 WHERE sequence = -1")
    assert audited.findings(chain) == [
        (4, "Where entry 4 should be is one that says it is 5."),
        (5, "Where entry 5 should be is one that says it is 4."),
    ]


@both_chains
def test_a_spliced_chain_is_named(audited: Audited, chain: str) -> None:
    """An entry is cut out, and the ones behind it move up to close the gap."""
    audited.sql(chain, "DELETE FROM {}_entry WHERE sequence = 5")
    for sequence in range(6, SIZE + 1):
        audited.sql(
            chain, "UPDATE {}_entry SET sequence = sequence - 1 WHERE sequence = ?", sequence
        )
    found = audited.findings(chain)
    assert found[0] == (5, "Where entry 5 should be is one that says it is 6.")
    assert found[-1][0] == SIZE
    assert "the last ones of the chain" in found[-1][1]


@both_chains
def test_a_duplicated_entry_is_named(audited: Audited, chain: str) -> None:
    """An entry stands there twice, and the ones behind it moved down."""
    for sequence in range(SIZE, 5, -1):
        audited.sql(
            chain, "UPDATE {}_entry SET sequence = sequence + 1 WHERE sequence = ?", sequence
        )
    columns = "entry, event, at, name, tag"
    audited.sql(
        chain,
        f"INSERT INTO {chain}_entry (sequence, {columns})"
        f" SELECT 6, {columns} FROM {chain}_entry WHERE sequence = 5",
    )
    found = dict(audited.findings(chain))
    assert found[6] == "Where entry 6 should be is one that says it is 5."
    assert found[SIZE + 1] is not None


@both_chains
@pytest.mark.parametrize("sequence", [-3, 0, SIZE + 1, SIZE + 70])
def test_a_planted_entry_is_named(audited: Audited, chain: str, sequence: int) -> None:
    """A row that no head knows, before the first entry or behind the last."""
    columns = "entry, event, at, name, tag"
    audited.sql(
        chain,
        f"INSERT INTO {chain}_entry (sequence, {columns})"
        f" SELECT ?, {columns} FROM {chain}_entry WHERE sequence = 2",
        sequence,
    )
    [(place, message)] = audited.findings(chain)
    assert place == sequence
    assert message == (
        f"There is an entry {sequence}, which the signed head does not have: it ends with {SIZE}."
    )


@both_chains
@pytest.mark.parametrize("planted", [b"", b"{}", b"\xff" * 100, "text", 7, b"x" * 70_000])
def test_what_is_no_entry_is_named(audited: Audited, chain: str, planted: object) -> None:
    """Bytes and values of any kind in the place of an entry are refused, and read no further."""
    audited.sql(chain, "UPDATE {}_entry SET entry = ? WHERE sequence = 7", planted)
    assert [place for place, _ in audited.findings(chain)] == [7]


@both_chains
def test_a_tree_that_was_made_to_fit_edited_entries_does_not_help(
    audited: Audited, chain: str
) -> None:
    """With all stored hashes computed again no single entry can be named; the damage is told."""
    edited = audited.entry(chain, 3).replace(b'"at":"2', b'"at":"1')
    audited.sql(
        chain,
        "UPDATE {}_entry SET entry = ?, at = '1' || substr(at, 2) WHERE sequence = 3",
        edited,
    )
    entries = [audited.entry(chain, sequence) for sequence in range(1, SIZE + 1)]
    for run in grown(Frontier(), entries).runs:
        for index, digest in enumerate(run.digests, run.first):
            audited.sql(
                chain,
                "UPDATE {}_node SET digest = ? WHERE level = ? AND node_index = ?",
                digest,
                run.level,
                index,
            )
    # A client that knows the repository would not get as far: proofs do not hold.
    [(place, message)] = audited.findings(chain)
    assert place == 1
    assert f"Of the entries 1 to {SIZE} at least one is not the signed head's" in message


# ── what stands beside entries ───────────────────────────────────────────────


@both_chains
@pytest.mark.parametrize(
    ("column", "value"),
    [("event", "store x"), ("at", "2030"), ("name", "other"), ("tag", None), ("name", b"churn")],
)
def test_an_edited_search_column_is_named(
    audited: Audited, chain: str, column: str, value: object
) -> None:
    """A row that would be searched for in vain, or found where it does not belong."""
    audited.sql(chain, f"UPDATE {chain}_entry SET {column} = ? WHERE sequence = 4", value)
    [(place, message)] = audited.findings(chain)
    assert place == 4
    assert message.endswith(f"do not say what it says ({column}).")


@both_chains
def test_many_edited_rows_do_not_hide_a_missing_entry(audited: Audited, chain: str) -> None:
    """Every row's columns are edited; the entry that is gone is told all the same."""
    audited.sql(chain, "UPDATE {}_entry SET tag = 'x'")
    audited.sql(chain, "DELETE FROM {}_entry WHERE sequence = 8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealstore.audit.findings.MAX_SHOWN", 3)
        report = audited.verified(chain, code=1)
    assert [each["sequence"] for each in report["findings"]] == [1, 2, 3, 8]
    assert report["findingsInAll"] == SIZE


@both_chains
@pytest.mark.parametrize(
    ("change", "node"),
    [
        ("UPDATE {}_node SET digest = zeroblob(32) WHERE", (0, 6)),
        ("UPDATE {}_node SET digest = zeroblob(32) WHERE", (2, 1)),
        ("UPDATE {}_node SET digest = 'text' WHERE", (1, 4)),
        ("UPDATE {}_node SET digest = zeroblob(900) WHERE", (0, 0)),
        ("DELETE FROM {}_node WHERE", (0, 10)),
    ],
)
def test_an_edited_stored_hash_is_named(
    audited: Audited, chain: str, change: str, node: tuple[int, int]
) -> None:
    """The entries are right, and nobody believes a stored hash; but proofs are made from them."""
    audited.sql(chain, f"{change} level = ? AND node_index = ?", *node)
    [(place, message)] = audited.findings(chain)
    assert place is None
    assert f"Stored hash {node[1]} of level {node[0]} is" in message


@both_chains
def test_stored_hashes_of_no_entry_are_counted(audited: Audited, chain: str) -> None:
    """Hashes beyond the tree wait for entries that are still to come."""
    for index in (SIZE, SIZE + 5):
        audited.sql(chain, "INSERT INTO {}_node VALUES (0, ?, zeroblob(32))", index)
    message = "There are 2 stored hashes that belong to no entry."
    assert audited.findings(chain) == [(None, message)]


def test_an_edited_map_is_named(audited: Audited) -> None:
    """A row of the map that is not the one under the signed root."""
    audited.sql(
        "history",
        "UPDATE map_row SET content = zeroblob(2048) WHERE position = (SELECT min(position) FROM"
        " map_row WHERE position > 64)",
    )
    [(_, message)] = audited.findings("history")
    assert "is not the one that the signed root vouches for" in message


# ── truncation ───────────────────────────────────────────────────────────────


@both_chains
@pytest.mark.parametrize("left", [SIZE - 1, 6, 0])
def test_a_cut_off_end_is_found_against_the_head(audited: Audited, chain: str, left: int) -> None:
    """Entries and stored hashes are cut off; the head, which nobody can sign, says how many."""
    audited.sql(chain, "DELETE FROM {}_entry WHERE sequence > ?", left)
    audited.sql(chain, "DELETE FROM {}_node WHERE (node_index + 1) << level > ?", left)
    [(place, message)] = audited.findings(chain)
    assert place == left + 1
    assert "missing, the last ones of the chain: the signed head says that there are 11" in message


class Cut:
    """A state of a chain to which it is put back later, the signed head included."""

    def __init__(self, audited: Audited, chain: str) -> None:
        self.audited, self.chain = audited, chain
        self.head = audited.head(chain)
        self.map_rows = audited.sql("history", "SELECT position, content FROM map_row")

    def put_back(self) -> None:
        cut, chain = self.audited.sql, self.chain
        cut(chain, "DELETE FROM {}_entry WHERE sequence > ?", SIZE)
        cut(chain, "DELETE FROM {}_node WHERE (node_index + 1) << level > ?", SIZE)
        self.audited.put_head(chain, self.head)
        if chain == "history":
            cut(chain, "DELETE FROM map_row")
            for row in self.map_rows:
                cut(chain, "INSERT INTO map_row VALUES (?, ?)", *row)


@both_chains
def test_a_cut_off_end_with_its_older_head_is_found_against_a_checkpoint(
    audited: Audited, chain: str
) -> None:
    """Who kept a checkpoint from before the cut learns that it is missing what that summed up."""
    kept = audited.tmp_path / "kept.txt"
    cut = Cut(audited, chain)
    audited.grow(chain)
    audited.audit("checkpoint", "--chain", chain, "--output", kept)
    cut.put_back()
    report = audited.verified(chain, "--since", kept, code=1)
    [finding] = report["findings"]
    assert finding["code"] == "ROLLBACK"
    assert finding["message"] == f"The ledger has {SIZE} entries; {SIZE + 3} were seen here before."


@both_chains
def test_a_cut_off_end_with_its_older_head_is_found_against_the_trust_state(
    audited: Audited, chain: str
) -> None:
    """A client that has seen the newer state needs no checkpoint."""
    cut = Cut(audited, chain)
    audited.grow(chain)
    # The access log is remembered every few seconds, and when it is closed.
    audited.repository.close()
    cut.put_back()
    ran = audited.audit("verify", "--json", code=1)
    codes = {finding["code"] for report in ran.json["chains"] for finding in report["findings"]}
    assert codes == {"ROLLBACK"}


@both_chains
def test_a_cut_off_end_with_its_older_head_does_not_show_without_either(
    audited: Audited, chain: str
) -> None:
    """What nobody remembers cannot be missed: the audit finds nothing, and says exactly that."""
    cut = Cut(audited, chain)
    audited.grow(chain)
    cut.put_back()
    report = audited.verified(chain)
    assert report["findings"] == []
    assert report["comparedWith"] == []
    assert report["cutWithOlderHeadWouldShow"] is False
    told = audited.audit_afresh("verify", "--chain", chain).err
    assert f"{chain}: compared with nothing older: if entries were cut off together with" in told


def test_a_fresh_log_in_the_place_of_a_known_one_is_found(audited: Audited) -> None:
    """A log that begins again, made with the very keys, is not the one of the checkpoint."""
    kept = audited.tmp_path / "kept.txt"
    audited.audit("checkpoint", "--chain", "access", "--output", kept)
    audited.repository.close()
    for file in audited.repository.root.glob("access.sqlite3*"):
        file.unlink()
    audited.site.run("audit", "init", MODEL_REPO_TRUST_STATE=str(audited.tmp_path / "thief"))
    [finding] = audited.verified("access", "--since", kept, code=1)["findings"]
    assert finding["code"] == "REPOSITORY_EXCHANGED"
    ran = audited.audit("verify", "--chain", "access", "--json", code=1)
    assert ran.json["chains"][0]["findings"][0]["code"] == "REPOSITORY_EXCHANGED"


# ── heads and files ──────────────────────────────────────────────────────────


@both_chains
def test_an_edited_head_is_a_finding(audited: Audited, chain: str) -> None:
    """A head that nobody signed proves nothing, and there is no other."""
    envelope = audited.head(chain)
    audited.put_head(chain, envelope.replace(b'"sig":"', b'"sig":"A'))
    report = audited.verified(chain, code=1) if chain == "access" else None
    ran = audited.audit_afresh("verify", "--json", code=1)
    findings = [each for found in ran.json["chains"] for each in found["findings"]]
    assert len(findings) == 1
    assert report is None or report["head"] is None


@both_chains
def test_a_missing_head_is_a_finding(audited: Audited, chain: str) -> None:
    """A chain that has lost its head is not an empty one."""
    audited.sql(chain, "DELETE FROM {}_head")
    ran = audited.audit_afresh("verify", "--json", code=1)
    [finding] = [each for found in ran.json["chains"] for each in found["findings"]]
    assert finding["code"] in {"CATALOGUE_TAMPERED", "ACCESS_LOG_NOT_FOUND"}


def test_a_missing_access_log_is_a_finding(audited: Audited) -> None:
    """Somebody removed the whole file."""
    audited.repository.close()
    for file in audited.repository.root.glob("access.sqlite3*"):
        file.unlink()
    [finding] = audited.verified("access", code=1)["findings"]
    assert finding["code"] == "ACCESS_LOG_NOT_FOUND"


def test_the_access_log_of_another_repository_is_refused(
    audited: Audited, other_repository: Repository
) -> None:
    """A genuine access log of the same keys, from another repository."""
    other_repository.close()
    audited.repository.close()
    for file in audited.repository.root.glob("access.sqlite3*"):
        file.unlink()
    shutil.copy(other_repository.root / "access.sqlite3", audited.repository.root)
    [finding] = audited.verified("access", code=1)["findings"]
    assert finding["code"] == "REPOSITORY_EXCHANGED"


# ── looking at an attacked ledger ────────────────────────────────────────────


@both_chains
def test_a_listing_marks_what_it_cannot_prove(audited: Audited, chain: str) -> None:
    """Rows that are not the head's are refused where they stand; the others are shown."""
    edited = audited.entry(chain, 3).replace(b'"at":"2', b'"at":"1')
    audited.sql(chain, "UPDATE {}_entry SET entry = ? WHERE sequence = 3", edited)
    audited.sql(chain, "UPDATE {}_entry SET tag = 'x' WHERE sequence = 5")
    audited.sql(chain, "DELETE FROM {}_entry WHERE sequence IN (7, 8)")
    ran = audited.audit_afresh("log", "--chain", chain, "--json", code=1)
    lines = {line["sequence"]: line for line in ran.json["entries"]}
    assert [sequence for sequence in lines if not lines[sequence]["proven"]] == [7, 5, 3]
    assert lines[7]["refusal"]["message"] == "Entries 7 to 8 are missing."
    assert lines[3]["refusal"]["code"] == "PROOF"
    assert "entry" not in lines[3]
    shown = audited.audit_afresh("log", "--chain", chain, code=1).out
    assert shown.count("REFUSED") == 3


@both_chains
def test_a_listing_misses_entries_at_both_ends(audited: Audited, chain: str) -> None:
    """The newest and the oldest entries are gone, and planted ones follow."""
    columns = "entry, event, at, name, tag"
    audited.sql(chain, "DELETE FROM {}_entry WHERE sequence IN (1, 11)")
    audited.sql(
        chain,
        f"INSERT INTO {chain}_entry (sequence, {columns})"
        f" SELECT 30, {columns} FROM {chain}_entry WHERE sequence = 2",
    )
    ran = audited.audit_afresh("log", "--chain", chain, "--jsonl", code=1)
    assert ran.out.count('"proven": false') == 3
    assert "Entry 11 is missing." in ran.out
    assert "Entry 1 is missing." in ran.out
    assert f"its signed head says {SIZE}" in ran.out


@both_chains
def test_what_is_edited_is_neither_exported_nor_proven(audited: Audited, chain: str) -> None:
    """No document leaves that its reader could not verify."""
    edited = audited.entry(chain, 3).replace(b'"at":"2', b'"at":"1')
    audited.sql(chain, "UPDATE {}_entry SET entry = ? WHERE sequence = 3", edited)
    file = audited.tmp_path / "export"
    assert (
        "not the ones that its head sums up"
        in audited.audit_afresh("export", file, "--chain", chain, code=1).err
    )
    assert list(audited.tmp_path.glob("*export*")) == []
    audited.audit_afresh("prove", "3", "--chain", chain, code=1)
    audited.audit_afresh("prove", "4", "--chain", chain)


def test_an_attacker_s_text_reaches_no_terminal_and_no_page(audited: Audited) -> None:
    """Actors, contexts and hosts are escaped in every form of output, markup and all."""
    evil = f"{HOSTILE}</script><script>alert(1)</script>\"'<img src=x onerror=alert(1)>"
    audited.repository.load("churn", actor=evil, context=evil)
    audited.repository.store([1], "churn", "evil", actor=evil)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealstore.repository.environment._host", lambda: evil[:200])
        audited.repository.store([2], "churn", "evil", actor=evil)
    page = audited.tmp_path / "page.html"
    outputs = [
        audited.audit("log").out,
        audited.audit("log", "--json").out,
        audited.audit("log", "--jsonl", "--chain", "access").out,
        audited.audit("prove", str(SIZE + 1)).out,
    ]
    audited.audit("report", page)
    text = page.read_text(encoding="utf-8")
    for shown in (*outputs, text):
        assert not set(shown) & set(FORBIDDEN)
    assert "<script" not in text
    assert "<img" not in text
    assert "onerror=alert(1)&gt;" in text
    assert text.count("<style>") == 1
