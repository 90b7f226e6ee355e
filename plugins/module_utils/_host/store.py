# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's directory of models that we own: bytes on their way in, models, and the manifest."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t
from dataclasses import replace
from pathlib import Path

from .._api.local_file import LocalFile
from .._core.chunks import CHUNK
from .._core.digest import Digest
from .._core.errors import LlmError
from .._core.manifest import Manifest
from .._core.model import FileEntry, InstalledModel
from .._core.ports import Origin
from .catalogue import Catalogue, Reading, seen_on_disk
from .disk import free_bytes
from .durable import flush_folder
from .hashing import Damage, inspect_all
from .leftovers import leftovers, sweep, told, unused
from .linking import clone, link_own, link_shared
from .lock import hold, is_held
from .ownership import Owner, make_folder
from .partial import PartialFile, partial_path, proven_path
from .progress import Progress
from .read_ahead import blocks

# A wrong byte may have been made on the way: once more from the first byte, and then it is the source's.
_ATTEMPTS = 2


class Store:
    """All paths are below `path`; nothing outside it is ever written or removed."""

    def __init__(self, path: str, owner: Owner, *, chunk: int = CHUNK) -> None:
        self.path = Path(path)
        self._owner = owner
        self._chunk = chunk
        self._partial = self.path / "partial"
        self._chunks = self.path / "chunks"
        self._lock = self.path / "locks" / "store.lock"
        self._catalogue = Catalogue(self.path, owner)
        self.progress: Progress | None = None
        self._given_up = False

    # --- looking (check mode does only this) ---

    def manifest(self) -> Manifest:
        return self._catalogue.read().manifest

    def reading(self) -> Reading:
        """The manifest, with what had to be put right to have it, and what killed runs left."""
        reading = self._catalogue.read()
        if is_held(self._lock):
            # What lies about is the work of whoever holds it.
            return reading
        return replace(reading, healed=reading.healed + told(leftovers(self.path, reading.manifest)))

    def copies(self, files: t.Iterable[FileEntry], records: t.Iterable[InstalledModel]) -> dict[Digest, Path]:
        """Where the store has the bytes of these files already: proven and uncommitted, or part of a model."""
        found = {
            file.digest: proven_path(self._partial, file)
            for file in files
            if _size(proven_path(self._partial, file)) == file.size
        }
        wanted = {file.digest for file in files} - set(found)
        for record in records if wanted else ():
            for entry in record.files:
                path = Path(record.folder or "/nonexistent") / entry.path
                if entry.digest in wanted and entry.digest not in found and _size(path) == entry.size:
                    found[entry.digest] = path
        return found

    def intact(self, record: InstalledModel) -> bool:
        """Whether every file of the record is there with its size."""
        return all(_size(Path(record.root) / entry.path) == entry.size for entry in record.files)

    def damages(self, record: InstalledModel, share: float) -> list[Damage]:
        """The files of a model whose bytes are not what they must be; reads them all, or a random share."""
        return inspect_all(Path(record.root), record.files, self._chunks, share)

    def arrived(self, entry: FileEntry) -> int:
        """How many bytes of a file an earlier run left."""
        size = _size(partial_path(self._partial, entry))
        return 0 if size is None or size > entry.size else size

    def is_busy(self) -> bool:
        """Whether another run is changing the store."""
        return is_held(self._lock)

    def free(self) -> int:
        """Free bytes of the file system, also before the store exists."""
        return free_bytes(self.path)

    # --- changing ---

    @contextlib.contextmanager
    def locked(self, timeout: float) -> t.Iterator[tuple[str, ...]]:
        """Be the only one to change the store; tells what a killed run had left, which is swept."""
        for folder in (self.path, self._partial, self._chunks):
            make_folder(folder, self._owner)
        with hold(self._lock, what=f"The store {self.path}", timeout=timeout, owner=self._owner):
            left = leftovers(self.path, self.manifest())
            sweep(left)
            yield told(left)

    def receive(self, entry: FileEntry, origin: Origin) -> None:
        """See `Workspace.receive`; raises `checksum_mismatch` when the source's bytes are not the promised ones."""
        for _attempt in range(_ATTEMPTS):
            with self._open(entry) as file:
                self._fill(file, entry, origin)
                if file.prove():
                    return
                if file.damaged:
                    self._fill(file, entry, origin)
                    if file.prove():
                        return
            origin.doubt()
        raise LlmError(
            "checksum_mismatch",
            f"File {entry.path}: the bytes do not hash to the promised {entry.digest}.",
            file=entry.path,
            expected=str(entry.digest),
        )

    def adopt(self, entry: FileEntry, path: Path) -> None:
        """Take the bytes of a file outside the store that was just seen to hash to the entry's digest."""
        target = proven_path(self._partial, entry)
        target.unlink(missing_ok=True)
        if self.path in path.parents:
            link_own(path, target)
        elif clone(path, target):
            target.chmod(0o440)
            self._owner.give(target)
        elif not link_shared(path, target):
            self.receive(entry, LocalFile(path))

    def reopen(self, record: InstalledModel, damage: Damage, manifest: Manifest) -> None:
        """Make a damaged file one that is on its way in again, so that only its wrong parts are fetched."""
        if damage.bytes == damage.entry.size:
            return
        partial = partial_path(self._partial, damage.entry)
        partial.unlink(missing_ok=True)
        path = Path(record.folder) / damage.entry.path
        ours = self._names_of(damage.entry.digest, manifest)
        if path.stat().st_nlink > sum(other.stat().st_ino == path.stat().st_ino for other in ours):
            # Somebody else's name for these bytes as well: what is mended must not change under it.
            if not clone(path, partial):
                shutil.copyfile(path, partial)
        else:
            link_own(path, partial)
        partial.chmod(0o640)

    def spread(self, record: InstalledModel, digests: t.Container[Digest], manifest: Manifest) -> Manifest:
        """Give every other model of the store that has these bytes the repaired ones.

        Returns the manifest as it is then: also the models that this, or sharing a folder, has made whole.
        """
        for entry in record.files:
            whole = Path(record.folder) / entry.path
            for other in self._names_of(entry.digest, manifest) if entry.digest in digests else ():
                if other.stat().st_ino != whole.stat().st_ino:
                    fresh = self._partial / f"{entry.digest.value}.staging"
                    fresh.unlink(missing_ok=True)
                    link_own(whole, fresh)
                    os.replace(fresh, other)
                    flush_folder(other.parent)
        seen = seen_on_disk(manifest)
        if seen.healed:
            self.write_manifest(seen.manifest)
        return seen.manifest

    def _names_of(self, digest: Digest, manifest: Manifest) -> list[Path]:
        """Every path of the store whose bytes should have that hash."""
        paths = {
            Path(record.folder) / entry.path
            for record in manifest.models.values()
            for entry in record.files
            if record.folder and entry.digest == digest
        }
        return [path for path in sorted(paths) if path.is_file()]

    def secure(self, files: t.Iterable[FileEntry], records: t.Iterable[InstalledModel]) -> None:
        """Give the bytes that the store has of these files a name of their own, so that no removal takes them."""
        wanted = list(files)
        found = self.copies(wanted, records)
        for entry in wanted:
            proven = proven_path(self._partial, entry)
            if found.get(entry.digest, proven) != proven:
                proven.unlink(missing_ok=True)
                link_own(found[entry.digest], proven)

    def commit(
        self,
        record: InstalledModel,
        old: InstalledModel | None,
        manifest: Manifest,
        at: str,
        kept: InstalledModel | None = None,
    ) -> Manifest:
        """Make the proven files a model: one rename, then the manifest. A reader never sees half of it.

        Files are linked, not moved, so that a kill before the manifest is written loses nothing. `kept` is the
        outgoing model under a name of its own, where a rollback may want it.
        """
        folder = Path(record.folder)
        staging = self._partial / f"{folder.name}.staging"
        shutil.rmtree(staging, ignore_errors=True)
        make_folder(staging, self._owner)
        for entry in record.files:
            target = staging / entry.path
            make_folder(target.parent, self._owner)
            link_own(proven_path(self._partial, entry), target)
        for parent in sorted({(staging / entry.path).parent for entry in record.files} | {staging}):
            flush_folder(parent)
        make_folder(folder.parent, self._owner)
        if kept:
            manifest = manifest.with_model(kept, at)
            self._catalogue.note(kept, manifest)
        self._catalogue.note(record, manifest)
        if folder.exists():
            # Another choice of this revision lives here too, or a file of ours was damaged.
            self._merge(staging, folder, record)
        else:
            os.replace(staging, folder)
        flush_folder(folder.parent)
        manifest = manifest.with_model(record, at)
        self.write_manifest(manifest)
        for entry in record.files:
            proven_path(self._partial, entry).unlink(missing_ok=True)
        if old and old.folder == record.folder:
            needed = {entry.path for entry in record.files} | manifest.others_files(record)
            _unlink_files(folder, old, needed)
        return manifest

    def scratch(self, name: str) -> Path:
        """See `Workspace.scratch`."""
        folder = self._partial / f"{name}.scratch"
        make_folder(folder, self._owner)
        return folder

    def write_manifest(self, manifest: Manifest) -> None:
        self._catalogue.write(manifest)

    def note(self, record: InstalledModel, manifest: Manifest) -> None:
        """Write down anew what a folder of models is."""
        self._catalogue.note(record, manifest)

    def forget(self, record: InstalledModel) -> None:
        """Drop what is written down of a model whose bytes are elsewhere."""
        self._catalogue.forget(record)

    def bytes_of(self, entry: FileEntry) -> Path:
        """Where a file's proven bytes lie before they are part of a model."""
        return proven_path(self._partial, entry)

    def remove(self, record: InstalledModel, manifest: Manifest) -> None:
        """Remove a model's folder if it really is below the store; links are removed, not followed.

        `manifest` is the one without it. The folder goes out of sight in one step, then the manifest says so, then
        the bytes go: a run that is killed in between leaves what the next one finds and ends.
        """
        folder = Path(record.folder)
        inside = self.path.resolve()
        if inside not in folder.parent.resolve().parents or folder.is_symlink():
            raise LlmError(
                "invalid_input",
                f"Model {record.name}: its folder {folder} is not inside the store {self.path}; nothing was removed.",
                remedy="Correct the manifest by hand.",
            )
        others = [other for other in manifest.models.values() if other.folder == record.folder]
        doomed = self._partial / f"{folder.name}.removed"
        if others:
            _unlink_files(folder, record, manifest.others_files(record))
            self._catalogue.note(others[0], manifest)
        elif folder.exists():
            shutil.rmtree(doomed, ignore_errors=True)
            os.replace(folder, doomed)
        self.write_manifest(manifest)
        # Second names of proven bytes stay: a later step of this run wants them.
        sweep([*unused(self.path, manifest), doomed])

    def _fill(self, file: PartialFile, entry: FileEntry, origin: Origin) -> None:
        mended = sum(part.length for part in file.damaged)
        file.mend(origin)
        self._came(mended)
        if file.offset < entry.size:
            for block in blocks(origin, file.offset, entry.size):
                file.write(block)
                self._came(len(block))

    def give_up(self) -> None:
        """Have what is being received end with `cancelled`; called from another thread."""
        self._given_up = True

    def _came(self, count: int) -> None:
        if self.progress and count:
            self.progress.add(count)
        self._go_on()

    def report(self, done: int, total: int) -> None:
        """See `Workspace.report`."""
        if self.progress:
            self.progress.report(done, total)
        self._go_on()

    def _go_on(self) -> None:
        if self._given_up:
            raise LlmError("cancelled", "who asked for it is gone, so it was given up.")

    def _open(self, entry: FileEntry) -> PartialFile:
        return PartialFile(self._partial, entry, chunks=self._chunks, owner=self._owner, chunk=self._chunk)

    def _merge(self, staging: Path, folder: Path, record: InstalledModel) -> None:
        for entry in record.files:
            target = folder / entry.path
            make_folder(target.parent, self._owner)
            os.replace(staging / entry.path, target)
            flush_folder(target.parent)
        shutil.rmtree(staging)


def _unlink_files(folder: Path, record: InstalledModel, needed: t.Container[str]) -> None:
    for entry in record.files:
        if entry.path not in needed:
            (folder / entry.path).unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
