"""Others that store models, measured beside sealstore, each as its own pages use it.

Each is measured where it is installed (``pip install mlflow-skinny skops model-signing pins
modelstamp``) and named as skipped elsewhere. They do not promise the same: MLflow and pins sign
nothing and verify nothing before they unpickle; modelstamp compares a digest that lies beside the
file; model-signing signs files and leaves loading to joblib; skops refuses types and signs nothing.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from bench import objects
from bench.timing import Figure, median_seconds
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.keyring import Keyring, new_key
from sealstore.repository.facade import Repository

RUNS = 15
MODELS = {
    "linear model": objects.linear_model,
    "HistGradientBoosting, 200 iterations": objects.boosting,
    "RandomForest, 100 trees": objects.forest,
}

StoreAndLoad = tuple[Callable[[], object], Callable[[], object]]


@dataclass(frozen=True)
class Peer:
    """One way to keep a model.

    Attributes:
        name: what it is called in the table.
        package: what must be importable.
        prepare: given a folder and a model, how to store it and how to load it.
    """

    name: str
    package: str
    prepare: Callable[[Path, Any], StoreAndLoad]


def _sealstore(folder: Path, model: Any) -> StoreAndLoad:
    keyring = Keyring.of([new_key(HmacSha256.generate())])
    repository = Repository.create(folder / "repository", keyring=keyring)
    tags = iter(range(1_000_000))
    return (
        lambda: repository.store(model, "model", str(next(tags))),
        lambda: repository.load("model"),
    )


def _joblib(folder: Path, model: Any) -> StoreAndLoad:
    path = folder / "model.joblib"
    return lambda: joblib.dump(model, path), lambda: joblib.load(path)


def _mlflow(folder: Path, model: Any) -> StoreAndLoad:
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)

    places = iter(range(1_000_000))
    last = folder / "mlflow"

    def store() -> None:
        nonlocal last
        last = folder / f"mlflow-{next(places)}"
        mlflow.sklearn.save_model(
            model, last, serialization_format="cloudpickle", pip_requirements=[]
        )

    return store, lambda: mlflow.sklearn.load_model(str(last))


def _skops(folder: Path, model: Any) -> StoreAndLoad:
    import skops.io

    path = folder / "model.skops"

    def load() -> object:
        # Its own procedure: ask for the types that it does not trust, look, and name them.
        unknown = skops.io.get_untrusted_types(file=path)
        return skops.io.load(path, trusted=unknown)

    return lambda: skops.io.dump(model, path), load


def _modelstamp(folder: Path, model: Any) -> StoreAndLoad:
    import modelstamp

    path = folder / "model.joblib"
    return lambda: modelstamp.save(model, path), lambda: modelstamp.load(path)


def _model_signing(folder: Path, model: Any) -> StoreAndLoad:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from model_signing import signing, verifying

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    kept = folder / "model"
    kept.mkdir()
    signature = folder / "model.sig"

    def store() -> None:
        joblib.dump(model, kept / "model.joblib")
        signing.Config().use_elliptic_key_signer(private_key=private).sign(kept, signature)

    def load() -> object:
        verifying.Config().use_elliptic_key_verifier(public_key=public).verify(kept, signature)
        return joblib.load(kept / "model.joblib")

    return store, load


def _pins(folder: Path, model: Any) -> StoreAndLoad:
    import pins

    board = pins.board_folder(str(folder / "pins"), allow_pickle_read=True)
    # It names a version by the second, so each write is a pin of its own.
    numbers = iter(range(1_000_000))
    last = ""

    def store() -> None:
        nonlocal last
        last = f"model-{next(numbers)}"
        board.pin_write(model, last, type="joblib")

    return store, lambda: board.pin_read(last)


PEERS = (
    Peer("sealstore", "sealstore", _sealstore),
    Peer("plain joblib", "joblib", _joblib),
    Peer("MLflow", "mlflow", _mlflow),
    Peer("skops", "skops", _skops),
    Peer("modelstamp", "modelstamp", _modelstamp),
    Peer("model-signing and joblib", "model_signing", _model_signing),
    Peer("pins", "pins", _pins),
)


def figures() -> Iterator[Figure]:
    """Storing and loading of each model by each peer, as ratios to plain joblib without fsync."""
    absent = [peer.name for peer in PEERS if importlib.util.find_spec(peer.package) is None]
    if absent:
        print(f"skipped, not installed: {', '.join(absent)}")
    for name, make in MODELS.items():
        model = make()
        took: dict[str, tuple[float, float]] = {}
        for peer in PEERS:
            if peer.name not in absent:
                took[peer.name] = _measure(peer, model)
        plain_store, plain_load = took["plain joblib"]
        for peer_name, (store, load) in took.items():
            what = f"{peer_name}: {name}"
            yield Figure(f"load: {what}", load / plain_load, "x", None, f"{load * 1e3:.2f} ms")
            yield Figure(f"store: {what}", store / plain_store, "x", None, f"{store * 1e3:.2f} ms")


def _measure(peer: Peer, model: Any) -> tuple[float, float]:
    with (
        tempfile.TemporaryDirectory(prefix="sealstore-bench-") as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        store, load = peer.prepare(Path(folder), model)
        return median_seconds(store, runs=RUNS), median_seconds(load, runs=RUNS)
