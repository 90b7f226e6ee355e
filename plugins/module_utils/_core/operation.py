# SPDX-License-Identifier: GPL-3.0-or-later
"""What was done to models and runtimes, one record an operation; old, odd and broken records are mended on reading."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone

from .clock import written

TYPES = ("install", "remove", "activate", "verify", "rollback")
PENDING, IN_PROGRESS, COMPLETED, FAILED, CANCELLED = STATUSES = (
    "pending",
    "in_progress",
    "completed",
    "failed",
    "cancelled",
)
_OPEN = (PENDING, IN_PROGRESS)
# As many finished operations as a host keeps; a listing shows fewer.
KEPT = 100
SHOWN = 5


@dataclass(frozen=True)
class Operation:
    """Times are UTC, ISO 8601. `progress` is a percentage; bytes are those that came, and those that were to come.

    `finished_at` and `duration_seconds` are None while it runs. `pid` and `process_started` tell whether it still does.
    """

    operation_id: str
    model_name: str
    operation_type: str = "install"
    status: str = PENDING
    progress: int = 0
    message: str = ""
    error: str | None = None
    reason: str | None = None
    started_at: str = ""
    finished_at: str | None = None
    duration_seconds: float | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    rate: int = 0
    seen_at: str = ""
    pid: int | None = None
    process_started: float | None = None

    @property
    def running(self) -> bool:
        return self.status in _OPEN

    @property
    def eta_seconds(self) -> int | None:
        """Seconds to go at the present rate (bytes a second)."""
        left = self.bytes_total - self.bytes_done
        return left // self.rate if self.running and self.rate > 0 and left > 0 else None

    def moved(self, done: int, total: int, at: float) -> Operation:
        """The operation after `done` of `total` bytes at the time `at` (seconds since the epoch)."""
        passed = at - seconds_of(self.started_at)
        rate = int(done / passed) if passed > 0 else 0
        percent = min(99, done * 100 // total) if total else 0
        return replace(
            self,
            status=IN_PROGRESS,
            bytes_done=done,
            bytes_total=total,
            progress=percent,
            rate=rate,
            seen_at=written(at),
        )

    def finished(self, at: float, *, error: str | None = None, reason: str | None = None) -> Operation:
        done = error is None
        return replace(
            self,
            status=COMPLETED if done else FAILED,
            progress=100 if done else self.progress,
            bytes_done=self.bytes_total if done else self.bytes_done,
            error=error,
            reason=reason,
            finished_at=written(at),
            duration_seconds=round(max(0.0, at - seconds_of(self.started_at)), 1),
            seen_at=written(at),
        )

    def lost(self) -> Operation:
        """As it is told once its process is gone: it failed when it was last seen."""
        seen = seconds_of(self.seen_at or self.started_at)
        return replace(
            self.finished(seen, error="Its process ended before it did.", reason="interrupted"), seen_at=self.seen_at
        )

    def as_dict(self) -> dict[str, t.Any]:
        hidden = {"pid", "process_started"}
        return {key: value for key, value in asdict(self).items() if key not in hidden} | {
            "eta_seconds": self.eta_seconds
        }

    def line(self) -> str:
        return json.dumps(asdict(self), sort_keys=True) + "\n"


def seconds_of(moment: str) -> float:
    """Seconds since the epoch of a written moment; 0 for one that cannot be read."""
    try:
        return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return 0.0


def mended(record: t.Any) -> Operation | None:
    """One record as an operation, whatever wrote it; None for what is none at all."""
    if not isinstance(record, dict) or not record.get("operation_id"):
        return None
    known: dict[str, t.Any] = {}
    for name in (field.name for field in fields(Operation)):
        value = record.get(name)
        if name in _WHOLE:
            known[name] = _number(value)
        elif name in _OPTIONAL:
            known[name] = value if isinstance(value, _OPTIONAL[name]) else None
        else:
            known[name] = str(value) if value is not None else ""
    status = known["status"] if known["status"] in STATUSES else FAILED
    known["progress"] = max(0, min(100, known["progress"]))
    known["operation_type"] = known["operation_type"] if known["operation_type"] in TYPES else TYPES[0]
    found = Operation(**{**known, "status": status})
    if found.running:
        return replace(found, finished_at=None, duration_seconds=None)
    if found.finished_at and found.duration_seconds is not None:
        return found
    end = found.finished_at or found.seen_at or found.started_at
    length = max(0.0, seconds_of(end) - seconds_of(found.started_at))
    return replace(found, finished_at=end or written(0), duration_seconds=round(length, 1))


def _number(value: t.Any) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0


_OPTIONAL: dict[str, tuple[type, ...]] = {
    "error": (str,),
    "reason": (str,),
    "finished_at": (str,),
    "duration_seconds": (int, float),
    "pid": (int,),
    "process_started": (int, float),
}
_WHOLE = ("progress", "bytes_done", "bytes_total", "rate")


def read_log(text: str) -> list[Operation]:
    """All operations of a log, oldest first. The last line of an operation counts; cut and foreign lines do not."""
    found: dict[str, Operation] = {}
    for line in text.splitlines():
        try:
            operation = mended(json.loads(line))
        except ValueError:
            continue
        if operation:
            found.pop(operation.operation_id, None)
            found[operation.operation_id] = operation
    return sorted(found.values(), key=lambda operation: operation.started_at)


def bounded(operations: t.Sequence[Operation], kept: int = KEPT) -> list[Operation]:
    """The newest `kept` finished ones, and all that run."""
    done = [operation for operation in operations if not operation.running]
    dropped = {operation.operation_id for operation in done[: max(0, len(done) - kept)]}
    return [operation for operation in operations if operation.operation_id not in dropped]
