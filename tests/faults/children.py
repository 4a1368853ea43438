"""Child processes of tests.

They come from a fork server, a clean process that has sealstore loaded and has used it once (see
``warm``): forking pytest itself, which has threads, is not safe, and starting Python again for each
takes ten times as long.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

SECONDS_FOR_A_CHILD = 120
"""After this time a child is taken to hang, and killed."""

_PRELOADED = (
    "alembic.command",
    "joblib",
    "numpy",
    "sealstore.formats.registry",
    "sealstore.repository.facade",
    "sqlalchemy.dialects.sqlite",
    "tests.faults.warm",
)


def fork_server() -> Any:
    """The context whose processes are forked from the fork server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


@contextmanager
def started(target: Callable[..., None], *arguments: object) -> Iterator[Any]:
    """A child that has said that it is where it should be; killed in the end.

    Args:
        target: called with ``arguments`` and a connection, on which it sends ``"ready"``.
    """
    context = fork_server()
    ready, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*arguments, sender))
    process.start()
    sender.close()
    try:
        assert ready.poll(SECONDS_FOR_A_CHILD)
        assert ready.recv() == "ready"
        yield process
    finally:
        ready.close()
        process.kill()
        process.join()
        process.close()


def run_all(calls: Sequence[tuple[Callable[..., Any], tuple[object, ...]]]) -> list[Any]:
    """What the calls return, each in a child of its own, all at the same time.

    Raises:
        RuntimeError: a child raised, hung or died; with what it said.
    """
    context = fork_server()
    running = []
    for function, arguments in calls:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_report, args=(sender, function, arguments))
        process.start()
        sender.close()
        running.append((process, receiver))
    outcomes = [_outcome(process, receiver) for process, receiver in running]
    failures = [str(what) for succeeded, what in outcomes if not succeeded]
    if failures:
        raise RuntimeError("\n".join(failures))
    return [result for _, result in outcomes]


def _outcome(process: Any, receiver: Any) -> tuple[bool, Any]:
    succeeded, result = False, "a child hangs"
    try:
        if receiver.poll(SECONDS_FOR_A_CHILD):
            succeeded, result = receiver.recv()
    except EOFError:
        result = "a child died"
    receiver.close()
    if not succeeded:
        process.kill()
    process.join()
    process.close()
    return succeeded, result


def _report(sender: Any, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    try:
        sender.send((True, function(*arguments)))
    except BaseException:
        sender.send((False, traceback.format_exc()))
        raise
