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
# A record that says no more than its name waits. What is noted here runs from its first line on.
_OPEN = (PENDING, IN_PROGRESS)
# As many finished operations as a host keeps; a listing shows fewer.
KEPT = 100
SHOWN = 5


@dataclass(frozen=True)
class Operation:
    """Times are UTC, ISO 8601. `progress` is a percentage; bytes are those that came, and those that were to come.

    `finished_at` and `duration_seconds` are None while it runs. `pid` and `process_started` tell whether it still does.
    `error` says what went wrong, `message` that and what to do. It is step `step` of the `steps` of its run, which have
    `bytes_before` and `bytes_after` beside its own.
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
    process_started: str | float | None = None
    step: int = 1
    steps: int = 1
    bytes_before: int = 0
    bytes_after: int = 0

    @property
    def running(self) -> bool:
        return self.status in _OPEN

    @property
    def eta_seconds(self) -> int | None:
        """Seconds to go at the present rate (bytes a second)."""
        left = self.bytes_total - self.bytes_done
        return left // self.rate if self.running and self.rate > 0 and left > 0 else None

    @property
    def whole_run(self) -> Operation:
        """The same with the bytes of all steps of its run."""
        done = self.bytes_before + self.bytes_done
        total = self.bytes_before + self.bytes_total + self.bytes_after
        return replace(self, bytes_done=done, bytes_total=total, progress=_percent(done, total))

    def moved(self, done: int, total: int, at: float, rate: int) -> Operation:
        """The operation after `done` of `total` bytes at the time `at` (seconds since the epoch)."""
        return replace(
            self,
            status=IN_PROGRESS,
            bytes_done=done,
            bytes_total=total,
            progress=_percent(done, total),
            rate=rate,
            seen_at=written(at),
        )

    def finished(
        self, at: float, *, error: str | None = None, reason: str | None = None, message: str = ""
    ) -> Operation:
        """The operation at its end; its rate is that of its whole life."""
        done = error is None
        came = self.bytes_total if done else self.bytes_done
        took = max(0.0, at - seconds_of(self.started_at))
        return replace(
            self,
            status=COMPLETED if done else FAILED,
            progress=100 if done else self.progress,
            bytes_done=came,
            rate=int(came / took) if took else 0,
            message=message,
            error=error,
            reason=reason,
            finished_at=written(at),
            duration_seconds=round(took, 1),
            seen_at=written(at),
        )

    def lost(self) -> Operation:
        """As it is told once its process is gone: it failed when it was last seen."""
        seen = seconds_of(self.seen_at) or seconds_of(self.started_at)
        said = "Its process ended before it did."
        ended = self.finished(seen, error=said, reason="interrupted", message=f"{said} Run it again.")
        return replace(ended, seen_at=self.seen_at)

    def as_dict(self) -> dict[str, t.Any]:
        return {key: value for key, value in asdict(self).items() if key not in _HIDDEN} | {
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
        mend = _MENDERS.get(name) or _text
        known[name] = mend(record.get(name))
    status = known["status"] if known["status"] in STATUSES else FAILED
    known["operation_type"] = known["operation_type"] if known["operation_type"] in TYPES else TYPES[0]
    found = Operation(**{**known, "status": status})
    if found.running:
        return replace(found, finished_at=None, duration_seconds=None)
    if found.finished_at and found.duration_seconds is not None:
        return found
    end = found.finished_at or found.seen_at or found.started_at
    length = max(0.0, seconds_of(end) - seconds_of(found.started_at))
    return replace(found, finished_at=end or written(0), duration_seconds=round(length, 1))


def parsed(text: str) -> Operation | None:
    """The operation of one line or progress file; None for text that is none, as a cut or a foreign one."""
    try:
        return mended(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _percent(done: int, total: int) -> int:
    """Whole percent; the last one is for the end."""
    return max(0, min(99, done * 100 // total)) if total else 0


def _text(value: t.Any) -> str:
    """A half of a character (a lone surrogate) can be read from JSON, and not be printed."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode("utf-8")


def _text_or_none(value: t.Any) -> str | None:
    return _text(value) if isinstance(value, str) else None


def _count(value: t.Any) -> int:
    try:
        return 0 if isinstance(value, bool) else int(max(0, min(_MOST, float(value))))
    except (TypeError, ValueError, OverflowError):
        return 0


def _duration(value: t.Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Neither NaN nor infinity, nor what no operation takes.
    return value if number and 0 <= value < _MOST else None


def _process(value: t.Any) -> int | None:
    """A process number that a kernel can have."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None


def _start(value: t.Any) -> str | float | None:
    return _text(value) if isinstance(value, str) else _duration(value)


# More seconds or bytes than anything has.
_MOST = 1e15
_HIDDEN = {"pid", "process_started", "step", "steps", "bytes_before", "bytes_after"}
_MENDERS: dict[str, t.Callable[[t.Any], t.Any]] = {
    "progress": lambda value: min(100, _count(value)),
    **dict.fromkeys(("bytes_done", "bytes_total", "rate", "bytes_before", "bytes_after"), _count),
    **dict.fromkeys(("step", "steps"), lambda value: max(1, _count(value))),
    **dict.fromkeys(("error", "reason", "finished_at"), _text_or_none),
    "duration_seconds": _duration,
    "pid": _process,
    "process_started": _start,
}


def read_log(text: str) -> list[Operation]:
    """All operations of a log, oldest first. The last line of an operation counts; cut and foreign lines do not."""
    found: dict[str, Operation] = {}
    for operation in filter(None, map(parsed, text.splitlines())):
        known = found.pop(operation.operation_id, operation)
        # What has ended does not go on: a line that came late tells of before.
        found[operation.operation_id] = known if operation.running and not known.running else operation
    return sorted(found.values(), key=lambda operation: operation.started_at)


def bounded(
    operations: t.Sequence[Operation], lives: t.Callable[[Operation], bool], kept: int = KEPT
) -> list[Operation]:
    """The newest `kept` that ended, and all that run. Those that `lives` does not know any more have ended."""
    told = [operation.lost() if operation.running and not lives(operation) else operation for operation in operations]
    done = [operation for operation in told if not operation.running]
    dropped = {operation.operation_id for operation in done[: max(0, len(done) - kept)]}
    return [operation for operation in told if operation.operation_id not in dropped]
