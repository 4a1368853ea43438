"""Inspection: what loading a payload would import, and do with it, without doing any of it.

The reader that loads is run over the same bytes with stand-ins for everything that it would import.
No module is imported, nothing of the payload is called, and no array is made. So there is no second
parser that a payload could make disagree with the first.

No inspection sees an attack that is made of numbers alone, such as a tree that points to itself or
a flipped coefficient. Only the signature stops that.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealstore.errors import MissingExtraError, PayloadFormatError
from sealstore.formats.pickling.numpy_standins import ArrayKind, ArrayRecorder
from sealstore.formats.pickling.refusals import Reason, extension, refused
from sealstore.formats.pickling.standins import Recorder
from sealstore.formats.pickling.unpickler import Reader, open_stream, read_whole
from sealstore.formats.pickling.uses import Import

if TYPE_CHECKING:
    from sealstore.signed.statement import Import as SignedImport


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a payload is refused, whatever it imports."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What loading a payload would do.

    Args:
        imports: what it would import, by name. With findings, what was met before the first.
        arrays: the dtypes and shapes of the arrays that joblib wrote.
        arrays_left_out: how many arrays are of kinds that ``arrays`` has no room for.
        compression: joblib's name of the compression, None where there is none.
        protocol: the pickle protocol, None where no stream was reached.
        findings: why it must not be loaded; none where nothing speaks against it but its imports.
        confinement: what confined the process that inspected: ``address-space``, ``cpu-time`` and
            other resources, ``seccomp``, ``landlock``. None of them where this process did.
    """

    imports: tuple[Import, ...]
    arrays: tuple[ArrayKind, ...]
    arrays_left_out: int
    compression: str | None
    protocol: int | None
    findings: tuple[Finding, ...]
    confinement: tuple[str, ...] = ()

    @property
    def is_confined_by_kernel(self) -> bool:
        """Whether the inspecting process could reach no file, process or network at all."""
        return "seccomp" in self.confinement or "landlock" in self.confinement


def inspect_memory(memory: memoryview) -> Inspection:
    """What loading the payload in ``memory`` would do.

    For bytes that nobody vouches for, use `inspect_confined`: this one spends the memory that
    loading would spend, and a stream can be made to exhaust a process.

    Args:
        memory: the payload's bytes, as they are stored.
    """
    arrays = ArrayRecorder()
    recorder = Recorder(arrays.special_names())
    compression: str | None = None
    protocol: int | None = None
    findings: tuple[Finding, ...] = ()
    try:
        stream, compression = open_stream(memory)
        protocol = stream.protocol
        reader = Reader(stream, recorder.find_class, lambda: arrays)
        made = read_whole(stream, reader)
        reader.forget_memo()
        arrays.refuse_shared_buffers()
        del made  # until here it was needed: what it holds has a reference
    except Exception as error:  # noqa: BLE001 # a stream can have the unpickler raise any of them
        findings = (_finding(error),)
    return Inspection(
        imports=recorder.imports(),
        arrays=arrays.kinds(),
        arrays_left_out=arrays.left_out,
        compression=compression,
        protocol=protocol,
        findings=findings,
    )


def imports_to_sign(inspection: Inspection) -> tuple[SignedImport, ...]:
    """What an inspection found, as a statement lists it.

    Raises:
        PayloadFormatError: the inspection has findings, for which the payload is refused.
    """
    # Not above: the process that inspects by itself has the standard library alone.
    from sealstore.signed.statement import Import, ImportUse

    for finding in inspection.findings:
        raise refused(finding.reason, finding.text)
    return tuple(
        Import(
            name=found.name,
            uses=tuple(ImportUse(use.use.value, use.arguments) for use in found.uses),
        )
        for found in inspection.imports
    )


def _finding(error: Exception) -> Finding:
    # Nothing but the stream runs in an inspection: what fails, fails for what the stream says.
    # A confined process can open no file: not even the one with the hints that errors show.
    if isinstance(error, PayloadFormatError):
        return Finding(Reason(error.reason), error.message)
    if isinstance(error, MissingExtraError):
        return Finding(Reason.COMPRESSION, error.message)
    text = str(error)
    if isinstance(error, MemoryError):
        return Finding(Reason.LIMIT, "The payload asks for more memory than there is.")
    if isinstance(error, pickle.UnpicklingError) and "STACK_GLOBAL requires str" in text:
        return Finding(Reason.COMPUTED_NAME, "The payload computes the name of what it imports.")
    if isinstance(error, ValueError) and "unregistered extension code" in text:
        return Finding(Reason.EXTENSION, extension().message)
    if isinstance(error, UnicodeError) and "undefined encoding" in text:
        return Finding(Reason.PYTHON_2, "The payload was written by Python 2.")
    kind = type(error).__name__
    return Finding(Reason.MALFORMED, f"The payload is no well-formed pickle stream ({kind}).")
