"""What every store of payloads does. A new one joins by a place in STORES."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from blake3 import blake3

from sealstore import limits
from sealstore.errors import (
    PayloadDigestError,
    PayloadMissingError,
    PayloadSizeError,
    VerificationError,
)
from sealstore.signed.statement import Digests
from sealstore.storage.blobs.contract import BlobStore, CommitOutcome, FileKind, StoredFile
from sealstore.storage.blobs.local import LocalBlobStore
from sealstore.storage.blobs.payload_hash import DigestName
from tests.faults.children import run_all
from tests.faults.operations import without_nameless_files


class Place(Protocol):
    """Somewhere to keep payloads, and what somebody can do to it who may write there."""

    def store(self) -> BlobStore:
        """A store there; another object each time."""
        ...

    def plant(self, sha256: str, data: bytes) -> None:
        """Put other bytes in the payload's place."""
        ...

    def take(self, sha256: str) -> None:
        """Take the payload away."""
        ...


class LocalPlace:
    """A repository's folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir()
        LocalBlobStore(root).create()

    def store(self) -> BlobStore:
        return LocalBlobStore(self._root)

    def plant(self, sha256: str, data: bytes) -> None:
        self.take(sha256)
        self._path(sha256).write_bytes(data)

    def take(self, sha256: str) -> None:
        self._path(sha256).unlink()

    def _path(self, sha256: str) -> Path:
        return self._root / "objects" / sha256[:2] / sha256


def local(tmp_path: Path) -> Iterator[Place]:
    yield LocalPlace(tmp_path / "repository")


def local_with_temporary_names(tmp_path: Path) -> Iterator[Place]:
    with without_nameless_files():
        yield LocalPlace(tmp_path / "repository")


STORES = [local, local_with_temporary_names]


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from request.param(tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[BlobStore]:
    made = place.store()
    yield made
    made.close()


def put(store: BlobStore, data: bytes, piece: int = 1 << 30) -> tuple[Digests, CommitOutcome]:
    """Store ``data``, written in pieces."""
    with store.stage() as staged:
        for start in range(0, len(data), piece):
            assert staged.write(data[start : start + piece]) == len(data[start : start + piece])
        assert staged.tell() == len(data)
        digests, size = staged.finish()
        assert size == len(data)
        return digests, staged.commit()


def get(store: BlobStore, digests: Digests, size: int) -> bytes:
    return bytes(store.read(digests, size, check=DigestName.BLAKE3).view)


def some_bytes(size: int) -> bytes:
    """Bytes that repeat nowhere, so that no piece can stand for another."""
    return hashlib.shake_128(b"payload").digest(size)


SIZES = [
    *(0, 1, limits.ANONYMOUS_MAP_BYTES - 1, limits.ANONYMOUS_MAP_BYTES),
    *(limits.MIB, limits.PARALLEL_HASH_BYTES, limits.READ_CHUNK_BYTES + limits.MIB + 1),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("check", DigestName)
def test_what_is_stored_is_read(
    store: BlobStore, size: int, sealed: bool, check: DigestName
) -> None:
    """Any size, by either digest, in private or sealed memory; the digests are the bytes' own."""
    data = some_bytes(size)
    digests, outcome = put(store, data, piece=300_001)
    assert outcome is CommitOutcome.NEW
    assert digests == Digests(
        sha256=hashlib.sha256(data).hexdigest(), blake3=blake3(data).hexdigest()
    )
    payload = store.read(digests, size, check=check, sealed=sealed)
    assert payload.view == data
    assert len(payload) == size
    store.check(digests, size)
    copy = bytearray()
    store.copy(digests, size, copy.extend)
    assert copy == data
    assert list(store.sha256s()) == [digests.sha256]


def test_a_payload_is_looked_at_before_it_is_committed(store: BlobStore) -> None:
    """The view holds all that was written, buffered or not, and nothing is listed yet."""
    data = some_bytes(3 * limits.MIB + 5)
    with store.stage() as staged:
        staged.write(data[:10])
        staged.write(bytearray(data[10 : 2 * limits.MIB]))
        staged.flush()
        staged.write(memoryview(data)[2 * limits.MIB :])
        assert staged.view() == data
        assert list(store.sha256s()) == []
        digests, _ = staged.finish()
        staged.commit()
    assert get(store, digests, len(data)) == data


@pytest.mark.parametrize("size", [0, 10, 3 * limits.MIB])
def test_beginning_again_forgets_what_was_written(store: BlobStore, size: int) -> None:
    """After a restart only what comes then counts, in the bytes, the size and both digests."""
    with store.stage() as staged:
        staged.write(some_bytes(size))
        staged.restart()
        assert staged.tell() == 0
        staged.write(b"second")
        digests, length = staged.finish()
        staged.commit()
    assert length == 6
    assert digests.sha256 == hashlib.sha256(b"second").hexdigest()
    assert get(store, digests, 6) == b"second"


@pytest.mark.invariant(3)
def test_what_is_not_committed_was_never_there(store: BlobStore) -> None:
    """Left without a commit, or by an exception: no payload, however much was written."""
    data = some_bytes(2 * limits.MIB)
    with store.stage() as staged:
        staged.write(data)
        digests, _ = staged.finish()

    def fail() -> None:
        with store.stage() as staged:
            staged.write(data)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(store.sha256s()) == []
    with pytest.raises(PayloadMissingError):
        get(store, digests, len(data))


def test_one_payload_is_kept_once(store: BlobStore, place: Place) -> None:
    """Storing the same bytes again says so; by another object of the same store, too."""
    first, outcome = put(store, b"payload")
    assert outcome is CommitOutcome.NEW
    for again in (store, place.store()):
        assert put(again, b"payload") == (first, CommitOutcome.ALREADY_THERE)
    assert list(store.sha256s()) == [first.sha256]


def test_payloads_that_are_written_at_the_same_time_do_not_mix(store: BlobStore) -> None:
    """Each stage is its own, and is committed in any order."""
    with store.stage() as first, store.stage() as second:
        for number in range(1000):
            first.write(b"1%d" % number)
            second.write(b"2%d" % number)
        expected = [b"".join(b"%c%d" % (which, n) for n in range(1000)) for which in b"12"]
        digests = [second.finish()[0], first.finish()[0]]
        assert second.commit() is first.commit() is CommitOutcome.NEW
    assert get(store, digests[1], len(expected[0])) == expected[0]
    assert get(store, digests[0], len(expected[1])) == expected[1]


@pytest.mark.invariant(1)
@pytest.mark.parametrize(
    ("planted", "refusal"),
    [
        (b"PAYLOAD", PayloadDigestError),
        (b"payloa", PayloadSizeError),
        (b"payload ", PayloadSizeError),
        (b"", PayloadSizeError),
    ],
)
def test_planted_bytes_are_refused_and_mended_by_storing_again(
    store: BlobStore, place: Place, planted: bytes, refusal: type[VerificationError]
) -> None:
    """Other bytes in the payload's place are never returned; a store notices and says so."""
    digests, _ = put(store, b"payload")
    place.plant(digests.sha256, planted)
    for check in DigestName:
        for sealed in (False, True):
            with pytest.raises(refusal):
                store.read(digests, 7, check=check, sealed=sealed)
    with pytest.raises(refusal):
        store.check(digests, 7)
    assert put(store, b"payload") == (digests, CommitOutcome.MENDED)
    assert get(store, digests, 7) == b"payload"
    assert put(store, b"payload") == (digests, CommitOutcome.ALREADY_THERE)


@pytest.mark.invariant(1)
def test_what_was_read_does_not_change_with_the_store(store: BlobStore, place: Place) -> None:
    """Memory that was verified stays as it was when the payload is exchanged or taken away."""
    data = some_bytes(limits.MIB)
    digests, _ = put(store, data)
    read = [
        store.read(digests, len(data), check=DigestName.BLAKE3, sealed=sealed)
        for sealed in (False, True)
    ]
    place.plant(digests.sha256, bytes(len(data)))
    assert [bytes(payload.view) for payload in read] == [data, data]
    place.take(digests.sha256)
    assert [bytes(payload.view) for payload in read] == [data, data]


def test_a_missing_payload_is_named_as_such(store: BlobStore, place: Place) -> None:
    """Never stored, or taken away: the same refusal, for reading and for checking."""
    digests, _ = put(store, b"payload")
    place.take(digests.sha256)
    nobody = replace_sha256(digests)
    for missing in (digests, nobody):
        for use in reading(store, missing):
            with pytest.raises(PayloadMissingError):
                use()
    assert list(store.sha256s()) == []


def replace_sha256(digests: Digests) -> Digests:
    return Digests(sha256="00" * 32, blake3=digests.blake3)


def reading(store: BlobStore, digests: Digests) -> list[Callable[[], object]]:
    return [
        lambda: store.read(digests, 7, check=DigestName.BLAKE3),
        lambda: store.read(digests, 7, check=DigestName.SHA256, sealed=True),
        lambda: store.check(digests, 7),
        lambda: store.copy(digests, 7, lambda _: None),
    ]


def test_another_digest_or_size_than_the_signed_one_is_refused(store: BlobStore) -> None:
    """The one digest that is asked for is compared, and a check compares both."""
    digests, _ = put(store, b"payload")
    other = Digests(sha256=digests.sha256, blake3="00" * 32)
    with pytest.raises(PayloadDigestError):
        store.read(other, 7, check=DigestName.BLAKE3)
    assert bytes(store.read(other, 7, check=DigestName.SHA256).view) == b"payload"
    with pytest.raises(PayloadDigestError):
        store.check(other, 7)
    with pytest.raises(PayloadDigestError):
        store.copy(other, 7, lambda _: None)
    for size in (0, 6, 8, limits.MAX_PAYLOAD_BYTES):
        with pytest.raises(PayloadSizeError):
            store.read(digests, size, check=DigestName.BLAKE3)
        with pytest.raises(PayloadSizeError):
            store.check(digests, size)
        handed_on = bytearray()
        with pytest.raises(PayloadSizeError):
            store.copy(digests, size, handed_on.extend)
        assert not handed_on


def test_a_closed_store_can_be_used_again(store: BlobStore) -> None:
    """Closing gives back handles, and takes nothing away."""
    digests, _ = put(store, b"payload")
    store.close()
    assert get(store, digests, 7) == b"payload"
    store.close()
    store.close()
    assert put(store, b"payload") == (digests, CommitOutcome.ALREADY_THERE)


@pytest.mark.invariant(3)
def test_threads_that_store_one_payload_make_it_once(store: BlobStore) -> None:
    """Of many stores of the same bytes one is new; each returns when the payload is readable."""
    outcomes: list[CommitOutcome] = []
    ready = threading.Barrier(8)

    def put_and_get() -> None:
        ready.wait()
        for number in range(20):
            data = b"payload %d" % number
            digests, outcome = put(store, data)
            assert get(store, digests, len(data)) == data
            outcomes.append(outcome)

    threads = [threading.Thread(target=put_and_get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(CommitOutcome.NEW) == 20
    assert outcomes.count(CommitOutcome.ALREADY_THERE) == 140


def put_many(store: BlobStore) -> int:
    outcomes = [put(store, b"payload %d" % number)[1] for number in range(50)]
    assert set(outcomes) <= {CommitOutcome.NEW, CommitOutcome.ALREADY_THERE}
    return outcomes.count(CommitOutcome.NEW)


@pytest.mark.invariant(3)
def test_processes_that_store_one_payload_make_it_once(place: Place) -> None:
    """The same across processes."""
    assert sum(run_all([(put_many, (place.store(),))] * 4)) == 50
    assert len(list(place.store().sha256s())) == 50


# ── collecting ───────────────────────────────────────────────────────────────


def payload_files(store: BlobStore) -> list[StoredFile]:
    return [file for file in store.files() if file.kind is FileKind.PAYLOAD]


def test_a_payload_is_found_and_removed(store: BlobStore) -> None:
    """What was found is removed once; another of the same bytes that came since is not."""
    digests, _ = put(store, b"payload")
    kept, _ = put(store, b"kept")
    found = {file.found.name: file for file in payload_files(store)}
    assert set(found) == {digests.sha256, kept.sha256}
    with store.removing() as remove:
        assert remove(found[digests.sha256])
        assert not remove(found[digests.sha256])
    assert list(store.sha256s()) == [kept.sha256]
    put(store, b"payload")
    with store.removing() as remove:
        assert not remove(found[digests.sha256])
    assert get(store, digests, 7) == b"payload"


@pytest.mark.invariant(3)
@pytest.mark.parametrize("was_there", [False, True])
@pytest.mark.parametrize("size", [0, 10, 3 * limits.MIB])
def test_a_payload_that_was_collected_is_there_again(
    store: BlobStore, place: Place, was_there: bool, size: int
) -> None:
    """Removed between its commit and its record, new or not, it is put back before the latter."""
    data = some_bytes(size)
    if was_there:
        put(place.store(), data)
    with store.stage() as staged:
        staged.write(data)
        digests, _ = staged.finish()
        staged.commit()
        for _ in range(2):
            place.take(digests.sha256)
            staged.secure()
        before = payload_files(store)
        staged.secure()
        assert payload_files(store) == before
    store.check(digests, size)
    assert [file.found.name for file in store.files() if file.kind is FileKind.STAGING] == []


def test_other_bytes_that_came_in_between_are_moved_aside(store: BlobStore, place: Place) -> None:
    """Whatever took the payload's place before it is on record gives way to it."""
    with store.stage() as staged:
        staged.write(b"payload")
        digests, _ = staged.finish()
        staged.commit()
        place.plant(digests.sha256, b"another")
        staged.secure()
    assert get(store, digests, 7) == b"payload"
