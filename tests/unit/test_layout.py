"""The repository's folder: signed settings, the mirror, and links that lead nowhere."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealstore import limits
from sealstore.errors import (
    EnvelopeFormatError,
    KeyRoleError,
    RepositoryExistsError,
    RepositoryLayoutError,
    RepositoryNotFoundError,
    RevokedKeyError,
    SignatureInvalidError,
    StorageError,
    UnknownKeyError,
    UsageError,
)
from sealstore.keys.keyring import Keyring, Role, State
from sealstore.names import request
from sealstore.signed.drafting import seal_statement
from sealstore.signed.envelope import (
    SETTINGS_PAYLOAD_TYPE,
    STATEMENT_PAYLOAD_TYPE,
    read_unverified,
    seal,
)
from sealstore.signed.settings import PolicySettings, RepositorySettings, open_settings
from sealstore.storage.creation import (
    exclusive_empty_folder,
    make_statements_folder,
    new_repository_id,
    remove_creation_leftovers,
    require_repository_id,
)
from sealstore.storage.layout import REPOSITORY_FILE, read_settings_file
from sealstore.storage.mirror_writing import mirror_path, write_mirror
from tests.matrix import each_row
from tests.sealstore_fixtures import (
    OTHER_REPOSITORY_ID,
    REPOSITORY_ID,
    ed25519_key,
    hmac_key,
    open_descriptors,
    roles,
    scope,
    snapshot,
    statement,
    write_settings,
)

SETTINGS = RepositorySettings(
    repository=REPOSITORY_ID,
    version=1,
    created="2026-01-01T00:00:00.000000Z",
    immutable_tags=True,
    policy=PolicySettings(),
)
KEYRING = Keyring.of([hmac_key()])
REF = request("churn", "2026-11", 3)


# ── repository.json ──────────────────────────────────────────────────────────


def test_settings_come_back_as_they_were_signed(tmp_path: Path) -> None:
    """Written, synced, read and verified; a text editor's last line feed does not matter."""
    for settings in (SETTINGS, msgspec.structs.replace(SETTINGS, version=2, immutable_tags=False)):
        write_settings(tmp_path, settings, hmac_key())
        assert open_settings(read_settings_file(tmp_path), KEYRING).document == settings
    path = tmp_path / REPOSITORY_FILE
    assert path.read_bytes().endswith(b"}\n")
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert open_settings(read_settings_file(tmp_path), KEYRING).document.version == 2
    assert list(tmp_path.iterdir()) == [path]


def test_repository_ids_are_random() -> None:
    """No two repositories have one id."""
    first, second = new_repository_id(), new_repository_id()
    assert first != second
    require_repository_id(first)
    for other in ("", "x" * 32, REPOSITORY_ID.upper(), REPOSITORY_ID + "\n", REPOSITORY_ID[1:]):
        with pytest.raises(UsageError, match="32 hexadecimal digits"):
            require_repository_id(other)


@pytest.mark.invariant(4)
@pytest.mark.parametrize(
    ("keyring", "refusal"),
    [
        (Keyring.of([]), UnknownKeyError),
        (Keyring.of([ed25519_key()]), UnknownKeyError),
        (Keyring.of([hmac_key(state=State.REVOKED)]), RevokedKeyError),
        (Keyring.of([hmac_key(roles=roles(Role.STORE, Role.ACCESS))]), KeyRoleError),
        (Keyring.of([hmac_key(scope=scope(OTHER_REPOSITORY_ID))]), KeyRoleError),
    ],
)
def test_settings_need_an_admin_key_for_this_repository(
    keyring: Keyring, refusal: type[Exception]
) -> None:
    """Who may store may not say what the repository is."""
    envelope = seal(SETTINGS_PAYLOAD_TYPE, msgspec.json.encode(SETTINGS), hmac_key())
    with pytest.raises(refusal):
        open_settings(envelope, keyring)


def test_a_statement_is_no_settings() -> None:
    """A genuine envelope of another type is refused."""
    with pytest.raises(EnvelopeFormatError, match="of another type"):
        open_settings(seal_statement(statement(), hmac_key()), KEYRING)
    relabelled = seal_statement(statement(), hmac_key()).replace(
        STATEMENT_PAYLOAD_TYPE.encode(), SETTINGS_PAYLOAD_TYPE.encode()
    )
    with pytest.raises(SignatureInvalidError):
        open_settings(relabelled, KEYRING)


@each_row(
    "changes",
    [
        {"layout": 2},
        {"layout": 0},
        {"revokedKeys": ["x"]},
        {"revokedKeys": ["0" * 32] * 2},
        {"protectedAliases": {"production": 0}},
        {"protectedAliases": {"latest": 1}},
        {"protectedAliases": {"../x": 1}},
        {"layout": "1"},
        {"repository": "x" * 32},
        {"repository": None},
        {"version": 0},
        {"created": "now"},
        {"immutableTags": 1},
        {"immutableTags": None},
        {"unknown": 1},
    ],
)
def test_settings_that_do_not_decode_strictly_are_refused(changes: dict[str, Any]) -> None:
    """A later layout, unknown fields and wrong types are not guessed, though they are signed."""
    document = json.loads(msgspec.json.encode(SETTINGS)) | changes
    envelope = seal(SETTINGS_PAYLOAD_TYPE, msgspec.json.encode(document), hmac_key())
    with pytest.raises(RepositoryLayoutError, match="install the newest release"):
        open_settings(envelope, KEYRING)


def test_a_folder_without_repository_json_is_no_repository(tmp_path: Path) -> None:
    """Also where the folder is absent, or a file."""
    (tmp_path / "file").touch()
    for root in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(RepositoryNotFoundError, match="sealstore init"):
            read_settings_file(root)


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_huge(path: Path) -> None:
    os.truncate(path, limits.MAX_SETTINGS_BYTES + 2)


def make_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("make", [make_link, make_folder, make_fifo, make_huge, make_circle])
def test_a_repository_json_that_is_no_small_file_is_refused(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """A link, a folder, a FIFO and a huge file are errors of the family, and cost nothing."""
    write_settings(tmp_path, SETTINGS, hmac_key())
    make(tmp_path / REPOSITORY_FILE)
    descriptors = open_descriptors()
    with pytest.raises(RepositoryLayoutError):
        read_settings_file(tmp_path)
    assert open_descriptors() == descriptors


def test_settings_that_cannot_be_written_stay_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole new file takes the place of the old one, or nothing changes."""
    write_settings(tmp_path, SETTINGS, hmac_key())
    before = snapshot(tmp_path)
    for call in ("rename", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(f"os.{call}", failing)
            with pytest.raises(StorageError, match="No space left"):
                write_settings(tmp_path, msgspec.structs.replace(SETTINGS, version=2), hmac_key())
        assert snapshot(tmp_path) == before


def failing(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# ── the folder ───────────────────────────────────────────────────────────────


def test_an_absent_or_empty_folder_can_become_a_repository(tmp_path: Path) -> None:
    """So can one in which an interrupted creation left its files."""
    root = tmp_path / "a" / "b"
    with exclusive_empty_folder(root):
        assert root.is_dir()
    make_statements_folder(root)
    (root / "objects").mkdir()
    (root / "lost+found").mkdir()
    for name in ("catalogue.sqlite3", "access.sqlite3-wal", f".staging-{'0' * 32}"):
        (root / name).touch()
    with exclusive_empty_folder(root):
        remove_creation_leftovers(root)
    assert sorted(path.name for path in root.iterdir()) == ["lost+found", "objects", "statements"]


@pytest.mark.parametrize(
    "name",
    ["README", "objects/ab", "statements/x", "catalogue.sqlite3.bak", ".staging-x", ".hidden"],
)
def test_a_folder_with_anything_in_it_is_left_alone(tmp_path: Path, name: str) -> None:
    """Nobody's files are taken for a repository's."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    before = snapshot(tmp_path)
    with (
        pytest.raises(RepositoryExistsError, match=r"restore repository\.json from a backup"),
        exclusive_empty_folder(tmp_path),
    ):
        pass
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["objects", "statements"])
def test_a_folder_of_the_repository_that_is_none_is_left_alone(tmp_path: Path, name: str) -> None:
    """A file or a link in a folder's place is not written through."""
    (tmp_path / "empty").mkdir()
    for plant in (Path.touch, lambda path: path.symlink_to(tmp_path / "empty")):
        root = tmp_path / "root"
        root.mkdir()
        plant(root / name)
        with (
            pytest.raises(RepositoryExistsError, match="not empty"),
            exclusive_empty_folder(root),
        ):
            pass
        (root / name).unlink()
        root.rmdir()
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_repository_is_not_made_twice(tmp_path: Path) -> None:
    """Whatever lies in repository.json, even nothing, there is one."""
    (tmp_path / REPOSITORY_FILE).touch()
    with (
        pytest.raises(RepositoryExistsError, match="a repository here already"),
        exclusive_empty_folder(tmp_path),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """A file in the way, of the folder or of one inside, is told."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match="cannot be made"),
        exclusive_empty_folder(tmp_path / "file" / "x"),
    ):
        pass
    (tmp_path / "statements").touch()
    with pytest.raises(StorageError, match="folder for statements cannot be made"):
        make_statements_folder(tmp_path)
    (tmp_path / "catalogue.sqlite3").mkdir()
    with pytest.raises(StorageError, match="cannot be removed"):
        remove_creation_leftovers(tmp_path)


# ── the mirror ───────────────────────────────────────────────────────────────

ENVELOPE = b'{"an":"envelope"}'


@pytest.fixture
def mirrored(tmp_path: Path) -> Path:
    make_statements_folder(tmp_path)
    return tmp_path / mirror_path(REF)


def test_an_envelope_is_mirrored_under_name_tag_and_revision(
    tmp_path: Path, mirrored: Path
) -> None:
    """One file for each statement, readable, with nothing beside it."""
    assert mirror_path(REF) == "statements/churn/2026-11/3.json"
    assert write_mirror(tmp_path, REF, ENVELOPE) is False
    assert mirrored.read_bytes() == ENVELOPE + b"\n"
    assert stat.S_IMODE(mirrored.stat().st_mode) & 0o007 == 0
    assert list(mirrored.parent.iterdir()) == [mirrored]


def test_a_mirrored_envelope_is_never_overwritten(tmp_path: Path, mirrored: Path) -> None:
    """What is in the way is moved aside and told; only a new signature replaces."""
    write_mirror(tmp_path, REF, b"planted")
    assert write_mirror(tmp_path, REF, ENVELOPE) is True
    assert mirrored.read_bytes() == ENVELOPE + b"\n"
    [aside] = mirrored.parent.glob("3.json.set-aside-*")
    assert aside.read_bytes() == b"planted\n"
    assert write_mirror(tmp_path, REF, b"signed again", replace=True) is False
    assert mirrored.read_bytes() == b"signed again\n"
    assert len(list(mirrored.parent.iterdir())) == 2


def test_a_planted_link_or_folder_in_the_mirrors_place_is_moved_aside(
    tmp_path: Path, mirrored: Path
) -> None:
    """Nothing is written through it."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    mirrored.parent.mkdir(parents=True)
    plants: list[Callable[[], None]] = [lambda: mirrored.symlink_to(outside), mirrored.mkdir]
    for plant in plants:
        plant()
        assert write_mirror(tmp_path, REF, ENVELOPE) is True
        assert mirrored.read_bytes() == ENVELOPE + b"\n"
        mirrored.unlink()
    mirrored.symlink_to(outside)
    write_mirror(tmp_path, REF, ENVELOPE, replace=True)
    assert not mirrored.is_symlink()
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("segment", ["statements", "statements/churn", "statements/churn/2026-11"])
@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("replace", [False, True])
def test_a_planted_link_on_the_way_is_not_followed(
    tmp_path: Path, segment: str, dangling: bool, replace: bool
) -> None:
    """Nothing is written outside of the repository, whichever folder is a link."""
    outside = tmp_path / "outside"
    if not dangling:
        (outside / "churn" / "2026-11").mkdir(parents=True)
        (outside / "2026-11").mkdir()
    root = tmp_path / "repository"
    (root / segment).parent.mkdir(parents=True)
    (root / segment).symlink_to(outside)
    before = snapshot(tmp_path)
    with pytest.raises(StorageError, match="cannot be mirrored"):
        write_mirror(root, REF, ENVELOPE, replace=replace)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("call", ["fsync", "link", "open"])
def test_a_mirror_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, mirrored: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A full disk is a StorageError, without a half-written file."""
    descriptors = open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", failing)
        with pytest.raises(StorageError, match="No space left"):
            write_mirror(tmp_path, REF, ENVELOPE)
    assert not mirrored.exists()
    assert not [path for path in (tmp_path / "statements").rglob("*") if path.is_file()]
    assert open_descriptors() == descriptors


def test_what_vanishes_before_it_is_moved_aside_is_no_error(
    tmp_path: Path, mirrored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may have tidied up."""
    write_mirror(tmp_path, REF, b"planted")
    real_rename = os.rename

    def rename(*arguments: Any, **named: Any) -> None:
        mirrored.unlink()
        real_rename(*arguments, **named)

    monkeypatch.setattr("os.rename", rename)
    assert write_mirror(tmp_path, REF, ENVELOPE) is True
    assert mirrored.read_bytes() == ENVELOPE + b"\n"


def test_the_settings_file_is_an_envelope(tmp_path: Path) -> None:
    """Signed by the key that it names, of its own type."""
    write_settings(tmp_path, SETTINGS, hmac_key())
    part = read_unverified(read_settings_file(tmp_path))
    assert (part.payload_type, part.key_id) == (SETTINGS_PAYLOAD_TYPE, hmac_key().key_id)
    assert json.loads(part.payload)["immutableTags"] is True
