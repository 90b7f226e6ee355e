# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one runtime to the state that was asked: started, stopped, restarted or absent."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

from .._core.decision import ACTIVATE, KEEP, Decision, decide
from .._core.engine import Engine
from .._core.errors import LlmError
from .._core.generation import Generation
from .._core.outcome import Difference, Outcome
from .._core.runtime import (
    STOP_TIMEOUT,
    RuntimeSpec,
    check_exposure,
    check_options,
    check_runtime_name,
    complete,
)
from .._core.status import judge, record
from .._engines.registry import engine_named
from .._host import processes
from .._host.configuration import Configuration
from .._host.generations import Generations
from .._host.keeper import parse_environment
from .._host.lock import hold
from .._host.ownership import Owner, owner_of
from .._host.place import layout_here
from .._host.store import Store
from .._host.supervisors import choose
from .activate import Activation, Patience, Proven
from .runtime_place import RuntimePlace, settings_of
from .wanted_runtime import Wanted, api_key_in, check_served_names, want

# Seconds that another task on the same runtime may keep us waiting.
_LOCK_TIMEOUT = 900.0


class RuntimeTask:
    """One run of the module against one runtime."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._params = params
        self._name = check_runtime_name(params["name"])
        self._layout = layout_here(params.get("prefix") or "")
        self._store = Store(params.get("store") or self._layout.store, owner_of(self._layout.user))
        self._active: Generation | None = None

    def run(self, *, check_mode: bool) -> Outcome:
        act = {"started": self._start, "restarted": self._start, "stopped": self._stop, "absent": self._remove}
        state = self._params["state"]
        if check_mode:
            self._look()
            return act[state](True)
        lock = Path(self._layout.run) / f"{self._name}.lock"
        with hold(lock, what=f"Runtime {self._name}", timeout=_LOCK_TIMEOUT, owner=Owner()):
            # Only now: another task may just have activated something else.
            self._look()
            return act[state](False)

    def _look(self) -> None:
        """Find what serves, and who keeps it."""
        self._active = Generations(self._layout, self._name).active()
        remembered = self._active.spec if self._active else {}
        wish = self._params.get("supervisor") or remembered.get("supervisor") or "auto"
        grace = self._params.get("stop_timeout") or remembered.get("stop_timeout") or STOP_TIMEOUT
        self._place = RuntimePlace(self._name, self._layout, choose(wish, self._layout), int(grace))

    # --- started, restarted ---

    def _start(self, check_mode: bool) -> Outcome:
        remembered = self._active.spec if self._active else None
        engine = self._engine(remembered)
        spec = complete(self._name, self._params, remembered, engine.default_port)
        check_options(spec, engine.option_types)
        check_served_names(spec, self._layout)
        try:
            wanted = want(spec, engine, self._params, self._place, self._store, self._active)
        except LlmError as failure:
            # A model or engine that an earlier task of this very run would have brought is no failure yet.
            if check_mode and failure.reason in ("model_missing", "engine_missing"):
                foreseen = Difference(f"runtime {self._name}", self._shown(None), {"model": spec.model})
                return Outcome(True, result={"msg": f"Would activate {spec.model}"}, differences=(foreseen,))
            raise
        check_exposure(spec, has_key=bool(api_key_in(wanted.files.secrets, engine)))
        before = self._place.files.read()
        decision = self._decide(wanted, before, engine)
        differences = self._differences(before, wanted, decision)
        if check_mode:
            return self._outcome(decision, differences, wanted, None, [])
        activation = Activation(self._place, engine, self._patience())
        if decision.action == KEEP:
            decision, proven = self._keep(activation, wanted)
        else:
            self._check_port(spec)
            proven = self._act(activation, decision, wanted)
        return self._outcome(decision, differences, wanted, proven, activation.steps, engine)

    def _keep(self, activation: Activation, wanted: Wanted) -> tuple[Decision, Proven]:
        """Nothing is to be changed if it proves itself; what cannot is healed by a restart."""
        serving = self._serving()
        try:
            return Decision(KEEP), activation.prove(serving)
        except LlmError as failure:
            decision = Decision("heal", failure.what)
        return decision, self._act(activation, decision, wanted)

    def _act(self, activation: Activation, decision: Decision, wanted: Wanted) -> Proven:
        if decision.action == ACTIVATE:
            return activation.activate(wanted.candidate, wanted.files, self._active)
        try:
            return activation.restart(self._serving())
        except LlmError as failure:
            raise LlmError(
                failure.reason,
                f"Runtime {self._name} was restarted and does not serve: {failure.what}",
                remedy=failure.remedy,
                **failure.details,
                steps=activation.steps,
                changed=True,
            ) from None

    def _serving(self) -> Generation:
        if self._active is None:
            raise ValueError("without a difference there is an active generation")
        return self._active

    # --- deciding ---

    def _decide(self, wanted: Wanted, before: Configuration, engine: Engine) -> Decision:
        active = self._active
        differs = before != wanted.files or active is None or active.fingerprint != wanted.candidate.fingerprint
        if differs or active is None:
            return Decision(ACTIVATE)
        seen = self._place.observe(active, engine, settings_of(active), wanted.spec.port)
        return decide(
            differs=False,
            process=seen.process,
            enabled=self._place.supervisor.enabled(self._name),
            verdict=judge(seen),
            restart=self._params["state"] == "restarted",
        )

    def _engine(self, remembered: t.Mapping[str, t.Any] | None) -> Engine:
        name = self._params.get("engine") or (remembered or {}).get("engine")
        if not name:
            raise LlmError("runtime_missing", f"Runtime {self._name} is not on this host, and no engine was given.")
        return engine_named(name)

    def _check_port(self, spec: RuntimeSpec) -> None:
        process = self._place.supervisor.process(self._name)
        stranger = processes.listener(spec.port, besides=process.pid)
        if stranger:
            raise LlmError(
                "port_in_use",
                f"Runtime {self._name}: port {spec.port} is held by {stranger}; nothing was changed.",
                port_owner={"pid": stranger.pid, "command": stranger.command},
            )

    def _patience(self) -> Patience:
        return Patience(float(self._params["start_timeout"]), float(self._params["proof_timeout"]))

    # --- stopped, absent ---

    def _stop(self, check_mode: bool) -> Outcome:
        process = self._place.supervisor.process(self._name)
        running = process.active or process.failing or self._place.supervisor.enabled(self._name)
        if running and not check_mode:
            self._place.supervisor.stop(self._place.service)
        shown = Difference(
            f"runtime {self._name}", {"state": "started" if running else "stopped"}, {"state": "stopped"}
        )
        return Outcome(running, result={"msg": "Stopped" if running else "Stopped already"}, differences=(shown,))

    def _remove(self, check_mode: bool) -> Outcome:
        place = self._place
        folder = Path(self._layout.runtime_folder(self._name))
        there = place.files.existing() + ([str(folder)] if folder.exists() else [])
        if there and not check_mode:
            place.supervisor.stop(place.service)
            place.files.remove()
            place.supervisor.forget(self._name)
            if folder.exists():
                shutil.rmtree(folder)
        shown = Difference(f"runtime {self._name}", {"paths": sorted(set(there))}, {"paths": []})
        return Outcome(bool(there), result={"msg": "Removed" if there else "Absent already"}, differences=(shown,))

    # --- reporting ---

    def _shown(self, generation: Generation | None) -> dict[str, t.Any]:
        if generation is None:
            generation = self._active
        return {"model": generation.model.name, "revision": generation.model.revision} if generation else {}

    def _differences(self, before: Configuration, wanted: Wanted, decision: Decision) -> tuple[Difference, ...]:
        files, place = wanted.files, self._place.files
        found = [
            Difference(str(place.definition), before.definition, files.definition),
            Difference(str(place.environment), before.environment, files.environment),
            Difference(str(place.engine_link), _line(before.engine_folder), _line(files.engine_folder)),
            Difference(str(place.secrets), _names(before.secrets), _names(files.secrets)),
        ]
        if before.secrets != files.secrets and _names(before.secrets) == _names(files.secrets):
            found.append(Difference(str(place.secrets), "a value, not shown\n", "another value, not shown\n"))
        if decision.action not in (ACTIVATE, KEEP):
            found.append(Difference(f"runtime {self._name}", f"{decision.why or 'running'}\n", "started anew\n"))
        return tuple(difference for difference in found if difference.before != difference.after)

    def _outcome(
        self,
        decision: Decision,
        differences: tuple[Difference, ...],
        wanted: Wanted,
        proven: Proven | None,
        steps: list[dict[str, t.Any]],
        engine: Engine | None = None,
    ) -> Outcome:
        result: dict[str, t.Any] = {
            "msg": f"{decision.action}: {decision.why}" if decision.why else decision.action,
            "rolled_back": False,
            "steps": steps,
            "model": wanted.spec.model,
        }
        if proven and engine:
            generation = proven.generation
            seen = self._place.observe(generation, engine, settings_of(generation), wanted.spec.port)
            result["runtime"] = record(self._name, seen, judge(seen))
            result["generation"] = generation.number
            result["reply"] = proven.reply
        return Outcome(decision.changes, result=result, differences=differences)


def _line(text: str | None) -> str | None:
    return f"{text}\n" if text else None


def _names(secrets: str | None) -> str | None:
    """Which secrets there are, not what they are."""
    return "".join(f"{name}=…\n" for name in sorted(parse_environment(secrets or ""))) or None
