"""verify: one artifact, many, and what is found; at a terminal and in a pipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealstore.cli import output
from sealstore.repository.facade import Repository
from sealstore.storage.blobs.local import LocalBlobStore
from tests.command_line import FORBIDDEN, HOSTILE, Site
from tests.sealstore_fixtures import payload_path, replace_payload, run_sql


@pytest.fixture
def site(repository: Repository, tmp_path: Path) -> Site:
    site = Site(repository.root, tmp_path / "keys" / "keyring.json")
    site.set_keys(*repository.keyring)
    return site


@pytest.fixture
def stored(repository: Repository) -> Repository:
    repository.store([1], "x", "1")
    repository.store([2], "x", "2")
    repository.store([2], "y", "1")
    return repository


def spoil(repository: Repository, name: str, tag: str = "latest") -> None:
    """Replace a payload by as many other bytes."""
    path = payload_path(repository, repository.get(name, tag))
    replace_payload(path, bytes(path.stat().st_size))


def test_one_artifact_is_verified(stored: Repository, site: Site) -> None:
    """NAME is its latest, NAME and TAG that tag, with its payload."""
    size = stored.get("x").size
    for arguments in (["x"], ["x", "1"], ["x", "1", "--revision", "1"]):
        report = site.run("verify", *arguments, "--json").json
        assert (report["ok"], report["artifacts"], report["hashedBytes"]) == (True, 1, size)
    assert site.run("verify", "x").out.startswith("verified: 1 artifact, 1 payload, ")


def test_every_artifact_is_verified_each_payload_once(stored: Repository, site: Site) -> None:
    """`--all` hashes what two artifacts share once, and tells the throughput."""
    report = site.run("verify", "--all", "--json").json
    assert (report["artifacts"], report["payloads"], report["findings"]) == (3, 2, [])
    assert report["hashedBytes"] == stored.get("x").size + stored.get("x", "1").size
    said = site.run("verify", "--all", "--threads", "1").out
    assert re.fullmatch(
        r"verified: 3 artifacts, 2 payloads, \d+ B in \d\.\d\d s \(\d+ MB/s\)\n", said
    )


def test_all_can_be_narrowed(stored: Repository, site: Site) -> None:
    """`--all` with a name, or a name and a tag, looks at those only."""
    spoil(stored, "x", "1")
    assert site.run("verify", "x", "--all", "--json", code=1).json["artifacts"] == 2
    assert site.run("verify", "x", "2", "--all", "--json").json["artifacts"] == 1
    assert site.run("verify", "y", "--all", "--json").json["artifacts"] == 1


def test_a_name_that_does_not_exist_is_no_clean_result(stored: Repository, site: Site) -> None:
    """A misspelt name fails, alone and with `--all`."""
    [finding] = site.run("verify", "z", "--json", code=1).json["findings"]
    assert (finding["artifact"], finding["code"]) == ("z:latest", "ARTIFACT_NOT_FOUND")
    assert "no such artifact" in site.run("verify", "z", "--all", code=1).err
    assert stored.id


def test_an_empty_repository_is_clean(site: Site) -> None:
    """Nothing stored, nothing wrong."""
    assert site.run("verify", "--all").out.startswith("verified: 0 artifacts, 0 payloads, 0 B")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--all", "--revision", "1"],
        ["x", "--revision", "1"],
        ["x", "latest", "--revision", "1"],
        ["x", "1", "--revision", "0"],
        ["--all", "--threads", "0"],
        ["../x"],
    ],
    ids=" ".join,
)
def test_impossible_requests_are_usage_errors(arguments: list[str], site: Site) -> None:
    """A check that cannot be meant exits with 2 and is no result."""
    assert site.run("verify", *arguments, code=2).out == ""


@pytest.mark.invariant(1)
def test_a_changed_payload_is_found_for_each_of_its_artifacts(
    stored: Repository, site: Site
) -> None:
    """Each artifact of a spoilt payload is named, with code and what to do; exit code 1."""
    spoil(stored, "y")
    report = site.run("verify", "--all", "--json", code=1).json
    assert report["ok"] is False
    assert {finding["artifact"] for finding in report["findings"]} == {"x:2@1", "y:1@1"}
    assert {finding["code"] for finding in report["findings"]} == {"PAYLOAD_DIGEST"}
    said = site.run("verify", "--all", code=1).out
    assert "REFUSED x:2@1: The payload's bytes are not the ones that were signed" in said
    assert "to do: restore the payload from a backup." in said
    assert "2 refused: 3 artifacts" in said
    assert "REFUSED y:latest: " in site.run("verify", "y", code=1).out


def test_missing_and_truncated_payloads_are_found(stored: Repository, site: Site) -> None:
    """A payload that is gone, or shorter, is a finding; the others are still verified."""
    payload_path(stored, stored.get("x", "1")).unlink()
    replace_payload(payload_path(stored, stored.get("y")), b"short")
    report = site.run("verify", "--all", "--json", code=1).json
    assert [(finding["artifact"], finding["code"]) for finding in report["findings"]] in (
        [
            ("y:1@1", "PAYLOAD_SIZE"),
            ("x:2@1", "PAYLOAD_SIZE"),
            ("x:1@1", "PAYLOAD_MISSING"),
        ],
        [
            ("x:1@1", "PAYLOAD_MISSING"),
            ("y:1@1", "PAYLOAD_SIZE"),
            ("x:2@1", "PAYLOAD_SIZE"),
        ],
    )
    assert report["hashedBytes"] == 0


def test_an_edited_row_is_found_and_shown_harmlessly(stored: Repository, site: Site) -> None:
    """A row's claim is named as it stands there, escaped."""
    run_sql(stored, "UPDATE artifact SET name = ? WHERE name = 'y'", HOSTILE)
    ran = site.run("verify", "--all", code=1)
    assert "REFUSED a\\x1b[31m" in ran.out
    assert not set(FORBIDDEN) & set(ran.out + ran.err)
    report = site.run("verify", "--all", "--json", code=1)
    assert not set(FORBIDDEN) & set(report.out)
    assert report.json["findings"][0]["artifact"] == f"{HOSTILE}:1@1"
    assert report.json["payloads"] == 2


def test_a_catalogue_that_cannot_be_read_is_no_clean_result(stored: Repository, site: Site) -> None:
    """A damaged database ends the check with an error, exit code 1."""
    stored.close()
    file = site.repository / "catalogue.sqlite3"
    run_sql(stored, "PRAGMA wal_checkpoint(TRUNCATE)")
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * (file.stat().st_size - 4096))
    assert "catalogue" in site.run("verify", "--all", code=1).err


# ── progress ─────────────────────────────────────────────────────────────────


def test_no_progress_is_shown_in_a_pipe(
    stored: Repository, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes, standard error stays empty where nobody watches."""
    monkeypatch.setattr(output, "_PATIENCE_SECONDS", 0.0)
    assert site.run("verify", "--all").err == ""
    assert stored.id


@pytest.mark.parametrize(("patience", "shown"), [(0.0, True), (3600.0, False)])
def test_progress_is_shown_at_a_terminal_when_it_takes_long(
    patience: float,
    shown: bool,
    stored: Repository,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bar for statements and one for payloads, on standard error only, and only if it lasts."""
    monkeypatch.setattr(output, "_PATIENCE_SECONDS", patience)
    from sealstore.upkeep.verify import verify_all

    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with output.progress() as progress:
        verify_all(stored, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("payloads" in captured.err) is shown
    assert site.repository == stored.root


def test_an_interruption_ends_the_check(
    stored: Repository, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while payloads are hashed ends with exit code 1, and hashes no further payload."""
    calls = []

    def interrupt(*_: object) -> None:
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBlobStore, "check", interrupt)
    assert "stopped" in site.run("verify", "--all", "--threads", "1", code=1).err
    assert len(calls) == 1
    assert stored.id
