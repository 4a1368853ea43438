"""The algorithms: published vectors, the ids of keys, and keys that are too weak to be any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sealstore import limits
from sealstore.errors import KeyringFormatError, NoSigningKeyError
from sealstore.keys.algorithms import (
    ALGORITHMS,
    Ed25519Private,
    Ed25519Public,
    HmacSha256,
    KeyMaterial,
)
from tests.matrix import each_row

VECTORS = Path(__file__).parents[1] / "vectors"


def published(rfc: str) -> list[dict[str, bytes]]:
    """The test vectors of an RFC."""
    document = json.loads((VECTORS / f"{rfc}.json").read_text(encoding="utf-8"))
    return [
        {name: bytes.fromhex(value) for name, value in vector.items()}
        for vector in document["vectors"]
    ]


@pytest.mark.parametrize("vector", published("rfc4231"))
def test_hmac_sha256_is_the_one_of_rfc_4231(vector: dict[str, bytes]) -> None:
    """The published vectors hold; HMAC pads keys with zeros, so short ones are padded here."""
    key = HmacSha256(vector["key"].ljust(limits.MIN_HMAC_KEY_BYTES, b"\0"))
    assert key.sign(vector["message"]) == vector["mac"]
    assert key.is_signature(vector["message"], vector["mac"])
    assert not key.is_signature(vector["message"] + b"\0", vector["mac"])
    assert not key.is_signature(vector["message"], vector["mac"][:16])


@pytest.mark.parametrize("vector", published("rfc8032"))
def test_ed25519_is_the_one_of_rfc_8032(vector: dict[str, bytes]) -> None:
    """The published vectors hold for the pair and for its public part."""
    pair = Ed25519Private(vector["secret"])
    assert pair.sign(vector["message"]) == vector["signature"]
    assert pair.public().to_bytes() == vector["public"]
    assert pair.to_bytes() == vector["secret"]
    for key in (pair, Ed25519Public(vector["public"])):
        assert key.is_signature(vector["message"], vector["signature"])
        assert not key.is_signature(vector["message"] + b"\0", vector["signature"])


GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def test_an_ed25519_signature_has_no_second_form() -> None:
    """S + L is refused: nobody makes another signature of a genuine one (RFC 8032, 5.1.7)."""
    vector = published("rfc8032")[1]
    genuine = vector["signature"]
    scalar = int.from_bytes(genuine[32:], "little") + GROUP_ORDER
    other = genuine[:32] + scalar.to_bytes(32, "little")
    assert not Ed25519Private(vector["secret"]).is_signature(vector["message"], other)


# ── keys that are too weak ───────────────────────────────────────────────────


@pytest.mark.parametrize("length", [0, 1, 16, 31, limits.MAX_HMAC_KEY_BYTES + 1])
def test_an_hmac_key_of_another_length_is_refused(length: int) -> None:
    """256 bits at least, and nothing that is another file by mistake."""
    with pytest.raises(KeyringFormatError, match=f"this one has {length}"):
        HmacSha256(b"k" * length)


@pytest.mark.parametrize("length", [32, 33, 64, limits.MAX_HMAC_KEY_BYTES])
def test_an_hmac_key_within_the_limits_is_accepted(length: int) -> None:
    """The limits themselves are allowed."""
    assert HmacSha256(b"k" * length).to_bytes() == b"k" * length


@pytest.mark.parametrize("length", [0, 31, 33, 64])
@pytest.mark.parametrize("algorithm", [Ed25519Private, Ed25519Public])
def test_an_ed25519_key_of_another_length_is_refused(algorithm: Any, length: int) -> None:
    """32 bytes, neither more nor less."""
    with pytest.raises(KeyringFormatError, match="has 32 bytes"):
        algorithm(b"k" * length)


PRIME = 2**255 - 19
D = -121665 * pow(121666, -1, PRIME) % PRIME


def x_of(y: int, odd: int) -> int | None:
    """The x coordinate of a point of edwards25519 (RFC 8032, section 5.1.3), or None."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    if (x * x - square) % PRIME:
        return None
    return x if x % 2 == odd else -x % PRIME


def doubled(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    product = D * x * x * y * y
    return (
        2 * x * y * pow(1 + product, -1, PRIME) % PRIME,
        (y * y + x * x) * pow(1 - product, -1, PRIME) % PRIME,
    )


def small_order_keys() -> list[bytes]:
    """Every spelling of the points whose order divides 8, found by doubling three times."""
    # 8·P = 0 for these ordinates only: y, and -y, of a point of order 8 besides 0, 1 and -1.
    order_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
    ordinates = [0, 1, PRIME - 1, order_8, PRIME - order_8]
    points = set()
    for y in ordinates:
        for odd in (0, 1):
            x = x_of(y, odd)
            assert x is not None
            assert doubled(doubled(doubled((x, y)))) == (0, 1)
            points.add((x, y))
    assert len(points) == 8, "the group has exactly eight of them"
    values = [y for y in range(PRIME, 1 << 255) if y - PRIME in ordinates] + ordinates
    return [(y | sign << 255).to_bytes(32, "little") for y in values for sign in (0, 1)]


@each_row("material", small_order_keys(), ids=bytes.hex)
def test_an_ed25519_key_of_small_order_is_refused(material: bytes) -> None:
    """No key is accepted for which everybody can make signatures without a private part."""
    with pytest.raises(KeyringFormatError):
        Ed25519Public(material)


# ── ids ──────────────────────────────────────────────────────────────────────


def test_the_id_of_a_key_is_derived_from_algorithm_and_material() -> None:
    """The same 32 bytes as keys of three kinds are three keys; the same key has the same id."""
    material = published("rfc8032")[0]["public"]
    ids = {algorithm(material).key_id for algorithm in (HmacSha256, Ed25519Private, Ed25519Public)}
    assert len(ids) == 3
    assert all(len(each) == 32 and set(each) <= set("0123456789abcdef") for each in ids)
    assert HmacSha256(material).key_id == HmacSha256(material).key_id


def test_a_pair_and_its_public_part_are_one_key() -> None:
    """What the pair signed verifies with its public part under the same id."""
    pair = Ed25519Private.generate()
    public = pair.public()
    assert public.key_id == pair.key_id
    assert public.public().to_bytes() == public.to_bytes()
    assert public.is_signature(b"message", pair.sign(b"message"))


def test_keys_that_sign_alike_have_the_same_id() -> None:
    """HMAC pads keys with zeros: a revoked key does not return under another id."""
    key = b"k" * 40
    for other in (key + b"\0", key.ljust(64, b"\0")):
        assert HmacSha256(other).sign(b"m") == HmacSha256(key).sign(b"m")
        assert HmacSha256(other).key_id == HmacSha256(key).key_id


def test_the_id_of_an_hmac_key_is_no_signature() -> None:
    """The id, which everybody sees, is not part of a MAC over what envelopes contain."""
    key = HmacSha256(b"k" * 32)
    for message in (b"", b"sealstore key id v1 ", b"DSSEv1 0  0 "):
        assert key.sign(message).hex()[:32] != key.key_id


@pytest.mark.parametrize("algorithm", [HmacSha256, Ed25519Private])
def test_generated_keys_differ_and_sign(algorithm: Any) -> None:
    """A generated key is 256 bits that no other one has."""
    first, second = algorithm.generate(), algorithm.generate()
    assert len(first.to_bytes()) == 32
    assert first.to_bytes() != second.to_bytes()
    assert first.key_id != second.key_id
    assert first.is_signature(b"message", first.sign(b"message"))
    assert not second.is_signature(b"message", first.sign(b"message"))


# ── kinds ────────────────────────────────────────────────────────────────────


def test_a_public_key_cannot_sign() -> None:
    """Verify-only means verify-only."""
    public = Ed25519Private.generate().public()
    assert not public.can_sign
    with pytest.raises(NoSigningKeyError, match="cannot sign"):
        public.sign(b"message")


def test_an_hmac_key_has_no_public_part() -> None:
    """Who can verify with it can forge with it, so there is nothing to hand out."""
    key: KeyMaterial = HmacSha256.generate()
    assert key.public() is None


@pytest.mark.invariant(7)
def test_the_algorithms_are_three_and_none_of_them_is_none() -> None:
    """A keyring file can name nothing that verifies without a key."""
    assert sorted(ALGORITHMS) == ["ed25519", "ed25519-public", "hmac-sha256"]


@pytest.mark.parametrize("algorithm", [HmacSha256, Ed25519Private])
def test_a_key_shows_nothing_of_its_secret(algorithm: Any) -> None:
    """Neither repr nor str, in a log or a traceback, contains the material."""
    key = algorithm(b"s3cr3t!!" * 4)
    for text in (repr(key), str(key)):
        assert "s3cr3t" not in text
        assert key.to_bytes().hex() not in text
