"""bundle and keys import: from one site to another that has no network, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealstore.keys.keyring import Role
from sealstore.keys.writing import fingerprint
from sealstore.repository.settings import Settings
from tests.bundle_sites import (
    NAMES,
    ORIGIN_KEY,
    SITE_KEY,
    BundleSite,
    put_together,
    taken_apart,
)
from tests.command_line import FORBIDDEN, HOSTILE, Site
from tests.sealstore_fixtures import OTHER_REPOSITORY_ID, hmac_key


def desk(place: BundleSite, name: str) -> Site:
    """The command line of a site, with its keyring in a file."""
    folder = place.folder
    variables = {"MODEL_REPO_TRUST_STATE": str(folder / "trust")}
    return Site(place.root, folder / name / "keyring.json", variables)


@pytest.fixture
def there(origin: BundleSite) -> Site:
    """Where the bundles come from."""
    site = desk(origin, "keys")
    site.set_keys(ORIGIN_KEY)
    return site


@pytest.fixture
def here(island: BundleSite) -> Site:
    """Where they are taken to; it does not know the origin's key yet."""
    site = desk(island, "keys")
    site.set_keys(SITE_KEY)
    return site


@pytest.fixture
def stick(there: Site, tmp_path: Path) -> Path:
    """A bundle on its way."""
    path = tmp_path / "models.bundle"
    there.run("bundle", "create", path, *NAMES)
    return path


def test_from_site_to_site(there: Site, here: Site, tmp_path: Path) -> None:
    """Create, compare keys, add them, verify, import, load: the walk of docs/bundles.md."""
    stick = tmp_path / "models.bundle"
    made = there.run("bundle", "create", stick, *NAMES, "--actor", "ada")
    assert "wrote 3 artifacts" in made.out
    assert "HMAC" not in made.out
    refused = here.run("bundle", "verify", stick, "--show-keys", code=1)
    assert "NOT TRUSTED" in refused.out
    print_of_key = fingerprint(ORIGIN_KEY)
    assert print_of_key is not None
    assert print_of_key in refused.out
    assert "keys import" in refused.out
    assert print_of_key in there.run("keys", "list", "--json").out
    added = here.run("keys", "import", stick, "--role", "store", "--role", "admin", "--yes")
    assert print_of_key in added.out
    [own, foreign] = sorted(here.keys_kept(), key=lambda key: key.key_id != SITE_KEY.key_id)
    assert own.can_sign
    assert not foreign.can_sign
    assert foreign.roles == {Role.STORE, Role.ADMIN}
    assert foreign.scope.repositories == frozenset([OTHER_REPOSITORY_ID])
    verified = here.run("bundle", "verify", stick)
    assert "nothing of that repository was seen here before" in verified.out
    assert "verified: 3 artifacts" in verified.out
    imported = here.run("bundle", "import", stick, "--actor", "bob")
    assert "imported churn:v1@2 (revision 2 at its origin)" in imported.out
    assert "3 artifacts of repository" in imported.out
    again = here.run("bundle", "import", stick)
    assert "skipped churn:v1@1: imported before, as revision 1" in again.out
    shown = here.run("show", "churn", "v1")
    assert f"repository {OTHER_REPOSITORY_ID}, there revision 2" in shown.out
    assert here.run("show", "churn", "--json").json["origin"]["repository"] == OTHER_REPOSITORY_ID
    assert "verified: 3 artifacts" in here.run("verify", "--all").out


def test_as_json(there: Site, here: Site, stick: Path, tmp_path: Path) -> None:
    """Each command prints one document."""
    made = there.run("bundle", "create", tmp_path / "b.bundle", "churn", "--json").json
    assert made["historySize"] == 4
    assert made["hmacKeys"] == []
    refused = here.run("bundle", "verify", stick, "--json", code=1).json
    assert refused["head"] is None
    assert [finding["code"] for finding in refused["findings"]] == ["UNKNOWN_KEY"]
    added = here.run(
        "keys", "import", stick, "--role", "store", "--role", "admin", "--yes", "--json"
    )
    assert [key["fingerprint"] for key in added.json["added"]] == [fingerprint(ORIGIN_KEY)]
    assert here.run("bundle", "verify", stick, "--json").json["ok"] is True
    report = here.run("bundle", "import", stick, "--json").json
    assert len(report["imported"]) == 3
    assert report["headRemembered"] is True
    assert here.run("bundle", "import", stick, "--json").json["imported"] == []
    assert there.run("show", "churn", "--json").json["origin"] is None


def test_an_hmac_bundle_says_who_can_verify_it(here: Site, there: Site, tmp_path: Path) -> None:
    """And one without public keys says that it has none."""
    here.run("bundle", "create", tmp_path / "x.bundle", "churn", code=1)
    with_repository(here)
    made = here.run("bundle", "create", tmp_path / "x.bundle", "own:1@1")
    assert "these very keys" in made.out
    assert SITE_KEY.key_id in made.out
    refused = there.run("bundle", "verify", tmp_path / "x.bundle", "--show-keys", code=1)
    assert "carries no public keys" in refused.out
    assert "HMAC key" in refused.out


def with_repository(site: Site) -> None:
    """Let the site store something of its own."""
    from sealstore.repository.facade import Repository

    settings = Settings.from_environment(site.variables)
    with Repository.open(settings=settings) as repository:
        repository.store({"own": 1}, "own", "1")


def test_what_is_continued_older_or_unproven_is_said(
    there: Site, here: Site, stick: Path, tmp_path: Path
) -> None:
    """A line says how the head stands to what was seen before."""
    here.run("keys", "import", stick, "--role", "store", "--role", "admin", "--yes")
    here.run("bundle", "import", stick)
    there.run("remove", "churn", "v1", "--revision", "2", "--yes")
    there.run("bundle", "create", tmp_path / "2.bundle", "fraud")
    unproven = here.run("bundle", "import", tmp_path / "2.bundle")
    assert "is not proven" in unproven.out
    assert "not remembered" in unproven.out
    there.run("bundle", "create", tmp_path / "3.bundle", "fraud", "--since", stick)
    assert "proven to continue" in here.run("bundle", "import", tmp_path / "3.bundle").out
    assert "ROLLBACK" in here.run("bundle", "verify", stick, code=1).out
    here.run("bundle", "import", stick, code=1)
    assert "OLDER" in here.run("bundle", "import", stick, "--accept-head").out


def test_what_was_removed_here_comes_back_when_asked_for(here: Site, stick: Path) -> None:
    """A skipped artifact is named with the reason."""
    here.run("keys", "import", stick, "--role", "store", "--role", "admin", "--yes")
    here.run("bundle", "import", stick)
    here.run("remove", "fraud", "2026", "--yes")
    assert "removed here" in here.run("bundle", "import", stick).out
    assert "imported fraud:2026@2" in here.run("bundle", "import", stick, "--removed-too").out


def test_keys_of_a_bundle_are_asked_about(here: Site, stick: Path) -> None:
    """Nothing is trusted because it was in a file: nobody there to answer is a no."""
    before = here.keyring.read_bytes()
    here.run("keys", "import", stick, "--role", "store", code=2)
    assert here.keyring.read_bytes() == before
    here.run("keys", "import", stick, "--role", "approve", "--yes")
    assert here.keyring.read_bytes() == before


def test_arguments_that_make_no_sense(there: Site, stick: Path, tmp_path: Path) -> None:
    """Usage errors say what is wrong, and write nothing."""
    there.run("bundle", "create", tmp_path / "x.bundle", code=2)
    there.run("bundle", "create", tmp_path / "x.bundle", "churn:v1@x", code=2)
    there.run("bundle", "create", there.repository / "x.bundle", "churn", code=2)
    exists = there.run("bundle", "create", stick, "churn", code=1)
    assert "--force" in exists.err
    there.run("bundle", "create", stick, "churn", "--force")
    there.run("bundle", "verify", tmp_path / "absent", code=1)
    there.run("bundle", "verify", tmp_path, code=1)
    own = there.run("bundle", "import", stick, code=1)
    assert "this very repository" in own.err
    assert not (tmp_path / "x.bundle").exists()


def test_names_from_a_bundle_are_escaped(there: Site, here: Site, stick: Path) -> None:
    """What a bundle's maker wrote reaches no terminal as it is."""
    evidence, payloads = taken_apart(stick)
    put_together(stick, evidence, payloads)
    data = stick.read_bytes().replace(b'"churn"', b'"\\u001b["')
    stick.write_bytes(data)
    refused = here.run("bundle", "verify", stick, code=1)
    assert not set(FORBIDDEN) & set(refused.out + refused.err)
    file = stick.with_name(HOSTILE.replace("\x00", "")[:20])
    file.write_bytes(data)
    refused = here.run("bundle", "verify", file, code=1)
    assert not set(FORBIDDEN) & set(refused.out + refused.err)


def test_a_revoked_origin_is_shown(here: Site, stick: Path) -> None:
    """An artifact whose origin's key is refused by now says so."""
    here.run("keys", "import", stick, "--role", "store", "--role", "admin", "--yes")
    here.run("bundle", "import", stick)
    here.set_keys(SITE_KEY, hmac_key(9))
    shown = here.run("show", "churn")
    assert "refused by now" in shown.out
    assert "UNKNOWN_KEY" in shown.out
