# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a generation the one that serves, or leave the one before serving.

Every step is in the runtime's journal before it is begun, so that a run that is killed at any instant leaves word for
the next one, which finishes what it left or goes back.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, replace
from functools import partial

from .._core import journal
from .._core.engine import Settings
from .._core.errors import LlmError
from .._core.generation import ACTIVE, FAILED, TRYING, Generation
from .._core.journal import Transaction
from .._core.layout import Layout
from .._core.recovery import CLOSE, COMMIT, FINISH, told_of, way_out
from .._core.runtime import RuntimeSpec
from .._core.supervisor import Process
from .._host.configuration import Configuration
from .._host.generations import Generations
from .._host.journal import Journal, Writing
from .._host.os_errors import explain
from .check_names import check_names
from .drain import drain
from .keep_bytes import keep_bytes, keep_newest
from .other_runtimes import OtherRuntimes
from .prove import Proven, prove
from .runtime_place import configuration_of
from .side import Side, side_of
from .wait_healthy import loading_time, wait_healthy

Result = t.TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """Seconds: for a start besides the loading of the model, and for one proof."""

    start: float
    proof: float


class Activation:
    """One transaction on one runtime; who uses it holds the runtime's lock."""

    def __init__(self, name: str, layout: Layout, patience: Patience) -> None:
        self._name = name
        self._layout = layout
        self._patience = patience
        self._generations = Generations(layout, name)
        self._others = OtherRuntimes(layout, name)
        self._journal = Journal(layout, name)
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
        side = self._side(candidate)
        now = self._side(previous) if previous else None
        before = side.place.files.read()
        process = (now or side).process
        was_up = process.active or process.failing
        self._begin(previous, candidate, was_up)
        try:
            if now and process.active:
                self._do(journal.DRAIN, partial(self._drain, now, spec))
            if spec.exclusive:
                self._stop_others(candidate)
            if now and side.is_elsewhere(now):
                self._do(journal.LEAVE, now.leave)
                process, now = Process(), None
            self._do(journal.WRITE, lambda: self._write(side, wanted))
            # A program that stays up while models come and go is started anew only when it is to run otherwise.
            restart = not (side.engine.resident and process.active and before == wanted)
            proven = self._bring_up(side, restart=restart, outgoing=now.settings if now else None)
            self._do(journal.COMMIT, lambda: self._generations.write(replace(proven.generation, status=ACTIVE)))
        except (Exception, KeyboardInterrupt) as failure:
            # Whatever it is, a full disk or an interrupt: the runtime must not stay half changed.
            raise self._roll_back(_as_error(failure), candidate, previous, start=was_up) from failure
        self._tidy(candidate, spec.keep_generations)
        self._end(journal.COMMITTED)
        return proven

    def restart(self, generation: Generation, spec: RuntimeSpec, *, anew: bool, drain: bool) -> Proven:
        """Have what is configured already serve again, and prove it: by a new start, or first without one.

        A program that stays up while models come and go may only have to load the model again. With `drain`, requests
        in flight are waited for: it serves, and is stopped on wish.
        """
        side = self._side(generation)
        process = side.process
        runs = process.active and side.place.supervisor.enabled(self._name) and side.place.runs(generation, process)

        def serve() -> Proven:
            if drain and process.active:
                self._do(journal.DRAIN, lambda: self._drain(side, spec))
            if spec.exclusive:
                self._stop_others(generation)
            return self._bring_up(side, restart=anew or not runs, outgoing=side.settings)

        return self._again(generation, serve)

    def make_room(self, generation: Generation) -> Proven:
        """Have the host for one that serves already, and prove it."""

        def serve() -> Proven:
            self._stop_others(generation)
            return self.prove(generation)

        return self._again(generation, serve)

    def wake(self, generation: Generation) -> Proven:
        """Have a runtime that sleeps be ready again, with sane tokens."""
        side = self._side(generation)
        self._timed("wake", lambda: side.engine.wake(side.endpoint, side.settings))
        started = time.time()
        restarts = side.process.restarts
        self._timed(
            journal.WAIT,
            lambda: wait_healthy(side.place, side.engine, generation, started, self._patience.start, restarts),
        )
        proven = self.prove(generation)
        self._generations.write(proven.generation)
        return proven

    def prove(self, generation: Generation) -> Proven:
        """Ask a running runtime for its proof, at the level its generation asks for."""
        side = self._side(generation)
        return self._timed(journal.PROVE, lambda: prove(side.place, side.engine, generation, self._patience.proof))

    def recover(self, left: Transaction, *, finish: bool, start: bool) -> str:
        """End what a killed run left: finish it if that is wished and possible, else go back; says what was done.

        `start` is whether the runtime is meant to be up when this is done.
        """
        self._writing = self._journal.resume(left)
        self._stopped = left.stopped
        candidate = self._generations.find(left.to_generation)
        previous = self._generations.find(left.from_generation)
        told, way = told_of(left), way_out(left, candidate, finish=finish)
        if way == CLOSE:
            self._end(journal.ROLLED_BACK, why="interrupted")
            return f"{told}, before anything was changed."
        if candidate and way == COMMIT:
            # It was proven and written down; only the last word is missing.
            self._tidy(candidate, _kept(candidate))
            self._end(journal.COMMITTED)
            return f"{told}, and had been done."
        if candidate and way == FINISH:
            try:
                proven = self._finish(candidate, previous, begun=left.step == journal.RESTART)
            except LlmError:
                pass
            else:
                self._do(journal.COMMIT, lambda: self._generations.write(replace(proven.generation, status=ACTIVE)))
                self._tidy(candidate, _kept(candidate))
                self._end(journal.COMMITTED)
                return f"{told}; it was finished."
        self._go_back(candidate, previous, start=start and left.was_up)
        if candidate and candidate is not previous and candidate.status == TRYING:
            self._generations.write(replace(candidate, status=FAILED, reason=f"interrupted at step '{left.step}'"))
        self._end(journal.ROLLED_BACK, why="interrupted")
        return f"{told}; {_after(previous, start=start and left.was_up) or 'what it had written was removed.'}"

    # --- steps ---

    def _side(self, generation: Generation) -> Side:
        return side_of(generation, self._layout)

    def _begin(self, previous: Generation | None, candidate: Generation, was_up: bool) -> None:
        self._writing = self._journal.begin(
            from_generation=previous.number if previous else None, to_generation=candidate.number, was_up=was_up
        )

    def _drain(self, outgoing: Side, spec: RuntimeSpec) -> None:
        left = drain(outgoing.place, outgoing.engine, outgoing.endpoint, spec)
        if left:
            self.notes.append(left)

    def _stop_others(self, besides: Generation) -> None:
        self._stopped = self._others.running(besides)
        if self._stopped:
            self._do(journal.STOP_OTHERS, lambda: self._others.stop(self._stopped), stopped=list(self._stopped))
            self.notes.append(f"Stopped for it: {', '.join(self._stopped)}.")

    def _write(self, side: Side, wanted: Configuration) -> None:
        place = side.place
        place.generations.write(replace(side.generation, status=TRYING))
        place.files.set_secrets_aside()
        place.files.write(wanted)
        place.supervisor.reload()

    def _bring_up(self, side: Side, *, restart: bool, outgoing: Settings | None) -> Proven:
        place, engine, generation = side.place, side.engine, side.generation
        started = time.time()
        # One that goes on may have been brought back by its supervisor long ago.
        restarts = 0 if restart else place.supervisor.process(place.name).restarts
        if restart:
            self._do(journal.RESTART, lambda: place.supervisor.start(place.service))
        self._do(
            journal.WAIT,
            lambda: wait_healthy(place, engine, generation, started, self._patience.start, restarts),
        )
        if engine.resident:
            try:
                self._do(journal.LOAD, lambda: self._load(side, outgoing))
            except LlmError:
                if restart or place.supervisor.name == "external":
                    raise
                # What it will not let go of by asking goes with its process.
                return self._bring_up(side, restart=True, outgoing=None)
        try:
            return self._do(journal.PROVE, lambda: prove(place, engine, generation, self._patience.proof))
        except LlmError:
            if restart or place.supervisor.name == "external" or not side.has_faults():
                raise
        return self._bring_up(side, restart=True, outgoing=None)

    def _load(self, side: Side, outgoing: Settings | None) -> None:
        settings, endpoint = side.settings, side.endpoint
        if settings.model_path:
            check_names(side)
        # Before any name moves.
        keep_bytes(side, self._generations.all())
        if outgoing and outgoing.model_path:
            # Its memory is what the new one was counted to fit in.
            side.engine.release(endpoint, outgoing, settings.served_names)
        if settings.model_path:
            side.engine.load(endpoint, settings, loading_time(side.generation.model.size_bytes, self._patience.start))

    def _tidy(self, generation: Generation, keep: int) -> None:
        """It serves and is written down; what cannot be put away now is put away after the next activation."""
        side = self._side(generation)
        try:
            side.place.files.drop_secrets_aside()
            keep_newest(self._layout, side, keep)
        except OSError as failure:
            self.notes.append(f"What older generations left could not be put away: {failure}.")

    def _again(self, generation: Generation, serve: t.Callable[[], Proven]) -> Proven:
        """A transaction in which what is configured stays so, and only has to serve."""
        self._begin(generation, generation, was_up=True)
        try:
            proven = serve()
        except LlmError as failure:
            # Nothing was written that would have to be undone; those that made room come back.
            try:
                self._others.start(self._stopped, self._patience.start)
            except LlmError as second:
                failure.details = {**failure.details, "notes": [*self.notes, second.what]}
            self._end(journal.GIVEN_UP, why=failure.what)
            raise
        self._generations.write(proven.generation)
        self._end(journal.COMMITTED)
        return proven

    # --- going back ---

    def _roll_back(
        self,
        failure: LlmError,
        candidate: Generation,
        previous: Generation | None,
        *,
        start: bool,
    ) -> LlmError:
        step = self._step
        subject = f"Runtime {self._name}: model {candidate.model.name} was not activated"
        what = f"{subject}, step '{step}' failed: {failure.what}"
        details = {**failure.details, "steps": self.steps, "rolled_back": False, "changed": False}
        if step == journal.DRAIN:
            self._end(journal.ROLLED_BACK, why=failure.what)
            return LlmError(failure.reason, what, remedy=failure.remedy, **details)
        details["changed"] = True
        try:
            self._go_back(candidate, previous, start=start)
            # A record of the failure is worth less than the runtime: it comes after.
            self._generations.write(replace(candidate, status=FAILED, reason=f"{step}: {failure.what}"))
            after = _after(previous, start=start)
            self._end(journal.ROLLED_BACK, why=failure.what)
            remedy = " ".join(word for word in (after, failure.remedy) if word)
            details["rolled_back"] = True
        except Exception as second:
            said = f"Going back failed too: {_as_error(second)}"
            remedy = " ".join(word for word in (failure.remedy, said) if word)
        if self.notes:
            details["notes"] = list(self.notes)
        return LlmError(failure.reason, what, remedy=remedy, **details)

    def _go_back(self, candidate: Generation | None, previous: Generation | None, *, start: bool) -> None:
        """Back to the generation before, from its record: what is on the disk may be left of an interrupted run."""
        if self._writing:
            # On a full disk too: what was written last already leads back.
            with contextlib.suppress(OSError):
                self._writing.note(journal.ROLL_BACK)
        self._going_back = True
        came = self._side(candidate) if candidate else None

        def back() -> None:
            try:
                if previous:
                    self._return_to(self._side(previous), came, start=start)
                elif came:
                    came.leave()
                    came.place.files.remove()
            finally:
                # Those that made room come back whatever became of this one.
                self._others.start(self._stopped, self._patience.start)

        self._timed(journal.ROLL_BACK, back)

    def _return_to(self, side: Side, came: Side | None, *, start: bool) -> None:
        place = side.place
        if came and came.is_elsewhere(side):
            try:
                came.leave()
            except LlmError as failure:
                # What served before is worth more than a tidy end of what failed.
                self.notes.append(failure.what)
            came = None
        before = place.files.read()
        wanted = configuration_of(side.generation, self._layout, place.files.secrets_before())
        place.files.write(wanted)
        place.supervisor.reload()
        if start:
            process = side.process
            same = before == wanted and place.runs(side.generation, process)
            restart = not (side.engine.resident and process.active and same)
            self._bring_up(side, restart=restart, outgoing=came.settings if came else None)
        else:
            if came:
                came.release(side.settings.served_names)
            place.supervisor.stop(place.service)
        place.files.drop_secrets_aside()

    def _finish(self, candidate: Generation, previous: Generation | None, *, begun: bool) -> Proven:
        """Go on with the files that are written; `begun`: whether its process was started by then is not known."""
        side = self._side(candidate)
        now = self._side(previous) if previous else None
        if now and side.is_elsewhere(now):
            now = None
        process = side.process
        restart = begun or not process.active or not side.place.runs(candidate, process)
        return self._bring_up(side, restart=restart, outgoing=now.settings if now else None)

    # --- telling ---

    def _do(self, step: str, act: t.Callable[[], Result], **details: t.Any) -> Result:
        """Announce a step, take it, time it. Steps on the way back are all part of that one."""
        if self._writing and not self._going_back:
            self._writing.note(step, **details)
        return self._timed(step, act)

    def _end(self, how: str, **details: t.Any) -> None:
        if self._writing:
            seconds = {step["step"]: step["seconds"] for step in self.steps}
            # Without the last word the next task looks, and finds that it is so.
            with contextlib.suppress(OSError):
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
