"""The attack corpus: what fires under stock joblib is refused here, and what is harmless is not.

Each attack is first loaded by stock joblib, in a process of its own under limits, to prove that it
does what it claims. Then sealstore looks at the same bytes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import joblib
import pytest
from _pytest.mark import ParameterSet

from sealstore.formats.pickling.confinement import Allowance, inspect_confined
from tests.attacks.corpus.attacks import ATTACKS
from tests.attacks.corpus.benign import HARMLESS
from tests.attacks.corpus.case import PAYLOAD, Attack, Effect, Harmless, write_attack
from tests.attacks.corpus.proving import Prover
from tests.attacks.corpus.watching import Watcher, refusals
from tests.attacks.generate_corpus import generate
from tests.matrix import try_each
from tests.sealstore_fixtures import snapshot

pytestmark = pytest.mark.large

ROOT: Final = Path(__file__).resolve().parents[2]
MIB: Final = 1024 * 1024
LITTLE: Final = Allowance(memory=256 * MIB, cpu_seconds=2, seconds=60)
"""Enough for everything harmless in the corpus, and little enough for bombs to be small."""

PROMISED_ATTACKS: Final = 150
PROMISED_HARMLESS: Final = 60


@pytest.fixture(scope="session")
def prover() -> Iterator[Prover]:
    prover = Prover(ROOT)
    yield prover
    prover.close()


@pytest.fixture(scope="session")
def watcher() -> Iterator[Watcher]:
    watcher = Watcher(ROOT)
    yield watcher
    watcher.close()


def attacks(*effects: Effect) -> list[Attack]:
    """The attacks of these effects."""
    return [attack for attack in ATTACKS.values() if attack.effect in effects]


def of_each_kind(*effects: Effect) -> list[ParameterSet]:
    """The attacks of these effects, together if they are of one kind."""
    kinds: dict[str, list[Attack]] = {}
    for attack in attacks(*effects):
        kinds.setdefault(attack.kind, []).append(attack)
    return [pytest.param(kind, id=name) for name, kind in kinds.items()]


def in_folders_of_their_own(
    chosen: list[Attack], tmp_path: Path
) -> Iterator[tuple[str, tuple[Attack, Path]]]:
    """Each attack by its name, with a folder for it."""
    for number, attack in enumerate(chosen):
        yield attack.id, (attack, tmp_path / str(number))


@pytest.mark.parametrize("kind", of_each_kind(*Effect))
def test_an_attack_works_on_stock_joblib(
    kind: list[Attack], prover: Prover, tmp_path: Path
) -> None:
    """Each file does under plain joblib.load what it claims, or is known to lie dormant here."""

    def look(case: tuple[Attack, Path]) -> None:
        attack, folder = case
        proof = prover.prove(attack, folder)
        assert proof.shows(attack) == (attack.dormant() is None), (proof, attack.how)

    try_each(in_folders_of_their_own(kind, tmp_path), look)


@pytest.mark.parametrize("kind", of_each_kind(Effect.MARKER, Effect.CRASHES))
def test_an_attack_is_refused_and_nothing_of_it_runs(
    kind: list[Attack], watcher: Watcher, tmp_path: Path
) -> None:
    """Standard mode refuses it; no import, file, process or socket came of looking at it."""

    def look(case: tuple[Attack, Path]) -> None:
        attack, folder = case
        write_attack(attack, folder)
        before = snapshot(folder)
        watched = watcher.judge(folder)
        assert watched.died is None
        assert watched.refusals
        assert watched.events == ()
        assert snapshot(folder) == before

    try_each(in_folders_of_their_own(kind, tmp_path), look)


@pytest.mark.parametrize("attack", attacks(Effect.EXHAUSTS), ids=lambda attack: attack.id)
def test_a_file_that_exhausts_its_reader_is_refused_and_the_caller_goes_on(attack: Attack) -> None:
    """Within the caps of a confined inspection it ends, and what comes back is a refusal."""
    assert refusals(inspect_confined(attack.payload(), LITTLE))
    assert refusals(inspect_confined(joblib_file([1, 2]), LITTLE)) == []


@pytest.mark.parametrize("harmless", [pytest.param(each, id=each.id) for each in HARMLESS.values()])
def test_a_harmless_object_is_not_refused(
    harmless: Harmless, watcher: Watcher, tmp_path: Path
) -> None:
    """Standard mode accepts what plain joblib.dump writes of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of models that were given too little to converge
        harmless.write(tmp_path / PAYLOAD)
        joblib.load(tmp_path / PAYLOAD)
    watched = watcher.judge(tmp_path)
    assert (watched.died, watched.events, watched.refusals) == (None, (), ())


def joblib_file(item: object) -> bytes:
    """What joblib writes of an object."""
    import io

    buffer = io.BytesIO()
    joblib.dump(item, buffer)
    return buffer.getvalue()


# ── the corpus itself ────────────────────────────────────────────────────────


def test_the_corpus_is_as_large_as_promised() -> None:
    """At least 150 attacks that work here, of every class, and 60 harmless objects."""
    working = [attack for attack in ATTACKS.values() if attack.dormant() is None]
    assert len(working) >= PROMISED_ATTACKS
    assert len(HARMLESS) >= PROMISED_HARMLESS
    kinds = Counter(attack.kind for attack in working)
    assert set(kinds) == {attack.kind for attack in ATTACKS.values()}


def test_the_corpus_is_the_same_each_time(tmp_path: Path) -> None:
    """Whoever generates it gets the malicious files that these tests are about, byte for byte."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manifest = generate(tmp_path)
    assert len(manifest) == len(ATTACKS) + len(HARMLESS)
    files = {entry["id"]: tmp_path / entry["file"] for entry in manifest}
    for attack in ATTACKS.values():
        assert files[attack.id].read_bytes() == attack.payload(), attack.id
