"""Text that a terminal would obey: names refuse it, metadata carries it, errors escape it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from sealstore.errors import InvalidNameError, SealstoreError
from sealstore.repository.artifact import Artifact
from sealstore.repository.facade import Repository
from tests.sealstore_fixtures import change_row, payload_path, statement_path

pytestmark = pytest.mark.usefixtures("bystander")

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]0;title\x07",
    "\x9b31m",
    "line\r\nover\x08writes",
    "\u202egnp.elbatucexe\u202c",
    "\u200bzero\ufeffwidth",
    "\u2028\u2029",
    "\x00nul",
    "[bold red]markup[/bold red]",
    "[link=file:///etc/passwd]x[/link]",
    "`rm -rf ~` $(id) ; | & %s {0} ${HOME}",
    "<script>alert(1)</script>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_with_terminal_markup(repository: Repository, text: str) -> None:
    """Refused, and the refusal itself is harmless."""
    for arguments in ((text, "v1"), ("m", text)):
        for attempt in (
            lambda a=arguments: repository.store(1, *a),
            lambda a=arguments: repository.load(*a),
            lambda a=arguments: repository.remove(*a),
        ):
            with pytest.raises(InvalidNameError) as refusal:
                attempt()
            assert str(refusal.value).isprintable()
            assert str(refusal.value).isascii()
    assert not (repository.root / "statements" / "m").exists()


@pytest.mark.parametrize("text", HOSTILE)
def test_metadata_and_actors_with_terminal_markup(repository: Repository, text: str) -> None:
    """They are the user's own: kept exactly, signed, and found again."""
    stored = repository.store(1, "m", "v1", metadata={text: [text]}, actor=text)
    again = repository.get("m")
    assert again.metadata == {text: [text]}
    assert again.stored_by.actor == text
    assert repository.load("m") == 1
    assert [found.ref for found in repository.list(actor=text).artifacts] == [stored.ref]
    assert repository.history("m")[0].by.actor == text
    assert statement_path(repository, stored).name == "1.json"


@pytest.mark.parametrize("text", HOSTILE)
def test_refusals_of_an_artifact_with_terminal_markup(repository: Repository, text: str) -> None:
    """No error about it repeats what it carries, and none is more than printable text."""
    stored = repository.store(1, "m", "v1", metadata={text: text}, actor=text)
    payload_path(repository, stored).unlink()
    errors: list[SealstoreError] = []
    for read in (repository.load, repository.verify):
        with pytest.raises(SealstoreError) as refusal:
            read("m")
        errors.append(refusal.value)
    change_row(repository, stored, actor=text + "!")
    with pytest.raises(SealstoreError) as refusal:
        repository.load("m")
    errors.append(refusal.value)
    errors += [refused.error for refused in repository.list().refused]
    assert len(errors) == 4
    for error in errors:
        assert str(error).isprintable()
        assert text not in str(error)


@pytest.mark.parametrize("column", ["name", "tag", "format", "sha256", "key_id"])
@pytest.mark.parametrize("text", HOSTILE[:3])
def test_a_row_with_terminal_markup(
    repository: Repository, victim: Artifact, column: str, text: str
) -> None:
    """What an attacker writes into the catalogue does not reach a reader's terminal by an error."""
    change_row(repository, victim, **{column: text})
    page = repository.list()
    assert len(page.refused) == 1
    assert str(page.refused[0].error).isprintable()
    assert text not in str(page.refused[0].error)


def test_a_signed_environment_with_terminal_markup(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning shows what the storing machine called its versions, escaped."""
    with monkeypatch.context() as patch:
        patch.setattr("sealstore.repository.environment.python_version", lambda: "\x1b[31m9.9")
        patch.setattr("sealstore.repository.packages.packages_of", lambda _: {"\x1b[2J": "\x07"})
        repository.store(1, "m", "v1")
    caught: list[Any]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert repository.load("m") == 1
    assert len(caught) == 1
    assert str(caught[0].message).isprintable()
    assert "\\x1b[31m9.9" in str(caught[0].message)
