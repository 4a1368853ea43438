"""What belongs to a process, and what holds keys, is neither pickled nor copied."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from sealstore.errors import NotSerialisableError
from sealstore.keys.algorithms import Ed25519Private
from sealstore.keys.writing import _entry_of
from sealstore.repository.assembly import GivenKeyring
from sealstore.repository.facade import Repository
from sealstore.storage.catalogue.postgresql import PostgresqlEngine
from tests.matrix import each_row
from tests.sealstore_fixtures import hmac_key

HELD: dict[str, Callable[[Repository], object]] = {
    "repository": lambda repository: repository,
    "parts": lambda repository: repository.parts,
    "state keeper": lambda repository: repository.parts.state,
    "state": lambda repository: repository.state,
    "keyring": lambda repository: repository.keyring,
    "given keyring": lambda repository: GivenKeyring(repository.keyring),
    "key source": lambda repository: repository.settings.key_source(),
    "key": lambda _: hmac_key(),
    "secret": lambda _: hmac_key().material,
    "private key": lambda _: Ed25519Private.generate(),
    "trust store": lambda repository: repository.settings.trust_store(),
    "access log": lambda repository: repository.access_log,
    "catalogue": lambda repository: repository.catalogue,
    "server": lambda _: PostgresqlEngine("postgresql://nobody@localhost/none"),
    "engine": lambda repository: repository.catalogue.engine,
}


@each_row("name", list(HELD))
def test_it_is_neither_pickled_nor_copied(repository: Repository, name: str) -> None:
    """The error is a TypeError that says what to do in each worker; nothing secret is in a repr."""
    held = HELD[name](repository)
    for attempt in (
        copy.copy,
        copy.deepcopy,
        *(lambda obj, protocol=protocol: pickle.dumps(obj, protocol) for protocol in range(6)),
        pickle._dumps,  # type: ignore[attr-defined]
        lambda obj: copy.deepcopy([obj]),
    ):
        refused: Any = attempt
        with pytest.raises(TypeError, match="each worker") as refusal:
            refused(held)
        assert isinstance(refusal.value, NotSerialisableError)
    for key in repository.keyring:
        assert repr(key.material.to_bytes()) not in repr(held)
        assert key.material.to_bytes().hex() not in repr(held)


def test_a_repository_inside_of_an_object_is_not_stored(repository: Repository) -> None:
    """The refusal is the same at a store."""
    with pytest.raises(NotSerialisableError, match="A Repository is neither pickled"):
        repository.store({"to": repository}, "a", "1")


def test_an_entry_of_a_keyring_file_shows_no_secret() -> None:
    """Not even where a debugger or a traceback shows what was decoded."""
    key = hmac_key()
    entry = _entry_of(key)
    assert key.key_id in repr(entry)
    assert entry.material not in repr(entry)
