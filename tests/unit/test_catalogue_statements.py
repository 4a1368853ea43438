"""The statements' texts, each held against what SQLAlchemy compiles from the tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement

from sealstore.storage import catalogue
from sealstore.storage.catalogue import chain_rows, changing, listing, map_rows, statements
from sealstore.storage.catalogue.statements import ChainStatements
from sealstore.storage.catalogue.tables import (
    access,
    approval,
    artifact,
    history,
    map_row,
    origin,
    settings,
)
from tests.matrix import each_row

MODULES = (statements, listing, changing, map_rows, chain_rows)
TEXTS: dict[str, str] = {
    name: value
    for module in MODULES
    for name, value in vars(module).items()
    if name.isupper() and type(value) is str
}
DIALECTS = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
}


def bounded(column: Any, cap: str = "cap") -> Any:
    return case((func.length(column) <= bindparam(cap), column))


def columns() -> list[Any]:
    return [bounded(each) if each.name == "envelope" else each for each in artifact.c]


def question(which: Any, *order: Any) -> Any:
    rows = [map_row.alias(f"row_{level}") for level in range(4)]
    found = artifact.alias("found")
    newest = select(found.c.sequence).where(which(found.c))
    newest = newest.order_by(*(each(found.c) for each in order)).limit(literal_column("1"))
    joined: Any = history.head
    for level, each in enumerate(rows):
        joined = joined.outerjoin(each, each.c.position == bindparam(f"position_{level}"))
    joined = joined.outerjoin(artifact, artifact.c.sequence == newest.scalar_subquery())
    return (
        select(
            bounded(history.head.c.envelope, "head_cap"),
            *(bounded(each.c.content, "row_cap") for each in rows),
            *columns(),
        )
        .select_from(joined)
        .where(history.head.c.id == literal_column("1"))
        .limit(literal_column("1"))
    )


def equal(table: Any, *names: str) -> Any:
    return and_(*(table[name] == bindparam(name) for name in names))


def found_in(column: Any) -> Any:
    return func.lower(column).like(bindparam("search"), escape="!")


NEWER = artifact.alias("newer")
REVISION = ("name", "tag", "revision")
MOST: Any = bindparam("most")
ADDED: dict[str, Any] = {
    "ADD_ARTIFACT": insert(artifact),
    "ADD_ORIGIN": insert(origin),
    "ADD_APPROVAL": insert(approval),
}
PLAIN: dict[str, Any] = {
    "NEWEST_OF_NAME": question(lambda c: equal(c, "name"), lambda c: c.sequence.desc()),
    "NEWEST_OF_TAG": question(lambda c: equal(c, "name", "tag"), lambda c: c.revision.desc()),
    "REVISION": question(lambda c: equal(c, *REVISION)),
    "ARTIFACT": select(*columns()).where(equal(artifact.c, "sequence")),
    "NAMES": select(artifact.c.name).distinct().order_by(artifact.c.name),
    "HIGHEST_SEQUENCE": select(func.max(artifact.c.sequence)),
    "REPLACE_ENVELOPE": update(artifact)
    .where(artifact.c.sequence == bindparam("sequence_"))
    .values(key_id=bindparam("key_id"), envelope=bindparam("envelope")),
    "REMOVE_ARTIFACT": delete(artifact).where(equal(artifact.c, *REVISION)),
    "ORIGIN": select(bounded(origin.c.envelope)).where(equal(origin.c, "sequence")),
    "ORIGINS": select(origin.c.sequence),
    "REMOVE_ORIGIN": delete(origin).where(
        origin.c.sequence.in_(select(artifact.c.sequence).where(equal(artifact.c, *REVISION)))
    ),
    "MAP_FROM": select(map_row.c.position, bounded(map_row.c.content))
    .where(map_row.c.position >= bindparam("position"))
    .order_by(map_row.c.position)
    .limit(MOST),
    "COUNT_MAP": select(func.count()).select_from(map_row),
    "SETTINGS": select(bounded(settings.c.envelope)).where(equal(settings.c, "version")),
    "APPROVALS": select(bounded(approval.c.envelope))
    .where(equal(approval.c, "name", "alias", "move"))
    .order_by(approval.c.digest)
    .limit(MOST),
    "REMOVE_APPROVALS": delete(approval).where(
        equal(approval.c, "name", "alias"), approval.c.move >= bindparam("move")
    ),
    "REMOVE_APPROVAL": delete(approval).where(equal(approval.c, "digest")),
}
FILLED: dict[str, tuple[str, Any]] = {
    "MAP_ROWS": (
        map_rows.MAP_ROWS.replace("WANTED", ":value_0, :value_1"),
        select(map_row.c.position, bounded(map_row.c.content)).where(
            map_row.c.position.in_([bindparam("value_0"), bindparam("value_1")])
        ),
    ),
    "PAGE": (
        chain_rows.where(listing.PAGE.replace("COLUMNS", listing.CLAIMS), [listing.AFTER]),
        select(artifact.c.sequence, artifact.c.statement_digest, artifact.c.sha256)
        .where(artifact.c.sequence > bindparam("after"))
        .order_by(artifact.c.sequence)
        .limit(MOST),
    ),
    "LISTING": (
        chain_rows.where(
            listing.LISTING, [*listing.LISTED.values(), listing.IS_NEWEST, listing.BEFORE]
        ),
        select(*columns())
        .where(
            equal(artifact.c, "name", "tag", "format", "actor", "key_id"),
            artifact.c.created >= bindparam("created_from"),
            artifact.c.created < bindparam("created_before"),
            or_(*map(found_in, (artifact.c.name, artifact.c.tag, artifact.c.user_metadata))),
            ~select(NEWER.c.sequence)
            .where(
                NEWER.c.name == artifact.c.name,
                NEWER.c.tag == artifact.c.tag,
                NEWER.c.revision > artifact.c.revision,
            )
            .exists(),
            artifact.c.sequence < bindparam("before"),
        )
        .order_by(artifact.c.sequence.desc())
        .limit(MOST),
    ),
    "COUNT": (
        chain_rows.where(listing.COUNT, ["artifact.name = :name"]),
        select(func.count()).select_from(artifact).where(equal(artifact.c, "name")),
    ),
}


def chain_expressions(chain: Any) -> dict[str, Any]:
    entry, node, head = chain.entry.c, chain.node.c, chain.head.c
    rows = select(*(bounded(each) if each.name == "entry" else each for each in entry))
    return {
        "head": select(bounded(head.envelope)).where(equal(head, "id")),
        "node": select(bounded(node.digest)).where(equal(node, "level", "node_index")),
        "newest_sequence": select(func.max(entry.sequence)),
        "entries": rows.where(
            entry.sequence > bindparam("after"), entry.sequence <= bindparam("last")
        )
        .order_by(entry.sequence)
        .limit(MOST),
        "NEWEST_ROWS": rows.where(literal_column("CONDITIONS"))
        .order_by(entry.sequence.desc())
        .limit(MOST),
        "STRAYS": select(entry.sequence)
        .where(or_(entry.sequence < bindparam("first"), entry.sequence > bindparam("last")))
        .order_by(entry.sequence)
        .limit(MOST),
        "NODES": select(node.node_index, bounded(node.digest))
        .where(
            equal(node, "level"),
            node.node_index >= bindparam("start"),
            node.node_index < bindparam("stop"),
        )
        .order_by(node.node_index),
        "COUNT_NODES": select(func.count()).select_from(chain.node),
        "add_entry": insert(chain.entry),
        "add_node": insert(chain.node),
        "remove_head": delete(chain.head),
        "add_head": insert(chain.head),
    }


# What SQLAlchemy adds that says nothing: names of results, the default of CASE, for PostgreSQL the
# types of parameters (their columns have the collation), and that no row is passed over.
ADDS_NOTHING = re.compile(
    r" AS (anon|max|count)_\d+| ELSE NULL"
    r'|::[A-Z]+( COLLATE "C")?'
    r"| (LIMIT -1 )?OFFSET (0|:param_\d+)"
)


def words(sql: str) -> list[str]:
    plain = ADDS_NOTHING.sub("", " ".join(sql.split()))
    # It may not call a value of an UPDATE's condition as it calls a column.
    return re.findall(r"[\w:.]+|[^\s\w]", plain.replace(":sequence_", ":sequence"))


def compiled(expression: ClauseElement, dialect: str) -> list[str]:
    return words(str(expression.compile(dialect=DIALECTS[dialect])))


@each_row("dialect", DIALECTS)
@each_row("name", [*PLAIN, *ADDED])
def test_a_statement_is_what_sqlalchemy_makes_of_the_tables(name: str, dialect: str) -> None:
    """Text and tables cannot drift, on either database."""
    assert words(TEXTS[name]) == compiled((PLAIN | ADDED)[name], dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", FILLED)
def test_a_statement_is_the_same_when_it_is_filled_in(name: str, dialect: str) -> None:
    """Conditions, columns and lists of values are put where SQLAlchemy puts them."""
    text, expression = FILLED[name]
    assert words(text) == compiled(expression, dialect)


@each_row("dialect", DIALECTS)
@each_row("chain", ["history", "access"])
@each_row("name", chain_expressions(history))
def test_a_statement_about_a_chain_is_what_sqlalchemy_makes(
    name: str, chain: Any, dialect: str
) -> None:
    """Both chains' texts name their own tables only."""
    expressions = chain_expressions({"history": history, "access": access}[chain])
    text = getattr(ChainStatements.of(chain), name, None) or TEXTS[name].replace("CHAIN", chain)
    assert words(text) == compiled(expressions[name], dialect)


@pytest.mark.parametrize(
    ("name", "table", "key", "changed"),
    [
        ("PUT_MAP", map_row, "position", "content"),
        ("PUT_SETTINGS", settings, "version", "envelope"),
    ],
)
@pytest.mark.parametrize("dialect", [sqlite, postgresql])
def test_what_replaces_a_row_is_what_sqlalchemy_makes(
    name: str, table: Any, key: str, changed: str, dialect: Any
) -> None:
    """An insertion that gives way to nothing but a row with the same key."""
    made = dialect.insert(table)
    made = made.on_conflict_do_update(index_elements=[key], set_={changed: made.excluded[changed]})
    assert words(TEXTS[name]) == compiled(made, dialect.__name__.rpartition(".")[2])


def test_no_statement_is_left_out() -> None:
    """A statement that is added comes with its expression, in whichever module it stands."""
    parts = {"ARTIFACT_COLUMNS", "CLAIMS", "AFTER", "BEFORE", "IS_NEWEST", "IS_EVENT", "_QUESTION"}
    about_chains = set(chain_expressions(history))
    of_a_chain = set(ChainStatements.__slots__)
    assert of_a_chain < about_chains
    assert set(TEXTS) - parts == {
        *PLAIN, *ADDED, *FILLED, "PUT_MAP", "PUT_SETTINGS", *(about_chains - of_a_chain),
    }  # fmt: skip


def test_statements_about_rows_stand_in_these_modules_only() -> None:
    """Others ask for the schema and the settings of a connection at most."""
    folder = Path(catalogue.__file__).parent
    others = {path.stem for path in folder.glob("*.py")} - {
        module.__name__.rpartition(".")[2] for module in MODULES
    }
    about_rows = re.compile(r"\b(FROM|INTO|UPDATE|JOIN) (?!alembic|main|unnest|shipped|pg_)[a-z{]")
    for name in others:
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        assert [line for line in text.splitlines() if about_rows.search(line)] == [], name
