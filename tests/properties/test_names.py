"""Names and tags: each accepted pair has a path of its own inside, each refusal names its rule."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sealstore import limits
from sealstore.errors import InvalidNameError
from sealstore.names import ArtifactRef, Name, Tag
from sealstore.storage.mirror_writing import mirror_path
from tests.sealstore_fixtures import fewer_examples

RULES = (
    "it is not a string",
    "it is empty",
    "it has more than 128 characters",
    "it contains ",
    "it does not begin with a letter, a digit or an underscore",
    "it ends with a dot or a space",
    "it has more than 255 bytes in UTF-8",
    "it is not in Unicode normal form C",
)

ORDINARY = st.text(st.sampled_from("aAbB09zÜß模_-+=, ()[]."), min_size=1, max_size=12)
HOSTILE = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(categories=("L", "N", "M", "Cf", "Cs")), max_size=8),
    st.lists(
        st.sampled_from(["..", ".", "/", "\\", "\0", "~", "a", "latest", "con", ":", "%2e", "\n"]),
        max_size=5,
    ).map("".join),
    st.text(st.sampled_from("a.模"), min_size=80, max_size=140),
)
TEXTS = st.one_of(ORDINARY, HOSTILE)


def accepted(kind: type[Name] | type[Tag], text: str) -> Name | Tag | None:
    """The name, or None after a refusal that says why."""
    name: Name | Tag | None = None
    refusal = None
    try:
        name = kind(text)
    except InvalidNameError as error:
        refusal = error.message
    if refusal is not None:
        assert f"The {kind.kind} " in refusal
        assert any(rule in refusal for rule in RULES), refusal
        assert refusal.isascii()
        assert refusal.isprintable()
        return None
    assert name == text
    assert type(name) is kind
    return name


@given(text=TEXTS)
@example("a" * 128)
@example("a" * 129)
@example("..")
@fewer_examples(5)
def test_an_accepted_name_is_one_segment_of_a_path(text: str) -> None:
    """It has no separator, leads nowhere else, begins no option and hides no file."""
    name = accepted(Name, text)
    assert (name is None) is (accepted(Tag, text) is None)
    if name is None:
        return
    assert PurePosixPath(name).parts == (name,)
    assert name not in (".", "..")
    assert os.path.normpath(f"/root/{name}") == f"/root/{name}"
    assert name[0] not in ".-~ "
    assert len(os.fsencode(name)) <= 255
    assert len(name) <= limits.MAX_NAME_CHARACTERS
    assert name.isprintable()
    assert unicodedata.normalize("NFC", name) == name


@given(one=st.tuples(TEXTS, TEXTS), other=st.tuples(TEXTS, TEXTS), revision=st.integers(1, 99))
@example(("a_b", "c"), ("a", "b_c"), 1)
@example(("a", "b"), ("a", "b.json"), 1)
@fewer_examples(5)
def test_two_accepted_pairs_have_two_paths_inside_of_the_repository(
    one: tuple[str, str], other: tuple[str, str], revision: int
) -> None:
    """No two artifacts share a file, and none lies outside."""
    paths = []
    for name_text, tag_text in (one, other):
        name, tag = accepted(Name, name_text), accepted(Tag, tag_text)
        if not (isinstance(name, Name) and isinstance(tag, Tag)):
            return
        path = Path(os.path.normpath(Path("/root") / mirror_path(ArtifactRef(name, tag, revision))))
        assert path.parts == ("/", "root", "statements", name, tag, f"{revision}.json")
        paths.append(path)
    assert (paths[0] == paths[1]) is (one == other)


@given(text=ORDINARY.filter(lambda text: accepted(Name, text) is not None))
@fewer_examples(0.5)
def test_an_accepted_name_is_a_file_name(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The file system takes it, and gives it back as it is."""
    folder = tmp_path_factory.mktemp("names")
    (folder / Name(text)).touch()
    assert [path.name for path in folder.iterdir()] == [text]
