"""Hetida designer's two functions on a sealstore repository."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import multiprocessing
import pickle
import runpy
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sealstore.hetida
from sealstore import errors
from sealstore.hetida import dump_obj, install, load_obj
from sealstore.hetida.components import load_object, store_object
from sealstore.keys.keyring import Keyring, State
from sealstore.keys.writing import write_keyring_file
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings
from sealstore.trust import operating
from tests.sealstore_fixtures import Trap, hmac_key, scope

ABSOLUTE = str(Path(Path.cwd().anchor) / "somewhere" / "else")


@pytest.fixture(autouse=True)
def nothing_open() -> Iterator[None]:
    yield
    for repository in sealstore.hetida._opened.values():
        repository.close()
    sealstore.hetida._opened.clear()


@pytest.fixture
def keyring_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys" / "keyring.json"
    write_keyring_file(path, Keyring.of([hmac_key()]))
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(path))
    return path


@pytest.fixture
def repo_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "obj_repo"
    monkeypatch.setenv("MODEL_REPO_PATH", str(path))
    return path


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A package that looks like hetida designer's runtime to ``install``."""
    package = tmp_path / "runtime" / "hetdesrun"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "serialization.py").write_text(
        "from types import SimpleNamespace\n"
        "def get_config():\n"
        f"    return SimpleNamespace(model_repo_path={str(tmp_path / 'configured')!r})\n"
        "def dump_obj(obj, name, tag): raise AssertionError('the stock function')\n"
        "def load_obj(name, tag): raise AssertionError('the stock function')\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    yield importlib.import_module("hetdesrun.serialization")
    sealstore.hetida._runtime_path = None
    for name in ("hetdesrun.serialization", "hetdesrun"):
        sys.modules.pop(name, None)


def test_signatures_are_those_of_hetida_designer() -> None:
    """The runtime calls both functions by position, and never awaits them."""
    assert list(inspect.signature(dump_obj).parameters) == ["obj", "name", "tag"]
    assert list(inspect.signature(load_obj).parameters) == ["name", "tag"]
    assert not inspect.iscoroutinefunction(dump_obj)
    assert not inspect.iscoroutinefunction(load_obj)


@pytest.mark.usefixtures("keyring_path")
def test_an_absent_folder_becomes_a_repository(repo_path: Path) -> None:
    """The first store into an absent folder makes the repository."""
    dump_obj({"a": 1}, "model", "v1")
    assert (repo_path / "repository.json").is_file()
    assert load_obj("model", "v1") == {"a": 1}


@pytest.mark.usefixtures("keyring_path")
def test_an_empty_folder_becomes_a_repository(repo_path: Path) -> None:
    """The first store into an empty folder, such as a new volume, makes the repository."""
    repo_path.mkdir()
    (repo_path / "lost+found").mkdir()
    dump_obj(1, "model", "v1")
    assert load_obj("model", "LATEST") == 1


@pytest.mark.invariant(4)
def test_without_a_key_nothing_is_written(
    repo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key the error names the command that makes one, and no folder appears."""
    monkeypatch.setenv("MODEL_REPO_KEYRING", str(tmp_path / "no-keyring.json"))
    with pytest.raises(errors.KeyringNotFoundError, match="sealstore init"):
        dump_obj(1, "model", "v1")
    assert not repo_path.exists()


@pytest.mark.invariant(4)
@pytest.mark.parametrize("state", [State.RETIRED, State.REVOKED])
def test_without_an_active_key_nothing_is_written(
    repo_path: Path, keyring_path: Path, state: State
) -> None:
    """A retired or revoked key does not make a repository."""
    write_keyring_file(keyring_path, Keyring.of([hmac_key(state=state)]))
    with pytest.raises(errors.NoSigningKeyError, match="sealstore init"):
        dump_obj(1, "model", "v1")
    assert not repo_path.exists()


@pytest.mark.invariant(4)
def test_a_key_of_another_repository_makes_none(repo_path: Path, keyring_path: Path) -> None:
    """Where a volume is not mounted, the key of its repository does not start a new one."""
    write_keyring_file(keyring_path, Keyring.of([hmac_key(scope=scope("0" * 32))]))
    with pytest.raises(errors.NoSigningKeyError):
        dump_obj(1, "model", "v1")
    assert not repo_path.exists()


@pytest.mark.usefixtures("keyring_path")
def test_a_folder_of_other_files_is_left_alone(repo_path: Path) -> None:
    """A folder of hetida designer's own files is not made a repository."""
    repo_path.mkdir()
    (repo_path / "model_v1").write_bytes(pickle.dumps(1))
    with pytest.raises(errors.RepositoryExistsError):
        dump_obj(1, "model", "v1")
    assert [path.name for path in repo_path.iterdir()] == ["model_v1"]


@pytest.mark.usefixtures("keyring_path")
def test_loading_makes_no_repository(repo_path: Path) -> None:
    """A load from an absent folder is an error that does not create it."""
    with pytest.raises(errors.RepositoryNotFoundError):
        load_obj("model", "v1")
    assert not repo_path.exists()


@pytest.mark.usefixtures("keyring_path")
@pytest.mark.parametrize("tag", ["latest", "LATEST", "Latest"])
def test_the_tag_latest_is_a_value_error(repo_path: Path, tag: str) -> None:
    """``latest``, in any case, cannot be stored, and makes no repository either."""
    with pytest.raises(ValueError, match="special meaning"):
        dump_obj(1, "model", tag)
    assert not repo_path.exists()


@pytest.mark.usefixtures("keyring_path", "repo_path")
def test_latest_is_what_was_stored_last() -> None:
    """``latest`` follows the order of stores, not the order of tags."""
    for tag in ("b", "a", "c", "a"):
        dump_obj(f"stored under {tag}", "model", tag)
    assert load_obj("model", "latest") == "stored under a"


@pytest.mark.usefixtures("keyring_path", "repo_path")
def test_names_and_tags_do_not_run_together() -> None:
    """('a_b', 'c') and ('a', 'b_c') are two objects, and 'y_latest' is a tag like any other."""
    dump_obj(1, "a_b", "c")
    dump_obj(2, "a", "b_c")
    dump_obj(3, "x_y", "v1")
    dump_obj(4, "x", "y_latest")
    assert [load_obj("a_b", "c"), load_obj("a", "b_c")] == [1, 2]
    assert [load_obj("x_y", "latest"), load_obj("x", "y_latest")] == [3, 4]


@pytest.mark.usefixtures("keyring_path")
@pytest.mark.parametrize("name", ["../outside", ABSOLUTE, "a/b", ".."])
def test_no_name_leaves_the_repository(repo_path: Path, tmp_path: Path, name: str) -> None:
    """A name that would lead out is refused before anything is made."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="is not allowed"):
        dump_obj(1, name, "v1")
    assert sorted(tmp_path.rglob("*")) == before
    assert not repo_path.exists()


@pytest.mark.usefixtures("keyring_path", "repo_path")
def test_an_unpicklable_object_keeps_the_version_that_was_there() -> None:
    """A store that fails changes nothing."""
    dump_obj("good", "model", "v1")
    with pytest.raises(errors.NotSerialisableError):
        dump_obj([1, lambda: None], "model", "v1")
    assert load_obj("model", "v1") == "good"
    assert load_obj("model", "latest") == "good"


@pytest.mark.usefixtures("keyring_path")
def test_storing_a_tag_again_keeps_the_older_revision(repo_path: Path) -> None:
    """Nothing is lost silently when a tag is stored again."""
    dump_obj("first", "model", "v1")
    dump_obj("second", "model", "v1")
    assert load_obj("model", "v1") == "second"
    with Repository.open(repo_path) as repository:
        assert repository.load("model", "v1", revision=1) == "first"


@pytest.mark.usefixtures("keyring_path")
def test_a_moved_folder_still_loads_latest(
    repo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in a repository depends on where it lies."""
    dump_obj(1, "model", "v1")
    moved = tmp_path / "moved"
    shutil.move(repo_path, moved)
    monkeypatch.setenv("MODEL_REPO_PATH", str(moved))
    assert load_obj("model", "latest") == 1


@pytest.mark.usefixtures("keyring_path", "repo_path")
def test_a_missing_object_is_a_file_not_found_error_without_a_path(tmp_path: Path) -> None:
    """The error is shown in hetida designer: it has a code, names the artifact, and no folder."""
    dump_obj(1, "model", "v1")
    with pytest.raises(FileNotFoundError) as caught:
        load_obj("missing", "v1")
    error: Any = caught.value
    assert error.__is_hetida_designer_exception__ is True
    assert error.error_code == "ARTIFACT_NOT_FOUND"
    assert "missing:v1" in str(error)
    assert str(tmp_path) not in str(error)


def test_no_error_shows_a_folder(repo_path: Path, tmp_path: Path, keyring_path: Path) -> None:
    """Errors about files name the file, not where it lies, in their causes too."""
    keyring_path.chmod(0o644)
    with pytest.raises(errors.KeyringPermissionsError) as caught:
        dump_obj(1, "model", "v1")
    assert "chmod 600 keyring.json" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    assert not repo_path.exists()


@pytest.mark.usefixtures("keyring_path", "repo_path")
def test_both_work_inside_a_running_event_loop() -> None:
    """Hetida designer calls components synchronously while its own loop runs."""

    async def component() -> Any:
        store_object.main(name="model", tag="v1", obj=[1, 2])
        return load_object.main(name="model", tag="latest")

    assert asyncio.run(component()) == {"obj": [1, 2]}


def test_the_components_describe_themselves() -> None:
    """The inputs of a component's description are the parameters of its ``main``."""
    for component in (store_object, load_object):
        parameters = inspect.signature(component.main).parameters
        assert list(parameters) == list(component.COMPONENT_INFO["inputs"])
        assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
        assert str(component.__doc__).startswith("Documentation for ")


def test_the_components_run_as_code_that_is_executed_from_text() -> None:
    """Hetida designer executes a component's source; it needs no package around it."""
    for component in (store_object, load_object):
        assert "main" in runpy.run_path(str(component.__file__))


@pytest.mark.usefixtures("keyring_path")
def test_install_puts_both_functions_into_the_runtime(runtime: Any, tmp_path: Path) -> None:
    """The released components call what ``install`` put there, on the runtime's own folder."""
    assert sealstore.hetida.is_installed() is False
    install()
    assert sealstore.hetida.is_installed() is True
    runtime.dump_obj("signed", "model", "v1")
    assert runtime.load_obj("model", "latest") == "signed"
    assert (tmp_path / "configured" / "repository.json").is_file()


@pytest.mark.usefixtures("keyring_path", "runtime")
def test_the_environment_goes_before_the_runtimes_settings(repo_path: Path) -> None:
    """``MODEL_REPO_PATH`` decides where it is set."""
    install()
    dump_obj(1, "model", "v1")
    assert (repo_path / "repository.json").is_file()


def test_install_without_a_runtime_says_so() -> None:
    """Nothing of hetida designer is imported where it is absent."""
    assert sealstore.hetida.is_installed() is None
    with pytest.raises(errors.ConfigurationError, match="not installed here"):
        install()


@pytest.mark.usefixtures("repo_path")
def test_a_revocation_reaches_a_running_worker(keyring_path: Path) -> None:
    """A worker that has loaded before refuses after the keyring file changed."""
    dump_obj(1, "model", "v1")
    assert load_obj("model", "v1") == 1
    write_keyring_file(keyring_path, Keyring.of([hmac_key(state=State.REVOKED)]))
    with pytest.raises(errors.RevokedKeyError):
        load_obj("model", "v1")


@pytest.mark.usefixtures("keyring_path")
def test_another_repository_in_the_same_place_is_opened_again(repo_path: Path) -> None:
    """A worker does not mix two repositories that lay in one folder one after the other."""
    dump_obj("old", "model", "v1")
    shutil.rmtree(repo_path)
    with pytest.raises(errors.KnownLocationError):
        dump_obj("new", "other", "v1")
    operating.forget(Settings.from_environment().trust_store(repo_path))
    dump_obj("new", "other", "v1")
    assert load_obj("other", "v1") == "new"
    with pytest.raises(errors.ArtifactNotFound):
        load_obj("model", "v1")


@pytest.mark.usefixtures("keyring_path")
def test_workers_that_begin_together_share_one_repository(repo_path: Path) -> None:
    """Several workers may make the repository at the same moment; one is made."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(4)
    workers = [context.Process(target=_store_at_once, args=(start, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert sorted(load_obj(f"model {number}", "v1") for number in range(4)) == [0, 1, 2, 3]
    assert repo_path.is_dir()


def _store_at_once(start: Any, number: int) -> None:
    start.wait(60)
    dump_obj(number, f"model {number}", "v1")


@pytest.mark.invariant(1)
@pytest.mark.usefixtures("keyring_path")
def test_a_planted_pickle_is_refused_before_it_runs(repo_path: Path, trap: Trap) -> None:
    """What replaced the payload never runs, and the error is one that hetida designer shows."""
    dump_obj({"a": 1}, "model", "v1")
    (payload,) = (path for path in (repo_path / "objects").rglob("*") if path.is_file())
    payload.chmod(0o600)
    payload.write_bytes(trap.payload())
    with pytest.raises(errors.VerificationError) as caught:
        load_obj("model", "v1")
    assert caught.value.error_code in ("PAYLOAD_SIZE", "PAYLOAD_DIGEST")
    assert not trap.sprung


@pytest.mark.usefixtures("keyring_path")
def test_a_component_class_is_refused_when_it_is_stored(
    repo_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object of a class that a component defined is refused, by name, when it is stored."""
    module = types.ModuleType("hetdesrun_loaded_components.by_code_hash_1")
    # As hetida designer does it with a component's code.
    exec("class Model:\n    pass\n", module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, "hetdesrun_loaded_components", types.ModuleType("base"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    dump_obj(1, "model", "v1")
    with pytest.raises(errors.ComponentClassError, match="another process could not load it"):
        dump_obj({"model": module.Model()}, "model", "v1")
    assert load_obj("model", "v1") == 1
    mirrored = (repo_path / "statements" / "model" / "v1").iterdir()
    assert [path.name for path in mirrored] == ["1.json"]
