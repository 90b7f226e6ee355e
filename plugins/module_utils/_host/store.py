# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's directory of models that we own: bytes on their way in, models, and the manifest."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t
from pathlib import Path

from .._core.digest import Digest
from .._core.errors import LlmError
from .._core.manifest import Manifest
from .._core.model import FileEntry, InstalledModel
from .._core.ports import Sink
from .durable import flush_folder, read_text, write_text
from .lock import hold
from .ownership import Owner, make_folder
from .partial import PartialFile, proven_path

# A wrong byte in a resumed file may be an old one: once more from the first byte, and then it is the source's.
_ATTEMPTS = 2


class Store:
    """All paths are below `path`; nothing outside it is ever written or removed."""

    def __init__(self, path: str, owner: Owner) -> None:
        self.path = Path(path)
        self._owner = owner
        self._partial = self.path / "partial"
        self._manifest = self.path / "manifest.json"

    # --- looking (check mode does only this) ---

    def manifest(self) -> Manifest:
        text = read_text(self._manifest)
        return Manifest() if text is None else Manifest.parse(text, str(self._manifest))

    def proven(self, files: t.Iterable[FileEntry]) -> set[Digest]:
        """The digests whose bytes lie proven and uncommitted."""
        return {entry.digest for entry in files if _size(proven_path(self._partial, entry)) == entry.size}

    def intact(self, record: InstalledModel) -> bool:
        """Whether every file of the record is there with its size."""
        return all(_size(Path(record.folder) / entry.path) == entry.size for entry in record.files)

    def present(self, record: InstalledModel) -> set[Digest]:
        """The digests of a model's files that are there with their size."""
        folder = Path(record.folder)
        return {entry.digest for entry in record.files if _size(folder / entry.path) == entry.size}

    def arrived(self, entry: FileEntry) -> int:
        """How many bytes of a file an earlier run left."""
        size = _size(self._partial / f"{entry.digest.algorithm}-{entry.digest.value}.partial")
        return size if size is not None and size <= entry.size else 0

    def free(self) -> int:
        """Free bytes of the file system, also before the store exists."""
        path = self.path
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free

    # --- changing ---

    @contextlib.contextmanager
    def locked(self, timeout: float) -> t.Iterator[None]:
        for folder in (self.path, self._partial):
            make_folder(folder, self._owner)
        with hold(
            self.path / "locks" / "store.lock", what=f"The store {self.path}", timeout=timeout, owner=self._owner
        ):
            yield

    def receive(self, entry: FileEntry, pour: t.Callable[[Sink], None]) -> None:
        """See `Workspace.receive`; raises `checksum_mismatch` when the source's bytes are not the promised ones."""
        for _attempt in range(_ATTEMPTS):
            with PartialFile(self._partial, entry) as sink:
                resumed = sink.resumed
                if sink.offset < entry.size or not entry.size:
                    pour(sink)
                if sink.prove():
                    return
            if not resumed:
                break
        raise LlmError(
            "checksum_mismatch",
            f"File {entry.path}: the bytes do not hash to the promised {entry.digest}.",
            file=entry.path,
            expected=str(entry.digest),
        )

    def commit(self, record: InstalledModel, old: InstalledModel | None, at: str) -> Manifest:
        """Make the proven files a model: one rename, then the manifest. A reader never sees half of it.

        Files are linked, not moved, so that a kill before the manifest is written loses nothing.
        """
        folder = Path(record.folder)
        staging = self._partial / f"{folder.name}.staging"
        shutil.rmtree(staging, ignore_errors=True)
        make_folder(staging, self._owner)
        for entry in record.files:
            target = staging / entry.path
            make_folder(target.parent, self._owner)
            _link(self._bytes_of(entry, old), target)
            target.chmod(0o440)
            self._owner.give(target)
        for parent in sorted({(staging / entry.path).parent for entry in record.files} | {staging}):
            flush_folder(parent)
        make_folder(folder.parent, self._owner)
        if folder.exists():
            # Another choice of this revision lives here too, or a file of ours was damaged.
            self._merge(staging, folder, record)
        else:
            os.replace(staging, folder)
        flush_folder(folder.parent)
        manifest = self.manifest().with_model(record, at)
        self.write_manifest(manifest)
        for entry in record.files:
            proven_path(self._partial, entry).unlink(missing_ok=True)
        if old and old.folder == record.folder:
            needed = {entry.path for entry in record.files} | manifest.others_files(record)
            _unlink_files(folder, old, needed)
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        write_text(self._manifest, manifest.render(), mode=0o644, owner=self._owner)

    def discard(self, record: InstalledModel) -> None:
        """Remove a model's folder if it really is below the store; links are removed, not followed."""
        folder = Path(record.folder)
        inside = self.path.resolve()
        if inside not in folder.parent.resolve().parents or folder.is_symlink():
            raise LlmError(
                "invalid_input",
                f"Model {record.name}: its folder {folder} is not inside the store {self.path}; nothing was removed.",
                remedy="Correct the manifest by hand.",
            )
        others = self.manifest().others_files(record)
        if others:
            _unlink_files(folder, record, others)
        elif folder.exists():
            doomed = self._partial / f"{folder.name}.removed"
            shutil.rmtree(doomed, ignore_errors=True)
            # Out of sight in one step; then the slow part.
            os.replace(folder, doomed)
            shutil.rmtree(doomed)

    def _merge(self, staging: Path, folder: Path, record: InstalledModel) -> None:
        for entry in record.files:
            target = folder / entry.path
            make_folder(target.parent, self._owner)
            os.replace(staging / entry.path, target)
            flush_folder(target.parent)
        shutil.rmtree(staging)

    def _bytes_of(self, entry: FileEntry, old: InstalledModel | None) -> Path:
        proven = proven_path(self._partial, entry)
        if proven.exists() or old is None:
            return proven
        same = next(other for other in old.files if other.digest == entry.digest)
        return Path(old.folder) / same.path


def _unlink_files(folder: Path, record: InstalledModel, needed: t.Container[str]) -> None:
    for entry in record.files:
        if entry.path not in needed:
            (folder / entry.path).unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except PermissionError:
        raise
    except OSError:
        # Some file systems have no hard links.
        shutil.copyfile(source, target)
