"""The repository's folder: ``repository.json`` and the mirror of the envelopes.

``repository.json`` is the envelope of the signed settings. The mirror
``statements/<name>/<tag>/<revision>.json`` lets a lost catalogue be rebuilt, and
``origins/<name>/<tag>/<revision>.json`` shows the statement that an imported artifact had where it
comes from; nothing is ever loaded by way of them. Their folders are walked with ``O_NOFOLLOW``, so
that no planted link leads out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sealstore import files, limits
from sealstore.errors import RepositoryLayoutError, RepositoryNotFoundError

REPOSITORY_FILE: Final = "repository.json"
STATEMENTS_FOLDER: Final = "statements"
ORIGINS_FOLDER: Final = "origins"


def read_settings_file(root: Path) -> bytes:
    """The bytes of ``repository.json``; unauthenticated.

    Raises:
        RepositoryNotFoundError: it is not there.
        RepositoryLayoutError: it cannot be read, or is not a regular file.
    """
    try:
        data = files.read(root / REPOSITORY_FILE, limits.MAX_SETTINGS_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise RepositoryNotFoundError("There is no repository here.", path=root) from None
    except OSError as error:
        raise RepositoryLayoutError(
            f"The repository's settings cannot be read ({error.strerror}).",
            path=root / REPOSITORY_FILE,
        ) from error
    # People's editors end a file with a line feed; it is not part of the envelope.
    return data.removesuffix(b"\n")
