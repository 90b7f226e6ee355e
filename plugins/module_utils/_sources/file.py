# SPDX-License-Identifier: GPL-3.0-or-later
"""A file or folder that is on the host already: copied into the store, linked there, or used where it is."""

from __future__ import annotations

import typing as t
from pathlib import Path

from .._api.local_file import LocalFile, sha256_of
from .._core.digest import SHA256, Digest
from .._core.errors import LlmError
from .._core.model import FileEntry, InstalledModel, Resolved
from .._core.ports import Fetched, SourceOptions, Workspace
from .._core.reference import ModelReference
from .._core.request import ModelRequest
from .owned import StoreOwned

# Placements that are not a copy.
LINK, REFERENCE = "link", "reference"


class File(StoreOwned):
    """The revision is the content's own hash, so the same bytes are the same model wherever they lie."""

    name = "file"
    own_options: t.ClassVar[tuple[str, ...]] = (
        "placement",
        "from_controller",
        "controller_files",
        "controller_staging",
    )

    def __init__(self, options: SourceOptions) -> None:
        del options

    @staticmethod
    def reference(params: t.Mapping[str, t.Any]) -> ModelReference:
        path = params.get("path") or ""
        if not path:
            raise LlmError(
                "invalid_input",
                f"Model {params.get('name')} (file): path is missing.",
                remedy="Give the file or folder.",
            )
        if not path.startswith("/") and not (path and params.get("from_controller")):
            raise LlmError(
                "invalid_input",
                f"Model {params.get('name')} (file): path '{path}' is not absolute.",
                remedy="Give the absolute path on the host as path, or set from_controller: true for one of the controller.",
            )
        return ModelReference("file", path, "")

    def resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        if request.details.get("from_controller"):
            return self._from_controller(request)
        root = Path(request.path)
        if not root.exists():
            raise LlmError("path_missing", f"the path {root} does not exist on the host.")
        found = {path: file for path, file in sorted(_files(root).items()) if request.wants(path)}
        if not found:
            raise LlmError("path_missing", f"the path {root} holds no file that is asked for.")
        signature = {path: _signature(file) for path, file in found.items()}
        in_place = request.details.get("placement") == REFERENCE
        if record and request.answered_by(record) and record.origin.get("signature") == signature:
            entries = record.files
        else:
            entries = tuple(
                FileEntry(path, file.stat().st_size, Digest(SHA256, sha256_of(file))) for path, file in found.items()
            )
        if (
            in_place
            and request.verify == "always"
            and record
            and request.answered_by(record)
            and entries != record.files
        ):
            raise LlmError(
                "checksum_mismatch",
                f"{root} is no longer what was recorded of it; its files are the user's own and are not repaired.",
                remedy="Bring the files back, or take what is there now with state: present.",
            )
        origin: dict[str, t.Any] = {"signature": signature}
        if in_place:
            origin["path"] = str(root if root.is_dir() else root.parent)
        resolved = Resolved("", entries)
        return Resolved(resolved.sha256, entries, origin, held=in_place)

    def _from_controller(self, request: ModelRequest) -> Resolved:
        """What the action of the same name has read on the controller."""
        told = request.details.get("controller_files", ())
        entries = tuple(
            FileEntry(str(file["path"]), int(file["size"]), Digest(SHA256, str(file["sha256"])))
            for file in told
            if request.wants(str(file["path"]))
        )
        if not entries:
            raise LlmError("path_missing", f"the controller's {request.path} holds no file that is asked for.")
        return Resolved(Resolved("", entries).sha256, entries)

    def fetch(
        self, request: ModelRequest, resolved: Resolved, missing: t.Sequence[FileEntry], workspace: Workspace
    ) -> Fetched:
        if request.details.get("from_controller"):
            self._take_staged(request, missing, workspace)
            return Fetched(resolved)
        files = _files(Path(request.path))
        for entry in missing if not resolved.held else ():
            if request.details.get("placement") == LINK:
                workspace.adopt(entry, files[entry.path])
            else:
                workspace.receive(entry, LocalFile(files[entry.path]))
        return Fetched(resolved)

    def _take_staged(self, request: ModelRequest, missing: t.Sequence[FileEntry], workspace: Workspace) -> None:
        staging = request.details.get("controller_staging")
        for entry in missing:
            workspace.receive(entry, LocalFile(Path(str(staging)) / entry.digest.value))


def _files(root: Path) -> dict[str, Path]:
    if root.is_file():
        return {root.name: root}
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}


def _signature(path: Path) -> list[int]:
    """What changes when a file is written; where it is the same, the hash from last time holds."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
