"""What lies in a folder of hetida designer's stock functions, and what it could be called here.

Those functions write ``name_tag`` and link ``name_latest`` to what was stored last. The file's name
alone does not tell where the name ends, and a link tells what somebody last wrote through it. So
both are shown, and neither decides: a name that can be split in several ways needs a mapping.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealstore import files, limits
from sealstore.errors import ConfigurationError, InvalidNameError, StorageError
from sealstore.names import ArtifactRef, Name, Tag

LATEST_SUFFIX: Final = "_latest"
"""Of the link to what was stored last under a name."""


@dataclass(frozen=True, slots=True)
class LegacyFile:
    """A file that could be adopted, or an entry that could not.

    Attributes:
        path: where it lies.
        candidates: what it could be called; exactly one where that is certain.
        refusal: why it is not even looked into; None for a regular file.
        modified: when it was last written, for the order of adoption (nanoseconds).
        is_latest: whether a link of the folder names it as what was stored last.
    """

    path: Path
    candidates: tuple[ArtifactRef, ...]
    refusal: str | None = None
    modified: int = 0
    is_latest: bool = False


def find_files(
    paths: Iterable[Path], mapping: Mapping[str, ArtifactRef] | None = None
) -> list[LegacyFile]:
    """The files to adopt, in the order in which ``latest`` stays what it was.

    Args:
        paths: folders, whose entries are taken (subfolders are not), and files.
        mapping: name and tag by file name; goes before what the name suggests.

    Raises:
        StorageError: a path cannot be read.
    """
    known = mapping or {}
    found: list[LegacyFile] = []
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                found += _entries(path, known)
            else:
                found.append(_file(path, known))
        except OSError as error:
            raise StorageError(
                f"The file or folder cannot be read ({error.strerror}).", path=path
            ) from error
    return sorted(found, key=lambda file: (file.is_latest, file.modified, str(file.path)))


def read_mapping(path: Path) -> dict[str, ArtifactRef]:
    """A mapping file: TOML, a table for each file name with its ``name`` and ``tag``.

    Raises:
        ConfigurationError: it cannot be read, or is not of this form.
    """
    try:
        data = files.read(path, limits.MAX_MAPPING_BYTES, follow_links=True)
        tables = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"The mapping file cannot be read ({error.strerror}).", path=path
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f"The mapping file cannot be read ({type(error).__name__}).", path=path
        ) from error
    return {file_name: _mapped(file_name, table, path) for file_name, table in tables.items()}


def _mapped(file_name: str, table: Any, path: Path) -> ArtifactRef:
    if not isinstance(table, dict) or table.keys() != {"name", "tag"}:
        raise ConfigurationError(
            f"The mapping of {file_name!r} does not consist of a name and a tag.",
            path=path,
            hint='write ["file"], then name = "…" and tag = "…", in {path}.',
        )
    return ArtifactRef(Name(table["name"]), Tag.to_store(table["tag"]))


def splits(file_name: str) -> tuple[ArtifactRef, ...]:
    """Every (name, tag) that stock hetida designer would have written to this file."""
    possible = []
    for place, character in enumerate(file_name):
        if character == "_":
            try:
                possible.append(
                    ArtifactRef(Name(file_name[:place]), Tag.to_store(file_name[place + 1 :]))
                )
            except InvalidNameError:
                continue
    return tuple(possible)


def _entries(folder: Path, known: Mapping[str, ArtifactRef]) -> list[LegacyFile]:
    entries = sorted(folder.iterdir())
    targets = {
        target
        for entry in entries
        if entry.is_symlink() and entry.name.endswith(LATEST_SUFFIX)
        if (target := _target_inside(entry)) is not None
    }
    return [_file(entry, known, is_latest=entry in targets) for entry in entries]


def _file(path: Path, known: Mapping[str, ArtifactRef], *, is_latest: bool = False) -> LegacyFile:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return LegacyFile(path, (), _about_link(path))
    if not stat.S_ISREG(status.st_mode):
        return LegacyFile(path, (), "not a regular file")
    if status.st_size > limits.MAX_PAYLOAD_BYTES:
        return LegacyFile(path, (), "larger than any payload may be")
    mapped = known.get(path.name)
    candidates = splits(path.name) if mapped is None else (mapped,)
    return LegacyFile(path, candidates, None, status.st_mtime_ns, is_latest)


def _about_link(link: Path) -> str:
    if _target_inside(link) is None:
        return "a link that leaves the folder, or leads nowhere"
    return "a link to another file of the folder"


def _target_inside(link: Path) -> Path | None:
    """The file of the same folder that a link names; None where it leads anywhere else."""
    target = Path(os.path.normpath(link.parent / link.readlink()))
    is_inside = target.parent == Path(os.path.normpath(link.parent))
    return link.parent / target.name if is_inside and target.is_file() else None
