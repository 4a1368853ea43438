"""store, export, remove: objects in, payloads out."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import joblib
import pytest

from sealstore.repository.facade import Repository
from tests.command_line import FORBIDDEN, HOSTILE, Site, program
from tests.sealstore_fixtures import ed25519_key, payload_path, replace_payload, run_sql, snapshot

MODULE = """
import collections
import sys
print("this module prints")
class Holder:
    class Inner:
        model = {"weights": [1.5, 2.5]}
thing = {"answer": 42}
large = [0.0] * 10_000
unpicklable = lambda: None
class Loud:
    def __reduce__(self):
        print("so does this reducer")
        return (collections.OrderedDict, ())
loud = Loud()
"""


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    name = f"models_of_{os.getpid()}"
    (folder / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


# ── store ────────────────────────────────────────────────────────────────────


def test_an_object_is_stored_by_its_import_path(
    module: str, site: Site, repository: Repository
) -> None:
    """The attribute of a module in the current folder is stored, with metadata and actor."""
    metadata = '{"auc": 0.93, "features": ["a", "b"], "n": null}'
    ran = site.run(
        *("store", f"{module}:Holder.Inner.model", "churn", "1"),
        *("--metadata", metadata, "--actor", "nightly"),
    )
    artifact = repository.get("churn", "1")
    assert ran.out.startswith("stored churn:1@1: ")
    assert artifact.key_id in ran.out
    assert artifact.metadata == json.loads(metadata)
    assert artifact.stored_by.actor == "nightly"
    assert repository.load("churn", "1") == {"weights": [1.5, 2.5]}


def test_only_the_result_is_on_standard_output(module: str, site: Site) -> None:
    """What the module and the object's reducers print goes to standard error."""
    ran = site.run_apart("store", f"{module}:loud", "x", "1", "--json")
    assert ran.json["revision"] == 1
    assert "this module prints" in ran.err
    assert "so does this reducer" in ran.err


@pytest.mark.parametrize("compress", ["3", "zlib", "gzip:9", "lzma:1"])
def test_payloads_can_be_compressed(
    compress: str, module: str, site: Site, repository: Repository
) -> None:
    """`--compress` takes what joblib takes: a level, a method, or both."""
    site.run("store", f"{module}:large", "x", "1", "--compress", compress)
    assert repository.get("x").size < 8_000
    assert repository.load("x") == [0.0] * 10_000


@pytest.mark.parametrize(
    "arguments",
    [
        ["store", "no_colon", "x", "1"],
        ["store", "module:", "x", "1"],
        ["store", "../module:x", "x", "1"],
        ["store", "module:a b", "x", "1"],
        ["store", "{module}:thing", "../x", "1"],
        ["store", "{module}:thing", "x", "LATEST"],
        ["store", "{module}:thing", "x"],
        ["store", "{module}:thing", "x", "1", "--compress", "10"],
        ["store", "{module}:thing", "x", "1", "--compress", "zstd"],
        ["store", "{module}:thing", "x", "1", "--compress", "zlib:x"],
        ["store", "{module}:thing", "x", "1", "--metadata", "[1]"],
        ["store", "{module}:thing", "x", "1", "--metadata", "{"],
        ["store", "{module}:thing", "x", "1", "--metadata", '{"a": 1, "a": 2}'],
        ["store", "{module}:thing", "x", "1", "--metadata", '{"a": NaN}'],
        ["store", "{module}:thing", "x", "1", "--metadata", '{"a": "\udc80"}'],
        ["store", "{module}:thing", "x", "1", "--metadata", "[" * 10_000],
        ["store", "{module}:thing", "x", "1", "--actor", "a" * 257],
    ],
    ids=lambda arguments: ascii(" ".join(arguments[1:]))[:60],
)
def test_impossible_stores_are_usage_errors(
    arguments: list[str], module: str, site: Site, repository: Repository
) -> None:
    """A request that can never succeed exits with 2 and stores nothing."""
    ran = site.run(*(part.replace("{module}", module) for part in arguments), code=2)
    assert ran.out == ""
    assert repository.list().artifacts == []


@pytest.mark.parametrize(
    ("import_path", "reason"),
    [
        ("no_such_module_at_all:x", "ModuleNotFoundError"),
        ("{module}:missing", "AttributeError"),
        ("{module}:Holder.missing", "AttributeError"),
        ("exits:x", "SystemExit"),
        ("hostile:x", r"RuntimeError: a\x1b[31m"),
    ],
)
def test_an_import_that_fails_is_told(
    import_path: str, reason: str, module: str, site: Site, repository: Repository
) -> None:
    """Whatever a module raises becomes one escaped line, and nothing is stored."""
    Path("exits.py").write_text("raise SystemExit(0)")
    Path("hostile.py").write_text(f"raise RuntimeError({HOSTILE!r})")
    before = list(sys.path)
    ran = site.run("store", import_path.replace("{module}", module), "x", "1", code=1)
    assert reason in ran.err
    assert not set(FORBIDDEN) & set(ran.err)
    assert repository.list().artifacts == []
    assert sys.path == before


def test_what_cannot_be_pickled_is_refused(module: str, site: Site, repository: Repository) -> None:
    """An object that cannot be stored leaves nothing behind."""
    before = snapshot(repository.root / "objects")
    site.run("store", f"{module}:unpicklable", "x", "1", code=1)
    assert snapshot(repository.root / "objects") == before


# ── export ───────────────────────────────────────────────────────────────────


@pytest.fixture
def stored(repository: Repository) -> Repository:
    repository.store({"n": 1}, "x", "1")
    repository.store({"n": 2}, "x", "1")
    return repository


def test_an_exported_payload_is_what_joblib_loads(
    stored: Repository, site: Site, tmp_path: Path
) -> None:
    """The file has the payload's bytes, is private, and is there at once."""
    target = tmp_path / "out.joblib"
    ran = site.run("export", "x", "1", target)
    assert "exported x:1@2" in ran.err
    assert ran.out == ""
    assert target.read_bytes() == payload_path(stored, stored.get("x")).read_bytes()
    assert target.stat().st_mode & 0o777 == 0o600
    assert joblib.load(target) == {"n": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("keys", "out.joblib", "repository"),
    ]


def test_export_takes_a_revision_and_the_latest(
    stored: Repository, site: Site, tmp_path: Path
) -> None:
    """An older revision, and whatever is the latest, can be exported."""
    site.run("export", "x", "1", tmp_path / "old", "--revision", "1")
    site.run("export", "x", "latest", tmp_path / "new")
    assert joblib.load(tmp_path / "old") == {"n": 1}
    assert joblib.load(tmp_path / "new") == {"n": 2}
    assert stored.id


def test_export_to_standard_output_is_the_payload_alone(stored: Repository, site: Site) -> None:
    """'-' writes the payload's bytes to a pipe, and nothing else."""
    done = subprocess.run(
        program("export", "x", "1", "-"), env=site.environment(), capture_output=True, check=True
    )
    assert joblib.load(io.BytesIO(done.stdout)) == {"n": 2}
    assert done.stdout == payload_path(stored, stored.get("x")).read_bytes()
    assert site.run("export", "x", "1", "-").out == done.stdout.decode(errors="replace")


def test_a_payload_is_not_written_to_a_terminal(stored: Repository, site: Site) -> None:
    """A payload may hold anything, terminal sequences too."""
    code, shown = site.run_at_terminal("export", "x", "1", "-")
    assert code == 2
    assert "not for a terminal" in shown
    assert stored.id


def test_export_replaces_a_file_only_when_forced(
    stored: Repository, site: Site, tmp_path: Path
) -> None:
    """A file, or a link, that is there stays unless `--force` says otherwise."""
    target, link = tmp_path / "mine", tmp_path / "link"
    target.write_text("mine")
    link.symlink_to(target)
    for there in (target, link):
        assert "--force" in site.run("export", "x", "1", there, code=1).err
    assert target.read_text() == "mine"
    site.run("export", "x", "1", link, "--force")
    assert not link.is_symlink()
    assert target.read_text() == "mine"
    assert joblib.load(link) == {"n": 2}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert stored.id


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_export_works_where_there_are_no_hard_links(
    force: list[str],
    stored: Repository,
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file system without hard links gets the file by renaming, over nothing that is there."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "out"
    site.run("export", "x", "1", target, *force)
    assert joblib.load(target) == {"n": 2}
    site.run("export", "x", "1", target, code=1)
    assert stored.id


def test_export_into_a_place_that_cannot_be_written_is_told(
    stored: Repository, site: Site, tmp_path: Path
) -> None:
    """A missing folder, a folder in the file's place: refused with the path."""
    missing = tmp_path / "no" / "such" / "file"
    assert str(missing) in site.run("export", "x", "1", missing, code=1).err
    folder = tmp_path / "folder"
    folder.mkdir()
    site.run("export", "x", "1", folder, "--force", code=1)
    assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert stored.id


def test_an_unexpected_refusal_of_a_link_is_told(
    stored: Repository, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a file system that has no links is worked around; a full one is not."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    ran = site.run("export", "x", "1", tmp_path / "out", code=1)
    assert "No space left" in ran.err
    assert not (tmp_path / "out").exists()
    assert stored.id


def test_nothing_is_exported_into_the_repository(stored: Repository, site: Site) -> None:
    """An export cannot overwrite a payload, by no name that leads there."""
    before = snapshot(site.repository / "objects")
    victim = payload_path(stored, stored.get("x"))
    site.run("export", "x", "1", victim, "--force", code=2)
    assert snapshot(site.repository / "objects") == before


@pytest.mark.invariant(1)
def test_a_changed_payload_is_not_exported(stored: Repository, site: Site, tmp_path: Path) -> None:
    """What does not verify does not leave the repository."""
    path = payload_path(stored, stored.get("x"))
    replace_payload(path, bytes(path.stat().st_size))
    site.run("export", "x", "1", tmp_path / "out", code=1)
    assert not (tmp_path / "out").exists()


# ── remove ───────────────────────────────────────────────────────────────────


def test_a_removal_without_a_terminal_needs_yes(stored: Repository, site: Site) -> None:
    """Nobody can be asked in a script: without `--yes` nothing is removed, exit code 2."""
    assert "--yes" in site.run("remove", "x", "1", code=2).err
    assert len(stored.list().artifacts) == 2


def test_a_tag_is_removed(stored: Repository, site: Site) -> None:
    """All revisions of a tag, or one of them, and the history tells who did it."""
    ran = site.run("remove", "x", "1", "--revision", "1", "--yes", "--actor", "janitor")
    assert ran.out == "removed x:1@1\n"
    removed = site.run("remove", "x", "1", "--yes", "--json").json
    assert removed == {"removed": [{"name": "x", "tag": "1", "revision": 2}]}
    assert [entry.by.actor for entry in stored.history(limit=2)][1] == "janitor"
    assert stored.list().artifacts == []


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, 2), ("y\n", 0, 0)])
def test_a_removal_at_a_terminal_asks(
    answer: str, code: int, left: int, stored: Repository, site: Site
) -> None:
    """At a terminal the number of revisions is told, and the answer counts."""
    ended, shown = site.run_at_terminal("remove", "x", "1", answer=answer)
    assert "Remove x:1 (2 revisions)?" in shown
    assert ended == code
    assert len(stored.list().artifacts) == left


def test_removing_nothing_is_an_error(stored: Repository, site: Site) -> None:
    """What is not there cannot be removed, and nobody is asked about it."""
    site.run("remove", "y", "1", code=1)
    site.run("remove", "x", "1", "--revision", "9", "--yes", code=1)
    site.run("remove", "x", "latest", "--yes", code=2)
    assert len(stored.list().artifacts) == 2


def test_a_damaged_row_can_be_removed(stored: Repository, site: Site) -> None:
    """A row that is refused can be taken out by name and tag."""
    run_sql(stored, "UPDATE artifact SET envelope = x'00' WHERE revision = 2")
    site.run("list", code=1)
    site.run("remove", "x", "1", "--revision", "2", "--yes")
    site.run("list")


def test_a_verify_only_keyring_stores_and_removes_nothing(
    stored: Repository, module: str, site: Site
) -> None:
    """Without a key that signs, what changes the repository is refused with what to do."""
    site.set_keys(ed25519_key(2), *stored.keyring)
    site.run("resign", "--key", next(iter(stored.keyring)).key_id)
    site.run("resign", "--settings")
    public = site.keyring.parent / "public.json"
    site.run("keys", "export", public)
    assert (
        "keys generate"
        in site.run(*("--keyring", public, "store", f"{module}:thing", "y", "1"), code=1).err
    )
    site.run("--keyring", public, "remove", "x", "1", "--yes", code=1)
    assert site.run("--keyring", public, "verify", "--all").code == 0
