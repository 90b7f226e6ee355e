# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run will do to the store, decided before it does anything."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from .digest import Digest
from .errors import LlmError
from .manifest import Manifest
from .model import GB, FileEntry, InstalledModel, ModelRequest, Resolved, total_size

# Room that is left on the disk beside the models, so that a host does not come to a halt at the last byte.
HEADROOM = 64 * 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Store limit and per-model size in bytes (0 means none), and the disk's free bytes."""

    max_disk: int
    max_model: int
    free: int


@dataclass(frozen=True)
class Refusal:
    """Why a step is not taken."""

    reason: str
    what: str

    def error(self) -> LlmError:
        return LlmError(self.reason, self.what)


@dataclass(frozen=True)
class Step:
    """What happens to one model: `keep`, `fetch`, `remove`, `none` (absent already) or `refuse`.

    `fetch` lists the files whose bytes must come; `bytes_here` counts those that are there under any name.
    """

    name: str
    action: str
    before: InstalledModel | None = None
    after: InstalledModel | None = None
    request: ModelRequest | None = None
    resolved: Resolved | None = None
    fetch: tuple[FileEntry, ...] = ()
    bytes_here: int = 0
    refusal: Refusal | None = None

    @property
    def bytes_to_fetch(self) -> int:
        return sum(entry.size for entry in self.fetch)

    @property
    def changes(self) -> bool:
        return self.action in ("fetch", "remove")

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "name": self.name,
            "action": self.action,
            "revision_before": self.before.revision if self.before else None,
            "revision_after": (self.resolved.revision if self.resolved else None) if self.action != "remove" else None,
            "files_to_fetch": [entry.path for entry in self.fetch],
            "bytes_to_fetch": self.bytes_to_fetch,
            "bytes_here": self.bytes_here,
            "refused": {"reason": self.refusal.reason, "why": self.refusal.what} if self.refusal else None,
        }


@dataclass(frozen=True)
class Plan:
    """All steps of a run, and the store's size in bytes before and after it."""

    steps: tuple[Step, ...]
    size_before: int
    size_after: int
    limits: Limits

    @property
    def changes(self) -> bool:
        return any(step.changes for step in self.steps)

    @property
    def refusal(self) -> Refusal | None:
        return next((step.refusal for step in self.steps if step.refusal), None)

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "steps": [step.as_dict() for step in self.steps],
            "bytes_to_fetch": sum(step.bytes_to_fetch for step in self.steps),
            "disk_before_gb": round(self.size_before / GB, 3),
            "disk_after_gb": round(self.size_after / GB, 3),
            "disk_limit_gb": self.limits.max_disk / GB or None,
        }


def plan_present(
    request: ModelRequest, resolved: Resolved, record: InstalledModel | None, here: t.Container[Digest], intact: bool
) -> Step:
    """One model that is wanted.

    `here` holds the digests whose proven bytes the store has; `intact` says that the record's files are all
    on the disk with their sizes.
    """
    same = record is not None and record.answers(request) and record.revision == resolved.revision
    if record is not None and same and intact and set(record.files) == set(resolved.files):
        return Step(request.name, "keep", record, record, request, resolved, bytes_here=record.size)
    wanted: dict[Digest, FileEntry] = {entry.digest: entry for entry in resolved.files}
    missing = tuple(entry for digest, entry in wanted.items() if digest not in here)
    here_size = sum(entry.size for digest, entry in wanted.items() if digest in here)
    return Step(request.name, "fetch", record, None, request, resolved, missing, here_size)


def plan_absent(name: str, record: InstalledModel | None, used_by: str | None, force: bool) -> Step:
    """One model that is to go; `used_by` names the runtime that has it active, if any."""
    if record is None:
        return Step(name, "none")
    if used_by and not force:
        refusal = Refusal("in_use", f"Model {name} is not removed: runtime {used_by} has it active.")
        return Step(name, "refuse", record, record, refusal=refusal)
    return Step(name, "remove", record, None)


def judge(steps: t.Sequence[Step], manifest: Manifest, limits: Limits, store: str) -> Plan:
    """Hold the steps against the limits, in order; what does not fit is refused, not shortened."""
    judged: list[Step] = []
    models = dict(manifest.models)
    free = limits.free
    for planned in steps:
        step = planned
        if step.action == "fetch" and step.after:
            foreseen = {**models, step.name: step.after}
            refusal = _refusal(step, total_size(foreseen.values()), free, limits, store)
            if refusal:
                step = replace(step, action="refuse", after=step.before, refusal=refusal)
            else:
                models = foreseen
                free -= step.bytes_to_fetch
        elif step.action == "remove":
            models.pop(step.name, None)
        judged.append(step)
    return Plan(tuple(judged), manifest.size, total_size(models.values()), limits)


def _refusal(step: Step, size_after: int, free: int, limits: Limits, store: str) -> Refusal | None:
    request, resolved = step.request, step.resolved
    if request is None or resolved is None:
        return None
    if limits.max_model and resolved.size > limits.max_model and not request.allow_large:
        return Refusal(
            "too_large",
            f"{request}: it has {resolved.size / GB:.3f} GB, above the {limits.max_model / GB:g} GB that need a yes.",
        )
    if limits.max_disk and size_after > limits.max_disk:
        return Refusal(
            "quota_exceeded",
            f"{request}: the store {store} would hold {size_after / GB:.3f} GB, "
            f"its limit is {limits.max_disk / GB:g} GB.",
        )
    if step.bytes_to_fetch + HEADROOM > free:
        return Refusal(
            "no_space",
            f"{request}: {step.bytes_to_fetch / GB:.3f} GB are to be fetched, and {max(free, 0) / GB:.3f} GB "
            f"are free at {store} ({HEADROOM / GB:.3f} GB of them must stay so).",
        )
    return None
