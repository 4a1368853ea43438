"""A disk that loses power: which of the calls that nobody has synced yet are on it afterwards.

What is durable is what was synced: of a file its contents and size, of a folder its names, and
nothing else. A new file's name is durable once its folder was synced, not with the file. Of the
calls since, any subset may have reached the disk, in any order between files and folders, and the
last write of a file in part. A renaming within one folder is one step, as every file system of
today has it. Permissions are taken to be durable at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.faults.file_calls import (
    Call,
    Cut,
    Identity,
    Linked,
    Made,
    Renamed,
    Synced,
    Unlinked,
    Written,
    identity,
)

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

_SHARED_MEMORY = "-shm"
"""The end of the name of SQLite's file that is only memory; after a crash, it is made again."""

Tree = dict[str, bytes | None]
"""Contents of files by their paths; None for a folder."""


@dataclass(eq=False)
class _File:
    content: bytes = b""


@dataclass(eq=False)
class _Folder:
    names: dict[str, _File | _Folder] = field(default_factory=dict)


_Node = _File | _Folder


@dataclass(frozen=True)
class Step:
    """A call that is not synced yet: on the file or folder ``on``, whose syncing makes it durable.

    Attributes:
        on: which.
        call: what was done.
        node: what was given a name.
        is_naming: whether it changes a folder's names, not a file's content.
    """

    on: _Node
    call: Call
    node: _Node | None = None

    @property
    def is_naming(self) -> bool:
        return isinstance(self.on, _Folder)

    def torn(self) -> Step:
        """The same write, of which only the first half of the sectors came to the disk."""
        if not isinstance(self.call, Written):
            return self
        half = len(self.call.data) // 2 // SECTOR * SECTOR
        return replace(self, call=replace(self.call, data=self.call.data[:half]))


class Disk:
    """The disk that a folder lies on.

    Args:
        root: the folder. All that it holds now is durable.
        without: names in it that lie on another disk.
    """

    def __init__(self, root: Path, without: Iterable[str] = ()) -> None:
        self._nodes: dict[Identity, _Node] = {}
        self._root = _Folder()
        self._read(root, self._root, frozenset(without))
        self.pending: list[Step] = []

    def _read(self, path: Path, folder: _Folder, without: frozenset[str] = frozenset()) -> None:
        self._nodes[identity(path)] = folder
        for each in path.iterdir():
            if each.name in without or each.name.endswith(_SHARED_MEMORY):
                continue
            if each.is_dir():
                inner = _Folder()
                self._read(each, inner)
                folder.names[each.name] = inner
            else:
                file = _File(each.read_bytes())
                self._nodes[identity(each)] = file
                folder.names[each.name] = file

    # ── what is done to it ───────────────────────────────────────────────────

    def apply(self, call: Call) -> bool:
        """Let a call be made. Returns whether it concerns this disk."""
        if isinstance(call, Made):
            return self._make(call)
        if isinstance(call, Synced):
            return self._sync(call)
        if isinstance(call, Written | Cut):
            file = self._nodes.get(call.file)
            steps = [] if file is None else [Step(file, call)]
        elif isinstance(call, Linked):
            steps = self._naming(call.folder, call, self._nodes.get(call.file))
        elif isinstance(call, Unlinked):
            steps = self._naming(call.folder, call)
        else:
            steps = self._rename(call)
        self.pending += steps
        return bool(steps)

    def _make(self, call: Made) -> bool:
        # By its inode, which a file that is gone may have had before.
        self._nodes.pop(call.made, None)
        if call.folder not in self._nodes or str(call.name).endswith(_SHARED_MEMORY):
            return False
        node: _Node = _Folder() if call.is_folder else _File()
        self._nodes[call.made] = node
        if call.name is not None:
            self.pending += self._naming(call.folder, call, node)
        return True

    def _sync(self, call: Synced) -> bool:
        node = self._nodes.get(call.what)
        if node is None:
            return False
        for step in self.pending:
            if step.on is node:
                _take(node, step)
        self.pending = [step for step in self.pending if step.on is not node]
        return True

    def _naming(self, folder: Identity, call: Call, node: _Node | None = None) -> list[Step]:
        on = self._nodes.get(folder)
        return [] if on is None else [Step(on, call, node)]

    def _rename(self, call: Renamed) -> list[Step]:
        old, new = self._nodes.get(call.folder), self._nodes.get(call.new_folder)
        assert old is new, "a renaming between folders is not simulated"
        return [] if old is None else self._naming(call.folder, call)

    # ── what is left of it ───────────────────────────────────────────────────

    def left(self, kept: Sequence[Step]) -> Tree:
        """What is on it where, beside what is durable, these steps are."""
        copies: dict[_Node, _Node] = {}
        for step in kept:
            if step.on not in copies:
                copies[step.on] = _copy(step.on)
            _take(copies[step.on], step)
        tree: Tree = {}
        _collect(self._root, "", copies, tree)
        return tree

    def losses(self) -> Iterator[tuple[str, list[Step]]]:
        """Which steps may be left after a power loss now; a choice, beginning with the extremes."""
        steps = self.pending
        yield "nothing that was not synced", []
        yield "everything", list(steps)
        if not steps:
            return
        yield "the last one torn", [*steps[:-1], steps[-1].torn()]
        yield "all but the first", steps[1:]
        yield "the last only", steps[-1:]
        yield "contents without names", [step for step in steps if not step.is_naming]
        yield "names without contents", [step for step in steps if step.is_naming]
        yield "every other", steps[::2]
        yield "all the others", steps[1::2]
        yield "the later half", steps[len(steps) // 2 :]
        middle = len(steps) // 2
        yield (
            "one in the middle torn",
            [*steps[:middle], steps[middle].torn(), *steps[middle + 1 :]],
        )
        for on in dict.fromkeys(step.on for step in steps):
            yield "one file or folder only", [step for step in steps if step.on is on]


def _copy(node: _Node) -> _Node:
    return _File(node.content) if isinstance(node, _File) else _Folder(dict(node.names))


def _take(node: _Node, step: Step) -> None:
    """Let ``node`` be as it is after ``step``."""
    call = step.call
    if isinstance(node, _File):
        if isinstance(call, Written):
            before = node.content.ljust(call.offset, b"\0")
            node.content = (
                before[: call.offset] + call.data + before[call.offset + len(call.data) :]
            )
        elif isinstance(call, Cut):
            node.content = node.content[: call.size].ljust(call.size, b"\0")
        return
    if isinstance(call, Renamed):
        # Where the making of the old name was lost, so is this.
        if call.name in node.names:
            node.names[call.new_name] = node.names.pop(call.name)
    elif isinstance(call, Unlinked):
        node.names.pop(call.name, None)
    elif isinstance(call, Made | Linked) and step.node is not None and call.name is not None:
        node.names[call.name] = step.node


def _collect(folder: _Folder, prefix: str, copies: dict[_Node, _Node], tree: Tree) -> None:
    present = copies.get(folder, folder)
    assert isinstance(present, _Folder)
    for name, node in present.names.items():
        path = f"{prefix}{name}"
        if isinstance(node, _Folder):
            tree[path] = None
            _collect(node, f"{path}/", copies, tree)
        else:
            shown = copies.get(node, node)
            assert isinstance(shown, _File)
            tree[path] = shown.content


# ── trees ────────────────────────────────────────────────────────────────────


def read_tree(root: Path) -> Tree:
    """All that a folder holds, but for SQLite's shared memory."""
    return {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
        if not path.name.endswith(_SHARED_MEMORY)
    }


def write_tree(root: Path, *trees: Tree) -> None:
    """Let a folder hold this, and nothing else."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(mode=0o700)
    for tree in trees:
        for path, content in tree.items():
            if content is None:
                (root / path).mkdir(mode=0o700)
            else:
                (root / path).write_bytes(content)
                (root / path).chmod(0o600)
