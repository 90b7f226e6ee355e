# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of a host on disk: one line for each thing that is known of an operation, the newest last."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .._core.errors import LlmError
from .._core.operation import Operation, bounded, read_log
from .durable import read_text, write_text
from .lock import hold
from .ownership import Owner, make_folder
from .processes import is_running

# Characters above which the log is written anew with the newest operations only.
_LONGEST = 256 * 1024
_MODE = 0o640
# Seconds to wait for another run that writes its line.
_PATIENCE = 30.0


class OperationLog:
    """Readers take no lock: at every moment the file is the old log or the new one."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path = path
        self._owner = owner

    def read(self) -> list[Operation]:
        return read_log(read_text(self._path) or "")

    def append(self, operation: Operation) -> None:
        """One line, on the disk when this returns. A log that cannot be written must not keep anybody from a model."""
        with contextlib.suppress(OSError, LlmError):
            make_folder(self._path.parent, self._owner, 0o755)
            # A file of its own: the log itself is replaced, and two stores of one host have one history.
            lock = self._path.with_suffix(".lock")
            with hold(lock, what="The history", timeout=_PATIENCE, owner=self._owner):
                text = self._shortened(read_text(self._path))
                with self._path.open("a", encoding="utf-8") as file:
                    # A line that a power cut left unfinished must not swallow this one.
                    file.write(("\n" if text and not text.endswith("\n") else "") + operation.line())
                    file.flush()
                    os.fsync(file.fileno())

    def _shortened(self, text: str | None) -> str:
        """Make the log if there is none, and cut it down if it is too long; gives what is in it now."""
        if text is not None and len(text) <= _LONGEST:
            return text
        for left in self._path.parent.glob(f".{self._path.name}.*"):
            # Of a run that was killed while it wrote one.
            left.unlink()
        short = "".join(operation.line() for operation in bounded(read_log(text or ""), lives))
        write_text(self._path, short, mode=_MODE, owner=self._owner)
        return short


def lives(operation: Operation) -> bool:
    """Whether the process that began it is still there."""
    return operation.pid is not None and is_running(operation.pid, operation.process_started)
