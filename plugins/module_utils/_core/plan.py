# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run will do to the store, decided before it does anything."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .digest import Digest
from .errors import LlmError
from .hardware import Needs, needs, parameters_in, quantization_in
from .manifest import Manifest
from .model import GB, FileEntry, InstalledModel, Resolved, total_size
from .request import ModelRequest
from .weights import bytes_loaded

# Room that is left on the disk beside the models, so that a host does not come to a halt at the last byte.
HEADROOM = 64 * 1024 * 1024
# keep: nothing; fetch: bytes or a link; repair: damaged bytes come again; update: only what is written of it; remove;
# evict: remove to make room; none: absent already; refuse.
CHANGING = ("fetch", "repair", "update", "remove", "evict")


@dataclass(frozen=True)
class Limits:
    """Store limit and per-model size in bytes (0 means none), and the disk's free bytes.

    `reserved` are those of the free ones that other running pulls are about to take.
    """

    max_disk: int
    max_model: int
    free: int
    reserved: int = 0


@dataclass(frozen=True)
class Refusal:
    """Why a step is not taken."""

    reason: str
    what: str

    def error(self) -> LlmError:
        return LlmError(self.reason, self.what)


@dataclass(frozen=True)
class Step:
    """What happens to one model, one of `keep none refuse` and `CHANGING`.

    `fetch` lists the files whose bytes must come and `bytes_to_fetch` how many of them; `bytes_here` counts those
    that are there under any name, `bytes_to_copy` those of them that lie on another disk.
    """

    name: str
    action: str
    before: InstalledModel | None = None
    after: InstalledModel | None = None
    request: ModelRequest | None = None
    resolved: Resolved | None = None
    fetch: tuple[FileEntry, ...] = ()
    bytes_to_fetch: int = 0
    bytes_here: int = 0
    bytes_to_copy: int = 0
    damaged: tuple[str, ...] = ()
    refusal: Refusal | None = None

    @property
    def changes(self) -> bool:
        return self.action in CHANGING

    @property
    def _needs(self) -> Needs:
        """From the bytes that an engine loads where somebody says them, else from what the model's name tells."""
        request, resolved = self.request, self.resolved
        if request is None or resolved is None:
            return needs(None, None)
        files = {entry.path: entry.size for entry in resolved.files}
        size = bytes_loaded(files, request.quantization) if files else resolved.declared_size
        name = request.reference.model
        return needs(parameters_in(name), request.quantization or quantization_in(name), size)

    def as_dict(self) -> dict[str, t.Any]:
        gone = self.action in ("remove", "evict", "none")
        memory = self._needs
        return {
            "name": self.name,
            "action": self.action,
            "revision_before": self.before.revision if self.before else None,
            "revision_after": None if gone else (self.resolved.revision or None) if self.resolved else None,
            "files_to_fetch": [entry.path for entry in self.fetch],
            "bytes_to_fetch": self.bytes_to_fetch,
            "bytes_here": self.bytes_here,
            "damaged": list(self.damaged),
            "ram_min_gb": memory.ram_min_gb,
            "ram_recommended_gb": memory.ram_recommended_gb,
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
    def bytes_to_fetch(self) -> int:
        return sum(step.bytes_to_fetch for step in self.steps)

    @property
    def bytes_for_the_store(self) -> int:
        """What of it takes room on the store's disk; a program may keep its models on another one."""
        own = [step for step in self.steps if not (step.after and step.after.kept_elsewhere)]
        return sum(step.bytes_to_fetch + step.bytes_to_copy for step in own)

    @property
    def refusal(self) -> Refusal | None:
        return next((step.refusal for step in self.steps if step.refusal), None)

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "steps": [step.as_dict() for step in self.steps],
            "bytes_to_fetch": self.bytes_to_fetch,
            "disk_before_gb": round(self.size_before / GB, 3),
            "disk_after_gb": round(self.size_after / GB, 3),
            "disk_limit_gb": self.limits.max_disk / GB or None,
            "quota": "refused" if self.refusal and self.refusal.reason == "quota_exceeded" else "within",
        }


@dataclass(frozen=True)
class Here:
    """What of a model the host has already.

    `digests`: bytes that are there under any name; `intact`: the record's files are all there; `damaged`: by digest,
    how many bytes of a file must come again; `arrived`: by digest, how many bytes an earlier run left; `copied`: bytes
    that are on another disk of the host.
    """

    digests: t.Container[Digest] = frozenset()
    intact: bool = False
    damaged: t.Mapping[Digest, int] = field(default_factory=dict)
    copied: int = 0
    arrived: t.Mapping[Digest, int] = field(default_factory=dict)


def plan_present(request: ModelRequest, resolved: Resolved, record: InstalledModel | None, here: Here) -> Step:
    """One model that is wanted; `record` is what the manifest has under its name."""
    same = record is not None and request.answered_by(record) and record.revision == resolved.revision
    whole = resolved.held or (here.intact and set(record.files if record else ()) == set(resolved.files))
    damaged = (*resolved.damaged, *(entry.path for entry in resolved.files if entry.digest in here.damaged))
    if record is not None and same and whole and not damaged:
        written = (
            record.pinned == request.pinned
            and record.capabilities_override == request.capabilities
            and _reached(record.origin) == _reached(resolved.origin)
        )
        action = "keep" if written and record.requested_revision == request.reference.revision else "update"
        return Step(request.name, action, record, record, request, resolved, bytes_here=record.size)
    wanted = {entry.digest: entry for entry in resolved.files}
    missing, coming, size_here = [], 0, 0
    for digest, entry in wanted.items():
        if digest in here.damaged:
            # Where nothing says which part is wrong, the whole comes again: what arrived of it before is used.
            unknown = here.damaged[digest] == entry.size
            part = entry.size - here.arrived.get(digest, 0) if unknown else here.damaged[digest]
        elif digest in here.digests or (resolved.held and entry.path not in resolved.damaged):
            part = 0
        else:
            part = entry.size - here.arrived.get(digest, 0)
        if part or not (digest in here.digests or resolved.held):
            missing.append(entry)
        coming += part
        size_here += entry.size - part
    if not resolved.files:
        coming, size_here = (0, resolved.size) if resolved.held else (resolved.size, 0)
    action = "repair" if same and damaged else "fetch"
    return Step(
        request.name,
        action,
        record,
        None,
        request,
        resolved,
        tuple(missing),
        bytes_to_fetch=coming,
        bytes_here=size_here,
        bytes_to_copy=here.copied,
        damaged=damaged,
    )


def _reached(origin: t.Mapping[str, t.Any]) -> list[t.Any]:
    """How the program that keeps a model is reached; what a later removal goes by."""
    return [origin.get(key) for key in ("endpoint", "executable", "models_path")]


def plan_absent(name: str, record: InstalledModel | None, used_by: str | None, force: bool) -> Step:
    """One model that is to go; `used_by` names the runtime that has it active, if any."""
    if record is None:
        return Step(name, "none")
    if used_by and not force:
        refusal = Refusal("in_use", f"Model {name} is not removed: runtime {used_by} has it active.")
        return Step(name, "refuse", record, record, refusal=refusal)
    return Step(name, "remove", record, None)


def judge(
    steps: t.Sequence[Step],
    manifest: Manifest,
    limits: Limits,
    store: str,
    evictable: t.Sequence[InstalledModel] = (),
) -> Plan:
    """Hold the steps against the limits, in order; what does not fit is refused, not shortened.

    `evictable` models go first to last, one after the other, as long as the store's limit would be passed.
    """
    judged: list[Step] = []
    models = dict(manifest.models)
    free = limits.free - limits.reserved
    candidates = [record for record in evictable if record.name in models]
    for planned in steps:
        step = planned
        if step.action in ("fetch", "repair") and step.after:
            foreseen = {**models, step.name: step.after}
            going = _going(foreseen, candidates, limits) if not _too_large(step, limits) else []
            for record in going:
                foreseen.pop(record.name)
            refusal = _refusal(step, foreseen, free + _freed(models, going), limits, store)
            if refusal:
                step = replace(step, action="refuse", after=step.before, refusal=refusal)
            else:
                judged += [Step(record.name, "evict", record) for record in going]
                free += _freed(models, going) - step.bytes_to_fetch - step.bytes_to_copy
                candidates = [record for record in candidates if record not in going]
                models = foreseen
        elif step.action == "remove":
            models.pop(step.name, None)
        judged.append(step)
    return Plan(tuple(judged), manifest.size, total_size(models.values()), limits)


def _going(
    foreseen: t.Mapping[str, InstalledModel], candidates: t.Sequence[InstalledModel], limits: Limits
) -> list[InstalledModel]:
    """The first candidates whose going brings the store within its limit; none if all of them would not."""
    going: list[InstalledModel] = []
    left = dict(foreseen)
    if not limits.max_disk:
        return going
    for record in candidates:
        if total_size(left.values()) <= limits.max_disk:
            break
        without = {name: other for name, other in left.items() if name != record.name}
        if total_size(without.values()) < total_size(left.values()):
            # One whose bytes others share frees nothing by going.
            left = without
            going.append(record)
    return going if total_size(left.values()) <= limits.max_disk else []


def _freed(models: t.Mapping[str, InstalledModel], going: t.Sequence[InstalledModel]) -> int:
    names = {record.name for record in going}
    left = [record for name, record in models.items() if name not in names]
    return total_size(models.values()) - total_size(left)


def _too_large(step: Step, limits: Limits) -> bool:
    request, resolved = step.request, step.resolved
    if request is None or resolved is None:
        return False
    return bool(limits.max_model and resolved.size > limits.max_model and not request.allow_large)


def _refusal(
    step: Step, foreseen: t.Mapping[str, InstalledModel], free: int, limits: Limits, store: str
) -> Refusal | None:
    request, resolved = step.request, step.resolved
    if request is None or resolved is None:
        return None
    if _too_large(step, limits):
        return Refusal(
            "too_large",
            f"{request}: it has {resolved.size / GB:.3f} GB, above the {limits.max_model / GB:g} GB that need a yes.",
        )
    size_after = total_size(foreseen.values())
    if limits.max_disk and size_after > limits.max_disk and step.after and not step.after.kept_elsewhere:
        return Refusal(
            "quota_exceeded",
            f"{request}: the store {store} would hold {size_after / GB:.3f} GB, "
            f"its limit is {limits.max_disk / GB:g} GB.",
        )
    # A program that keeps its own bytes may do so on another disk; it says itself when that is full.
    if step.after and step.after.kept_elsewhere:
        return None
    needed = step.bytes_to_fetch + step.bytes_to_copy
    if needed + HEADROOM > free:
        others = f", {limits.reserved / GB:.3f} GB more are spoken for by other pulls" if limits.reserved else ""
        return Refusal(
            "no_space",
            f"{request}: {needed / GB:.3f} GB are to be fetched, and {max(free, 0) / GB:.3f} GB "
            f"are free at {store} ({HEADROOM / GB:.3f} GB of them must stay so){others}.",
        )
    return None
