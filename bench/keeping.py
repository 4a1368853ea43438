"""Ways to keep an object that are measured beside each other, each as its own pages use it.

Each is measured where it is installed in the environment that the measurement runs in, and named
as missing elsewhere: none of them is in the locked sets (``pip install mlflow-skinny skops
model-signing pins modelstamp``). They do not promise the same. MLflow and pins sign nothing and
verify nothing before they unpickle; modelstamp compares a digest that lies beside the file;
model-signing signs files and leaves loading to joblib; skops refuses types and signs nothing. None
of them syncs what it writes; sealstore does, and so does ``SYNCED_JOBLIB``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib

from bench.timing import Contestant
from sealstore.keys.algorithms import HmacSha256
from sealstore.keys.changing import new_key
from sealstore.keys.keyring import Key, Keyring
from sealstore.repository.facade import Repository
from sealstore.repository.settings import Settings, Variable

NAME = "bench"
"""Under which sealstore keeps what is measured."""


def _nothing() -> None: ...


@dataclass(frozen=True)
class Kept:
    """One object, kept in one way.

    Attributes:
        store: stores it once more.
        load: loads what was stored last.
        clear: makes room for the next store; it is no part of it.
        close: when all is measured.
    """

    store: Callable[[], object]
    load: Callable[[], object]
    clear: Callable[[], object] = _nothing
    close: Callable[[], object] = _nothing

    @property
    def storing(self) -> Contestant:
        """It in a race of stores."""
        return Contestant(self.store, self.clear)

    @property
    def loading(self) -> Contestant:
        """It in a race of loads."""
        return Contestant(self.load)


@dataclass(frozen=True)
class Way:
    """One way to keep objects.

    Attributes:
        name: what it is called in the report.
        package: what must be importable.
        keep: given a folder of its own and an object, how to store it and how to load it.
    """

    name: str
    package: str
    keep: Callable[[Path, Any], Kept] = field(repr=False)

    @property
    def is_installed(self) -> bool:
        """Whether it can be measured here."""
        return importlib.util.find_spec(self.package) is not None


# ── sealstore and joblib ─────────────────────────────────────────────────────


def settings_in(folder: Path) -> Settings:
    """Of a repository in ``folder``, where all that is remembered of it stays as well."""
    return Settings.from_environment(
        {
            Variable.PATH: str(folder / "repository"),
            Variable.KEYRING: str(folder / "keys" / "keyring.json"),
            Variable.TRUST_STATE: str(folder / "trust"),
        }
    )


def new_repository(folder: Path, key: Key | None = None) -> Repository:
    """A repository in ``folder``, with a key of its own or with this one."""
    settings = settings_in(folder)
    keyring = Keyring.of([key or new_key(HmacSha256.generate())])
    return Repository.create(settings.path, keyring=keyring, settings=settings)


def payloads(repository: Repository) -> Iterator[Path]:
    """The files of the payloads."""
    return (path for path in (repository.root / "objects").glob("*/*") if path.is_file())


def kept_in(repository: Repository, obj: object) -> Kept:
    """An object in a repository: a tag of its own for each store, and the payload written again."""
    tags = iter(range(1_000_000))

    def clear() -> None:
        for payload in payloads(repository):
            payload.unlink()

    return Kept(
        lambda: repository.store(obj, NAME, f"run-{next(tags)}"),
        lambda: repository.load(NAME),
        clear,
        repository.close,
    )


def _sealstore(folder: Path, obj: Any) -> Kept:
    return kept_in(new_repository(folder), obj)


def dump_synced(obj: object, path: Path) -> None:
    """``joblib.dump`` that survives power loss, as a store does."""
    with path.open("wb") as file:
        joblib.dump(obj, file)
        file.flush()
        os.fsync(file.fileno())


def _synced_joblib(folder: Path, obj: Any) -> Kept:
    path = folder / "model.joblib"
    return Kept(lambda: dump_synced(obj, path), lambda: joblib.load(path))


def _plain_joblib(folder: Path, obj: Any) -> Kept:
    path = folder / "model.joblib"
    return Kept(lambda: joblib.dump(obj, path), lambda: joblib.load(path))


# ── others ───────────────────────────────────────────────────────────────────


def _mlflow(folder: Path, obj: Any) -> Kept:
    import mlflow.sklearn

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    places = iter(range(1_000_000))
    last = folder / "mlflow"

    def store() -> None:
        nonlocal last
        last = folder / f"mlflow-{next(places)}"
        # Without the list of requirements it would ask pip for one, which takes seconds.
        mlflow.sklearn.save_model(obj, last, serialization_format="pickle", pip_requirements=[])

    def clear() -> None:
        for place in folder.glob("mlflow-*"):
            shutil.rmtree(place)

    return Kept(store, lambda: mlflow.sklearn.load_model(str(last)), clear)


def _skops(folder: Path, obj: Any) -> Kept:
    import skops.io

    path = folder / "model.skops"

    def load() -> object:
        # Its own procedure: ask for the types that it does not trust, look, and name them.
        unknown = skops.io.get_untrusted_types(file=path)
        return skops.io.load(path, trusted=unknown)

    return Kept(lambda: skops.io.dump(obj, path), load)


def _modelstamp(folder: Path, obj: Any) -> Kept:
    import modelstamp

    path = folder / "model.joblib"
    return Kept(lambda: modelstamp.save(obj, path), lambda: modelstamp.load(path))


def _model_signing(folder: Path, obj: Any) -> Kept:
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
        joblib.dump(obj, kept / "model.joblib")
        signing.Config().use_elliptic_key_signer(private_key=private).sign(kept, signature)

    def load() -> object:
        verifying.Config().use_elliptic_key_verifier(public_key=public).verify(kept, signature)
        return joblib.load(kept / "model.joblib")

    return Kept(store, load)


def _pins(folder: Path, obj: Any) -> Kept:
    import pins

    board = pins.board_folder(str(folder / "pins"), allow_pickle_read=True)
    # It names a version by the second, so each write is a pin of its own.
    numbers = iter(range(1_000_000))
    last = ""

    def store() -> None:
        nonlocal last
        last = f"model-{next(numbers)}"
        board.pin_write(obj, last, type="joblib")

    return Kept(store, lambda: board.pin_read(last))


SEALSTORE = Way("sealstore", "sealstore", _sealstore)
SYNCED_JOBLIB = Way("joblib, synced", "joblib", _synced_joblib)
PLAIN_JOBLIB = Way("plain joblib", "joblib", _plain_joblib)
MLFLOW = Way("MLflow", "mlflow", _mlflow)
OTHERS = (
    MLFLOW,
    Way("skops", "skops", _skops),
    Way("modelstamp", "modelstamp", _modelstamp),
    Way("model-signing and joblib", "model_signing", _model_signing),
    Way("pins", "pins", _pins),
)
