"""Attackers with SQL and the files, and no key: what was is kept, what is cannot be hidden."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstore.errors import (
    CatalogueTamperedError,
    LedgerTamperedError,
    PolicyError,
    RevokedKeyError,
    RollbackError,
    SealstoreError,
)
from sealstore.keys.changing import withholding
from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository
from sealstore.signed.settings import PolicySettings
from tests.history_scenes import NEVER, REFUSED, REQUESTS, TABLES, Life, make_life
from tests.sealstore_fixtures import ed25519_key, fewer_examples, hmac_key, run_sql

pytestmark = [pytest.mark.invariant(2)]

KEYRING = Keyring.of([hmac_key()])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Life:
    return make_life(tmp_path_factory.mktemp("life"), KEYRING)


@pytest.fixture
def life(made: Life) -> Life:
    """The newest state, before each attack."""
    made.begin_again()
    return made


def open_as(life: Life, trust: Path | None = None) -> Repository:
    settings = life.settings if trust is None else life.at_first_use(trust)
    return Repository.open(life.root, keyring=KEYRING, settings=settings)


def check(life: Life, folder: Path) -> None:
    """Who has seen the newest head gets what it says or nothing; a newcomer what *a* head says."""
    newest = life.answers[-1]
    seen = life.ask(life.settings)
    for request, answer in seen.items():
        assert answer is REFUSED or answer == newest[request], request
    shown = life.ask(life.at_first_use(folder))
    assert any(
        all(answer is REFUSED or answer == state[request] for request, answer in shown.items())
        for state in life.answers
    )


def test_without_an_attack_everything_is_as_it_was(life: Life, tmp_path: Path) -> None:
    """The scene is sound, and so are both clients."""
    assert life.ask(life.settings) == life.answers[-1]
    assert life.ask(life.at_first_use(tmp_path / "new")) == life.answers[-1]
    assert life.answers[-1]["churn", "v1", None] == "five"
    assert life.answers[-1]["churn", "live", None] == "two"
    assert life.answers[-1]["fraud", "latest", None] is REFUSED
    assert len({str(sorted(map(str, state.values()))) for state in life.answers}) > 6


# ── every edit, deletion, insertion, swap and restoration ────────────────────


@given(data=st.data())
@fewer_examples(0.8)
def test_any_row_of_any_table_edited_deleted_or_swapped(
    made: Life, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """One thing done to one table: nothing false comes of it, for either client."""
    made.begin_again()
    table = data.draw(st.sampled_from(TABLES), label="table")
    with made.database() as database:
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        rows = database.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
    if not rows:
        return
    key = " AND ".join(f"{column} IS ?" for column in columns)
    one, other = (data.draw(st.sampled_from(rows), label=label) for label in ("row", "other"))
    kind = data.draw(
        st.sampled_from(["delete", "delete all", "edit", "swap", "flip"]), label="kind"
    )
    column = data.draw(st.sampled_from(columns), label="column")
    place = columns.index(column)
    with made.database() as database:
        if kind == "delete":
            database.execute(f"DELETE FROM {table} WHERE {key}", one)
        elif kind == "delete all":
            database.execute(f"DELETE FROM {table}")
        elif kind == "flip" and isinstance(one[place], bytes) and one[place]:
            spot = data.draw(st.integers(0, len(one[place]) - 1), label="byte")
            flipped = bytearray(one[place])
            flipped[spot] ^= 1 << data.draw(st.integers(0, 7), label="bit")
            change = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {key}"
            database.execute(change, (bytes(flipped), *one))
        elif kind == "edit":
            value = data.draw(
                st.sampled_from([None, 0, -1, 1 << 40, "x", b"x", other[place]]), label="value"
            )
            # What the table itself refuses, such as a text for a row's number, is no attack.
            with suppress(sqlite3.IntegrityError):
                database.execute(f"UPDATE {table} SET {column} = ? WHERE {key}", (value, *one))
        else:
            for mine, theirs in ((one, other), (other, one)):
                database.execute(
                    f"UPDATE OR IGNORE {table} SET {columns[-1]} = ? WHERE {columns[0]} = ?",
                    (theirs[-1], mine[0]),
                )
    check(made, tmp_path_factory.getbasetemp() / "newcomer")


@given(data=st.data())
@fewer_examples(0.8)
def test_any_older_rows_tables_or_groups_put_back(
    made: Life, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """All of it genuine, and none of it of now."""
    made.begin_again()
    states = st.integers(0, len(made.rows) - 1)
    for _ in range(data.draw(st.integers(1, 4), label="steps")):
        state = data.draw(states, label="state")
        if data.draw(st.booleans(), label="whole tables"):
            tables = data.draw(st.sets(st.sampled_from(TABLES), min_size=1), label="tables")
            made.put_back(state, *sorted(tables))
        else:
            table = data.draw(st.sampled_from(TABLES), label="table")
            made.put_back_row(state, table, data.draw(st.integers(0, 50), label="row"))
    check(made, tmp_path_factory.getbasetemp() / "newcomer")


@pytest.mark.parametrize("state", range(11))
def test_an_older_database(life: Life, tmp_path: Path, state: int) -> None:
    """Who was here since refuses it; a newcomer gets exactly what it held."""
    life.put_back(state, *TABLES)
    with pytest.raises(RollbackError):
        open_as(life)
    assert set(life.ask(life.settings).values()) == {REFUSED}
    older = dict(life.answers[state])
    shown = life.ask(life.at_first_use(tmp_path / "new"))
    # repository.json is of now; the catalogue has its own settings.
    assert shown == older


# ── named attacks ────────────────────────────────────────────────────────────


def test_a_removed_row_put_back(life: Life) -> None:
    """A tombstone holds: the genuine row of a removed artifact brings nothing back."""
    [row] = [row for row in life.rows[2]["artifact"] if "fraud" in row]
    with life.database() as database:
        database.execute(f"INSERT INTO artifact VALUES ({', '.join('?' * len(row))})", row)
    with open_as(life) as repository:
        for tag, revision in (("v1", None), ("v1", 1), ("latest", None)):
            with pytest.raises(SealstoreError):
                repository.load("fraud", tag, revision=revision)
        assert [type(each.error) for each in repository.list().refused] == [CatalogueTamperedError]


def test_the_newest_revision_hidden(life: Life) -> None:
    """A deleted row is missed; the older revision is not served in its place."""
    with life.database() as database:
        database.execute("DELETE FROM artifact WHERE name = 'churn' AND revision = 3")
    with open_as(life) as repository:
        for tag in ("v1", "latest"):
            with pytest.raises(CatalogueTamperedError, match="has no row of it"):
                repository.load("churn", tag)
        assert repository.load("churn", "v1", revision=2) == "two"


def test_an_absence_that_is_made_up(life: Life) -> None:
    """That there is nothing is proven, or it is no answer."""
    with life.database() as database:
        database.execute("DELETE FROM artifact")
        database.execute("DELETE FROM map_row WHERE position > 0")
    with open_as(life) as repository:
        for name, tag, revision in REQUESTS[:4]:
            with pytest.raises(CatalogueTamperedError):
                repository.load(name, tag, revision=revision)
    with life.database() as database:
        database.execute("DELETE FROM map_row")
    with open_as(life) as repository, pytest.raises(CatalogueTamperedError):
        repository.load(*NEVER[:2])


@pytest.mark.parametrize("left", [0, 1, 8])
def test_a_truncated_history_then_an_honest_store(life: Life, left: int) -> None:
    """The storer does not carry on from what was cut off; it says what is missing."""
    with life.database() as database:
        database.execute("DELETE FROM history_entry WHERE sequence > ?", [left])
    with open_as(life) as repository:
        with pytest.raises(LedgerTamperedError, match=r"entries were removed"):
            repository.store("six", "churn", "v9")
        with pytest.raises(LedgerTamperedError):
            repository.remove("churn", "v1")
        with pytest.raises(LedgerTamperedError):
            repository.history()
        # What the head proves is served all the same.
        assert repository.load("churn", "v1") == "five"


def test_a_truncated_history_with_its_older_head_then_an_honest_store(
    life: Life, tmp_path: Path
) -> None:
    """With the head of that time nothing is missing, but for who has seen a newer one."""
    life.put_back(4, *TABLES)
    with pytest.raises(RollbackError):
        open_as(life)
    with open_as(life, tmp_path / "new") as newcomer:
        newcomer.store("forked", "churn", "v9")
    with pytest.raises((RollbackError, LedgerTamperedError)):
        open_as(life)
    with open_as(life, tmp_path / "new again") as newcomer:
        for _ in range(12):
            newcomer.store("longer than what was cut off", "churn", "v9")
    with pytest.raises((RollbackError, LedgerTamperedError)):
        open_as(life)


def test_an_entry_beyond_the_head(life: Life) -> None:
    """A far-future sequence stops the store, and is named."""
    with life.database() as database:
        row = database.execute("SELECT * FROM history_entry WHERE sequence = 3").fetchone()
        planted = (1_000_000, *row[1:])
        database.execute("INSERT INTO history_entry VALUES (?, ?, ?, ?, ?, ?)", planted)
    with open_as(life) as repository:
        with pytest.raises(LedgerTamperedError, match="number 1000000"):
            repository.store("six", "churn", "v9")
        assert repository.load("churn", "v1") == "five"


def test_the_last_entry_exchanged(life: Life) -> None:
    """The end of the history is the entry that the head sums up, and no other."""
    with life.database() as database:
        database.execute(
            "UPDATE history_entry SET entry = (SELECT entry FROM history_entry WHERE sequence = 2)"
            " WHERE sequence = (SELECT max(sequence) FROM history_entry)"
        )
    with open_as(life) as repository, pytest.raises(LedgerTamperedError):
        repository.store("six", "churn", "v9")


def test_poisoned_nodes(life: Life, tmp_path: Path) -> None:
    """Stored hashes only save work: a wrong one is an error, and proves nothing."""
    client = life.at_first_use(tmp_path / "behind")
    Repository.open(life.root, keyring=KEYRING, settings=client).close()
    with open_as(life) as repository:
        repository.store("six", "churn", "v9")
    with life.database() as database:
        database.execute("UPDATE history_node SET digest = zeroblob(32)")
    with pytest.raises(LedgerTamperedError):
        Repository.open(life.root, keyring=KEYRING, settings=client)
    # Who has seen the newest head needs no proof; who appends needs one.
    with open_as(life) as repository:
        assert repository.load("churn", "v9") == "six"
        with pytest.raises(LedgerTamperedError):
            repository.store("seven", "churn", "v9")


def test_an_older_policy_put_back(life: Life) -> None:
    """What the policy refuses by now is refused, whatever settings lie there."""
    with open_as(life) as repository:
        assert repository.policies.all[0].mode == "strict"
    settings = life.rows[0]["settings"]
    with life.database() as database:
        database.execute("DELETE FROM settings")
        database.executemany("INSERT INTO settings VALUES (?, ?)", settings)
    with open_as(life) as repository:
        # repository.json still has the settings that the head names.
        assert repository.policies.all[0].mode == "strict"
    (life.root / "repository.json").write_bytes(settings[0][1])
    with pytest.raises(RollbackError, match="settings are of version 1"):
        open_as(life)


def test_a_revocation_reaches_every_client_and_cannot_be_undone(tmp_path: Path) -> None:
    """The settings revoke a key, whatever the loader's own keyring says of it."""
    leaked, good = hmac_key(1), ed25519_key(2)
    both = Keyring.of([leaked, good])
    with Repository.create(tmp_path / "r", keyring=withholding(both, good.key_id)) as storing:
        storing.store("by the leaked key", "m", "v1")
    with (
        Repository.open(tmp_path / "r", keyring=both) as loader,
        Repository.open(tmp_path / "r", keyring=withholding(both, leaked.key_id)) as admin,
    ):
        assert loader.load("m") == "by the leaked key"
        [older] = run_sql(admin, "SELECT * FROM settings")
        admin.record_key_change("revoked", leaked.key_id, sign_settings=True)
        admin.change_settings(revoked_keys=(leaked.key_id,))
        with pytest.raises(RevokedKeyError):
            loader.load("m")
        run_sql(admin, "DELETE FROM settings")
        run_sql(admin, "INSERT INTO settings VALUES (?, ?)", *older)
        (admin.root / "repository.json").write_bytes(older[1])
    with pytest.raises(RollbackError):
        Repository.open(tmp_path / "r", keyring=both)


def test_a_policy_changes_while_an_object_is_being_stored(life: Life) -> None:
    """What counts is the policy in the transaction."""
    with open_as(life) as repository, open_as(life) as admin:
        repository.store(range(3), "m", "v1")
        admin.change_settings(policy=PolicySettings(mode="strict", deny=("builtins:range",)))
        with pytest.raises(PolicyError):
            repository.store(range(4), "m", "v1")
        with pytest.raises(PolicyError):
            repository.load("m", "v1")


def test_a_whole_older_repository(life: Life, tmp_path: Path) -> None:
    """Every file genuine and of one moment: only memory tells, and it does."""
    with open_as(life) as repository:
        older = tmp_path / "older"
        repository.close()
        shutil.copytree(life.root, older)
        repository.store("newer", "churn", "v1")
    shutil.rmtree(life.root)
    shutil.copytree(older, life.root)
    with pytest.raises(RollbackError):
        open_as(life)
    with open_as(life, tmp_path / "new") as newcomer:
        assert newcomer.load("churn", "v1") == "five"
