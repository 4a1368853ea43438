"""Documentation for Store Object (signed)

# Store Object (signed)

## Description
Sign an object and store it in the object repository, so that loading it can verify it.

## Inputs
* **name** (String): The name for the object.
* **tag** (String): The tag for the object; not "latest".
* **obj** (Any): The object, such as a trained model.

## Details
The object is serialised with joblib, signed with the active key of the runtime's keyring, and
catalogued. Storing the same name and tag again keeps the earlier object as an older revision. A
folder that is still empty becomes a repository.
"""

from typing import Any

from sealstore.hetida import dump_obj

# ***** DO NOT EDIT LINES BELOW *****
# These lines may be overwritten if component details or inputs/outputs change.
COMPONENT_INFO = {
    "inputs": {
        "name": {"data_type": "STRING"},
        "tag": {"data_type": "STRING"},
        "obj": {"data_type": "ANY"},
    },
    "outputs": {},
    "name": "Store Object (signed)",
    "category": "Data Sinks",
    "description": "Sign an object and store it in the object repository",
    "version_tag": "1.0.0",
    "id": "2a1dfec1-f349-412b-bd3a-9ce0047e8bff",
    "revision_group_id": "2a1dfec1-f349-412b-bd3a-9ce0047e8bff",
    "state": "RELEASED",
    "released_timestamp": "2026-11-23T12:00:00.000000+00:00",
}


def main(*, name: str, tag: str, obj: Any) -> dict[str, Any]:
    """Store ``obj`` under ``name`` and ``tag``."""
    # ***** DO NOT EDIT LINES ABOVE *****
    dump_obj(obj, name, tag)
    return {}
