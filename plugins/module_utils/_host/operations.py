# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's operations on disk: a log of what was done, and one small file for what is being done."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import typing as t
import uuid
from dataclasses import replace
from pathlib import Path

from .._core.clock import written
from .._core.errors import LlmError
from .._core.layout import Layout
from .._core.operation import CANCELLED, IN_PROGRESS, Operation, bounded, mended, read_log
from .durable import read_text
from .ownership import Owner, make_folder
from .processes import is_running, running_since

# Seconds between two writes of a progress file.
_PACE = 0.5
# Bytes of the log above which it is written anew with the newest operations only.
_LONGEST_LOG = 256 * 1024


class Operations:
    """The log lies in the state folder; progress lies in the run folder, which goes with a reboot."""

    def __init__(self, layout: Layout, owner: Owner) -> None:
        self._log = Path(layout.state) / "operations.jsonl"
        self._progress = Path(layout.run) / "progress"
        self._owner = owner

    def all(self) -> list[Operation]:
        """Oldest first. One whose process is gone is told as failed when it was last seen; nothing is written."""
        found = {operation.operation_id: operation for operation in read_log(read_text(self._log) or "")}
        for path in sorted(self._progress.glob("*.json")) if self._progress.is_dir() else ():
            with contextlib.suppress(ValueError):
                live = mended(json.loads(read_text(path) or ""))
                known = found.get(live.operation_id) if live else None
                if live and (known is None or known.running):
                    found[live.operation_id] = live
        told = [
            operation.lost() if operation.running and not _lives(operation) else operation
            for operation in found.values()
        ]
        return sorted(told, key=lambda operation: operation.started_at)

    @contextlib.contextmanager
    def run(self, model: str, kind: str, total: int) -> t.Iterator[Progress]:
        """Note the block as an operation: its start, its bytes as they come, its end and why it failed."""
        now = time.time()
        self._sweep()
        operation = Operation(
            operation_id=uuid.uuid4().hex[:12],
            model_name=model,
            operation_type=kind,
            status=IN_PROGRESS,
            started_at=written(now),
            seen_at=written(now),
            bytes_total=total,
            pid=os.getpid(),
            process_started=running_since(os.getpid()),
        )
        progress = Progress(operation, self._progress / f"{operation.operation_id}.json", self._owner)
        self._append(operation)
        progress.say()
        try:
            yield progress
        except BaseException as failure:
            reason, said = _why(failure)
            ended = progress.operation.finished(time.time(), error=said, reason=reason)
            self._append(replace(ended, status=CANCELLED) if reason == "cancelled" else ended)
            raise
        else:
            self._append(progress.operation.finished(time.time()))
        finally:
            progress.forget()

    def _sweep(self) -> None:
        """Drop the progress of processes that are gone; the log has their beginning."""
        for path in self._progress.glob("*.json") if self._progress.is_dir() else ():
            with contextlib.suppress(ValueError, OSError):
                live = mended(json.loads(read_text(path) or ""))
                if live and not _lives(live):
                    self._append(live.lost())
                    path.unlink()

    def _append(self, operation: Operation) -> None:
        """One line, in one write. A log that cannot be written must not keep anybody from a model."""
        with contextlib.suppress(OSError):
            make_folder(self._log.parent, self._owner, 0o755)
            new = not self._log.exists()
            with self._log.open("a", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if new:
                    self._log.chmod(0o640)
                    self._owner.give(self._log)
                self._add(file, operation)

    def _add(self, file: t.IO[str], operation: Operation) -> None:
        """Under the log's lock: two stores of one host have one history."""
        text = read_text(self._log) or ""
        if len(text) > _LONGEST_LOG:
            # In place, because others wait for the lock of this very file.
            file.truncate(0)
            text = "".join(found.line() for found in bounded(read_log(text)))
            file.write(text)
        # A line that a power cut left unfinished must not swallow this one.
        file.write(("\n" if text and not text.endswith("\n") else "") + operation.line())


class Progress:
    """The live side of one operation."""

    def __init__(self, operation: Operation, path: Path, owner: Owner) -> None:
        self.operation = operation
        self._path = path
        self._owner = owner
        self._said = 0.0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """`count` more bytes are here; several connections say so at once."""
        with self._lock:
            self._move(self.operation.bytes_done + count, self.operation.bytes_total)

    def report(self, done: int, total: int) -> None:
        """`done` of `total` bytes are here; written down twice a second at most."""
        with self._lock:
            self._move(done, total or self.operation.bytes_total)

    def _move(self, done: int, total: int) -> None:
        now = time.time()
        self.operation = self.operation.moved(done, total, now)
        # A clock that was set back must not silence it.
        if not 0 <= now - self._said < _PACE:
            self._said = now
            self.say()

    def say(self) -> None:
        with contextlib.suppress(OSError):
            make_folder(self._path.parent, self._owner, 0o755)
            temporary = self._path.with_suffix(".new")
            temporary.write_text(self.operation.line(), encoding="utf-8")
            temporary.chmod(0o644)
            os.replace(temporary, self._path)

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _why(failure: BaseException) -> tuple[str, str]:
    if isinstance(failure, LlmError):
        return failure.reason, failure.what
    if isinstance(failure, KeyboardInterrupt):
        return "cancelled", "it was cancelled."
    return "interrupted", type(failure).__name__


def _lives(operation: Operation) -> bool:
    return operation.pid is not None and is_running(operation.pid, operation.process_started)
