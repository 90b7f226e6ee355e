# SPDX-License-Identifier: GPL-3.0-or-later
"""A file on its way in: kept under the digest it must have, so that any later run can go on with it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import typing as t
from pathlib import Path

from .._core.chunks import CHUNK, Chunk, parse, render
from .._core.errors import LlmError
from .._core.model import FileEntry
from .._core.ports import Origin
from .durable import flush_folder, read_text
from .os_errors import explain
from .ownership import Owner

_BLOCK = 1 << 20


class PartialFile:
    """Bytes are hashed as they are written, never again afterwards: the whole file and each part of it.

    What an earlier process left is read once, to carry the hash on. Parts that do not hash to what was written
    down for them are `damaged`. Bytes that a killed process wrote after the last part it wrote down are kept on
    trust: if the whole turns out wrong, they are the first to be fetched again.
    """

    def __init__(
        self,
        folder: Path,
        entry: FileEntry,
        *,
        chunks: Path | None = None,
        owner: Owner | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self._entry = entry
        self._owner = owner or Owner()
        self._chunk = chunk
        self.path = partial_path(folder, entry)
        self.chunks_path = chunks_path(chunks or folder, entry)
        self.proven = proven_path(folder, entry)
        self.damaged: list[Chunk] = []
        self._suspect: list[Chunk] = []
        self._file: t.IO[bytes] | None = None
        self._list: t.IO[str] | None = None
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._whole = self._entry.digest.hasher(self._entry.size)
        self._part = hashlib.sha256()
        self._part_start = 0

    @property
    def offset(self) -> int:
        """How many bytes there are, from the first on."""
        return self._offset

    def __enter__(self) -> PartialFile:
        self.path.touch()
        self._file = self.path.open("r+b", buffering=0)
        listed = read_text(self.chunks_path) or ""
        kept = self._look(parse(listed))
        self._file.truncate(self._offset)
        self._file.seek(self._offset)
        if self._entry.size > self._chunk or kept:
            text = render(kept)
            if text != listed:
                self.chunks_path.write_text(text, encoding="ascii")
            self._list = self.chunks_path.open("a", encoding="ascii")
        return self

    def _look(self, listed: t.Sequence[Chunk]) -> list[Chunk]:
        """Read what is there once: hash it on, and see which parts are not what they were."""
        kept: list[Chunk] = []
        for chunk in listed:
            if chunk.stop > self._entry.size:
                break
            whole, part = self._whole.copy(), hashlib.sha256()
            if self._read(chunk, whole, part) < chunk.length:
                break
            if part.hexdigest() != chunk.sha256:
                self.damaged.append(chunk)
            kept.append(chunk)
            self._offset = self._part_start = chunk.stop
            # From the first damaged part on, the hash of the whole can only go on when that part is mended.
            if not self.damaged:
                self._whole = whole
        self._suspect = self._look_further()
        return kept + self._suspect

    def _look_further(self) -> list[Chunk]:
        """Take up bytes that no part speaks for, as parts of their own."""
        found: list[Chunk] = []
        while self._offset < self._entry.size:
            part, whole = hashlib.sha256(), self._whole.copy()
            self._open.seek(self._offset)
            asked = Chunk(self._offset, min(self._chunk, self._entry.size - self._offset), "")
            length = self._read(asked, part, whole)
            if not length:
                break
            found.append(Chunk(self._offset, length, part.hexdigest()))
            self._offset = self._part_start = found[-1].stop
            if not self.damaged:
                self._whole = whole
        return found

    def _read(self, chunk: Chunk, *hashers: t.Any) -> int:
        left = chunk.length
        while left and (block := self._open.read(min(_BLOCK, left))):
            for hasher in hashers:
                hasher.update(block)
            left -= len(block)
        return chunk.length - left

    @property
    def _open(self) -> t.IO[bytes]:
        if self._file is None:
            raise ValueError("the file is not open")
        return self._file

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(OSError):
            # A part that is not whole is worth keeping too; on a full disk its bytes are simply fetched again.
            if self._offset > self._part_start:
                self._end_part()
        for file in (self._file, self._list):
            if file:
                with contextlib.suppress(OSError):
                    file.close()
        self._file = self._list = None

    def mend(self, origin: Origin) -> None:
        """Fetch the damaged parts, and only them, into their places."""
        if not self.damaged:
            return
        for chunk in self.damaged:
            data = b"".join(origin.read(chunk.start, chunk.stop))
            self._open.seek(chunk.start)
            left = memoryview(data)
            while left:
                left = left[self._put(left) :]
            self._note(Chunk(chunk.start, chunk.length, hashlib.sha256(data).hexdigest()))
        self.damaged = []
        # Once more over the whole: its hash stopped at the first damaged part.
        end = self._offset
        self._forget()
        self._open.seek(0)
        self._read(Chunk(0, end, ""), self._whole)
        self._offset = self._part_start = end

    def write(self, data: bytes) -> None:
        if self._offset + len(data) > self._entry.size:
            raise LlmError(
                "transfer_failed",
                f"File {self._entry.path}: more than the promised {self._entry.size} bytes were sent.",
            )
        view = memoryview(data)
        while view:
            room = self._part_start + self._chunk - self._offset
            written = self._put(view[:room])
            self._whole.update(view[:written])
            self._part.update(view[:written])
            self._offset += written
            view = view[written:]
            if self._offset == self._part_start + self._chunk:
                self._end_part()

    def _put(self, data: memoryview) -> int:
        """Write, and say how much was: an unbuffered file may take less, most of all when the disk fills up."""
        try:
            return self._open.write(data) or 0
        except OSError as failure:
            # The error of an open file does not say which file it was.
            failure.filename = str(self.path)
            raise explain(failure) or failure from None

    def _end_part(self) -> None:
        length = self._offset - self._part_start
        if self._list is None and self._offset < self._entry.size:
            # A small file has no list, until a run leaves off in it.
            self._list = self.chunks_path.open("a", encoding="ascii")
        self._note(Chunk(self._part_start, length, self._part.hexdigest()))
        self._part, self._part_start = hashlib.sha256(), self._offset

    def _note(self, *chunks: Chunk) -> None:
        if self._list:
            self._list.write(render(chunks))
            self._list.flush()

    def restart(self) -> None:
        """Forget what is there; the next byte is the first. The old file stays with whoever else has it open."""
        self._open.close()
        self.path.unlink(missing_ok=True)
        self._file = self.path.open("x+b", buffering=0)
        self.damaged, self._suspect = [], []
        self._forget()
        if self._list:
            self._list.truncate(0)

    def prove(self) -> bool:
        """Keep the file as proven if it is whole and right; what is whole and wrong is damaged, or dropped.

        False with `damaged` parts asks for another `mend`; without them the next byte is the first.
        """
        if self._offset != self._entry.size:
            raise LlmError(
                "transfer_failed",
                f"File {self._entry.path}: {self._offset} of {self._entry.size} bytes arrived.",
            )
        if self._whole.hexdigest() != self._entry.digest.value:
            if self._suspect:
                self.damaged, self._suspect = self._suspect, []
            else:
                self.restart()
            return False
        if self._offset > self._part_start and self._list:
            self._end_part()
        self._part_start = self._offset
        os.fsync(self._open.fileno())
        os.fchmod(self._open.fileno(), 0o440)
        self._owner.give(self.path)
        os.replace(self.path, self.proven)
        flush_folder(self.path.parent)
        if self._entry.size <= self._chunk:
            # One part is the whole: its hash would say nothing new.
            self.chunks_path.unlink(missing_ok=True)
        return True


def partial_path(folder: Path, entry: FileEntry) -> Path:
    """Where a file's bytes are on their way in."""
    return folder / f"{entry.digest.file_name}.partial"


def chunks_path(folder: Path, entry: FileEntry) -> Path:
    """Where the hashes of a file's parts stand."""
    return folder / f"{entry.digest.file_name}.chunks"


def proven_path(folder: Path, entry: FileEntry) -> Path:
    """Where a file's bytes lie after they were proven and before the model is committed."""
    return folder / entry.digest.file_name
