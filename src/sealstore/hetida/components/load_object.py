"""Documentation for Load Object (signed)

# Load Object (signed)

## Description
Load an object from the object repository after its signature and its bytes have been verified.

## Inputs
* **name** (String): The name of the object.
* **tag** (String): Its tag, or "latest" for what was stored last under the name.

## Outputs
* **obj** (Any): The object.

## Details
An object that was changed, exchanged, or signed with a key that the runtime does not trust is
refused before anything of it runs. The error says what was wrong.
"""

from typing import Any

from sealstore.hetida import load_obj

# ***** DO NOT EDIT LINES BELOW *****
# These lines may be overwritten if component details or inputs/outputs change.
COMPONENT_INFO = {
    "inputs": {
        "name": {"data_type": "STRING"},
        "tag": {"data_type": "STRING"},
    },
    "outputs": {
        "obj": {"data_type": "ANY"},
    },
    "name": "Load Object (signed)",
    "category": "Data Sources",
    "description": "Load an object from the object repository after verifying it",
    "version_tag": "1.0.0",
    "id": "35e907be-cdc1-4dd0-8265-537613cb8f8d",
    "revision_group_id": "35e907be-cdc1-4dd0-8265-537613cb8f8d",
    "state": "RELEASED",
    "released_timestamp": "2026-11-23T12:00:00.000000+00:00",
}


def main(*, name: str, tag: str) -> dict[str, Any]:
    """The object stored under ``name`` and ``tag``."""
    # ***** DO NOT EDIT LINES ABOVE *****
    return {"obj": load_obj(name, tag)}
