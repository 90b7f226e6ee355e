# SPDX-License-Identifier: GPL-3.0-or-later
"""A file on its way in: kept under the digest it must have, so that any later run can go on with it."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from .._core.errors import LlmError
from .._core.model import FileEntry
from .durable import flush_folder

_BLOCK = 1 << 20


class PartialFile:
    """The sink of one file. Bytes are hashed as they are written, never again afterwards.

    What an earlier process left is read once to carry its hash on; it is the only way to go on with a file
    and still prove the whole.
    """

    def __init__(self, folder: Path, entry: FileEntry) -> None:
        self._entry = entry
        self.path = folder / f"{entry.digest.algorithm}-{entry.digest.value}.partial"
        self.proven = proven_path(folder, entry)
        self._offset = 0
        self.resumed = False
        self._hash = entry.digest.hasher(entry.size)
        self._file: t.IO[bytes] | None = None

    @property
    def offset(self) -> int:
        return self._offset

    def __enter__(self) -> PartialFile:
        self._file = self.path.open("a+b", buffering=0)
        if self._file.seek(0, os.SEEK_END) > self._entry.size:
            self._file.truncate(0)
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            self._hash.update(block)
            self._offset += len(block)
        self.resumed = self._offset > 0
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def write(self, data: bytes) -> None:
        if self._file is None:
            raise ValueError("the file is not open")
        if self._offset + len(data) > self._entry.size:
            raise LlmError(
                "transfer_failed",
                f"File {self._entry.path}: more than the promised {self._entry.size} bytes were sent.",
            )
        view = memoryview(data)
        while view:
            # An unbuffered file may take less than it is given, most of all when the disk fills up.
            written = self._file.write(view)
            self._hash.update(view[:written])
            self._offset += written
            view = view[written:]

    def restart(self) -> None:
        """Forget what is there; the next byte is the first."""
        if self._file is None:
            raise ValueError("the file is not open")
        self._file.truncate(0)
        self._offset = 0
        self.resumed = False
        self._hash = self._entry.digest.hasher(self._entry.size)

    def prove(self) -> bool:
        """Keep the file as proven if it is whole and right; drop it if it is whole and wrong."""
        if self._file is None or self._offset != self._entry.size:
            raise LlmError(
                "transfer_failed",
                f"File {self._entry.path}: {self._offset} of {self._entry.size} bytes arrived.",
            )
        if self._hash.hexdigest() != self._entry.digest.value:
            self.restart()
            return False
        os.fsync(self._file.fileno())
        os.replace(self.path, self.proven)
        flush_folder(self.path.parent)
        return True


def proven_path(folder: Path, entry: FileEntry) -> Path:
    """Where a file's bytes lie after they were proven and before the model is committed."""
    return folder / f"{entry.digest.algorithm}-{entry.digest.value}"
