"""Errors: one family, stable codes, a way out, and nothing that a terminal would obey."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterator

import pytest

from sealstore import errors
from sealstore.errors import (
    ArtifactNotFound,
    CatalogueTamperedError,
    InvalidNameError,
    NotSerialisableError,
    ProofError,
    SealstoreError,
    SignatureInvalidError,
    StorageError,
    UsageError,
    VerificationError,
    printable,
)
from sealstore.hints import HINTS
from sealstore.repository import packages, storing
from tests.matrix import each_row


def family(base: type[SealstoreError] = SealstoreError) -> Iterator[type[SealstoreError]]:
    yield base
    for derived in base.__subclasses__():
        if derived.__module__ == errors.__name__:
            yield from family(derived)


FAMILY = sorted(set(family()), key=lambda error: error.__name__)


def test_every_error_of_the_module_is_of_the_family() -> None:
    """One except clause catches them all."""
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__ == errors.__name__
    }
    warnings = {each for each in defined if issubclass(each, Warning)}
    assert defined - warnings == set(FAMILY)
    assert all(issubclass(warning, UserWarning) for warning in warnings)


def test_every_error_has_a_code_of_its_own() -> None:
    """Scripts and ledgers tell errors apart by a stable word."""
    codes = [error.code for error in FAMILY]
    assert len(set(codes)) == len(codes)
    assert all(code == code.upper() and code.isidentifier() for code in codes)


def test_the_codes_that_others_rely_on_do_not_change() -> None:
    """A code is an interface: renaming one is a breaking change."""
    stable = {
        "ArtifactNotFound": "ARTIFACT_NOT_FOUND",
        "CatalogueTamperedError": "CATALOGUE_TAMPERED",
        "EnvelopeFormatError": "ENVELOPE_FORMAT",
        "IdentityMismatchError": "IDENTITY_MISMATCH",
        "KeyRoleError": "KEY_ROLE",
        "NoSigningKeyError": "NO_SIGNING_KEY",
        "PayloadDigestError": "PAYLOAD_DIGEST",
        "PayloadFileError": "PAYLOAD_FILE",
        "PayloadMissingError": "PAYLOAD_MISSING",
        "PayloadSizeError": "PAYLOAD_SIZE",
        "RevokedKeyError": "REVOKED_KEY",
        "SignatureInvalidError": "SIGNATURE_INVALID",
        "StatementFormatError": "STATEMENT_FORMAT",
        "UnknownKeyError": "UNKNOWN_KEY",
    }
    assert {error.__name__: error.code for error in FAMILY if error.__name__ in stable} == stable


@each_row("error", FAMILY)
def test_an_error_survives_pickling_and_copying(error: type[SealstoreError]) -> None:
    """Errors cross from worker processes with all that they say."""
    raised = error("What failed.", artifact="a:b@1", hint="look at {path}.", path="/x/y")
    for again in (pickle.loads(pickle.dumps(raised)), copy.copy(raised)):
        assert type(again) is error
        assert str(again) == str(raised) == "a:b@1: What failed. To do: look at /x/y."
        assert (again.message, again.artifact, again.hint, again.path) == (
            "What failed.",
            "a:b@1",
            "look at {path}.",
            "/x/y",
        )
        assert again.error_code == error.code


def test_errors_are_also_what_python_calls_them() -> None:
    """Code that knows nothing of sealstore catches what it expects."""
    assert issubclass(ArtifactNotFound, FileNotFoundError)
    assert issubclass(NotSerialisableError, TypeError)
    assert issubclass(UsageError, ValueError)
    assert issubclass(InvalidNameError, ValueError)
    assert not issubclass(VerificationError, ValueError | OSError)
    assert not issubclass(CatalogueTamperedError, ValueError | OSError)


@each_row("error", FAMILY)
def test_hetida_designer_recognises_every_error(error: type[SealstoreError]) -> None:
    """The mark and the code by which hetida shows errors in its results."""
    raised = error("x")
    assert raised.__is_hetida_designer_exception__ is True
    assert raised.error_code == error.code


@each_row("error", FAMILY)
def test_without_a_hint_an_error_shows_its_default(error: type[SealstoreError]) -> None:
    """What to do now is part of the text where there is something to do."""
    raised = error("It failed.", path="/x/y")
    if raised.hint:
        assert str(raised).startswith("It failed. To do: ")
    else:
        assert str(raised) == "It failed. (/x/y)"
    assert str(error("It failed.", hint="")) == "It failed."


def test_every_hint_is_that_of_an_error() -> None:
    """A misspelled code would leave its error without a way out."""
    codes = {error.code for error in FAMILY}
    assert codes >= HINTS.keys()
    assert all(error("x").hint == HINTS[error.code] for error in FAMILY if error.code in HINTS)


def test_an_error_without_a_hint_of_its_own_has_that_of_its_kind() -> None:
    """Every refusal says at least that the artifact is not to be used."""
    assert "SIGNATURE_INVALID" not in HINTS
    assert SignatureInvalidError("x").hint == HINTS["VERIFICATION"]
    assert ProofError("x").hint == HINTS["LEDGER_TAMPERED"]
    assert StorageError("x").hint == ""


def test_an_error_is_told_where_its_hint_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that can open no more files still says what failed."""
    monkeypatch.setitem(sys.modules, "sealstore.hints", None)
    assert str(VerificationError("It failed.")) == "It failed."
    assert str(VerificationError("It failed.", hint="do so.")) == "It failed. To do: do so."


def test_an_error_that_a_site_derives_has_the_code_of_its_kind() -> None:
    """A class from outside needs no code of its own to be told by scripts."""

    class OwnError(VerificationError):
        pass

    assert (OwnError.code, OwnError("x").hint) == ("VERIFICATION", HINTS["VERIFICATION"])


def test_a_hint_can_be_replaced() -> None:
    """An outer step may know better what to do."""
    error = VerificationError("It failed.")
    error.hint = "do so."
    assert str(error) == "It failed. To do: do so."


def test_a_path_can_be_hidden() -> None:
    """People who must not learn the layout of a server see the name alone."""
    hidden = StorageError("It failed.", hint="check {path}.", path="/srv/secret/file")
    assert str(hidden.without_directories()) == "It failed. To do: check file."
    bare = StorageError("It failed.", path="/srv/secret/file").without_directories()
    assert str(bare) == "It failed. (file)"
    assert str(StorageError("It failed.", hint="check {path}.")) == "It failed. To do: check ."


def test_the_first_artifact_is_the_one_that_is_named() -> None:
    """An outer step does not overwrite what an inner one knew better."""
    error = StorageError("It failed.")
    assert error.for_artifact("a:b") is error
    assert error.for_artifact("c:d").artifact == "a:b"
    assert str(error) == "a:b: It failed."


HOSTILE = "\x1b[31mred\x1b[0m\x07\r\n\x9b1m\u202egnp\u200b\u2028\ud800\x00"


def test_no_error_moves_a_cursor_or_rings_a_bell() -> None:
    """Control, format and separator characters are shown as escapes, wherever they came from."""
    for error in (
        StorageError(HOSTILE),
        StorageError("x", artifact=HOSTILE),
        StorageError("x", hint=HOSTILE),
        StorageError("x", path=HOSTILE),
        StorageError("x", hint="{path}", path=HOSTILE),
    ):
        assert str(error).isprintable()
        assert "\\x1b[31mred" in str(error)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Größe 模型 😀", "Größe 模型 😀"),
        ("\x1b", "\\x1b"),
        ("\n", "\\n"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("\\x1b", "\\x1b"),
    ],
)
def test_printable_escapes_what_a_terminal_would_obey(text: str, shown: str) -> None:
    """Letters of all scripts stay as they are."""
    assert printable(text) == shown


def test_a_warning_is_told_at_the_line_outside_of_sealstore() -> None:
    """However deep inside it was found, and in printable characters."""
    with pytest.warns(errors.PortabilityWarning) as caught:
        packages.refuse_unportable(["__main__:Model"])
    assert [each.filename for each in caught] == [__file__]
    with pytest.warns(errors.RepairWarning) as caught:
        storing.warn("\x1b[31mred")
    assert [(each.filename, str(each.message)) for each in caught] == [(__file__, "\\x1b[31mred")]
