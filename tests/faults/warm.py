"""Loaded by the fork server, so that its children find everything imported, compiled and cached.

Each child of the tests that die at a step would else pay for that again, many hundred times. It
does once, in a folder of its own, what they do, and leaves nothing open: no file, no thread.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

from sealstore.repository.settings import PREFIX
from tests.faults import (
    alias_operations,
    backup_operations,
    bundle_operations,
    gc_operations,
    operations,
    rebuild_operations,
)
from tests.faults.operations import Done


def warm_up(folder: Path) -> None:
    """Do a little of everything."""
    done = Done(folder / "done")
    place = folder / "place"
    gc_operations.litter(place)
    gc_operations.check_all(place, done)
    gc_operations.collect_all(place, done)
    for operation in (
        *(operations.store, operations.store_by_temporary_names, operations.load_and_remember),
        *(operations.change_settings, operations.resign, operations.put_rotation_on_record),
        *(operations.beat,),
    ):
        operation(place / "repository", done)
    bundles = folder / "bundles"
    bundles.mkdir()
    bundle_operations.fill(bundles, folder / "origin")
    bundle_operations.take_in(bundles, done)
    bundle_operations.create(bundles, done)
    aliases = folder / "aliases"
    aliases.mkdir()
    alias_operations.fill(aliases)
    alias_operations.move(aliases, done)
    ruins = folder / "ruins"
    rebuild_operations.damage(ruins)
    rebuild_operations.rebuild_all(ruins, done)
    lost = folder / "lost"
    backup_operations.lose(lost)
    backup_operations.restore_all(lost, done)


for _name in [name for name in os.environ if name.startswith(PREFIX)]:
    # What the first test that starts the server has set, another database for example.
    del os.environ[_name]
with tempfile.TemporaryDirectory() as _folder, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    warm_up(Path(_folder))
