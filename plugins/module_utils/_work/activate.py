# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a generation the one that serves, or leave the one before serving.

Every step is in the runtime's journal before it is begun, so that a run that is killed at any instant leaves word for
the next one, which finishes what it left or goes back.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, replace

from .._core import journal
from .._core.engine import Endpoint, Engine, Settings
from .._core.errors import LlmError
from .._core.generation import ACTIVE, FAILED, TRYING, Generation
from .._core.journal import Transaction
from .._core.runtime import RuntimeSpec
from .._host.configuration import Configuration
from .._host.journal import Journal, Writing
from .._host.os_errors import explain
from .drain import drain
from .other_runtimes import OtherRuntimes
from .prove import Proven, prove
from .runtime_place import RuntimePlace, configuration_of, settings_of
from .wait_healthy import loading_time, wait_healthy

Result = t.TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """Seconds: for a start besides the loading of the model, and for one proof."""

    start: float
    proof: float


class Activation:
    """One transaction on one runtime; who uses it holds the runtime's lock."""

    def __init__(self, place: RuntimePlace, engine: Engine, patience: Patience) -> None:
        self._place = place
        self._engine = engine
        self._patience = patience
        self._others = OtherRuntimes(place.layout, place.name)
        self._journal = Journal(place.layout, place.name)
        self._writing: Writing | None = None
        self._step = ""
        self._stopped: tuple[str, ...] = ()
        self._going_back = False
        self.steps: list[dict[str, t.Any]] = []
        self.notes: list[str] = []

    def activate(
        self, candidate: Generation, wanted: Configuration, previous: Generation | None, spec: RuntimeSpec
    ) -> Proven:
        """Bring up `candidate` with the files `wanted`; `previous` is what serves now, if anything does."""
        place = self._place
        before = place.files.read()
        process = place.supervisor.process(place.name)
        was_up = process.active or process.failing
        self._begin(previous, candidate, was_up)
        outgoing = settings_of(previous) if previous else None
        try:
            if outgoing and process.active:
                self._do(journal.DRAIN, lambda: self._drain(outgoing, spec))
            if spec.exclusive:
                self._stop_others()
            self._do(journal.WRITE, lambda: self._write(candidate, wanted))
            # A program that stays up while models come and go is started anew only when it is to run otherwise.
            restart = not (self._engine.resident and process.active and before == wanted)
            proven = self._bring_up(candidate, restart=restart, outgoing=outgoing)
        except (Exception, KeyboardInterrupt) as failure:
            # Whatever it is, a full disk or an interrupt: the runtime must not stay half changed.
            raise self._roll_back(_as_error(failure), candidate, previous, start=was_up) from failure
        self._do(journal.COMMIT, lambda: self._commit(proven.generation, spec.keep_generations))
        self._end(journal.COMMITTED)
        return proven

    def restart(self, generation: Generation, spec: RuntimeSpec, *, anew: bool, drain: bool) -> Proven:
        """Have what is configured already serve again, and prove it: by a new start, or first without one.

        A program that stays up while models come and go may only have to load the model again. With `drain`, requests
        in flight are waited for: it serves, and is stopped on wish.
        """
        place = self._place
        settings = settings_of(generation)
        process = place.supervisor.process(place.name)
        anew = anew or not process.active or not place.supervisor.enabled(place.name)
        anew = anew or not place.runs(generation, process)
        self._begin(generation, generation, was_up=True)
        try:
            if drain and process.active:
                self._do(journal.DRAIN, lambda: self._drain(settings, spec))
            if spec.exclusive:
                self._stop_others()
            proven = self._bring_up(generation, restart=anew, outgoing=settings)
        except LlmError as failure:
            if self._stopped:
                self._others.start(self._stopped, self._patience.start)
            self._end(journal.GIVEN_UP, why=failure.what)
            raise
        self._place.generations.write(proven.generation)
        self._end(journal.COMMITTED)
        return proven

    def wake(self, generation: Generation) -> Proven:
        """Have a runtime that sleeps be ready again, with sane tokens."""
        settings = settings_of(generation)
        endpoint = self._place.endpoint(self._engine, settings)
        self._timed("wake", lambda: self._engine.wake(endpoint, settings))
        started = time.time()
        restarts = self._place.supervisor.process(self._place.name).restarts
        self._timed(
            journal.WAIT,
            lambda: wait_healthy(self._place, self._engine, generation, started, self._patience.start, restarts),
        )
        proven = self.prove(generation)
        self._place.generations.write(proven.generation)
        return proven

    def prove(self, generation: Generation) -> Proven:
        """Ask a running runtime for its proof, at the level its generation asks for."""
        return self._timed(journal.PROVE, lambda: prove(self._place, self._engine, generation, self._patience.proof))

    def recover(self, left: Transaction, *, finish: bool, start: bool) -> str:
        """End what a killed run left: finish it if that is wished and possible, else go back; says what was done.

        `start` is whether the runtime is meant to be up when this is done.
        """
        place = self._place
        self._writing = self._journal.resume(left)
        self._stopped = left.stopped
        candidate = place.generations.find(left.to_generation)
        previous = place.generations.find(left.from_generation)
        told = f"An activation of generation {left.to_generation} was interrupted at step '{left.step}'"
        if not left.touched:
            self._end(journal.ROLLED_BACK, why="interrupted")
            return f"{told}, before anything was changed."
        if candidate and candidate.status == ACTIVE and left.from_generation != left.to_generation:
            # It was proven and written down; only the last word is missing.
            self._commit(candidate, _kept(candidate))
            self._end(journal.COMMITTED)
            return f"{told}, and had been done."
        if finish and start and left.has_written and candidate:
            try:
                proven = self._finish(candidate, previous, begun=left.step == journal.RESTART)
            except LlmError:
                pass
            else:
                self._do(journal.COMMIT, lambda: self._commit(proven.generation, _kept(candidate)))
                self._end(journal.COMMITTED)
                return f"{told}; it was finished."
        self._do(journal.ROLL_BACK, lambda: self._go_back(candidate, previous, start=start and left.was_up))
        if candidate and candidate is not previous and candidate.status == TRYING:
            place.generations.write(replace(candidate, status=FAILED, reason=f"interrupted at step '{left.step}'"))
        self._end(journal.ROLLED_BACK, why="interrupted")
        return f"{told}; {_after(previous, start=start and left.was_up) or 'what it had written was removed.'}"

    # --- steps ---

    def _begin(self, previous: Generation | None, candidate: Generation, was_up: bool) -> None:
        self._writing = self._journal.begin(
            from_generation=previous.number if previous else None, to_generation=candidate.number, was_up=was_up
        )

    def _drain(self, outgoing: Settings, spec: RuntimeSpec) -> None:
        left = drain(self._place, self._engine, self._place.endpoint(self._engine, outgoing), spec)
        if left:
            self.notes.append(left)

    def _stop_others(self) -> None:
        self._stopped = self._others.running()
        if self._stopped:
            self._do(journal.STOP_OTHERS, lambda: self._others.stop(self._stopped), stopped=list(self._stopped))
            self.notes.append(f"Stopped for it: {', '.join(self._stopped)}.")

    def _write(self, candidate: Generation, wanted: Configuration) -> None:
        place = self._place
        place.generations.write(replace(candidate, status=TRYING))
        place.files.set_secrets_aside()
        place.files.write(wanted)
        place.supervisor.reload()

    def _bring_up(self, generation: Generation, *, restart: bool, outgoing: Settings | None) -> Proven:
        place = self._place
        started = time.time()
        # One that goes on may have been brought back by its supervisor long ago.
        restarts = 0 if restart else place.supervisor.process(place.name).restarts
        if restart:
            self._do(journal.RESTART, lambda: place.supervisor.start(place.service))
        self._do(
            journal.WAIT,
            lambda: wait_healthy(place, self._engine, generation, started, self._patience.start, restarts),
        )
        if self._engine.resident:
            try:
                self._do(journal.LOAD, lambda: self._load(generation, outgoing))
            except LlmError:
                if restart or place.supervisor.name == "external":
                    raise
                # What it will not let go of by asking goes with its process.
                return self._bring_up(generation, restart=True, outgoing=None)
        try:
            return self._do(journal.PROVE, lambda: prove(place, self._engine, generation, self._patience.proof))
        except LlmError:
            if restart or place.supervisor.name == "external" or not self._has_faults(generation):
                raise
        return self._bring_up(generation, restart=True, outgoing=None)

    def _has_faults(self, generation: Generation) -> bool:
        """Whether a program that stays up holds what it should not: that goes with its process."""
        settings = settings_of(generation)
        try:
            served = self._engine.served(self._place.endpoint(self._engine, settings), settings)
        except LlmError:
            return False
        return self._engine.resident and bool(served.faults)

    def _load(self, generation: Generation, outgoing: Settings | None) -> None:
        settings = settings_of(generation)
        endpoint = self._place.endpoint(self._engine, settings)
        if settings.model_path:
            self._check_names(endpoint, settings)
        if outgoing and outgoing.model_path:
            # Its memory is what the new one was counted to fit in.
            self._engine.release(endpoint, outgoing, settings.served_names)
        if settings.model_path:
            self._engine.load(endpoint, settings, loading_time(generation.model.size_bytes, self._patience.start))

    def _check_names(self, endpoint: Endpoint, settings: Settings) -> None:
        """A name that none of this runtime's generations had may be that of a model which somebody pulled by hand."""
        ours = {
            name for known in self._place.generations.all() if known.status == ACTIVE for name in known.served_names
        }
        taken = [name for name in self._engine.served(endpoint, settings).taken if name not in ours]
        if taken:
            raise LlmError(
                "served_name_taken",
                f"the served name {taken[0]} stands for another model that {self._engine.name} keeps.",
            )

    def _commit(self, generation: Generation, keep: int) -> None:
        place = self._place
        place.generations.write(replace(generation, status=ACTIVE))
        place.files.drop_secrets_aside()
        place.generations.keep_newest(keep)

    # --- going back ---

    def _roll_back(
        self,
        failure: LlmError,
        candidate: Generation,
        previous: Generation | None,
        *,
        start: bool,
    ) -> LlmError:
        place = self._place
        step = self._step
        subject = f"Runtime {place.name}: model {candidate.model.name} was not activated"
        what = f"{subject}, step '{step}' failed: {failure.what}"
        details = {**failure.details, "steps": self.steps, "rolled_back": False, "changed": False}
        if step == journal.DRAIN:
            self._end(journal.ROLLED_BACK, why=failure.what)
            return LlmError(failure.reason, what, remedy=failure.remedy, **details)
        details["changed"] = True
        try:
            self._do(journal.ROLL_BACK, lambda: self._go_back(candidate, previous, start=start))
            # A record of the failure is worth less than the runtime: it comes after.
            place.generations.write(replace(candidate, status=FAILED, reason=f"{step}: {failure.what}"))
            after = _after(previous, start=start)
            self._end(journal.ROLLED_BACK, why=failure.what)
            remedy = " ".join(word for word in (after, failure.remedy) if word)
            details["rolled_back"] = True
        except Exception as second:
            remedy = " ".join(word for word in (failure.remedy, f"Going back failed too: {second}") if word)
        return LlmError(failure.reason, what, remedy=remedy, **details)

    def _go_back(self, candidate: Generation | None, previous: Generation | None, *, start: bool) -> None:
        """Back to the generation before, from its record: what is on the disk may be left of an interrupted run."""
        self._going_back = True
        place = self._place
        outgoing = settings_of(candidate) if candidate else None
        if previous is None:
            if self._engine.resident and outgoing and place.supervisor.process(place.name).active:
                self._engine.release(place.endpoint(self._engine, outgoing), outgoing, ())
            place.supervisor.stop(place.service)
            place.files.remove()
            place.supervisor.reload()
        else:
            before = place.files.read()
            wanted = configuration_of(previous, place.layout, place.files.secrets_before())
            place.files.write(wanted)
            place.supervisor.reload()
            process = place.supervisor.process(place.name)
            if start:
                same = before == wanted and place.runs(previous, process)
                restart = not (self._engine.resident and process.active and same)
                self._bring_up(previous, restart=restart, outgoing=outgoing)
            else:
                place.supervisor.stop(place.service)
        place.files.drop_secrets_aside()
        if self._stopped:
            self._others.start(self._stopped, self._patience.start)

    def _finish(self, candidate: Generation, previous: Generation | None, *, begun: bool) -> Proven:
        """Go on with the files that are written; `begun`: whether its process was started by then is not known."""
        place = self._place
        process = place.supervisor.process(place.name)
        restart = begun or not process.active or not place.runs(candidate, process)
        return self._bring_up(candidate, restart=restart, outgoing=settings_of(previous) if previous else None)

    # --- telling ---

    def _do(self, step: str, act: t.Callable[[], Result], **details: t.Any) -> Result:
        """Announce a step, take it, time it. Steps on the way back are all part of that one."""
        if self._writing and not self._going_back:
            self._writing.note(step, **details)
        return self._timed(step, act)

    def _end(self, how: str, **details: t.Any) -> None:
        if self._writing:
            seconds = {step["step"]: step["seconds"] for step in self.steps}
            self._writing.note(how, seconds=seconds, **details)
        self._writing = None

    def _timed(self, step: str, act: t.Callable[[], Result]) -> Result:
        self._step = step
        started = time.monotonic()
        try:
            return act()
        finally:
            self.steps.append({"step": step, "seconds": round(time.monotonic() - started, 3)})


def _kept(generation: Generation) -> int:
    return int(generation.spec.get("keep_generations") or 1)


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
