# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's operations on disk: a log of what was done, and one small file for what is being done."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
import uuid
from dataclasses import replace
from pathlib import Path

from .._core.clock import written
from .._core.errors import LlmError
from .._core.layout import Layout
from .._core.operation import CANCELLED, IN_PROGRESS, Operation, parsed
from .durable import read_text
from .operation_log import OperationLog, lives
from .os_errors import explain
from .ownership import Owner
from .processes import running_since
from .progress import Progress


class Operations:
    """The log lies in the state folder; progress lies in the run folder, which goes with a reboot."""

    def __init__(self, layout: Layout, owner: Owner) -> None:
        self._log = OperationLog(Path(layout.state) / "operations.jsonl", owner)
        self._progress = Path(layout.run) / "progress"
        self._owner = owner

    def all(self) -> list[Operation]:
        """Oldest first. One whose process is gone is told as failed when it was last seen; nothing is written."""
        found = {operation.operation_id: operation for operation in self._log.read()}
        for _path, live in self._live():
            known = found.get(live.operation_id, live)
            if known.running and live.seen_at >= known.seen_at:
                found[live.operation_id] = live
        told = [
            operation.lost() if operation.running and not lives(operation) else operation
            for operation in found.values()
        ]
        return sorted(told, key=lambda operation: operation.started_at)

    @contextlib.contextmanager
    def run(
        self,
        model: str,
        kind: str,
        total: int,
        *,
        step: int = 1,
        steps: int = 1,
        bytes_before: int = 0,
        bytes_after: int = 0,
    ) -> t.Iterator[Progress]:
        """Note the block as an operation: its start, its bytes as they come, its end and why it failed.

        See `Operation` for what it may be a step of.
        """
        self._sweep()
        operation = replace(
            _begun(model, kind, total, time.time()),
            step=step,
            steps=steps,
            bytes_before=bytes_before,
            bytes_after=bytes_after,
        )
        path = self._progress / f"{operation.operation_id}.json"
        progress = Progress(operation, path, self._owner, self._log.append)
        self._log.append(operation)
        progress.start()
        try:
            yield progress
        except BaseException as failure:
            progress.stop()
            self._log.append(_failed(progress.operation, failure))
            raise
        else:
            progress.stop()
            self._log.append(progress.operation.finished(time.time()))

    def note_failure(self, model: str, kind: str, total: int, began: float, failure: LlmError) -> None:
        """Note one that was over before a byte was fetched; `began` is when it was asked for."""
        self._log.append(_failed(_begun(model, kind, total, began), failure))

    def _live(self) -> t.Iterator[tuple[Path, Operation]]:
        for path in sorted(self._progress.glob("*.json")) if self._progress.is_dir() else ():
            with contextlib.suppress(OSError):
                live = parsed(read_text(path) or "")
                if live:
                    yield path, live

    def _sweep(self) -> None:
        """Drop the progress of processes that are gone; the log has their beginning."""
        for path, live in self._live():
            if not lives(live):
                self._log.append(live.lost())
                with contextlib.suppress(OSError):
                    path.unlink()


def _begun(model: str, kind: str, total: int, at: float) -> Operation:
    return Operation(
        operation_id=uuid.uuid4().hex[:12],
        model_name=model,
        operation_type=kind,
        status=IN_PROGRESS,
        started_at=written(at),
        seen_at=written(at),
        bytes_total=total,
        pid=os.getpid(),
        process_started=running_since(os.getpid()),
    )


def _failed(operation: Operation, failure: BaseException) -> Operation:
    reason, error, message = _why(failure)
    ended = operation.finished(time.time(), error=error, reason=reason, message=message)
    return replace(ended, status=CANCELLED) if reason == "cancelled" else ended


def _why(failure: BaseException) -> tuple[str, str, str]:
    """Reason code, what went wrong, and that with what to do."""
    if isinstance(failure, OSError):
        failure = explain(failure) or failure
    if isinstance(failure, LlmError):
        return failure.reason, failure.what, str(failure)
    if isinstance(failure, KeyboardInterrupt):
        return "cancelled", "it was cancelled.", "It was cancelled. Run it again: what has arrived is kept."
    said = f"It ended with {type(failure).__name__}."
    return "interrupted", type(failure).__name__, f"{said} Run it again."
