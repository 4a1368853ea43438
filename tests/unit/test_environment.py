"""The running environment: who stores, with which versions, and how they differ."""

from __future__ import annotations

import getpass
import platform
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from sealstore import limits
from sealstore.errors import ComponentClassError, InvalidMetadataError, PortabilityWarning
from sealstore.repository import environment, packages
from sealstore.signed.drafting import encode
from sealstore.signed.statement import StoredBy, decode
from tests.sealstore_fixtures import statement


def test_now_is_utc_with_microseconds() -> None:
    """The time is written as statements have it."""
    before = datetime.now(UTC)
    now = environment.now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", now)
    assert before <= datetime.fromisoformat(now) <= datetime.now(UTC)


def test_who_stores_is_user_host_and_the_callers_word() -> None:
    """The actor is what the caller says, None when it says nothing."""
    user, host = getpass.getuser(), socket.gethostname()
    assert environment.stored_by(None) == StoredBy(user=user, host=host, actor=None)
    assert environment.stored_by("job 7").actor == "job 7"
    assert environment.stored_by("x" * limits.MAX_ACTOR_CHARACTERS).actor is not None


@pytest.mark.parametrize(
    "actor", ["x" * (limits.MAX_ACTOR_CHARACTERS + 1), 7, b"job", ["job"], "\ud800", "a\udcffb"]
)
def test_an_actor_that_no_statement_can_carry_is_refused(actor: object) -> None:
    """Too long, no string, or a string that is no Unicode text."""
    with pytest.raises(InvalidMetadataError, match="at most 256 characters"):
        environment.stored_by(actor)  # type: ignore[arg-type] # on purpose


@pytest.mark.parametrize("name", ["caf\udce9", "u" * 1000, "ada\x1b[31m"])
def test_any_name_of_user_and_host_fits_into_a_statement(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Names that are no UTF-8, or longer than allowed, do not keep anybody from storing."""
    monkeypatch.setenv("LOGNAME", name)
    monkeypatch.setattr("socket.gethostname", lambda: name)
    environment._host.cache_clear()
    try:
        who = environment.stored_by(None)
    finally:
        environment._host.cache_clear()
    assert who.user == who.host
    assert decode(encode(statement(stored_by=who))).predicate.stored_by == who


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no name")])
def test_a_user_id_without_a_name_is_told_as_a_number(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A container may run under an id that no database of users knows."""

    def unknown() -> str:
        raise error

    monkeypatch.setattr("getpass.getuser", unknown)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert environment.stored_by(None).user == "uid 12345"


def test_packages_are_the_distributions_that_modules_come_from() -> None:
    """Found by import name, sorted, with versions; the standard library and __main__ are none."""
    modules = [
        "sklearn.linear_model._base",
        "numpy",
        "os.path",
        "__main__",
        "_io",
        "no_such_module",
    ]
    found = packages.packages_of(modules)
    assert list(found) == sorted(found)
    assert set(found) == {"numpy", "scikit-learn"}
    assert found["numpy"] == environment.installed_version("numpy")
    assert packages.packages_of([]) == {}


@pytest.mark.parametrize("name", ["no-such-distribution", "", "../numpy"])
def test_what_is_not_installed_has_no_version(name: str) -> None:
    """An odd name is no error."""
    assert environment.installed_version(name) is None


def test_code_of_a_hetida_component_is_refused_when_it_is_stored() -> None:
    """What exists only in processes that ran a component could not be loaded in another one."""
    for modules in (
        ["hetdesrun_loaded_components.x:A"],
        ["numpy:a", "hetdesrun_loaded_components:A"],
    ):
        with pytest.raises(ComponentClassError, match="another process could not load it"):
            packages.refuse_unportable(modules)
    packages.refuse_unportable(["numpy:a", "hetdesrun:A", "hetdesrun_loaded_components_of_mine:A"])


def test_names_of_main_are_warned_of() -> None:
    """Only the same script can load them."""
    with pytest.warns(PortabilityWarning, match=r"Model, fit\. Only the same script can load"):
        packages.refuse_unportable(["__main__:fit", "__main__:Model", "numpy:array"])


def test_the_python_version_is_this_interpreters() -> None:
    """As platform says."""
    assert environment.python_version() == platform.python_version()


PYTHON = platform.python_version()


def test_the_same_versions_do_not_differ() -> None:
    """Nothing is warned of where nothing differs, nor of a patch release."""
    numpy = environment.installed_version("numpy")
    assert numpy is not None
    patch = re.sub(r"^(\d+\.\d+).*", r"\1.999", numpy)
    for version in (numpy, patch):
        assert environment.version_differences(PYTHON, {"numpy": version}) == []
    minor = ".".join(PYTHON.split(".")[:2])
    assert environment.version_differences(f"{minor}.999", {}) == []


@pytest.mark.parametrize("version", ["0.1", "1", "99.0.0", "9.9rc1", "unknown"])
def test_another_major_or_minor_version_is_a_difference(version: str) -> None:
    """Each difference is one phrase, with both versions."""
    numpy = environment.installed_version("numpy")
    assert environment.version_differences(version, {"numpy": version}) == [
        f"Python {version} was stored, {PYTHON} runs",
        f"numpy {version} was stored, {numpy} runs",
    ]


def test_a_missing_package_is_a_difference() -> None:
    """What is not installed cannot be the same."""
    assert environment.version_differences(PYTHON, {"no-such-distribution": "1.0"}) == [
        "no-such-distribution 1.0 was stored, none is installed"
    ]


def test_a_minor_version_is_compared_as_a_number_not_as_a_prefix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1.2 is not 1.26."""
    monkeypatch.setattr(environment, "installed_version", lambda _: "1.26.4")
    assert environment.version_differences(PYTHON, {"numpy": "1.2.6"})
    assert not environment.version_differences(PYTHON, {"numpy": "1.26"})


def test_stored_by_is_strict_json() -> None:
    """What is written is what is read."""
    who = environment.stored_by("job")
    assert msgspec.json.decode(msgspec.json.encode(who), type=StoredBy) == who


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with distributions that share the namespace acme."""
    for name, files in {
        "alpha": ["acme/alpha/__init__.py", "acme/alpha/_c.cpython-313-x86_64-linux-gnu.so"],
        "beta": ["acme/beta.py"],
        "editable": ["__editable__.acme_editable.pth"],
        "deep": ["acme/inner/deep/__init__.py"],
    }.items():
        info = tmp_path / f"acme_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.0\n")
        (info / "top_level.txt").write_text("acme\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    monkeypatch.syspath_prepend(tmp_path)
    caches = (
        packages._owners,
        packages._record,
        packages._all_distributions,
        environment.installed_version,
    )
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("module", "owners"),
    [
        ("acme.alpha", ["acme-alpha"]),
        ("acme.alpha.made.at_run_time", ["acme-alpha"]),
        ("acme.alpha._c", ["acme-alpha"]),
        ("acme.beta", ["acme-beta"]),
        ("acme.inner.deep", ["acme-deep"]),
        ("acme.alphabet", ["acme-editable"]),
        ("numpy.random", ["numpy"]),
    ],
)
def test_of_a_namespace_only_the_owner_is_signed(
    namespace: Path, module: str, owners: list[str]
) -> None:
    """By its record of files; where none has the module, those that have no record of any."""
    assert list(packages.packages_of([module])) == owners


def test_a_distribution_without_a_record_owns_its_modules(namespace: Path) -> None:
    """As eggs are installed, and what vanished since it was found."""
    for record in namespace.glob("*/RECORD"):
        record.unlink()
    assert len(packages.packages_of(["acme.alpha"])) == 4
    assert packages._record("no-such-distribution") == ""
