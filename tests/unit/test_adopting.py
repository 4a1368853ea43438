"""Adopting files that stock hetida designer, joblib or pickle wrote."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

from sealstore import errors, limits
from sealstore.admin.adoption import Adoption, Outcome, adopt
from sealstore.hetida.legacy_folder import find_files, read_mapping, splits
from sealstore.names import ArtifactRef, Name, Tag
from sealstore.repository.facade import Repository
from tests.sealstore_fixtures import Trap, snapshot


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """A folder as stock hetida designer leaves it."""
    folder = tmp_path / "obj_repo"
    folder.mkdir()
    for tag, value in (("v2", 2), ("v1", 1)):
        joblib.dump({"value": value, "weights": np.arange(4.0)}, folder / f"model_{tag}")
    os.utime(folder / "model_v2", (1_000, 1_000))
    os.utime(folder / "model_v1", (2_000, 2_000))
    (folder / "model_latest").symlink_to(folder / "model_v2")
    return folder


def by_name(adoptions: list[Adoption]) -> dict[str, Adoption]:
    return {adoption.file.path.name: adoption for adoption in adoptions}


def test_a_dry_run_stores_nothing(legacy: Path, repository: Repository) -> None:
    """Without ``sign`` the files are inspected and judged, and nothing is written."""
    before = snapshot(legacy), repository.list().artifacts
    found = by_name(adopt(find_files([legacy]), repository))
    assert {name: adoption.outcome for name, adoption in found.items()} == {
        "model_v1": Outcome.SIGNABLE,
        "model_v2": Outcome.SIGNABLE,
        "model_latest": Outcome.SKIPPED,
    }
    assert (snapshot(legacy), repository.list().artifacts) == before


def test_adopted_files_keep_their_bytes_and_latest_stays_what_it_was(
    legacy: Path, repository: Repository
) -> None:
    """The payload is the file, byte for byte, and the link's target is adopted last."""
    before = snapshot(legacy)
    adoptions = adopt(find_files([legacy]), repository, sign=True, actor="migration")
    assert [a.outcome for a in adoptions if a.outcome is not Outcome.SKIPPED] == [
        Outcome.SIGNED,
        Outcome.SIGNED,
    ]
    artifact, view = repository.read_payload("model", "v1")
    assert bytes(view) == (legacy / "model_v1").read_bytes()
    assert artifact.metadata == {"adoptedFrom": "model_v1"}
    assert artifact.stored_by.actor == "migration"
    assert repository.load("model", "latest")["value"] == 2
    assert repository.load("model", "v1")["value"] == 1
    assert snapshot(legacy) == before


@pytest.mark.invariant(1)
def test_a_malicious_file_is_refused_and_never_loaded(
    legacy: Path, repository: Repository, trap: Trap
) -> None:
    """A pickle that runs code is refused by the policy and has not run; others are adopted."""
    (legacy / "evil_v1").write_bytes(trap.payload())
    found = by_name(adopt(find_files([legacy]), repository, sign=True))
    assert found["evil_v1"].outcome is Outcome.REFUSED
    assert "posix:mkdir" in found["evil_v1"].reason
    assert found["model_v1"].outcome is Outcome.SIGNED
    assert not trap.sprung
    with pytest.raises(errors.ArtifactNotFound):
        repository.get("evil", "v1")


def test_a_damaged_file_is_refused(legacy: Path, repository: Repository) -> None:
    """A file that no unpickler could read is refused with the reason."""
    whole = (legacy / "model_v1").read_bytes()
    (legacy / "cut_v1").write_bytes(whole[: len(whole) // 2])
    (legacy / "empty_v1").write_bytes(b"")
    found = by_name(adopt(find_files([legacy]), repository, sign=True))
    assert found["cut_v1"].outcome is found["empty_v1"].outcome is Outcome.REFUSED


def test_an_ambiguous_name_needs_a_mapping(
    legacy: Path, repository: Repository, tmp_path: Path
) -> None:
    """A name that could be split in several ways is shown with its candidates, then mapped."""
    joblib.dump(1, legacy / "a_b_c")
    joblib.dump(2, legacy / "nothing")
    found = by_name(adopt(find_files([legacy]), repository, sign=True))
    assert found["a_b_c"].outcome is found["nothing"].outcome is Outcome.AMBIGUOUS
    assert "a:b_c or a_b:c" in found["a_b_c"].reason
    mapping = tmp_path / "map.toml"
    mapping.write_text('["a_b_c"]\nname = "a_b"\ntag = "c"\n[nothing]\nname="n"\ntag="t"\n')
    files = find_files([legacy / "a_b_c", legacy / "nothing"], read_mapping(mapping))
    assert [a.outcome for a in adopt(files, repository, sign=True)] == [Outcome.SIGNED] * 2
    assert (repository.load("a_b", "c"), repository.load("n", "t")) == (1, 2)


@pytest.mark.parametrize(
    "text",
    ["[broken", 'file = "text"', '[file]\nname = "n"', '[file]\nname="n"\ntag="t"\nmore=1\n'],
)
def test_a_mapping_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    """A mapping file says name and tag for each file, and nothing else."""
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(errors.ConfigurationError):
        read_mapping(tmp_path / "map.toml")


def test_a_mapping_has_a_largest_size(tmp_path: Path) -> None:
    """A file of the limit is read, and one of a byte more is not."""
    text = '[file]\nname = "n"\ntag = "t"\n#'
    path = tmp_path / "map.toml"
    path.write_text(text.ljust(limits.MAX_MAPPING_BYTES, "x"))
    assert read_mapping(path)["file"].name == "n"
    path.write_text(text.ljust(limits.MAX_MAPPING_BYTES + 1, "x"))
    with pytest.raises(errors.ConfigurationError, match=f"more than {limits.MAX_MAPPING_BYTES} "):
        read_mapping(path)


def test_a_mapping_to_latest_is_refused(tmp_path: Path) -> None:
    """Nothing is adopted under the tag ``latest``."""
    (tmp_path / "map.toml").write_text('[file]\nname = "n"\ntag = "Latest"\n')
    with pytest.raises(errors.ReservedTagError):
        read_mapping(tmp_path / "map.toml")


def test_links_that_leave_the_folder_are_not_followed(
    legacy: Path, repository: Repository, tmp_path: Path
) -> None:
    """A link to a file elsewhere is told, and neither read nor adopted."""
    joblib.dump("secret", tmp_path / "outside")
    (legacy / "out_v1").symlink_to(tmp_path / "outside")
    (legacy / "up_latest").symlink_to("../outside")
    (legacy / "dangling_latest").symlink_to("nowhere")
    found = by_name(adopt(find_files([legacy]), repository, sign=True))
    for name in ("out_v1", "up_latest", "dangling_latest"):
        assert found[name].outcome is Outcome.SKIPPED
        assert "leaves the folder" in found[name].reason


def test_what_is_no_file_is_passed_over(legacy: Path, repository: Repository) -> None:
    """Folders and FIFOs are told and not opened."""
    (legacy / "folder_v1").mkdir()
    os.mkfifo(legacy / "fifo_v1")
    found = by_name(adopt(find_files([legacy]), repository, sign=True))
    assert found["folder_v1"].outcome is found["fifo_v1"].outcome is Outcome.SKIPPED


def test_a_single_link_is_not_followed(legacy: Path, repository: Repository) -> None:
    """A link that is named on the command line is not followed either."""
    [adoption] = adopt(find_files([legacy / "model_latest"]), repository, sign=True)
    assert adoption.outcome is Outcome.SKIPPED


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    """A path that is not there is said to be missing."""
    with pytest.raises(errors.StorageError):
        find_files([tmp_path / "missing"])


@pytest.fixture
def unconfined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inspections that the kernel did not confine."""
    import dataclasses

    from sealstore.admin import adoption
    from sealstore.formats.pickling.confinement import inspect_confined

    def inspect(descriptor: int) -> object:
        return dataclasses.replace(inspect_confined(descriptor), confinement=("cpu-time",))

    monkeypatch.setattr(adoption, "inspect_confined", inspect)


@pytest.mark.usefixtures("unconfined")
def test_without_confinement_nothing_is_signed_unless_told(
    legacy: Path, repository: Repository
) -> None:
    """Where the kernel confines nothing, signing needs an explicit word."""
    files = find_files([legacy / "model_v1"])
    [adoption] = adopt(files, repository, sign=True)
    assert adoption.outcome is Outcome.REFUSED
    assert "seccomp" in adoption.reason
    [adoption] = adopt(files, repository, sign=True, allow_unconfined=True)
    assert adoption.outcome is Outcome.SIGNED


def test_a_plain_pickle_is_adopted(tmp_path: Path, repository: Repository) -> None:
    """A file of the standard library's pickle loads as it did."""
    (tmp_path / "plain_v1").write_bytes(pickle.dumps({"a": [1, 2]}, protocol=2))
    [adoption] = adopt(find_files([tmp_path / "plain_v1"]), repository, sign=True)
    assert adoption.outcome is Outcome.SIGNED
    assert repository.load("plain", "v1") == {"a": [1, 2]}


def test_a_class_that_is_not_installed_here_can_be_adopted(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adoption imports nothing, so a model's package need not be where it is adopted."""
    package = tmp_path / "elsewhere"
    package.mkdir()
    (package / "plant_models.py").write_text("class Pump:\n    pass\n")
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(package))
        import plant_models  # type: ignore[import-not-found]  # made above

        joblib.dump(plant_models.Pump(), tmp_path / "pump_v1")
        del sys.modules["plant_models"]
    [adoption] = adopt(find_files([tmp_path / "pump_v1"]), repository, sign=True)
    assert adoption.outcome is Outcome.SIGNED
    assert "plant_models" not in sys.modules


def test_splits_are_all_that_stock_hetida_designer_could_have_meant() -> None:
    """Each underscore is a place where the name could end, unless a rule forbids it."""

    def ref(name: str, tag: str) -> ArtifactRef:
        return ArtifactRef(Name(name), Tag(tag))

    assert splits("a_b") == (ref("a", "b"),)
    assert splits("a__b") == (ref("a", "_b"), ref("a_", "b"))
    assert splits("a_latest") == ()
    assert splits("x_y_latest") == (ref("x", "y_latest"),)
    assert splits("ab") == splits("_") == splits("a_.b/c") == ()
