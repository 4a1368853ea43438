"""Write the attack corpus into a folder: ``python -m tests.attacks.generate_corpus FOLDER``.

Each case gets a folder of its own, ``malicious/KIND/NAME/`` or ``benign/NAME/``, with the file
``payload.joblib`` and, where the attack has them, its neighbours. ``manifest.json`` describes each.
The malicious files are the same bytes each time, for one set of installed packages.

The files are live. They leave a file named ``fired…`` in the working folder of whoever loads them,
or exhaust or crash the process: load them in a folder and under limits made for that.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.attacks.corpus.attacks import ATTACKS
from tests.attacks.corpus.benign import HARMLESS
from tests.attacks.corpus.case import PAYLOAD, write_attack

MANIFEST: Final = "manifest.json"


def generate(folder: Path) -> list[dict[str, Any]]:
    """Write every case below ``folder``, and its manifest; what the manifest says."""
    described = [*_malicious(folder / "malicious"), *_benign(folder / "benign")]
    for entry in described:
        entry["file"] = str(Path(entry["file"]).relative_to(folder))
    text = json.dumps(described, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return described


def _malicious(folder: Path) -> Iterator[dict[str, Any]]:
    for attack in ATTACKS.values():
        path = write_attack(attack, folder / attack.kind / attack.name)
        yield {
            "id": attack.id,
            "malicious": True,
            "kind": attack.kind,
            "how": attack.how,
            "when": attack.when,
            "effect": attack.effect,
            "dormant": attack.dormant(),
            "file": path,
        }


def _benign(folder: Path) -> Iterator[dict[str, Any]]:
    for harmless in HARMLESS.values():
        path = folder / harmless.name / PAYLOAD
        path.parent.mkdir(parents=True)
        harmless.write(path)
        yield {"id": harmless.id, "malicious": False, "kind": "benign", "file": path}


def main() -> int:
    """Generate the corpus from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new or empty folder")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    warnings.simplefilter("ignore")  # of models that were given too little to converge
    described = generate(folder)
    malicious = sum(entry["malicious"] for entry in described)
    print(f"{malicious} malicious and {len(described) - malicious} benign files")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
