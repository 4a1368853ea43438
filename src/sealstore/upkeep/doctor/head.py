"""The signed head and the access log: whether what a load asks first would be accepted here."""

from __future__ import annotations

from typing import Final

from sealstore.errors import RetiredKeyError, SealstoreError
from sealstore.repository.access_log import open_access_log
from sealstore.repository.assembly import key_source, open_catalogue
from sealstore.repository.settings import Settings
from sealstore.repository.state import StateKeeper
from sealstore.upkeep.doctor.check import Check

_HEAD: Final = "head"
_ACCESS: Final = "access log"


def check_head(settings: Settings) -> list[Check]:
    """Whether this client accepts the signed head, and the head of the access log.

    Each is verified as a load does, held against what this client remembers; nothing is remembered.
    """
    root = settings.path.absolute()
    try:
        catalogue = open_catalogue(root, settings)
        try:
            trust = settings.trust_store(root)
            keeper = StateKeeper(root, settings, key_source(settings, root, None), catalogue, trust)
            with keeper.snapshot(remembering=False) as snapshot:
                state = snapshot.state
            access = open_access_log(settings, root, state.repository, lambda: state.keyring, trust)
        finally:
            catalogue.engine.dispose()
    except SealstoreError as error:
        return [Check.failed(_HEAD, error)]
    head = state.head
    text = f"epoch {head.epoch}, size {head.size}, signed {head.time}, is accepted here"
    checks = [Check.ok(_HEAD, text, epoch=head.epoch, size=head.size, time=head.time)]
    try:
        with access.read() as reading:
            size = reading.head().head.size
    except RetiredKeyError as error:
        text, fix = error.message, "sealstore heartbeat"
        return [*checks, Check.wrong(_ACCESS, text, fix, code=error.code)]
    except SealstoreError as error:
        return [*checks, Check.failed(_ACCESS, error)]
    finally:
        access.close()
    return [*checks, Check.ok(_ACCESS, f"size {size}, is accepted here", size=size)]
