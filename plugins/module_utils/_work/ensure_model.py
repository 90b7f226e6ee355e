# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the store to what was asked: resolve, plan, fetch, prove, commit."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, replace

from .._core.clock import written
from .._core.errors import LlmError
from .._core.manifest import Manifest
from .._core.model import GB, InstalledModel, ModelRequest, Resolved, check_files
from .._core.outcome import Outcome
from .._core.plan import Limits, Plan, Step, judge, plan_absent, plan_present
from .._core.ports import Source, SourceOptions
from .._core.reference import check_name, folder_name
from .._host.generations import active_generations, kept_generations
from .._host.ownership import owner_of
from .._host.place import layout_here
from .._host.store import Store
from .._sources.registry import source_named

# A revision in a folder's name: a commit whole, as hubs' caches have it; a content hash by its first 12.
_SHORT_HASH = 12
# The manifest's mark on a revision that was replaced and is kept for a rollback.
_SUPERSEDED = "superseded_by"


@dataclass(frozen=True)
class Order:
    """What one task asks: the models, the state, the limits, in the module's own units (GB, seconds)."""

    requests: tuple[ModelRequest, ...]
    names: tuple[str, ...]
    state: str
    force: bool
    max_disk_gb: float
    max_model_gb: float
    lock_timeout: float
    options: SourceOptions

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Order:
        items = params["models"] if params.get("models") is not None else [params]
        absent = params["state"] == "absent"
        names = tuple(check_name(item.get("name") or "", "Model name") for item in items)
        double = next((name for name in names if names.count(name) > 1), None)
        if double:
            raise LlmError("invalid_input", f"The model name '{double}' is used twice in one list.")
        return cls(
            requests=() if absent else tuple(ModelRequest.from_params(item) for item in items),
            names=names,
            state=params["state"],
            force=bool(params["force"]),
            max_disk_gb=float(params["max_disk_gb"]),
            max_model_gb=float(params["max_model_gb"]),
            lock_timeout=float(params["lock_timeout"]),
            options=SourceOptions(
                endpoint=params.get("endpoint") or "",
                token=params.get("token") or "",
                workers=max(1, int(params["workers"])),
                timeout=float(params["timeout"]),
            ),
        )


class ModelTask:
    """One run of the module against one store."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._order = Order.from_params(params)
        self._layout = layout_here(params.get("prefix") or "")
        self._store = Store(params.get("store") or self._layout.store, owner_of(self._layout.user))
        self._sources: dict[str, Source] = {}
        self._resolved: dict[str, Resolved] = {}

    def run(self, *, check_mode: bool) -> Outcome:
        """Plan, and unless in check mode carry the plan out under the store's lock.

        The plan is made under the lock, so that two runs at once cannot both take the last free bytes. A run
        that finds nothing to do never takes it.
        """
        plan = self._plan()
        if plan.refusal:
            raise self._failure(plan.refusal.error(), plan)
        if not plan.changes or check_mode:
            return self._outcome(plan, self._foreseen(plan))
        with self._store.locked(self._order.lock_timeout):
            plan = self._plan()
            if plan.refusal:
                raise self._failure(plan.refusal.error(), plan)
            manifest = self._carry_out(plan)
        return self._outcome(plan, manifest)

    # --- deciding ---

    def _plan(self) -> Plan:
        manifest = self._store.manifest()
        if self._order.state == "absent":
            users = {generation.model.name: generation.runtime for generation in active_generations(self._layout)}
            steps = [
                plan_absent(name, manifest.models.get(name), users.get(name), self._order.force)
                for name in self._order.names
            ]
        else:
            steps = [self._plan_one(request, manifest) for request in self._order.requests]
        limits = Limits(int(self._order.max_disk_gb * GB), int(self._order.max_model_gb * GB), self._free(steps))
        return judge(steps, manifest, limits, str(self._store.path))

    def _free(self, steps: t.Sequence[Step]) -> int:
        """Free bytes, counting what has arrived of the files to come: those bytes are taken already."""
        arrived = sum(self._store.arrived(entry) for step in steps for entry in step.fetch)
        return self._store.free() + arrived

    def _plan_one(self, request: ModelRequest, manifest: Manifest) -> Step:
        record = manifest.models.get(request.name)
        resolved = self._resolve(request, record)
        here = self._store.proven(resolved.files)
        intact = record is not None and self._store.intact(record)
        if record is not None:
            here |= self._store.present(record)
        step = plan_present(request, resolved, record, here, intact)
        if step.action != "fetch":
            return step
        return replace(step, after=self._record(request, resolved, record))

    def _resolve(self, request: ModelRequest, record: InstalledModel | None) -> Resolved:
        if request.name in self._resolved:
            return self._resolved[request.name]
        try:
            resolved = self._source(request.reference.source).resolve(request, record)
        except LlmError as failure:
            raise failure.about(str(request)) from None
        check_files(resolved.files, str(request))
        if request.sha256 and resolved.sha256 != request.sha256:
            raise LlmError(
                "checksum_mismatch",
                f"{request}: the source offers the sha256 {resolved.sha256}, {request.sha256} was asked for.",
                remedy="Correct sha256, or the revision; nothing was fetched.",
            )
        self._resolved[request.name] = resolved
        return resolved

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            self._sources[name] = source_named(name, self._order.options)
        return self._sources[name]

    def _record(self, request: ModelRequest, resolved: Resolved, old: InstalledModel | None) -> InstalledModel:
        reference = request.reference
        if reference.source == "file":
            folder = f"file/{folder_name(request.name)}@{resolved.revision[:_SHORT_HASH]}"
        else:
            folder = f"{reference.source}/{folder_name(reference.model)}@{resolved.revision}"
        return InstalledModel(
            name=request.name,
            provider=reference.source,
            model=reference.model,
            requested_revision=reference.revision,
            revision=resolved.revision,
            selection=request.selection,
            folder=f"{self._store.path}/{folder}",
            files=resolved.files,
            sha256=resolved.sha256,
            installed_at="",
            origin=resolved.origin,
            display_name=old.display_name if old else "",
            capabilities=old.capabilities if old else {},
            extra=old.extra if old else {},
        )

    # --- doing ---

    def _carry_out(self, plan: Plan) -> Manifest:
        manifest = self._store.manifest()
        done = 0
        for step in plan.steps:
            try:
                if step.action == "remove":
                    manifest = self._remove(step)
                elif step.action == "fetch":
                    manifest = self._install(step)
            except LlmError as failure:
                subject = str(step.request) if step.request else f"Model {step.name}"
                raise self._failure(failure.about(subject), plan, changed=done > 0) from None
            done += step.changes
        return manifest

    def _install(self, step: Step) -> Manifest:
        request, resolved, after = step.request, step.resolved, step.after
        if request is None or resolved is None or after is None:
            raise ValueError("a step that fetches has request, resolution and record")
        self._source(request.reference.source).fetch(request, resolved, step.fetch, self._store)
        now = written(time.time())
        old = step.before
        manifest = self._store.commit(replace(after, installed_at=now), old, now)
        if old and old.folder != after.folder:
            # A rollback may want the outgoing revision: it stays under a name of its own, and in the accounts.
            kept = replace(old, name=f"{old.name}:{old.revision[:8]}", extra={**old.extra, _SUPERSEDED: after.name})
            manifest = manifest.with_model(kept, now)
        wanted = {generation.model.folder for generation in kept_generations(self._layout)}
        for record in list(manifest.models.values()):
            if record.extra.get(_SUPERSEDED) == after.name and record.folder not in wanted:
                manifest = self._give_up(record, manifest)
        self._store.write_manifest(manifest)
        return manifest

    def _remove(self, step: Step) -> Manifest:
        if step.before is None:
            raise ValueError("a step that removes has a record")
        return self._give_up(step.before, self._store.manifest())

    def _give_up(self, record: InstalledModel, manifest: Manifest) -> Manifest:
        """First the record, then the bytes: a reader never finds a model whose files are going."""
        manifest = manifest.without(record.name, written(time.time()))
        self._store.write_manifest(manifest)
        self._source(record.provider).remove(record, self._store)
        return manifest

    # --- reporting ---

    def _foreseen(self, plan: Plan) -> Manifest:
        manifest = self._store.manifest()
        for step in plan.steps:
            if step.action == "remove":
                manifest = manifest.without(step.name, "")
            elif step.action == "fetch" and step.after:
                manifest = manifest.with_model(step.after, "")
        return manifest

    def _outcome(self, plan: Plan, manifest: Manifest) -> Outcome:
        records = [manifest.models[name].as_dict() for name in self._order.names if name in manifest.models]
        before = {step.name: _shown(step.before) for step in plan.steps if step.before}
        after = {name: _shown(manifest.models[name]) for name in self._order.names if name in manifest.models}
        return Outcome(
            changed=plan.changes,
            before=before,
            after=after,
            result={"models": records, "plan": plan.as_dict(), "msg": _summary(plan)},
        )

    def _failure(self, failure: LlmError, plan: Plan, *, changed: bool = False) -> LlmError:
        failure.details = {**failure.details, "plan": plan.as_dict(), "changed": changed}
        return failure


def _shown(record: InstalledModel) -> dict[str, t.Any]:
    """What a diff shows of a model: identity and size, no times."""
    return {
        "revision": record.revision,
        "sha256": record.sha256,
        "size_gb": round(record.size / GB, 3),
        "files": [entry.path for entry in record.files],
        "path": record.local_path,
    }


def _summary(plan: Plan) -> str:
    counts = {action: sum(step.action == action for step in plan.steps) for action in ("fetch", "remove")}
    size = sum(step.bytes_to_fetch for step in plan.steps) / GB
    words = []
    if counts["fetch"]:
        words.append(f"{counts['fetch']} installed, {size:.3f} GB fetched")
    if counts["remove"]:
        words.append(f"{counts['remove']} removed")
    return "; ".join(words) or "Nothing to do"
