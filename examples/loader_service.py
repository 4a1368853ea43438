"""A prediction service that can load models and cannot store them.

    python examples/loader_service.py --self-test         # shows it, in a temporary folder
    python examples/loader_service.py churn production    # serves what MODEL_REPO_PATH has

The service answers ``POST /predict`` (a JSON list of rows) with predictions, and ``GET /model``
with which model that is. Its keyring holds the public parts of the keys that store (Ed25519), and
one secret key of its own that can only put its loads on record: somebody who takes over this
process can neither store a model nor sign one. ``sealstore keys export --loader FILE`` makes such a
keyring.

Before each answer the service asks what the alias means now; the proven answer takes about a
millisecond or less. When the alias was moved, it loads the other model. When that one is refused,
it answers 503 and the reason, rather than going on with a model that is in production no longer.

It needs scikit-learn: ``pip install 'sealstore[demo]'``. It has one thread, no TLS and no log-in,
since it is an example.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError

from sealstore import Keyring, Repository, SealstoreError

MAX_BODY_BYTES = 1024 * 1024
"""Of one request: more rows than that belong into several."""


# ── the service ──────────────────────────────────────────────────────────────


class CurrentModel:
    """The model that an alias means, loaded again when the alias is moved.

    Args:
        repository: where the model is; opened with a loader's keyring.
        name, alias: which alias; a tag or ``latest`` will do as well.
    """

    def __init__(self, repository: Repository, name: str, alias: str) -> None:
        self._repository = repository
        self._name, self._alias = name, alias
        self._statement: str | None = None
        self._model: Any = None
        self.described: dict[str, object] = {}

    def get(self) -> Any:
        """The model that the alias means at this moment.

        Raises:
            SealstoreError: it is refused, or there is none.
        """
        # The signed statement, proven against the newest head; the payload is not read for that.
        # Where the alias is protected, this counts its approvals as well.
        meant = self._repository.get(self._name, self._alias)
        if meant.verified.digest != self._statement:
            # Forget the old model first: if the new one is refused, there is none to fall back to.
            self._statement, self._model = None, None
            # By tag and revision: the alias may have been moved again meanwhile.
            self._model = self._repository.load(
                self._name, meant.tag, revision=meant.revision, actor="loader-service"
            )
            self._statement = meant.verified.digest
            self.described = {"model": str(meant.ref), "metadata": dict(meant.metadata)}
        return self._model


class Service(HTTPServer):
    """Answers on one port, with one model.

    Args:
        model: what predicts.
        port: to listen on, on this machine only; 0 for any that is free.
    """

    def __init__(self, model: CurrentModel, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.model = model


class _Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds: a client that sends nothing does not block the others for ever

    def do_GET(self) -> None:
        if self.path != "/model":
            self._answer(404, {"error": "there are GET /model and POST /predict"})
        elif self._model() is not None:
            self._answer(200, self._current.described)

    def do_POST(self) -> None:
        if self.path != "/predict":
            self._answer(404, {"error": "there are GET /model and POST /predict"})
            return
        size = self.headers.get("Content-Length", "")
        if not (size.isascii() and size.isdigit() and int(size) <= MAX_BODY_BYTES):
            self._answer(413, {"error": f"send at most {MAX_BODY_BYTES} bytes, and say how many"})
            return
        body = self.rfile.read(int(size))
        model = self._model()
        if model is None:
            return
        try:
            predicted = model.predict(json.loads(body)).tolist()
        except (ValueError, TypeError) as error:  # no JSON, or rows that the model does not take
            self._answer(400, {"error": str(error)})
            return
        self._answer(200, {"predictions": predicted, **self._current.described})

    @property
    def _current(self) -> CurrentModel:
        return cast(Service, self.server).model

    def _model(self) -> Any:
        """The model; or None, when the refusal has been answered."""
        try:
            return self._current.get()
        except SealstoreError as error:
            # The code is stable, and the message holds no byte of what was refused.
            self._answer(503, {"refused": error.code, "message": error.message})
            return None

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing: loads and refusals are in the repository's access log."""


# ── the self-test: an operator and a loader, on one machine ──────────────────


def self_test() -> None:
    """Serve a model; move the alias; tamper with a payload; see the refusal; roll back."""
    with tempfile.TemporaryDirectory(prefix="sealstore-loader-") as folder:
        here = Path(folder)
        operator = _operator(here)
        rows = [[0.0, 1.0], [2.0, 0.5]]
        with operator, _loader(here) as repository, _served(repository) as address:
            print("GET /model   ", _ask(f"{address}/model"))
            print("POST /predict", _ask(f"{address}/predict", rows))

            print("\nthe alias is moved to 2026-11:")
            operator.set_alias("churn", "production", "2026-11")
            status, answer = _ask(f"{address}/predict", rows)
            print("POST /predict", (status, answer))
            assert (status, answer["model"]) == (200, "churn:2026-11@1")

            print("\n2026-12 is stored, one bit of it is flipped, and the alias is moved to it:")
            _flip_a_bit(here, operator.store(_model(3), "churn", "2026-12").digests.sha256)
            operator.set_alias("churn", "production", "2026-12")
            status, answer = _ask(f"{address}/predict", rows)
            print("POST /predict", (status, answer))
            assert (status, answer["refused"]) == (503, "PAYLOAD_DIGEST")

            print("\nthe alias is rolled back:")
            operator.rollback_alias("churn", "production")
            status, answer = _ask(f"{address}/predict", rows)
            print("POST /predict", (status, answer))
            assert (status, answer["model"]) == (200, "churn:2026-11@1")

            print("\nand the loader's keyring cannot store:")
            try:
                repository.store("anything", "churn", "2027-01")
            except SealstoreError as error:
                print(f"{error.code}: {error.message}")
            else:
                raise AssertionError("the loader stored something")


def _operator(here: Path) -> Repository:
    """A repository with two models, opened by whoever may store; and a keyring for loaders."""
    from sealstore.admin.keyring_file import export_for_loader
    from sealstore.keys.algorithms import Ed25519Private
    from sealstore.keys.changing import new_key
    from sealstore.keys.writing import write_keyring_file
    from sealstore.repository.settings import Settings, Variable

    # On the command line: sealstore init --algorithm ed25519
    keyring_file = here / "operator" / "keyring.json"
    write_keyring_file(keyring_file, Keyring.of([new_key(Ed25519Private.generate())]))
    settings = Settings.from_environment(
        {
            Variable.PATH: str(here / "models"),
            Variable.KEYRING: str(keyring_file),
            Variable.TRUST_STATE: str(here / "operator" / "trust"),
        }
    )
    repository = Repository.create(settings.path, settings=settings)
    # On the command line: sealstore keys export --loader loader.json
    write_keyring_file(here / "loader" / "keyring.json", export_for_loader(settings).keyring)
    for number, tag in ((1, "2026-10"), (2, "2026-11")):
        repository.store(_model(number), "churn", tag, metadata={"trained on": f"sample {number}"})
    repository.set_alias("churn", "production", "2026-10")
    return repository


def _loader(here: Path) -> Repository:
    """The same repository, as the service opens it: other keys, and a memory of its own."""
    from sealstore.repository.settings import Settings, Variable

    settings = Settings.from_environment(
        {
            Variable.PATH: str(here / "models"),
            Variable.KEYRING: str(here / "loader" / "keyring.json"),
            Variable.TRUST_STATE: str(here / "loader" / "trust"),
        }
    )
    return Repository.open(settings=settings)


def _model(number: int) -> Any:
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression

    inputs, labels = make_classification(
        n_features=2, n_redundant=0, n_informative=2, random_state=number
    )
    return LogisticRegression().fit(inputs, labels)


@contextmanager
def _served(repository: Repository) -> Iterator[str]:
    """The service on a free port, until the block ends; its address."""
    with Service(CurrentModel(repository, "churn", "production"), port=0) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{service.server_port}"
        finally:
            service.shutdown()
            thread.join()


def _ask(address: str, rows: object = None) -> tuple[int, dict[str, Any]]:
    data = None if rows is None else json.dumps(rows).encode()
    # No proxy: the service is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, data, timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def _flip_a_bit(here: Path, sha256: str) -> None:
    """What a disk error does, or somebody who can write to the folder."""
    path = here / "models" / "objects" / sha256[:2] / sha256
    path.chmod(0o640)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# ── the command line ─────────────────────────────────────────────────────────


def main() -> int:
    """Serve what the command line names, or run the self-test."""
    parser = argparse.ArgumentParser(description="Answers predictions with a verified model.")
    parser.add_argument("name", nargs="?", help="of the model")
    parser.add_argument("alias", nargs="?", default="production", help="[default: production]")
    parser.add_argument("--port", type=int, default=8080, help="[default: 8080]")
    parser.add_argument("--self-test", action="store_true", help="show it in a temporary folder")
    given = parser.parse_args()
    if given.self_test:
        self_test()
        return 0
    if given.name is None:
        parser.error("which model? or --self-test")
    # MODEL_REPO_PATH, MODEL_REPO_KEYRING and MODEL_REPO_TRUST_STATE say where and with what.
    with Repository.open() as repository:
        model = CurrentModel(repository, given.name, given.alias)
        model.get()  # refuse to start with a model that is refused
        with Service(model, given.port) as service:
            print(f"{model.described['model']} on http://127.0.0.1:{service.server_port}/predict")
            service.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
