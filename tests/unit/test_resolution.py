"""The imports of a payload, as they are signed and as a load resolves them."""

from __future__ import annotations

import collections
import sys
from typing import Any

import pytest

from sealstore.errors import UnsignedImportError, UnsupportedPayloadError
from sealstore.formats.pickling.inspection import inspect_memory
from sealstore.formats.pickling.resolution import SignedImports, imports_to_sign


@pytest.mark.invariant(4)
def test_only_signed_names_are_resolved() -> None:
    """A name that the statement does not list is refused before its module is imported."""
    signed = SignedImports(["collections:OrderedDict"])
    assert signed.resolve("collections", "OrderedDict") is collections.OrderedDict
    sys.modules.pop("antigravity", None)
    with pytest.raises(UnsignedImportError):
        signed.resolve("antigravity", "geohash")
    with pytest.raises(UnsignedImportError):
        signed.resolve("collections", "Counter")
    assert "antigravity" not in sys.modules


def test_qualified_names_are_followed() -> None:
    """A dotted name is followed attribute by attribute."""
    signed = SignedImports(["collections:OrderedDict.fromkeys"])
    found: Any = signed.resolve("collections", "OrderedDict.fromkeys")
    assert found(["a"]) == {"a": None}


def test_findings_are_refused() -> None:
    """What an inspection speaks against is not signed."""
    inspection = inspect_memory(memoryview(b"ZF" + bytes(20)))
    with pytest.raises(UnsupportedPayloadError):
        imports_to_sign(inspection)
