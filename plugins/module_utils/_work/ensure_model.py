# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the store to what was asked: resolve, plan, fetch, prove, commit."""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import replace
from pathlib import Path

from .._core.clock import written
from .._core.errors import LlmError
from .._core.generation import ModelIdentity
from .._core.manifest import Manifest
from .._core.model import GB, INSTALLED, FileEntry, InstalledModel
from .._core.outcome import Difference, Outcome
from .._core.plan import Plan, Step
from .._core.ports import Fetched, Source
from .._core.progress_line import human
from .._host.asker import while_asked_for
from .._host.chat_template import render
from .._host.generations import kept_generations
from .._host.lock import hold
from .._host.operations import Operations
from .._host.os_errors import explain
from .._host.ownership import owner_of
from .._host.place import layout_here
from .._host.reservation import reserved
from .._host.store import Store
from .model_history import ModelHistory
from .model_order import ABSENT, Order
from .plan_models import Planner
from .read_capabilities import read_capabilities

# The manifest's mark on a revision that was replaced and is kept for a rollback.
_SUPERSEDED = "superseded_by"


class ModelTask:
    """One run of the module against one store."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._order = Order.from_params(params)
        self._layout = layout_here(params.get("prefix") or "")
        self._owner = owner_of(self._layout.user)
        self._store = Store(params.get("store") or self._layout.store, self._owner)
        self._operations = Operations(self._layout, self._owner)
        self._planner = Planner(self._order, self._layout, self._store)
        self._wishes = {wish.request.name: wish for wish in self._order.wishes}
        self._notes: list[str] = []
        # Whether the host is different already, should the run fail from here on.
        self._touched = False

    def run(self, *, check_mode: bool) -> Outcome:
        """Plan, and unless in check mode carry the plan out under the store's lock.

        The plan is made under the lock, so that two runs at once cannot both take the last free bytes. A run
        that finds nothing to do never takes it.
        """
        history = ModelHistory(self._operations, self._order, self._planner, silent=check_mode)
        with history.planning():
            plan = self._planner.plan()
        if plan.refusal and (check_mode or not self._store.is_busy()):
            # While somebody else is at it, what is refused now may be there, or fit, when they are done.
            history.refused(plan)
            raise self._failure(plan.refusal.error(), plan)
        if check_mode or not (plan.changes or plan.refusal or self._planner.healed):
            return self._outcome(plan, self._foreseen(plan))
        _ask_the_controller(plan)
        with while_asked_for(self._store.give_up), contextlib.ExitStack() as alone:
            with history.waiting(plan):
                swept = alone.enter_context(self._alone())
            with history.planning():
                plan = self._planner.plan(swept)
            if plan.refusal:
                history.refused(plan)
                raise self._failure(plan.refusal.error(), plan)
            manifest = self._carry_out(plan, history)
        return self._outcome(plan, manifest)

    @contextlib.contextmanager
    def _alone(self) -> t.Iterator[tuple[str, ...]]:
        """Hold the store, and every program whose models are to change; always in the same order."""
        programs = {self._planner.source_of(wish).exclusive for wish in self._order.wishes}
        if self._order.state == ABSENT:
            records = self._planner.manifest.models
            doomed = [records[name] for name in self._order.names if name in records]
            doomed += self._planner.strangers
            programs = {self._remover(record).exclusive for record in doomed}
        with contextlib.ExitStack() as held:
            swept = held.enter_context(self._store.locked(self._order.lock_timeout))
            for program in sorted(programs - {""}):
                lock = Path(self._layout.run) / "locks" / f"{program}.lock"
                timeout = self._order.lock_timeout
                held.enter_context(hold(lock, what=f"The program {program}", timeout=timeout, owner=self._owner))
            yield swept

    # --- doing ---

    def _carry_out(self, plan: Plan, history: ModelHistory) -> Manifest:
        manifest = self._planner.manifest
        if self._planner.healed:
            # First the truth about the disk, so that a failure below does not lose it again.
            self._store.write_manifest(manifest)
        for step in plan.steps:
            if step.action in ("fetch", "repair") and step.resolved:
                # Before anything goes: a file may be wanted of a model that makes room or is replaced.
                self._store.secure(_undamaged(step), manifest.models.values())
        left = plan.bytes_for_the_store
        self._touched = bool(self._planner.healed)
        with reserved(Path(self._layout.run), self._store.path, plan.bytes_for_the_store, self._owner) as reserve:
            for step in plan.steps:
                try:
                    with history.step(step, plan) as self._store.progress:
                        manifest = self._take(step, manifest)
                except (LlmError, OSError) as failure:
                    known = failure if isinstance(failure, LlmError) else explain(failure)
                    if known is None:
                        raise
                    subject = str(step.request) if step.request else f"Model {step.name}"
                    raise self._failure(known.about(subject), plan, changed=self._touched) from None
                finally:
                    self._store.progress = None
                self._touched = self._touched or step.changes
                left -= 0 if step.after and step.after.kept_elsewhere else step.bytes_to_fetch
                reserve(left)
        return manifest

    def _take(self, step: Step, manifest: Manifest) -> Manifest:
        if step.action in ("remove", "evict"):
            return self._remove(step, manifest)
        if step.action in ("fetch", "repair"):
            return self._install(step, manifest)
        if step.action == "update" and step.after:
            manifest = manifest.with_model(step.after, written(time.time()))
            self._store.note(step.after, manifest)
            self._store.write_manifest(manifest)
        return manifest

    def _install(self, step: Step, manifest: Manifest) -> Manifest:
        request, resolved, after = step.request, step.resolved, step.after
        if request is None or resolved is None or after is None:
            raise ValueError("a step that fetches has request, resolution and record")
        source = self._planner.source_of(self._wishes[step.name])
        now = written(time.time())
        old, kept = step.before, self._kept(step.before, after)
        record = replace(after, installed_at=now)
        if source.keeps_own_bytes:
            # A damaged model may be deleted before it is pulled again.
            self._touched = self._touched or bool(resolved.damaged)
            fetched = source.fetch(request, resolved, step.fetch, self._store)
            manifest = self._note(record, fetched, manifest, now, kept)
        else:
            self._prepare(step, resolved.held, manifest)
            # What an earlier step of this run brought is here now.
            self._store.secure(_undamaged(step), manifest.models.values())
            fetched = source.fetch(request, resolved, step.fetch, self._store)
            if record.kept_elsewhere:
                read = read_capabilities(record, lambda entry: Path(record.root) / entry.path)
                given = replace(fetched, resolved=resolved)
                manifest = self._note(replace(record, capabilities_read=read), given, manifest, now, kept)
            else:
                read = read_capabilities(record, self._store.bytes_of)
                manifest = self._store.commit(replace(record, capabilities_read=read), old, manifest, now, kept)
                self._touched = True
                manifest = self._store.spread(record, self._planner.wrong_bytes(step.name), manifest)
        self._notes += [f"Model {step.name}: {note}" for note in (*fetched.notes, *fetched.resolved.notes)]
        return self._without_the_superseded(after.name, manifest, now)

    def _kept(self, old: InstalledModel | None, after: InstalledModel) -> InstalledModel | None:
        """The outgoing model under a name of its own: a rollback may want it, and it stays in the accounts."""
        if old is None:
            return None
        moved = _place_of(old) != _place_of(after)
        lost = {f"{old.folder}/{entry.path}" for entry in old.files} - {f"{after.folder}/{e.path}" for e in after.files}
        paths = {generation.model.path for generation in kept_generations(self._layout)}
        # Another choice of files in the same folder: only if a generation serves what would go.
        if not moved and not (lost & paths or (lost and old.folder in paths)):
            return None
        mark = old.revision[:8] if moved else old.sha256[:8]
        return replace(old, name=f"{old.name}:{mark}", extra={**old.extra, _SUPERSEDED: after.name})

    def _without_the_superseded(self, name: str, manifest: Manifest, now: str) -> Manifest:
        """Give up what this model's name meant before, unless a rollback wants it."""
        generations = [generation.model for generation in kept_generations(self._layout)]
        wanted = {_place_of(model) for model in generations}
        named = {_place_of(record) for record in manifest.models.values() if _SUPERSEDED not in record.extra}
        for record in list(manifest.models.values()):
            if record.extra.get(_SUPERSEDED) != name or _place_of(record) in wanted:
                continue
            if _place_of(record) in named and not record.folder:
                # Asked for under another name, or again under this one: only the mark of the old goes.
                manifest = manifest.without(record.name, now)
                self._store.forget(record)
                self._store.write_manifest(manifest)
            else:
                manifest = self._give_up(record, manifest)
        return manifest

    def _prepare(self, step: Step, held: bool, manifest: Manifest) -> None:
        """Bring what the host has already to where the source goes on from."""
        planner = self._planner
        for damage in planner.damages.get(step.name, ()):
            if step.before:
                self._store.reopen(step.before, damage, manifest)
        for entry in step.resolved.files if step.resolved and not held else ():
            if entry.digest in planner.adoptable:
                self._store.adopt(entry, planner.adoptable[entry.digest])

    def _note(
        self, record: InstalledModel, fetched: Fetched, manifest: Manifest, now: str, kept: InstalledModel | None
    ) -> Manifest:
        """Write down a model whose bytes another program keeps, as that program says it is now."""
        resolved = fetched.resolved
        record = replace(
            record,
            revision=resolved.revision,
            files=resolved.files,
            sha256=resolved.sha256,
            origin=resolved.origin,
            declared_size=resolved.declared_size,
            capabilities_read=fetched.capabilities(render) if fetched.capabilities else record.capabilities_read,
        )
        for written_down in (kept, record):
            if written_down:
                manifest = manifest.with_model(written_down, now)
                self._store.note(written_down, manifest)
        self._store.write_manifest(manifest)
        return manifest

    def _remove(self, step: Step, manifest: Manifest) -> Manifest:
        if step.before is None:
            raise ValueError("a step that removes has a record")
        return self._give_up(step.before, manifest)

    def _remover(self, record: InstalledModel) -> Source:
        asked_as = str(record.extra.get(_SUPERSEDED) or record.name)
        return self._planner.source(record.provider, self._order.removal_options(record, asked_as))

    def _give_up(self, record: InstalledModel, manifest: Manifest) -> Manifest:
        manifest = manifest.without(record.name, written(time.time()))
        source = self._remover(record)
        if record.kept_elsewhere:
            # The other program can refuse; then the model is still there, and so is its record.
            source.remove(record)
            self._store.write_manifest(manifest)
            self._store.forget(record)
        else:
            self._store.remove(record, manifest)
        return manifest

    # --- reporting ---

    def _foreseen(self, plan: Plan) -> Manifest:
        manifest = self._planner.manifest
        for step in plan.steps:
            if step.action in ("remove", "evict"):
                manifest = manifest.without(step.name, "")
            elif step.changes and step.after:
                manifest = manifest.with_model(step.after, "")
        return manifest

    def _outcome(self, plan: Plan, manifest: Manifest) -> Outcome:
        records = [manifest.models[name].as_dict() for name in self._order.names if name in manifest.models]
        before = {step.name: _shown(step.before) for step in plan.steps if step.before}
        after = {step.name: _shown(step.after) for step in plan.steps if step.after}
        result: dict[str, t.Any] = {"models": records, "plan": plan.as_dict(), "msg": _summary(plan)}
        if self._planner.healed:
            result["healed"] = list(self._planner.healed)
        looked = [f"Model {name}: {note}" for name, notes in self._planner.notes.items() for note in notes]
        notes = list(dict.fromkeys([*looked, *self._notes]))
        if notes:
            result["notes"] = notes
        return Outcome(
            changed=plan.changes or bool(self._planner.healed),
            differences=(
                *(
                    [Difference("plan", "", _printed(plan, self._planner.healed))]
                    if plan.changes or self._planner.healed
                    else []
                ),
                Difference("models", before, after),
            ),
            result=result,
            warnings=(*self._planner.healed, *notes),
        )

    def _failure(self, failure: LlmError, plan: Plan, *, changed: bool = False) -> LlmError:
        failure.details = {**failure.details, "plan": plan.as_dict(), "changed": changed}
        return failure


def _ask_the_controller(plan: Plan) -> None:
    """Before anything is done: the bytes that only the controller has must be here."""
    wanted = [
        entry.digest.value
        for step in plan.steps
        for entry in step.fetch
        if step.request and step.request.details.get("from_controller")
        if not step.request.details.get("controller_staging")
    ]
    if wanted:
        raise LlmError("controller_bytes_missing", "Files of the controller are not on the host yet.", wanted=wanted)


def _undamaged(step: Step) -> list[FileEntry]:
    """The files of a step whose bytes may be taken from where the host has them."""
    ours = step.after is not None and not step.after.kept_elsewhere
    files = step.resolved.files if step.resolved and ours else ()
    return [entry for entry in files if entry.path not in step.damaged]


def _place_of(record: InstalledModel | ModelIdentity) -> tuple[str, str, str]:
    """What has a model's bytes: a folder of the store, or a program under the model's own name."""
    return (record.folder, record.provider, record.model if not record.folder else "")


def _shown(record: InstalledModel) -> dict[str, t.Any]:
    """What a diff shows of a model: identity and size, no times."""
    shown: dict[str, t.Any] = {
        "revision": record.revision or "not known before it is there",
        "size_gb": round(record.size / GB, 3),
        "files": [entry.path for entry in record.files],
        "path": record.local_path,
    }
    if record.requested_revision:
        shown["requested_revision"] = record.requested_revision
    if record.kept_elsewhere and record.origin.get("endpoint"):
        shown["endpoint"] = record.origin["endpoint"]
    if record.status != INSTALLED:
        shown["status"] = record.status
    if record.sha256:
        shown["sha256"] = record.sha256
    if record.pinned:
        shown["pinned"] = True
    if record.capabilities_override:
        shown["capabilities"] = dict(record.capabilities_override)
    return shown


def _printed(plan: Plan, healed: t.Sequence[str]) -> str:
    """The plan as a text for a diff."""
    lines = list(healed)
    for step in plan.steps:
        if step.changes:
            lines.append(f"{step.action} {step.name}{_told_of(step)}")
    if plan.changes:
        limit = f" of {plan.limits.max_disk / GB:g} GB" if plan.limits.max_disk else ""
        lines.append(f"store {human(plan.size_before)} -> {human(plan.size_after)}{limit}")
    return "".join(f"{line}\n" for line in lines)


def _told_of(step: Step) -> str:
    """What there is to say of a step, in a few words."""
    if step.action in ("fetch", "repair"):
        if step.resolved and step.resolved.held and not step.damaged:
            return f": {human(step.bytes_here)} are there already and stay where they are"
        unknown = step.resolved is not None and not step.resolved.files and step.resolved.declared_size is None
        told = f": {'size not known, assumed ' if unknown else ''}{human(step.bytes_to_fetch)} to fetch"
        told += f", {human(step.bytes_here)} here already" if step.bytes_here else ""
        return told + (f", damaged: {', '.join(step.damaged)}" if step.damaged else "")
    if step.action == "update":
        return ": only what is written down of it"
    if step.before and step.before.kept_elsewhere and step.before.origin.get("path"):
        return ": your files stay where they are"
    return f": {human(step.before.size)}" if step.before else ""


def _summary(plan: Plan) -> str:
    counts = {action: sum(step.action == action for step in plan.steps) for action in _WORDS}
    size = plan.bytes_to_fetch / GB
    words = [f"{count} {_WORDS[action]}" for action, count in counts.items() if count]
    if counts["fetch"] or counts["repair"]:
        words.append(f"{size:.3f} GB fetched")
    return ", ".join(words) or "Nothing to do"


_WORDS = {"fetch": "installed", "repair": "repaired", "update": "updated", "remove": "removed", "evict": "evicted"}
