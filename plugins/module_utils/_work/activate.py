# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a generation the one that serves, or leave the one before serving."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, replace

from .._core.clock import written
from .._core.engine import Engine, Health
from .._core.errors import LlmError
from .._core.generation import ACTIVE, FAILED, TRYING, Generation
from .._core.proof import MAX_TOKENS, PROMPT, fault_in_facts, fault_in_tokens
from .._core.supervisor import Process
from .._host import processes
from .._host.configuration import Configuration
from .._host.os_errors import explain
from .._host.waiting import until
from .runtime_place import RuntimePlace, configuration_of, settings_of

Result = t.TypeVar("Result")

# Generations that a rollback may return to.
KEPT_GENERATIONS = 3
# A model comes from the disk: seconds for a start grow by its size at this rate, in bytes a second.
_LOADING_RATE = 50_000_000
_LOG_LINES = 20


@dataclass(frozen=True)
class Patience:
    """Seconds: for a start besides the loading of the model, and for one proof."""

    start: float
    proof: float


@dataclass(frozen=True)
class Proven:
    """The generation as it serves, and the words it said to prove it."""

    generation: Generation
    reply: str | None


class Activation:
    """One transaction: write, restart, wait healthy, prove, commit; on any failure all the way back."""

    def __init__(self, place: RuntimePlace, engine: Engine, patience: Patience) -> None:
        self._place = place
        self._engine = engine
        self._patience = patience
        self.steps: list[dict[str, t.Any]] = []
        self._step = ""

    def activate(self, candidate: Generation, wanted: Configuration, previous: Generation | None) -> Proven:
        """Bring up `candidate` with the files `wanted`; `previous` is what serves now, if anything does."""
        place = self._place
        before = place.files.read()
        process = place.supervisor.process(place.name)
        was_wanted = process.active or process.failing
        try:
            self._timed("write", lambda: self._write(candidate, wanted))
            proven = self._bring_up(candidate)
        except (Exception, KeyboardInterrupt) as failure:
            # Whatever it is, a full disk or an interrupt: the runtime must not stay half changed.
            raise self._roll_back(_as_error(failure), candidate, before, previous, start=was_wanted) from failure
        self._timed("commit", lambda: self._commit(proven.generation))
        return proven

    def restart(self, generation: Generation) -> Proven:
        """Start anew what is configured already, wait for it and prove it."""
        proven = self._bring_up(generation)
        self._place.generations.write(proven.generation)
        return proven

    def prove(self, generation: Generation) -> Proven:
        """Ask a running runtime for its proof, at the level its generation asks for."""
        level = generation.spec["proof"]
        if level == "none":
            return Proven(generation, None)
        settings = settings_of(generation)
        endpoint = self._place.endpoint(self._engine, settings)
        fault = fault_in_facts(self._engine.served(endpoint, settings), settings)
        if fault:
            raise LlmError("proof_failed", f"it answers, but {fault}.")
        rate, reply = None, None
        if level == "tokens":
            completion = self._engine.complete(
                endpoint, settings.served_names[0], PROMPT, max_tokens=MAX_TOKENS, timeout=self._patience.proof
            )
            fault = fault_in_tokens(completion)
            if fault:
                raise LlmError("proof_failed", f"it answers, but {fault}.")
            rate, reply = completion.tokens_per_second, completion.text
        proof = {"level": level, "at": written(time.time()), "ok": True, "tokens_per_second": rate}
        return Proven(replace(generation, proof=proof), reply)

    # --- steps ---

    def _write(self, candidate: Generation, wanted: Configuration) -> None:
        self._place.generations.write(replace(candidate, status=TRYING))
        self._place.files.write(wanted)
        self._place.supervisor.reload()

    def _bring_up(self, generation: Generation) -> Proven:
        started = time.time()
        self._timed("restart", lambda: self._place.supervisor.start(self._place.service))
        self._timed("wait healthy", lambda: self._wait_healthy(generation, started))
        return self._timed("prove", lambda: self.prove(generation))

    def _wait_healthy(self, generation: Generation, started: float) -> None:
        place = self._place
        settings = settings_of(generation)
        endpoint = place.endpoint(self._engine, settings)
        deadline = self._patience.start + generation.model.size_bytes / _LOADING_RATE

        def look() -> tuple[Process, Health]:
            return place.supervisor.process(place.name), self._engine.health(endpoint)

        def settled(seen: tuple[Process, Health]) -> bool:
            process, health = seen
            return not process.active or process.restarts > 0 or health.state == "ready"

        done, (process, health) = until(look, settled, deadline)
        if done and process.active and not process.restarts:
            stranger = processes.listener(settings.port, besides=process.pid)
            if stranger:
                raise LlmError("port_in_use", f"port {settings.port} is held by {stranger}.")
            return
        log = place.supervisor.log(place.name, started)
        last = log.strip().splitlines()[-_LOG_LINES:]
        if not done:
            raise LlmError(
                "timeout", f"it was not ready after {deadline:.0f} s: {health.said or health.state}.", log=last
            )
        meaning = self._engine.meaning(log)
        if meaning:
            raise LlmError(meaning.reason, f"{meaning.sentence}.", log=last)
        said = last[-1] if last else "it said nothing"
        raise LlmError("start_failed", f"the engine ended ({process.detail or 'at once'}): {said}", log=last)

    def _commit(self, generation: Generation) -> None:
        self._place.generations.write(replace(generation, status=ACTIVE))
        self._place.generations.keep_newest(KEPT_GENERATIONS)

    def _roll_back(
        self,
        failure: LlmError,
        candidate: Generation,
        before: Configuration,
        previous: Generation | None,
        *,
        start: bool,
    ) -> LlmError:
        place = self._place
        step, subject = self._step, f"Runtime {place.name}: model {candidate.model.name} was not activated"
        what = f"{subject}, step '{step}' failed: {failure.what}"
        try:
            self._timed("roll back", lambda: self._restore(before, previous, start=start))
            # A record of the failure is worth less than the runtime: it comes after.
            place.generations.write(replace(candidate, status=FAILED, reason=f"{step}: {failure.what}"))
            after = _after(previous, start=start)
            remedy = " ".join(word for word in (after, failure.remedy) if word)
            rolled_back = True
        except (LlmError, OSError) as second:
            remedy = f"Going back failed too: {second}"
            rolled_back = False
        details = {**failure.details, "steps": self.steps, "rolled_back": rolled_back, "changed": True}
        return LlmError(failure.reason, what, remedy=remedy, **details)

    def _restore(self, before: Configuration, previous: Generation | None, *, start: bool) -> None:
        """Back to the generation before, from its record: what is on the disk may be left of an interrupted run."""
        place = self._place
        if previous is None:
            place.supervisor.stop(place.service)
            place.files.remove()
        else:
            place.files.write(configuration_of(previous, place.layout, before.secrets))
        place.supervisor.reload()
        if previous is not None and start:
            self._bring_up(previous)
        elif previous is not None:
            place.supervisor.stop(place.service)

    def _timed(self, step: str, act: t.Callable[[], Result]) -> Result:
        self._step = step
        started = time.monotonic()
        try:
            return act()
        finally:
            self.steps.append({"step": step, "seconds": round(time.monotonic() - started, 3)})


def _as_error(failure: BaseException) -> LlmError:
    if isinstance(failure, LlmError):
        return failure
    if isinstance(failure, KeyboardInterrupt):
        return LlmError("interrupted", "it was interrupted.")
    explained = explain(failure) if isinstance(failure, OSError) else None
    return explained or LlmError("internal_error", f"{type(failure).__name__}: {failure}.")


def _after(previous: Generation | None, *, start: bool) -> str:
    if previous is None:
        return ""
    state = "serves again" if start else "is configured again, and stopped as it was"
    return f"Generation {previous.number} (model {previous.model.name}) {state}."
