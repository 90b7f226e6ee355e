# SPDX-License-Identifier: GPL-3.0-or-later
"""A file or folder that is on the host already: copied into the store and proven on the way."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

from .._core.digest import SHA256, Digest
from .._core.errors import LlmError
from .._core.model import FileEntry, InstalledModel, ModelRequest, Resolved
from .._core.ports import Sink, SourceOptions, Workspace

_BLOCK = 1 << 20


class File:
    """The revision is the content's own hash, so the same bytes are the same model wherever they lie."""

    name = "file"

    def __init__(self, options: SourceOptions) -> None:
        del options

    def resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        root = Path(request.path)
        if not root.exists():
            raise LlmError("path_missing", f"the path {root} does not exist on the host.")
        found = {path: file for path, file in sorted(_files(root).items()) if request.wants(path)}
        if not found:
            raise LlmError("path_missing", f"the path {root} holds no file that is asked for.")
        signature = {path: _signature(file) for path, file in found.items()}
        if record and record.answers(request) and record.origin.get("signature") == signature:
            resolved = record.resolved
        else:
            entries = tuple(
                FileEntry(path, file.stat().st_size, Digest(SHA256, _sha256(file))) for path, file in found.items()
            )
            resolved = Resolved("", entries, {"signature": signature})
            resolved = Resolved(resolved.sha256, entries, resolved.origin)
        return resolved

    def fetch(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> None:
        del resolved
        files = _files(Path(request.path))
        for entry in missing:

            def pour(sink: Sink, path: Path = files[entry.path]) -> None:
                with path.open("rb") as source:
                    source.seek(sink.offset)
                    while block := source.read(_BLOCK):
                        sink.write(block)

            workspace.receive(entry, pour)

    def remove(self, record: InstalledModel, workspace: Workspace) -> None:
        workspace.discard(record)


def _files(root: Path) -> dict[str, Path]:
    if root.is_file():
        return {root.name: root}
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}


def _signature(path: Path) -> list[int]:
    """What changes when a file is written; where it is the same, the hash from last time holds."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
