"""Files that strangers hand over: what lies under the name is judged before it is read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from tests.audited import Audited

_PATIENCE_SECONDS = 20
"""A read that waits for a writer never ends by itself; anything else is done in a fraction."""

HANDED_OVER = {
    "a checkpoint to verify since": ("audit", "verify", "--since"),
    "an export to verify": ("audit", "verify", "--export"),
    "a checkpoint to prove consistency from": ("audit", "consistency"),
    "a proof of an entry": ("audit", "check-proof"),
    "a checkpoint to trust": ("trust", "init", "--checkpoint"),
    "a checkpoint to accept": ("trust", "accept", "--yes", "--checkpoint"),
    "a bundle to verify": ("bundle", "verify"),
    "a bundle to import": ("bundle", "import"),
    "an older bundle": ("bundle", "create", "new.bundle", "a", "--since"),
    "keys to import": ("keys", "import", "--role", "store", "--yes"),
    "a request to sign": ("approve", "sign", "--output", "out", "--yes"),
    "a request to make": ("approve", "apply"),
    "an approval": ("alias", "set", "a", "production", "1", "--approval"),
    "a policy": ("policy", "set"),
    "a payload to inspect": ("inspect", "--file"),
    "a mapping of names": ("adopt", ".", "--map"),
    "an export to rebuild from": ("rebuild", "--history"),
    "a checkpoint to rebuild from": ("rebuild", "--checkpoint"),
}


@contextmanager
def no_waiting() -> Iterator[None]:
    """Interrupt what waits for a writer that never comes."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail("it waits for a writer, and would for ever")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(_PATIENCE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("command", HANDED_OVER.values(), ids=HANDED_OVER)
def test_a_fifo_or_device_in_a_file_s_place_is_refused(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """No command waits for a FIFO's writer, or reads a device, and none writes a file.

    A user may name a link; a link to a device is one to no regular file.
    """
    (audited.tmp_path / "here").mkdir()
    monkeypatch.chdir(audited.tmp_path / "here")
    os.mkfifo("fifo", 0o600)
    Path("link to a fifo").symlink_to("fifo")
    Path("link to a device").symlink_to("/dev/zero")
    before = set(Path().iterdir())
    for planted in ("fifo", "link to a fifo", "link to a device"):
        with no_waiting():
            ran = audited.site.run(*command, Path(planted), code=1)
        assert "regular file" in ran.err or "symbolic link" in ran.err, ran
    assert set(Path().iterdir()) == before
