"""Metadata: values of numpy are taken as they are, and a refusal says which key it is about."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import subprocess
import sys
from typing import Any

import numpy
import pandas
import pytest

from sealstore import limits
from sealstore.errors import InvalidMetadataError
from sealstore.repository.facade import Repository
from sealstore.signed.metadata import checked_metadata
from tests.matrix import each_row


@each_row(
    ("scalar", "plain"),
    [
        (numpy.float64(0.91), 0.91),
        (numpy.float64(-0.0), -0.0),
        (numpy.float32(0.1), 0.10000000149011612),
        (numpy.float16(0.5), 0.5),
        (numpy.longdouble(0.1), 0.1),
        (numpy.int8(-3), -3),
        (numpy.int64(-(1 << 63)), -(1 << 63)),
        (numpy.uint64((1 << 64) - 1), (1 << 64) - 1),
        (numpy.bool_(True), True),
        (numpy.str_("x"), "x"),
        (numpy.str_("x\0"), "x\0"),
    ],
)
def test_numbers_of_numpy_are_stored_as_they_are(scalar: Any, plain: object) -> None:
    """The built-in value that is equal, at any depth; nothing is rounded."""
    for given, expected in (
        ({"a": scalar}, {"a": plain}),
        ({"a": [{"b": scalar}]}, {"a": [{"b": plain}]}),
    ):
        assert repr(checked_metadata(given)) == repr(expected)


def test_a_key_may_be_a_text_of_numpy() -> None:
    """Names of columns are such texts, and numbers of columns are no keys."""
    accepted = checked_metadata({numpy.str_("a"): 1})
    assert [type(key) for key in accepted] == [str]
    with pytest.raises(InvalidMetadataError, match="keys are strings"):
        checked_metadata({"counts": {numpy.int64(3): 1}})


def nested(kind: type, levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


@each_row("kind", [list, dict])
def test_metadata_of_the_deepest_levels_is_stored(repository: Repository, kind: type) -> None:
    """As deep as a statement can have it; one level more is refused, and so are very many."""
    deepest = limits.MAX_JSON_DEPTH - 2
    metadata = {"a": nested(kind, deepest - 1)}
    repository.store([1], f"deep {kind.__name__}", "1", metadata=metadata)
    assert repository.get(f"deep {kind.__name__}").metadata == metadata
    for levels in (deepest, 100_000):
        value = nested(kind, levels)
        with pytest.raises(InvalidMetadataError, match="nested too deeply"):
            checked_metadata({"a": value})
        while isinstance(value, list | dict):  # freed level by level
            value = value.pop() if isinstance(value, list) else value.pop("a")


class Colour(enum.Enum):
    RED = 1


@each_row(
    ("value", "advice"),
    [
        (math.nan, "leave it out"),
        (math.inf, "leave it out"),
        (numpy.float64("nan"), "leave it out"),
        (numpy.float32("-inf"), "leave it out"),
        (numpy.longdouble("nan"), "leave it out"),
        (numpy.longdouble(1) / 3, "float()"),
        (numpy.complex128(1j), "float()"),
        (numpy.datetime64("2026-01-01"), "str()"),
        (numpy.timedelta64(1, "s"), "str()"),
        (numpy.bytes_(b"x"), "int() or str()"),
        (numpy.arange(3), "tolist()"),
        (numpy.array(3), "tolist()"),
        (pandas.Series([1]), "tolist()"),
        (pandas.Timestamp("2026-01-01"), "isoformat()"),
        (pandas.DataFrame(), "an object of its own"),
        (datetime.date(2026, 1, 1), "isoformat()"),
        (decimal.Decimal(1), "float()"),
        (Colour.RED, "value.value"),
        ((1, 2), "list(value)"),
        ({1}, "sorted(value)"),
        (b"x", "hex()"),
        (1 << 64, "str(value)"),
        ("\ud800", "Unicode"),
        (object(), "str()"),
    ],
)
def test_a_refusal_names_the_whole_path_and_what_to_do(value: object, advice: str) -> None:
    """Who logs fifty metrics finds the one that is refused."""
    with pytest.raises(InvalidMetadataError) as refusal:
        checked_metadata({"note": "x", "folds": [{}, {"the metric": value}]})
    text = str(refusal.value)
    assert "metadata['folds'][1]['the metric'] " in text
    assert advice in text


def test_a_key_that_is_no_unicode_is_refused() -> None:
    """It is named, escaped."""
    with pytest.raises(InvalidMetadataError, match=r"\['a'\]\['.udc00'\] holds a lone surrogate"):
        checked_metadata({"a": {"\udc00": 1}})


@each_row("key", [1, None, True, 1.5, b"x", (1, 2)])
def test_a_refused_key_is_named_with_its_place(key: object) -> None:
    """The path leads to the dict that has it."""
    with pytest.raises(InvalidMetadataError, match=r"metadata\['a'\] has the key .* keys are"):
        checked_metadata({"a": {key: 1}})


def test_a_type_that_only_looks_like_numpy_is_refused() -> None:
    """A class that extends numpy's may say anything of its value."""

    class Mine(numpy.float64):
        def item(self) -> float:  # type: ignore[override]
            return 2.0

    with pytest.raises(InvalidMetadataError, match=r"\['a'\]"):
        checked_metadata({"a": Mine(1.0)})


def test_numpy_is_not_imported_for_metadata() -> None:
    """Plain metadata is checked without it."""
    code = (
        "import sys; from sealstore.signed.metadata import checked_metadata\n"
        "checked_metadata({'a': [1.5, 'x']}); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_score_is_stored_and_comes_back(repository: Repository) -> None:
    """What cross_val_score(...).mean() is can be handed on as it is."""
    repository.store([1], "model", "1", metadata={"auc": numpy.float64(0.91), "n": numpy.int64(5)})
    assert dict(repository.get("model").metadata) == {"auc": 0.91, "n": 5}
