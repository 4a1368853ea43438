"""What sealstore is for, shown on a real model: ``make demo``, or ``python examples/demo.py``.

A scikit-learn model is trained, stored, listed, verified, loaded and used. Then the repository is
attacked five times, and each attack is refused before anything of it runs. Everything happens in a
temporary folder, with a key of its own; nothing of the user's configuration is read or written.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sealstore.errors import SealstoreError
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.keys.keyring import Keyring
from sealstore.repository.facade import Repository
from sealstore.repository.settings import PREFIX, Variable

NAME, TAG = "churn", "2026-11"


class Malice:
    """Unpickling this runs a command; here it only leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"echo pwned > '{self.mark}'",)


def main() -> int:
    """Run the demo.

    Returns:
        0 when everything went as it must, 1 when an attack was not refused.
    """
    try:
        import sklearn
    except ImportError:
        print("The demo trains a scikit-learn model: pip install 'sealstore[demo]'.")
        return 1
    for variable in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[variable]
    print(f"sealstore's demo, with scikit-learn {sklearn.__version__}\n")
    with tempfile.TemporaryDirectory(prefix="sealstore-demo-") as folder:
        here = Path(folder)
        # What this client remembers of the repository goes with the demo.
        os.environ[Variable.TRUST_STATE] = str(here / "trust")
        keyring = Keyring.of([new_key(HmacSha256.generate())])
        _store_and_load(here / "repository", keyring)
        refused = [attack(here, keyring) for attack in _ATTACKS]
    if all(refused):
        print("\nEvery attack was refused, and nothing of it ran.")
        return 0
    print("\nAn attack was NOT refused.")
    return 1


def _store_and_load(root: Path, keyring: Keyring) -> None:
    from sklearn.datasets import make_classification
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import train_test_split

    inputs, labels = make_classification(n_samples=2_000, n_features=12, random_state=7)
    train_in, test_in, train_out, test_out = train_test_split(inputs, labels, random_state=7)
    model = HistGradientBoostingClassifier(random_state=7).fit(train_in, train_out)
    accuracy = model.score(test_in, test_out)
    _say("train", f"{type(model).__name__}, accuracy {accuracy:.3f}")

    with Repository.create(root, keyring=keyring) as repository:
        _say("create", f"repository {repository.id}")
        artifact = repository.store(model, NAME, TAG, metadata={"accuracy": accuracy})
        _say("store", f"{artifact.ref}, {artifact.size:,} bytes, signed by {artifact.key_id}")
        for listed in repository.list().artifacts:
            _say("list", f"{listed.ref}  {listed.created}  {dict(listed.metadata)}")
        repository.verify(NAME, TAG)
        _say("verify", "signature, identity, size, SHA-256 and BLAKE3 hold")
        began = time.perf_counter()
        loaded = repository.load(NAME, TAG)
        _say("load", f"{(time.perf_counter() - began) * 1e3:.1f} ms, verified first")
        same = (loaded.predict(test_in) == model.predict(test_in)).all()
        with repository.access_log.read() as log:
            _say(
                "record",
                f"{log.head().head.size} accesses, in a chain that {len(keyring)} key signs",
            )
        _say("predict", f"{len(test_in)} predictions, equal to the trained model's: {same}")


def _flip_payload(here: Path, keyring: Keyring) -> bool:
    with _attacked(here) as root:
        payload = _payload(root)
        payload.chmod(0o640)
        _flip_bit(payload)
        return _refuses("flip one bit of the payload", root, keyring)


def _flip_envelope(here: Path, keyring: Keyring) -> bool:
    with _attacked(here) as root, closing(sqlite3.connect(root / "catalogue.sqlite3")) as database:
        (envelope,) = database.execute("SELECT envelope FROM artifact").fetchone()
        place = envelope.index(b'"payload":"') + 100
        flipped = envelope[:place] + bytes([envelope[place] ^ 1]) + envelope[place + 1 :]
        database.execute("UPDATE artifact SET envelope = ?", (flipped,))
        database.commit()
        return _refuses("flip one bit of the envelope", root, keyring)


def _flip_row(here: Path, keyring: Keyring) -> bool:
    with _attacked(here) as root, closing(sqlite3.connect(root / "catalogue.sqlite3")) as database:
        (size,) = database.execute("SELECT size FROM artifact").fetchone()
        database.execute("UPDATE artifact SET size = ?", (size ^ 1,))
        database.commit()
        return _refuses("flip one bit of the catalogue's row", root, keyring)


def _plant_pickle(here: Path, keyring: Keyring) -> bool:
    with _attacked(here) as root:
        mark = here / "mark"
        payload = _payload(root)
        payload.chmod(0o640)
        payload.write_bytes(pickle.dumps(Malice(mark)))
        refused = _refuses("plant a malicious pickle", root, keyring) and not mark.exists()
        _say("", f"the malicious code left a mark: {mark.exists()}")
        # The proof that it would have: joblib runs it, in a process of its own.
        code = "import joblib, sys; joblib.load(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, str(payload)], check=False)  # noqa: S603 (ours)
        _say("", f"after a plain joblib.load of the same file: {mark.exists()}")
        return refused and mark.exists()


def _put_back_an_older_repository(here: Path, keyring: Keyring) -> bool:
    with _attacked(here) as root:
        older = here / "older"
        shutil.copytree(root, older)
        with Repository.open(root, keyring=keyring) as repository:
            repository.store("a better model", NAME, TAG)
        shutil.rmtree(root)
        older.rename(root)
        return _refuses("put back an older repository, genuine in every bit", root, keyring)


_ATTACKS = (_flip_payload, _flip_envelope, _flip_row, _plant_pickle, _put_back_an_older_repository)


@contextmanager
def _attacked(here: Path) -> Iterator[Path]:
    """A copy of the repository, for one attack."""
    # Each in a place of its own: this client remembers what it saw where.
    root = here / f"attacked-{len(list(here.glob('trust/*.json')))}"
    shutil.copytree(here / "repository", root)
    try:
        yield root
    finally:
        shutil.rmtree(root)


def _refuses(attack: str, root: Path, keyring: Keyring) -> bool:
    _say("attack", attack)
    try:
        with Repository.open(root, keyring=keyring) as repository:
            repository.load(NAME, TAG)
    except SealstoreError as error:
        _say("", f"refused, {error.code}: {error.message}")
        return True
    _say("", "NOT REFUSED")
    return False


def _payload(root: Path) -> Path:
    (payload,) = (path for path in (root / "objects").rglob("*") if path.is_file())
    return payload


def _flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _say(step: str, text: str) -> None:
    print(f"{step:>8}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
